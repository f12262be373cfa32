import { describe, expect, it } from 'vitest'
import { agent, ballot, fenceOf, fencing, first, heartbeat, lifeOf } from '../../test/support/protocol-states.ts'
import { clusterId, nodeId, room } from './ids.ts'
import { digestOf, genesis, memberOf, type Membership } from './membership.ts'
import type { Accepted, Message, Register, WitnessRequest } from './messages.ts'
import { nodeProof } from './proof.ts'
import type { Effect } from './state.ts'
import { silentAfterMs } from './timings.ts'

const isFence = (membership: Membership): boolean => memberOf(membership, nodeId('b1'))?.standing === 'fenced'

/** a1 with its room in contact, and a register that nobody else writes; room b has been silent from the start. */
function proposing(accepted: Accepted | null = null, members: Membership = first, roomMates: readonly string[] = ['a2']) {
  const made = agent('a1', { durable: { membership: members } })
  const register: { now: Register; isAnswering: boolean; isSlow: boolean } = {
    now: { incarnation: 'w0', version: 7, membership: members, accepted },
    isAnswering: true,
    isSlow: false,
  }
  let sequence = 0
  const swaps: Extract<WitnessRequest, { kind: 'swap' }>[] = []
  const accepts: { readonly message: Extract<Message, { kind: 'accept' }>; readonly held: Membership | undefined }[] = []
  const ask = (request: WitnessRequest, nowMs: number): void => {
    const { id } = request
    if (request.kind === 'read')
      return take(made.give({ kind: 'witness', answer: { kind: 'register', id, register: register.now, isCounted: true } }, nowMs), nowMs)
    swaps.push(request)
    register.now = { ...request.register, version: request.expectedVersion + 1 }
    if (register.isSlow) return
    take(made.give({ kind: 'witness', answer: { kind: 'swapped', id, version: register.now.version } }, nowMs), nowMs)
  }
  const take = (effects: readonly Effect[], nowMs: number): void => {
    for (const effect of effects) {
      if (effect.kind === 'witness' && register.isAnswering) ask(effect.request, nowMs)
      if (effect.kind !== 'send') continue
      const { to, message } = effect
      if (message.kind === 'accept' && to === 'a2') accepts.push({ message, held: register.now.accepted?.membership })
      // To itself at once, as the shell does; a2 answers as a voter that objects to nothing.
      if (to === 'a1') take(made.give({ kind: 'message', from: to, incarnation: lifeOf(to), message }, nowMs), nowMs)
      if (roomMates.includes(to) && message.kind === 'prepare' && made.state.durable.membership === members)
        take(made.hear(to, { kind: 'promise', ballot: message.ballot, epoch: message.proposal.epoch, accepted: null }, nowMs), nowMs)
      if (roomMates.includes(to) && message.kind === 'accept')
        take(made.hear(to, { kind: 'accepted', ballot: message.ballot, epoch: message.membership.epoch }, nowMs), nowMs)
    }
  }
  const run = (fromMs: number, toMs: number): void => {
    for (let nowMs = fromMs; nowMs <= toMs; nowMs += 100) {
      const now = made.state.durable.membership ?? members
      for (const mate of nowMs % 500 === 0 ? roomMates : []) {
        take(made.hear(mate, heartbeat(now, (sequence += 1)), nowMs), nowMs)
        take(made.hear(mate, { kind: 'ack', sequence: made.state.process.sequence, epoch: now.epoch, digest: digestOf(now) }, nowMs), nowMs)
      }
      take(made.give({ kind: 'tick' }, nowMs), nowMs)
    }
  }
  return { made, register, swaps, accepts, run, take }
}

describe('a proposer that needs the witness', () => {
  it('asks nobody to accept before its own value is in the register', () => {
    const { accepts, swaps, run } = proposing()
    run(100, 6_000)
    expect(swaps.map((swap) => swap.kind === 'swap' && swap.register.accepted && isFence(swap.register.accepted.membership))[0]).toBe(true)
    expect(accepts.length).toBeGreaterThan(0)
    for (const { message, held } of accepts) expect(held).toBe(message.membership)
  })

  it('takes over what the register holds under a lower ballot', () => {
    const other = fencing(first, 'b1')
    const { accepts, run } = proposing({ ballot: ballot(0, 'a2'), membership: other })
    run(100, 6_000)
    expect(accepts[0]?.message.membership).toBe(other)
  })

  it('leaves alone what the register holds under a higher one, and goes on above it', () => {
    const other = fencing(first, 'b1')
    const { made, register, swaps, run } = proposing({ ballot: ballot(9, 'a2'), membership: other })
    for (let nowMs = 100; swaps.length === 0 && nowMs < 20_000; nowMs += 100) {
      run(nowMs, nowMs)
      expect(made.state.durable.round > 9 || register.now.accepted?.ballot.round === 9).toBe(true)
    }
    const [swap] = swaps
    expect(swap?.register.accepted).toMatchObject({ membership: other })
    expect(swap?.register.accepted?.ballot.round).toBeGreaterThan(9)
  })
})

describe('a proposer that has read the register', () => {
  it('has what it swapped accepted, whatever a promise tells that comes after the swap', () => {
    const { made, register, swaps, accepts, run, take } = proposing()
    register.isSlow = true
    let nowMs = 100
    for (; swaps.length === 0 && nowMs < 9_000; nowMs += 100) run(nowMs, nowMs)
    const [swap] = swaps
    if (!swap?.register.accepted) throw new Error('nothing was swapped')
    const { ballot: mine, membership } = swap.register.accepted
    const late = { ballot: ballot(0, 'b2'), membership: fencing(first, 'b1') }
    take(made.hear('b2', { kind: 'promise', ballot: mine, epoch: membership.epoch, accepted: late }, nowMs), nowMs)
    take(made.give({ kind: 'witness', answer: { kind: 'swapped', id: swap.id, version: register.now.version } }, nowMs), nowMs)
    expect(accepts.map(({ message }) => message.membership)).toEqual([membership])
  })

  it('does not swap again what the register holds where those whom it fences would be needed to accept it', () => {
    const wide = genesis(
      clusterId('test'),
      ['a1', 'a2', 'a3', 'b1', 'b2']
        .map(nodeId)
        .map((node) => ({ node, room: room(node.slice(0, 1)), incarnation: lifeOf(node), addresses: [] })),
      room('a'),
      'w0',
    )
    const { swaps, run } = proposing({ ballot: ballot(0, 'a2'), membership: fencing(wide, 'a2', 'a3') }, wide, ['a2', 'a3'])
    run(100, 6_000)
    expect(swaps).toEqual([])
  })

  it('swaps nothing on an answer that is older than what is known of the register: it may have been restored to that very version', () => {
    const { made, register, swaps, run, take } = proposing()
    let nowMs = 100
    // It has its permit by then, and proposes a moment later.
    for (; nowMs < 2_800; nowMs += 100) run(nowMs, nowMs)
    register.isAnswering = false
    for (; made.state.epoch.attempt?.phase !== 'witness-read' && nowMs < 9_000; nowMs += 100) run(nowMs, nowMs)
    const { attempt } = made.state.epoch
    if (!attempt) throw new Error('nothing is proposed')
    take(made.hear('a2', heartbeat(first, 99, { witnessVersion: 8 }), nowMs), nowMs)
    const answer = { kind: 'register', id: attempt.witnessRequestId, register: register.now, isCounted: true } as const
    register.isAnswering = true
    take(made.give({ kind: 'witness', answer }, nowMs), nowMs)
    expect([swaps, made.state.epoch.attempt]).toEqual([[], null])
  })

  it("counts the witness's door from the swap of the fence that was chosen, though it never reads the register again", () => {
    const { made, register, swaps, run } = proposing()
    let nowMs = 100
    for (; made.state.durable.membership === first && nowMs < 9_000; nowMs += 100) run(nowMs, nowMs)
    register.isAnswering = false
    expect(swaps.length).toBeGreaterThan(0)
    expect(fenceOf(made.state, nodeId('b1')).witnessDoorAtMs).toBeLessThanOrEqual(nowMs)
    const statement = { node: nodeId('b1'), ackedAgoMs: 9_000, installedAgoMs: 9_000, watchdogMs: 5_000 }
    const epoch = made.state.durable.membership?.epoch ?? first.epoch
    for (const from of ['a1', 'a2']) made.hear(from, { kind: 'doors', epoch, doors: [statement] }, nowMs)
    expect(nodeProof(made.state, nodeId('b1'), nowMs + silentAfterMs(made.state.timings, 5_000) + 1).isProved).toBe(true)
  })
})
