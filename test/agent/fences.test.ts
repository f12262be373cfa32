/** What the coordinator's agent makes of a fence that it has carried out already. */
import { afterEach, expect, test } from 'vitest'
import { createFences, type Fences } from '../../src/agent/fences.ts'
import type { Configuration } from '../../src/config/schema.ts'
import { createLog } from '../../src/observe/log.ts'
import { createMetrics } from '../../src/observe/metrics.ts'
import { contactOf } from '../../src/protocol/contact.ts'
import { agent, fencing, first, lifeOf, names } from '../../src/protocol/fixtures/states.ts'
import { defaultTimings } from '../../src/protocol/timings.ts'
import { createFailoverBed, eventually, type FailoverBed, testConfig } from '../failover/bed.ts'

let bed: FailoverBed
let fences: Fences
let reviews: NodeJS.Timeout
afterEach(async () => {
  clearInterval(reviews)
  fences.stop()
  await bed.close()
})

const taints = (node: string): readonly string[] =>
  ((bed.store.get('nodes', undefined, node)?.['spec'] as { taints?: { key: string }[] } | undefined)?.taints ?? []).map(({ key }) => key)
const isFenced = (node: string): boolean => taints(node).includes('roomfence.io/fenced')
const phase = (): string | undefined =>
  (bed.store.get('fences', undefined, 'fence-1') as { status?: { phase?: string } } | undefined)?.status?.phase

/** The first by name, heard by all and with a permit for ever. */
function startCoordinator(): void {
  const { state } = agent('a1', { durable: { membership: fencing(first, 'b1', 'b2') } })
  Object.assign(state, { isApiReachable: true, carriedUntilMs: Infinity })
  for (const node of names) Object.assign(contactOf(state, node), { heardAtMs: Infinity, incarnation: lifeOf(node) })
  fences = createFences({
    configuration: { failover: { ...testConfig, events: false }, timings: defaultTimings, isDryRun: false } as unknown as Configuration,
    client: bed.client,
    nowMs: () => performance.now(),
    state: () => state,
    storageFacts: () => null,
    reported: () => undefined,
    requestUnfence: () => {},
    confirmDead: () => {},
    log: createLog('fatal', 'test'),
    metrics: createMetrics(),
  })
  reviews = setInterval(() => {
    fences.review()
  }, 50)
}

test('carries it out again when the API server was set back to before it, and not when the node was un-fenced', async () => {
  bed = await createFailoverBed()
  const snapshot = bed.server.faults.snapshot()
  startCoordinator()
  expect(fences.isCoordinator()).toBe(true)
  await eventually('it is carried out', () => phase() === 'Finished' && isFenced('b1') && isFenced('b2'))
  await eventually('nothing is under way', () => fences.underWay().length === 0)
  bed.server.faults.rollback(snapshot)
  expect(isFenced('b1')).toBe(false)
  await eventually('and again', () => phase() === 'Finished' && isFenced('b1') && isFenced('b2'))
  await eventually('nothing is under way', () => fences.underWay().length === 0)
  const b1 = structuredClone(bed.store.get('nodes', undefined, 'b1'))
  if (b1 === undefined) throw new Error('no node b1')
  bed.store.update('nodes', {
    ...b1,
    metadata: { ...b1.metadata, annotations: { ...b1.metadata.annotations, 'roomfence.io/unfenced-epoch': '2' } },
    spec: { ...(b1['spec'] as object), taints: [] },
  })
  let looks = 0
  bed.server.faults.set({ appliesTo: ({ method, path }) => (method === 'GET' && path.includes('/nodes/b1') ? ++looks : looks) < 0 })
  await eventually('it was looked at twice', () => looks >= 2)
  expect(isFenced('b1')).toBe(false)
  expect(fences.underWay()).toEqual([])
})
