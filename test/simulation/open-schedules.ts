/** Stories that the shipped code does not survive yet: a test expects each to fail, and turns red when it is mended (docs/simulation.md, "Limits of the model"). */
import type { Fault, Planned } from '../../src/sim/schedule.ts'
import { type DirectedSchedule, letBackUnheard, letBackWhileUnderWay } from './directed-schedules.ts'

const cut = (from: string, to: string, path: number | null = null): Fault => ({ kind: 'cut', from, to, isOneWay: false, path })

/**
 * Room b is let back, a2 does not know, and with the rest of its permit it orders what ran there elsewhere; but it is stopped between its look at the
 * permit and the call, for less than its watchdog lets it.
 */
const letBackWhileStopped: DirectedSchedule = (seed) => {
  const { options, planned, strikes, untilMs } = letBackWhileUnderWay(seed)
  return {
    options: { ...options, watchdogMs: 2_600 },
    planned: planned.filter(({ fault }) => fault.kind !== 'api'),
    strikes: [...strikes, { moment: 'ordering', nth: 1, fault: { kind: 'stop', target: '@self', forMs: 1_950 } }],
    untilMs,
    finale: null,
  }
}

/**
 * Room b is let back, and its kubelet starts what is bound there, paused. In that moment a2, who does not know, deletes that pod, and it starts on a3, whose
 * DRBD does not reach b. Room b has lost the API server meanwhile: it waits until whatever is done for its fence has ended, and thaws what it has.
 */
const letBackWithoutApi: DirectedSchedule = (seed) => {
  const story = letBackUnheard(seed)
  const more: readonly Planned[] = [
    { atMs: 14_600, fault: cut('a3', 'b', 1) },
    { atMs: 16_600, fault: { kind: 'heal', between: ['a3', 'api'] } },
  ]
  return {
    ...story,
    options: { ...story.options, nodesOfRooms: [3, 2], paths: 2, vms: 12 },
    planned: [...story.planned, ...more].toSorted((a, b) => a.atMs - b.atMs),
    strikes: [...story.strikes, { moment: 'decided', nth: 2, fault: cut('a2', 'a3') }],
  }
}

export const open: readonly { readonly name: string; readonly schedule: DirectedSchedule; readonly fails: RegExp }[] = [
  {
    name: 'a stop between the look at the permit and the order',
    schedule: letBackWhileStopped,
    fails: /P1 single writer: .* was ordered elsewhere while its copy on b\d could write/,
  },
  {
    name: 'a pod that was started again before the wait and deleted unheard during it',
    schedule: letBackWithoutApi,
    fails: /P1 single writer: vm8 can write on (b1 and on a3|a3 and on b1)/,
  },
]
