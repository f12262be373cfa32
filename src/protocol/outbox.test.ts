import { describe, expect, it } from 'vitest'
import { agent } from '../../test/support/protocol-states.ts'
import { type Epoch, nodeId } from './ids.ts'
import { changeDurable, contain, type Outbox, persisted, send } from './outbox.ts'

const want = (epoch: number) => ({ kind: 'want', epoch: epoch as Epoch }) as const
const b1 = nodeId('b1')

/** What was given out of a state whose disk is answered by hand. */
function writing() {
  const { state } = agent('a1')
  const out: Outbox = []
  const said = () => out.flatMap((effect) => (effect.kind === 'send' && effect.message.kind === 'want' ? [effect.message.epoch] : []))
  return { state, out, said }
}

describe('what a step gives out', () => {
  it('is said at once where nothing waits for the disk', () => {
    const { state, out, said } = writing()
    send(state, out, b1, want(1))
    expect(said()).toEqual([1])
  })

  it('waits for the write of the state that it speaks of, and keeps its order', () => {
    const { state, out, said } = writing()
    changeDurable(state, out, { round: 1 })
    send(state, out, b1, want(1))
    changeDurable(state, out, { round: 2 })
    send(state, out, b1, want(2))
    expect(said()).toEqual([])
    persisted(state, out, 1)
    expect(said()).toEqual([1])
    persisted(state, out, 2)
    expect(said()).toEqual([1, 2])
  })

  it('does not wait where it contains', () => {
    const { state, out } = writing()
    changeDurable(state, out, { round: 1 })
    contain(out, 'pause')
    expect(out.map(({ kind }) => kind)).toEqual(['persist', 'contain'])
  })

  it('hands the disk another object at each change, so that a write under way stays what it was', () => {
    const { state, out } = writing()
    changeDurable(state, out, { round: 1 })
    changeDurable(state, out, { round: 2 })
    expect(out.map((effect) => effect.kind === 'persist' && effect.durable.round)).toEqual([1, 2])
  })

  it('is not freed by an older write that comes late, nor does that one clear the failure of a newer one', () => {
    const { state, out, said } = writing()
    changeDurable(state, out, { round: 1 })
    changeDurable(state, out, { round: 2 })
    send(state, out, b1, want(2))
    state.disk.failure = 'no space left on device'
    persisted(state, out, 1)
    expect(said()).toEqual([])
    expect(state.disk.failure).toBe('no space left on device')
  })

  it('comes after all when a failed write is tried again', () => {
    const made = agent('a1')
    made.isDiskStuck = true
    made.give({ kind: 'tick' }, 100)
    changeDurable(made.state, [], { round: 7 })
    send(made.state, [], b1, want(1))
    made.give({ kind: 'persist-failed', reason: 'no space left on device' }, 200)
    const again = made.give({ kind: 'tick' }, 300).find((effect) => effect.kind === 'persist')
    expect(again).toMatchObject({ durable: { round: 7 } })
    const freed = made.give({ kind: 'persisted', version: made.state.disk.version }, 400)
    expect(freed).toContainEqual({ kind: 'send', to: b1, message: want(1) })
  })
})
