/** What the cluster and the agents say of nodes that are to be un-fenced: read, for the checks. */
import type { KubeClient } from '../../kubernetes/client.ts'
import { isKubeError } from '../../kubernetes/errors.ts'
import {
  leaseView,
  nodeView,
  paths,
  type PersistentVolumeView,
  persistentVolumeView,
  podView,
  type PodView,
  type VolumeAttachmentView,
  volumeAttachmentView,
} from '../../kubernetes/resources.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { flappingOf, type UnfenceBackoff, waitsForMs } from '../brakes/flapping.ts'
import { readFence, readPastFences } from '../fence/fence-object.ts'
import { type Fence, pastFence } from '../fence/fence.ts'
import { fenceId, optOutAnnotation } from '../fence/names.ts'
import { skipReason } from '../plan/classify.ts'
import { nodeLeaseNamespace } from '../plan/leases.ts'
import { volumesByClaim } from '../plan/snapshot.ts'
import type { FailoverClock } from '../run/clock.ts'
import type { AgentReport, UnfenceFacts } from './checks.ts'

export interface FactsInput {
  /** The epoch of the fence. */
  readonly fencedIn: number
  readonly nodes: readonly NodeId[]
  readonly client: KubeClient
  readonly clock: FailoverClock
  readonly agentReport: (node: NodeId) => AgentReport | undefined
  /** How long to watch for a renewed kubelet Lease: kubelets renew every 10 s. */
  readonly freshnessMs?: number
  /** How long nodes that flap have to wait. */
  readonly backoff: UnfenceBackoff
}

/** Rejects with `KubeError` when it cannot be read. */
export async function readFacts(input: FactsInput, signal: AbortSignal): Promise<readonly UnfenceFacts[]> {
  const { client, backoff } = input
  const fence = await readFence(client, fenceId(input.fencedIn))
  const fences = fence === undefined ? [] : await readPastFences(client, signal)
  const flapping = (node: NodeId): UnfenceFacts['flapping'] => {
    const found = fence && flappingOf(node, pastFence(fence), fences, backoff)
    return found && waitsForMs(found, input.clock.isoTime(), backoff) > 0 ? found : undefined
  }
  const fresh = freshNodes(input, signal)
  // It runs beside the calls below; where one of them fails first, nobody asks for it any more.
  fresh.catch(() => {})
  const attachments = await client.list(paths.volumeAttachments, { project: volumeAttachmentView, signal })
  const volumes = await client.list(paths.persistentVolumes, { project: persistentVolumeView, signal })
  const byClaim = volumesByClaim({ volumes: new Map(volumes.items.map((volume) => [volume.name, volume])) })
  const facts: UnfenceFacts[] = []
  for (const node of input.nodes) {
    const view = await client.get(paths.node(node), { signal }).then(nodeView, undefinedIfGone)
    const pods = await client.list(paths.pods, { project: podView, fieldSelector: `spec.nodeName=${node}`, signal })
    facts.push({
      node,
      exists: view !== undefined,
      isReady: view?.ready ?? false,
      isFresh: (await fresh).has(node),
      fencedByEpoch: fence?.spec.epoch ?? input.fencedIn,
      report: input.agentReport(node),
      flapping: flapping(node),
      ...leftOn(node, pods.items, attachments.items, byClaim, stayingOf(fence)),
    })
  }
  return facts
}

function undefinedIfGone(error: unknown): undefined {
  if (isKubeError(error, 'not-found')) return undefined
  throw error
}

/** Held and opted-out pods never left: the node is where they belong. */
const stayingOf = (fence: Fence | undefined): ReadonlySet<string> =>
  new Set(
    (fence?.status.workloads ?? [])
      .filter((workload) => workload.state === 'held' || workload.state === 'skipped')
      .map((workload) => workload.uid),
  )

/** What of before the fence is still on the node, though it should have been cleared. */
function leftOn(
  node: NodeId,
  pods: readonly PodView[],
  attachments: readonly VolumeAttachmentView[],
  byClaim: ReadonlyMap<string, readonly PersistentVolumeView[]>,
  staying: ReadonlySet<string>,
): Pick<UnfenceFacts, 'oldPods' | 'volumeAttachments'> {
  const isOld = (pod: PodView): boolean =>
    skipReason(pod, pod.annotations[optOutAnnotation] !== undefined) === undefined &&
    !staying.has(pod.uid) &&
    !staying.has(pod.owner?.uid ?? '')
  // What stays keeps its volumes attached, those alone.
  const keptVolumes = new Set(
    pods
      .filter((pod) => !isOld(pod))
      .flatMap((pod) =>
        pod.volumes.flatMap((volume) => (volume.kind === 'claim' ? (byClaim.get(`${pod.namespace}/${volume.claim}`) ?? []) : [])),
      )
      .map(({ name }) => name),
  )
  return {
    oldPods: pods.filter(isOld).map((pod) => `pod ${pod.namespace}/${pod.name}`),
    volumeAttachments: attachments
      .filter((attachment) => attachment.nodeName === node && !keptVolumes.has(attachment.persistentVolume))
      .map((attachment) => `VolumeAttachment ${attachment.name}`),
  }
}

/** The nodes whose kubelet renewed its Lease while we watched. Lease times are never compared with our clock. */
async function freshNodes({ client, nodes, clock, freshnessMs = 25_000 }: FactsInput, signal: AbortSignal): Promise<ReadonlySet<NodeId>> {
  const first = new Map<NodeId, string>()
  const fresh = new Set<NodeId>()
  const startedMs = clock.nowMs()
  for (;;) {
    for (const node of nodes) {
      if (fresh.has(node)) continue
      const lease = await client.get(paths.lease(nodeLeaseNamespace, node), { signal }).then(leaseView, undefinedIfGone)
      if (lease === undefined) continue
      const before = first.get(node)
      if (before === undefined) first.set(node, lease.renewTime)
      else if (before !== lease.renewTime) fresh.add(node)
    }
    if (fresh.size === nodes.length || signal.aborted || clock.nowMs() - startedMs > freshnessMs) return fresh
    await clock.sleep(Math.min(1_000, freshnessMs / 10), signal)
  }
}
