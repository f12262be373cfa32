/** A Manual VM that the losing side kills itself, on the embedded cluster: it ran before the fence, so it runs after it, elsewhere or, where it was held, at home. */
import { afterEach, describe, expect, test } from 'vitest'
import { createVm, demoNamespace, requestStart } from '../../src/demo/cluster/fixtures.ts'
import { createFailoverBed, eventually, type FailoverBed, startUnfenceOfRoomB } from '../support/failover-bed.ts'

let bed: FailoverBed
afterEach(async () => {
  await bed.close()
})

const instance = (name: string) =>
  bed.store.get('virtualmachineinstances', demoNamespace, name) as
    | { metadata: { uid: string }; status?: { phase?: string; nodeName?: string } }
    | undefined
const runsIn = (name: string, room: string) =>
  instance(name)?.status?.phase === 'Running' && instance(name)?.status?.nodeName?.startsWith(room)

/** Room b loses its fence but neither its power nor its way to the API server: its agents kill what runs there, and its kubelets say so. */
async function killedAtHome(): Promise<string> {
  bed = await createFailoverBed()
  createVm(bed.store, { name: 'manual', runStrategy: 'Manual', replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b' })
  requestStart(bed.store, 'manual')
  await eventually('it runs in room-b', () => runsIn('manual', 'b'))
  const before = instance('manual')?.metadata.uid ?? ''
  for (const uid of bed.host('b1').runningPods()) bed.host('b1').kill(uid)
  bed.cluster.hostChanged('b1')
  await eventually('its instance has failed', () => instance('manual')?.status?.phase === 'Failed')
  return before
}

describe('a Manual VM that its fenced node killed before the failover looked', () => {
  test('was running, and is started in the other room', async () => {
    const before = await killedAtHome()
    await bed.start().done
    await eventually('it runs in room-a', () => runsIn('manual', 'a'))
    expect(instance('manual')?.metadata.uid).not.toBe(before)
  })

  test('is started at home by the un-fence when it was held', async () => {
    const before = await killedAtHome()
    const failover = bed.start({ dataGate: () => ({ open: false, reason: 'no survivor has an UpToDate replica' }) })
    await eventually('it is held', () => bed.events.some(({ kind }) => kind === 'blocked'))
    failover.stop()
    await failover.done
    expect(instance('manual')?.metadata.uid).toBe(before)
    const started: string[] = []
    const result = await startUnfenceOfRoomB(bed, { onProgress: (event) => event.kind === 'vm-started' && started.push(event.vm) }).done
    expect(result).toMatchObject({ outcome: 'unfenced' })
    expect(started).toEqual([`${demoNamespace}/manual`])
    await eventually('it runs in room-b again', () => runsIn('manual', 'b') && instance('manual')?.metadata.uid !== before)
  })
})
