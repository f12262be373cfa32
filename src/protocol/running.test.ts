import { describe, expect, it } from 'vitest'
import { agent, type Agent, type AgentOptions, fencing, first, heartbeat, unfencing } from '../../test/support/protocol-states.ts'
import { digestOf, type Membership } from './membership.ts'
import { hasPermit, mayCloseWatchdog, mayPet, mayRunUntilMs } from './running.ts'
import type { Effect } from './state.ts'
import { defaultTimings, quarantineMs } from './timings.ts'

const fenced = fencing(first, 'b1', 'b2')

/** Everybody acks the last heartbeat, over and over, until then. */
function acked(made: Agent, fromMs: number, toMs: number, by: readonly string[] = ['a1', 'a2', 'b1', 'b2']): void {
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += 100) {
    made.give({ kind: 'tick' }, nowMs)
    const membership: Membership = made.state.durable.membership ?? first
    for (const from of by)
      if (from !== made.state.self.node)
        made.hear(
          from,
          { kind: 'ack', sequence: made.state.process.sequence, epoch: membership.epoch, digest: digestOf(membership) },
          nowMs,
        )
  }
}
function ticking(made: Agent, fromMs: number, toMs: number): readonly Effect[] {
  const effects: Effect[] = []
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += 100) effects.push(...made.give({ kind: 'tick' }, nowMs))
  return effects
}
const contained = (effects: readonly Effect[]) => effects.flatMap((effect) => (effect.kind === 'contain' ? [effect.level] : []))
const running = (options: AgentOptions = {}): Agent => {
  const made = agent('b1', options)
  acked(made, 100, 4_000)
  return made
}

describe('a node', () => {
  it('may run until permitMs after the heartbeat was sent that a majority acked, and is paused then', () => {
    const made = running()
    const untilMs = mayRunUntilMs(made.state)
    expect(untilMs).toBeGreaterThan(4_000)
    expect(untilMs).toBeLessThanOrEqual(4_000 + made.state.timings.permitMs)
    expect(contained(ticking(made, 4_100, untilMs - 1))).toEqual([])
    expect(contained(ticking(made, untilMs, untilMs + 200))).toEqual(['pause'])
  })

  it('does not pet between the end of its permit and a verified pause, and goes on petting after that', () => {
    const made = running()
    const untilMs = mayRunUntilMs(made.state)
    expect(mayPet(made.state, untilMs - 1)).toBe(true)
    expect(mayPet(made.state, untilMs)).toBe(false)
    ticking(made, untilMs, untilMs)
    expect(mayPet(made.state, untilMs + 100)).toBe(false)
    made.give({ kind: 'contained', level: 'pause', isVerified: true }, untilMs + 200)
    expect(mayPet(made.state, untilMs + 200)).toBe(true)
    made.give({ kind: 'contained', level: 'pause', isVerified: false }, untilMs + 300)
    expect(mayPet(made.state, untilMs + 300)).toBe(false)
  })

  it('is reset when its pause is not verified within killMs', () => {
    const made = running()
    const untilMs = mayRunUntilMs(made.state)
    const early = ticking(made, untilMs, untilMs + made.state.timings.killMs)
    expect(early.some(({ kind }) => kind === 'reboot')).toBe(false)
    const late = ticking(made, untilMs + made.state.timings.killMs + 100, untilMs + made.state.timings.killMs + 200)
    expect(late.some(({ kind }) => kind === 'reboot')).toBe(true)
  })

  it('that sees two memberships of one number contains itself', () => {
    const made = running()
    made.hear('a1', heartbeat(fencing(first, 'a2'), 9), 4_050)
    expect(made.state.epoch.hasConflict).toBe(false)
    made.hear('a1', { kind: 'learn', membership: { ...first, preferredRoom: made.state.self.room } }, 4_060)
    expect(made.state.epoch.hasConflict).toBe(true)
    expect(contained(ticking(made, 4_100, 4_200))).toEqual(['pause'])
  })
})

describe('a node with a fence of its own', () => {
  it('that learns its fence is killed, whatever acks it holds, and says so once that is verified', () => {
    const made = running()
    expect(contained(made.hear('a1', { kind: 'learn', membership: fenced }, 4_050))).toEqual(['kill'])
    expect(hasPermit(made.state, 4_050)).toBe(false)
    made.give({ kind: 'contained', level: 'kill', isVerified: false }, 4_100)
    expect(made.state.durable.killedEpoch).toBe(-1)
    made.give({ kind: 'contained', level: 'kill', isVerified: true }, 4_200)
    expect(made.state.durable.killedEpoch).toBe(fenced.epoch)
  })

  it('that slept through its fence and its un-fence kills before it may run again', () => {
    const made = running()
    expect(contained(made.hear('a1', { kind: 'learn', membership: unfencing(fenced, 'b1', 'b2') }, 4_050))).toEqual(['kill'])
    acked(made, 4_100, 4_500, ['a1', 'a2'])
    expect(hasPermit(made.state, 4_500)).toBe(false)
    made.give({ kind: 'contained', level: 'kill', isVerified: true }, 4_600)
    acked(made, 4_700, 50_000, ['a1', 'a2'])
    expect(hasPermit(made.state, 50_000)).toBe(true)
  })
})

describe('a node that is let back', () => {
  const back = unfencing(fenced, 'b1', 'b2')
  const waitMs = quarantineMs(defaultTimings)
  const killed = (options: AgentOptions = {}): Agent => {
    const made = agent('b1', { durable: { membership: fenced, killedEpoch: fenced.epoch }, ...options })
    made.give({ kind: 'contained', level: 'kill', isVerified: true }, 50)
    made.hear('a1', { kind: 'learn', membership: back }, 100)
    return made
  }

  it('waits until whoever does not know of it has no permit left, and then runs', () => {
    const made = killed()
    acked(made, 200, waitMs + 100, ['a1', 'a2'])
    expect([hasPermit(made.state, waitMs + 100), made.state.process.desired]).toEqual([false, 'pause'])
    acked(made, waitMs + 200, waitMs + 500, ['a1', 'a2'])
    expect([hasPermit(made.state, waitMs + 500), made.state.process.desired]).toEqual([true, 'none'])
    expect(made.state.durable.freedEpoch).toBe(fenced.epoch)
  })

  it('stays paused after that until the API server says, too, that what is alive here belongs here', () => {
    const made = killed()
    made.isCutFromApi = true
    made.give({ kind: 'bound', lastFence: fenced.epoch }, 150)
    acked(made, 200, waitMs + 3_000, ['a1', 'a2'])
    expect([hasPermit(made.state, waitMs + 3_000), made.state.process.desired]).toEqual([false, 'pause'])
    const asked = made.effects.filter(({ kind }) => kind === 'check-bound')
    expect(asked.length).toBeGreaterThan(1)
    made.give({ kind: 'bound', lastFence: fenced.epoch - 1 }, waitMs + 3_000)
    expect(made.state.process.desired).toBe('pause')
    made.give({ kind: 'bound', lastFence: fenced.epoch }, waitMs + 3_000)
    expect([hasPermit(made.state, waitMs + 3_000), made.state.process.desired]).toEqual([true, 'none'])
  })

  it('counts from its first majority of acks: until then others may still be acked in the epoch before', () => {
    const made = killed()
    ticking(made, 200, 10_000)
    acked(made, 10_100, waitMs + 10_000, ['a1', 'a2'])
    expect(hasPermit(made.state, waitMs + 10_000)).toBe(false)
    acked(made, waitMs + 10_100, waitMs + 10_400, ['a1', 'a2'])
    expect(hasPermit(made.state, waitMs + 10_400)).toBe(true)
  })

  it('and whose agent is restarted meanwhile stays paused and waits anew', () => {
    const made = agent('b1', { durable: { membership: back, killedEpoch: fenced.epoch } })
    acked(made, 100, waitMs, ['a1', 'a2'])
    expect([hasPermit(made.state, waitMs), made.state.process.desired]).toEqual([false, 'pause'])
    const over = agent('b1', { durable: { membership: back, killedEpoch: fenced.epoch, freedEpoch: fenced.epoch } })
    acked(over, 100, 1_000, ['a1', 'a2'])
    expect(hasPermit(over.state, 1_000)).toBe(true)
  })

  it('waits again after the next fence', () => {
    const made = killed()
    acked(made, 200, waitMs + 500, ['a1', 'a2'])
    const again = fencing(back, 'b1')
    made.hear('a1', { kind: 'learn', membership: again }, waitMs + 600)
    made.give({ kind: 'contained', level: 'kill', isVerified: true }, waitMs + 700)
    made.hear('a1', { kind: 'learn', membership: unfencing(again, 'b1') }, waitMs + 800)
    acked(made, waitMs + 900, 2 * waitMs + 700, ['a1', 'a2'])
    expect(hasPermit(made.state, 2 * waitMs + 700)).toBe(false)
    acked(made, 2 * waitMs + 800, 2 * waitMs + 1_200, ['a1', 'a2'])
    expect(hasPermit(made.state, 2 * waitMs + 1_200)).toBe(true)
  })
})

describe('an agent that starts', () => {
  it('on a running node asks for a permit before it pauses what it finds, and does not pet meanwhile', () => {
    const made = agent('b1')
    const { restartGraceMs } = made.state.timings
    expect(contained(ticking(made, 100, restartGraceMs - 100))).toEqual([])
    expect(mayPet(made.state, restartGraceMs - 100)).toBe(false)
    expect(contained(ticking(made, restartGraceMs, restartGraceMs + 100))).toEqual(['pause'])
  })

  it('within that grace is not freed by an un-fence: it waits for a permit', () => {
    const made = agent('b1', { durable: { membership: fenced } })
    ticking(made, 100, 200)
    made.give({ kind: 'contained', level: 'kill', isVerified: true }, 300)
    const effects = made.hear('a1', { kind: 'learn', membership: unfencing(fenced, 'b1', 'b2') }, 400)
    expect(contained([...effects, ...ticking(made, 500, 600)])).toEqual(['pause'])
  })

  it('after a boot listens for detectMs before anything runs, also with all the acks there are', () => {
    const made = agent('b1', { boot: 'boot2' })
    const { detectMs } = made.state.timings
    acked(made, 100, detectMs - 100)
    expect(made.state.process.desired).toBe('pause')
    acked(made, detectMs, detectMs + 200)
    expect(made.state.process.desired).toBe('none')
  })
})

it('a watchdog may be closed only when a majority acked a heartbeat that withdraws it', () => {
  const made = running()
  const before = made.state.process.sequence
  made.give({ kind: 'leaving' }, 4_100)
  const ack = (from: string, sequence: number) =>
    made.hear(from, { kind: 'ack', sequence, epoch: first.epoch, digest: digestOf(first) }, 4_150)
  for (const from of ['a1', 'a2', 'b2']) ack(from, before)
  expect(mayCloseWatchdog(made.state)).toBe(false)
  ack('a1', made.state.process.sequence)
  ack('a2', made.state.process.sequence)
  expect(mayCloseWatchdog(made.state)).toBe(false)
  // With its own vote: the witness acks no withdrawal, and without either there would be none in two rooms of two.
  ack('b2', made.state.process.sequence)
  expect(mayCloseWatchdog(made.state)).toBe(true)
})
