/** An agent that carries out fences and has none to carry out: what it counts, and all that it asks of the API server. */
import fetch from 'node-fetch'
import { afterEach, expect, test } from 'vitest'
import { runAgent } from '../../src/agent/agent.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { startApiServer } from '../../src/demo/apiserver/server.ts'
import { createTestbed } from '../support/cluster-testbed.ts'
import { clusterId, type Incarnation, nodeId, room } from '../../src/protocol/ids.ts'
import { genesis, type Membership, withStanding } from '../../src/protocol/membership.ts'
import { until } from '../support/timing.ts'
import { startApiProxy } from '../support/proxy.ts'
import { createNodeOnDisk } from './node-on-disk.ts'

const endings: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end()
})

const token = 'capacity'

/** Node a1, which has all votes; b1 and b2 run without one, and fencing is paused, so that their silence is nobody's matter. */
async function coordinatorOf(server: { readonly url: string; readonly caPem: string }) {
  const member = (name: string, of: string, incarnation: Incarnation) => ({
    node: nodeId(name),
    room: room(of),
    incarnation,
    addresses: [],
  })
  const absent = 'absent-1' as Incarnation
  const { file, remove } = await createNodeOnDisk({
    node: 'a1',
    server: { ...server, token },
    more: { failover: { capacityEveryMs: 1_000 } },
    membership: (own): Membership => {
      const all = genesis(
        clusterId('capacity'),
        [member('a1', 'room-a', own), member('b1', 'room-b', absent), member('b2', 'room-b', absent)],
        room('room-a'),
        null,
      )
      return {
        ...all,
        members: withStanding(all, [nodeId('b1'), nodeId('b2')], 'observing'),
        fencingPausedBy: 'ada',
        votesBefore: all.votesBefore.filter(([voter]) => voter.startsWith('a1/')),
      }
    },
  })
  endings.push(remove)
  const agent = await runAgent(loadConfiguration(file, {}))
  endings.push(() => agent.stop())
  return async () => (await fetch(`http://127.0.0.1:${agent.observePort}/metrics`)).text()
}

test('the coordinator shows what the loss of each room would move, and asks the API server for its two lists and its health alone', async () => {
  const testbed = createTestbed()
  endings.push(() => testbed.cluster.stop())
  const server = await startApiServer({ store: testbed.store, tokens: { [token]: { name: 'test', groups: ['system:masters'] } } })
  endings.push(async () => server.close())
  const proxy = await startApiProxy({ url: server.url, caPem: server.caPem, token })
  endings.push(async () => proxy.close())
  const containers = [{ name: 'main', image: 'x', resources: { requests: { cpu: '20', memory: '1Gi' } } }]
  testbed.store.create('namespaces', { metadata: { name: 'apps' } })
  for (const [name, nodeName] of Object.entries({ one: 'b1', two: 'b2', three: 'a1', four: 'a2' }))
    testbed.store.create('pods', { metadata: { name, namespace: 'apps' }, spec: { nodeName, containers } })
  const metrics = await coordinatorOf(proxy.access)
  const valueOf = (text: string, name: string): string | undefined =>
    new RegExp(`^roomfence_capacity_${name}\\{room="room-b"\\} (\\S+)`, 'm').exec(text)?.[1]
  const text = await until('two counts are over', 30_000, async () => {
    const found = await metrics()
    return /^roomfence_capacity_counts_total\{outcome="ok"\} [2-9]/m.test(found) ? found : undefined
  })
  expect(valueOf(text, 'moving_pods')).toBe('2')
  expect(valueOf(text, 'moving_cpu_cores')).toBe('40')
  expect(valueOf(text, 'free_cpu_cores')).toBe('24')
  expect(valueOf(text, 'unplaced_pods')).toBe('2')
  // At its start it says on its Node where it can be reached.
  const asked = proxy.requests.map(({ method, path }) => `${method} ${path}`).filter((request) => !request.endsWith('/api/v1/nodes/a1'))
  expect([...new Set(asked)].toSorted()).toEqual(['GET /api/v1/nodes', 'GET /api/v1/pods', 'GET /readyz'])
  expect(proxy.requests.filter(({ path }) => path === '/api/v1/nodes/a1').map(({ method }) => method)).toEqual(['GET', 'PATCH'])
})
