/** Freeze mode: does this end's kernel stop a Primary's writes by itself when it loses the other room? (docs/protocol/freeze-mode.md.) Pure. */
import { type Connection, isDisklessPeer, type Resource } from './model.ts'
import type { ShownConnection, ShownResource } from './show.ts'

export interface FreezeJudgementInput {
  readonly resource: Resource
  /** Undefined where `drbdsetup show` did not list the resource. */
  readonly shown: ShownResource | undefined
  readonly ownRoom: string
  /** The room of a peer by its node name; undefined for an unknown node, which then counts as the other room's. */
  readonly peerRoom: (peer: string) => string | undefined
  /** The text of `/sys/module/drbd/parameters/usermode_helper`; undefined where it could not be read. */
  readonly usermodeHelper: string | undefined
}

export interface FreezeJudgement {
  readonly resource: string
  /**
   * This is the statement that is made to the other end, in the present epoch: whoever is Primary *here* is frozen in the same moment in which
   * it loses any replica across the rooms. It is the other end's proof (`storage`), never one's own.
   */
  readonly isOn: boolean
  /** Why it does not hold; each names what was seen and what is needed. Empty when it holds. */
  readonly reasons: readonly string[]
  /** What does not endanger the data but costs time or needs a person on the way back. */
  readonly warnings: readonly string[]
}

export function judgeFreezeMode({ resource, shown, ownRoom, peerRoom, usermodeHelper }: FreezeJudgementInput): FreezeJudgement {
  const reasons: string[] = []
  const helper = usermodeHelper?.trim()
  if (helper !== 'disabled') {
    // Exit codes 3, 4, 5 and 7 of a helper thaw the Primary: only no helper at all is safe.
    reasons.push(`usermode_helper is ${helper ?? 'not readable'}, but must be disabled: modprobe option drbd usermode_helper=disabled`)
  }
  const across = resource.connections.filter(({ peer }) => peerRoom(peer) !== ownRoom)
  const replicas = across.filter((connection) => !isDisklessPeer(connection))
  if (replicas.length === 0) reasons.push('there is no connection to a replica in another room')
  for (const { peer } of across) {
    if (peerRoom(peer) === undefined) reasons.push(`the room of peer ${peer} is unknown: is its node labelled?`)
  }
  for (const connection of replicas) reasons.push(...reasonsOf(connection, optionsOf(shown, connection)))
  for (const { peer } of shown?.connections ?? []) {
    // Status and show were read one after the other; a connection in only one of them is in the making.
    if (!resource.connections.some((one) => one.peer === peer))
      reasons.push(`the connection to ${peer} is configured but not in the status`)
  }
  return { resource: resource.name, isOn: reasons.length === 0, reasons, warnings: warningsOf(shown, replicas) }
}

/** The options in force on the connection; undefined where `show` does not have it. */
export const optionsOf = (shown: ShownResource | undefined, { peer, peerNodeId }: Connection): ShownConnection | undefined =>
  shown?.connections.find((one) => one.peer === peer && one.peerNodeId === peerNodeId)

function reasonsOf({ peer }: Connection, options: ShownConnection | undefined): string[] {
  if (options === undefined) return [`the options of the connection to ${peer} are not known`]
  const reasons: string[] = []
  if (options.fencing !== 'resource-and-stonith') {
    reasons.push(`fencing to ${peer} is ${options.fencing ?? 'not shown'}, but must be resource-and-stonith`)
  }
  // Protocol B acknowledges what the peer has only in memory; A is refused by DRBD itself.
  if (options.protocol !== 'C') reasons.push(`protocol to ${peer} is ${options.protocol ?? 'not shown'}, but must be C`)
  return reasons
}

function warningsOf(shown: ShownResource | undefined, replicas: readonly Connection[]): string[] {
  const warnings: string[] = []
  const outdated = shown?.onSuspendedPrimaryOutdated
  if (outdated !== 'force-secondary') warnings.push(`on-suspended-primary-outdated is ${outdated ?? 'not shown'}, better force-secondary`)
  for (const connection of replicas) {
    const options = optionsOf(shown, connection)
    if (options === undefined) continue
    const { peer, pingIntMs, rrConflict, allowTwoPrimaries } = options
    if (pingIntMs !== 1000)
      warnings.push(`ping-int to ${peer} is ${pingIntMs ?? 'not shown'} ms, better 1000: until then a lost room answers reads`)
    if (rrConflict !== 'retry-connect') warnings.push(`rr-conflict to ${peer} is ${rrConflict ?? 'not shown'}, better retry-connect`)
    if (allowTwoPrimaries !== false) warnings.push(`allow-two-primaries to ${peer} is on: a cut during a live migration freezes both sides`)
  }
  return warnings
}
