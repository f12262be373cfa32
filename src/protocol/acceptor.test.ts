import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { agent, type AgentOptions, ballot, fencing, first, heartbeat, sent } from '../../test/support/protocol-states.ts'
import { forcedEpoch, type Membership, nextEpoch } from './membership.ts'
import { compareBallots, doorStatements, isDoorOpen } from './acceptor.ts'
import { nodeId } from './ids.ts'

const fence = fencing(first, 'b1', 'b2')
const noOp = nextEpoch(first, { cause: { kind: 'no-op' } })
/** Late enough after its start that an agent may agree to a fence of the silent. */
const LATER = 10_000

const listening = (options: AgentOptions = {}) => {
  const made = agent('a2', options)
  for (let nowMs = 100; nowMs <= LATER; nowMs += 100) made.give({ kind: 'tick' }, nowMs)
  return made
}

describe('a voter', () => {
  it('promises to a ballot and refuses a lower one, naming what it promised', () => {
    const made = listening()
    expect(
      sent(made.hear('a1', { kind: 'prepare', ballot: ballot(5), proposal: fence, isFinishing: false }, LATER), 'promise'),
    ).toHaveLength(1)
    const [refusal] = sent(made.hear('b1', { kind: 'prepare', ballot: ballot(4), proposal: noOp, isFinishing: true }, LATER), 'refusal')
    expect(refusal).toMatchObject({ reason: { code: 'ballot', promised: ballot(5) } })
    expect(sent(made.hear('b1', { kind: 'accept', ballot: ballot(4), membership: noOp }, LATER), 'accepted')).toEqual([])
  })

  it('tells the accepted value with its ballot to whoever prepares after it', () => {
    const made = listening()
    made.hear('a1', { kind: 'accept', ballot: ballot(3), membership: fence }, LATER)
    const [promise] = sent(made.hear('a1', { kind: 'prepare', ballot: ballot(7), proposal: noOp, isFinishing: true }, LATER), 'promise')
    expect(promise).toMatchObject({ accepted: { ballot: ballot(3), membership: fence } })
  })

  it('says nothing before its disk has it', () => {
    const made = listening()
    made.isDiskStuck = true
    const effects = made.hear('a1', { kind: 'prepare', ballot: ballot(5), proposal: fence, isFinishing: false }, LATER)
    expect(sent(effects, 'promise')).toEqual([])
    const after = made.give({ kind: 'persisted', version: made.state.disk.version }, LATER)
    expect(sent(after, 'promise')).toHaveLength(1)
  })

  it('keeps its promise and its accepted value over a restart', () => {
    const made = agent('a2', { durable: { promised: ballot(5), accepted: { ballot: ballot(5), membership: fence }, round: 5 } })
    expect(sent(made.hear('b1', { kind: 'prepare', ballot: ballot(4), proposal: noOp, isFinishing: true }, 10), 'refusal')).toHaveLength(1)
    expect(isDoorOpen(made.state, nodeId('b1'))).toBe(false)
  })

  it('refuses a fence of who was heard, and says which', () => {
    const made = listening()
    made.hear('b1', heartbeat(first), LATER)
    const [refusal] = sent(
      made.hear('a1', { kind: 'prepare', ballot: ballot(5), proposal: fence, isFinishing: false }, LATER + 500),
      'refusal',
    )
    expect(refusal).toMatchObject({ reason: { code: 'veto', text: 'a2 heard b1 500 ms ago' } })
  })

  it('refuses a fence of who has a DRBD connection that is up', () => {
    const made = listening()
    made.give({ kind: 'storage', connected: [nodeId('b2')], isInSync: true }, LATER)
    const [refusal] = sent(
      made.hear('a1', { kind: 'prepare', ballot: ballot(5), proposal: fence, isFinishing: false }, LATER + 500),
      'refusal',
    )
    expect(refusal).toMatchObject({ reason: { text: 'a2 has a DRBD connection to b2 that is up' } })
  })
})

describe('a voter', () => {
  it('that has just started or slept agrees to no fence', () => {
    const young = agent('a2')
    expect(
      sent(young.hear('a1', { kind: 'prepare', ballot: ballot(5), proposal: fence, isFinishing: false }, 500), 'refusal'),
    ).toHaveLength(1)
    const asleep = listening()
    asleep.give({ kind: 'tick' }, LATER + 30_000)
    expect(
      sent(asleep.hear('a1', { kind: 'prepare', ballot: ballot(5), proposal: fence, isFinishing: false }, LATER + 30_001), 'refusal'),
    ).toHaveLength(1)
  })

  it('never accepts its own fence', () => {
    const made = agent('b1')
    expect(sent(made.hear('a1', { kind: 'accept', ballot: ballot(5), membership: fence }, LATER), 'accepted')).toEqual([])
    expect(made.state.durable.accepted).toBeNull()
  })

  it('acks nobody whom it accepted to fence, and acks again when that value was replaced', () => {
    const made = listening()
    made.hear('a1', { kind: 'accept', ballot: ballot(3), membership: fence }, LATER)
    expect(sent(made.hear('b1', heartbeat(first), LATER), 'ack')).toEqual([])
    expect(sent(made.hear('a1', heartbeat(first), LATER), 'ack')).toHaveLength(1)
    made.hear('a1', { kind: 'learn', membership: noOp }, LATER)
    expect(sent(made.hear('b1', heartbeat(noOp, 2), LATER), 'ack')).toHaveLength(1)
  })

  it('in dry run votes for nothing', () => {
    const made = listening({ isDryRun: true })
    expect(sent(made.hear('a1', { kind: 'prepare', ballot: ballot(5), proposal: fence, isFinishing: true }, LATER), 'promise')).toEqual([])
    expect(sent(made.hear('a1', { kind: 'accept', ballot: ballot(5), membership: fence }, LATER), 'accepted')).toEqual([])
  })

  it('leaves the next attempt to whom it promised', () => {
    const made = listening()
    made.hear('a1', { kind: 'prepare', ballot: ballot(5), proposal: fence, isFinishing: false }, LATER)
    expect(made.state.process.nextAttemptAtMs).toBe(LATER + made.state.timings.attemptMs)
  })
})

describe('what a voter says of a fenced node', () => {
  const out = nextEpoch(first, { witness: { incarnation: 'w0', isVoting: false }, cause: { kind: 'vote-shift', witness: 'out' } })
  const fencedAfter = (between: Membership, statedIn: readonly Membership[], isMissed = false) => {
    const made = agent('a2', { durable: { membership: first } })
    for (const membership of [first, between]) {
      if (membership === between && !isMissed) made.hear('a1', { kind: 'learn', membership }, 1_100)
      if (statedIn.includes(membership)) made.hear('b1', heartbeat(membership, 1, { watchdogMs: 5_000 }), 1_200)
    }
    made.hear('a1', { kind: 'learn', membership: fencing(between, 'b1') }, 1_300)
    return doorStatements(made.state, 9_000).map(({ node, watchdogMs }) => [node, watchdogMs])
  }

  it('vouches for its watchdog only by what the node said while the votes were those that fenced it: before that a majority of others may have let it close one', () => {
    expect(fencedAfter(out, [first])).toEqual([['b1', null]])
    expect(fencedAfter(out, [out])).toEqual([['b1', 5_000]])
    expect(fencedAfter(noOp, [first])).toEqual([['b1', 5_000]])
  })

  it('does not vouch by what was said before an epoch that it missed: it does not know whose votes counted then', () => {
    const votesBack = nextEpoch(out, { witness: { incarnation: 'w0', isVoting: true }, cause: { kind: 'vote-shift', witness: 'in' } })
    const later = nextEpoch(votesBack, { cause: { kind: 'no-op' } })
    const made = agent('a2', { durable: { membership: first } })
    made.hear('b1', heartbeat(first, 1, { watchdogMs: 5_000 }), 1_000)
    made.hear('a1', { kind: 'learn', membership: later }, 1_100)
    made.hear('a1', { kind: 'learn', membership: fencing(later, 'b1') }, 1_300)
    expect(doorStatements(made.state, 9_000).map(({ watchdogMs }) => watchdogMs)).toEqual([null])
    expect(fencedAfter(noOp, [first], true)).toEqual([['b1', null]])
  })

  it('counts back from a forced epoch as far as that is ahead', () => {
    const made = agent('a2', { durable: { membership: first } })
    made.hear('b1', heartbeat(first, 1, { watchdogMs: 5_000 }), 1_000)
    made.hear('a1', { kind: 'learn', membership: forcedEpoch(first, [nodeId('b1')], 'ada') }, 1_300)
    expect(doorStatements(made.state, 9_000).map(({ watchdogMs }) => watchdogMs)).toEqual([5_000])
  })
})

describe('ballots', () => {
  it('are totally ordered: by round, then by who made them', () => {
    const any = fc.tuple(fc.integer({ min: 0, max: 3 }), fc.constantFrom('a1', 'a2', 'b1')).map(([round, node]) => ballot(round, node))
    fc.assert(
      fc.property(any, any, any, (a, b, c) => {
        expect(Math.sign(compareBallots(a, b))).toBe(0 - Math.sign(compareBallots(b, a)))
        if (compareBallots(a, b) <= 0 && compareBallots(b, c) <= 0) expect(compareBallots(a, c)).toBeLessThanOrEqual(0)
        if (compareBallots(a, b) === 0) expect(a).toEqual(b)
      }),
    )
  })
})
