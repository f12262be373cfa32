/** Stories of what was said, born or installed long ago, and is asked for again. */
import { cut, type DirectedSchedule, mend, scheduleOf } from './directed-schedules.ts'

/**
 * While room b is fenced a1's agent leaves in good order: the majority of that time acks that its watchdog is closed. Room b comes back and votes, remembers
 * the watchdog of before, and fences a1, whose VMs run on.
 */
export const watchdogOfBefore: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    planned: [
      [5_000, ...cut('b', 'a', 'witness', 'api')],
      [13_000, { kind: 'leave', target: 'a1', backMs: 5_000 }],
      [16_000, ...mend('b', 'a', 'witness', 'api')],
      ...Array.from({ length: 16 }, (_, i) => [16_000 + 500 * i, { kind: 'unfence', target: 'b' }] as const),
      [34_000 + 10 * seed, ...cut('a1', 'a', 'b', 'witness', 'api')],
    ],
    untilMs: 52_000,
    isLeftUnrepaired: true,
  })

/** The witness is restored, comes back as another incarnation, and is restored again, to a backup of before that, just when room a has won. */
export const bornTwice: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { nodesOfRooms: [1, 1], vms: 2 },
    planned: [
      [4_000, { kind: 'suspension', isSuspended: true }],
      [7_000, { kind: 'suspension', isSuspended: false }],
      [10_000, { kind: 'witness', how: 'restore' }],
      [25_000 + 10 * seed, ...cut('a', 'b'), ...cut('b', 'api')],
    ],
    strikes: [['chosen', 1, ...cut('a', 'witness'), { kind: 'witness', how: 'restore-earlier' }]],
    untilMs: 45_000,
    isLeftUnrepaired: true,
  })

/** Room b is let back and votes; then a1, one of the two whose votes let it, loses its disk, and all agents are restarted: nobody can say again what is installed. */
export const installedLongAgo: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { nodesOfRooms: [2, 1], hasWitness: false, vms: 3 },
    planned: [
      [5_000, ...cut('b', 'a', 'api')],
      [13_000, ...mend('b', 'a', 'api')],
      ...Array.from({ length: 10 }, (_, i) => [13_500 + 500 * i, { kind: 'unfence', target: 'b' }] as const),
      [
        40_000 + 10 * seed,
        { kind: 'disk', target: 'a1', how: 'dead' },
        { kind: 'power-off', target: 'a' },
        { kind: 'power-off', target: 'b' },
      ],
    ],
    untilMs: 42_000,
  })
