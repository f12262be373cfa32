import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { KubeClient } from '../../kubernetes/client.ts'
import { createLog } from '../../observe/log.ts'
import { createMetrics } from '../../observe/metrics.ts'
import { clusterId, type Incarnation, nodeId, room } from '../../protocol/ids.ts'
import { genesis, type Membership, withStanding } from '../../protocol/membership.ts'
import { createCapacityCount } from './capacity.ts'

const member = (name: string, of: string) => ({ node: nodeId(name), room: room(of), incarnation: 'i1' as Incarnation, addresses: [] })
const start = genesis(clusterId('test'), [member('a1', 'room-a'), member('b1', 'room-b')], room('room-a'), null)

const nodes = ['a1', 'b1'].map((name) => ({
  metadata: { name },
  status: { allocatable: { cpu: '4', memory: '1000', pods: '10' }, conditions: [{ type: 'Ready', status: 'True' }] },
}))
const podOf = (name: string, nodeName: string, memory: string, metadata: object = {}) => ({
  metadata: { namespace: 'apps', name, ...metadata },
  spec: { nodeName, containers: [{ resources: { requests: { memory, cpu: '500m' } } }] },
  status: { phase: 'Running' },
})
const pods = [
  podOf('one', 'b1', '700'),
  podOf('two', 'a1', '600'),
  podOf('daemon', 'b1', '100', { ownerReferences: [{ kind: 'DaemonSet', name: 'd', uid: 'd', controller: true }] }),
  podOf('left', 'b1', '100', { annotations: { 'roomfence.io/opt-out': 'true' } }),
]

/** What is asked of the API server is what is looked at: nothing of it is played. */
function countOf(more: { readonly membership?: Membership; readonly fails?: boolean } = {}) {
  let nowMs = 0
  let isMine = true
  const asked: string[] = []
  const client = {
    list: async (path: string, { project, fieldSelector = '' }: { project: (object: unknown) => unknown; fieldSelector?: string }) => {
      asked.push(`${path} ${fieldSelector}`.trim())
      if (more.fails === true) throw new Error('away')
      return { items: (path.endsWith('/nodes') ? nodes : pods).map(project), resourceVersion: '1' }
    },
  } as unknown as KubeClient
  const metrics = createMetrics()
  const count = createCapacityCount({
    client,
    nowMs: () => nowMs,
    everyMs: 300_000,
    membership: () => more.membership ?? start,
    isMine: () => isMine,
    log: createLog('fatal', 'a1'),
    metrics,
  })
  const at = async (toMs: number, mine = true): Promise<void> => {
    nowMs = toMs
    isMine = mine
    count.review()
    for (let turn = 0; turn < 5; turn++) await setImmediate()
  }
  const valueOf = async (name: string, of: string): Promise<number | undefined> =>
    (await metrics.registry.getSingleMetric(`roomfence_capacity_${name}`)?.get())?.values.find(({ labels }) => labels['room'] === of)?.value
  return { at, asked, valueOf, metrics }
}

describe('the count of capacity', () => {
  test('tells for each room what its loss would move, what would be free, and how many pods would find no node', async () => {
    const { at, valueOf } = countOf()
    await at(0)
    await at(10_000)
    expect(await valueOf('moving_memory_bytes', 'room-b')).toBe(700)
    expect(await valueOf('moving_cpu_cores', 'room-b')).toBe(0.5)
    expect(await valueOf('moving_pods', 'room-b')).toBe(1)
    expect(await valueOf('free_memory_bytes', 'room-b')).toBe(400)
    expect(await valueOf('unplaced_pods', 'room-b')).toBe(1)
    expect(await valueOf('free_memory_bytes', 'room-a')).toBe(100)
    expect(await valueOf('unplaced_pods', 'room-a')).toBe(1)
  })

  test('asks the API server for two lists every five minutes, and for nothing between', async () => {
    const { at, asked } = countOf()
    await at(0)
    expect(asked).toEqual([])
    for (const nowMs of [10_000, 11_000, 200_000, 309_999]) await at(nowMs)
    expect(asked).toEqual(['/api/v1/nodes', '/api/v1/pods spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed'])
    await at(310_000)
    expect(asked).toHaveLength(4)
  })

  test('asks for nothing and shows nothing where it is another agent’s turn', async () => {
    const { at, asked, valueOf } = countOf()
    await at(0, false)
    await at(1_000_000, false)
    expect(asked).toEqual([])
    await at(2_000_000)
    await at(2_010_000)
    expect(await valueOf('moving_pods', 'room-b')).toBe(1)
    await at(2_011_000, false)
    expect(await valueOf('moving_pods', 'room-b')).toBeUndefined()
  })

  test('shows no room when the other is fenced: nobody fences the last one', async () => {
    const membership = { ...start, members: withStanding(start, [nodeId('b1')], 'fenced') }
    const { at, valueOf, asked } = countOf({ membership })
    await at(0)
    await at(10_000)
    expect(asked).toHaveLength(2)
    expect(await valueOf('moving_pods', 'room-a')).toBeUndefined()
  })

  test('that fails is counted as failed, and tried again at its next time', async () => {
    const { at, asked, metrics } = countOf({ fails: true })
    await at(0)
    await at(10_000)
    await at(11_000)
    expect(asked).toHaveLength(1)
    const { values } = await metrics.capacityCounts.get()
    expect(values).toMatchObject([{ labels: { outcome: 'failed' }, value: 1 }])
    await at(310_000)
    expect(asked).toHaveLength(2)
  })
})
