/** A value that was found, that nobody can finish, and that was certainly never chosen: b1 lost its disk, and c1, whom the value fences, is back. */
import { describe, expect, it } from 'vitest'
import { agent, ballot, fencing, heartbeat, lifeOf } from '../../test/support/protocol-states.ts'
import { clusterId, nodeId, room } from './ids.ts'
import { genesis, type Membership } from './membership.ts'
import type { Accepted, Message, Register, WitnessRequest } from './messages.ts'
import type { Effect } from './state.ts'

const rooms = (witness: string | null): Membership =>
  genesis(
    clusterId('test'),
    ['a1', 'a2', 'b1', 'c1'].map(nodeId).map((node) => ({ node, room: room(node.slice(0, 1)), incarnation: lifeOf(node), addresses: [] })),
    room('a'),
    witness,
  )

interface Others {
  /** What each of those who answer has accepted. */
  readonly voters: Readonly<Record<string, Accepted | null>>
  readonly register?: Accepted | null
}

/** What a2, which holds a fence of c1, has the others accept within some seconds. */
function accepted({ voters, register }: Others): readonly string[] {
  const now = rooms(register === undefined ? null : 'w0')
  const held: Accepted = { ballot: ballot(1, 'b1'), membership: fencing(now, 'c1') }
  const made = agent('a2', { durable: { membership: now, accepted: held, round: 1 } })
  const inRegister: Register = {
    incarnation: 'w0',
    version: 7,
    membership: now,
    accepted: register ? { ...register, membership: held.membership } : null,
  }
  const asked = new Set<string>()
  const witness = (request: WitnessRequest, nowMs: number): void => {
    const { id } = request
    const answer =
      request.kind === 'read'
        ? ({ kind: 'register', id, register: inRegister, isCounted: true } as const)
        : ({ kind: 'swapped', id, version: 8 } as const)
    take(made.give({ kind: 'witness', answer }, nowMs), nowMs)
  }
  const answer = (to: string, message: Message, nowMs: number): void => {
    if (message.kind === 'accept') asked.add(message.membership.cause.kind)
    const has = voters[to]
    if (message.kind !== 'prepare' || has === undefined) return
    const own = has && { ...has, membership: held.membership }
    take(made.hear(to, { kind: 'promise', ballot: message.ballot, epoch: message.proposal.epoch, accepted: own }, nowMs), nowMs)
  }
  const take = (effects: readonly Effect[], nowMs: number): void => {
    for (const effect of effects) {
      if (effect.kind === 'witness') witness(effect.request, nowMs)
      if (effect.kind !== 'send') continue
      if (effect.to === 'a2')
        take(made.give({ kind: 'message', from: effect.to, incarnation: lifeOf(effect.to), message: effect.message }, nowMs), nowMs)
      else answer(effect.to, effect.message, nowMs)
    }
  }
  for (let nowMs = 100; nowMs <= 20_000; nowMs += 100) {
    if (nowMs % 500 === 0) for (const from of Object.keys(voters)) take(made.hear(from, heartbeat(now, nowMs), nowMs), nowMs)
    take(made.give({ kind: 'tick' }, nowMs), nowMs)
  }
  return [...asked]
}

const other: Accepted = { ballot: ballot(1, 'b1'), membership: fencing(rooms(null), 'c1') }

describe('a value that those who answer cannot choose', () => {
  it('is replaced where enough of them accepted nothing', () => {
    expect(accepted({ voters: { a1: null, c1: null } })).toEqual(['no-op'])
  })

  it('stays where it may have been chosen by those who do not answer, or by one more who accepted it', () => {
    expect(accepted({ voters: { a1: null } })).toEqual([])
    expect(accepted({ voters: { a1: other, c1: null } })).toEqual([])
  })

  it('is replaced by the word of the witness where that is needed, and not where the register holds one', () => {
    expect(accepted({ voters: { a1: null, c1: null }, register: null })).toEqual(['no-op'])
    expect(accepted({ voters: { a1: null, c1: null }, register: { ...other, ballot: ballot(0, 'b1') } })).toEqual([])
  })

  it('is finished where they can', () => {
    expect(accepted({ voters: { a1: null, b1: null, c1: null } })).toEqual(['fence'])
  })
})
