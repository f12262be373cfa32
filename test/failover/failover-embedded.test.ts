/** The failover on the embedded API server with stand-ins for kubelet, scheduler, attach-detach and virt-controller: each line of docs/failover.md, "Executing the fence". */
import { afterEach, describe, expect, test } from 'vitest'
import { createVm, demoNamespace, requestStart } from '../../src/demo/cluster/fixtures.ts'
import type { VirtualMachineInstance } from '../../src/demo/cluster/objects.ts'
import type { Taint } from '../../src/kubernetes/resources.ts'
import { rbacRules } from '../../src/failover/run/rbac.ts'
import { createFailoverBed, eventually, type FailoverBed, roomB } from '../support/failover-bed.ts'

let bed: FailoverBed
afterEach(async () => {
  await bed.close()
})

const vmi = (name: string): VirtualMachineInstance | undefined =>
  bed.store.get('virtualmachineinstances', demoNamespace, name) as VirtualMachineInstance | undefined
const runsIn = (name: string, room: string): boolean =>
  vmi(name)?.status?.phase === 'Running' && bed.hosts.get(vmi(name)?.status?.nodeName ?? '')?.room === room
const taints = (node: string): readonly Taint[] =>
  (bed.store.get('nodes', undefined, node)?.['spec'] as { taints?: Taint[] } | undefined)?.taints ?? []
const fence = () =>
  bed.store.get('fences', undefined, roomB.id) as
    | { status?: { phase?: string; workloads?: { name: string; state: string; reason: string; proof: string }[]; nodes?: object[] } }
    | undefined
const workload = (name: string) => fence()?.status?.workloads?.find((recorded) => recorded.name === name)

async function runInRoomB(...names: readonly string[]): Promise<void> {
  await eventually(`${names.join(', ')} run in room-b`, () => names.every((name) => runsIn(name, 'room-b')))
}

function vm(name: string, runStrategy: 'Always' | 'RerunOnFailure' | 'Manual' | 'Once' | 'Halted' = 'Always', more: object = {}): void {
  createVm(bed.store, { name, runStrategy, replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b', ...more })
  if (runStrategy === 'Manual') requestStart(bed.store, name)
}

describe('the failover of a dead room', () => {
  test('brings back VMs of Always, RerunOnFailure and Manual, leaves Once by policy, and finishes', async () => {
    bed = await createFailoverBed()
    vm('always')
    vm('rof', 'RerunOnFailure')
    vm('manual', 'Manual')
    vm('once', 'Once')
    vm('halted', 'Halted')
    await runInRoomB('always', 'rof', 'manual', 'once')
    bed.powerOff('room-b')
    const result = await bed.start().done
    expect(result.outcome).toBe('finished')
    expect([...result.running].sort()).toEqual(['vms/always', 'vms/manual', 'vms/rof'])
    expect(result.stopped).toEqual(['vms/once'])
    expect(['always', 'rof', 'manual'].every((name) => runsIn(name, 'room-a'))).toBe(true)
    for (const node of ['b1', 'b2']) {
      expect(taints(node)).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ key: 'roomfence.io/fenced', value: '7', effect: 'NoSchedule' }),
          expect.objectContaining({ key: 'node.kubernetes.io/out-of-service', value: 'roomfence', effect: 'NoSchedule' }),
        ]),
      )
    }
    expect(fence()?.status?.phase).toBe('Finished')
    expect(
      bed.store.list('volumeattachments').filter((object) => (object['spec'] as { nodeName: string }).nodeName.startsWith('b')),
    ).toEqual([])
  })
})

describe('the carrier of a fence', () => {
  test('may die before any of its writes: another one finishes from the cluster and the Fence object alone', async () => {
    let diedBefore: string[] = []
    for (let writes = 1; ; writes++) {
      bed = await createFailoverBed()
      vm('always')
      vm('manual', 'Manual')
      await runInRoomB('always', 'manual')
      bed.powerOff('room-b')
      let left = writes
      let died = ''
      const first = bed.start({
        beforeWrite: (subject) => {
          if (--left > 0) return
          died ||= subject
          throw new Error('killed')
        },
      })
      const outcome = await first.done.then(
        (result) => result.outcome,
        () => 'died',
      )
      if (outcome === 'finished') break
      diedBefore = [...diedBefore, died.replace(/ [0-9a-f-]{30,}.*/, '')]
      const result = await bed.start({ order: { ...roomB, carriedOutBy: 'a2' as (typeof roomB)['carriedOutBy'] } }).done
      expect([...result.running].sort(), `died before ${died}`).toEqual(['vms/always', 'vms/manual'])
      expect(result.failed).toEqual([])
      await bed.close()
    }
    // Every kind of step was once the one before which it died.
    expect(diedBefore).toEqual(
      expect.arrayContaining(['fence', 'fence status', 'taint b1 fenced', 'taint b2 node.kubernetes.io/out-of-service', 'delete', 'start']),
    )
    // Some fifteen failovers one after the other, most of their time waiting.
  }, 180_000)

  test('is not disturbed by a second one at the same time', async () => {
    bed = await createFailoverBed()
    vm('always')
    vm('manual', 'Manual')
    await runInRoomB('always', 'manual')
    bed.powerOff('room-b')
    const results = await Promise.all([
      bed.start().done,
      bed.start({ order: { ...roomB, carriedOutBy: 'a2' as (typeof roomB)['carriedOutBy'] } }).done,
    ])
    for (const result of results) expect([...result.running].sort()).toEqual(['vms/always', 'vms/manual'])
    expect(bed.store.list('virtualmachineinstances')).toHaveLength(2)
  })

  test('goes on when the API server was away in the middle', async () => {
    bed = await createFailoverBed()
    vm('always')
    await runInRoomB('always')
    bed.powerOff('room-b')
    let isFirst = true
    const failover = bed.start({
      beforeWrite: (subject) => {
        if (!isFirst || !subject.startsWith('delete')) return
        isFirst = false
        void bed.server.faults.refuse().then(() => setTimeout(() => void bed.server.faults.accept(), 300))
      },
    })
    const result = await failover.done
    expect(result.running).toEqual(['vms/always'])
  })

  test('halves its calls and waits when told to by 429', async () => {
    bed = await createFailoverBed()
    vm('always')
    await runInRoomB('always')
    bed.powerOff('room-b')
    let refused = 0
    bed.server.faults.set({ answer: { status: 429, retryAfterSeconds: 1 }, appliesTo: ({ method }) => method === 'PATCH' && refused++ < 1 })
    const result = await bed.start().done
    expect(result.running).toEqual(['vms/always'])
    expect(bed.events).toContainEqual(expect.objectContaining({ kind: 'api-unavailable', retryInMs: 1_000 }))
  })

  test('names the RBAC rule that is missing, and nothing was deleted before the taints', async () => {
    bed = await createFailoverBed({ token: { name: 'system:serviceaccount:roomfence:agent', groups: [] } })
    bed.store.create('clusterroles', {
      metadata: { name: 'most' },
      rules: [
        { apiGroups: ['*'], resources: ['*'], verbs: ['get', 'list', 'watch', 'create', 'delete'] },
        { apiGroups: ['roomfence.io'], resources: ['*'], verbs: ['*'] },
      ],
    })
    bed.store.create('clusterrolebindings', {
      metadata: { name: 'most' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'most' },
      subjects: [{ kind: 'ServiceAccount', namespace: 'roomfence', name: 'agent' }],
    })
    vm('always')
    await runInRoomB('always')
    bed.powerOff('room-b')
    bed.start()
    const failed = await eventually('a step fails', () => bed.events.find((event) => event.kind === 'step-failed'))
    expect(failed).toMatchObject({
      code: 'forbidden',
      reason: expect.stringContaining('apiGroups: [""], resources: ["nodes"], verbs: [patch]') as string,
    })
    expect(bed.events.some((event) => event.kind === 'pod-cleared')).toBe(false)
  })

  test('names the rule that it lacks to look at something, and goes on alone where it can do without', async () => {
    bed = await createFailoverBed({ token: { name: 'system:serviceaccount:roomfence:agent', groups: [] } })
    const rulesWithout = (...missing: readonly string[]) =>
      rbacRules.filter(({ resources }) => !resources.some((one) => missing.includes(one)))
    const setRules = (rules: typeof rbacRules): void => {
      const role = bed.store.get('clusterroles', undefined, 'roomfence')
      if (role === undefined) bed.store.create('clusterroles', { metadata: { name: 'roomfence' }, rules })
      else bed.store.update('clusterroles', { ...role, rules })
    }
    bed.store.create('clusterrolebindings', {
      metadata: { name: 'roomfence' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'roomfence' },
      subjects: [{ kind: 'ServiceAccount', namespace: 'roomfence', name: 'agent' }],
    })
    setRules(rulesWithout('leases', 'pods'))
    vm('always')
    await runInRoomB('always')
    bed.powerOff('room-b')
    const failover = bed.start()
    const told = (resource: string) =>
      bed.events.some((event) => event.kind === 'not-seen' && event.reason.includes(`resources: ["${resource}"], verbs: [list, watch]`))
    await eventually('told of pods and leases', () => told('pods') && told('leases'))
    // Without pods nothing is decided; without leases the fence can do.
    expect(taints('b1').some(({ key }) => key === 'roomfence.io/fenced')).toBe(false)
    setRules(rulesWithout('leases'))
    expect((await failover.done).running).toEqual(['vms/always'])
    expect(bed.events.filter((event) => event.kind === 'not-seen' && event.path.endsWith('/leases'))).toHaveLength(1)
  })

  test('writes the fence again when the API server comes back older than it', async () => {
    bed = await createFailoverBed()
    vm('always')
    await runInRoomB('always')
    const before = bed.server.faults.snapshot()
    bed.powerOff('room-b')
    bed.start({ dataGate: () => ({ open: false, reason: 'no replica is UpToDate' }) })
    await eventually('held', () => workload('always')?.state === 'held')
    bed.server.faults.rollback(before)
    await eventually(
      'the fence is there again, and so are the taints',
      () =>
        workload('always')?.state === 'held' && ['b1', 'b2'].every((node) => taints(node).some(({ key }) => key === 'roomfence.io/fenced')),
    )
  })

  test('does nothing unrecorded where the CRD is missing, says so, and goes on once it is there', async () => {
    bed = await createFailoverBed()
    vm('always')
    await runInRoomB('always')
    bed.powerOff('room-b')
    const definition = bed.store.get('customresourcedefinitions', undefined, 'fences.roomfence.io')
    if (definition === undefined) throw new Error('no CRD')
    bed.store.remove('customresourcedefinitions', undefined, 'fences.roomfence.io')
    const failover = bed.start()
    await eventually('told of the CRD', () =>
      bed.events.some((event) => event.kind === 'api-unavailable' && event.reason.includes('deploy/crds')),
    )
    expect(taints('b1').some(({ key }) => key === 'roomfence.io/fenced')).toBe(false)
    bed.store.create('customresourcedefinitions', { metadata: { name: definition.metadata.name }, spec: definition['spec'] })
    expect((await failover.done).running).toEqual(['vms/always'])
  })

  test('stops at the taint of a later fence', async () => {
    bed = await createFailoverBed()
    bed.taint('b1', 'NoSchedule', 'other')
    const node = structuredClone(bed.store.get('nodes', undefined, 'b1'))
    if (node === undefined) throw new Error('no node b1')
    bed.store.update('nodes', { ...node, spec: { taints: [{ key: 'roomfence.io/fenced', value: '9', effect: 'NoSchedule' }] } })
    const result = await bed.start().done
    expect(result).toMatchObject({ outcome: 'superseded', reason: expect.stringContaining('epoch 9') as string })
    expect(taints('b1')).toEqual([expect.objectContaining({ value: '9' })])
  })

  test('touches nothing in a dry run', async () => {
    bed = await createFailoverBed()
    vm('always')
    await runInRoomB('always')
    bed.powerOff('room-b')
    const uid = vmi('always')?.metadata.uid
    const result = await bed.start({ order: { ...roomB, dryRun: true } }).done
    expect(result.outcome).toBe('finished')
    expect(taints('b1').some(({ key }) => key === 'roomfence.io/fenced')).toBe(false)
    expect(vmi('always')?.metadata.uid).toBe(uid)
    expect(bed.events).toContainEqual(expect.objectContaining({ kind: 'step-done', outcome: 'dry-run', step: 'delete-pod' }))
  })
})

describe('what waits, is held or is left alone', () => {
  test('a VM waits for its proof, and goes when it comes', async () => {
    bed = await createFailoverBed()
    vm('always')
    await runInRoomB('always')
    const uid = vmi('always')?.metadata.uid
    bed.powerOff('room-b')
    let isProved = false
    const failover = bed.start({
      proofs: {
        node: () => ({ isProved: false, reason: 'no watchdog' }),
        workload: () =>
          isProved ? { isProved: true, proof: { kind: 'storage' } } : { isProved: false, reason: 'survivor replica not yet disconnected' },
      },
    })
    await eventually('told of the wait', () => bed.events.some((event) => event.kind === 'waiting-for-proof'))
    await eventually('recorded as waiting', () => workload('always')?.state === 'waiting')
    expect(taints('b1').map(({ key }) => key)).not.toContain('node.kubernetes.io/out-of-service')
    expect(vmi('always')?.metadata.uid).toBe(uid)
    isProved = true
    failover.poke()
    expect((await failover.done).running).toEqual(['vms/always'])
    expect(workload('always')?.proof).toBe('storage')
  })

  test('a VM whose replicas are stale is held, immune to eviction, and the others go', async () => {
    bed = await createFailoverBed()
    vm('fresh')
    vm('stale')
    await runInRoomB('fresh', 'stale')
    bed.powerOff('room-b')
    bed.start({
      dataGate: (volumes) =>
        volumes.some(({ handle }) => handle === 'stale') ? { open: false, reason: 'stale: Outdated on a1' } : { open: true },
    })
    await eventually('fresh runs in room-a', () => runsIn('fresh', 'room-a'))
    await eventually('stale is held', () => workload('stale')?.state === 'held')
    expect(workload('stale')?.reason).toBe('stale: Outdated on a1')
    const held = await eventually('the held pod tolerates without limit', () => {
      const pod = bed.podsOf('b1').find(({ metadata }) => metadata.labels?.['vm.kubevirt.io/name'] === 'stale')
      const tolerations = pod?.spec.tolerations ?? []
      const unlimited = ['node.kubernetes.io/unreachable', 'node.kubernetes.io/not-ready'].every((key) =>
        tolerations.some((one) => one.key === key && one.tolerationSeconds === undefined),
      )
      return unlimited && tolerations.every((one) => one.tolerationSeconds === undefined) ? pod : undefined
    })
    expect(held.metadata.deletionTimestamp).toBeUndefined()
    await eventually('the fence waits', () => fence()?.status?.phase === 'Waiting')
  })

  test('a node with a held pod that is terminating already is never put out of service', async () => {
    bed = await createFailoverBed()
    vm('stale')
    await runInRoomB('stale')
    bed.powerOff('room-b')
    const [pod] = bed.podsOf('b1').filter(({ metadata }) => metadata.labels?.['vm.kubevirt.io/name'] === 'stale')
    bed.store.remove('pods', demoNamespace, pod?.metadata.name ?? '')
    bed.start({ dataGate: () => ({ open: false, reason: 'stale' }) })
    await eventually('b2 is out of service', () => taints('b2').some(({ key }) => key === 'node.kubernetes.io/out-of-service'))
    await eventually('recorded', () => workload('stale')?.state === 'held')
    expect(taints('b1').map(({ key }) => key)).not.toContain('node.kubernetes.io/out-of-service')
    expect(bed.podsOf('b1').some(({ metadata }) => metadata.uid === pod?.metadata.uid)).toBe(true)
  })

  test('an opted-out VM and DaemonSet pods stay where they are', async () => {
    bed = await createFailoverBed()
    vm('leave-me', 'Always', { annotations: { 'roomfence.io/opt-out': 'true' } })
    vm('always')
    bed.store.create('daemonsets', {
      metadata: { name: 'agent', namespace: demoNamespace },
      spec: {
        selector: { matchLabels: { app: 'agent' } },
        template: { metadata: { labels: { app: 'agent' } }, spec: { containers: [{ name: 'agent', image: 'x' }] } },
      },
    })
    await runInRoomB('leave-me', 'always')
    await eventually('agents run', () => bed.podsOf('b2').some(({ metadata }) => metadata.labels?.['app'] === 'agent'))
    bed.powerOff('room-b')
    const before = bed
      .podsOf('b1')
      .filter(({ metadata }) => metadata.labels?.['vm.kubevirt.io/name'] !== 'always')
      .map(({ metadata }) => metadata.uid)
    const result = await bed.start().done
    expect(result.running).toEqual(['vms/always'])
    expect(
      bed
        .podsOf('b1')
        .map(({ metadata }) => metadata.uid)
        .sort(),
    ).toEqual([...before].sort())
    expect(bed.events).toContainEqual(expect.objectContaining({ kind: 'skipped', workload: 'vms/leave-me' }))
  })
})
