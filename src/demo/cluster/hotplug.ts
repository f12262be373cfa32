/** Stand-in of virt-controller's hotplug: one attachment pod per hotplugged volume beside a running launcher. */
import { attachmentPod, isHotplugged } from './launcher-pod.ts'
import {
  amend,
  controllerOf,
  isPodFinal,
  isTerminating,
  isVmiFinal,
  locationOf,
  type Pod,
  readAll,
  type VirtualMachineInstance,
} from './objects.ts'
import type { ClusterContext } from './work-queue.ts'

/** @param launcher the instance's current pod, undefined when it is gone */
export function syncAttachmentPods(context: ClusterContext, vmi: VirtualMachineInstance, launcher: Pod | undefined): void {
  const { store } = context
  const wanted = (vmi.spec.volumes ?? []).filter(isHotplugged)
  if (launcher === undefined || (wanted.length === 0 && vmi.status?.volumeStatus === undefined)) return
  const present = readAll(store, 'pods', vmi.metadata.namespace).filter((pod) => controllerOf(pod)?.uid === launcher.metadata.uid)
  const isOver = isVmiFinal(vmi) || isTerminating(vmi) || isPodFinal(launcher) || isTerminating(launcher)
  if (isOver) {
    for (const pod of present)
      store.remove('pods', pod.metadata.namespace, pod.metadata.name, { uid: pod.metadata.uid, gracePeriodSeconds: 0 })
    return
  }
  if (vmi.status?.phase !== 'Running' || launcher.spec.nodeName === undefined) return
  const attached = new Map<string, Pod>()
  for (const volume of wanted) {
    const pod = present.find((candidate) => !isTerminating(candidate) && candidate.spec.volumes?.some(({ name }) => name === volume.name))
    if (pod === undefined) store.create('pods', attachmentPod(launcher, volume))
    else attached.set(volume.name, pod)
  }
  amend(store, 'virtualmachineinstances', locationOf(vmi), (changed) => {
    const known = (changed.status?.volumeStatus ?? []).filter(({ hotplugVolume, name }) => {
      return hotplugVolume === undefined || wanted.some((volume) => volume.name === name)
    })
    for (const [name, pod] of attached) {
      const isRunning = pod.status?.phase === 'Running'
      const status = known.find((volume) => volume.name === name)
      const { uid } = pod.metadata
      if (status === undefined) known.push({ name, phase: 'Bound', hotplugVolume: { attachPodName: pod.metadata.name } })
      else if (isRunning && status.hotplugVolume?.attachPodUID !== uid) {
        Object.assign(status, { phase: 'AttachedToNode', hotplugVolume: { attachPodName: pod.metadata.name, attachPodUID: uid } })
      }
    }
    if (changed.status !== undefined && known.length > 0) changed.status.volumeStatus = known
  })
}
