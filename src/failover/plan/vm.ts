/**
 * What a virtual machine of a fenced node needs once its pods are cleared, by runStrategy (docs/failover.md, "Virtual machines"). Pure.
 *
 * Always and RerunOnFailure come back by themselves; Manual and Once do not; a stop is never asked for, and no instance is deleted but a failed one of
 * a Once VM, by policy. Judged by the instance's uid, phase and node, never by printableStatus, which lags and lies.
 */
import type { VirtualMachineInstanceView, VirtualMachineView } from '../../kubernetes/resources.ts'
import type { RecordedWorkload, WorkloadState } from '../fence/fence.ts'
import { touchAnnotation } from '../fence/names.ts'
import type { FailoverConfig } from './config.ts'

export type VmAction =
  | { readonly kind: 'start' }
  /** The failed instance of a Once VM: its VM makes another. */
  | { readonly kind: 'delete-vmi'; readonly uid: string }
  /** An annotation, so that virt-controller looks at an instance it lost sight of; `count` tells how often it was touched before. */
  | { readonly kind: 'touch-vmi'; readonly count: number }
  | { readonly kind: 'skip-backoff' }

export interface VmFollowUp {
  readonly state: WorkloadState
  readonly reason: string
  readonly newNode: string
  readonly action?: VmAction
  /** It cannot be placed now; it is waited for, and told of. */
  readonly unplaced?: boolean
  /** Of a set's instance: the name of the one that stands in for it. */
  readonly replacedBy?: string
}

export interface VmSituation {
  readonly record: RecordedWorkload
  readonly vm: VirtualMachineView | undefined
  readonly vmi: VirtualMachineInstanceView | undefined
  /** Of an instance that belongs to a set: one that the set made since and that stands in for no other. */
  readonly replacement?: VirtualMachineInstanceView | undefined
  readonly fencedNodes: ReadonlySet<string>
  /** How long its pods have been gone, as far as this agent saw. */
  readonly clearedForMs: number
}

/** Recorded instead of its phase: the instance was being deleted when the fence was recorded. */
export const stoppingPhase = 'Terminating'

export const isFinal = (phase: string): boolean => phase === 'Failed' || phase === 'Succeeded'

export function followVm(situation: VmSituation, config: FailoverConfig): VmFollowUp {
  const { record, vm, vmi, fencedNodes, clearedForMs } = situation
  const wait: Wait = (reason, action) =>
    clearedForMs > config.vmDeadlineMs && action === undefined
      ? {
          state: 'failed',
          reason: `not running ${String(Math.round(config.vmDeadlineMs / 1_000))} s after it was cleared: ${reason}`,
          newNode: '',
        }
      : { state: 'ordered', reason, newNode: '', ...(action === undefined ? {} : { action }) }
  const settled: Settled = (state, reason) => ({ state, reason, newNode: '' })

  const survivor = survivorOf(vmi, fencedNodes)
  if (survivor !== undefined) return { state: 'running', reason: '', newNode: survivor }
  if (record.kind === 'VirtualMachineInstance') return followLoneInstance(situation, wait, settled, config)
  if (vm === undefined) return settled('stopped', 'its VirtualMachine is gone')
  if (vm.isTerminating) return settled('stopped', 'its VirtualMachine is being deleted')
  if (vmi !== undefined && vmi.uid !== record.uid) return followNewInstance(vmi, vm, wait, settled)
  if (vmi !== undefined && !isFinal(vmi.phase)) {
    return vmi.isTerminating ? wait('its old instance is being deleted') : waitForController(vmi, clearedForMs, config)
  }
  if (vmi?.phase === 'Succeeded' && vm.runStrategy !== 'Always') return settled('stopped', 'its guest had shut down by itself')
  if (vm.needsManualRecovery) return settled('failed', 'KubeVirt asks for manual recovery (condition ManualRecoveryRequired)')
  if (vmi?.isTerminating === true) return wait('its old instance is being deleted')
  return startAgain(situation, vm, wait, settled, config)
}

type Wait = (reason: string, action?: VmAction) => VmFollowUp
type Settled = (state: 'stopped' | 'failed', reason: string) => VmFollowUp

/** For as long as it takes: a virt-controller that is away for an hour is back after it, and only then can a Manual VM be started. Late, it is told of. */
function waitForController(vmi: VirtualMachineInstanceView, clearedForMs: number, config: FailoverConfig): VmFollowUp {
  const action = touch(vmi, clearedForMs, config)
  return {
    state: 'ordered',
    reason: 'virt-controller has not made its old instance Failed yet, though its pod is gone',
    newNode: '',
    ...(action === undefined ? {} : { action }),
    ...(clearedForMs > config.vmDeadlineMs ? { unplaced: true } : {}),
  }
}

/** Where the instance runs, when that is no fenced node. */
function survivorOf(vmi: VirtualMachineInstanceView | undefined, fencedNodes: ReadonlySet<string>): string | undefined {
  return vmi === undefined || vmi.phase !== 'Running' || vmi.nodeName === '' || fencedNodes.has(vmi.nodeName) ? undefined : vmi.nodeName
}

/** Ever more rarely: each touch passes KubeVirt's webhooks, and many instances may wait for a virt-controller that is merely busy. */
function touch(vmi: VirtualMachineInstanceView, clearedForMs: number, config: FailoverConfig): VmAction | undefined {
  const count = touchesOf(vmi.annotations[touchAnnotation])
  return clearedForMs >= config.touchAfterMs * 2 ** count ? { kind: 'touch-vmi', count } : undefined
}

/** The annotation's value: when, and how often so far. */
export const touchText = (isoTime: string, count: number): string => `${isoTime} ${String(count + 1)}`
function touchesOf(text: string | undefined): number {
  if (text === undefined) return 0
  const count = Number(text.split(' ')[1])
  return Number.isInteger(count) && count > 0 ? Math.min(count, 20) : 1
}

/** An instance that no VirtualMachine made: a set makes another under another name, and nothing does it for one that stands alone. */
function followLoneInstance(
  { record, vmi, replacement, fencedNodes, clearedForMs }: VmSituation,
  wait: Wait,
  settled: Settled,
  config: FailoverConfig,
): VmFollowUp {
  if (vmi !== undefined && vmi.uid === record.uid && !isFinal(vmi.phase)) {
    return vmi.isTerminating ? wait('it is being deleted') : waitForController(vmi, clearedForMs, config)
  }
  if (record.set === undefined)
    return settled('failed', 'an instance without a VirtualMachine: nothing starts it again, so create it anew where it is wanted')
  if (replacement === undefined || isFinal(replacement.phase)) return wait('its set has made no other instance yet')
  const survivor = survivorOf(replacement, fencedNodes)
  if (survivor !== undefined)
    return { state: 'running', reason: `its set runs ${replacement.name} in its place`, newNode: survivor, replacedBy: replacement.name }
  if (replacement.unschedulable !== undefined)
    return { ...wait(`no node takes ${replacement.name}, which its set made: ${replacement.unschedulable}`), unplaced: true }
  return wait(`${replacement.name}, which its set made, is ${replacement.phase === '' ? 'Pending' : replacement.phase}`)
}

function followNewInstance(vmi: VirtualMachineInstanceView, vm: VirtualMachineView, wait: Wait, settled: Settled): VmFollowUp {
  if (vmi.unschedulable !== undefined) return { ...wait(`no node takes it: ${vmi.unschedulable}`), unplaced: true }
  if (vmi.phase === 'Succeeded') return settled('stopped', 'its new instance was shut down')
  if (vmi.phase === 'Failed' && (vm.runStrategy === 'Manual' || vm.runStrategy === 'Once'))
    return settled('failed', 'its new instance failed')
  return wait(`its new instance is ${vmi.phase === '' ? 'Pending' : vmi.phase}`)
}

/** No instance, or the old one Failed: who makes the next one? */
function startAgain(
  { record, vmi, clearedForMs }: VmSituation,
  vm: VirtualMachineView,
  wait: Wait,
  settled: Settled,
  config: FailoverConfig,
): VmFollowUp {
  const isComing = (): VmFollowUp => {
    const backoff = vm.startFailure
    if (backoff === undefined) return wait('virt-controller makes its new instance')
    if (backoff.vmiUid !== record.uid)
      return wait(`start back-off until ${backoff.retryAfter}, after ${String(backoff.count)} starts that failed`)
    // One failure, and it was the instance that the fence cleared: the VM is not at fault, so it need not wait.
    const reason = `start back-off until ${backoff.retryAfter}, because it was starting when its node was fenced`
    return wait(reason, config.skipStartBackoff && backoff.count <= 1 ? { kind: 'skip-backoff' } : undefined)
  }
  const isStartQueued = vm.stateChanges.includes('Start')
  // Someone had deleted the instance before the fence: a stop, unless a start is queued behind it.
  const wasStopped = record.phaseBefore === stoppingPhase && !isStartQueued && !record.startAsked
  const stays = (): VmFollowUp =>
    // A start that was queued is gone from the VM a moment before its instance is seen.
    vmi === undefined && clearedForMs < config.startSafetyNetMs
      ? wait('it was being stopped when its node was fenced')
      : settled('stopped', 'it was being stopped when its node was fenced')
  switch (vm.runStrategy) {
    case 'Always':
      return isComing()
    case 'RerunOnFailure': {
      if (wasStopped) return stays()
      const isLost = vmi === undefined && !isStartQueued && !record.startAsked && clearedForMs >= config.startSafetyNetMs
      return isLost ? wait('its queued start was lost', { kind: 'start' }) : isComing()
    }
    case 'Manual':
      if (wasStopped) return stays()
      if (isFinal(record.phaseBefore)) return settled('stopped', 'Manual, and it was not running')
      if (record.startAsked || isStartQueued) return wait('its start was asked for')
      return wait('Manual, and it was running: started', { kind: 'start' })
    case 'Once':
      if (vmi === undefined) return isComing()
      if (config.onceVms === 'restart') return wait('Once, and the policy is to restart', { kind: 'delete-vmi', uid: vmi.uid })
      return settled('stopped', 'runStrategy Once: not started again (failover.onceVms is "leave")')
    case 'Halted':
      return settled('stopped', 'runStrategy Halted')
    case 'WaitAsReceiver':
      return settled('stopped', 'runStrategy WaitAsReceiver: it waits for a migration from elsewhere')
    default:
      return settled('failed', `unknown runStrategy "${vm.runStrategy}"`)
  }
}
