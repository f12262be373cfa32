/** VolumeAttachments of fenced nodes: who waits for them to go, since when they should have, and what a person is told. Pure. */
import type { RecordedAttachment } from '../fence/fence.ts'
import { fullName } from '../fence/names.ts'
import { isOutOfService } from '../fence/taints.ts'
import type { AgeMs, PlanInput } from './plan-input.ts'
import type { PodVerdict } from './pod-verdict.ts'
import { volumesByClaim } from './snapshot.ts'

export interface Attachments {
  /** All that are left, but those of pods that are to stay: watched until they are gone, also past the deadline. */
  readonly left: readonly RecordedAttachment[]
  /** One still has time until its deadline. */
  readonly isYoung: boolean
}

/**
 * An attachment should go once its node is out of service: nobody detaches before that. A volume that only one node may have at a time keeps its new pod
 * from starting; one that many may have keeps nobody.
 */
export function followAttachments({ snapshot, config }: PlanInput, verdicts: readonly PodVerdict[], ageMs: AgeMs): Attachments {
  const byClaim = volumesByClaim(snapshot)
  const kept = new Set(
    verdicts.flatMap(({ kind, pod }) =>
      kind === 'ready' || kind === 'stuck'
        ? []
        : pod.volumes.flatMap((volume) => (volume.kind === 'claim' ? (byClaim.get(`${pod.namespace}/${volume.claim}`) ?? []) : [])),
    ),
  )
  const left: RecordedAttachment[] = []
  let isYoung = false
  for (const attachment of snapshot.volumeAttachments) {
    const volume = snapshot.volumes.get(attachment.persistentVolume)
    if (volume !== undefined && kept.has(volume)) continue
    const node = snapshot.nodes.get(attachment.nodeName)
    const mayGo = node === undefined || isOutOfService(node.taints)
    const isLate = mayGo && ageMs(`attachment ${attachment.uid}`) >= config.volumeAttachmentDeadlineMs
    if (mayGo && !isLate) isYoung = true
    const accessModes = volume?.accessModes ?? []
    const blocks = !accessModes.includes('ReadWriteMany') && !accessModes.includes('ReadOnlyMany')
    const by = attachment.finalizers.length > 0 ? ` (finalizers: ${attachment.finalizers.join(', ')})` : ''
    left.push({
      name: attachment.name,
      node: attachment.nodeName,
      persistentVolume: attachment.persistentVolume,
      claim: volume?.claim === undefined ? '' : fullName(volume.claim),
      accessModes: [...accessModes],
      blocks,
      isLate,
      reason: mayGo
        ? `${attachment.attacher} has not detached ${attachment.persistentVolume}${by}`
        : `its node is not out of service yet, so nobody detaches ${attachment.persistentVolume}`,
    })
  }
  left.sort((a, b) => (a.name < b.name ? -1 : 1))
  return { left, isYoung }
}

/** For people: what is wrong, and whom it keeps. */
export const attachmentNote = ({ name, node, reason, blocks, accessModes }: RecordedAttachment): string =>
  `VolumeAttachment ${name} on ${node}: ${reason}; ${accessModes.join(', ') || 'access modes unknown'}: ${
    blocks ? 'no other node can attach the volume until it is gone' : 'other nodes can attach the volume meanwhile'
  }`
