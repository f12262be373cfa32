/**
 * What this agent knows under one epoch alone. It is made whole anew when the next one is learned (`newEpoch`), so nothing of an epoch before is taken
 * along unseen. Pure.
 */
import type { NodeId } from './ids.ts'
import type { Membership, VoterKey } from './membership.ts'
import type { Ballot } from './messages.ts'

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

/** What a voter whose door to a fenced node is closed said of it, converted to this node's clock. */
export interface Door {
  readonly ackedAtMs: number
  readonly watchdogMs: number | null
}

/** What this agent knows of one fence of one node, from learning it until the node is let back or fenced anew. */
export interface FenceView {
  /** `votesSinceEpoch` of the epoch before it; undefined where this process began with the fence. */
  readonly votesSinceEpoch: number | undefined
  /** When this node first knew, at the latest, that the epoch before the fence was installed: no proof counts from earlier. */
  floorMs: number
  readonly doors: Map<VoterKey, Door>
  /** When this node first knew of a register value that closes the witness's door to the node. */
  witnessDoorAtMs: number | undefined
  /** Who confirmed that the node is dead. */
  confirmedBy: string | undefined
}

export interface EpochState {
  readonly learnedAtMs: number
  isInstalled: boolean
  /** Infinity: not known to be installed. */
  installedAtMs: number
  readonly grants: Map<VoterKey, number>
  /** Permit carried over from the epoch before. */
  carriedUntilMs: number
  /** The earliest epoch since which, as far as this node knows, all had the votes of the present one. */
  readonly votesSinceEpoch: number
  /** By node, all that are fenced in this epoch and no others. */
  readonly fences: ReadonlyMap<NodeId, FenceView>
  attempt: Attempt | null
  failedAttempts: number
  /** Since when a value for the next epoch is accepted here, and seen in the witness; Infinity: none. */
  acceptedSinceMs: number
  registerAcceptedSinceMs: number
  /** Another membership of the same number was seen. */
  hasConflict: boolean
}

/** All that is known in the moment in which an epoch begins here. What is not named begins anew. */
export interface EpochBeginning {
  readonly nowMs: number
  /** The disk said so, to a process that begins in this epoch. */
  readonly isInstalled: boolean
  readonly hasAccepted: boolean
  /** Carried over from the epoch before. */
  readonly carriedUntilMs: number
  readonly votesSinceEpoch: number
  readonly fences: ReadonlyMap<NodeId, FenceView>
}

export function newEpoch({ nowMs, isInstalled, hasAccepted, carriedUntilMs, votesSinceEpoch, fences }: EpochBeginning): EpochState {
  return {
    learnedAtMs: nowMs,
    isInstalled,
    // Known since earlier; what is counted from it is only later for that.
    installedAtMs: isInstalled ? nowMs : Infinity,
    grants: new Map(),
    carriedUntilMs,
    votesSinceEpoch,
    fences,
    attempt: null,
    failedAttempts: 0,
    acceptedSinceMs: hasAccepted ? nowMs : Infinity,
    // Counted anew in each epoch, or no-op follows no-op.
    registerAcceptedSinceMs: Infinity,
    hasConflict: false,
  }
}

export function newFence(floorMs: number, votesSinceEpoch?: number): FenceView {
  return { votesSinceEpoch, floorMs, doors: new Map(), witnessDoorAtMs: undefined, confirmedBy: undefined }
}
