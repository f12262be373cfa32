/** The `Fence` custom resource (`fences.roomfence.io`, cluster-scoped): the written record from which any agent can go on. deploy/crds holds its schema. */
import { isKubeError } from '../kubernetes/errors.ts'
import type { CallOptions, KubeClient } from '../kubernetes/client.ts'
import { paths } from '../kubernetes/resources.ts'
import type { PastFence } from './flapping.ts'
import type { FenceOrder, Proof } from './order.ts'

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

const fenceSpecOf = (order: FenceOrder): FenceSpec => ({
  epoch: order.epoch,
  clusterId: order.clusterId,
  nodes: [...order.nodes].sort(),
  rooms: [...order.rooms].sort(),
  reason: order.reason.slice(0, 1_024),
  dryRun: order.dryRun,
})

function fenceOf(object: unknown): Fence {
  const raw = object as {
    readonly metadata: { readonly name: string; readonly uid: string; readonly resourceVersion: string; readonly creationTimestamp: string }
    readonly spec: FenceSpec
    readonly status?: Partial<FenceStatus>
  }
  return {
    name: raw.metadata.name,
    uid: raw.metadata.uid,
    resourceVersion: raw.metadata.resourceVersion,
    createdAt: raw.metadata.creationTimestamp,
    spec: raw.spec,
    status: { ...emptyFenceStatus, ...raw.status },
  }
}

export async function readFence(client: KubeClient, name: string, call: CallOptions = {}): Promise<Fence | undefined> {
  try {
    return fenceOf(await client.get(paths.fence(name), call))
  } catch (error) {
    if (isKubeError(error, 'not-found')) return undefined
    throw error
  }
}

/** What the Fence objects say of who was fenced and un-fenced when. */
export async function readPastFences(client: KubeClient, signal: AbortSignal): Promise<readonly PastFence[]> {
  const { items } = await client.list(paths.fences, { project: (object) => pastFence(fenceOf(object)), signal })
  return items
}

export const pastFence = ({ spec, status, createdAt }: Fence): PastFence => ({
  epoch: spec.epoch,
  createdAt,
  dryRun: spec.dryRun,
  nodes: spec.nodes,
  unfenced: status.unfenced.map(({ node }) => node),
})

/** Reads the fence or makes it. `resumed` when another agent, or an earlier life of this one, had written it. */
export async function ensureFence(
  client: KubeClient,
  order: FenceOrder,
  call: CallOptions = {},
): Promise<{ readonly fence: Fence; readonly resumed: boolean }> {
  const found = await readFence(client, order.id, call)
  if (found !== undefined) return { fence: found, resumed: true }
  try {
    const created = await client.create(
      paths.fences,
      {
        apiVersion: 'roomfence.io/v1',
        kind: 'Fence',
        metadata: { name: order.id, labels: { 'app.kubernetes.io/managed-by': 'roomfence' } },
        spec: fenceSpecOf(order),
      },
      call,
    )
    return { fence: fenceOf(created), resumed: false }
  } catch (error) {
    if (!isKubeError(error, 'already-exists')) throw error
    const other = await readFence(client, order.id, call)
    if (other === undefined) throw error
    return { fence: other, resumed: true }
  }
}

/** Writes the status if nobody wrote since it was read; else rejects with `conflict`. */
export async function writeFenceStatus(client: KubeClient, fence: Fence, status: FenceStatus, call: CallOptions = {}): Promise<Fence> {
  const body = { metadata: { resourceVersion: fence.resourceVersion }, status }
  const written = await client.patchMerge(`${paths.fence(fence.name)}/status`, body, call)
  return fenceOf(written)
}
