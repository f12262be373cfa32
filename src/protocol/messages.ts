/** What agents say to each other and to the witness (docs/protocol/permit.md, docs/protocol/README.md, "A fence, step by step"). Types only. */
import type { BootId, Epoch, Incarnation, NodeId } from './ids.ts'
import type { Membership } from './membership.ts'

/** Rounds persist, so a restarted proposer never reuses a ballot. Ordered by round, then node, then incarnation. */
export interface Ballot {
  readonly round: number
  readonly node: NodeId
  readonly incarnation: Incarnation
}

export interface Accepted {
  readonly ballot: Ballot
  readonly membership: Membership
}

/** What a node says of itself with every heartbeat. */
export interface Statement {
  readonly bootId: BootId
  /** Timeout of the watchdog that resets this node when it is not petted, ms; null: none, so no `timed` proof. */
  readonly watchdogMs: number | null
  /** Every workload of this node was verified dead under this epoch and nothing was started since; -1: none. */
  readonly killedEpoch: number
  /** Every local replica is UpToDate and connected: this node may vote again. */
  readonly isInSync: boolean
  /** Highest register version that this node ever saw in the present witness incarnation, -1: none. */
  readonly witnessVersion: number
  /** Under maintenance or leaving: counts neither as dead nor as alive. */
  readonly isLeaving: boolean
  /** This node reaches a Kubernetes API server: it can carry out a fence. */
  readonly isApiReachable: boolean
  /** This node decides and records, and touches nothing: whoever else can carries a fence out. */
  readonly isDryRun: boolean
}

export interface Heartbeat {
  readonly kind: 'heartbeat'
  /** Counts up from 1 in each life of the agent's process. */
  readonly sequence: number
  /** -1 while this node knows no membership. */
  readonly epoch: Epoch
  readonly digest: string
  readonly statement: Statement
}

/** An echo of the peer's own sequence number: the only thing that extends a permit. */
export interface Ack {
  readonly kind: 'ack'
  readonly sequence: number
  readonly epoch: Epoch
  readonly digest: string
}

/** Sent to whoever has a lower epoch, and in answer to `want`. */
export interface Learn {
  readonly kind: 'learn'
  readonly membership: Membership
}

export interface Want {
  readonly kind: 'want'
  readonly epoch: Epoch
}

export interface Prepare {
  readonly kind: 'prepare'
  readonly ballot: Ballot
  /** Carries the epoch that is to be chosen, and lets the voter say what speaks against it. */
  readonly proposal: Membership
  /** Finishing a value that may have been chosen already: no veto holds against that. */
  readonly isFinishing: boolean
}

export interface PromiseAnswer {
  readonly kind: 'promise'
  readonly ballot: Ballot
  readonly epoch: Epoch
  readonly accepted: Accepted | null
}

/** A veto, or a ballot that was too low. */
export interface Refusal {
  readonly kind: 'refusal'
  readonly ballot: Ballot
  readonly epoch: Epoch
  readonly reason: RefusalReason
}

export type RefusalReason =
  | { readonly code: 'ballot'; readonly promised: Ballot }
  | { readonly code: 'veto'; readonly text: string }
  | { readonly code: 'epoch'; readonly epoch: Epoch }

export interface Accept {
  readonly kind: 'accept'
  readonly ballot: Ballot
  readonly membership: Membership
}

/** What a voter whose door to a node is closed knows of that node's right to run (docs/protocol/proofs.md). */
export interface DoorStatement {
  readonly node: NodeId
  /** How long ago this voter last acked the node, ms on the voter's clock; since its own start where it has forgotten. */
  readonly ackedAgoMs: number
  /** How long ago this voter knew the epoch before the fence to be installed: who learns of it later counts no earlier by itself. */
  readonly installedAgoMs: number
  readonly watchdogMs: number | null
}

export interface AcceptedAnswer {
  readonly kind: 'accepted'
  readonly ballot: Ballot
  readonly epoch: Epoch
}

/** Any agent that carries out a fence collects these, the proposer or not. `epoch`: the answerer must have learned it. */
export interface AskDoors {
  readonly kind: 'ask-doors'
  readonly epoch: Epoch
}

export interface Doors {
  readonly kind: 'doors'
  /** What the answerer has learned; the doors are those of nodes fenced in it. */
  readonly epoch: Epoch
  readonly doors: readonly DoorStatement[]
}

/** The agent stops on purpose. Not a sign of life, and not of death. */
export interface Consent {
  readonly kind: 'consent'
  readonly statement: Statement
}

/** A node that is no member (new, or its disk was lost) asks to be one. */
export interface Join {
  readonly kind: 'join'
  readonly room: string
  readonly addresses: Membership['members'][number]['addresses']
}

export type Message =
  | Heartbeat
  | Ack
  | Learn
  | Want
  | Prepare
  | PromiseAnswer
  | Refusal
  | Accept
  | AcceptedAnswer
  | AskDoors
  | Doors
  | Consent
  | Join

/** The witness's register: a linearizable value, no logic (docs/protocol/choosing.md, "The witness"). */
export interface Register {
  readonly incarnation: string
  /** Counts up with every swap. */
  readonly version: number
  readonly membership: Membership
  readonly accepted: Accepted | null
}

export type WitnessRequest =
  | { readonly kind: 'read'; readonly id: number; readonly epoch: Epoch; readonly digest: string }
  | { readonly kind: 'swap'; readonly id: number; readonly expectedVersion: number; readonly register: Omit<Register, 'version'> }

export type WitnessAnswer =
  /** `isCounted`: the witness counted this read as an ack to the reader in that very epoch. */
  | { readonly kind: 'register'; readonly id: number; readonly register: Register; readonly isCounted: boolean }
  | { readonly kind: 'swapped'; readonly id: number; readonly version: number }
  | { readonly kind: 'conflict'; readonly id: number; readonly register: Register }
  | { readonly kind: 'failed'; readonly id: number; readonly reason: string }
