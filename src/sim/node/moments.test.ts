/** The adversary's moments are where their names say: what strikes there happens before anything else does. */
import { describe, expect, it } from 'vitest'
import { runSchedule } from '../run/run.ts'
import { type Fault, hostileTimings, HOSTILE_WATCHDOG_MS, type Moment, type Schedule } from '../schedule/schedule.ts'

const stop: Fault = { kind: 'stop', target: '@self', forMs: 600 }
const cutOff: readonly Fault[] = ['a', 'witness'].map((to) => ({ kind: 'cut', from: 'b', to, isOneWay: false, path: null }))

/** One node in room b with three VMs; the room is lost to the others. */
function logOf(moment: Moment, fault: Fault, faults: readonly Fault[] = cutOff): readonly string[] {
  const schedule: Schedule = {
    options: {
      seed: 3,
      nodesOfRooms: [1, 1],
      hasWitness: true,
      paths: 1,
      vms: 6,
      isFreezeMode: false,
      timings: hostileTimings,
      watchdogMs: HOSTILE_WATCHDOG_MS,
      tickMs: 50,
      rebootMs: [1_500, 2_000],
    },
    planned: faults.map((one) => ({ atMs: 5_000, fault: one })),
    strikes: [{ moment, nth: 1, fault }],
    untilMs: 20_000,
    finale: null,
    isLeftUnrepaired: true,
  }
  const { log, violations } = runSchedule(schedule, true)
  expect(violations).toEqual([])
  return log.slice(log.findIndex((line) => line.includes(`strike at ${moment} 1`)))
}

const secondsOf = (line: string | undefined): number => Number(line?.trim().split(' ')[0])

describe('the adversary', () => {
  it('strikes when a node knows its epoch to be installed', () => {
    expect(logOf('installed', stop, [])[0]).toMatch(/strike at installed 1 on (a1|b1)/)
  })

  it('stops an agent between two workloads that it pauses', () => {
    const [strike, , ...after] = logOf('half-paused', stop)
    const next = after.find((line) => line.includes('is paused (no permit)'))
    expect(secondsOf(next) - secondsOf(strike)).toBeGreaterThan(0.59)
  })

  it.each<Moment>(['tainting', 'ordering'])('at %s delays the call by a stop, and a power loss keeps it from being made', (moment) => {
    const made = / a1 (taints|deletes)/
    const [strike, , ...after] = logOf(moment, stop)
    expect(secondsOf(after.find((line) => made.test(line))) - secondsOf(strike)).toBeCloseTo(0.6, 2)
    const off = logOf(moment, { kind: 'power-off', target: '@self' })
    expect(off.length).toBeGreaterThan(1)
    expect(off.filter((line) => made.test(line))).toEqual([])
  })
})
