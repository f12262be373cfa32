import { describe, expect, it } from 'vitest'
import { agent, ballot, fencing, first, heartbeat, lifeOf, sent, unfencing } from '../../test/support/protocol-states.ts'
import { type Membership, nextEpoch, nodeVoter, withStanding } from './membership.ts'
import { clusterId, nodeId } from './ids.ts'

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

const noOp = nextEpoch(first, { cause: { kind: 'no-op' } })
const learned = (membership: Membership) => ({ kind: 'learn', membership }) as const

describe('an epoch that is learned', () => {
  it('takes the promises, accepted values, acks and doors of the one before with it', () => {
    const made = agent('a2', { durable: { promised: ballot(5), accepted: { ballot: ballot(5), membership: fence }, round: 5 } })
    made.state.epoch.grants.set(nodeVoter(nodeId('a1'), lifeOf(nodeId('a1'))), 9_000)
    made.hear('a1', learned(noOp), 100)
    expect(made.state.durable).toMatchObject({ membership: noOp, promised: null, accepted: null, round: 5 })
    expect([...made.state.epoch.grants.keys()]).toEqual([nodeVoter(nodeId('a2'), made.state.self.incarnation)])
    expect(sent(made.hear('b1', heartbeat(noOp), 200), 'ack')).toHaveLength(1)
  })

  it('is on disk before it is told to anybody', () => {
    const made = agent('a2')
    made.isDiskStuck = true
    const effects = [...made.hear('a1', learned(noOp), 100), ...made.give({ kind: 'tick' }, 200)]
    expect(effects.filter(({ kind }) => kind === 'send' || kind === 'learned')).toEqual([])
    const after = made.give({ kind: 'persisted', version: made.state.disk.version }, 300)
    expect(after.some(({ kind }) => kind === 'learned')).toBe(true)
  })

  it('is never followed by a lower one, nor by one of another cluster', () => {
    const made = agent('a2', { durable: { membership: noOp } })
    made.hear('a1', learned(first), 100)
    made.hear('a1', learned({ ...fencing(noOp, 'b1'), clusterId: clusterId('other') }), 200)
    expect(made.state.durable.membership).toBe(noOp)
    expect(made.state.epoch.hasConflict).toBe(false)
  })

  it('carries a permit for no longer than permitMs', () => {
    const made = agent('a2')
    made.state.epoch.carriedUntilMs = 90_000
    made.hear('a1', learned(noOp), 10_000)
    expect(made.state.epoch.carriedUntilMs).toBe(10_000 + made.state.timings.permitMs)
    made.state.epoch.carriedUntilMs = 11_000
    made.hear('a1', learned(fencing(noOp, 'b1')), 10_500)
    expect(made.state.epoch.carriedUntilMs).toBe(11_000)
  })

  it('is asked for where a heartbeat tells of it, and taught where one tells of an earlier one, not too often', () => {
    const made = agent('a2', { durable: { membership: noOp } })
    expect(sent(made.hear('a1', heartbeat(fencing(noOp, 'b1')), 1_000), 'want')).toEqual([{ kind: 'want', epoch: noOp.epoch }])
    expect(sent(made.hear('b1', heartbeat(first), 1_000), 'learn')).toHaveLength(1)
    expect(sent(made.hear('b1', heartbeat(first, 2), 1_100), 'learn')).toHaveLength(0)
    expect(sent(made.hear('b1', heartbeat(first, 3), 1_500), 'learn')).toHaveLength(1)
  })
})

describe('an epoch is known to be installed', () => {
  /** What a2 knows once these have said that they have learned it. */
  const after = (membership: Membership, ...who: readonly string[]): boolean => {
    const made = agent('a2', { durable: { membership } })
    for (const from of who) made.hear(from, heartbeat(membership), 100)
    made.give({ kind: 'tick' }, 200)
    return made.state.epoch.isInstalled
  }

  it('when majorities of the votes before it and of its own have said that they learned it', () => {
    expect(after(noOp, 'a1')).toBe(false)
    expect(after(noOp, 'a1', 'b1')).toBe(false)
    expect(after(noOp, 'a1', 'b1', 'b2')).toBe(true)
  })

  it('not by its own votes alone: who voted before it may not have heard of it', () => {
    expect(after(fence, 'a1')).toBe(false)
    const without = nextEpoch(first, { witness: { incarnation: 'w0', isVoting: false }, cause: { kind: 'vote-shift', witness: 'out' } })
    expect(after(without, 'a1')).toBe(false)
    expect(after(without, 'a1', 'b1', 'b2')).toBe(true)
  })

  it('with the witness, where its register has it', () => {
    const made = agent('a2', { durable: { membership: fence } })
    made.hear('a1', heartbeat(fence), 100)
    made.state.process.witness.register = { incarnation: 'w0', version: 4, membership: fence, accepted: null }
    made.give({ kind: 'tick' }, 200)
    expect(made.state.epoch.isInstalled).toBe(true)
  })

  it('for good: those who said so may have lost their disks since, and could not say it again', () => {
    const made = agent('a2', { durable: { membership: fence } })
    made.hear('a1', heartbeat(fence), 100)
    made.state.process.witness.register = { incarnation: 'w0', version: 4, membership: fence, accepted: null }
    made.give({ kind: 'tick' }, 200)
    const again = (membership: Membership) => agent('a2', { durable: { ...made.state.durable, membership }, nowMs: 50_000 }).state.epoch
    expect(again(fence)).toMatchObject({ isInstalled: true, installedAtMs: 50_000 })
    expect(again(nextEpoch(fence, { cause: { kind: 'no-op' } }))).toMatchObject({ isInstalled: false, installedAtMs: Infinity })
  })

  it('not before this node has it on its own disk', () => {
    const made = agent('a2')
    made.isDiskStuck = true
    made.hear('a1', learned(noOp), 50)
    for (const from of ['a1', 'b1', 'b2']) made.hear(from, heartbeat(noOp), 100)
    made.give({ kind: 'tick' }, 200)
    expect(made.state.epoch.isInstalled).toBe(false)
    made.give({ kind: 'persisted', version: made.state.disk.version }, 300)
    expect(made.state.epoch.isInstalled).toBe(true)
  })
})
