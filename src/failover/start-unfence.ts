/** Un-fencing a node or a room: read the facts, check, have the epoch chosen, then take away what is ours and nothing else (docs/protocol/operator.md). */
import type { KubeClient } from '../kubernetes/client.ts'
import { isKubeError, isTransient, KubeError } from '../kubernetes/errors.ts'
import { leaseView, nodeView, paths, persistentVolumeView, podView, type PodView, volumeAttachmentView } from '../kubernetes/resources.ts'
import type { Epoch, NodeId } from '../protocol/ids.ts'
import { skipReason } from './classify.ts'
import { startEventWriter } from './events.ts'
import {
  type Fence,
  type FenceStatus,
  pastFence,
  readFence,
  readPastFences,
  type RecordedUnfence,
  writeFenceStatus,
} from './fence-object.ts'
import { flappingOf, type UnfenceBackoff, waitsForMs } from './flapping.ts'
import { leftManual, startLeftManual } from './left-manual.ts'
import { nodeLeaseNamespace } from './leases.ts'
import {
  confirmDeadAnnotation,
  defaultFailoverConfig,
  type FailoverClock,
  optOutAnnotation,
  unfenceAnnotation,
  unfencedEpochAnnotation,
} from './order.ts'
import { refusalReason } from './rbac.ts'
import { volumesByClaim } from './snapshot.ts'
import { fencedEpoch, isOurs, isUnfencedSince, withoutOurs } from './taints.ts'
import { type AgentReport, checkUnfence, type FailedCheck, type UnfenceFacts } from './unfence.ts'

/** The kubelet of a node that came back tells of its dead pods with its first status; this is for a slow one. */
const killedIsToldWithinMs = 30_000

/** Our answer to a request that was refused, on the node. */
const unfenceAnswerAnnotation = 'roomfence.io/unfence-answer'
const unfencedAnnotation = 'roomfence.io/unfenced'

export interface UnfenceInput {
  /** Name of the Fence object. */
  readonly fenceId: string
  /** The epoch of the fence, for when its object is lost. */
  readonly fencedByEpoch: number
  readonly nodes: readonly NodeId[]
  /** Who asked for it. */
  readonly by: string
  readonly force: boolean
  readonly client: KubeClient
  readonly clock: FailoverClock
  readonly agentReport: (node: NodeId) => AgentReport | undefined
  /** Has the epoch without these nodes in `fenced` chosen and learned; called after the checks, before anything is changed in the cluster. */
  readonly chooseEpoch: (
    nodes: readonly NodeId[],
  ) => Promise<{ readonly chosen: true; readonly epoch: Epoch } | { readonly chosen: false; readonly reason: string }>
  /** How long to watch for a renewed kubelet Lease: kubelets renew every 10 s. */
  readonly freshnessMs?: number
  /** How long nodes that flap have to wait. */
  readonly backoff?: UnfenceBackoff
  /** Whether Kubernetes Events are written. */
  readonly events?: boolean
  readonly onProgress?: (event: UnfenceEvent) => void
}

export type UnfenceEvent =
  | { readonly kind: 'refused'; readonly checks: readonly FailedCheck[]; readonly atMs: number }
  | { readonly kind: 'epoch-chosen'; readonly epoch: Epoch; readonly atMs: number }
  | { readonly kind: 'node-unfenced'; readonly node: NodeId; readonly atMs: number }
  /** A Manual VM that the fence had killed and nothing else brings back. */
  | { readonly kind: 'vm-started'; readonly vm: string; readonly atMs: number }
  | { readonly kind: 'api-unavailable'; readonly reason: string; readonly atMs: number }

export type UnfenceResult =
  | { readonly outcome: 'unfenced'; readonly epoch: Epoch; readonly overridden: readonly FailedCheck[] }
  | { readonly outcome: 'refused'; readonly checks: readonly FailedCheck[] }
  | { readonly outcome: 'not-chosen'; readonly reason: string }
  | { readonly outcome: 'stopped' }

export function startUnfence(input: UnfenceInput): { readonly done: Promise<UnfenceResult>; stop(): void } {
  const stopping = new AbortController()
  return {
    done: unfence(input, stopping.signal),
    stop: () => {
      stopping.abort()
    },
  }
}

async function unfence(input: UnfenceInput, signal: AbortSignal): Promise<UnfenceResult> {
  const { clock, onProgress } = input
  const facts = await readFacts(input, signal)
  const verdict = checkUnfence(facts, input.force)
  if (!verdict.isAllowed) {
    onProgress?.({ kind: 'refused', checks: verdict.refusedBy, atMs: clock.nowMs() })
    await answerRefusal(input, verdict.refusedBy, signal)
    return { outcome: 'refused', checks: verdict.refusedBy }
  }
  if (signal.aborted) return { outcome: 'stopped' }
  const choice = await input.chooseEpoch(input.nodes)
  if (!choice.chosen) return { outcome: 'not-chosen', reason: choice.reason }
  onProgress?.({ kind: 'epoch-chosen', epoch: choice.epoch, atMs: clock.nowMs() })
  const overridden = verdict.overridden.map((check) => ({ node: check.node, text: `${check.check}: ${check.reason}` }))
  const isDone = await finishUnfence({ ...input, epoch: choice.epoch, overridden, signal })
  return isDone ? { outcome: 'unfenced', epoch: choice.epoch, overridden: verdict.overridden } : { outcome: 'stopped' }
}

/**
 * What follows once the epoch is chosen, retried until it is done: also for an agent that finds our taint on a node which the membership no longer fences.
 *
 * @returns false when stopped first
 */
export async function finishUnfence(
  input: Pick<UnfenceInput, 'fenceId' | 'nodes' | 'by' | 'client' | 'clock' | 'onProgress'> & {
    readonly epoch: Epoch
    readonly overridden: readonly { readonly node: NodeId; readonly text: string }[]
    readonly signal: AbortSignal
  },
): Promise<boolean> {
  const { client, clock, signal, onProgress } = input
  let backoffMs = 250
  const at = clock.isoTime()
  const entries = input.nodes.map(
    (node): RecordedUnfence => ({
      node,
      by: input.by,
      at,
      epoch: input.epoch,
      overridden: input.overridden.filter((check) => check.node === node).map((check) => check.text),
    }),
  )
  const left = new Set(input.nodes)
  while (!signal.aborted) {
    try {
      // Written first: an agent that still carries out the fence then leaves these nodes alone.
      await recordUnfence(client, input.fenceId, entries)
      for (const node of left) {
        await releaseNode(client, node, input.epoch, `by ${input.by} at ${at}, epoch ${String(input.epoch)}`)
        left.delete(node)
        onProgress?.({ kind: 'node-unfenced', node, atMs: clock.nowMs() })
      }
      const fence = await readFence(client, input.fenceId)
      const manual = leftManual(fence?.status.workloads ?? [], new Set<string>(input.nodes))
      for (const vm of await startLeftManual(client, manual, { clock, signal, withinMs: killedIsToldWithinMs }))
        onProgress?.({ kind: 'vm-started', vm, atMs: clock.nowMs() })
      return true
    } catch (error) {
      if (!(error instanceof KubeError) || !(isTransient(error) || error.code === 'conflict' || error.code === 'forbidden')) throw error
      onProgress?.({ kind: 'api-unavailable', reason: refusalReason(error), atMs: clock.nowMs() })
      await clock.sleep(Math.max(error.retryAfterMs ?? 0, backoffMs), signal)
      backoffMs = Math.min(10_000, backoffMs * 2)
    }
  }
  return false
}

async function recordUnfence(client: KubeClient, fenceId: string, entries: readonly RecordedUnfence[]): Promise<void> {
  const fence: Fence | undefined = await readFence(client, fenceId)
  if (fence === undefined) return
  const known = new Set(fence.status.unfenced.map((entry) => entry.node))
  const unfenced = [...fence.status.unfenced, ...entries.filter((entry) => !known.has(entry.node))]
  const gone = new Set(unfenced.map((entry) => entry.node))
  const status: FenceStatus = {
    ...fence.status,
    unfenced,
    phase: fence.spec.nodes.every((node) => gone.has(node)) ? 'Unfenced' : fence.status.phase,
  }
  if (unfenced.length > fence.status.unfenced.length || status.phase !== fence.status.phase) await writeFenceStatus(client, fence, status)
}

/** Our taints and annotations go, all others stay. */
async function releaseNode(client: KubeClient, name: NodeId, epoch: Epoch, note: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      const node = nodeView(await client.get(paths.node(name)))
      // Fenced anew meanwhile: what is there now is the later fence's.
      if ((fencedEpoch(node.taints) ?? -1) > epoch) return
      const asked = [unfenceAnnotation, unfenceAnswerAnnotation, confirmDeadAnnotation].filter(
        (annotation) => node.annotations[annotation] !== undefined,
      )
      if (!node.taints.some(isOurs) && asked.length === 0 && isUnfencedSince(node.annotations, epoch - 1)) return
      await client.patchMerge(paths.node(name), {
        metadata: {
          resourceVersion: node.resourceVersion,
          annotations: {
            ...Object.fromEntries(asked.map((annotation) => [annotation, null])),
            [unfencedAnnotation]: note,
            [unfencedEpochAnnotation]: String(epoch),
          },
        },
        spec: { taints: withoutOurs(node.taints) },
      })
      return
    } catch (error) {
      if (isKubeError(error, 'not-found')) return
      if (!isKubeError(error, 'conflict') || attempt >= 10) throw error
    }
  }
}

/** On the node, where the request stands; and as an event when it is another answer than before. */
async function answerRefusal(input: UnfenceInput, checks: readonly FailedCheck[], signal: AbortSignal): Promise<void> {
  const { client, clock } = input
  const events = startEventWriter({
    client,
    reporter: input.by,
    isoTime: () => clock.isoTime(),
    signal,
    enabled: input.events ?? true,
  })
  const byNode = Map.groupBy(checks, (check) => check.node)
  for (const [node, failed] of byNode) {
    const answer = failed.map(({ check, reason, nextStep }) => `refused (${check}): ${reason}; ${nextStep}`).join(' | ')
    try {
      const view = nodeView(await client.get(paths.node(node)))
      if (view.annotations[unfenceAnswerAnnotation] === answer) continue
      const subject = { apiVersion: 'v1', kind: 'Node', name: node, uid: view.uid }
      events.write({ subject, type: 'Warning', reason: 'UnfenceRefused', action: 'Unfence', note: answer })
      await client.patchMerge(paths.node(node), { metadata: { annotations: { [unfenceAnswerAnnotation]: answer } } })
    } catch (error) {
      // The refusal stands without its being written on the node.
      if (!(error instanceof KubeError)) throw error
    }
  }
  await events.settled()
}

/** Reads what the API knows of the nodes. Rejects with `KubeError` when it cannot. */
async function readFacts(input: UnfenceInput, signal: AbortSignal): Promise<readonly UnfenceFacts[]> {
  const { client } = input
  const fence = await readFence(client, input.fenceId)
  const backoff = input.backoff ?? defaultFailoverConfig
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
  // Held and opted-out pods never left: the node is where they belong.
  const staying = new Set(
    (fence?.status.workloads ?? [])
      .filter((workload) => workload.state === 'held' || workload.state === 'skipped')
      .map((workload) => workload.uid),
  )
  const facts: UnfenceFacts[] = []
  for (const node of input.nodes) {
    const view = await client.get(paths.node(node), { signal }).then(nodeView, (error: unknown) => {
      if (isKubeError(error, 'not-found')) return undefined
      throw error
    })
    const pods = await client.list(paths.pods, { project: podView, fieldSelector: `spec.nodeName=${node}`, signal })
    const isOld = (pod: PodView): boolean =>
      skipReason(pod, pod.annotations[optOutAnnotation] !== undefined) === undefined &&
      !staying.has(pod.uid) &&
      !staying.has(pod.owner?.uid ?? '')
    const old = pods.items.filter(isOld)
    // What stays keeps its volumes attached, those alone.
    const keptVolumes = new Set(
      pods.items
        .filter((pod) => !isOld(pod))
        .flatMap((pod) =>
          pod.volumes.flatMap((volume) => (volume.kind === 'claim' ? (byClaim.get(`${pod.namespace}/${volume.claim}`) ?? []) : [])),
        )
        .map(({ name }) => name),
    )
    facts.push({
      node,
      exists: view !== undefined,
      isReady: view?.ready ?? false,
      isFresh: (await fresh).has(node),
      fencedByEpoch: fence?.spec.epoch ?? input.fencedByEpoch,
      report: input.agentReport(node),
      flapping: flapping(node),
      oldPods: old.map((pod) => `pod ${pod.namespace}/${pod.name}`),
      volumeAttachments: attachments.items
        .filter((attachment) => attachment.nodeName === node && !keptVolumes.has(attachment.persistentVolume))
        .map((attachment) => `VolumeAttachment ${attachment.name}`),
    })
  }
  return facts
}

/** The nodes whose kubelet renewed its Lease while we watched. Lease times are never compared with our clock. */
async function freshNodes({ client, nodes, clock, freshnessMs = 25_000 }: UnfenceInput, signal: AbortSignal): Promise<ReadonlySet<NodeId>> {
  const first = new Map<NodeId, string>()
  const fresh = new Set<NodeId>()
  const startedMs = clock.nowMs()
  for (;;) {
    for (const node of nodes) {
      if (fresh.has(node)) continue
      const lease = await client.get(paths.lease(nodeLeaseNamespace, node), { signal }).then(leaseView, (error: unknown) => {
        if (isKubeError(error, 'not-found')) return undefined
        throw error
      })
      if (lease === undefined) continue
      const before = first.get(node)
      if (before === undefined) first.set(node, lease.renewTime)
      else if (before !== lease.renewTime) fresh.add(node)
    }
    if (fresh.size === nodes.length || signal.aborted || clock.nowMs() - startedMs > freshnessMs) return fresh
    await clock.sleep(Math.min(1_000, freshnessMs / 10), signal)
  }
}
