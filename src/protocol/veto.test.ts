import { describe, expect, it } from 'vitest'
import { agent, type Agent, fencing, first, heartbeat, unfencing } from '../../test/support/protocol-states.ts'
import { incarnation, nodeId } from './ids.ts'
import { type Membership, memberOf, nextEpoch, withStanding } from './membership.ts'
import type { Register, Statement } from './messages.ts'
import { vetoOf } from './veto.ts'

const LATER = 10_000
const b1 = nodeId('b1')
const fenced = fencing(first, 'b1', 'b2')
const back = unfencing(fenced, 'b1')
const noVotes = unfencing(fenced, 'b1', 'b2')
const voting = (now: Membership, ...nodes: readonly string[]): Membership =>
  nextEpoch(now, { members: withStanding(now, nodes.map(nodeId), 'voting'), cause: { kind: 'votes-back', nodes: nodes.map(nodeId) } })

/** a2, which has listened to `heard` every half second up to now. */
function voter(now: Membership, heard: Readonly<Record<string, Partial<Statement>>> = {}, isDryRun = false): Agent {
  const made = agent('a2', { durable: { membership: now }, isDryRun })
  for (let nowMs = 100; nowMs <= LATER; nowMs += 100) {
    made.give({ kind: 'tick' }, nowMs)
    if (nowMs % 500 === 0) for (const [from, change] of Object.entries(heard)) made.hear(from, heartbeat(now, nowMs, change), nowMs)
  }
  return made
}
const veto = (made: Agent, now: Membership, next: Membership): string | null => vetoOf(made.state, now, next, LATER)

describe('a voter refuses a fence', () => {
  it('of nodes of which it heard one, or sees a DRBD connection to one, and agrees to one of the silent', () => {
    expect(veto(voter(first), first, fenced)).toBeNull()
    expect(veto(voter(first, { b2: {} }), first, fenced)).toBe('a2 heard b2 0 ms ago')
    const made = voter(first)
    made.give({ kind: 'storage', connected: [b1], isInSync: true }, LATER - 100)
    expect(veto(made, first, fenced)).toBe('a2 has a DRBD connection to b1 that is up')
  })

  it('of itself, in dry run, of too many, or when it has just started', () => {
    expect(veto(voter(first), first, fencing(first, 'a2'))).toBe('a2 is alive and never agrees to its own fence')
    expect(veto(voter(first, {}, true), first, fenced)).toMatch(/dry run/)
    expect(veto(voter(first), first, fencing(first, 'a1', 'b1', 'b2'))).toBeNull()
    const few = agent('a2')
    expect(vetoOf(few.state, first, fenced, 100)).toMatch(/has not listened for 3000 ms yet/)
    few.state.process.lastTickMs = LATER
    expect(vetoOf({ ...voter(first).state, brakes: { ...few.state.brakes, maxFencedShare: 0.49 } }, first, fenced, LATER)).toMatch(
      /2 of 4 nodes would be fenced/,
    )
  })
})

describe('a voter refuses to let a node back', () => {
  it('that it does not hear, that has not said its kill under this fence, or that would vote at once', () => {
    expect(veto(voter(fenced), fenced, back)).toMatch(/does not hear b1/)
    expect(veto(voter(fenced, { b1: { killedEpoch: fenced.epoch - 1 } }), fenced, back)).toMatch(/has not said that it killed/)
    const able = voter(fenced, { b1: { killedEpoch: fenced.epoch } })
    expect(veto(able, fenced, back)).toBeNull()
    expect(veto(able, fenced, voting(fenced, 'b1'))).toBe('b1 must first run without a vote')
  })

  it('whose word came from another incarnation', () => {
    const made = voter(fenced)
    const message = heartbeat(fenced, 1, { killedEpoch: fenced.epoch })
    made.give({ kind: 'message', from: b1, incarnation: incarnation('b1-2'), message }, LATER - 100)
    expect(veto(made, fenced, back)).toMatch(/does not hear b1 in incarnation b1-1/)
  })
})

it('a voter refuses votes for a node that is not in sync', () => {
  const heard = { b1: {}, b2: {} }
  expect(veto(voter(noVotes, heard), noVotes, voting(noVotes, 'b1', 'b2'))).toBeNull()
  expect(veto(voter(noVotes, { ...heard, b2: { isInSync: false } }), noVotes, voting(noVotes, 'b1', 'b2'))).toMatch(/b2 is not in sync/)
})

describe('a voter refuses to move the vote of the witness', () => {
  const seat = { incarnation: 'w0', isVoting: true }
  const out = nextEpoch(first, { witness: { ...seat, isVoting: false }, cause: { kind: 'vote-shift', witness: 'out' } })
  const into = nextEpoch(out, { witness: seat, cause: { kind: 'vote-shift', witness: 'in' } })

  it('out, while it acked this voter not long ago and is no restored one', () => {
    const made = voter(first)
    made.state.process.witness.ackedAtMs = LATER - 29_000
    expect(veto(made, first, out)).toBe('the witness acked a2 29000 ms ago')
    made.state.process.witness.isStale = true
    expect(veto(made, first, out)).toBeNull()
    made.state.process.witness.isStale = false
    made.state.process.witness.ackedAtMs = LATER - 31_000
    expect(veto(made, first, out)).toBeNull()
  })

  it('in, while it does not answer this voter', () => {
    const made = voter(out)
    expect(veto(made, out, into)).toBe('a2 does not reach the witness')
    const register: Register = { incarnation: 'w0', version: 2, membership: out, accepted: null }
    const [read] = made.give({ kind: 'tick' }, LATER + 2_000).flatMap((effect) => (effect.kind === 'witness' ? [effect.request.id] : []))
    made.give({ kind: 'witness', answer: { kind: 'register', id: read ?? 0, register, isCounted: true } }, LATER + 2_010)
    expect(vetoOf(made.state, out, into, LATER + 2_100)).toBeNull()
  })
})

describe('a voter refuses a join', () => {
  const joining = (now: Membership, life: string, standing: 'observing' | 'voting'): Membership => {
    const member = memberOf(now, b1)
    const members = now.members.map((other) => (other === member ? { ...member, incarnation: incarnation(life), standing } : other))
    return nextEpoch(now, { members, cause: { kind: 'join', nodes: [b1] } })
  }

  it('of who is alive in its earlier incarnation, or would vote at once', () => {
    expect(veto(voter(back, { b1: {} }), back, joining(back, 'b1-2', 'observing'))).toBe('b1 is alive in incarnation b1-1')
    const made = voter(back)
    made.give({ kind: 'message', from: b1, incarnation: incarnation('b1-2'), message: heartbeat(back) }, LATER - 100)
    expect(veto(made, back, joining(back, 'b1-2', 'observing'))).toBeNull()
    const c1 = { ...first.members[0], node: nodeId('c1'), incarnation: incarnation('c1-1'), standing: 'voting' as const }
    const members = [...back.members, c1 as Membership['members'][number]]
    expect(veto(made, back, nextEpoch(back, { members, cause: { kind: 'join', nodes: [c1.node] } }))).toBe(
      'c1 is new and must first run without a vote',
    )
  })

  it('that would let a fenced node back by the way', () => {
    const made = voter(fenced)
    made.give(
      { kind: 'message', from: b1, incarnation: incarnation('b1-2'), message: heartbeat(fenced, 1, { killedEpoch: -1 }) },
      LATER - 100,
    )
    expect(veto(made, fenced, joining(fenced, 'b1-2', 'observing'))).toMatch(/has not said that it killed/)
  })
})
