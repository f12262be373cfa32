/** What one agent knows, grouped by how long it lives, and what goes into a step and comes out of it. Pure. */
import { type EpochState, newEpoch, newFence } from './epoch.ts'
import type { BootId, Incarnation, NodeId, Room } from './ids.ts'
import { type Address, fencedNodes, type Membership } from './membership.ts'
import type { Accepted, Ballot, Message, WitnessAnswer, WitnessRequest } from './messages.ts'
import { type ContainmentLevel, newProcess, type ProcessState } from './process.ts'
import type { Timings } from './timings.ts'

/** Who this agent is. */
export interface Self {
  readonly node: NodeId
  readonly room: Room
  readonly incarnation: Incarnation
  readonly bootId: BootId
  readonly addresses: readonly Address[]
}

/** Limits that a person set. A brake is a veto here, not a second thought after the choice. */
export interface Brakes {
  /** Decide and record, touch nothing: never prepares, accepts or swaps. */
  readonly isDryRun: boolean
  /** Largest share of all members that may be fenced at once, 0..1. */
  readonly maxFencedShare: number
  /** Largest share of a room's members that may be fenced one by one while the room lives, 0..1. */
  readonly maxFencedShareOfRoom: number
}

/** On disk. Each change is a new object, so that an adapter may write it while the protocol goes on. */
export interface Durable {
  readonly membership: Membership | null
  /** For the epoch after `membership`; null: none. */
  readonly promised: Ballot | null
  readonly accepted: Accepted | null
  /** Highest round this node ever used or saw. */
  readonly round: number
  /**
   * Last epoch that this node knew to be installed, -1: none. It stays installed: a voter that learned it and lost its disk since has no vote any more
   * with which it could choose another one, but could not say it again either.
   */
  readonly installedEpoch: number
  /** Epoch under which this node's workloads were verified dead, -1: none. */
  readonly killedEpoch: number
  /** Last fence of this node after whose end it waited until whoever did not know of that had no permit left, -1: none. */
  readonly freedEpoch: number
  /** Highest register version seen, with the incarnation it belongs to. */
  readonly witnessSeen: { readonly incarnation: string; readonly version: number } | null
  /** Last boot in which a permit was held: another one at start means that nothing was ever allowed to run in this boot. */
  readonly bootId: BootId
}

/** What a person said, and when this agent heard it: acted on for a while, or said again. */
export interface RequestOrigin {
  readonly by: string
  readonly requestedAtMs: number
}

export interface UnfenceRequest {
  readonly nodes: readonly NodeId[]
  readonly by: string
  readonly requestedAtMs: number
}

/** What of `durable` is on disk, and what waits for it. */
export interface DiskState {
  /** Counts changes of `durable`; what is said waits until `persistedVersion` has caught up. */
  version: number
  persistedVersion: number
  failure: string | null
  readonly unsent: { readonly version: number; readonly effect: Effect }[]
}

/** What people asked for and no epoch has answered yet. */
export interface Requests {
  readonly unfence: Map<NodeId, UnfenceRequest>
  /** Nodes that a person declared dead, which this node cannot fence for want of votes (docs/protocol/operator.md). */
  readonly confirmedDead: Map<NodeId, RequestOrigin>
  suspension: (RequestOrigin & { readonly isSuspended: boolean }) | null
  readonly maintenance: Map<NodeId, RequestOrigin & { readonly isOn: boolean }>
}

/** Grouped by life time. Which file writes which field is a table of its own (state-writers.test.ts). */
export interface State {
  readonly self: Self
  readonly timings: Timings
  readonly brakes: Brakes
  /** Outlives the process. */
  durable: Durable
  readonly disk: DiskState
  /** Lives as long as the process. */
  readonly process: ProcessState
  /** Lives as long as `durable.membership` is the present one. */
  epoch: EpochState
  /** Live until they are answered. */
  readonly requests: Requests
}

export type Input =
  | { readonly kind: 'tick' }
  | { readonly kind: 'message'; readonly from: NodeId; readonly incarnation: Incarnation; readonly message: Message }
  | { readonly kind: 'witness'; readonly answer: WitnessAnswer }
  | { readonly kind: 'persisted'; readonly version: number }
  | { readonly kind: 'persist-failed'; readonly reason: string }
  /** DRBD connections that are up now, by peer node. */
  | { readonly kind: 'storage'; readonly connected: readonly NodeId[]; readonly isInSync: boolean }
  | { readonly kind: 'api'; readonly isReachable: boolean }
  | { readonly kind: 'watchdog'; readonly timeoutMs: number | null }
  | { readonly kind: 'contained'; readonly level: ContainmentLevel; readonly isVerified: boolean }
  /** The answer to `check-bound`: everything that is alive here belongs here. */
  | { readonly kind: 'bound'; readonly lastFence: number }
  | { readonly kind: 'unfence'; readonly nodes: readonly NodeId[]; readonly by: string }
  /** A person's word: proof for those that are fenced; for others, where votes are missing, the demand for a forced epoch. */
  | { readonly kind: 'confirm-dead'; readonly nodes: readonly NodeId[]; readonly by: string }
  | { readonly kind: 'suspend-fencing'; readonly isSuspended: boolean; readonly by: string }
  | { readonly kind: 'maintenance'; readonly nodes: readonly NodeId[]; readonly isOn: boolean; readonly by: string }
  | { readonly kind: 'leaving' }
  /** A membership from outside the protocol's messages: genesis, read once by an agent whose disk is empty. */
  | { readonly kind: 'genesis'; readonly membership: Membership }

export type NoteCode =
  | 'learned'
  | 'fence-chosen'
  | 'proposing'
  | 'attempt-ended'
  | 'veto'
  | 'finishing'
  | 'ruled-out'
  | 'permit-lost'
  | 'permit-regained'
  | 'quarantine'
  | 'own-fence'
  | 'conflict'
  | 'late'
  | 'would-propose'
  | 'witness-stale'
  | 'door-closed'
  | 'invariant-broken'

export type Effect =
  | { readonly kind: 'persist'; readonly version: number; readonly durable: Durable }
  /** To a node, this one included (delivered by the shell, never lost). */
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: Message }
  | { readonly kind: 'witness'; readonly request: WitnessRequest }
  /** Asked again at each change; the shell answers with `contained`. */
  | { readonly kind: 'contain'; readonly level: ContainmentLevel }
  /** Whether all that is alive here is still bound to this node, looked up from now on; asked again until `bound` answers yes. */
  | { readonly kind: 'check-bound'; readonly lastFence: number }
  /** Containment was not verified in time: the node must go. */
  | { readonly kind: 'reboot'; readonly reason: string }
  /** On disk by now: peers, failover and storage follow it. */
  | { readonly kind: 'learned'; readonly membership: Membership; readonly before: Membership | null }
  | { readonly kind: 'note'; readonly code: NoteCode; readonly text: string; readonly nodes?: readonly NodeId[] }

export interface Step {
  readonly state: State
  readonly effects: readonly Effect[]
}

export interface StartOptions {
  readonly self: Self
  readonly timings: Timings
  readonly brakes: Brakes
  /** What the disk held, null for an empty one. */
  readonly durable: Durable | null
  readonly nowMs: number
  /** Spreads the agents' moments; any number. */
  readonly seed: number
}

export function start({ self, timings, brakes, durable, nowMs, seed }: StartOptions): State {
  const isFreshBoot = durable !== null && durable.bootId !== self.bootId
  return {
    self,
    timings,
    brakes,
    durable: durable ?? {
      membership: null,
      promised: null,
      accepted: null,
      round: 0,
      installedEpoch: -1,
      killedEpoch: -1,
      freedEpoch: -1,
      witnessSeen: null,
      bootId: self.bootId,
    },
    disk: { version: 0, persistedVersion: 0, failure: null, unsent: [] },
    process: newProcess({ nowMs, isFreshBoot, seed }),
    epoch: epochOnDisk(durable, nowMs),
    requests: { unfence: new Map(), confirmedDead: new Map(), suspension: null, maintenance: new Map() },
  }
}

/** The present epoch as a process finds it. */
function epochOnDisk(durable: Durable | null, nowMs: number): EpochState {
  return newEpoch({
    nowMs,
    isInstalled: durable?.membership != null && durable.installedEpoch === durable.membership.epoch,
    hasAccepted: durable !== null && durable.accepted !== null,
    carriedUntilMs: -Infinity,
    votesSinceEpoch: durable?.membership?.epoch ?? -1,
    fences: new Map(durable?.membership ? fencedNodes(durable.membership).map((node) => [node, newFence(nowMs)]) : []),
  })
}
