/** What a plan is made from, and nothing else (types only). */
import type { CommittedFence } from '../fence/committed-fence.ts'
import type { DataGate, Proofs } from '../fence/proofs.ts'
import type { FailoverConfig } from './config.ts'
import type { Snapshot } from './snapshot.ts'

export interface PlanInput {
  readonly order: CommittedFence
  readonly snapshot: Snapshot
  readonly proofs: Proofs
  readonly dataGate: DataGate
  readonly config: FailoverConfig
  readonly nowMs: number
  /** Since when this agent has seen each subject wait (`Plan.subjects` of the plans before). */
  readonly sinceMs: ReadonlyMap<string, number>
  /** Wall-clock time, for the record only. */
  readonly isoTime: string
  /** Steps that the API server refused when they were last tried, by key, and why. */
  readonly refused?: ReadonlyMap<string, string>
}

/** For how long this agent has seen a subject wait; whoever asks makes it one whose time counts. */
export type AgeMs = (subject: string) => number
