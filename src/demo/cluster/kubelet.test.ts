/** The kubelet stand-in: what runs on a node is the host's truth, what the API says may be old. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createVm, demoNamespace } from './fixtures.ts'
import { isReady, type Lease, read } from './objects.ts'
import { createTestbed, eventually, type Testbed } from '../../../test/support/cluster-testbed.ts'

let bed: Testbed
beforeEach(() => {
  bed = createTestbed()
  createVm(bed.store, { name: 'vm', runStrategy: 'Always', replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b' })
})
afterEach(() => bed.cluster.stop())

const vmi = () => read(bed.store, 'virtualmachineinstances', demoNamespace, 'vm')
const runsOn = (node: string) => () => vmi()?.status?.nodeName === node && isReady(vmi() ?? {}) && vmi()
const podOn = (node: string) => bed.podsOf(node)[0]
const lease = (node: string) => (bed.store.get('leases', 'kube-node-lease', node) as Lease | undefined)?.spec.renewTime
const setLink = (isUp: boolean): void => {
  for (const host of bed.room('room-b')) {
    host.setLink(isUp)
    bed.cluster.hostChanged(host.name)
  }
}

describe('a node', () => {
  test('makes itself known with its room, boot id, capacity and the annotation that attach-detach needs', async () => {
    const node = await eventually('b1 is there', () => read(bed.store, 'nodes', undefined, 'b1'))
    expect(node.metadata.labels).toMatchObject({ 'topology.kubernetes.io/zone': 'room-b', 'kubevirt.io/schedulable': 'true' })
    expect(node.metadata.annotations).toHaveProperty(['volumes.kubernetes.io/controller-managed-attach-detach'], 'true')
    expect(node.metadata.annotations).toHaveProperty(['kubevirt.io/heartbeat'])
    expect(node.status?.nodeInfo?.['bootID']).toBe('b1-boot-1')
    expect(node.status?.allocatable?.['cpu']).toBe('32')
  })

  test('renews its lease while it has power and the API, and not otherwise', async () => {
    const first = await eventually('a lease', () => lease('b1'))
    await eventually('it is renewed', () => lease('b1') !== first)
    bed.powerOff('room-b')
    const last = lease('b1')
    const other = lease('a1')
    await eventually('a node with power goes on', () => lease('a1') !== other)
    expect(lease('b1')).toBe(last)
  })
})

describe('a partitioned node', () => {
  test('lets its pods run on beside their replacements, and kills them when it learns that they are deleted', async () => {
    await eventually('vm runs', runsOn('b1'))
    const old = podOn('b1')
    setLink(false)
    for (const { name } of bed.room('room-b')) bed.taint(name, 'NoSchedule')
    if (old !== undefined) bed.forceDelete(old)
    await eventually('vm runs in room-a', runsOn('a1'))
    expect(bed.host('b1').runningPods()).toContain(old?.metadata.uid)
    expect(bed.host('a1').runningPods().size).toBe(1)
    setLink(true)
    await eventually('the old copy is killed', () => bed.host('b1').runningPods().size === 0)
    expect(bed.host('a1').runningPods().size).toBe(1)
  })

  test('gives its pods their readiness back when nothing was done about it', async () => {
    await eventually('vm runs', runsOn('b1'))
    setLink(false)
    await eventually('the pod is not ready', () => !isReady(podOn('b1') ?? {}))
    const before = podOn('b1')?.metadata.uid
    setLink(true)
    await eventually('the pod is ready', () => isReady(podOn('b1') ?? {}))
    expect(podOn('b1')?.metadata.uid).toBe(before)
    expect(bed.host('b1').started).toHaveLength(1)
  })
})

describe('a launcher whose process ended', () => {
  test('by a kill fails its instance, and the VM is started again', async () => {
    const before = await eventually('vm runs', runsOn('b1'))
    bed.host('b1').kill(podOn('b1')?.metadata.uid ?? '')
    const after = await eventually('vm runs again', () => vmi()?.metadata.uid !== before.metadata.uid && runsOn('b1')())
    expect(after.status?.phase).toBe('Running')
  })

  test('by a power cycle of its node is not taken for running', async () => {
    const before = await eventually('vm runs', runsOn('b1'))
    const host = bed.host('b1')
    host.setPower(false)
    host.setPower(true)
    bed.cluster.hostChanged('b1')
    await eventually('vm runs again', () => vmi()?.metadata.uid !== before.metadata.uid && runsOn('b1')())
    expect(host.runningPods().size).toBe(1)
  })
})

describe('a volume that refuses to be opened', () => {
  test('keeps its pod from starting, says so in an event, and is tried again', async () => {
    await eventually('vm runs', runsOn('b1'))
    bed.host('a1').refuseStarts('drbd vm: open for writing refused: another node is Primary')
    bed.powerOff('room-b')
    for (const { name } of bed.room('room-b')) bed.taint(name, 'NoSchedule')
    const old = podOn('b1')
    if (old !== undefined) bed.forceDelete(old)
    const refusals = () => bed.store.list('events').filter(({ reason }) => reason === 'FailedMapVolume')
    await eventually('it was tried twice', () => refusals().length >= 2)
    expect(podOn('a1')?.status?.phase).toBe('Pending')
    expect(vmi()?.status?.phase).toBe('Scheduling')
    bed.host('a1').refuseStarts(undefined)
    await eventually('vm runs in room-a', runsOn('a1'))
  })
})
