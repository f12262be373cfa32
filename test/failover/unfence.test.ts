/** Un-fencing on the embedded cluster. */
import { afterEach, describe, expect, test } from 'vitest'
import { createVm, demoNamespace } from '../../src/demo/cluster/fixtures.ts'
import type { UnfenceInput } from '../../src/failover/unfence/unfence.ts'
import { epoch } from '../../src/protocol/ids.ts'
import { createFailoverBed, eventually, type FailoverBed, roomB, startUnfenceOfRoomB } from '../support/failover-bed.ts'

let bed: FailoverBed
afterEach(async () => {
  await bed.close()
})

const node = (name: string) =>
  bed.store.get('nodes', undefined, name) as
    | { metadata: { annotations?: Record<string, string> }; spec?: { taints?: { key: string }[] } }
    | undefined
const ourTaints = (name: string) =>
  (node(name)?.spec?.taints ?? []).filter(({ key }) => key.includes('fenced') || key.includes('out-of-service'))
const unfence = (more: Partial<UnfenceInput> = {}) => startUnfenceOfRoomB(bed, more).done

async function failedOver(): Promise<void> {
  bed = await createFailoverBed()
  createVm(bed.store, { name: 'one', runStrategy: 'Always', replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b' })
  const phase = () =>
    (bed.store.get('virtualmachineinstances', demoNamespace, 'one') as { status?: { phase?: string; nodeName?: string } } | undefined)
      ?.status
  await eventually('one runs in room-b', () => phase()?.phase === 'Running' && phase()?.nodeName === 'b1')
  bed.taint('b1', 'NoSchedule', 'team/own')
  bed.powerOff('room-b')
  await bed.start().done
}

function powerOn(): void {
  for (const host of bed.room('room-b')) {
    host.setPower(true)
    bed.cluster.hostChanged(host.name)
  }
}

describe('un-fencing a room', () => {
  test('removes only our taints once the epoch is chosen, and records who and when', async () => {
    await failedOver()
    powerOn()
    let tainted = 0
    const result = await unfence({
      chooseEpoch: async () => {
        tainted = ourTaints('b1').length
        return { chosen: true, epoch: epoch(8) }
      },
    })
    expect(result).toMatchObject({ outcome: 'unfenced', epoch: 8 })
    expect(tainted).toBe(2)
    for (const name of roomB.nodes) expect(ourTaints(name)).toEqual([])
    expect(node('b1')?.spec?.taints?.some(({ key }) => key === 'team/own')).toBe(true)
    const fence = bed.store.get('fences', undefined, roomB.id)?.['status']
    expect(fence).toMatchObject({ phase: 'Unfenced', unfenced: [{ node: 'b1', by: 'operator', epoch: 8 }, { node: 'b2' }] })
    expect(node('b1')?.metadata.annotations?.['roomfence.io/unfenced']).toContain('by operator')
  })

  test('is refused while the room is off, with the reason on its nodes, and nobody is asked for an epoch', async () => {
    await failedOver()
    let asked = false
    const result = await unfence({
      freshnessMs: 100,
      chooseEpoch: async () => {
        asked = true
        return { chosen: true, epoch: epoch(8) }
      },
    })
    expect(result).toMatchObject({ outcome: 'refused' })
    expect(asked).toBe(false)
    expect(ourTaints('b1')).toHaveLength(2)
    expect(node('b1')?.metadata.annotations?.['roomfence.io/unfence-answer']).toMatch(/refused \(ready\)/)
  })

  test('is refused for a room that was booted anew, as long as its agents do not say that they killed', async () => {
    await failedOver()
    powerOn()
    const result = await unfence({ isForced: true, agentReport: () => ({ killedUnderEpoch: roomB.epoch - 1, resources: [] }) })
    expect(result).toMatchObject({
      outcome: 'refused',
      checks: [
        { node: 'b1', check: 'killed' },
        { node: 'b2', check: 'killed' },
      ],
    })
    expect(ourTaints('b1')).toHaveLength(2)
  })

  test("with a held pod takes that pod's volumes alone for staying: another attachment left over still refuses it", async () => {
    bed = await createFailoverBed()
    for (const name of ['one', 'kept'])
      createVm(bed.store, { name, runStrategy: 'Always', replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b' })
    const phase = (name: string) =>
      (bed.store.get('virtualmachineinstances', demoNamespace, name) as { status?: { phase?: string; nodeName?: string } } | undefined)
        ?.status
    const runsOn = (name: string, first: string) => phase(name)?.phase === 'Running' && phase(name)?.nodeName?.startsWith(first)
    await eventually('both run in room-b', () => runsOn('one', 'b') && runsOn('kept', 'b'))
    const handle = bed.store
      .list('persistentvolumes')
      .map(({ spec }) => spec as { claimRef: { name: string }; csi: { volumeHandle: string } })
      .find(({ claimRef }) => claimRef.name === 'kept')?.csi.volumeHandle
    expect(handle).toBeDefined()
    bed.powerOff('room-b')
    const failover = bed.start({
      dataGate: (volumes) => (volumes.some((one) => one.handle === handle) ? { open: false, reason: 'no good replica' } : { open: true }),
    })
    await eventually('one runs elsewhere, kept is held', () => runsOn('one', 'a') && bed.events.some(({ kind }) => kind === 'blocked'))
    const attachmentsOf = () => bed.store.list('volumeattachments').filter(({ spec }) => (spec as { nodeName: string }).nodeName === 'b1')
    await eventually('only the attachment of the held one is left', () => attachmentsOf().length === 1)
    failover.stop()
    await failover.done
    const volumeChecks = async () => {
      const result = await unfence({ freshnessMs: 100 })
      return result.outcome === 'refused' ? result.checks.filter(({ check }) => check === 'volume-attachments') : result
    }
    expect(await volumeChecks()).toEqual([])
    const spec = { attacher: 'gone.example', nodeName: 'b1', source: { persistentVolumeName: 'other' } }
    bed.store.create('volumeattachments', { metadata: { name: 'left-over', finalizers: ['gone.example/attached'] }, spec })
    expect(await volumeChecks()).toMatchObject([{ node: 'b1', reason: 'VolumeAttachment left-over still attached to it' }])
  })

  test('changes nothing when the epoch is not chosen', async () => {
    await failedOver()
    powerOn()
    const result = await unfence({ chooseEpoch: async () => ({ chosen: false, reason: 'no majority' }) })
    expect(result).toEqual({ outcome: 'not-chosen', reason: 'no majority' })
    expect(ourTaints('b1')).toHaveLength(2)
  })

  test('of one node leaves the fence of the other, and a carrier that starts again does not taint it anew', async () => {
    await failedOver()
    powerOn()
    const [first] = roomB.nodes
    if (first === undefined) throw new Error('no node')
    await unfence({ nodes: [first] })
    expect([ourTaints('b1').length, ourTaints('b2').length]).toEqual([0, 2])
    await bed.start().done
    expect([ourTaints('b1').length, ourTaints('b2').length]).toEqual([0, 2])
  })
})
