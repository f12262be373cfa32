/** What is decided of all pods together: a VM's pods go as one, and nothing is done to a node that was un-fenced since. Pure. */
import { fullName } from '../fence/names.ts'
import { isUnfencedSince, unfencedSinceReason } from '../fence/taints.ts'
import type { ClassifiedPod } from './classify.ts'
import type { PlanInput } from './plan-input.ts'
import { decidePod, type PodVerdict } from './pod-verdict.ts'

/**
 * Nodes that say that they were un-fenced after this fence, and why nothing is done to them: another agent may have done that, and ours has not heard
 * of it yet. Their pods count, since a VM waits for all of its own.
 */
export const overtakenNodes = ({ order, snapshot }: PlanInput): ReadonlyMap<string, string> =>
  new Map(
    order.nodes.flatMap((name) => {
      const annotations = snapshot.nodes.get(name)?.annotations ?? {}
      return isUnfencedSince(annotations, order.epoch) ? [[name, unfencedSinceReason(name, annotations)]] : []
    }),
  )

/** A VM waits for all of its pods on fenced nodes: its launcher is not cleared while its migration target, or a second launcher, is not proved. */
export function judgePods(pods: readonly ClassifiedPod[], input: PlanInput, overtaken: ReadonlyMap<string, string>): readonly PodVerdict[] {
  const verdicts = pods.map((classified): PodVerdict => {
    const verdict = decidePod(classified, input)
    const reason = overtaken.get(classified.pod.nodeName)
    if (reason === undefined || verdict.kind === 'skipped') return verdict
    return { pod: classified.pod, classified, kind: 'waiting', reason, isProved: false, proof: 'none' }
  })
  const slowest = new Map<string, PodVerdict>()
  for (const verdict of verdicts) {
    const vmi = verdict.classified.vmi?.uid
    if (vmi !== undefined && verdict.classified.podClass !== 'hotplug' && verdict.kind !== 'ready') slowest.set(vmi, verdict)
  }
  return verdicts.map((verdict) => {
    const other = slowest.get(verdict.classified.vmi?.uid ?? '')
    if (other === undefined || verdict.kind !== 'ready') return verdict
    const reason = `${fullName(other.pod)} of the same VM: ${other.reason}`
    // A pod that finalizers hold up is cleared as far as we can: the others need not wait for it.
    if (other.kind === 'stuck') return verdict
    return {
      ...verdict,
      kind: other.kind === 'skipped' ? 'blocked' : other.kind,
      reason,
      ...(other.readyInMs === undefined ? {} : { readyInMs: other.readyInMs }),
    }
  })
}
