/** The `storage` proof and the data gate, from what every survivor reports of its replicas (docs/protocol/proofs.md, docs/protocol/freeze-mode.md). Pure. */
import { reportOf, type StorageEntry, type StorageReports } from '../../evidence/storage-report.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { fencedNodes, type Membership } from '../../protocol/membership.ts'

export interface StorageFacts {
  readonly membership: Membership
  readonly self: NodeId
  /** This node's own report, made a moment ago; undefined while its DRBD is not known: then it is as silent as another that does not report. */
  readonly own: readonly StorageEntry[] | undefined
  readonly reports: StorageReports
  readonly nowMs: number
  /** A report that is older says nothing. */
  readonly maxAgeMs: number
}

export type StorageAnswer = { readonly isProved: true } | { readonly isProved: false; readonly reason: string }

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
    const entries = node === self ? own : reportOf(reports, node, incarnation, membership.epoch, nowMs, maxAgeMs)?.entries
    if (entries) entriesOf.set(node, entries)
    else silent.push(node)
  }
  return { entriesOf, silent }
}

/**
 * Whether these resources need no other proof: every survivor that holds one of them has cut every fenced peer by force, and every such peer
 * had stated freeze mode in the epoch before its fence (the survivor reports a cut only then).
 */
export function storageProof(facts: StorageFacts, resources: readonly string[]): StorageAnswer {
  if (resources.length === 0) return { isProved: false, reason: 'it has no DRBD volume' }
  const { entriesOf, silent } = survey(facts)
  if (silent.length > 0)
    return { isProved: false, reason: `${silent.join(', ')} did not yet report its replicas in epoch ${facts.membership.epoch}` }
  const fenced = new Set<string>(fencedNodes(facts.membership))
  for (const resource of resources) {
    const lost = [...entriesOf].flatMap(([node, entries]) =>
      entries.filter((entry) => entry.resource === resource && fenced.has(entry.peer)).map((entry) => ({ node, entry })),
    )
    if (lost.length === 0)
      return { isProved: false, reason: `no survivor has a replica of ${resource} that was connected to the lost side` }
    const open = lost.find(({ entry }) => !entry.isCutByForce)
    if (open)
      return {
        isProved: false,
        reason: `${open.node} has not cut ${resource} from ${open.entry.peer}, or freeze mode was not stated there`,
      }
  }
  return { isProved: true }
}

/**
 * Whether a survivor holds the newest data of these resources, free to be written (P4). Each node's word is about its replica as a whole: one that is
 * connected to another survivor is no newer for that than the fenced peer that it still doubts.
 */
export function dataGate(facts: StorageFacts, resources: readonly string[]): StorageAnswer {
  const { entriesOf } = survey(facts)
  const fenced = new Set<string>(fencedNodes(facts.membership))
  for (const resource of resources) {
    const replicas = [...entriesOf.values()]
      .map((entries) => entries.filter((entry) => entry.resource === resource))
      .filter((entries) => entries.length > 0)
    if (replicas.length === 0) return { isProved: false, reason: `no survivor reports a replica of ${resource}` }
    const upToDate = replicas.filter((entries) => entries.every(({ ownUpToDate }) => ownUpToDate))
    if (upToDate.length === 0) return { isProved: false, reason: `no survivor has an UpToDate replica of ${resource}` }
    if (!upToDate.some((entries) => entries.every(({ peer, isUnlocked }) => !fenced.has(peer) || isUnlocked)))
      return { isProved: false, reason: `${resource} is not yet free to be written on a survivor` }
  }
  return { isProved: true }
}
