/** What Kubernetes does by itself to a node that dies, rule by rule: lifecycle, taint eviction, pod GC, attach-detach. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createVm, createVolume, CSI_DRIVER, demoNamespace, demoVms, createDemoObjects } from './fixtures.ts'
import { conditionOf, isReady, type Node, type Pod, read, readAll } from './objects.ts'
import { allowedStayMs } from './taint-eviction.ts'
import { createTestbed, eventually, type Testbed } from '../../../test/support/cluster-testbed.ts'

let bed: Testbed
beforeEach(() => {
  bed = createTestbed()
})
afterEach(() => bed.cluster.stop())

const nodeOf = (name: string): Node | undefined => read(bed.store, 'nodes', undefined, name)
const taintsOf = (name: string): string[] => (nodeOf(name)?.spec.taints ?? []).map(({ key, effect }) => `${key}:${effect}`)
const podNamed = (name: string): Pod | undefined => read(bed.store, 'pods', demoNamespace, name)
const unreachable = ['node.kubernetes.io/unreachable:NoSchedule', 'node.kubernetes.io/unreachable:NoExecute']

const bindTo = (node: string) => ({ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [node] }] })
const pinnedTo = (node: string) => ({
  nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [bindTo(node)] } },
})
const preferring = (room: string) => {
  const preference = { matchExpressions: [{ key: 'topology.kubernetes.io/zone', operator: 'In', values: [room] }] }
  return { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, preference }] } }
}
function createPod(name: string, spec: object): void {
  bed.store.create('pods', { metadata: { name, namespace: demoNamespace }, spec: { containers: [{ name: 'main' }], ...spec } })
}
function createStatefulSet(name: string, replicas = 1, claims = false): void {
  const template = { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'main' }], affinity: preferring('room-b') } }
  const volumeClaimTemplates = claims ? [{ metadata: { name: 'data' } }] : []
  bed.store.create('statefulsets', { metadata: { name, namespace: demoNamespace }, spec: { replicas, template, volumeClaimTemplates } })
}
const running = (name: string) => () => {
  const pod = podNamed(name)
  return pod !== undefined && isReady(pod) && pod.status?.phase === 'Running' && pod
}

describe('a node that is no longer heard of', () => {
  test('goes Unknown, is tainted unreachable with both effects, and its pods lose readiness', async () => {
    createPod('web', { affinity: pinnedTo('b1') })
    await eventually('web runs', running('web'))
    bed.powerOff('room-b')
    await eventually('b1 is Unknown', () => conditionOf(nodeOf('b1') ?? {}, 'Ready')?.status === 'Unknown')
    await eventually('b1 is tainted', () => unreachable.every((taint) => taintsOf('b1').includes(taint)))
    expect(conditionOf(nodeOf('b1') ?? {}, 'Ready')?.reason).toBe('NodeStatusUnknown')
    const pod = podNamed('web')
    expect(pod?.status?.phase).toBe('Running')
    expect(pod === undefined ? undefined : conditionOf(pod, 'Ready')?.status).toBe('False')
    expect(taintsOf('a1')).toEqual([])
  })

  test('loses those taints, and only those, when it comes back', async () => {
    bed.powerOff('room-b')
    bed.taint('b1', 'NoSchedule')
    await eventually('b1 is tainted', () => unreachable.every((taint) => taintsOf('b1').includes(taint)))
    bed.host('b1').setPower(true)
    await eventually('b1 is Ready', () => isReady(nodeOf('b1') ?? {}))
    await eventually('only ours is left', () => taintsOf('b1').join() === 'node.kubernetes.io/out-of-service:NoSchedule')
    expect(nodeOf('b1')?.status?.nodeInfo?.['bootID']).toBe('b1-boot-2')
  })

  test('has its pods deleted gracefully after their 300 s, and they stay Terminating for ever', async () => {
    createPod('web', { affinity: pinnedTo('b1') })
    await eventually('web runs', running('web'))
    bed.powerOff('room-b')
    const pod = await eventually('web is Terminating', () => podNamed('web')?.metadata.deletionTimestamp !== undefined && podNamed('web'))
    expect(pod.metadata.deletionGracePeriodSeconds).toBe(30)
    expect(pod.status?.conditions?.find(({ type }) => type === 'DisruptionTarget')?.reason).toBe('DeletionByTaintManager')
    expect(podNamed('web')?.metadata.uid).toBe(pod.metadata.uid)
  })
})

describe('a NoExecute taint', () => {
  test('deletes by name, late: it kills the replacement of a pod that was force-deleted at once', async () => {
    createStatefulSet('db')
    const first = await eventually('db-0 runs', running('db-0'))
    expect(bed.hosts.get(first.spec.nodeName ?? '')?.room).toBe('room-b')
    bed.powerOff('room-b')
    const killed: string[] = []
    bed.store.onChange(({ plural, object }) => {
      if (plural === 'pods' && object.metadata.deletionTimestamp !== undefined) killed.push(object.metadata.uid)
    })
    for (const { name } of bed.room('room-b')) bed.taint(name, 'NoExecute')
    bed.forceDelete(first)
    const second = await eventually(
      'db-0 has a replacement',
      () => podNamed('db-0')?.metadata.uid !== first.metadata.uid && podNamed('db-0'),
    )
    await eventually('the replacement is deleted, too', () => killed.includes(second.metadata.uid))
  })

  test('spares the replacement when its effect is NoSchedule', async () => {
    createStatefulSet('db')
    const first = await eventually('db-0 runs', running('db-0'))
    bed.powerOff('room-b')
    for (const { name } of bed.room('room-b')) bed.taint(name, 'NoSchedule')
    bed.forceDelete(first)
    const second = await eventually('db-0 runs again', () => podNamed('db-0')?.metadata.uid !== first.metadata.uid && running('db-0')())
    expect(bed.hosts.get(second.spec.nodeName ?? '')?.room).toBe('room-a')
    // Long past the moment at which NoExecute struck: until the silent nodes were noticed.
    await eventually('b1 is Unknown', () => conditionOf(nodeOf('b1') ?? {}, 'Ready')?.status === 'Unknown')
    expect(podNamed('db-0')?.metadata).toMatchObject({ uid: second.metadata.uid })
    expect(podNamed('db-0')?.metadata.deletionTimestamp).toBeUndefined()
  })

  test('lets a pod stay as long as the shortest of its tolerations that apply', () => {
    const taint = { key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' } as const
    const podWith = (tolerations: object[]) => ({ spec: { tolerations, containers: [] } }) as unknown as Pod
    expect(allowedStayMs(podWith([]), [taint])).toBe(0)
    expect(allowedStayMs(podWith([{ operator: 'Exists' }]), [taint])).toBeUndefined()
    expect(allowedStayMs(podWith([{ key: taint.key, operator: 'Exists', tolerationSeconds: 300 }]), [taint])).toBe(300_000)
    expect(allowedStayMs(podWith([]), [{ ...taint, effect: 'NoSchedule' }])).toBeUndefined()
  })
})

describe('pod garbage collection', () => {
  test('ends Terminating pods of an out-of-service node only once that is no longer Ready', async () => {
    createPod('web', { affinity: pinnedTo('b1') })
    await eventually('web runs', running('web'))
    const phases: string[] = []
    bed.store.onChange(({ plural, type, object }) => {
      if (plural === 'pods' && type === 'DELETED') phases.push(`${(object as Pod).status?.phase} ${isReady(nodeOf('b1') ?? {})}`)
    })
    bed.powerOff('room-b')
    bed.taint('b1', 'NoSchedule')
    bed.store.remove('pods', demoNamespace, 'web')
    await eventually('web is gone', () => podNamed('web') === undefined)
    expect(phases).toEqual(['Failed false'])
  })

  test('leaves pods alone that nobody deleted, whatever the taint', async () => {
    createPod('web', { affinity: pinnedTo('b1') })
    createPod('marker', { affinity: pinnedTo('b1') })
    await eventually('web runs', running('web'))
    bed.powerOff('room-b')
    bed.taint('b1', 'NoSchedule')
    bed.store.remove('pods', demoNamespace, 'marker')
    await eventually('the collector has passed', () => podNamed('marker') === undefined)
    expect(podNamed('web')?.status?.phase).toBe('Running')
    expect(podNamed('web')?.metadata.deletionTimestamp).toBeUndefined()
  })

  test('deletes the pods of a node that is gone, after its quarantine', async () => {
    createPod('web', { affinity: pinnedTo('b1') })
    await eventually('web runs', running('web'))
    bed.powerOff('room-b')
    bed.store.remove('nodes', undefined, 'b1')
    await eventually('web is gone', () => podNamed('web') === undefined)
  })
})

describe('a volume', () => {
  const attachmentsOf = (volume: string) =>
    readAll(bed.store, 'volumeattachments').filter(({ spec }) => spec.source.persistentVolumeName === volume)

  test('is attached with the attacher’s finalizer before its pod starts', async () => {
    createVolume(bed.store, { name: 'disk', replicaNodes: ['a1', 'b1'] })
    createPod('web', { affinity: pinnedTo('a1'), volumes: [{ name: 'disk', persistentVolumeClaim: { claimName: 'disk' } }] })
    await eventually('web runs', running('web'))
    const [attachment] = attachmentsOf('disk')
    expect(attachment?.spec).toMatchObject({ attacher: CSI_DRIVER, nodeName: 'a1' })
    expect(attachment?.metadata.finalizers).toEqual(['external-attacher/linstor-csi-linbit-com'])
    expect(attachment?.status?.attached).toBe(true)
    await eventually('the node says so', () => nodeOf('a1')?.status?.volumesInUse?.[0] === `kubernetes.io/csi/${CSI_DRIVER}^disk`)
    expect(bed.host('a1').started).toMatchObject([{ name: 'web', volumes: ['disk'] }])
  })

  test('that one node may have (RWO) is not attached elsewhere while a dead node without out-of-service taint has it', async () => {
    createVolume(bed.store, { name: 'data-db-0', replicaNodes: ['a1', 'b1'], accessMode: 'ReadWriteOnce' })
    createStatefulSet('db', 1, true)
    const first = await eventually('db-0 runs', running('db-0'))
    expect(first.spec.nodeName).toBe('b1')
    // The node stays Ready in the API, so nothing but the taint can set its volume free.
    bed.cluster.stopController('node-lifecycle')
    bed.powerOff('room-b')
    for (const { name } of bed.room('room-b')) bed.taint(name, 'NoSchedule', 'roomfence.io/fenced')
    bed.forceDelete(first)
    await eventually('db-0 is bound in room-a', () => podNamed('db-0')?.spec.nodeName === 'a1')
    const events = () => bed.store.list('events').map((event) => String(event['message']))
    await eventually('the wait is told', () => events().some((message) => message.startsWith('Multi-Attach error for volume "data-db-0"')))
    expect(attachmentsOf('data-db-0').map(({ spec }) => spec.nodeName)).toEqual(['b1'])
    for (const { name } of bed.room('room-b')) bed.taint(name, 'NoSchedule')
    await eventually('db-0 runs in room-a', running('db-0'))
    expect(attachmentsOf('data-db-0').map(({ spec }) => spec.nodeName)).toEqual(['a1'])
  })

  test('is taken from a silent node after six minutes without any taint of ours', async () => {
    createVolume(bed.store, { name: 'data-db-0', replicaNodes: ['a1', 'b1'], accessMode: 'ReadWriteOnce' })
    createStatefulSet('db', 1, true)
    const first = await eventually('db-0 runs', running('db-0'))
    bed.powerOff('room-b')
    for (const { name } of bed.room('room-b')) bed.taint(name, 'NoSchedule', 'roomfence.io/fenced')
    bed.forceDelete(first)
    await eventually('db-0 runs in room-a', running('db-0'))
    expect(isReady(nodeOf('b1') ?? {})).toBe(false)
  })

  test('that many may have (RWX) is attached at once, with nothing in the way of two writers', async () => {
    createVolume(bed.store, { name: 'data-db-0', replicaNodes: ['a1', 'b1'] })
    createStatefulSet('db', 1, true)
    const first = await eventually('db-0 runs', running('db-0'))
    // Nothing will ever set the old attachment free.
    bed.cluster.stopController('node-lifecycle')
    for (const host of bed.room('room-b')) host.setLink(false)
    for (const { name } of bed.room('room-b')) bed.taint(name, 'NoSchedule', 'roomfence.io/fenced')
    bed.forceDelete(first)
    await eventually('db-0 runs in room-a', running('db-0'))
    expect(bed.host('b1').runningPods()).toContain(first.metadata.uid)
  })

  test('is wanted as long as its pod’s object is there, Terminating or not', async () => {
    createVm(bed.store, { name: 'vm', runStrategy: 'Always', replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b' })
    await eventually('vm runs', () => bed.host('b1').runningPods().size === 1)
    bed.powerOff('room-b')
    bed.taint('b1', 'NoSchedule')
    const [pod] = bed.podsOf('b1')
    bed.store.remove('pods', demoNamespace, pod?.metadata.name ?? '')
    expect(attachmentsOf('vm').map(({ spec, metadata }) => `${spec.nodeName} ${metadata.deletionTimestamp ?? 'kept'}`)).toEqual(['b1 kept'])
    await eventually('it goes with the pod', () => attachmentsOf('vm').every(({ spec }) => spec.nodeName === 'a1'))
  })
})

describe('the demo’s objects', () => {
  test('put every run strategy on volumes with one replica in each room', () => {
    const rooms = { 'room-a': ['a1', 'a2'], 'room-b': ['b1', 'b2'] }
    const vms = demoVms({ rooms })
    expect(new Set(vms.map(({ runStrategy }) => runStrategy))).toEqual(new Set(['Always', 'RerunOnFailure', 'Manual', 'Once', 'Halted']))
    for (const { replicaNodes } of vms) expect(replicaNodes.map((name) => name[0])).toEqual(['a', 'b'])
    expect(() => demoVms({ rooms: { 'room-a': ['a1'] } })).toThrow('rooms: seen 1, allowed are exactly 2')
  })

  test('all come up', async () => {
    const vms = createDemoObjects(bed.store, { rooms: { 'room-a': ['a1', 'a2'], 'room-b': ['b1', 'b2'] } })
    const isUp = (name: string) => read(bed.store, 'virtualmachines', demoNamespace, name)?.status?.ready === true
    await eventually('all VMs but the halted', () => vms.every(({ name, runStrategy }) => isUp(name) || runStrategy === 'Halted'))
    const status = (plural: 'deployments' | 'statefulsets' | 'daemonsets', name: string) =>
      read(bed.store, plural, demoNamespace, name)?.status
    await eventually('web', () => status('deployments', 'web')?.['readyReplicas'] === 4)
    await eventually('database', () => status('statefulsets', 'database')?.['readyReplicas'] === 2)
    await eventually('node-agent', () => status('daemonsets', 'node-agent')?.['numberReady'] === 4)
  })
})
