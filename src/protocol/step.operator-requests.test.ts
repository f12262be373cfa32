/** What people ask for besides a fence: pausing all fencing, and maintenance (docs/protocol/operator.md). */
import { describe, expect, it } from 'vitest'
import { suspects } from './contact.ts'
import { agent, ballot, fencing, first, heartbeat, sent } from '../../test/support/protocol-states.ts'
import { type NodeId, nodeId } from './ids.ts'
import {
  forcedEpoch,
  isMajority,
  memberOf,
  type Membership,
  nextEpoch,
  nodeVoter,
  votesOf,
  withMaintenance,
  withStanding,
} from './membership.ts'
import type { Effect, Input } from './state.ts'

const LATER = 10_000
const [a2, b1] = [nodeId('a2'), nodeId('b1')]
const paused = nextEpoch(first, { fencingPausedBy: 'ada', cause: { kind: 'pause-fencing', by: 'ada' } })
const inMaintenance = (...nodes: readonly NodeId[]): Membership =>
  nextEpoch(first, { members: withMaintenance(first, nodes, true), cause: { kind: 'maintenance', nodes, isOn: true, by: 'ada' } })

/** An agent that has listened to silence, with a permit and an installed epoch. */
function able(node: string, membership: Membership, speaking: readonly string[] = []) {
  const made = agent(node, { durable: { membership } })
  for (let nowMs = 100; nowMs <= LATER; nowMs += 100) {
    made.give({ kind: 'tick' }, nowMs)
    for (const from of speaking) made.hear(from, heartbeat(membership, nowMs), nowMs)
  }
  made.state.epoch.carriedUntilMs = LATER + 60_000
  made.state.epoch.isInstalled = true
  return made
}
const proposals = (effects: readonly Effect[]): readonly Membership[] =>
  sent(effects, 'prepare').flatMap((message) => (message.kind === 'prepare' ? [message.proposal] : []))
function after(made: ReturnType<typeof able>, input: Input, forMs = 3_000, speaking: readonly string[] = []): readonly Membership[] {
  const effects = [...made.give(input, LATER)]
  const { membership } = made.state.durable
  for (let nowMs = LATER + 100; nowMs <= LATER + forMs; nowMs += 100) {
    effects.push(...made.give({ kind: 'tick' }, nowMs))
    for (const from of speaking) if (membership) made.hear(from, heartbeat(membership, nowMs), nowMs)
  }
  return proposals(effects)
}
const vetoOn = (membership: Membership, proposal: Membership): unknown => {
  const made = able('a2', membership)
  const [refusal] = sent(made.hear('a1', { kind: 'prepare', ballot: ballot(5), proposal, isFinishing: false }, LATER), 'refusal')
  return refusal?.kind === 'refusal' && refusal.reason.code === 'veto' ? refusal.reason.text : undefined
}

describe('fencing', () => {
  it('is paused and resumed by an epoch that says who', () => {
    const peers = ['a2', 'b1', 'b2']
    const [pause] = after(able('a1', first, peers), { kind: 'suspend-fencing', isSuspended: true, by: 'ada' }, 3_000, peers)
    expect(pause).toMatchObject({ fencingPausedBy: 'ada', cause: { kind: 'pause-fencing', by: 'ada' } })
    const [resume] = after(able('a1', paused, peers), { kind: 'suspend-fencing', isSuspended: false, by: 'bob' }, 3_000, peers)
    expect(resume).toMatchObject({ fencingPausedBy: null, cause: { kind: 'resume-fencing', by: 'bob' } })
    expect(after(able('a1', paused, peers), { kind: 'suspend-fencing', isSuspended: true, by: 'ada' }, 3_000, peers)).toEqual([])
  })

  it('while it is paused is vetoed, with who paused it, but for a forced epoch', () => {
    expect(vetoOn(paused, fencing(paused, 'b1', 'b2'))).toBe('fencing is suspended by ada: roomfence resume')
    expect(vetoOn(paused, forcedEpoch(paused, [b1, nodeId('b2')], 'ada'))).toBeUndefined()
    expect(vetoOn(first, fencing(first, 'b1', 'b2'))).toBeUndefined()
  })
})

describe('a node in maintenance', () => {
  it('has no vote, and its room votes by the others', () => {
    const membership = inMaintenance(b1)
    expect([...votesOf(membership).keys()].some((voter) => voter.startsWith('b1/'))).toBe(false)
    expect(votesOf(membership).get(nodeVoter(nodeId('b2'), memberOf(first, nodeId('b2'))?.incarnation ?? ('' as never)))).toBe(6000)
    expect(isMajority(votesOf(membership), (voter) => !voter.startsWith('b'))).toBe(true)
  })

  it('is put there on a word, and its vote comes back only after the word that ends it', () => {
    const peers = ['a2', 'b1', 'b2']
    const [on] = after(able('a1', first, peers), { kind: 'maintenance', nodes: [b1], isOn: true, by: 'ada' }, 3_000, peers)
    expect(on).toMatchObject({ cause: { kind: 'maintenance', nodes: [b1], isOn: true, by: 'ada' } })
    expect(on && memberOf(on, b1)).toMatchObject({ standing: 'observing', isInMaintenance: true })
    const membership = inMaintenance(b1)
    const waiting = able('a1', membership, peers)
    expect(after(waiting, { kind: 'tick' }, 9_000, peers)).toEqual([])
    expect(waiting.state.process.lastVeto).toBeNull()
    const [off] = after(able('a1', membership, peers), { kind: 'maintenance', nodes: [b1], isOn: false, by: 'ada' }, 3_000, peers)
    expect(off && memberOf(off, b1)).toMatchObject({ standing: 'observing', isInMaintenance: false })
  })

  it('is not suspected when it is silent, and a room is lost when all others of it are', () => {
    const made = able('a1', inMaintenance(b1), ['a2', 'b2'])
    expect(suspects(made.state, inMaintenance(b1), LATER).nodes).toEqual([])
    const alone = able('a1', inMaintenance(b1), ['a2'])
    expect(suspects(alone.state, inMaintenance(b1), LATER)).toEqual({ nodes: ['b2'], rooms: ['b'] })
  })

  it('is never fenced but by a person, nor given a vote; and somebody must be left to vote', () => {
    const membership = inMaintenance(b1)
    expect(vetoOn(membership, fencing(membership, 'b1'))).toBe('b1 is in maintenance')
    expect(vetoOn(membership, forcedEpoch(membership, [b1], 'ada'))).toBeUndefined()
    expect(
      vetoOn(
        membership,
        nextEpoch(membership, { members: withStanding(membership, [b1], 'voting'), cause: { kind: 'votes-back', nodes: [b1] } }),
      ),
    ).toBeDefined()
    const everyone = first.members.map(({ node }) => node)
    const withoutWitness: Membership = { ...first, witness: null }
    for (const now of [withoutWitness, first])
      expect(
        vetoOn(
          now,
          nextEpoch(now, {
            members: withMaintenance(now, everyone, true),
            cause: { kind: 'maintenance', nodes: everyone, isOn: true, by: 'ada' },
          }),
        ),
      ).toBe('nobody would be left to vote')
  })

  it('is a word that is acted on for a while only', () => {
    const made = able('a1', first, ['a2', 'b1', 'b2'])
    made.state.requests.maintenance.set(a2, { isOn: true, by: 'ada', requestedAtMs: LATER - 60_000 })
    expect(after(made, { kind: 'tick' }, 3_000, ['a2', 'b1', 'b2'])).toEqual([])
  })
})
