/** What the failover is told: which nodes a committed fence names, and what is known about their having stopped (docs/protocol/proofs.md, docs/failover.md, "Executing the fence"). */
import type { ClusterId, Epoch, NodeId, Room } from '../protocol/ids.ts'

/** The name of a fence: its Fence object's, and the one that people write. */
export const fenceId = (epoch: number): string => `fence-${epoch}`

export interface FenceOrder {
  /** Name of the Fence object, DNS-1123: `fence-7`. */
  readonly id: string
  readonly epoch: Epoch
  readonly clusterId: ClusterId
  readonly nodes: readonly NodeId[]
  readonly rooms: readonly Room[]
  readonly reason: string
  readonly carriedOutBy: NodeId
  /** Decide and record, touch nothing. */
  readonly dryRun: boolean
}

/** Why it is known that a node, or what it ran, writes no more. */
export type Proof =
  | { readonly kind: 'storage' }
  | { readonly kind: 'timed'; readonly heldSinceMs: number }
  | { readonly kind: 'killed' }
  | { readonly kind: 'power' }
  | { readonly kind: 'human'; readonly by: string }

export type ProofAnswer =
  | { readonly held: true; readonly proof: Proof }
  /** `readyInMs`: when it will hold by itself; absent when nothing says that it ever will. */
  | { readonly held: false; readonly reason: string; readonly readyInMs?: number }

export interface Proofs {
  /** The whole node has stopped: timed, killed, power or human. */
  node(node: NodeId): ProofAnswer
  /** The node's proof, else `storage` for exactly these DRBD resources (a PV's `csi.volumeHandle`). */
  workload(node: NodeId, resources: readonly string[]): ProofAnswer
}

export interface VolumeName {
  readonly driver: string
  readonly handle: string
}

/** Whether the survivors hold an UpToDate replica of every volume (P4). Drivers that are not DRBD are open. */
export type DataGate = (volumes: readonly VolumeName[]) => { readonly open: true } | { readonly open: false; readonly reason: string }

export interface FailoverClock {
  /** Monotonic. */
  nowMs(): number
  /** Wall-clock time for people and for the Fence object only: RFC 3339. */
  isoTime(): string
  /** Resolves early when the signal aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

/** Labels that a pod must all have; an empty value means any value. */
export interface PodSelector {
  readonly namespace?: string
  readonly labels: { readonly [label: string]: string }
}

export interface FailoverConfig {
  /** Cleared first, in this order: without them nothing else comes back. A VM's pods are none of them, whatever their labels. */
  readonly controlPods: readonly PodSelector[]
  /** CSI drivers whose volumes are DRBD resources, so that the `storage` proof can hold for them. */
  readonly drbdDrivers: readonly string[]
  /** VMs cleared at once. */
  readonly waveSize: number
  /** The next wave waits until the VMs of the one before run again, or for `waveReadyMs`. */
  readonly waveReadinessGate: boolean
  readonly waveReadyMs: number
  /** A VM with runStrategy Once whose instance failed: leave it, or delete the failed instance so that it starts again. */
  readonly onceVms: 'leave' | 'restart'
  /** A VM that was starting when its node died waits 10 s to 5 min before it starts again; `true` removes that wait once. */
  readonly skipStartBackoff: boolean
  /** An instance still Running without a pod is touched after this long, so that virt-controller looks at it again. */
  readonly touchAfterMs: number
  /** A RerunOnFailure VM without instance and without a queued start gets one after this long. */
  readonly startSafetyNetMs: number
  /** A VM that does not run after this long is told of as failed. */
  readonly vmDeadlineMs: number
  readonly volumeAttachmentDeadlineMs: number
  /** A node that was fenced and un-fenced within this time before its present fence flaps. */
  readonly flapWindowMs: number
  /** The first wait before the un-fence of a node that flaps is accepted; twice as long with every further round. */
  readonly unfenceBackoffMs: number
  readonly unfenceBackoffMaxMs: number
  readonly maxConcurrency: number
  readonly apiCallMs: number
  /** Longest pause between two looks at the cluster while something waits. */
  readonly lookEveryMs: number
  readonly events: boolean
}

export const defaultFailoverConfig: FailoverConfig = {
  controlPods: [
    { labels: { 'kubevirt.io': 'virt-api' } },
    { labels: { 'kubevirt.io': 'virt-controller' } },
    { labels: { 'app.kubernetes.io/component': 'linstor-csi-controller' } },
    { labels: { 'app.kubernetes.io/component': 'linstor-controller' } },
    { labels: { app: 'csi-controller' } },
    { namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
    { labels: { 'roomfence.io/control': '' } },
  ],
  drbdDrivers: ['linstor.csi.linbit.com'],
  waveSize: 20,
  waveReadinessGate: false,
  waveReadyMs: 120_000,
  onceVms: 'leave',
  skipStartBackoff: true,
  touchAfterMs: 5_000,
  startSafetyNetMs: 15_000,
  vmDeadlineMs: 600_000,
  volumeAttachmentDeadlineMs: 60_000,
  flapWindowMs: 21_600_000,
  unfenceBackoffMs: 300_000,
  unfenceBackoffMaxMs: 3_600_000,
  maxConcurrency: 24,
  apiCallMs: 15_000,
  lookEveryMs: 5_000,
  events: true,
}

export const fencedTaintKey = 'roomfence.io/fenced'
export const outOfServiceTaintKey = 'node.kubernetes.io/out-of-service'
/** The value that makes an out-of-service taint ours; one with another value is never touched. */
export const outOfServiceTaintValue = 'roomfence'
export const optOutAnnotation = 'roomfence.io/opt-out'
export const priorityAnnotation = 'roomfence.io/priority'
export const unfenceAnnotation = 'roomfence.io/unfence'
/** A person's word that a fenced node is dead; the value names the fence and who says so: `fence-7,ada`. */
export const confirmDeadAnnotation = 'roomfence.io/confirm-dead'
/** The epoch that un-fenced a node last, written with the removal of our taints: a fence that is not later taints it no more. */
export const unfencedEpochAnnotation = 'roomfence.io/unfenced-epoch'
export const touchAnnotation = 'roomfence.io/touched'

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
  | { readonly kind: 'held'; readonly workload: string; readonly reason: string; readonly atMs: number }
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
  readonly held: readonly { readonly workload: string; readonly reason: string }[]
}
