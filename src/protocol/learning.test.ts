import { expect, it } from 'vitest'
import { agent, ballot, fencing, first, heartbeat, sent, unfencing } from './fixtures/states.ts'
import { nextEpoch, withStanding } from './membership.ts'
import { nodeId } from './ids.ts'

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

it('a node that was let back votes again only when it was in sync for a while since: before that it may not know that it was cut off', () => {
  const back = unfencing(fence, 'b1', 'b2')
  const nodes = ['b1', 'b2'].map(nodeId)
  const votes = nextEpoch(back, { members: withStanding(back, nodes, 'voting'), cause: { kind: 'votes-back', nodes } })
  const made = agent('a2', { durable: { membership: fence } })
  let sequence = 0
  const hearTo = (fromMs: number, toMs: number, now: typeof fence) => {
    for (let nowMs = fromMs; nowMs <= toMs; nowMs += 500) {
      sequence += 1
      for (const node of nodes) made.hear(node, heartbeat(now, sequence, { killedEpoch: fence.epoch }), nowMs)
      made.give({ kind: 'tick' }, nowMs)
    }
  }
  const asked = (nowMs: number, round: number) =>
    made.hear('a1', { kind: 'prepare', ballot: ballot(round), proposal: votes, isFinishing: false }, nowMs)
  hearTo(500, 10_000, fence)
  made.hear('a1', { kind: 'learn', membership: back }, 10_100)
  hearTo(10_500, 14_500, back)
  expect(sent(asked(14_600, 1), 'refusal')).toMatchObject([{ reason: { code: 'veto', text: 'b1 is not in sync, or not for long enough' } }])
  hearTo(15_000, 15_500, back)
  expect(sent(asked(15_600, 2), 'promise')).toHaveLength(1)
})
