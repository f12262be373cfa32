/** Stand-in of virt-controller's VMI controller: launcher pods, phases, the Ready condition and the foreground finalizer of an instance. */
import { syncAttachmentPods } from './hotplug.ts'
import { LAUNCHER_IMAGE, launcherPod, claimOf } from './launcher-pod.ts'
import {
  amend,
  type Condition,
  conditionOf,
  controllerOf,
  isPodFinal,
  isReady,
  isTerminating,
  isVmiFinal,
  keyOf,
  locationOf,
  type Pod,
  read,
  readAll,
  splitKey,
  type VirtualMachineInstance,
  withCondition,
} from './objects.ts'
import { enterPhase, isLauncher, vmiUidOf } from './virt-handler.ts'
import { type ClusterContext, createWorkQueue, later, type Stop, stopAll, timestamp, watch } from './work-queue.ts'

export const FOREGROUND_FINALIZER = 'kubevirt.io/foregroundDeleteVirtualMachine'
export const VM_FINALIZER = 'kubevirt.io/virtualMachineControllerFinalize'
const NODE_NAME_LABEL = 'kubevirt.io/nodeName'
/** Between an event and a controller's work on it, on the quiet machine of the recordings. */
export const CONTROLLER_LATENCY_MS = 50
/** How much later than its marking a controller's cache learns that an object is gone: it sees the Terminating pod in between. */
const DELETION_LAG_MS = 150
const UNPAUSED = 'kubevirt.io/virtual-machine-unpaused'

/** The pod that stands for the instance: its newest on its node. Any phase will do, Terminating too (controller.go, CurrentVMIPod). */
export function currentPod(vmi: VirtualMachineInstance, pods: readonly Pod[]): Pod | undefined {
  const node = vmi.status?.nodeName
  const candidates = pods.filter((pod) =>
    node === undefined ? pod.metadata.labels?.['kubevirt.io/migrationJobUID'] === undefined : pod.spec.nodeName === node,
  )
  return candidates.sort((one, other) => one.metadata.creationTimestamp.localeCompare(other.metadata.creationTimestamp)).at(-1)
}

/** The Ready condition that virt-controller would write (lifecycle.go, syncReadyConditionFromPod). */
function readyCondition(vmi: VirtualMachineInstance, pod: Pod | undefined, now: string): Condition {
  const no = (reason: string, message: string): Condition => ({ type: 'Ready', status: 'False', reason, message, lastProbeTime: now })
  if (pod === undefined) return no('PodNotExists', 'virt-launcher pod has not yet been scheduled')
  if (isTerminating(pod)) return no('PodTerminating', 'virt-launcher pod is terminating')
  if (vmi.status?.phase !== 'Running') return no('GuestNotRunning', 'Guest VM is not reported as running')
  const ready = conditionOf(pod, 'Ready')
  if (ready === undefined) return no('PodConditionMissing', 'virt-launcher pod is missing the Ready condition')
  return {
    type: 'Ready',
    status: ready.status,
    ...(ready.reason === undefined ? {} : { reason: ready.reason }),
    ...(ready.message === undefined ? {} : { message: ready.message }),
    lastProbeTime: null,
  }
}

const isDownOrGoingDown = (pod: Pod): boolean => isPodFinal(pod) || isTerminating(pod)

/** The phase that follows, as lifecycle.go:370-516 decides it; undefined when it stays. */
export function nextPhase(vmi: VirtualMachineInstance, pod: Pod | undefined): 'Scheduling' | 'Scheduled' | 'Failed' | undefined {
  switch (vmi.status?.phase) {
    case undefined:
    case 'Pending':
      if (pod !== undefined) return 'Scheduling'
      return isTerminating(vmi) ? 'Failed' : undefined
    case 'Scheduling':
      if (pod === undefined || isDownOrGoingDown(pod)) return 'Failed'
      return pod.status?.phase === 'Running' && isReady(pod) ? 'Scheduled' : undefined
    case 'Scheduled':
    case 'Running':
      // Whatever the pod's phase: only its absence counts, and no heartbeat is waited for (KubeVirt 1.2 and later).
      return pod === undefined ? 'Failed' : undefined
    case 'Succeeded':
    case 'Failed':
    case 'WaitingForSync':
    case 'Unknown':
      break
  }
  return undefined
}

export function startVmiController(context: ClusterContext): Stop {
  const { store } = context
  /** Deleted pods that this controller's cache still shows as Terminating, until it has worked on that once. */
  const ghosts = new Map<string, { pod: Pod; forget: Stop | undefined }>()

  const podsOf = (vmi: VirtualMachineInstance): Pod[] => {
    const known = [...readAll(store, 'pods', vmi.metadata.namespace), ...[...ghosts.values()].map(({ pod }) => pod)]
    return known.filter((pod) => vmiUidOf(pod) === vmi.metadata.uid && isLauncher(pod))
  }

  const hasActiveMigration = (vmi: VirtualMachineInstance): boolean =>
    readAll(store, 'virtualmachineinstancemigrations', vmi.metadata.namespace).some(
      ({ spec, status }) => spec.vmiName === vmi.metadata.name && !['Failed', 'Succeeded', 'Pending', undefined].includes(status?.phase),
    )

  const deletePods = (pods: readonly Pod[]): void => {
    for (const pod of pods) {
      if (isTerminating(pod)) continue
      store.remove('pods', pod.metadata.namespace, pod.metadata.name, { uid: pod.metadata.uid })
    }
  }

  const createLauncher = (vmi: VirtualMachineInstance): void => {
    const missing = (vmi.spec.volumes ?? [])
      .map(claimOf)
      .find((name) => name !== undefined && store.get('persistentvolumeclaims', vmi.metadata.namespace, name) === undefined)
    if (missing !== undefined) {
      const message = `PVC ${vmi.metadata.namespace ?? ''}/${missing} does not exist, waiting for it to appear`
      const condition = { type: 'Synchronized', status: 'False', reason: 'FailedPvcNotFound', message } as const
      amend(store, 'virtualmachineinstances', locationOf(vmi), (waiting) => {
        waiting.status = { ...waiting.status, conditions: withCondition(waiting.status?.conditions, condition, timestamp(context)) }
      })
      queue.addAfter(keyOf(vmi), 1_000)
      return
    }
    store.create('pods', launcherPod(vmi))
  }

  const markUnpaused = (pod: Pod): void => {
    if (
      conditionOf(pod, UNPAUSED) !== undefined ||
      isTerminating(pod) ||
      pod.metadata.labels?.['kubevirt.io/migrationJobUID'] !== undefined
    )
      return
    const now = timestamp(context)
    amend(store, 'pods', locationOf(pod), (marked) => {
      const message = 'the virtual machine is not paused'
      const condition = { type: UNPAUSED, status: 'True', reason: 'NotPaused', message, lastProbeTime: now } as const
      marked.status = { ...marked.status, conditions: withCondition(marked.status?.conditions, condition, now) }
    })
  }

  const updateStatus = (vmi: VirtualMachineInstance, pod: Pod | undefined, pods: readonly Pod[]): void => {
    const now = timestamp(context)
    const phase = nextPhase(vmi, pod)
    const wasFinal = isVmiFinal(vmi)
    amend(store, 'virtualmachineinstances', locationOf(vmi), (changed) => {
      if (phase !== undefined) enterPhase(changed, phase, now)
      const status = changed.status ?? {}
      changed.status = status
      if (phase === 'Scheduling') status.launcherContainerImageVersion = LAUNCHER_IMAGE
      if (phase === 'Scheduled' && pod?.spec.nodeName !== undefined) {
        status.nodeName = pod.spec.nodeName
        changed.metadata.labels = { ...changed.metadata.labels, [NODE_NAME_LABEL]: pod.spec.nodeName }
      }
      if (status.phase !== undefined && status.phase !== 'Pending') {
        const next = readyCondition(changed, pod, now)
        const known = conditionOf(changed, 'Ready')
        if (known?.status !== next.status || known.reason !== next.reason) status.conditions = withCondition(status.conditions, next, now)
        mirrorUnschedulable(changed, pod, now)
        const present = pods.filter(
          ({ metadata }) => !ghosts.has(metadata.uid) && !(phase === 'Failed' && metadata.uid === pod?.metadata.uid),
        )
        const activePods = Object.fromEntries(present.map(({ metadata, spec }) => [metadata.uid, spec.nodeName ?? '']))
        if (!wasFinal) status.activePods = activePods
        else if (pods.length === 0) {
          delete status.activePods
          delete status.launcherContainerImageVersion
        } else status.activePods = activePods
      }
      if (wasFinal && pods.length === 0) {
        const hasOwner = vmOf(changed) !== undefined
        changed.metadata.finalizers = (changed.metadata.finalizers ?? []).filter(
          (name) => name !== FOREGROUND_FINALIZER && (hasOwner || name !== VM_FINALIZER),
        )
      }
    })
    if (phase === 'Scheduled' && pod !== undefined) {
      amend(store, 'pods', locationOf(pod), (labelled) => {
        labelled.metadata.labels = { ...labelled.metadata.labels, [NODE_NAME_LABEL]: pod.spec.nodeName ?? '' }
      })
    }
  }

  const mirrorUnschedulable = (vmi: VirtualMachineInstance, pod: Pod | undefined, now: string): void => {
    const scheduled = pod === undefined ? undefined : conditionOf(pod, 'PodScheduled')
    const others = (vmi.status?.conditions ?? []).filter(({ type }) => type !== 'PodScheduled')
    if (scheduled?.status === 'False' && vmi.status !== undefined) {
      vmi.status.conditions = [...others, { ...scheduled, lastTransitionTime: scheduled.lastTransitionTime ?? now }]
    } else if (vmi.status?.conditions !== undefined) {
      vmi.status.conditions = others
    }
  }

  const vmOf = (vmi: VirtualMachineInstance) => {
    const owner = controllerOf(vmi)
    const vm = owner?.kind === 'VirtualMachine' ? read(store, 'virtualmachines', vmi.metadata.namespace, owner.name) : undefined
    return vm?.metadata.uid === owner?.uid ? vm : undefined
  }

  const reconcile = (key: string): void => {
    const { namespace, name } = splitKey(key)
    const vmi = read(store, 'virtualmachineinstances', namespace, name)
    if (vmi === undefined || vmi.status?.phase === 'WaitingForSync') return
    const pods = podsOf(vmi)
    const pod = currentPod(vmi, pods)
    for (const { metadata } of pods) forgetLater(metadata.uid)
    if (isTerminating(vmi)) deletePods(pods)
    else if ((vmi.status?.phase ?? 'Pending') === 'Pending' && pod === undefined) {
      if (!(vmi.metadata.finalizers ?? []).includes(FOREGROUND_FINALIZER)) {
        amend(store, 'virtualmachineinstances', locationOf(vmi), (held) => {
          held.metadata.finalizers = [...(held.metadata.finalizers ?? []), FOREGROUND_FINALIZER]
        })
      }
      if (!hasActiveMigration(vmi)) createLauncher(vmi)
      return
    }
    if (pod !== undefined && !ghosts.has(pod.metadata.uid)) markUnpaused(pod)
    updateStatus(vmi, pod, pods)
    const current = read(store, 'virtualmachineinstances', namespace, name)
    if (current !== undefined) syncAttachmentPods(context, current, pod !== undefined && ghosts.has(pod.metadata.uid) ? undefined : pod)
  }

  const forgetLater = (uid: string): void => {
    const ghost = ghosts.get(uid)
    if (ghost === undefined) return
    ghost.forget ??= later(context, DELETION_LAG_MS, () => {
      ghosts.delete(uid)
      addOwnerOf(ghost.pod)
    })
  }

  const queue = createWorkQueue(context, 'virt-controller vmi', reconcile, CONTROLLER_LATENCY_MS)
  const addOwnerOf = (pod: Pod): void => {
    const owner = controllerOf(pod)
    if (owner?.kind === 'VirtualMachineInstance') queue.add(`${pod.metadata.namespace ?? ''}/${owner.name}`)
    if (owner?.kind !== 'Pod') return
    // An attachment pod leads to its instance through the launcher, while that is there.
    const launcher = read(store, 'pods', pod.metadata.namespace, owner.name)
    if (launcher !== undefined) addOwnerOf(launcher)
  }
  const plurals = ['virtualmachineinstances', 'pods', 'virtualmachineinstancemigrations', 'virtualmachines']
  const stopWatch = watch(store, plurals, ({ type, plural, object }) => {
    if (plural === 'virtualmachineinstances') {
      if (type === 'DELETED') for (const [uid, { pod }] of ghosts) if (vmiUidOf(pod) === object.metadata.uid) ghosts.delete(uid)
      queue.add(keyOf(object))
    } else if (plural === 'virtualmachines') {
      if (type === 'DELETED') queue.add(keyOf(object))
    } else if (plural === 'virtualmachineinstancemigrations') {
      const { vmiName } = object['spec'] as { readonly vmiName: string }
      queue.add(`${object.metadata.namespace ?? ''}/${vmiName}`)
    } else {
      const pod = object as Pod
      const owner = controllerOf(pod)
      const vmi = owner === undefined ? undefined : store.get('virtualmachineinstances', pod.metadata.namespace, owner.name)
      if (type === 'DELETED' && vmi !== undefined && vmi.metadata.uid === owner?.uid)
        ghosts.set(pod.metadata.uid, { pod, forget: undefined })
      addOwnerOf(pod)
    }
  })
  return stopAll(stopWatch, queue, () => {
    for (const { forget } of ghosts.values()) forget?.()
  })
}
