/**
 * What a virtual machine of a fenced node needs once its pods are cleared, by runStrategy (docs/protocol.md, "Carrying it out", 4). Pure.
 *
 * Always and RerunOnFailure come back by themselves; Manual and Once do not; a stop is never asked for, and no instance is deleted but a failed one of
 * a Once VM, by policy. Judged by the instance's uid, phase and node, never by printableStatus, which lags and lies.
 */
import type { VirtualMachineInstanceView, VirtualMachineView } from '../kubernetes/resources.ts'
import type { RecordedWorkload, WorkloadState } from './fence-object.ts'
import type { FailoverConfig } from './order.ts'

export type VmAction =
  | { readonly kind: 'start' }
  /** The failed instance of a Once VM: its VM makes another. */
  | { readonly kind: 'delete-vmi'; readonly uid: string }
  /** An annotation, so that virt-controller looks at an instance it lost sight of. */
  | { readonly kind: 'touch-vmi' }
  | { readonly kind: 'skip-backoff' }

export interface VmFollowUp {
  readonly state: WorkloadState
  readonly reason: string
  readonly newNode: string
  readonly action?: VmAction
  /** It cannot be placed now; it is waited for, and told of. */
  readonly unplaced?: boolean
}

export interface VmSituation {
  readonly record: RecordedWorkload
  readonly vm: VirtualMachineView | undefined
  readonly vmi: VirtualMachineInstanceView | undefined
  readonly fencedNodes: ReadonlySet<string>
  /** How long its pods have been gone, as far as this agent saw. */
  readonly clearedForMs: number
}

const isFinal = (phase: string): boolean => phase === 'Failed' || phase === 'Succeeded'

export function followVm(situation: VmSituation, config: FailoverConfig): VmFollowUp {
  const { record, vm, vmi, fencedNodes, clearedForMs } = situation
  const wait = (reason: string, action?: VmAction): VmFollowUp =>
    clearedForMs > config.vmDeadlineMs && action === undefined
      ? {
          state: 'failed',
          reason: `not running ${String(Math.round(config.vmDeadlineMs / 1_000))} s after it was cleared: ${reason}`,
          newNode: '',
        }
      : { state: 'ordered', reason, newNode: '', ...(action === undefined ? {} : { action }) }
  const settled = (state: 'stopped' | 'failed', reason: string): VmFollowUp => ({ state, reason, newNode: '' })

  if (vmi !== undefined && vmi.phase === 'Running' && vmi.nodeName !== '' && !fencedNodes.has(vmi.nodeName)) {
    return { state: 'running', reason: '', newNode: vmi.nodeName }
  }
  if (record.kind === 'VirtualMachineInstance') {
    if (vmi !== undefined && vmi.uid === record.uid && !isFinal(vmi.phase))
      return wait('its instance has not been seen to fail yet', touch(clearedForMs, config))
    return settled('failed', 'an instance without a VirtualMachine: nothing starts it again but the set that made it')
  }
  if (vm === undefined) return settled('stopped', 'its VirtualMachine is gone')
  if (vm.isTerminating) return settled('stopped', 'its VirtualMachine is being deleted')
  if (vmi !== undefined && vmi.uid !== record.uid) return followNewInstance(vmi, vm, wait, settled)
  if (vmi !== undefined && !isFinal(vmi.phase)) {
    return vmi.isTerminating
      ? wait('its old instance is being deleted')
      : wait('its old instance has not been seen to fail yet', touch(clearedForMs, config))
  }
  if (vmi?.phase === 'Succeeded' && vm.runStrategy !== 'Always') return settled('stopped', 'its guest had shut down by itself')
  if (vm.needsManualRecovery) return settled('failed', 'KubeVirt asks for manual recovery (condition ManualRecoveryRequired)')
  return startAgain(situation, vm, wait, settled, config)
}

type Wait = (reason: string, action?: VmAction) => VmFollowUp
type Settled = (state: 'stopped' | 'failed', reason: string) => VmFollowUp

const touch = (clearedForMs: number, config: FailoverConfig): VmAction | undefined =>
  clearedForMs >= config.touchAfterMs ? { kind: 'touch-vmi' } : undefined

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
  const backoff = vm.startFailure
  // One failure, and it was the instance that the fence cleared: the VM is not at fault, so it need not wait.
  if (backoff !== undefined && backoff.vmiUid === record.uid && (vm.runStrategy === 'Always' || vm.runStrategy === 'RerunOnFailure')) {
    const reason = `start back-off until ${backoff.retryAfter}, because it was starting when its node was fenced`
    return wait(reason, config.skipStartBackoff && backoff.count <= 1 ? { kind: 'skip-backoff' } : undefined)
  }
  switch (vm.runStrategy) {
    case 'Always':
      return wait('virt-controller makes its new instance')
    case 'RerunOnFailure': {
      const isLost =
        vmi === undefined && !vm.stateChanges.includes('Start') && !record.startAsked && clearedForMs >= config.startSafetyNetMs
      return wait(isLost ? 'its queued start was lost' : 'virt-controller makes its new instance', isLost ? { kind: 'start' } : undefined)
    }
    case 'Manual':
      if (record.phaseBefore === '' || isFinal(record.phaseBefore)) return settled('stopped', 'Manual, and it was not running')
      if (record.startAsked || vm.stateChanges.includes('Start')) return wait('its start was asked for')
      return wait('Manual, and it was running: started', { kind: 'start' })
    case 'Once':
      if (vmi === undefined) return wait('virt-controller makes its new instance')
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
