/** The `storage` proof and the data gate, from what every survivor reports of its replicas (docs/protocol.md, "Proof", "Freeze mode"). Pure. */
import { type CompleteReport, reportOf, type StorageEntry, type StorageReports } from '../evidence/storage-report.ts'
import type { NodeId } from '../protocol/ids.ts'
import { fencedNodes, type Membership } from '../protocol/membership.ts'

export interface StorageFacts {
  readonly membership: Membership
  readonly self: NodeId
  /** This node's own report, made a moment ago. */
  readonly own: readonly StorageEntry[]
  readonly reports: StorageReports
  readonly nowMs: number
  /** A report that is older says nothing. */
  readonly maxAgeMs: number
}

export type StorageAnswer = { readonly isHeld: true } | { readonly isHeld: false; readonly reason: string }

interface Survey {
  readonly entriesOf: ReadonlyMap<NodeId, readonly StorageEntry[]>
  /** Unfenced nodes that did not report in the present epoch. */
  readonly silent: readonly NodeId[]
}

function survey({ membership, self, own, reports, nowMs, maxAgeMs }: StorageFacts): Survey {
  const entriesOf = new Map<NodeId, readonly StorageEntry[]>()
  const silent: NodeId[] = []
  for (const { node, incarnation, standing } of membership.members) {
    if (standing === 'fenced') continue
    const report: Pick<CompleteReport, 'entries'> | undefined =
      node === self ? { entries: own } : reportOf(reports, node, incarnation, membership.epoch, nowMs, maxAgeMs)
    if (report) entriesOf.set(node, report.entries)
    else silent.push(node)
  }
  return { entriesOf, silent }
}

/**
 * Whether these resources need no other proof: every survivor that holds one of them has cut every fenced peer by force, and every such peer
 * had stated freeze mode in the epoch before its fence (the survivor reports a cut only then).
 */
export function storageProof(facts: StorageFacts, resources: readonly string[]): StorageAnswer {
  if (resources.length === 0) return { isHeld: false, reason: 'it has no DRBD volume' }
  const { entriesOf, silent } = survey(facts)
  if (silent.length > 0)
    return { isHeld: false, reason: `${silent.join(', ')} did not yet report its replicas in epoch ${facts.membership.epoch}` }
  const fenced = new Set<string>(fencedNodes(facts.membership))
  for (const resource of resources) {
    const lost = [...entriesOf].flatMap(([node, entries]) =>
      entries.filter((entry) => entry.resource === resource && fenced.has(entry.peer)).map((entry) => ({ node, entry })),
    )
    if (lost.length === 0) return { isHeld: false, reason: `no survivor has a replica of ${resource} that was connected to the lost side` }
    const open = lost.find(({ entry }) => !entry.isCutByForce)
    if (open)
      return { isHeld: false, reason: `${open.node} has not cut ${resource} from ${open.entry.peer}, or freeze mode was not stated there` }
  }
  return { isHeld: true }
}

/** Whether a survivor holds the newest data of these resources, free to be written (P4). */
export function dataGate(facts: StorageFacts, resources: readonly string[]): StorageAnswer {
  const { entriesOf } = survey(facts)
  const fenced = new Set<string>(fencedNodes(facts.membership))
  for (const resource of resources) {
    const held = [...entriesOf].flatMap(([node, entries]) =>
      entries.filter((entry) => entry.resource === resource).map((entry) => ({ node, entry })),
    )
    if (held.length === 0) return { isHeld: false, reason: `no survivor reports a replica of ${resource}` }
    const isGood = held.some(({ entry }) => entry.ownUpToDate && (!fenced.has(entry.peer) || entry.isUnlocked))
    if (!isGood) {
      const isUpToDate = held.some(({ entry }) => entry.ownUpToDate)
      const reason = isUpToDate
        ? `${resource} is not yet free to be written on a survivor`
        : `no survivor has an UpToDate replica of ${resource}`
      return { isHeld: false, reason }
    }
  }
  return { isHeld: true }
}
