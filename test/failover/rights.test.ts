/** The rights in src/failover/run/rbac.ts are enough for a whole failover and un-fence, and deploy's CRD is the one the code writes. */
import { afterEach, expect, test } from 'vitest'
import { createVm, demoNamespace, requestStart } from '../../src/demo/cluster/fixtures.ts'
import { type RbacRule, rbacRules } from '../../src/failover/run/rbac.ts'
import { finishUnfence, type UnfenceEvent } from '../../src/failover/unfence/unfence.ts'
import { epoch } from '../../src/protocol/ids.ts'
import {
  createFailoverBed,
  eventually,
  type FailoverBed,
  roomB,
  startUnfenceOfRoomB,
  testClock,
  testConfig,
} from '../support/failover-bed.ts'

let bed: FailoverBed
afterEach(async () => {
  await bed.close()
})

const grant = (rules: readonly RbacRule[]): void => {
  bed.store.create('clusterroles', { metadata: { name: 'roomfence' }, rules })
  bed.store.create('clusterrolebindings', {
    metadata: { name: 'roomfence' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'roomfence' },
    subjects: [{ kind: 'ServiceAccount', namespace: 'roomfence', name: 'agent' }],
  })
}

test('a ServiceAccount with these rights and no others carries out a fence and un-fences', async () => {
  bed = await createFailoverBed({ token: { name: 'system:serviceaccount:roomfence:agent', groups: [] } })
  grant(rbacRules)
  for (const [name, runStrategy] of [
    ['always', 'Always'],
    ['manual', 'Manual'],
    ['once', 'Once'],
    ['held', 'Always'],
  ] as const) {
    createVm(bed.store, { name, runStrategy, replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b' })
  }
  requestStart(bed.store, 'manual')
  bed.store.create('leases', { metadata: { name: 'kcm', namespace: 'kube-system' }, spec: { holderIdentity: 'b1_5f' } })
  const status = (name: string) =>
    (bed.store.get('virtualmachineinstances', demoNamespace, name) as { status?: { phase?: string; nodeName?: string } } | undefined)
      ?.status
  await eventually('all run in room-b', () =>
    ['always', 'manual', 'once', 'held'].every((name) => status(name)?.phase === 'Running' && status(name)?.nodeName === 'b1'),
  )
  bed.powerOff('room-b')
  let isHeld = true
  const failover = bed.start({
    config: { ...testConfig, onceVms: 'restart' },
    dataGate: (volumes) => (isHeld && volumes.some(({ handle }) => handle === 'held') ? { open: false, reason: 'stale' } : { open: true }),
  })
  await eventually('the held pod is immune', () => bed.events.some((event) => event.kind === 'step-done' && event.step === 'tolerate'))
  isHeld = false
  failover.poke()
  const result = await failover.done
  expect(bed.events.filter((event) => event.kind === 'step-failed')).toEqual([])
  expect([...result.running].sort()).toEqual(['vms/always', 'vms/held', 'vms/manual', 'vms/once'])
  for (const host of bed.room('room-b')) {
    host.setPower(true)
    bed.cluster.hostChanged(host.name)
  }
  const unfenced = await startUnfenceOfRoomB(bed).done
  expect(unfenced.outcome).toBe('unfenced')
  // Every field that was written is in the schema: nothing was pruned.
  const fence = bed.store.get('fences', undefined, roomB.id)
  expect(fence?.['status']).toMatchObject({
    phase: 'Unfenced',
    nodes: [{ bootId: expect.stringMatching(/./) as string }, {}],
    leases: [{ holder: 'b1_5f', released: true }],
    startedAt: expect.stringMatching(/./) as string,
  })
  expect(bed.events.filter((event) => event.kind === 'event-dropped')).toEqual([])
  expect(bed.store.list('events').some((event) => event['reason'] === 'FenceRecovered')).toBe(true)
})

test('with them the un-fence starts a Manual VM that was held', async () => {
  bed = await createFailoverBed({ token: { name: 'system:serviceaccount:roomfence:agent', groups: [] } })
  grant(rbacRules)
  createVm(bed.store, { name: 'manual', runStrategy: 'Manual', replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b' })
  requestStart(bed.store, 'manual')
  const phase = () =>
    (bed.store.get('virtualmachineinstances', demoNamespace, 'manual') as { status?: { phase?: string } } | undefined)?.status?.phase
  await eventually('it runs', () => phase() === 'Running')
  bed.powerOff('room-b')
  const failover = bed.start({ dataGate: () => ({ open: false, reason: 'stale' }) })
  await eventually('it is held', () => bed.events.some(({ kind }) => kind === 'blocked'))
  failover.stop()
  await failover.done
  for (const host of bed.room('room-b')) {
    host.setPower(true)
    bed.cluster.hostChanged(host.name)
  }
  const told: UnfenceEvent[] = []
  const result = await startUnfenceOfRoomB(bed, { onProgress: (event) => told.push(event) }).done
  expect(result).toMatchObject({ outcome: 'unfenced' })
  expect(told.filter(({ kind }) => kind === 'api-unavailable')).toEqual([])
  expect(told).toContainEqual(expect.objectContaining({ kind: 'vm-started', vm: `${demoNamespace}/manual` }))
})

test('an un-fence that lacks a right names the rule and goes on when it has it', async () => {
  bed = await createFailoverBed({ token: { name: 'system:serviceaccount:roomfence:agent', groups: [] } })
  grant(rbacRules.map((rule) => (rule.resources.includes('nodes') ? { ...rule, verbs: ['get', 'list', 'watch'] } : rule)))
  const told: string[] = []
  const stopping = new AbortController()
  const done = finishUnfence({
    fencedIn: roomB.epoch,
    nodes: roomB.nodes,
    by: 'ada',
    client: bed.client,
    clock: testClock,
    epoch: epoch(8),
    overridden: [],
    signal: stopping.signal,
    onProgress: (event) => {
      if (event.kind === 'api-unavailable') told.push(event.reason)
    },
  })
  await eventually('the rule is named', () =>
    told.includes('the ServiceAccount lacks a rule: apiGroups: [""], resources: ["nodes"], verbs: [patch]'),
  )
  const role = bed.store.get('clusterroles', undefined, 'roomfence')
  if (role === undefined) throw new Error('no role')
  bed.store.update('clusterroles', { ...role, rules: rbacRules })
  expect(await done).toBe(true)
})
