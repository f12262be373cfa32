/** Stand-in of virt-controller's migration controller: a target pod, the phases up to Running, and the two ways of losing one side. */
import { launcherPod } from './launcher-pod.ts'
import {
  amend,
  isPodFinal,
  isReady,
  isTerminating,
  isVmiFinal,
  keyOf,
  locationOf,
  type Migration,
  type MigrationPhase,
  type Pod,
  read,
  readAll,
  splitKey,
  type VirtualMachineInstance,
} from './objects.ts'
import { vmiUidOf } from './virt-handler.ts'
import { CONTROLLER_LATENCY_MS, currentPod } from './vmi-controller.ts'
import { type ClusterContext, createWorkQueue, type Stop, stopAll, timestamp, watch } from './work-queue.ts'

const FINALIZER = 'kubevirt.io/migrationJobFinalize'
const isOver = (migration: Migration): boolean => migration.status?.phase === 'Failed' || migration.status?.phase === 'Succeeded'

/** The phase that follows; undefined when it stays. */
function nextMigrationPhase(
  migration: Migration,
  vmi: VirtualMachineInstance | undefined,
  target: Pod | undefined,
): MigrationPhase | undefined {
  const phase = migration.status?.phase
  if (phase === undefined) return 'Pending'
  if (phase === 'Failed' || phase === 'Succeeded') return undefined
  if (vmi === undefined || isVmiFinal(vmi)) return 'Failed'
  if (phase === 'Pending') return target === undefined ? undefined : 'Scheduling'
  if (target === undefined || isPodFinal(target)) return 'Failed'
  const state = vmi.status?.migrationState
  const isOurs = state?.migrationUid === migration.metadata.uid
  switch (phase) {
    case 'Scheduling':
      return target.status?.phase === 'Running' && isReady(target) ? 'Scheduled' : undefined
    case 'Scheduled':
      return isOurs && state.targetPod !== undefined ? 'PreparingTarget' : undefined
    case 'PreparingTarget':
      return isOurs && state.targetNodeAddress !== undefined ? 'TargetReady' : undefined
    case 'TargetReady':
      return isOurs && state.startTimestamp !== undefined ? 'Running' : undefined
    case 'Running':
      break
  }
  return undefined
}

export function startMigrationController(context: ClusterContext): Stop {
  const { store } = context

  /** Uids of migrations whose instance has gone, though there may be a new one of its name. */
  const orphans = new Set<string>()

  const targetOf = (migration: Migration): Pod | undefined =>
    readAll(store, 'pods', migration.metadata.namespace).find(
      (pod) => pod.metadata.labels?.['kubevirt.io/migrationJobUID'] === migration.metadata.uid,
    )

  const reconcile = (key: string): void => {
    const { namespace, name } = splitKey(key)
    const migration = read(store, 'virtualmachineinstancemigrations', namespace, name)
    if (migration === undefined) return
    const vmi = orphans.has(migration.metadata.uid) ? undefined : read(store, 'virtualmachineinstances', namespace, migration.spec.vmiName)
    const target = targetOf(migration)
    if (isOver(migration)) return conclude(migration, vmi)
    if (!(migration.metadata.finalizers ?? []).includes(FINALIZER) && !isTerminating(migration)) {
      amend(store, 'virtualmachineinstancemigrations', locationOf(migration), (held) => {
        held.metadata.finalizers = [...(held.metadata.finalizers ?? []), FINALIZER]
      })
    }
    if (migration.status?.phase === 'Pending' && target === undefined && vmi?.status?.phase === 'Running' && !isTerminating(vmi)) {
      const { uid } = migration.metadata
      const { addedNodeSelector } = migration.spec
      store.create('pods', launcherPod(vmi, { uid, name, addedNodeSelector, sourceNode: vmi.status.nodeName }))
    }
    if (migration.status?.phase === 'Scheduled' && vmi !== undefined && target !== undefined) beginHandover(migration, vmi, target)
    const phase = nextMigrationPhase(migration, vmi, targetOf(migration))
    if (phase === undefined) return
    amend(store, 'virtualmachineinstancemigrations', locationOf(migration), (changed) => {
      const transitions = [...(changed.status?.phaseTransitionTimestamps ?? []), { phase, phaseTransitionTimestamp: timestamp(context) }]
      changed.status = { ...changed.status, phase, phaseTransitionTimestamps: transitions }
    })
  }

  const beginHandover = (migration: Migration, vmi: VirtualMachineInstance, target: Pod): void => {
    if (vmi.status?.migrationState?.migrationUid === migration.metadata.uid) return
    const pods = readAll(store, 'pods', vmi.metadata.namespace).filter((pod) => vmiUidOf(pod) === vmi.metadata.uid)
    const sourcePod = currentPod(vmi, pods)?.metadata.name
    amend(store, 'virtualmachineinstances', locationOf(vmi), (changed) => {
      changed.status = {
        ...changed.status,
        migrationState: {
          migrationUid: migration.metadata.uid,
          targetPod: target.metadata.name,
          ...(target.spec.nodeName === undefined ? {} : { targetNode: target.spec.nodeName }),
          ...(vmi.status?.nodeName === undefined ? {} : { sourceNode: vmi.status.nodeName }),
          ...(sourcePod === undefined ? {} : { sourcePod }),
        },
      }
    })
  }

  /** What a migration that is over leaves behind. */
  const conclude = (migration: Migration, vmi: VirtualMachineInstance | undefined): void => {
    const state = vmi?.status?.migrationState
    if (vmi !== undefined && state?.migrationUid === migration.metadata.uid && state.completed !== true) {
      amend(store, 'virtualmachineinstances', locationOf(vmi), (changed) => {
        const failed = { completed: true, failed: true, failureReason: 'Target pod is down', endTimestamp: timestamp(context) }
        if (changed.status?.migrationState !== undefined) Object.assign(changed.status.migrationState, failed)
      })
    }
    amend(store, 'virtualmachineinstancemigrations', locationOf(migration), (free) => {
      free.metadata.finalizers = (free.metadata.finalizers ?? []).filter((other) => other !== FINALIZER)
    })
    if (vmi === undefined) store.remove('virtualmachineinstancemigrations', migration.metadata.namespace, migration.metadata.name)
  }

  const queue = createWorkQueue(context, 'virt-controller migration', reconcile, CONTROLLER_LATENCY_MS)
  const addAllOf = (namespace: string | undefined, vmiName: string | undefined): void => {
    for (const migration of readAll(store, 'virtualmachineinstancemigrations', namespace)) {
      if (migration.spec.vmiName === vmiName) queue.add(keyOf(migration))
    }
  }
  const stopWatch = watch(store, ['virtualmachineinstancemigrations', 'virtualmachineinstances', 'pods'], ({ type, plural, object }) => {
    if (plural === 'virtualmachineinstancemigrations') {
      if (type === 'DELETED') orphans.delete(object.metadata.uid)
      queue.add(keyOf(object))
    } else if (plural === 'virtualmachineinstances' && type === 'DELETED') {
      for (const { metadata, spec } of readAll(store, 'virtualmachineinstancemigrations', object.metadata.namespace)) {
        if (spec.vmiName === object.metadata.name) orphans.add(metadata.uid)
      }
      addAllOf(object.metadata.namespace, object.metadata.name)
    } else addAllOf(object.metadata.namespace, plural === 'pods' ? object.metadata.labels?.['vm.kubevirt.io/name'] : object.metadata.name)
  })
  return stopAll(stopWatch, queue)
}
