/** What the carrying out of a fence is given, and what it knows from one look to the next (types only). */
import type { KubeClient } from '../../kubernetes/client.ts'
import type { Fence, FenceStatus, RecordedFlapping } from '../fence/fence.ts'
import type { CommittedFence } from '../fence/committed-fence.ts'
import type { DataGate, Proofs } from '../fence/proofs.ts'
import type { FailoverConfig } from '../plan/config.ts'
import type { FailoverClock } from './clock.ts'
import type { EventWriter } from './events.ts'
import type { Observation } from './observation.ts'
import type { FailoverProgress } from './progress.ts'
import type { StepEvents } from './step-events.ts'

export interface FailoverInput {
  readonly order: CommittedFence
  readonly client: KubeClient
  readonly proofs: Proofs
  readonly dataGate: DataGate
  readonly config: FailoverConfig
  readonly clock: FailoverClock
  readonly onProgress: FailoverProgress
  /** Called with the status of each plan, whether it is written now or in a moment. */
  readonly onStatus?: (status: FenceStatus) => void
  /** For tests of a carrier that dies: called before each write to the cluster; it may throw, and then nothing more is written. */
  readonly beforeWrite?: (subject: string) => void
}

export interface Surroundings {
  readonly observation: Observation
  readonly events: EventWriter
  readonly rest: (ms: number) => Promise<void>
  readonly poke: () => void
  readonly signal: AbortSignal
}

/** A fence that is being carried out: what is known of it from one look to the next. */
export interface Carrying extends Surroundings {
  readonly input: FailoverInput
  readonly tell: StepEvents
  readonly call: { readonly signal: AbortSignal; readonly timeoutMs: number }
  readonly done: DoneSteps
  /** As it was read or written last, with the status that was planned last; undefined when it has to be looked for. */
  fence: Fence | undefined
  known: FenceStatus | undefined
  written: FenceStatus
  writtenAtMs: number
  flapping: RecordedFlapping | undefined
  leasesAtMs: number
  /** Since when each subject of the plans waits. */
  sinceMs: ReadonlyMap<string, number>
  backoffMs: number
}

/** What this agent did, or was refused, and what the cluster may not show yet. */
export interface DoneSteps {
  /** Uids of the workloads whose start was asked for. */
  readonly startAsked: Set<string>
  readonly released: Set<string>
  readonly refused: Map<string, string>
}
