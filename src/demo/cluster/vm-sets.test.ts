/** Pools and replica sets, as virt-controller was seen to keep them. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { demoNamespace } from './fixtures.ts'
import { controllerOf, readAll, type VirtualMachineInstance } from './objects.ts'
import { createTestbed, eventually, type Testbed } from '../../../test/support/cluster-testbed.ts'

let bed: Testbed
beforeEach(() => {
  bed = createTestbed()
})
afterEach(() => bed.cluster.stop())

const spec = { terminationGracePeriodSeconds: 30, domain: { memory: { guest: '128Mi' } } }
const running = (): readonly VirtualMachineInstance[] =>
  readAll(bed.store, 'virtualmachineinstances', demoNamespace).filter(({ status }) => status?.phase === 'Running')
const loseTheNodeOf = (vmi: VirtualMachineInstance): void => {
  const node = vmi.status?.nodeName ?? ''
  bed.host(node).setPower(false)
  bed.cluster.hostChanged(node)
  bed.taint(node, 'NoSchedule')
  for (const pod of bed.podsOf(node)) if (controllerOf(pod)?.uid === vmi.metadata.uid) bed.forceDelete(pod)
}

test('a replica set makes another instance under another name for one that failed, and deletes that one', async () => {
  bed.store.create('virtualmachineinstancereplicasets', {
    metadata: { name: 'crowd', namespace: demoNamespace },
    spec: { replicas: 2, template: { spec } },
  })
  const before = await eventually('two run', () => running().length === 2 && running())
  const [lost] = before
  if (lost === undefined) throw new Error('no instance')
  loseTheNodeOf(lost)
  const names = () => running().map(({ metadata }) => metadata.name)
  await eventually('two run without it', () => running().length === 2 && !names().includes(lost.metadata.name))
  expect(bed.store.get('virtualmachineinstances', demoNamespace, lost.metadata.name)).toBeUndefined()
})

test('a pool keeps its VMs, which are numbered', async () => {
  bed.store.create('virtualmachinepools', {
    metadata: { name: 'farm', namespace: demoNamespace },
    spec: { replicas: 2, virtualMachineTemplate: { spec: { runStrategy: 'Always', template: { spec } } } },
  })
  await eventually('two run', () => running().length === 2)
  const uids = () => readAll(bed.store, 'virtualmachines', demoNamespace).map(({ metadata }) => `${metadata.name} ${metadata.uid}`)
  const before = uids()
  expect(before.map((vm) => vm.split(' ')[0])).toEqual(['farm-0', 'farm-1'])
  const [lost] = running()
  if (lost === undefined) throw new Error('no instance')
  loseTheNodeOf(lost)
  await eventually(
    'two run, one of them anew',
    () => running().length === 2 && !running().some(({ metadata }) => metadata.uid === lost.metadata.uid),
  )
  expect(uids()).toEqual(before)
})
