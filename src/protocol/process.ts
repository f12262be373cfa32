/** What a restart forgets, but an epoch does not: this process's clocks, its contacts, its containment, what its shell reports. Pure. */
import type { Incarnation, NodeId, Room } from './ids.ts'
import type { Address, VoterKey } from './membership.ts'
import type { Register, Statement } from './messages.ts'

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
  nextId: number
  readonly pending: Map<number, { readonly sentAtMs: number; readonly purpose: 'ack' | 'attempt' | 'teach' }>
  failure: string | null
}

export type InvariantName = 'membership' | 'promise' | 'acceptance' | 'counter' | 'grant' | 'unwritten' | 'ack' | 'containment'

/** An error of this program (docs/protocol/README.md, "Invariants"). */
export interface BrokenInvariant {
  readonly invariant: InvariantName
  readonly text: string
}

/** A node that asks to be a member in this incarnation. */
export interface Join {
  readonly incarnation: Incarnation
  readonly room: Room
  readonly addresses: readonly Address[]
  readonly atMs: number
}

export interface ProcessState {
  readonly startedAtMs: number
  /** No permit was held yet in this boot: nothing runs, and nothing may before it was listened for a while. */
  readonly isFreshBoot: boolean
  /** From here on this process keeps its workloads paused and does nothing else. */
  broken: BrokenInvariant | undefined
  /** Spreads what agents do at random. */
  random: number

  // Time, and the others.
  lastTickMs: number
  awakeSinceMs: number
  readonly contacts: Map<NodeId, Contact>
  readonly joins: Map<NodeId, Join>
  readonly witness: WitnessView
  doorsAskedAtMs: number

  // What this node says.
  readonly sentAtMs: Map<number, number>
  sequence: number
  heartbeatAtMs: number
  /** Set while leaving: the heartbeat that first withdrew the watchdog, and who acked that or a later one. */
  withdrawal: { readonly fromSequence: number; readonly ackedBy: Set<VoterKey> } | null
  isLeaving: boolean

  // What it would have the others agree to.
  nextAttemptAtMs: number
  proposalKey: string
  proposalSinceMs: number
  lastVeto: string | null

  // What may run here.
  hasHadPermit: boolean
  /** Since when a node that was let back has the acks of a majority again, and after which fence. */
  quarantine: { readonly lastFence: number; readonly ackedAtMs: number; askedAtMs: number } | null
  desired: ContainmentLevel
  desiredSinceMs: number
  contained: { readonly level: ContainmentLevel; readonly isVerified: boolean }

  // What the shell reports.
  isApiReachable: boolean
  watchdogMs: number | null
  isInSync: boolean
}

export interface ProcessStart {
  readonly nowMs: number
  readonly isFreshBoot: boolean
  /** Spreads the agents' moments; any number. */
  readonly seed: number
}

export function newProcess({ nowMs, isFreshBoot, seed }: ProcessStart): ProcessState {
  return {
    startedAtMs: nowMs,
    isFreshBoot,
    broken: undefined,
    random: seed >>> 0,
    lastTickMs: nowMs,
    awakeSinceMs: nowMs,
    contacts: new Map(),
    joins: new Map(),
    witness: newWitnessView(),
    doorsAskedAtMs: -Infinity,
    sentAtMs: new Map(),
    sequence: 0,
    heartbeatAtMs: -Infinity,
    withdrawal: null,
    isLeaving: false,
    nextAttemptAtMs: nowMs,
    proposalKey: '',
    proposalSinceMs: nowMs,
    lastVeto: null,
    hasHadPermit: false,
    quarantine: null,
    desired: isFreshBoot ? 'pause' : 'none',
    desiredSinceMs: nowMs,
    contained: { level: 'none', isVerified: false },
    isApiReachable: true,
    watchdogMs: null,
    isInSync: false,
  }
}

const newWitnessView = (): WitnessView => ({
  register: null,
  ackedAtMs: -Infinity,
  answeredAtMs: -Infinity,
  currentSinceMs: Infinity,
  seenAtMs: -Infinity,
  isStale: false,
  askedAtMs: -Infinity,
  nextId: 1,
  pending: new Map(),
  failure: null,
})
