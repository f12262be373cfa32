/** What holds back a fence although nodes are silent (docs/protocol/README.md, "A fence, step by step"). */
import { describe, expect, it } from 'vitest'
import { agent, ballot, fencing, heartbeat, lifeOf, sent } from '../../test/support/protocol-states.ts'
import { clusterId, nodeId, room } from './ids.ts'
import { forcedEpoch, genesis, isDecidedBy } from './membership.ts'
import type { Effect } from './state.ts'

const names = ['a1', 'a2', 'b1', 'b2', 'b3', 'b4', 'b5']
const wide = genesis(
  clusterId('test'),
  names.map((name) => ({ node: nodeId(name), room: room(name.slice(0, 1)), incarnation: lifeOf(nodeId(name)), addresses: [] })),
  room('a'),
  null,
)
const LATER = 30_000

/** An agent that has heard only `speaking` for longer than a single node is waited for. */
function listening(node: string, speaking: readonly string[], membership = wide, maxFencedShare = 0.9) {
  const made = agent(node, { durable: { membership }, maxFencedShare })
  const notes: Effect[] = []
  made.state.epoch.carriedUntilMs = Infinity
  for (let nowMs = 100; nowMs <= LATER; nowMs += 100) {
    if (nowMs === LATER - 1_000) made.state.epoch.isInstalled = true
    notes.push(...made.give({ kind: 'tick' }, nowMs))
    for (const from of speaking) made.hear(from, heartbeat(membership, nowMs), nowMs)
  }
  return { made, notes }
}
const proposed = (effects: readonly Effect[]) =>
  sent(effects, 'prepare').flatMap((one) =>
    one.kind === 'prepare' && one.proposal.cause.kind === 'fence' ? [one.proposal.cause.nodes] : [],
  )
const told = (effects: readonly Effect[]) =>
  effects.flatMap((effect) => (effect.kind === 'note' && effect.code === 'veto' ? [effect.text] : []))
const vetoOn = (silent: readonly string[], proposal: ReturnType<typeof fencing>, maxFencedShare?: number): unknown => {
  const { made } = listening(
    'a2',
    names.filter((name) => name !== 'a2' && !silent.includes(name)),
    wide,
    maxFencedShare,
  )
  const [refusal] = sent(made.hear('a1', { kind: 'prepare', ballot: ballot(50), proposal, isFinishing: false }, LATER), 'refusal')
  return refusal?.kind === 'refusal' && refusal.reason.code === 'veto' ? refusal.reason.text : undefined
}

describe('single nodes of a room that lives', () => {
  it('are fenced one by one up to the share of their room, and no further', () => {
    expect(vetoOn(['b1', 'b2'], fencing(wide, 'b1', 'b2'))).toBeUndefined()
    expect(vetoOn(['b1', 'b2', 'b3'], fencing(wide, 'b1', 'b2', 'b3'))).toBe(
      '3 of 5 nodes of room b, which lives, would be fenced one by one: more than the share of 0.5 that is allowed',
    )
  })

  it('are not asked for beyond it, which is told', () => {
    const { notes } = listening('a1', ['a2', 'b4', 'b5'])
    expect(proposed(notes)).toContainEqual(['b1', 'b2'])
    expect(told(notes)).toContain(
      'b3 silent, but with them more than the share of 0.5 of a room that lives would be fenced: failover.maxFencedShareOfRoom',
    )
  })

  it('hold up no fence of a room that is lost whole, nor a forced one', () => {
    expect(vetoOn(['b1', 'b2', 'b3', 'b4', 'b5'], fencing(wide, 'b1', 'b2', 'b3', 'b4', 'b5'))).toBeUndefined()
    expect(vetoOn(['b1', 'b2', 'b3'], forcedEpoch(wide, ['b1', 'b2', 'b3'].map(nodeId), 'ada'))).toBeUndefined()
  })
})

describe('all fences together', () => {
  const room = ['b1', 'b2', 'b3', 'b4', 'b5']

  it('take no more than the share of the cluster that is allowed, a whole room included', () => {
    expect(vetoOn(room, fencing(wide, ...room), 0.5)).toBe('5 of 7 nodes would be fenced, more than the share of 0.5 that is allowed')
    expect(vetoOn(room, fencing(wide, ...room), 0.72)).toBeUndefined()
  })

  it('never take both rooms: whoever is left to vote is alive itself', () => {
    expect(vetoOn(['a1', ...room], fencing(wide, ...names))).toBe('a2 is alive and never agrees to its own fence')
    expect(isDecidedBy(wide, fencing(wide, ...room), (voter) => voter.startsWith('b'))).toBe(false)
  })

  it('are not begun because an API server is away while the nodes are heard', () => {
    const others = names.filter((name) => name !== 'a1')
    const { made } = listening('a1', others)
    const effects = [...made.give({ kind: 'api', isReachable: false }, LATER)]
    for (let nowMs = LATER; nowMs <= LATER + 5_000; nowMs += 100) {
      effects.push(...made.give({ kind: 'tick' }, nowMs))
      for (const from of others) made.hear(from, heartbeat(wide, nowMs, { isApiReachable: false }), nowMs)
    }
    expect(proposed(effects)).toEqual([])
    expect(told(effects)).toEqual([])
  })
})
