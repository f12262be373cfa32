import { expect, it } from 'vitest'
import { agent, ballot, fencing, first, heartbeat, sent } from './fixtures/states.ts'

const GENESIS_MS = 10_000
const fence = fencing(first, 'b1', 'b2')

it('an agent that waited for genesis has listened to nobody before: it accuses, and lets others accuse, a silence after that at the earliest', () => {
  const made = agent('a2', { durable: null })
  const tickTo = (fromMs: number, toMs: number) => {
    for (let nowMs = fromMs; nowMs <= toMs; nowMs += 100) made.give({ kind: 'tick' }, nowMs)
  }
  const asked = (nowMs: number, round: number) =>
    made.hear('a1', { kind: 'prepare', ballot: ballot(round), proposal: fence, isFinishing: false }, nowMs)
  tickTo(100, GENESIS_MS - 100)
  made.give({ kind: 'genesis', membership: first }, GENESIS_MS)
  made.hear('a1', heartbeat(first), GENESIS_MS + 100)
  tickTo(GENESIS_MS + 100, GENESIS_MS + 200)
  expect(sent(asked(GENESIS_MS + 200, 1), 'refusal')).toMatchObject([
    { reason: { code: 'veto', text: 'a2 has not listened for 3000 ms yet (started or was late)' } },
  ])
  tickTo(GENESIS_MS + 300, GENESIS_MS + 3_100)
  expect(sent(asked(GENESIS_MS + 3_100, 2), 'promise')).toHaveLength(1)
})
