import * as fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { createStore, type Store } from '../apiserver/store.ts'
import { createVolume } from './fixtures.ts'
import { conditionOf, type Pod, type PodSpec, read, type Taint, type Toleration } from './objects.ts'
import { quantity, toleratesTaint } from './placement.ts'
import { startScheduler } from './scheduler.ts'
import { eventually } from '../../../test/support/cluster-testbed.ts'
import { type Stop, systemClock } from './work-queue.ts'

const allocatable = { cpu: '2', memory: '4Gi', pods: '10' }
let stop: Stop | undefined
afterEach(() => stop?.())

function createNode(store: Store, name: string, room: string, spec: object = {}): void {
  const ready = { type: 'Ready', status: 'Unknown' }
  const labels = { 'kubernetes.io/hostname': name, 'topology.kubernetes.io/zone': room }
  store.create('nodes', { metadata: { name, labels }, spec, status: { allocatable, conditions: [ready] } })
}
function createPod(store: Store, name: string, spec: Partial<PodSpec> = {}): void {
  store.create('pods', { metadata: { name, namespace: 'vms' }, spec: { containers: [{ name: 'main' }], ...spec } })
}
const podOf = (store: Store, name: string): Pod | undefined => read(store, 'pods', 'vms', name)
const nodeOf = (store: Store, name: string): string | undefined => podOf(store, name)?.spec.nodeName
const refusalOf = (store: Store, name: string): string | undefined => {
  const pod = podOf(store, name)
  return pod === undefined ? undefined : conditionOf(pod, 'PodScheduled')?.message
}
function schedule(store: Store): void {
  stop = startScheduler({ store, clock: systemClock, timeFactor: 0.01, report: () => undefined })
}

describe('the scheduler stand-in', () => {
  test('looks at taints only: a node that is silent but not yet tainted still gets pods', async () => {
    const store = createStore()
    createNode(store, 'b1', 'room-b')
    createPod(store, 'web')
    schedule(store)
    expect(await eventually('web is bound', () => nodeOf(store, 'web'))).toBe('b1')
  })

  test('says with kube-scheduler’s words why no node will do, and binds once one will', async () => {
    const store = createStore()
    createNode(store, 'b1', 'room-b', { taints: [{ key: 'node.kubernetes.io/out-of-service', value: 'roomfence', effect: 'NoSchedule' }] })
    createNode(store, 'b2', 'room-b', { unschedulable: true })
    createPod(store, 'web')
    schedule(store)
    const message = await eventually('web is refused', () => refusalOf(store, 'web'))
    expect(message).toBe(
      '0/2 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/out-of-service: roomfence}, 1 node(s) were unschedulable. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.',
    )
    createNode(store, 'a1', 'room-a')
    expect(await eventually('web is bound', () => nodeOf(store, 'web'))).toBe('a1')
  })

  test('keeps a pod to the nodes that hold a replica of its volume', async () => {
    const store = createStore()
    for (const [name, room] of [
      ['a1', 'room-a'],
      ['a2', 'room-a'],
      ['b2', 'room-b'],
    ] as const)
      createNode(store, name, room)
    createVolume(store, { name: 'disk', replicaNodes: ['a2', 'b9'] })
    createPod(store, 'vm', { volumes: [{ name: 'disk', persistentVolumeClaim: { claimName: 'disk' } }] })
    schedule(store)
    expect(await eventually('vm is bound', () => nodeOf(store, 'vm'))).toBe('a2')
  })

  test('prefers the preferred room, and takes the other when that is fenced', async () => {
    const store = createStore()
    createNode(store, 'a1', 'room-a')
    createNode(store, 'b1', 'room-b')
    const term = { matchExpressions: [{ key: 'topology.kubernetes.io/zone', operator: 'In' as const, values: ['room-b'] }] }
    const affinity = { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, preference: term }] } }
    createPod(store, 'before', { affinity })
    schedule(store)
    expect(await eventually('before is bound', () => nodeOf(store, 'before'))).toBe('b1')
    const node = structuredClone(store.get('nodes', undefined, 'b1'))
    store.update('nodes', { ...node, spec: { taints: [{ key: 'roomfence.io/fenced', effect: 'NoSchedule' }] } })
    createPod(store, 'after', { affinity })
    expect(await eventually('after is bound', () => nodeOf(store, 'after'))).toBe('a1')
  })

  test('serves the higher PriorityClass first when there is room for one', async () => {
    const store = createStore()
    createNode(store, 'a1', 'room-a')
    store.create('priorityclasses', { metadata: { name: 'critical' }, value: 1_000 })
    const containers = [{ name: 'main', resources: { requests: { cpu: '1500m' } } }]
    createPod(store, 'a-plain', { containers })
    createPod(store, 'z-critical', { containers, priorityClassName: 'critical' })
    schedule(store)
    await eventually('the other is refused', () => refusalOf(store, 'a-plain')?.includes('Insufficient cpu'))
    expect(nodeOf(store, 'z-critical')).toBe('a1')
  })
})

describe('a quantity', () => {
  test('is read in every unit that pods here use', () => {
    expect(['1500m', '2', '128Mi', '1k', '50M'].map(quantity)).toEqual([1.5, 2, 128 * 2 ** 20, 1_000, 50e6])
    expect(quantity('many')).toBeNaN()
  })
})

describe('a toleration', () => {
  test('without key tolerates everything if it says Exists, and nothing otherwise', () => {
    const effect = fc.constantFrom<Taint['effect']>('NoSchedule', 'NoExecute', 'PreferNoSchedule')
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.string(), effect, (key, value, effect) => {
        const taint: Taint = { key, value, effect }
        const everything: Toleration[] = [{ operator: 'Exists' }]
        expect(toleratesTaint(everything, taint)).toBe(true)
        expect(toleratesTaint([{ value }], taint)).toBe(false)
        expect(toleratesTaint([{ key, operator: 'Equal', value: `${value}x` }], taint)).toBe(false)
      }),
    )
  })
})
