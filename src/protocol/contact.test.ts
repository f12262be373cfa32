import { describe, expect, it } from 'vitest'
import { contactOf, coordinator, rankOf, suspects } from './contact.ts'
import { agent, type Agent, fencing, first, heartbeat, unfencing } from '../../test/support/protocol-states.ts'
import { nodeId } from './ids.ts'
import type { Statement } from './messages.ts'

/** A node that has listened until then, and heard `speaking` every half second up to `lastMs`. */
function listening(node: string, untilMs: number, speaking: Readonly<Record<string, number>> = {}): Agent {
  const made = agent(node)
  for (let nowMs = 100; nowMs <= untilMs; nowMs += 100) {
    made.give({ kind: 'tick' }, nowMs)
    for (const [from, lastMs] of Object.entries(speaking))
      if (nowMs <= lastMs && nowMs % 500 === 0) made.hear(from, heartbeat(first, nowMs), nowMs)
  }
  return made
}
const says = (made: Agent, from: string, change: Partial<Statement>, nowMs: number): void => {
  made.hear(from, heartbeat(first, 1, change), nowMs)
}
const suspected = (made: Agent, nowMs: number, membership = first) => suspects(made.state, membership, nowMs).nodes

describe('a room', () => {
  it('is suspect when none of its nodes has shown life for detectMs, and not a moment earlier', () => {
    const made = listening('a1', 9_000, { a2: 9_000, b1: 5_000, b2: 6_000 })
    expect(suspected(made, 8_999)).toEqual([])
    expect(suspected(made, 9_000)).toEqual(['b1', 'b2'])
  })

  it('lives as long as one of its nodes has a DRBD connection that is up', () => {
    const made = listening('a1', 9_000, { a2: 9_000, b1: 5_000, b2: 5_000 })
    made.give({ kind: 'storage', connected: [nodeId('b2')], isInSync: true }, 8_000)
    expect(suspected(made, 9_000)).toEqual([])
    expect(suspected(made, 11_000)).toEqual(['b1', 'b2'])
  })

  it('is not suspected by its own nodes, though all the others of it are silent', () => {
    const made = listening('a1', 9_000, { b1: 9_000, b2: 9_000 })
    expect(suspected(made, 9_000)).toEqual([])
  })

  it('is not suspect when all of it said goodbye', () => {
    const made = listening('a1', 5_000, { a2: 5_000, b1: 5_000, b2: 5_000 })
    for (const from of ['b1', 'b2']) says(made, from, { isLeaving: true }, 5_000)
    expect(suspected(made, 9_000)).toEqual([])
  })
})

describe('a single node', () => {
  it('is suspect after the longer time only, for its agent may just be restarting', () => {
    const made = listening('a1', 26_000, { a2: 26_000, b1: 26_000, b2: 5_000 })
    expect(suspected(made, 24_999)).toEqual([])
    expect(suspected(made, 25_000)).toEqual(['b2'])
  })

  it('is not suspect when it said goodbye, nor when it is fenced already', () => {
    const made = listening('a1', 26_000, { a2: 26_000, b1: 26_000, b2: 5_000 })
    expect(suspected(made, 26_000, fencing(first, 'b2'))).toEqual([])
    contactOf(made.state, nodeId('b2')).statement = { ...(heartbeat(first) as { statement: Statement }).statement, isLeaving: true }
    expect(suspected(made, 26_000)).toEqual([])
  })
})

it('time in which an agent was itself late, or had just started, is nobody else’s silence', () => {
  expect(suspected(listening('a1', 2_900), 2_900)).toEqual([])
  const made = listening('a1', 5_000, { a2: 5_000, b1: 5_000, b2: 5_000 })
  made.give({ kind: 'tick' }, 60_000)
  expect(suspected(made, 60_000)).toEqual([])
  expect(suspected(made, 62_900)).toEqual([])
})

it('the turn of an agent is its place by name among the unfenced that it hears, without those that leave', () => {
  const made = listening('b2', 5_000, { a1: 5_000, a2: 1_000, b1: 5_000 })
  expect(rankOf(made.state, first, 5_000)).toBe(2)
  says(made, 'a1', { isLeaving: true }, 5_000)
  expect(rankOf(made.state, first, 5_000)).toBe(1)
  expect(rankOf(made.state, fencing(first, 'b1'), 5_000)).toBe(0)
})

describe('the coordinator', () => {
  it('has a vote where anyone who reaches an API server has one: who was let back may not hold its permit yet', () => {
    const fence = fencing(first, 'a1')
    const made = agent('b1', { durable: { membership: unfencing(fence, 'a1') } })
    made.give({ kind: 'api', isReachable: true }, 1_000)
    made.hear('a1', heartbeat(unfencing(fence, 'a1')), 1_000)
    expect(coordinator(made.state, 1_100)).toBe('b1')
    made.give({ kind: 'api', isReachable: false }, 1_200)
    expect(coordinator(made.state, 1_300)).toBe('a1')
  })

  it('is the first by name that is in contact and reaches an API server', () => {
    const made = listening('b1', 5_000, { a1: 5_000, a2: 5_000 })
    expect(coordinator(made.state, 5_000)).toBe('a1')
    says(made, 'a1', { isApiReachable: false }, 5_000)
    expect(coordinator(made.state, 5_000)).toBe('a2')
    says(made, 'a2', { isLeaving: true }, 5_000)
    expect(coordinator(made.state, 5_000)).toBe('b1')
  })

  it('is not in dry run unless all are: the record of one that touches nothing must not stand for the deed', () => {
    const made = listening('b1', 5_000, { a1: 5_000, a2: 5_000 })
    says(made, 'a1', { isDryRun: true }, 5_000)
    expect(coordinator(made.state, 5_000)).toBe('a2')
    says(made, 'a2', { isDryRun: true }, 5_000)
    expect(coordinator(made.state, 5_000)).toBe('b1')
    const dry = agent('b1', { durable: { membership: first }, isDryRun: true })
    dry.hear('a1', heartbeat(first, 1, { isDryRun: true }), 1_000)
    expect(coordinator(dry.state, 1_100)).toBe('a1')
    dry.hear('a2', heartbeat(first, 1), 1_200)
    expect(coordinator(dry.state, 1_300)).toBe('a2')
  })

  it('is the first in contact where nobody reaches one, and never one that is not heard', () => {
    const made = listening('b1', 9_000, { a1: 2_000, a2: 9_000 })
    says(made, 'a2', { isApiReachable: false }, 9_000)
    made.give({ kind: 'api', isReachable: false }, 9_000)
    expect(coordinator(made.state, 9_000)).toBe('a2')
  })
})
