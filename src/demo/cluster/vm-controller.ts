/** Stand-in of virt-controller's VM controller: what each runStrategy does with its instance, start backoff, and the VM's status. */
import {
  amend,
  conditionOf,
  isReady,
  isTerminating,
  isVmiFinal,
  keyOf,
  locationOf,
  read,
  type RunStrategy,
  splitKey,
  type StateChangeRequest,
  type VirtualMachine,
  type VirtualMachineInstance,
  withCondition,
} from './objects.ts'
import { CONTROLLER_LATENCY_MS, FOREGROUND_FINALIZER, VM_FINALIZER } from './vmi-controller.ts'
import { type ClusterContext, createWorkQueue, type Stop, stopAll, timestamp, watch } from './work-queue.ts'

const FIRST_BACKOFF_MS = 10_000
const LONGEST_BACKOFF_MS = 300_000

const runStrategyOf = (vm: VirtualMachine): RunStrategy => vm.spec.runStrategy ?? (vm.spec.running === true ? 'Always' : 'Halted')

export type Action = { readonly start: true } | { readonly stop: true; readonly andStartAgain?: true }

/** What a VM's strategy wants now (vm.go, syncRunStrategy); undefined when nothing. Backoff is looked at by the caller. */
export function wantedAction(vm: VirtualMachine, vmi: VirtualMachineInstance | undefined): Action | undefined {
  const strategy = runStrategyOf(vm)
  const [request] = vm.status?.stateChangeRequests ?? []
  const isStopAsked = request?.action === 'Stop' && vmi !== undefined && request.uid === vmi.metadata.uid
  const isStartAsked = request?.action === 'Start'
  const isGoing = vmi !== undefined && isTerminating(vmi)
  switch (strategy) {
    case 'Always':
      if (vmi === undefined) return { start: true }
      return !isGoing && (isStopAsked || isVmiFinal(vmi)) ? { stop: true } : undefined
    case 'RerunOnFailure':
      // Coming from another strategy it starts; after that only on request, which a failure makes for itself.
      if (vmi === undefined) return isStartAsked || vm.status?.runStrategy !== strategy ? { start: true } : undefined
      if (isGoing || !(isStopAsked || isVmiFinal(vmi))) return undefined
      return vmi.status?.phase === 'Failed' ? { stop: true, andStartAgain: true } : { stop: true }
    case 'Manual':
      if (vmi === undefined) return isStartAsked ? { start: true } : undefined
      return !isGoing && isStopAsked ? { stop: true } : undefined
    case 'Halted':
      return vmi !== undefined && !isGoing ? { stop: true } : undefined
    case 'Once':
    case 'WaitAsReceiver':
      break
  }
  return vmi === undefined ? { start: true } : undefined
}

/** The requests that are not done yet. A start is done when an instance is there that is not on its way out. */
export function openRequests(
  requests: readonly StateChangeRequest[],
  vmi: VirtualMachineInstance | undefined,
): readonly StateChangeRequest[] {
  const [first] = requests
  const isDone =
    first?.action === 'Stop'
      ? vmi === undefined || vmi.metadata.uid !== first.uid
      : first !== undefined && vmi !== undefined && !isTerminating(vmi)
  return isDone ? requests.slice(1) : requests
}

function printableStatus(vm: VirtualMachine, vmi: VirtualMachineInstance | undefined, isBackingOff: boolean): string {
  const phase = vmi?.status?.phase
  const migration = vmi?.status?.migrationState
  if (isTerminating(vm)) return 'Terminating'
  if (vmi !== undefined && isTerminating(vmi) && !isVmiFinal(vmi)) return 'Stopping'
  if (phase === 'Running' && migration?.startTimestamp !== undefined && migration.endTimestamp === undefined) return 'Migrating'
  if (phase === 'Running') return 'Running'
  if (vmi !== undefined && conditionOf(vmi, 'Synchronized')?.reason === 'FailedPvcNotFound' && phase === 'Pending')
    return 'ErrorPvcNotFound'
  if (vmi !== undefined && phase === 'Scheduling' && conditionOf(vmi, 'PodScheduled')?.reason === 'Unschedulable')
    return 'ErrorUnschedulable'
  if (isBackingOff && (vmi === undefined || isVmiFinal(vmi))) return 'CrashLoopBackOff'
  if (phase === 'WaitingForSync') return 'WaitingForReceiver'
  return vmi !== undefined && !isVmiFinal(vmi) ? 'Starting' : 'Stopped'
}

/** An instance that ended without ever having run counts as a failed start. */
const hasFailedEarly = (vmi: VirtualMachineInstance): boolean =>
  isVmiFinal(vmi) && !(vmi.status?.phaseTransitionTimestamps ?? []).some(({ phase }) => phase === 'Running')

export const backoffMs = (consecutiveFailures: number, jitter: number): number =>
  Math.min(FIRST_BACKOFF_MS * consecutiveFailures ** 2 * (1 + jitter / 2), LONGEST_BACKOFF_MS)

export function startVmController(context: ClusterContext): Stop {
  const { store, clock } = context
  /** When a VM in backoff may start again, by its uid: the timestamp in its status is too coarse for scaled time. */
  const retryAt = new Map<string, number>()

  const instanceOf = (vm: VirtualMachine): VirtualMachineInstance | undefined =>
    read(store, 'virtualmachineinstances', vm.metadata.namespace, vm.metadata.name)

  const isBackingOff = (vm: VirtualMachine): boolean => {
    if (vm.status?.startFailure === undefined) return false
    const untilMs = retryAt.get(vm.metadata.uid)
    if (untilMs !== undefined) return clock.nowMs() < untilMs
    return Date.parse(vm.status.startFailure.retryAfterTimestamp ?? '') > clock.wallTime().getTime()
  }

  const createInstance = (vm: VirtualMachine): void => {
    const { name, namespace, uid, generation } = vm.metadata
    const { metadata, spec } = vm.spec.template
    const isReceiver = runStrategyOf(vm) === 'WaitAsReceiver'
    const phase = isReceiver ? 'WaitingForSync' : 'Pending'
    const status = { phase, phaseTransitionTimestamps: [{ phase, phaseTransitionTimestamp: timestamp(context) }] } as const
    const created = store.create('virtualmachineinstances', {
      metadata: {
        name,
        namespace,
        labels: { ...metadata?.labels },
        annotations: { ...metadata?.annotations, 'kubevirt.io/vm-generation': String(generation ?? 1) },
        finalizers: [VM_FINALIZER, FOREGROUND_FINALIZER],
        ownerReferences: [{ apiVersion: 'kubevirt.io/v1', kind: 'VirtualMachine', name, uid, controller: true, blockOwnerDeletion: true }],
      },
      spec,
      status,
    })
    // Where the store keeps status apart: the first write of it.
    amend(store, 'virtualmachineinstances', locationOf(created), (vmi) => {
      vmi.status ??= structuredClone({ phase: status.phase, phaseTransitionTimestamps: [...status.phaseTransitionTimestamps] })
    })
  }

  const act = (vm: VirtualMachine, vmi: VirtualMachineInstance | undefined): void => {
    const action = wantedAction(vm, vmi)
    if (action === undefined) return
    if ('stop' in action) {
      if (vmi === undefined) return
      store.remove('virtualmachineinstances', vmi.metadata.namespace, vmi.metadata.name, { uid: vmi.metadata.uid })
      if (action.andStartAgain !== true) return
      amend(store, 'virtualmachines', locationOf(vm), (asked) => {
        asked.status = { ...asked.status, stateChangeRequests: [{ action: 'Start' }] }
      })
      return
    }
    if (vm.status?.conditions?.some(({ type, status }) => type === 'ManualRecoveryRequired' && status === 'True')) return
    if (!isBackingOff(vm)) return createInstance(vm)
    const untilMs = retryAt.get(vm.metadata.uid)
    queue.addAfter(keyOf(vm), untilMs === undefined ? 1_000 : (untilMs - clock.nowMs()) / context.timeFactor + 1)
  }

  const syncStartFailure = (vm: VirtualMachine, vmi: VirtualMachineInstance | undefined): void => {
    const status = vm.status ?? {}
    if (vmi?.status?.phase === 'Running') delete status.startFailure
    if (vmi === undefined || !hasFailedEarly(vmi) || !['Always', 'RerunOnFailure', 'Once'].includes(runStrategyOf(vm))) return
    if (status.startFailure?.lastFailedVMIUID === vmi.metadata.uid) return
    const consecutiveFailCount = (status.startFailure?.consecutiveFailCount ?? 0) + 1
    const delayMs = backoffMs(consecutiveFailCount, Math.random()) * context.timeFactor
    retryAt.set(vm.metadata.uid, clock.nowMs() + delayMs)
    const retryAfterTimestamp = `${new Date(clock.wallTime().getTime() + delayMs).toISOString().slice(0, 19)}Z`
    vm.status = { ...status, startFailure: { consecutiveFailCount, lastFailedVMIUID: vmi.metadata.uid, retryAfterTimestamp } }
  }

  const updateStatus = (vm: VirtualMachine, vmi: VirtualMachineInstance | undefined): void => {
    const now = timestamp(context)
    amend(store, 'virtualmachines', locationOf(vm), (changed) => {
      syncStartFailure(changed, vmi)
      const status = changed.status ?? {}
      changed.status = status
      const requests = openRequests(status.stateChangeRequests ?? [], vmi)
      if (requests.length === 0) delete status.stateChangeRequests
      else status.stateChangeRequests = [...requests]
      if (vmi === undefined) {
        delete status.created
        if (status.runStrategy !== undefined && runStrategyOf(changed) === 'Halted') status.runStrategy = 'Halted'
      } else {
        status.created = true
        status.runStrategy = runStrategyOf(changed)
        status.observedGeneration = changed.metadata.generation ?? 1
        status.desiredGeneration = changed.metadata.generation ?? 1
      }
      if (vmi !== undefined && isReady(vmi)) status.ready = true
      else delete status.ready
      const ready = vmi === undefined ? undefined : conditionOf(vmi, 'Ready')
      const isMissing = ready === undefined
      const [reason, message] =
        vmi === undefined ? ['VMINotExists', 'VMI does not exist'] : ['VMIConditionMissing', 'VMI is missing the Ready condition']
      const own = isMissing ? ({ type: 'Ready', status: 'False', reason, message, lastProbeTime: now } as const) : ready
      const known = conditionOf(changed, 'Ready')
      const isSame = known?.status === own.status && known.reason === own.reason
      let conditions = isSame ? (status.conditions ?? []) : withCondition(status.conditions, own, now)
      if (vmi !== undefined) {
        // Whatever the instance says of itself is the machine's too; what it no longer says is dropped.
        const others = (vmi.status?.conditions ?? []).filter(({ type }) => type !== 'Ready' && type !== 'PodScheduled')
        conditions = [...conditions.filter(({ type }) => type === 'Ready' || type === 'ManualRecoveryRequired'), ...others]
      }
      status.conditions = conditions
      status.printableStatus = printableStatus(changed, vmi, isBackingOff(changed))
    })
  }

  const reconcile = (key: string): void => {
    const { namespace, name } = splitKey(key)
    const vm = read(store, 'virtualmachines', namespace, name)
    if (vm === undefined) return
    if (!isTerminating(vm) && !(vm.metadata.finalizers ?? []).includes(VM_FINALIZER)) {
      amend(store, 'virtualmachines', locationOf(vm), (held) => {
        held.metadata.finalizers = [...(held.metadata.finalizers ?? []), VM_FINALIZER]
      })
      // Its event brings the VM back here.
      return
    }
    const before = instanceOf(vm)
    if (before?.metadata.ownerReferences?.some(({ uid }) => uid === vm.metadata.uid) === false) return
    if (isTerminating(vm)) {
      if (before === undefined) release(vm)
      else if (!isTerminating(before)) store.remove('virtualmachineinstances', namespace, name, { uid: before.metadata.uid })
    } else {
      act(vm, before)
    }
    // The status is of what this pass began with: the next event brings the rest.
    updateStatus(vm, before === undefined ? undefined : (instanceOf(vm) ?? before))
    if (before !== undefined && isVmiFinal(before)) releaseInstance(before)
  }

  const release = (vm: VirtualMachine): void => {
    amend(store, 'virtualmachines', locationOf(vm), (free) => {
      free.metadata.finalizers = (free.metadata.finalizers ?? []).filter((finalizer) => finalizer !== VM_FINALIZER)
    })
  }
  const releaseInstance = (vmi: VirtualMachineInstance): void => {
    amend(store, 'virtualmachineinstances', locationOf(vmi), (free) => {
      free.metadata.finalizers = (free.metadata.finalizers ?? []).filter((finalizer) => finalizer !== VM_FINALIZER)
    })
  }

  const queue = createWorkQueue(context, 'virt-controller vm', reconcile, CONTROLLER_LATENCY_MS)
  const stopWatch = watch(store, ['virtualmachines', 'virtualmachineinstances'], ({ type, plural, object }) => {
    if (plural === 'virtualmachines' && type === 'DELETED') retryAt.delete(object.metadata.uid)
    queue.add(keyOf(object))
  })
  return stopAll(stopWatch, queue)
}
