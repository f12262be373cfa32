/** Sends this node's report to the others: when it changed, and now and then. Adapter shell. */
import { pagesOf, type StorageEntry, type StorageReport } from '../../evidence/storage-report.ts'
import type { NodeId } from '../../protocol/ids.ts'
import type { Membership } from '../../protocol/membership.ts'

export interface ReporterOptions {
  readonly self: NodeId
  readonly nowMs: () => number
  readonly send: (to: NodeId, report: StorageReport) => void
  /** The report became another one. */
  readonly onChange: () => void
}

export interface Reporter {
  readonly report: (membership: Membership, entries: readonly StorageEntry[]) => void
}

/** A report goes out when it changed, and this often anyway: reports are lost like all datagrams. */
const REPORT_EVERY_MS = 2_000

export function createReporter({ self, nowMs, send, onChange }: ReporterOptions): Reporter {
  let sequence = 0
  let reported = ''
  let reportedAtMs = -Infinity
  return {
    report: ({ epoch, members }, entries) => {
      const text = `${epoch} ${JSON.stringify(entries)}`
      if (text === reported && nowMs() - reportedAtMs < REPORT_EVERY_MS) return
      if (text !== reported) onChange()
      reported = text
      reportedAtMs = nowMs()
      sequence += 1
      const pages = pagesOf(epoch, sequence, entries)
      for (const { node } of members) if (node !== self) for (const page of pages) send(node, page)
    },
  }
}
