/** Volumes of a lost room: which may be on several nodes, which keep their new pods waiting, and one that somebody else keeps attached. */
import { expect } from 'vitest'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import { createClaim } from '../cluster/objects/volumes.ts'
import type { Bed, PlayedFailover } from './bed.ts'
import { stage } from './lines.ts'
import { createStatefulSet, createVm } from './line-objects.ts'
import type { AnyObject } from './recording.ts'
import { deadRoom, livingRoom } from './world.ts'

interface Attachment {
  readonly name: string
  readonly node: string
  readonly claim: string
  readonly accessModes: readonly string[]
  readonly blocks: boolean
  readonly isLate: boolean
  readonly reason: string
}

interface Status {
  readonly phase: string
  readonly stuck: readonly string[]
  readonly volumeAttachments: readonly Attachment[]
}

interface Played extends PlayedFailover {
  readonly result: FailoverResult
  /** Of every status that was written: what was attached. */
  readonly seen: ReadonlyMap<string, Attachment>
  readonly late: Status
  /** Whether a pod with the kept volume ran elsewhere while it was attached. */
  readonly ranWhileKept: boolean
  readonly lateEvents: readonly (AnyObject & { note?: string })[]
  readonly end: Status
  readonly deletedByUs: readonly string[]
  /** DRBD resources that proof and data gate were asked about. */
  readonly asked: { readonly proofs: ReadonlySet<string>; readonly gate: ReadonlySet<string> }
}

const attachmentsPath = '/apis/storage.k8s.io/v1/volumeattachments'
const keeper = 'example.com/keeps'

/** A claim that was deleted and is about to be made again: its first volume is kept, and goes on naming it. By name that one is the last. */
async function leaveReleasedVolume(bed: Bed): Promise<void> {
  const { api, namespace } = bed
  await createClaim(api, { namespace, name: 'renewed', volume: 'renewed-before', accessMode: 'ReadWriteMany' })
  const isIn = (phase: string) => async (): Promise<boolean> =>
    (await api.get<{ status?: { phase?: string } }>('/api/v1/persistentvolumes/pv-renewed-before')).status?.phase === phase
  await bed.until('the first volume is bound', isIn('Bound'))
  await api.remove(`/api/v1/namespaces/${namespace}/persistentvolumeclaims/renewed`)
  await bed.until('the first volume is released', isIn('Released'))
}

async function play(bed: Bed): Promise<Played> {
  const { api, namespace } = bed
  await leaveReleasedVolume(bed)
  await createVm(api, namespace, { name: 'renewed', room: deadRoom })
  await createStatefulSet(api, namespace, { name: 'kept', room: deadRoom, accessMode: 'ReadWriteOnce' })
  await createVm(api, namespace, { name: 'shared', room: deadRoom })
  for (const name of ['shared', 'renewed']) await bed.vmiRuns(name, deadRoom)
  await bed.podsRun('kept', deadRoom)
  const attached = await bed.until('both volumes are attached', async () => {
    const all = await api.list<AnyObject & { spec: { source: { persistentVolumeName?: string } } }>(attachmentsPath)
    const of = (volume: string) => all.find(({ spec }) => spec.source.persistentVolumeName === volume)
    const kept = of('pv-disk-kept-0')
    return kept !== undefined && of('pv-shared') !== undefined ? kept : undefined
  })
  const keptPath = `${attachmentsPath}/${attached.metadata.name}`
  await api.patch(keptPath, { metadata: { finalizers: [...(attached.metadata.finalizers ?? []), keeper] } })
  const release = async (): Promise<void> => {
    const { metadata } = await api.get(keptPath)
    await api.patch(keptPath, { metadata: { finalizers: (metadata.finalizers ?? []).filter((name) => name !== keeper) } })
  }
  bed.onEnd(async () => release().catch(() => undefined))
  await bed.powerOff()
  const seen = new Map<string, Attachment>()
  const asked = { proofs: new Set<string>(), gate: new Set<string>() }
  const started = bed.failover({
    config: { volumeAttachmentDeadlineMs: 2_500 },
    proofs: {
      node: () => ({ isProved: true, proof: { kind: 'human', by: 'ada' } }),
      workload: (_, resources) => {
        for (const resource of resources) asked.proofs.add(resource)
        return { isProved: true, proof: { kind: 'storage' } }
      },
    },
    dataGate: (volumes) => {
      for (const { handle } of volumes) asked.gate.add(handle)
      return { open: true }
    },
  })
  const statusNow = async (): Promise<Status> => {
    const status = (await bed.fence(started.order.id)).status as unknown as Partial<Status> | undefined
    for (const one of status?.volumeAttachments ?? []) seen.set(one.claim, one)
    return { phase: '', stuck: [], volumeAttachments: [], ...status }
  }
  await bed.until('the Fence lists both attachments', async () => {
    await statusNow()
    return seen.has(`${namespace}/shared`) && seen.has(`${namespace}/disk-kept-0`)
  })
  for (const name of ['shared', 'renewed']) await bed.vmiRuns(name, livingRoom)
  const late = await bed.until('the fence waits for the kept attachment alone', async () => {
    const status = await statusNow()
    return status.phase === 'Waiting' && status.volumeAttachments.length === 1 ? status : undefined
  })
  const ranWhileKept = (await bed.podsOf('kept', livingRoom)).length > 0
  const lateEvents = await bed.until('it is told of', async () => {
    const all = await api.list<AnyObject & { reason?: string; note?: string }>('/apis/events.k8s.io/v1/namespaces/default/events')
    const ours = all.filter(({ reason }) => reason === 'VolumeAttachmentStuck')
    return ours.length > 0 ? ours : undefined
  })
  await release()
  const result = await bed.ended(started)
  await bed.podsRun('kept', livingRoom)
  await bed.log.settled()
  const deletedByUs = started.writes.filter(({ path }) => path.startsWith(attachmentsPath)).map(({ path }) => path)
  return { ...started, result, seen, late, ranWhileKept, lateEvents, end: await statusNow(), deletedByUs, asked }
}

export const volumesRoom = stage<Played>({
  name: 'volumes',
  play,
  lines: [
    {
      id: 'attachments-watched-until-gone',
      part: 'volumes/attachments',
      says: 'the Fence lists what is still attached to the lost nodes, does not finish before the last of it is gone, and is empty then; roomfence itself detaches nothing',
      check: ({ seen, late, end, result, deletedByUs }, bed) => {
        expect([...seen.keys()]).toEqual(expect.arrayContaining([`${bed.namespace}/disk-kept-0`, `${bed.namespace}/shared`]))
        expect(late.phase).toBe('Waiting')
        expect(result.outcome).toBe('finished')
        expect(end).toMatchObject({ phase: 'Finished', volumeAttachments: [], stuck: [] })
        expect(deletedByUs).toEqual([])
      },
    },
    {
      id: 'attachment-past-its-deadline-is-told',
      part: 'volumes/deadline',
      says: 'past the deadline an attachment is told of with the finalizers that keep it: in the Fence, as progress and as an event on its node',
      check: ({ late, events, lateEvents, seen }, bed) => {
        const [kept] = late.volumeAttachments
        expect(kept).toMatchObject({ claim: `${bed.namespace}/disk-kept-0`, isLate: true })
        expect(kept?.reason).toContain(keeper)
        expect(late.stuck.filter((text) => text.includes(kept?.name ?? '?') && text.includes(keeper))).toHaveLength(1)
        expect(events.filter((event) => event.kind === 'volume-attachment-stuck').map(({ volumeAttachment }) => volumeAttachment)).toEqual([
          kept?.name,
        ])
        expect(lateEvents.some(({ note = '' }) => note.includes(kept?.name ?? '?') && note.includes(keeper))).toBe(true)
        expect(seen.get(`${bed.namespace}/shared`)?.isLate).toBe(false)
      },
    },
    {
      id: 'access-modes-told-apart',
      part: 'volumes/access-modes',
      says: 'a ReadWriteOnce volume that stays attached keeps its new pod from running elsewhere, and is told as blocking; a ReadWriteMany one does neither',
      check: ({ seen, ranWhileKept, late }, bed) => {
        expect(seen.get(`${bed.namespace}/disk-kept-0`)).toMatchObject({ accessModes: ['ReadWriteOnce'], blocks: true })
        expect(seen.get(`${bed.namespace}/shared`)).toMatchObject({ accessModes: ['ReadWriteMany'], blocks: false })
        expect(ranWhileKept).toBe(false)
        expect(late.stuck[0]).toMatch(/ReadWriteOnce: no other node can attach the volume/)
      },
    },
    {
      id: 'claim-made-again',
      part: 'volumes/claims',
      says: 'of a claim that was deleted and made again, proof and data gate are asked about the volume that it has, not about the released one that still names it',
      check: ({ asked }) => {
        for (const resources of [asked.proofs, asked.gate]) {
          expect(resources).toContain('vol-renewed')
          expect(resources).not.toContain('vol-renewed-before')
        }
      },
    },
  ],
})
