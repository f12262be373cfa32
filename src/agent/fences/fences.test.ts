/** What the coordinator's agent makes of a fence that it has carried out already. */
import { afterEach, expect, test } from 'vitest'
import { createFences, type Fences } from './fences.ts'
import type { Configuration } from '../../config/schema.ts'
import { createLog } from '../../observe/log.ts'
import { createMetrics } from '../../observe/metrics.ts'
import { contactOf } from '../../protocol/contact.ts'
import { agent, fencing, first, lifeOf, names, unfencing } from '../../../test/support/protocol-states.ts'
import type { Membership } from '../../protocol/membership.ts'
import type { State } from '../../protocol/state.ts'
import { nodeId } from '../../protocol/ids.ts'
import { defaultTimings } from '../../protocol/timings.ts'
import { createFailoverBed, eventually, type FailoverBed, testConfig } from '../../../test/support/failover-bed.ts'

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
function startCoordinator(membership = fencing(first, 'b1', 'b2'), asked: string[] = [], isReviewed = true): State {
  const { state } = agent('a1', { durable: { membership } })
  Object.assign(state.process, { isApiReachable: true })
  Object.assign(state.epoch, { carriedUntilMs: Infinity })
  for (const node of names) Object.assign(contactOf(state, node), { heardAtMs: Infinity, incarnation: lifeOf(node) })
  fences = createFences({
    configuration: { failover: { ...testConfig, events: false }, timings: defaultTimings, isDryRun: false } as unknown as Configuration,
    client: bed.client,
    nowMs: () => performance.now(),
    state: () => state,
    storageFacts: () => null,
    reported: () => undefined,
    requestUnfence: () => {},
    confirmDead: (nodes) => asked.push(...nodes),
    log: createLog('fatal', 'test'),
    metrics: createMetrics(),
  })
  if (isReviewed)
    reviews = setInterval(() => {
      fences.review()
    }, 50)
  return state
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

const completed = async (): Promise<void> => {
  await eventually('it is carried out', () => phase() === 'Finished' && isFenced('b1') && isFenced('b2'))
  await eventually('nothing is under way', () => fences.underWay().length === 0)
}
/** For a few reviews, which share this process's timers. */
const apiWasAway = async (state: State, meanwhile: () => void = () => {}): Promise<void> => {
  Object.assign(state.process, { isApiReachable: false })
  await new Promise((resolve) => setTimeout(resolve, 200))
  meanwhile()
  Object.assign(state.process, { isApiReachable: true })
}
const answerOn = (node: string): string | undefined =>
  bed.store.get('nodes', undefined, node)?.metadata.annotations?.['roomfence.io/unfence-answer']
const annotate = (node: string, annotations: Record<string, string>): void => {
  const found = structuredClone(bed.store.get('nodes', undefined, node))
  if (found === undefined) throw new Error(`no node ${node}`)
  bed.store.update('nodes', { ...found, metadata: { ...found.metadata, annotations: { ...found.metadata.annotations, ...annotations } } })
}

test('hears what is asked on the other nodes when one of them was deleted', async () => {
  bed = await createFailoverBed()
  const confirmed: string[] = []
  const state = startCoordinator(undefined, confirmed)
  await completed()
  bed.store.remove('nodes', undefined, 'b1')
  // Who is confirmed dead must be silent; the bed's agent hears everybody for ever.
  Object.assign(contactOf(state, nodeId('b2')), { heardAtMs: -Infinity, statement: null })
  annotate('b2', { 'roomfence.io/confirm-dead': 'fence-1,ada' })
  await eventually('the word for b2 is heard', () => confirmed.includes('b2'))
})

test('takes away the taints of a fence that is over, whoever left them, and leaves those of one that it does not know', async () => {
  bed = await createFailoverBed()
  const state = startCoordinator()
  await completed()
  state.durable = { ...state.durable, membership: unfencing(fencing(first, 'b1', 'b2'), 'b1') }
  // As if another agent had chosen that epoch and died: nobody here learned it just now.
  await apiWasAway(state)
  await eventually('its taints are gone', () => !isFenced('b1'))
  expect(isFenced('b2')).toBe(true)
  const b1 = structuredClone(bed.store.get('nodes', undefined, 'b1'))
  if (b1 === undefined) throw new Error('no node b1')
  bed.store.update('nodes', {
    ...b1,
    spec: { ...(b1['spec'] as object), taints: [{ key: 'roomfence.io/fenced', value: '9', effect: 'NoSchedule' }] },
  })
  let lists = 0
  bed.server.faults.set({ appliesTo: ({ method, path }) => (method === 'GET' && path.endsWith('/nodes') ? ++lists : lists) < 0 })
  await apiWasAway(state)
  await eventually('it was looked for', () => lists >= 1)
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(isFenced('b1')).toBe(true)
})

test('is taken up again when the API server was away: it may have been set back into the middle of it', async () => {
  bed = await createFailoverBed()
  const state = startCoordinator()
  await completed()
  const fence = structuredClone(bed.store.get('fences', undefined, 'fence-1'))
  if (fence === undefined) throw new Error('no fence')
  bed.store.update('fences', { ...fence, status: { ...(fence['status'] as object), phase: 'Acting', finishedAt: '' } }, 'status')
  await apiWasAway(state, () => expect(phase()).toBe('Acting'))
  await eventually('it is finished again', () => phase() === 'Finished')
})

/** As the protocol does: the state has it before the event comes. */
const learn = (state: State, membership: Membership): void => {
  const before = state.durable.membership
  state.durable = { ...state.durable, membership }
  fences.onLearned(membership, before)
}

test('a fence is carried out when it is learned, and its un-fence ends it, though nobody reviews', async () => {
  bed = await createFailoverBed()
  const state = startCoordinator(first, [], false)
  learn(state, fencing(first, 'b1', 'b2'))
  expect(fences.underWay()).toEqual(['fence-1'])
  // It does not end by itself.
  await bed.server.faults.refuse()
  learn(state, unfencing(fencing(first, 'b1', 'b2'), 'b1', 'b2'))
  await eventually('it is over', () => fences.underWay().length === 0)
})

test('a fence that is learned while the state is being written is carried out once it is written', async () => {
  bed = await createFailoverBed()
  const state = startCoordinator(first, [], false)
  state.disk.version = state.disk.persistedVersion + 1
  learn(state, fencing(first, 'b1', 'b2'))
  expect(fences.underWay()).toEqual([])
  state.disk.persistedVersion = state.disk.version
  fences.review()
  expect(fences.underWay()).toEqual(['fence-1'])
})

test('an un-fence that this agent has written on the Node is looked for at once', async () => {
  bed = await createFailoverBed()
  startCoordinator(fencing(first, 'b1', 'b2'), [], false)
  let looks = 0
  bed.server.faults.set({ appliesTo: ({ method, path }) => (method === 'GET' && path.endsWith('/nodes/b1') ? ++looks : looks) < 0 })
  fences.review()
  await eventually('the first look is over', () => looks > 0 && phase() === 'Finished')
  annotate('b1', { 'roomfence.io/unfence': 'true,ada' })
  fences.onRequestWritten()
  await eventually('the coordinator answers', () => answerOn('b1')?.includes('refused') === true)
})
