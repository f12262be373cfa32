import { describe, expect, it } from 'vitest'
import { agent, type Agent, ballot, fencing, first, heartbeat, sent, unfencing } from '../../test/support/protocol-states.ts'
import { nodeId } from './ids.ts'
import { type Membership, memberOf, nextEpoch } from './membership.ts'
import type { Statement } from './messages.ts'
import type { Effect } from './state.ts'

const fence = fencing(first, 'b1', 'b2')
const noOp = nextEpoch(first, { cause: { kind: 'no-op' } })

interface Situation {
  readonly membership?: Membership
  readonly heard?: Readonly<Record<string, Partial<Statement>>>
  readonly isInstalled?: boolean
  readonly permitUntilMs?: number
  readonly prepare?: (made: Agent) => void
  readonly untilMs?: number
}

/** What an agent proposed, with when, in a situation that lasts. */
function proposedBy(node: string, situation: Situation = {}): readonly (readonly [nowMs: number, proposal: Membership])[] {
  const { membership = first, heard = {}, isInstalled = true, permitUntilMs = 60_000, prepare, untilMs = 9_000 } = situation
  const made = agent(node, { durable: { membership } })
  made.state.epoch.isInstalled = isInstalled
  made.state.epoch.carriedUntilMs = permitUntilMs
  prepare?.(made)
  const proposed: (readonly [number, Membership])[] = []
  const note = (effects: readonly Effect[], nowMs: number): void => {
    for (const message of sent(effects, 'prepare')) if (message.kind === 'prepare') proposed.push([nowMs, message.proposal])
  }
  for (let nowMs = 100; nowMs <= untilMs && proposed.length === 0; nowMs += 100) {
    if (nowMs % 500 === 0)
      for (const [from, change] of Object.entries(heard)) note(made.hear(from, heartbeat(membership, nowMs, change), nowMs), nowMs)
    note(made.give({ kind: 'tick' }, nowMs), nowMs)
  }
  return proposed
}
const causes = (...args: Parameters<typeof proposedBy>) => [...new Set(proposedBy(...args).map(([, { cause }]) => cause.kind))]

describe('an agent proposes a fence', () => {
  it('of the room that is silent, when it has a permit and knows the epoch to be installed', () => {
    const [proposal] = proposedBy('a1', { heard: { a2: {} } })
    expect(proposal?.[1]).toMatchObject({ epoch: 1, cause: { kind: 'fence', nodes: ['b1', 'b2'], by: 'a1' } })
    expect(proposedBy('a1', { heard: { a2: {} }, isInstalled: false })).toEqual([])
  })

  it('not without a permit', () => {
    expect(proposedBy('a1', { heard: { a2: {} } })).not.toEqual([])
    expect(proposedBy('a1', { heard: { a2: {} }, permitUntilMs: -Infinity })).toEqual([])
  })

  it('in its turn by name: the later in the list wait longer for the earlier that they hear', () => {
    const [a1] = proposedBy('a1', { heard: { a2: {} } })
    const [a2] = proposedBy('a2', { heard: { a1: {} } })
    const [alone] = proposedBy('a2')
    expect((a2?.[0] ?? 0) - (a1?.[0] ?? 0)).toBe(400)
    expect(alone?.[0]).toBe(a1?.[0])
  })

  it('not of anybody whom it heard, and not when it is fenced itself', () => {
    expect(causes('a1', { heard: { a2: {}, b1: {}, b2: {} } })).toEqual([])
    expect(causes('b1', { membership: fencing(first, 'b1') })).toEqual([])
  })
})

describe('an accepted value that lingers', () => {
  it('is finished by a no-op that whoever accepted it can answer, permit or not', () => {
    const linger = (made: Agent): void => void made.hear('a1', { kind: 'accept', ballot: ballot(3), membership: fence }, 0)
    const heard = { a1: {}, b1: {}, b2: {} }
    const [proposal] = proposedBy('a2', { heard, permitUntilMs: -Infinity, prepare: linger })
    expect(proposal?.[1].cause.kind).toBe('no-op')
    expect(proposal?.[0]).toBeGreaterThan(3_000)
  })

  it('is finished too where only the witness has it', () => {
    const prepare = (made: Agent): void => {
      made.state.process.witness.register = {
        incarnation: 'w0',
        version: 3,
        membership: first,
        accepted: { ballot: ballot(3), membership: fence },
      }
      made.state.epoch.registerAcceptedSinceMs = 0
    }
    expect(causes('a1', { heard: { a2: {}, b1: {}, b2: {} }, prepare })).toEqual(['no-op'])
  })

  it('is not finished before the epoch is installed', () => {
    const linger = (made: Agent): void => void made.hear('a1', { kind: 'accept', ballot: ballot(3), membership: fence }, 0)
    expect(causes('a2', { isInstalled: false, prepare: linger })).toEqual([])
  })
})

describe('an un-fence', () => {
  const asked = (made: Agent): void => void made.give({ kind: 'unfence', nodes: [nodeId('b1'), nodeId('b2')], by: 'ada' }, 0)

  it('is proposed for those that said their kill and are heard, and lets them run without a vote', () => {
    const heard = { a2: {}, b1: { killedEpoch: fence.epoch }, b2: { killedEpoch: fence.epoch - 1 } }
    const [proposal] = proposedBy('a1', { membership: fence, heard, prepare: asked })
    expect(proposal?.[1]).toMatchObject({ cause: { kind: 'unfence', nodes: ['b1'], by: 'ada' } })
    expect(proposal && memberOf(proposal[1], nodeId('b1'))?.standing).toBe('observing')
  })

  it('is not kept for later: its checks were of the moment in which it was asked for', () => {
    const heard = { a2: {}, b1: { killedEpoch: fence.epoch } }
    const longAgo = (made: Agent): void =>
      void made.state.requests.unfence.set(nodeId('b1'), { nodes: [nodeId('b1')], by: 'ada', requestedAtMs: -60_000 })
    expect(causes('a1', { membership: fence, heard, prepare: longAgo })).toEqual([])
  })

  it('is not proposed unless somebody asked', () => {
    expect(causes('a1', { membership: fence, heard: { a2: {}, b1: { killedEpoch: 9 }, b2: { killedEpoch: 9 } } })).toEqual([])
  })
})

describe('votes come back', () => {
  const membership = unfencing(fence, 'b1', 'b2')
  const inSync = (made: Agent): void => void made.give({ kind: 'storage', connected: [], isInSync: true }, 0)

  it('when every node of the room that may run has been in sync for settleMs', () => {
    const [proposal] = proposedBy('a1', { membership, heard: { a2: {}, b1: {}, b2: {} }, prepare: inSync })
    expect(proposal?.[1]).toMatchObject({ cause: { kind: 'votes-back', nodes: ['b1', 'b2'] } })
    expect(proposal?.[0]).toBeGreaterThanOrEqual(5_500)
  })

  it('not while one of them is not', () => {
    expect(causes('a1', { membership, heard: { a2: {}, b1: {}, b2: { isInSync: false } }, prepare: inSync })).toEqual([])
  })
})

describe('the vote of the witness', () => {
  const heard = { a2: {}, b1: {}, b2: {} }

  it('is taken away when it was not read for witnessShiftMs, while every room is heard', () => {
    const [proposal] = proposedBy('a1', { heard, untilMs: 70_000, permitUntilMs: 90_000 })
    expect(proposal?.[1]).toMatchObject({ cause: { kind: 'vote-shift', witness: 'out' }, witness: { isVoting: false } })
    expect(proposal?.[0]).toBeGreaterThan(60_000)
    const paused = nextEpoch(noOp, { fencingPausedBy: 'ada', cause: { kind: 'pause-fencing', by: 'ada' } })
    expect(causes('a1', { membership: paused, heard: { a2: {} }, untilMs: 70_000, permitUntilMs: 90_000 })).toEqual([])
  })
})
