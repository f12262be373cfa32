/**
 * What a fence killed and nobody started again: VMs of runStrategy Manual that were held, or not yet followed to their end, when their node was un-fenced.
 * KubeVirt brings back all others by itself; these ran before the fence, so they are started, once (docs/protocol/operator.md).
 */
import type { KubeClient } from '../../kubernetes/client.ts'
import { isKubeError } from '../../kubernetes/errors.ts'
import {
  paths,
  type VirtualMachineInstanceView,
  virtualMachineInstanceView,
  type VirtualMachineView,
  virtualMachineView,
} from '../../kubernetes/resources.ts'
import type { RecordedWorkload } from '../fence/fence.ts'
import { isFinal, stoppingPhase } from '../plan/vm.ts'
import type { FailoverClock } from '../run/clock.ts'
import { isStartUnderWay } from '../run/execute-vm-step.ts'

/** Those that the record leaves open. Skipped (opted out) and settled ones are nobody's business. */
export const unstartedManual = (workloads: readonly RecordedWorkload[], nodes: ReadonlySet<string>): readonly RecordedWorkload[] =>
  workloads.filter(
    ({ kind, runStrategy, state, phaseBefore, startAsked, node }) =>
      kind === 'VirtualMachine' &&
      runStrategy === 'Manual' &&
      nodes.has(node) &&
      (state === 'held' || state === 'waiting' || state === 'ordered') &&
      phaseBefore !== '' &&
      // Not what a person was stopping when the fence was recorded.
      phaseBefore !== stoppingPhase &&
      !isFinal(phaseBefore) &&
      !startAsked,
  )

/** `later`: the kubelet has not told yet that the instance was killed. */
export function judgeUnstarted(
  { uid }: RecordedWorkload,
  vm: VirtualMachineView | undefined,
  vmi: VirtualMachineInstanceView | undefined,
): 'start' | 'later' | 'leave' {
  if (vm === undefined || vm.isTerminating || vm.runStrategy !== 'Manual' || vm.stateChanges.length > 0) return 'leave'
  if (vmi === undefined) return 'start'
  if (vmi.uid !== uid || vmi.isTerminating || vmi.phase === 'Succeeded') return 'leave'
  return vmi.phase === 'Failed' ? 'start' : 'later'
}

const lookEveryMs = 1_000

/** @returns the names of those that were started. Gives up after `withinMs`: what has not failed by then was never killed. */
export async function startUnstartedManual(
  client: KubeClient,
  left: readonly RecordedWorkload[],
  options: { readonly clock: FailoverClock; readonly signal: AbortSignal; readonly withinMs: number },
): Promise<readonly string[]> {
  const { clock, signal, withinMs } = options
  const started: string[] = []
  let open = left
  for (const untilMs = clock.nowMs() + withinMs; open.length > 0 && !signal.aborted && clock.nowMs() < untilMs; ) {
    const later: RecordedWorkload[] = []
    for (const workload of open) {
      const verdict = await judgeNow(client, workload, signal)
      if (verdict === 'later') later.push(workload)
      if (verdict !== 'start') continue
      try {
        await client.putSubresource(paths.startVirtualMachine(workload.namespace, workload.name), {}, { signal })
        started.push(`${workload.namespace}/${workload.name}`)
      } catch (error) {
        // Started meanwhile by somebody else, or gone.
        if (!isStartUnderWay(error) && !isKubeError(error, 'conflict', 'not-found')) throw error
      }
    }
    open = later
    if (open.length > 0) await clock.sleep(lookEveryMs, signal)
  }
  return started
}

async function judgeNow(client: KubeClient, workload: RecordedWorkload, signal: AbortSignal): Promise<ReturnType<typeof judgeUnstarted>> {
  const { namespace, name } = workload
  const absent = (error: unknown): undefined => {
    if (isKubeError(error, 'not-found')) return undefined
    throw error
  }
  const vm = await client.get(paths.virtualMachine(namespace, name), { signal }).then(virtualMachineView, absent)
  const vmi = await client.get(paths.virtualMachineInstance(namespace, name), { signal }).then(virtualMachineInstanceView, absent)
  return judgeUnstarted(workload, vm, vmi)
}
