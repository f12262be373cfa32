/** Un-fencing a node or a room: read the facts, check, have the epoch chosen, then take away what is ours and nothing else (docs/protocol/operator.md). */
import type { KubeClient } from '../../kubernetes/client.ts'
import { isTransient, KubeError } from '../../kubernetes/errors.ts'
import type { Epoch, NodeId } from '../../protocol/ids.ts'
import { readFence, writeFenceStatus } from '../fence/fence-object.ts'
import type { FenceStatus, RecordedUnfence } from '../fence/fence.ts'
import { fenceId } from '../fence/names.ts'
import { startEventWriter } from '../run/events.ts'
import { refusalReason } from '../run/rbac.ts'
import { releaseNode, writeAnswer } from './annotations.ts'
import { checkUnfence, type FailedCheck } from './checks.ts'
import { type FactsInput, readFacts } from './facts.ts'
import { unstartedManual, startUnstartedManual } from './unstarted-manual.ts'

/** The kubelet of a node that came back tells of its dead pods with its first status; this is for a slow one. */
const killedIsReportedWithinMs = 30_000

export interface UnfenceInput extends FactsInput {
  /** Who asked for it. */
  readonly by: string
  readonly isForced: boolean
  /** Has the epoch without these nodes in `fenced` chosen and learned; called after the checks, before anything is changed in the cluster. */
  readonly chooseEpoch: (nodes: readonly NodeId[]) => Promise<ChosenEpoch>
  /** Whether Kubernetes Events are written. */
  readonly events?: boolean
  readonly onProgress?: (event: UnfenceEvent) => void
}

export type ChosenEpoch = { readonly chosen: true; readonly epoch: Epoch } | { readonly chosen: false; readonly reason: string }

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
  const verdict = checkUnfence(facts, input.isForced)
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
  input: Pick<UnfenceInput, 'fencedIn' | 'nodes' | 'by' | 'client' | 'clock' | 'onProgress'> & {
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
      await recordUnfence(client, fenceId(input.fencedIn), entries)
      for (const node of left) {
        await releaseNode(client, node, input.epoch, `by ${input.by} at ${at}, epoch ${String(input.epoch)}`)
        left.delete(node)
        onProgress?.({ kind: 'node-unfenced', node, atMs: clock.nowMs() })
      }
      const fence = await readFence(client, fenceId(input.fencedIn))
      const manual = unstartedManual(fence?.status.workloads ?? [], new Set<string>(input.nodes))
      for (const vm of await startUnstartedManual(client, manual, { clock, signal, withinMs: killedIsReportedWithinMs }))
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

async function recordUnfence(client: KubeClient, name: string, entries: readonly RecordedUnfence[]): Promise<void> {
  const fence = await readFence(client, name)
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
  for (const [node, failed] of Map.groupBy(checks, (check) => check.node)) {
    const answer = failed.map(({ check, reason, nextStep }) => `refused (${check}): ${reason}; ${nextStep}`).join(' | ')
    try {
      await writeAnswer(client, node, answer, ({ uid }) => {
        const subject = { apiVersion: 'v1', kind: 'Node', name: node, uid }
        events.write({ subject, type: 'Warning', reason: 'UnfenceRefused', action: 'Unfence', note: answer })
      })
    } catch (error) {
      // The refusal stands without its being written on the node.
      if (!(error instanceof KubeError)) throw error
    }
  }
  await events.settled()
}
