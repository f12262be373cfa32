/** What one agent knows: its durable part, which is on disk before anything is said of it, and the rest, which a restart forgets. */
import type { BootId, Incarnation, NodeId, Room } from './ids.ts'
import { type Address, fencedNodes, type Membership, type VoterKey } from './membership.ts'
import type { Accepted, Ballot, Message, Register, Statement, WitnessAnswer, WitnessRequest } from './messages.ts'
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

export type ContainmentLevel = 'none' | 'pause' | 'kill'

/** What is known of one peer. Times: this node's clock, -Infinity for never. */
export interface Contact {
  heardAtMs: number
  /** Last time that a DRBD connection to it was seen up. */
  storageAtMs: number
  /** Last time this node acked it: from then on it may run for a permit's length. */
  ackedAtMs: number
  statement: Statement | null
  incarnation: Incarnation | null
  epoch: number
  digest: string
  /** Since when it was heard and in sync without a gap. */
  inSyncSinceMs: number
  learnSentAtMs: number
}

export interface Attempt {
  readonly ballot: Ballot
  readonly proposal: Membership
  readonly isFinishing: boolean
  readonly startedAtMs: number
  phase: 'prepare' | 'witness-read' | 'witness-swap' | 'accept'
  phaseAtMs: number
  value: Membership
  highest: Ballot | null
  hasAdopted: boolean
  /** Nodes to which prepare was sent. */
  readonly asked: Set<NodeId>
  readonly promises: Set<VoterKey>
  /** Those of them that had accepted nothing for this epoch: by their promise they accept nothing of a lower ballot any more. */
  readonly unbound: Set<VoterKey>
  /** A value that was found was certainly not chosen; `ifWitnessHoldsNone`: once the register is read. */
  ruledOut: 'no' | 'ifWitnessHoldsNone' | 'yes'
  readonly accepts: Set<VoterKey>
  witnessRequestId: number
  /** When the witness's swap of this value was confirmed, null: not asked. */
  swappedAtMs: number | null
}

/** What a person said, and when this agent heard it: acted on for a while, or said again. */
export interface Word {
  readonly by: string
  readonly saidAtMs: number
}

export interface UnfenceRequest {
  readonly nodes: readonly NodeId[]
  readonly by: string
  readonly askedAtMs: number
}

/** The witness as this agent sees it. */
export interface WitnessView {
  register: Register | null
  /** Send time of the last read that the witness counted as an ack, and of the last that it answered at all. */
  ackedAtMs: number
  answeredAtMs: number
  /** Since when it answers and is current, Infinity: not. */
  currentSinceMs: number
  /** When this process first knew of the highest version, from an answer or from a peer. */
  seenAtMs: number
  isStale: boolean
  askedAtMs: number
  /** When this node first knew of a register value that closes the witness's door to the node. */
  readonly doorAtMs: Map<NodeId, number>
  nextId: number
  readonly pending: Map<number, { readonly sentAtMs: number; readonly purpose: 'ack' | 'attempt' | 'teach' }>
  failure: string | null
}

export interface State {
  readonly self: Self
  readonly timings: Timings
  readonly brakes: Brakes
  readonly startedAtMs: number
  /** No permit was held yet in this boot: nothing runs, and nothing may before it was listened for a while. */
  readonly isFreshBoot: boolean
  durable: Durable
  /** Counts changes of `durable`; what is said waits until `persistedVersion` has caught up. */
  durableVersion: number
  persistedVersion: number
  persistFailure: string | null
  readonly held: { readonly version: number; readonly effect: Effect }[]
  readonly contacts: Map<NodeId, Contact>
  readonly grants: Map<VoterKey, number>
  /** Permit carried over from the epoch before. */
  carriedUntilMs: number
  readonly sentAtMs: Map<number, number>
  sequence: number
  heartbeatAtMs: number
  lastTickMs: number
  awakeSinceMs: number
  learnedAtMs: number
  installedAtMs: number
  isInstalled: boolean
  /** The earliest epoch since which, as far as this node knows, all had the votes of the present one. */
  votesSinceEpoch: number
  /** By fenced node: `votesSinceEpoch` of the epoch that fenced it. */
  readonly votesSinceAtFence: Map<NodeId, number>
  attempt: Attempt | null
  nextAttemptAtMs: number
  failedAttempts: number
  acceptedSinceMs: number
  readonly witness: WitnessView
  readonly unfence: Map<NodeId, UnfenceRequest>
  readonly joins: Map<
    NodeId,
    { readonly incarnation: Incarnation; readonly room: Room; readonly addresses: readonly Address[]; readonly atMs: number }
  >
  /** When this node first knew, at the latest, that the epoch before a fence was installed: no proof counts from earlier. */
  readonly floorMs: Map<NodeId, number>
  /** Set while leaving: the heartbeat that first withdrew the watchdog, and who acked that or a later one. */
  withdrawal: { readonly fromSequence: number; readonly ackedBy: Set<VoterKey> } | null
  desireKey: string
  desireSinceMs: number
  hasHadPermit: boolean
  /** Since when a node that was let back has the acks of a majority again, and after which fence. */
  letBack: { readonly lastFence: number; readonly ackedAtMs: number; askedAtMs: number } | null
  registerAcceptedSinceMs: number
  /** Answers of voters whose door to a fenced node is closed, converted to this node's clock. */
  readonly doors: Map<VoterKey, Map<NodeId, { readonly ackedAtMs: number; readonly watchdogMs: number | null }>>
  doorsAskedAtMs: number
  readonly humanProof: Map<NodeId, string>
  /** Nodes that a person declared dead, which this node cannot fence for want of votes (docs/protocol/operator.md). */
  readonly confirmedDead: Map<NodeId, Word>
  /** What people asked for and no epoch has answered yet. */
  pauseAsked: (Word & { readonly isPaused: boolean }) | null
  readonly maintenanceAsked: Map<NodeId, Word & { readonly isOn: boolean }>
  isApiReachable: boolean
  watchdogMs: number | null
  isInSync: boolean
  isLeaving: boolean
  desired: ContainmentLevel
  desiredSinceMs: number
  contained: { level: ContainmentLevel; isVerified: boolean }
  hasConflict: boolean
  lastVeto: string | null
  random: number
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
  | { readonly kind: 'pause-fencing'; readonly isPaused: boolean; readonly by: string }
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
  | 'let-back'
  | 'told-fenced'
  | 'conflict'
  | 'late'
  | 'would-propose'
  | 'witness-stale'
  | 'door-closed'

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
  const isInstalled = durable?.membership != null && durable.installedEpoch === durable.membership.epoch
  const isFreshBoot = durable !== null && durable.bootId !== self.bootId
  return {
    self,
    timings,
    brakes,
    startedAtMs: nowMs,
    isFreshBoot,
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
    durableVersion: 0,
    persistedVersion: 0,
    persistFailure: null,
    held: [],
    contacts: new Map(),
    grants: new Map(),
    carriedUntilMs: -Infinity,
    sentAtMs: new Map(),
    sequence: 0,
    heartbeatAtMs: -Infinity,
    lastTickMs: nowMs,
    awakeSinceMs: nowMs,
    learnedAtMs: nowMs,
    // Known since earlier; what is counted from it is only later for that.
    installedAtMs: isInstalled ? nowMs : Infinity,
    isInstalled,
    votesSinceEpoch: durable?.membership?.epoch ?? -1,
    votesSinceAtFence: new Map(),
    attempt: null,
    nextAttemptAtMs: nowMs,
    failedAttempts: 0,
    acceptedSinceMs: durable?.accepted ? nowMs : Infinity,
    witness: {
      register: null,
      ackedAtMs: -Infinity,
      answeredAtMs: -Infinity,
      currentSinceMs: Infinity,
      seenAtMs: -Infinity,
      isStale: false,
      askedAtMs: -Infinity,
      doorAtMs: new Map(),
      nextId: 1,
      pending: new Map(),
      failure: null,
    },
    unfence: new Map(),
    joins: new Map(),
    floorMs: new Map(durable?.membership ? fencedNodes(durable.membership).map((node) => [node, nowMs]) : []),
    withdrawal: null,
    desireKey: '',
    desireSinceMs: nowMs,
    hasHadPermit: false,
    letBack: null,
    registerAcceptedSinceMs: Infinity,
    doors: new Map(),
    doorsAskedAtMs: -Infinity,
    humanProof: new Map(),
    confirmedDead: new Map(),
    pauseAsked: null,
    maintenanceAsked: new Map(),
    isApiReachable: true,
    watchdogMs: null,
    isInSync: false,
    isLeaving: false,
    desired: isFreshBoot ? 'pause' : 'none',
    desiredSinceMs: nowMs,
    contained: { level: 'none', isVerified: false },
    hasConflict: false,
    lastVeto: null,
    random: seed >>> 0,
  }
}
