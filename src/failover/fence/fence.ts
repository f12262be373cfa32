/** What a Fence is: its order, and the written record from which any agent can go on. deploy/crds holds its schema. */
import type { Proof } from './proofs.ts'

export interface FenceSpec {
  readonly epoch: number
  readonly clusterId: string
  readonly nodes: readonly string[]
  readonly rooms: readonly string[]
  readonly reason: string
  readonly dryRun: boolean
}

export interface RecordedNode {
  readonly name: string
  readonly uid: string
  /** The boot that was fenced: another one later is proof that it ended. Empty when the node's object was gone. */
  readonly bootId: string
  readonly fenced: boolean
  readonly outOfService: boolean
  readonly proof: Proof['kind'] | ''
  readonly waitingFor: string
}

export type WorkloadState = 'waiting' | 'held' | 'skipped' | 'ordered' | 'running' | 'stopped' | 'failed' | 'cleared'

export const isSettled = (state: WorkloadState): boolean =>
  state === 'running' || state === 'stopped' || state === 'failed' || state === 'cleared'

/** A VM or another workload that is more than a replaceable pod. What is here must be known before its pod is cleared: the cluster forgets it then. */
export interface RecordedWorkload {
  readonly kind: 'VirtualMachine' | 'VirtualMachineInstance' | 'Pod'
  readonly namespace: string
  readonly name: string
  /** The instance's (or pod's) uid at the time of the fence: it is followed by this, never by name. */
  readonly uid: string
  readonly node: string
  readonly priority: number
  /** VMs: as it was at the time of the fence. `Terminating` instead of the phase when someone had deleted the instance already. */
  readonly runStrategy: string
  readonly phaseBefore: string
  readonly state: WorkloadState
  readonly proof: Proof['kind'] | ''
  readonly reason: string
  readonly newNode: string
  /** A start was asked for: never twice. */
  readonly startAsked: boolean
  /** Of an instance that no VirtualMachine made: uid of the set (VirtualMachineInstanceReplicaSet) that replaces it. */
  readonly set?: string
  /** Name of the instance that the set runs in its place. */
  readonly replacedBy?: string
  readonly at: string
}

export interface RecordedLease {
  readonly namespace: string
  readonly name: string
  readonly holder: string
  readonly node: string
  readonly released: boolean
}

/** A VolumeAttachment of a fenced node that is not gone yet. */
export interface RecordedAttachment {
  readonly name: string
  readonly node: string
  readonly persistentVolume: string
  /** `namespace/claim`, empty when no claim has the volume (any more). */
  readonly claim: string
  readonly accessModes: readonly string[]
  /** Only one node may have the volume at a time, so its new pod waits for this one. */
  readonly blocks: boolean
  readonly isLate: boolean
  readonly reason: string
}

/** The nodes were fenced and un-fenced not long before: the next un-fence has to wait. */
export interface RecordedFlapping {
  readonly fencesBefore: number
  /** RFC 3339. */
  readonly unfenceNotBefore: string
}

/** A pod that was made since the fence and that no node takes. */
export interface RecordedUnplaced {
  readonly kind: 'VirtualMachine' | 'VirtualMachineInstance' | 'Pod'
  readonly namespace: string
  readonly name: string
  readonly pod: string
  readonly uid: string
  readonly owner: string
  /** The scheduler's own words. */
  readonly reason: string
}

export interface RecordedUnfence {
  readonly node: string
  readonly by: string
  readonly at: string
  readonly epoch: number
  readonly overridden: readonly string[]
}

export interface FenceStatus {
  /** `Recorded`: nothing done yet. `Waiting`: for a proof, or with held workloads. `Finished`: every workload has settled. */
  readonly phase: 'Recorded' | 'Acting' | 'Waiting' | 'Finished' | 'Unfenced'
  readonly carriedOutBy: string
  readonly message: string
  readonly nodes: readonly RecordedNode[]
  readonly workloads: readonly RecordedWorkload[]
  readonly leases: readonly RecordedLease[]
  readonly stuck: readonly string[]
  readonly volumeAttachments: readonly RecordedAttachment[]
  readonly unplaced: readonly RecordedUnplaced[]
  readonly unfenced: readonly RecordedUnfence[]
  readonly flapping?: RecordedFlapping
  readonly counts: {
    readonly pods: number
    readonly vms: number
    readonly running: number
    readonly held: number
    readonly unplaced: number
    readonly volumeAttachments: number
  }
  readonly startedAt: string
  readonly updatedAt: string
  readonly finishedAt: string
}

export interface Fence {
  readonly name: string
  readonly uid: string
  readonly resourceVersion: string
  /** By the API server's clock, as are those of pods: the two can be compared. */
  readonly createdAt: string
  readonly spec: FenceSpec
  readonly status: FenceStatus
}

export const emptyFenceStatus: FenceStatus = {
  phase: 'Recorded',
  carriedOutBy: '',
  message: '',
  nodes: [],
  workloads: [],
  leases: [],
  stuck: [],
  volumeAttachments: [],
  unplaced: [],
  unfenced: [],
  counts: { pods: 0, vms: 0, running: 0, held: 0, unplaced: 0, volumeAttachments: 0 },
  startedAt: '',
  updatedAt: '',
  finishedAt: '',
}

/** Who was fenced and un-fenced when: what flapping is told by. */
export interface PastFence {
  readonly epoch: number
  readonly createdAt: string
  readonly dryRun: boolean
  readonly nodes: readonly string[]
  readonly unfenced: readonly string[]
}

export const pastFence = ({ spec, status, createdAt }: Fence): PastFence => ({
  epoch: spec.epoch,
  createdAt,
  dryRun: spec.dryRun,
  nodes: spec.nodes,
  unfenced: status.unfenced.map(({ node }) => node),
})
