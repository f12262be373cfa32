/** Forced epochs: a person's word in place of missing votes (docs/protocol/operator.md). */
import { describe, expect, it } from 'vitest'
import { agent, ballot, fencing, first, heartbeat, lifeOf, sent, unfencing } from '../../test/support/protocol-states.ts'
import { nodeId } from './ids.ts'
import { digestOf, FORCED_STEP, forcedEpoch, isDecidedBy, memberOf, nextEpoch, nodeVoter, type VoterKey } from './membership.ts'
import { nodeProof } from './proof.ts'
import { onWitnessAnswer } from './proposer.ts'
import { hasPermit } from './running.ts'
import { isForced } from './membership.ts'
import type { Effect } from './state.ts'

const roomA = ['a1', 'a2'].map(nodeId)
const forced = forcedEpoch(first, roomA, 'ada')
const LATER = 10_000

const listening = (node: string) => {
  const made = agent(node)
  for (let nowMs = 100; nowMs <= LATER; nowMs += 100) made.give({ kind: 'tick' }, nowMs)
  return made
}
const ticking = (made: ReturnType<typeof agent>, fromMs: number, toMs: number): readonly Effect[] => {
  const all: Effect[] = []
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += 100) all.push(...made.give({ kind: 'tick' }, nowMs))
  return all
}
const voters = (...nodes: readonly string[]): ((voter: VoterKey) => boolean) => {
  const keys = new Set(nodes.map((node) => nodeVoter(nodeId(node), lifeOf(nodeId(node)))))
  return (voter) => keys.has(voter)
}

describe('a forced epoch', () => {
  it('is numbered far ahead, fences who was named, and is chosen by its own votes alone', () => {
    expect(forced.epoch).toBe(first.epoch + FORCED_STEP)
    expect(forced.members.map(({ standing }) => standing)).toEqual(['fenced', 'fenced', 'voting', 'voting'])
    expect(isDecidedBy(first, forced, voters('b1', 'b2'))).toBe(true)
    expect(isDecidedBy(first, forced, voters('b1'))).toBe(false)
    expect(isDecidedBy(first, fencing(first, 'a1', 'a2'), voters('b1', 'b2'))).toBe(false)
  })

  it('that was never chosen does not stay in the witness: an ordinary epoch clears it, however far ahead its number is', () => {
    const fence = fencing(first, 'a1', 'a2')
    const made = agent('b1', { durable: { membership: fence } })
    const accepted = { ballot: ballot(3, 'b1'), membership: forced }
    const [read] = made.give({ kind: 'tick' }, 100).flatMap((effect) => (effect.kind === 'witness' ? [effect.request] : []))
    const register = { incarnation: 'w0', version: 5, membership: first, accepted }
    made.give({ kind: 'witness', answer: { kind: 'register', id: read?.id ?? -1, register, isCounted: false } }, 110)
    const swaps = ticking(made, 200, 1_000).flatMap((effect) =>
      effect.kind === 'witness' && effect.request.kind === 'swap' ? [effect.request.register] : [],
    )
    expect(swaps[0]).toMatchObject({ membership: { epoch: fence.epoch }, accepted: null })
  })

  it('fences anew who is fenced already: it may have been let back by those who are dead now', () => {
    const before = fencing(first, 'b2')
    const after = forcedEpoch(before, roomA, 'ada')
    expect(memberOf(after, nodeId('b2'))).toMatchObject({ standing: 'fenced', lastFence: after.epoch })
    const made = agent('b1', { durable: { membership: after } })
    made.hear('b2', heartbeat(before, 1, { killedEpoch: before.epoch }), 100)
    expect(nodeProof(made.state, nodeId('b2'), 100).isProved).toBe(false)
    expect(nodeProof(made.state, nodeId('a1'), LATER)).toMatchObject({
      isProved: true,
      kind: 'human',
      text: 'ada confirmed a1 dead in a forced epoch',
    })
  })

  it('is proposed when a person has spoken and no permit is held, and not before', () => {
    const made = listening('b1')
    expect(sent(ticking(made, LATER + 100, LATER + 2_000), 'prepare')).toEqual([])
    made.give({ kind: 'confirm-dead', nodes: roomA, by: 'ada' }, LATER + 2_000)
    const [prepare] = sent(ticking(made, LATER + 2_100, LATER + 5_000), 'prepare')
    expect(prepare).toMatchObject({ proposal: { epoch: forced.epoch, cause: { kind: 'forced', nodes: roomA, by: 'ada' } } })
  })

  it('is not proposed for a word that was said long ago, nor by who has a permit', () => {
    const old = listening('b1')
    old.state.requests.confirmedDead.set(nodeId('a1'), { by: 'ada', requestedAtMs: LATER - 60_000 })
    expect(sent(ticking(old, LATER + 100, LATER + 5_000), 'prepare')).toEqual([])
    const able = listening('b1')
    able.state.epoch.carriedUntilMs = LATER + 60_000
    able.give({ kind: 'confirm-dead', nodes: roomA, by: 'ada' }, LATER)
    expect(sent(ticking(able, LATER + 100, LATER + 5_000), 'prepare').filter((m) => m.kind === 'prepare' && isForced(m.proposal))).toEqual(
      [],
    )
  })
})

describe('a forced epoch that was proposed', () => {
  it('is refused by whoever has heard one of the dead, with the evidence', () => {
    const made = listening('b2')
    made.hear('a2', heartbeat(first), LATER)
    const [refusal] = sent(
      made.hear('b1', { kind: 'prepare', ballot: ballot(5, 'b1'), proposal: forced, isFinishing: false }, LATER + 200),
      'refusal',
    )
    expect(refusal).toMatchObject({ reason: { code: 'veto', text: 'b2 heard a2 200 ms ago' } })
  })

  it('fences nobody whom no person named', () => {
    const more = nextEpoch(first, {
      members: forced.members,
      cause: { kind: 'forced', nodes: [nodeId('a1')], by: 'ada' },
    })
    const made = listening('b2')
    const [refusal] = sent(
      made.hear('b1', { kind: 'prepare', ballot: ballot(5, 'b1'), proposal: more, isFinishing: false }, LATER),
      'refusal',
    )
    expect(refusal).toMatchObject({
      reason: { code: 'veto', text: 'a forced epoch fences the nodes that an operator named, and changes nothing else' },
    })
  })

  it('once accepted is never exchanged for an ordinary one, and is finished by whoever accepted it', () => {
    const made = listening('b2')
    expect(sent(made.hear('b1', { kind: 'accept', ballot: ballot(5, 'b1'), membership: forced }, LATER), 'accepted')).toHaveLength(1)
    const noOp = nextEpoch(first, { cause: { kind: 'no-op' } })
    expect(sent(made.hear('a1', { kind: 'prepare', ballot: ballot(9), proposal: noOp, isFinishing: true }, LATER), 'refusal')).toHaveLength(
      1,
    )
    expect(sent(made.hear('a1', { kind: 'accept', ballot: ballot(9), membership: noOp }, LATER), 'accepted')).toEqual([])
    expect(made.state.durable.accepted?.membership.epoch).toBe(forced.epoch)
    const [prepare] = sent(ticking(made, LATER + 100, LATER + 10_000), 'prepare')
    expect(prepare).toMatchObject({ isFinishing: true, proposal: { epoch: forced.epoch } })
  })

  it('proves nothing of a node that shows life again, until that says that it killed', () => {
    const made = agent('b1', { durable: { membership: forced } })
    expect(nodeProof(made.state, nodeId('a1'), 100).isProved, 'before it has listened itself').toBe(false)
    expect(nodeProof(made.state, nodeId('a1'), LATER)).toMatchObject({ isProved: true, kind: 'human' })
    made.hear('a1', heartbeat(first), LATER)
    expect(nodeProof(made.state, nodeId('a1'), LATER + 100).isProved).toBe(false)
    made.hear('a1', heartbeat(forced, 2, { killedEpoch: forced.epoch }), LATER + 200)
    expect(nodeProof(made.state, nodeId('a1'), LATER + 300)).toMatchObject({ isProved: true, kind: 'killed' })
  })

  it('is installed when its own voters have learned it, and then gives permits', () => {
    const made = agent('b1', { durable: { membership: forced } })
    made.hear('b2', heartbeat(forced), 100)
    made.give({ kind: 'tick' }, 200)
    expect(made.state.epoch.isInstalled).toBe(true)
    made.hear('b2', { kind: 'ack', sequence: made.state.process.sequence, epoch: forced.epoch, digest: digestOf(forced) }, 300)
    expect(hasPermit(made.state, 300)).toBe(true)
    expect(memberOf(unfencing(forced, 'a1'), nodeId('a1'))?.standing).toBe('observing')
  })
})

describe('a node that boots', () => {
  it('listens for as long as a silence takes before anything runs, whatever acks it has', () => {
    const made = agent('a1', { boot: 'boot2' })
    made.state.epoch.carriedUntilMs = 60_000
    ticking(made, 100, 2_900)
    expect(made.state.process.desired).toBe('pause')
    ticking(made, 3_000, 3_200)
    expect(made.state.process.desired).toBe('none')
    expect(made.state.durable.bootId).toBe('boot2')
  })

  it('does so again when its agent dies before its first permit', () => {
    const made = agent('a1', { boot: 'boot2' })
    made.give({ kind: 'tick' }, 100)
    expect(made.state.durable.bootId).toBe('boot1')
    const again = agent('a1', { boot: 'boot2', durable: made.state.durable })
    expect(again.state.process.desired).toBe('pause')
  })
})

describe('a forced value in the register', () => {
  const inRegister = { incarnation: 'w0', version: 3, membership: first, accepted: { ballot: ballot(2, 'b2'), membership: forced } }
  const reading = (made: ReturnType<typeof agent>, nowMs: number) => {
    const ticked = made.give({ kind: 'tick' }, nowMs)
    const requests = ticked.flatMap((effect) => (effect.kind === 'witness' ? [effect.request] : []))
    const answered = requests.flatMap(({ id }) =>
      made.give({ kind: 'witness', answer: { kind: 'register', id, register: inRegister, isCounted: false } }, nowMs),
    )
    return [...ticked, ...answered]
  }

  it('is finished by who finds it there, and exchanged for no ordinary one: that one may have been lost for it', () => {
    const made = listening('b1')
    const effects: Effect[] = []
    for (let nowMs = LATER; nowMs <= LATER + 12_000; nowMs += 500) effects.push(...reading(made, nowMs))
    const finishing = sent(effects, 'prepare').flatMap((one) => (one.kind === 'prepare' && one.isFinishing ? [one.proposal.epoch] : []))
    expect(finishing.length).toBeGreaterThan(0)
    expect(new Set(finishing)).toEqual(new Set([forced.epoch]))
    const swaps = effects.flatMap((effect) =>
      effect.kind === 'witness' && effect.request.kind === 'swap' ? [effect.request.register.accepted] : [],
    )
    expect(swaps.filter((accepted) => accepted !== null && accepted.membership.epoch !== forced.epoch)).toEqual([])
  })

  it('is not overwritten by an ordinary attempt that reads it', () => {
    const made = listening('b1')
    const noOp = nextEpoch(first, { cause: { kind: 'no-op' } })
    const voters = new Set(['b1', 'b2'].map((node) => nodeVoter(nodeId(node), lifeOf(nodeId(node)))))
    made.state.epoch.attempt = {
      ballot: ballot(9, 'b1'),
      proposal: noOp,
      value: noOp,
      isFinishing: true,
      startedAtMs: LATER,
      phase: 'witness-read',
      phaseAtMs: LATER,
      highest: null,
      hasAdopted: false,
      asked: new Set(),
      promises: voters,
      unbound: new Set(),
      ruledOut: 'no',
      accepts: new Set(),
      witnessRequestId: 99,
      swappedAtMs: null,
    }
    const out: Effect[] = []
    onWitnessAnswer(made.state, out, { kind: 'register', id: 99, register: inRegister, isCounted: false }, LATER + 10)
    expect(out.filter((effect) => effect.kind === 'witness' && effect.request.kind === 'swap')).toEqual([])
    expect(made.state.epoch.attempt).toBeNull()
  })
})
