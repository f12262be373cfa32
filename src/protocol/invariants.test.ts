import { describe, expect, test } from 'vitest'
import { agent, first } from '../../test/support/protocol-states.ts'
import { beforeStep, brokenInvariant } from './invariants.ts'
import { hasPermit, isReliable } from './running.ts'
import type { Effect, Input, State } from './state.ts'
import { step } from './step.ts'
import { nodeVoter } from './membership.ts'
import type { Epoch, Incarnation, NodeId } from './ids.ts'

const NOW = 10_000
const tick: Input = { kind: 'tick' }
const made = (): State => agent('a1', { durable: { membership: first } }).state

/** What a step would break that changed the state in this way. */
const brokenBy = (change: (state: State) => void, effects: readonly Effect[] = []): string | undefined => {
  const state = made()
  const before = beforeStep(state, tick)
  change(state)
  return brokenInvariant(before, state, tick, effects, NOW)?.invariant
}

describe('an invariant', () => {
  test('is not broken by a step that changes nothing', () => {
    expect(brokenBy(() => {})).toBeUndefined()
  })

  test('of the counters: none goes back', () => {
    expect(brokenBy((state) => (state.durable = { ...state.durable, killedEpoch: state.durable.killedEpoch - 1 }))).toBe('counter')
    expect(brokenBy((state) => (state.durable = { ...state.durable, round: state.durable.round - 1 }))).toBe('counter')
  })

  test('of the membership: an epoch is never lower than the one before', () => {
    const lower = { ...first, epoch: (first.epoch - 1) as Epoch }
    expect(brokenBy((state) => (state.durable = { ...state.durable, membership: lower }))).toBe('membership')
    expect(brokenBy((state) => (state.durable = { ...state.durable, membership: null }))).toBe('membership')
  })

  test('of the grants: only who votes grants, for one permit', () => {
    const stranger = nodeVoter('x9' as NodeId, 'x9-1' as Incarnation)
    expect(brokenBy((state) => state.epoch.grants.set(stranger, NOW + 1))).toBe('grant')
  })

  test('of what is sent: nothing leaves before the state that it speaks of is written', () => {
    const send: Effect = { kind: 'send', to: 'a2' as NodeId, message: { kind: 'want', epoch: first.epoch } }
    expect(brokenBy((state) => (state.disk.version += 1), [send])).toBe('unwritten')
  })

  test('of containment: nothing runs without a permit', () => {
    const withoutPermit = (state: State): void => {
      state.epoch.grants.clear()
      state.epoch.carriedUntilMs = -Infinity
    }
    expect(brokenBy(withoutPermit, [{ kind: 'contain', level: 'none' }])).toBe('containment')
    expect(brokenBy(() => {}, [{ kind: 'contain', level: 'kill' }])).toBe('containment')
    expect(brokenBy(() => {}, [{ kind: 'contain', level: 'pause' }])).toBeUndefined()
  })
})

test('an agent that broke one keeps its pause, and neither runs, acks, votes nor proposes', () => {
  const state = made()
  state.process.broken = { invariant: 'grant', text: 'for the test' }
  expect(hasPermit(state, NOW)).toBe(false)
  expect(isReliable(state)).toBe(false)
  const effects = [0, 500, 1_000, 60_000].flatMap((laterMs) => step(state, tick, NOW + laterMs).effects)
  expect(effects.filter(({ kind }) => kind !== 'reboot')).toEqual([])
})
