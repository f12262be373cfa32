/** The `Fence` custom resource (`fences.roomfence.io`, cluster-scoped), read and written. */
import type { CallOptions, KubeClient } from '../../kubernetes/client.ts'
import { isKubeError } from '../../kubernetes/errors.ts'
import { paths } from '../../kubernetes/resources.ts'
import { emptyFenceStatus, type Fence, type FenceSpec, type FenceStatus, type PastFence, pastFence } from './fence.ts'
import type { CommittedFence } from './committed-fence.ts'

const fenceSpecOf = (order: CommittedFence): FenceSpec => ({
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

/** Reads the fence or makes it. `resumed` when another agent, or an earlier life of this one, had written it. */
export async function ensureFence(
  client: KubeClient,
  order: CommittedFence,
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
