import { describe, expect, it } from 'vitest'
import { agent, ballot, fencing, first, heartbeat } from '../../test/support/protocol-states.ts'
import { type Membership, nextEpoch, witnessVoter } from './membership.ts'
import type { Register, WitnessAnswer, WitnessRequest } from './messages.ts'
import type { Effect } from './state.ts'

const noOp = nextEpoch(first, { cause: { kind: 'no-op' } })
const register = (version: number, change: Partial<Register> = {}): Register => ({
  incarnation: 'w0',
  version,
  membership: first,
  accepted: null,
  ...change,
})
const asked = (effects: readonly Effect[], kind: WitnessRequest['kind']) =>
  effects.flatMap((effect) => (effect.kind === 'witness' && effect.request.kind === kind ? [effect.request] : []))

/** An agent whose reads are answered by hand. */
function reading(node: string, membership: Membership = first) {
  const made = agent(node, { durable: { membership } })
  const tick = (nowMs: number) => made.give({ kind: 'tick' }, nowMs)
  const answer = (nowMs: number, give: (id: number) => WitnessAnswer) => {
    const [read] = asked(tick(nowMs), 'read')
    return made.give({ kind: 'witness', answer: give(read?.id ?? 0) }, nowMs + 10)
  }
  const read = (nowMs: number, now: Register, isCounted = true) =>
    answer(nowMs, (id) => ({ kind: 'register', id, register: now, isCounted }))
  const grant = () => made.state.epoch.grants.get(witnessVoter('w0'))
  return { made, tick, answer, read, grant }
}

describe("the witness's ack", () => {
  it('is a read that the register counted in this very epoch, and counts from when it was asked', () => {
    const { made, read, grant } = reading('a1')
    read(1_000, register(3))
    expect(grant()).toBe(1_000 + made.state.timings.permitMs)
  })

  it.each([
    ['it was not counted', register(3), false],
    ['it is of another incarnation', register(3, { incarnation: 'w1' }), true],
    [
      'the register accepted the fence of the reader',
      register(3, { accepted: { ballot: ballot(1, 'b1'), membership: fencing(first, 'a1') } }),
      true,
    ],
  ])('is none where %s', (_, now, isCounted) => {
    const { read, grant } = reading('a1')
    read(1_000, now, isCounted)
    expect(grant()).toBeUndefined()
  })

  it('is none from a register that went back, whoever remembers the newer version', () => {
    const alone = reading('a1')
    alone.read(1_000, register(3))
    alone.made.state.epoch.grants.clear()
    alone.read(3_000, register(2))
    expect(alone.grant()).toBeUndefined()
    const told = reading('a1')
    told.made.hear('a2', heartbeat(first, 1, { witnessVersion: 5 }), 500)
    told.read(1_000, register(4))
    expect(told.made.state.process.witness.isStale).toBe(true)
    expect(told.grant()).toBeUndefined()
  })

  it('is none, and accuses nobody, from a read that was asked before a newer version was told of', () => {
    const { made, tick, read, grant } = reading('a1')
    const [asking] = asked(tick(1_000), 'read')
    made.hear('a2', heartbeat(first, 1, { witnessVersion: 5 }), 1_005)
    const answer: WitnessAnswer = { kind: 'register', id: asking?.id ?? 0, register: register(4), isCounted: true }
    const effects = made.give({ kind: 'witness', answer }, 1_010)
    expect(effects.filter((effect) => effect.kind === 'note')).toEqual([])
    expect([made.state.process.witness.isStale, grant()]).toEqual([false, undefined])
    read(2_000, register(5))
    expect(grant()).toBe(2_000 + made.state.timings.permitMs)
  })
})

describe('a register that is behind', () => {
  it('is told the epoch that was learned, and keeps an accepted value that may still follow it', () => {
    const after = nextEpoch(noOp, { cause: { kind: 'no-op' } })
    const { read, tick } = reading('a1', noOp)
    read(1_000, register(3, { accepted: { ballot: ballot(1), membership: after } }), false)
    const [swap] = asked(tick(1_100), 'swap')
    expect(swap).toMatchObject({ expectedVersion: 3, register: { membership: noOp, accepted: { membership: after } } })
  })

  it('is not told from a reading that others have seen newer ones than', () => {
    const { made, read, tick } = reading('a2', noOp)
    made.hear('a1', heartbeat(noOp), 900)
    read(1_000, register(3), false)
    made.hear('a1', heartbeat(noOp, 2, { witnessVersion: 4 }), 1_050)
    expect([1_100, 1_500, 1_900].flatMap((nowMs) => asked(tick(nowMs), 'swap'))).toEqual([])
    read(2_000, register(4), false)
    expect(asked(tick(2_100), 'swap')).toMatchObject([{ expectedVersion: 4 }])
  })

  it('went back when it is of an incarnation before the one that was seen in the seat: it is not born a second time', () => {
    const out = nextEpoch(first, { witness: { incarnation: 'w0', isVoting: false }, cause: { kind: 'vote-shift', witness: 'out' } })
    const seated = nextEpoch(out, { witness: { incarnation: 'w2', isVoting: true }, cause: { kind: 'vote-shift', witness: 'in' } })
    const unseen = reading('a1', seated)
    unseen.read(1_000, register(9), false)
    expect(asked(unseen.tick(1_100), 'swap')).toMatchObject([{ register: { incarnation: 'w2', membership: seated } }])
    const { made, read, tick } = reading('a1', seated)
    read(1_000, register(3, { incarnation: 'w2', membership: seated }))
    read(3_000, register(9), false)
    expect(made.state.process.witness.isStale).toBe(true)
    expect(made.state.durable.witnessSeen).toEqual({ incarnation: 'w2', version: 3 })
    expect([3_100, 3_600, 4_100].flatMap((nowMs) => asked(tick(nowMs), 'swap'))).toEqual([])
  })

  it('is believed where it knows a higher epoch, also when it went back', () => {
    const { made, read } = reading('a1')
    read(1_000, register(9))
    read(3_000, register(4, { membership: noOp }), false)
    expect(made.state.durable.membership).toEqual(noOp)
  })
})

it('the witness is read at once in an epoch that was just learned: its ack may be the one that the permit lacks', () => {
  const made = agent('a2')
  made.give({ kind: 'tick' }, 10_000)
  const next = nextEpoch(first, { cause: { kind: 'no-op' } })
  made.hear('a1', { kind: 'learn', membership: next }, 10_100)
  const asked = made.give({ kind: 'tick' }, 10_200).flatMap((effect) => (effect.kind === 'witness' ? [effect.request] : []))
  expect(asked).toMatchObject([{ kind: 'read', epoch: next.epoch }])
})
