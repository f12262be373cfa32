/** KubeVirt's harder cases on the embedded cluster. */
import { afterEach, describe, expect, test } from 'vitest'
import { createVm, demoNamespace } from '../../src/demo/cluster/fixtures.ts'
import { createFailoverBed, eventually, type FailoverBed, roomB, testConfig } from '../support/failover-bed.ts'

let bed: FailoverBed
afterEach(async () => {
  await bed.close()
})

const status = (name: string) =>
  (bed.store.get('virtualmachineinstances', demoNamespace, name) as { status?: { phase?: string; nodeName?: string } } | undefined)?.status
const runsIn = (name: string, room: string): boolean =>
  status(name)?.phase === 'Running' && bed.hosts.get(status(name)?.nodeName ?? '')?.room === room
const vm = (name: string, more: object = {}) => {
  createVm(bed.store, { name, runStrategy: 'Always', replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b', ...more })
}

describe('VMs of a dead room', () => {
  test('come back by priority, a wave at a time when the readiness gate asks for it', async () => {
    bed = await createFailoverBed()
    const names = ['p30', 'p20', 'p10']
    for (const name of names) vm(name, { annotations: { 'roomfence.io/priority': name.slice(1) } })
    await eventually('all run in room-b', () => names.every((name) => runsIn(name, 'room-b')))
    // Its stand-in comes three seconds after the loss, before the last wave on a busy machine.
    bed.cluster.stopController('taint-eviction')
    bed.powerOff('room-b')
    const result = await bed.start({ config: { ...testConfig, waveSize: 1, waveReadinessGate: true } }).done
    expect(result.running).toHaveLength(3)
    const told = bed.events.flatMap((event) =>
      event.kind === 'vm-ordered' || event.kind === 'vm-running' ? [`${event.kind} ${event.vm}`] : [],
    )
    expect(told).toEqual(names.flatMap((name) => [`vm-ordered vms/${name}`, `vm-running vms/${name}`]))
  })

  test('are touched when virt-controller lost sight of them, once the webhook answers', async () => {
    bed = await createFailoverBed()
    vm('one')
    await eventually('it runs in room-b', () => runsIn('one', 'room-b'))
    bed.powerOff('room-b')
    // virt-controller is away while the pods go, and its API refuses every patch of an instance.
    bed.cluster.stopController('virt-controller')
    bed.server.faults.set({
      answer: { status: 500 },
      appliesTo: ({ method, path }) => method === 'PATCH' && path.includes('virtualmachineinstances'),
    })
    bed.start()
    await eventually('a touch was refused', () =>
      bed.events.some((event) => event.kind === 'step-failed' && event.subject === 'vms/one touch-vmi'),
    )
    bed.server.faults.set()
    await eventually(
      'the instance was touched',
      () => bed.store.get('virtualmachineinstances', demoNamespace, 'one')?.metadata.annotations?.['roomfence.io/touched'] !== undefined,
    )
  })

  test('that cannot be placed are told of with the reason', async () => {
    bed = await createFailoverBed()
    vm('nowhere', { replicaNodes: ['b1'] })
    await eventually('it runs in room-b', () => runsIn('nowhere', 'room-b'))
    bed.powerOff('room-b')
    const result = await bed.start({ config: { ...testConfig, vmDeadlineMs: 1_500 } }).done
    expect(bed.events.find((event) => event.kind === 'vm-unplaced')).toMatchObject({
      vm: 'vms/nowhere',
      reason: expect.stringContaining('no node takes it') as string,
    })
    expect(result.failed).toMatchObject([{ workload: 'vms/nowhere', reason: expect.stringContaining('no node takes it') as string }])
  })

  test('in a room of one dead node come back by the same path, and the other node is left alone', async () => {
    bed = await createFailoverBed()
    vm('one')
    await eventually('it runs in room-b', () => runsIn('one', 'room-b'))
    bed.host('b1').setPower(false)
    bed.cluster.hostChanged('b1')
    const [b1] = roomB.nodes
    if (b1 === undefined) throw new Error('no node')
    const result = await bed.start({ order: { ...roomB, nodes: [b1], rooms: [] } }).done
    expect(result.running).toEqual(['vms/one'])
    expect((bed.store.get('nodes', undefined, 'b2')?.['spec'] as { taints?: { key: string }[] } | undefined)?.taints ?? []).toEqual([])
  })
})
