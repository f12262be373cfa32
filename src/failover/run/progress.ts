/** What the failover tells of while it is under way, and at its end. */
import type { Proof } from '../fence/proofs.ts'

/** What happens, as it happens: for logs, metrics, the status page and the demo's timeline. Times are the clock's monotonic ms. */
export type FailoverEvent =
  | { readonly kind: 'fence-recorded'; readonly fence: string; readonly atMs: number; readonly resumed: boolean }
  | { readonly kind: 'node-tainted'; readonly node: string; readonly taint: 'fenced' | 'out-of-service'; readonly atMs: number }
  | {
      readonly kind: 'step-done'
      readonly step: string
      readonly subject: string
      readonly outcome: 'done' | 'gone' | 'replaced' | 'dry-run'
      readonly atMs: number
    }
  | {
      readonly kind: 'step-failed'
      readonly step: string
      readonly subject: string
      readonly code: string
      readonly reason: string
      readonly atMs: number
    }
  | {
      readonly kind: 'waiting-for-proof'
      readonly node: string
      readonly workload: string
      readonly reason: string
      readonly readyInMs?: number
      readonly atMs: number
    }
  | {
      readonly kind: 'pod-cleared'
      readonly pod: string
      readonly node: string
      readonly proof: Proof['kind'] | 'none'
      readonly atMs: number
    }
  | { readonly kind: 'lease-released'; readonly lease: string; readonly holder: string; readonly atMs: number }
  | { readonly kind: 'vm-ordered'; readonly vm: string; readonly proof: Proof['kind']; readonly atMs: number }
  | { readonly kind: 'vm-running'; readonly vm: string; readonly node: string; readonly atMs: number }
  | {
      readonly kind: 'vm-settled'
      readonly vm: string
      readonly state: 'stopped' | 'failed'
      readonly reason: string
      readonly atMs: number
    }
  | { readonly kind: 'vm-unplaced'; readonly vm: string; readonly reason: string; readonly atMs: number }
  | { readonly kind: 'pod-unplaced'; readonly pod: string; readonly reason: string; readonly atMs: number }
  | { readonly kind: 'blocked'; readonly workload: string; readonly reason: string; readonly atMs: number }
  | { readonly kind: 'skipped'; readonly workload: string; readonly reason: string; readonly atMs: number }
  | {
      readonly kind: 'volume-attachment-stuck'
      readonly volumeAttachment: string
      readonly node: string
      readonly reason: string
      readonly atMs: number
    }
  /** Something cannot be listed or watched (`path`), so nothing is decided without it, or it is done without: the reason says what is missing. */
  | { readonly kind: 'not-seen'; readonly path: string; readonly reason: string; readonly atMs: number }
  | { readonly kind: 'flapping'; readonly fencesBefore: number; readonly unfenceNotBefore: string; readonly atMs: number }
  | { readonly kind: 'api-unavailable'; readonly reason: string; readonly retryInMs: number; readonly atMs: number }
  /** A Kubernetes Event could not be written: nothing depends on it. */
  | { readonly kind: 'event-dropped'; readonly reason: string; readonly atMs: number }
  | { readonly kind: 'refused'; readonly reason: string; readonly atMs: number }
  | { readonly kind: 'finished'; readonly atMs: number }

export type FailoverProgress = (event: FailoverEvent) => void

export interface FailoverResult {
  /** `refused` and `superseded` come with a reason; `stopped` when `stop()` ended it first. */
  readonly outcome: 'finished' | 'stopped' | 'refused' | 'superseded'
  readonly reason: string
  readonly running: readonly string[]
  readonly stopped: readonly string[]
  readonly failed: readonly { readonly workload: string; readonly reason: string }[]
  readonly blocked: readonly { readonly workload: string; readonly reason: string }[]
}
