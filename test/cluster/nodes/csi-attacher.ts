/** The fake external-attacher: the CSI controller's sidecar that attaches and detaches, and is never in the dead room. */
import type { PersistentVolume, VolumeAttachment } from '../api/objects.ts'
import { attachmentsPath } from '../api/objects.ts'
import { sleep } from '../../support/timing.ts'
import { attempt, type NodeSetting } from './setting.ts'

export const volumeName = (driver: string, handle: string): string => `kubernetes.io/csi/${driver}^${handle}`

export const persistentVolume = async (setting: NodeSetting, name: string): Promise<PersistentVolume> => {
  const volume = await setting.client.get<PersistentVolume>(`/api/v1/persistentvolumes/${name}`)
  if (volume.spec.csi !== undefined) setting.volumeNames.set(name, volumeName(volume.spec.csi.driver, volume.spec.csi.volumeHandle))
  return volume
}

export const isAttached = (setting: NodeSetting, volume: string, node: string): boolean =>
  [...setting.attachments.objects.values()].some(
    ({ metadata, spec, status }) =>
      spec.nodeName === node &&
      status?.attached === true &&
      metadata.deletionTimestamp === undefined &&
      setting.volumeNames.get(spec.source.persistentVolumeName) === volume,
  )

/** Gives what to call with every VolumeAttachment that came or changed. */
export const csiAttacher = (setting: NodeSetting): ((attachment: VolumeAttachment) => void) => {
  const { client, timings, driver } = setting
  const finalizer = `external-attacher/${driver.replaceAll('.', '-')}`
  const busy = new Set<string>()

  const bring = async ({ metadata, spec, status }: VolumeAttachment): Promise<void> => {
    const path = attachmentsPath(metadata.name)
    const finalizers = metadata.finalizers ?? []
    if (metadata.deletionTimestamp !== undefined) {
      if (!finalizers.includes(finalizer)) return
      await sleep(timings.detachMs)
      await attempt(setting, 'attacher', client.patch(`${path}/status`, { status: { attached: false } }))
      await client.patch(path, { metadata: { finalizers: finalizers.filter((one) => one !== finalizer) } })
      return
    }
    if (!setting.volumeNames.has(spec.source.persistentVolumeName)) await persistentVolume(setting, spec.source.persistentVolumeName)
    if (status?.attached === true) return
    if (!finalizers.includes(finalizer)) await client.patch(path, { metadata: { finalizers: [...finalizers, finalizer] } })
    await sleep(timings.attachMs)
    await client.patch(`${path}/status`, { status: { attached: true } })
  }

  const settle = async (attachment: VolumeAttachment): Promise<void> => {
    const { uid } = attachment.metadata
    if (attachment.spec.attacher !== driver || busy.has(uid)) return
    busy.add(uid)
    await attempt(setting, 'attacher', bring(attachment))
    busy.delete(uid)
    const now = setting.attachments.objects.get(uid)
    if (now === undefined || now.metadata.resourceVersion === attachment.metadata.resourceVersion) return
    if (now.metadata.deletionTimestamp !== undefined || now.status?.attached !== true) await settle(now)
  }
  return (attachment) => void settle(attachment)
}
