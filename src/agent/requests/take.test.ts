/** What an agent does with a request that it has taken. */
import { afterEach, expect, test } from 'vitest'
import { createFailoverBed, eventually, type FailoverBed } from '../../../test/support/failover-bed.ts'
import { createLog } from '../../observe/log.ts'
import { agent, fencing, first } from '../../../test/support/protocol-states.ts'
import type { Input } from '../../protocol/state.ts'
import { takeRequest } from './take.ts'

let bed: FailoverBed
let over: AbortController
afterEach(async () => {
  over.abort()
  await bed.close()
})

const annotationsOf = (node: string) => bed.store.get('nodes', undefined, node)?.metadata.annotations ?? {}

async function taker(isDryRun = false) {
  bed = await createFailoverBed()
  over = new AbortController()
  const { state } = agent('a1', { durable: { membership: fencing(first, 'b1', 'b2') } })
  state.process.isApiReachable = true
  const fed: Input[] = []
  const written: unknown[] = []
  const options = {
    client: bed.client,
    nowMs: () => 0,
    state: () => state,
    feed: (input: Input) => void fed.push(input),
    onUnfenceWritten: () => void written.push(['b1', 'b2'].map((node) => annotationsOf(node)['roomfence.io/unfence'])),
    isDryRun,
    signal: over.signal,
    log: createLog('fatal', 'test'),
  }
  return { fed, written, options }
}

const unfence = { kind: 'unfence', rooms: ['b'], nodes: [], isForced: false, by: 'ada' } as const

test('an un-fence is written on all its Nodes, and only then the coordinator is told of it', async () => {
  const { fed, written, options } = await taker()
  expect(takeRequest(unfence, options)).toMatchObject({ isTaken: true, nodes: ['b1', 'b2'] })
  await eventually('it is told', () => written.length > 0)
  expect(written).toEqual([['true,ada', 'true,ada']])
  expect(fed).toEqual([])
})

test('a death that is confirmed is given to the protocol, and written on the Node', async () => {
  const { fed, written, options } = await taker()
  takeRequest({ kind: 'confirm-dead', rooms: [], nodes: ['b1'], by: 'ada' }, options)
  expect(fed).toEqual([{ kind: 'confirm-dead', nodes: ['b1'], by: 'ada' }])
  await eventually('it is written', () => annotationsOf('b1')['roomfence.io/confirm-dead'] === 'fence-1,ada')
  expect(written).toEqual([])
})

test('what is refused changes nothing', async () => {
  const { fed, options } = await taker()
  expect(takeRequest({ ...unfence, rooms: ['c'] }, options)).toMatchObject({ isTaken: false })
  expect(fed).toEqual([])
})

test('a dry run touches no Node', async () => {
  const { fed, written, options } = await taker(true)
  expect(takeRequest(unfence, options)).toMatchObject({ isTaken: true })
  expect([fed, written]).toEqual([[], []])
})
