/** Stories of a room that is let back while one survivor does not know of it. */
import type { Fault, Planned } from '../../src/sim/schedule/schedule.ts'
import { type DirectedSchedule, quarantineUnheard, quarantineWhileUnderWay } from './directed-schedules.ts'

const cut = (from: string, to: string, path: number | null = null): Fault => ({ kind: 'cut', from, to, isOneWay: false, path })

/**
 * Room b is let back, a2 does not know, and with the rest of its permit it orders what ran there elsewhere; but it is stopped between its look at the
 * permit and the call, for less than its watchdog lets it, and the API server is slow by then.
 */
export const quarantineWhileStopped: DirectedSchedule = (seed) => {
  const { options, planned, strikes, untilMs } = quarantineWhileUnderWay(seed)
  return {
    options: { ...options, watchdogMs: 2_600 },
    planned: planned.map((one) => (one.fault.kind === 'api' ? { ...one, atMs: 17_000 } : one)).toSorted((a, b) => a.atMs - b.atMs),
    strikes: [...strikes, { moment: 'ordering', nth: 1, fault: { kind: 'stop', target: '@self', forMs: 1_400 } }],
    untilMs,
    finale: null,
  }
}

/**
 * Room b is let back, and its kubelet starts what is bound there, paused. In that moment a2, who does not know, deletes that pod, and it starts on a3, whose
 * DRBD does not reach b. Room b has lost the API server meanwhile: it waits until whatever is done for its fence has ended, and thaws what it has.
 */
export const quarantineWithoutApi: DirectedSchedule = (seed) => {
  const story = quarantineUnheard(seed)
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
