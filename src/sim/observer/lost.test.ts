/** What a dead disk or a restored register takes with it: what is left to an operator, and what is not. */
import { describe, expect, it } from 'vitest'
import { runSchedule } from '../run/run.ts'
import {
  type Fault,
  hostileTimings,
  HOSTILE_WATCHDOG_MS,
  type Planned,
  type Schedule,
  type Strike,
  type WorldOptions,
} from '../schedule/schedule.ts'

const diskDies = (target: string): Fault => ({ kind: 'disk', target, how: 'dead' })

function countsOf(options: Partial<WorldOptions>, planned: readonly Planned[], strikes: readonly Strike[]): ReadonlyMap<string, number> {
  const schedule: Schedule = {
    options: {
      seed: 1,
      nodesOfRooms: [3, 1],
      hasWitness: false,
      paths: 1,
      vms: 4,
      isFreezeMode: false,
      timings: hostileTimings,
      watchdogMs: HOSTILE_WATCHDOG_MS,
      tickMs: 50,
      rebootMs: [1_500, 2_000],
      ...options,
    },
    planned,
    strikes,
    untilMs: 14_000,
    finale: null,
  }
  const { violations, counts } = runSchedule(schedule)
  expect(violations).toEqual([])
  return counts
}

describe('a disk that dies between its promise and the first accepted value', () => {
  const fenceOfNode: readonly Planned[] = [{ atMs: 5_000, fault: { kind: 'power-off', target: 'a2' } }]
  const asItAccepts = (target: string): readonly Strike[] => [{ moment: 'accept', nth: 1, fault: diskDies(target) }]

  it('leaves a value to a person that those who are left can neither choose nor rule out', () => {
    expect(countsOf({}, fenceOfNode, asItAccepts('b1')).get('left to an operator')).toBe(1)
  })

  it('leaves nothing to a person where the others finish it', () => {
    const counts = countsOf({}, fenceOfNode, asItAccepts('a3'))
    expect(counts.get('fault disk')).toBe(1)
    expect(counts.get('left to an operator')).toBeUndefined()
  })
})

describe('a disk that died and a register that was restored', () => {
  const lostWith = (restored: readonly Planned[]): ReadonlyMap<string, number> =>
    countsOf(
      { nodesOfRooms: [1, 1], hasWitness: true, vms: 2 },
      [
        { atMs: 2_000, fault: { kind: 'suspension', isSuspended: true } },
        // Else it is a member again before the restore.
        { atMs: 5_000, fault: { kind: 'filter', from: 'a1', to: 'b1', message: 'join', lateMs: null } },
        { atMs: 5_100, fault: diskDies('a1') },
        ...restored,
        { atMs: 13_900, fault: { kind: 'power-off', target: 'a' } },
        { atMs: 13_900, fault: { kind: 'power-off', target: 'b' } },
      ],
      [],
    )

  it('are no majority any more, also where nobody was up to notice', () => {
    const counts = lostWith([{ atMs: 13_800, fault: { kind: 'witness', how: 'restore' } }])
    expect(counts.get('witness restores')).toBe(1)
    expect(counts.get('majority lost with its disks')).toBe(1)
  })

  it('are one while the register is the one that was known', () => {
    expect(lostWith([]).get('majority lost with its disks')).toBeUndefined()
  })
})
