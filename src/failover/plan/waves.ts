/** In which order, and how many at once, the pods of VMs are cleared. Pure. */
import type { RecordedWorkload } from '../fence/fence.ts'
import type { FailoverConfig } from './config.ts'
import type { AgeMs } from './plan-input.ts'
import { byPriority, type PodVerdict } from './pod-verdict.ts'

/** VMs by priority, `waveSize` at a time, a VM's pods together. With the readiness gate one wave only, and none while the one before still starts. */
export function vmWaves(
  verdicts: readonly PodVerdict[],
  recorded: readonly RecordedWorkload[],
  config: FailoverConfig,
  ageMs: AgeMs,
): readonly (readonly PodVerdict[])[] {
  const podsByVm = new Map<string, PodVerdict[]>()
  const ready = verdicts
    .filter(
      (verdict) =>
        verdict.kind === 'ready' && (verdict.classified.podClass === 'launcher' || verdict.classified.podClass === 'migration-target'),
    )
    .sort(byPriority)
  for (const verdict of ready) {
    const vm = verdict.classified.vmi?.uid ?? verdict.pod.uid
    podsByVm.set(vm, [...(podsByVm.get(vm) ?? []), verdict])
  }
  const waves: PodVerdict[][] = []
  const vms = [...podsByVm.values()]
  for (let from = 0; from < vms.length; from += config.waveSize) waves.push(vms.slice(from, from + config.waveSize).flat())
  if (!config.waveReadinessGate) return waves
  const present = new Set(verdicts.map((verdict) => verdict.classified.vmi?.uid))
  const isStarting = recorded.some(
    (workload) => workload.state === 'ordered' && !present.has(workload.uid) && ageMs(`wave ${workload.uid}`) < config.waveReadyMs,
  )
  // A wave that was begun is finished whatever its first VMs do: its pods are recorded as ordered before any is deleted.
  const begun = new Set(recorded.flatMap((workload) => (workload.state === 'ordered' ? [workload.uid] : [])))
  const rest = waves.flat().filter((verdict) => begun.has(verdict.classified.vmi?.uid ?? ''))
  if (rest.length > 0) return [rest]
  return isStarting ? [] : waves.slice(0, 1)
}
