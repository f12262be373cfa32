/** What a node says of its own end of each replicated volume, per epoch: the `storage` proof is built on it (docs/protocol/proofs.md). Pure. */
import type { Epoch, Incarnation, NodeId } from '../protocol/ids.ts'

/** One connection of one DRBD resource, as this node's end sees it. A resource without any connection has `peer` empty. */
export interface StorageEntry {
  readonly resource: string
  /** Kubernetes node name of the peer. */
  readonly peer: string
  readonly ownUpToDate: boolean
  /** Diskless on purpose: a tie-breaker, or a client of a volume elsewhere. */
  readonly isClient: boolean
  readonly isPrimary: boolean
  /** I/O is suspended because the peer is lost: a frozen Primary. */
  readonly isFrozen: boolean
  readonly isConnected: boolean
  readonly peerUpToDate: boolean
  /** `fencing resource-and-stonith` and all that goes with it is confirmed at this end. */
  readonly hasFreezeMode: boolean
  /** roomfence has withdrawn the freeze at this end. */
  readonly isUnlocked: boolean
  /** `disconnect --force` was done and verified. */
  readonly isCutByForce: boolean
}

/** One page: a report of many volumes does not fit one packet. A report replaces the whole one before it. */
export interface StorageReport {
  readonly kind: 'storage-report'
  readonly epoch: Epoch
  /** Tells pages of one report from those of the next; counts up in a process. */
  readonly sequence: number
  /** 0-based. */
  readonly page: number
  /** At least 1: an empty report is one empty page. */
  readonly pages: number
  readonly entries: readonly StorageEntry[]
}

export const ENTRIES_A_PAGE = 200
export const MOST_PAGES = 200

/** A report in pages that fit a packet. */
export function pagesOf(epoch: Epoch, sequence: number, entries: readonly StorageEntry[]): readonly StorageReport[] {
  const pages = Math.max(1, Math.ceil(entries.length / ENTRIES_A_PAGE))
  return Array.from({ length: pages }, (_, page) => ({
    kind: 'storage-report',
    epoch,
    sequence,
    page,
    pages,
    entries: entries.slice(page * ENTRIES_A_PAGE, (page + 1) * ENTRIES_A_PAGE),
  }))
}

/** Who sent a page: `life` is one life of its process (the transport refuses those before it), so sequences compare within it. */
export interface ReportSender {
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly life: string
}

interface Collected {
  readonly sender: ReportSender
  readonly epoch: Epoch
  readonly sequence: number
  readonly pages: readonly (readonly StorageEntry[] | undefined)[]
  /** When its first page came: a report is as old as its oldest page. */
  readonly sinceMs: number
}

export interface CompleteReport {
  readonly incarnation: Incarnation
  readonly epoch: Epoch
  readonly entries: readonly StorageEntry[]
  readonly receivedAtMs: number
}

/** Latest complete report of each node, and the one that is coming in. */
export interface StorageReports {
  readonly complete: ReadonlyMap<NodeId, CompleteReport>
  readonly partial: ReadonlyMap<NodeId, Collected>
}

export const NO_REPORTS: StorageReports = { complete: new Map(), partial: new Map() }

/**
 * `reports` with one page more. Late pages of an older report are dropped: a statement that was withdrawn must not come back. A new life,
 * incarnation or epoch makes what was said before void at once, complete or not.
 */
export function withPage(reports: StorageReports, sender: ReportSender, report: StorageReport, nowMs: number): StorageReports {
  const { epoch, sequence, page, pages } = report
  const before = reports.partial.get(sender.node)
  const isSameSender = before?.sender.life === sender.life && before.sender.incarnation === sender.incarnation
  if (before && isSameSender && (before.epoch > epoch || before.sequence > sequence)) return reports
  const isSameReport = isSameSender && before?.epoch === epoch && before.sequence === sequence && before.pages.length === pages
  const known = isSameReport && before ? before.pages : Array.from({ length: pages }, () => undefined)
  const collected: Collected = {
    sender,
    epoch,
    sequence,
    sinceMs: isSameReport && before ? before.sinceMs : nowMs,
    pages: known.map((entries, index) => (index === page ? report.entries : entries)),
  }
  const complete = new Map(reports.complete)
  if (!isSameSender || before?.epoch !== epoch) complete.delete(sender.node)
  const present = collected.pages.filter((entries) => entries !== undefined)
  if (present.length === pages)
    complete.set(sender.node, { incarnation: sender.incarnation, epoch, entries: present.flat(), receivedAtMs: collected.sinceMs })
  return { complete, partial: new Map(reports.partial).set(sender.node, collected) }
}

/** What `node` said in its present incarnation under `epoch`, if all of it came and none of it is older than `maxAgeMs`. */
export function reportOf(
  reports: StorageReports,
  node: NodeId,
  incarnation: Incarnation,
  epoch: Epoch,
  nowMs: number,
  maxAgeMs: number,
): CompleteReport | undefined {
  const report = reports.complete.get(node)
  if (!report || report.incarnation !== incarnation || report.epoch !== epoch || nowMs - report.receivedAtMs > maxAgeMs) return undefined
  return report
}
