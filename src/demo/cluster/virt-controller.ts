/** Stand-in of KubeVirt's virt-controller: the controllers of VMs, instances, migrations and sets, and the watch over virt-handler's heartbeat. */
import { startMigrationController } from './migration-controller.ts'
import { amend, isPodFinal, isVmiFinal, locationOf, type Node, readAll, type VirtualMachineInstance } from './objects.ts'
import { startVmController } from './vm-controller.ts'
import { startVmSets } from './vm-sets.ts'
import { startVmiController } from './vmi-controller.ts'
import { enterPhase, vmiUidOf } from './virt-handler.ts'
import { type ClusterContext, every, type Stop, stopAll, timestamp, watch } from './work-queue.ts'

/** Hard coded in virt-controller's node controller. */
const HEARTBEAT_TIMEOUT_MS = 300_000
const RECHECK_MS = 60_000
const HEARTBEAT_ANNOTATION = 'kubevirt.io/heartbeat'

export function startVirtController(context: ClusterContext): Stop {
  return stopAll(
    startVmController(context),
    startVmiController(context),
    startMigrationController(context),
    startVmSets(context),
    startNodeController(context),
  )
}

/**
 * Marks nodes whose virt-handler has been silent for five minutes as not schedulable, and fails their instances without a live pod.
 * The real one compares the annotation with its wall clock; this one the time since it last saw it move, so that time can be scaled.
 */
function startNodeController(context: ClusterContext): Stop {
  const { store, clock } = context
  const lastBeat = new Map<string, { value: string; atMs: number }>()

  const failOrphans = (node: string): void => {
    const pods = readAll(store, 'pods').filter((pod) => pod.spec.nodeName === node && !isPodFinal(pod))
    for (const vmi of readAll(store, 'virtualmachineinstances')) {
      if (vmi.status?.nodeName !== node || isVmiFinal(vmi) || pods.some((pod) => vmiUidOf(pod) === vmi.metadata.uid)) continue
      amend(store, 'virtualmachineinstances', locationOf(vmi), (failed: VirtualMachineInstance) => {
        enterPhase(failed, 'Failed', timestamp(context))
        failed.status = { ...failed.status, reason: 'NodeUnresponsive' }
      })
    }
  }

  const recheck = (): void => {
    for (const node of readAll(store, 'nodes')) {
      const beat = lastBeat.get(node.metadata.name)
      if (beat === undefined || clock.nowMs() - beat.atMs < HEARTBEAT_TIMEOUT_MS * context.timeFactor) continue
      amend(store, 'nodes', locationOf(node), (silent) => {
        silent.metadata.labels = { ...silent.metadata.labels, 'kubevirt.io/schedulable': 'false' }
      })
      failOrphans(node.metadata.name)
    }
  }
  const stopWatch = watch(store, ['nodes'], ({ type, object }) => {
    const { name } = object.metadata
    const value = (object as Node).metadata.annotations?.[HEARTBEAT_ANNOTATION]
    if (type === 'DELETED') lastBeat.delete(name)
    // A node without the annotation counts as responsive.
    else if (value !== undefined && lastBeat.get(name)?.value !== value) lastBeat.set(name, { value, atMs: clock.nowMs() })
  })
  return stopAll(stopWatch, every(context, RECHECK_MS, recheck, 25))
}
