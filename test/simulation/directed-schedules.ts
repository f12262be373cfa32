/**
 * Schedules written for one rule each: the shortest story in which its absence hurts. Plain data of the simulator; the seed moves what chance moves
 * (links' delays, disks, timers' phases), so that a few seeds try a few orders of the same story.
 */
import {
  type Fault,
  hostileTimings,
  HOSTILE_WATCHDOG_MS,
  type Moment,
  type Planned,
  type Schedule,
  type Strike,
  type Traffic,
  type WorldOptions,
} from '../../src/sim/schedule/schedule.ts'

export type DirectedSchedule = (seed: number) => Schedule

/** No slack but what the rules themselves ask for: exact clocks, a short kill, nothing in flight after a reset. */
const tight = { ...hostileTimings, killMs: 300, ioResidueMs: 0, clockRateError: 0 }
/** A little less than a watchdog after its last pet. */
const ALMOST_MS = HOSTILE_WATCHDOG_MS * 0.78
const LONG_MS = 30_000

interface Story {
  readonly options?: Partial<WorldOptions>
  readonly timings?: Partial<WorldOptions['timings']>
  readonly planned: readonly (readonly [atMs: number, ...faults: readonly Fault[]])[]
  readonly strikes?: readonly (readonly [moment: Moment, nth: number, ...faults: readonly Fault[]])[]
  readonly untilMs: number
  readonly isLeftUnrepaired?: true
}

export function scheduleOf(seed: number, { options, timings, planned, strikes = [], untilMs, isLeftUnrepaired }: Story): Schedule {
  return {
    options: {
      seed,
      nodesOfRooms: [2, 2],
      hasWitness: true,
      paths: 1,
      vms: 4,
      isFreezeMode: false,
      watchdogMs: HOSTILE_WATCHDOG_MS,
      tickMs: 50,
      rebootMs: [1_500, 2_000],
      ...options,
      timings: { ...tight, ...timings },
    },
    planned: planned.flatMap(([atMs, ...faults]) => faults.map((fault): Planned => ({ atMs, fault }))),
    strikes: strikes.flatMap(([moment, nth, ...faults]) => faults.map((fault): Strike => ({ moment, nth, fault }))),
    untilMs,
    finale: null,
    ...(isLeftUnrepaired && { isLeftUnrepaired }),
  }
}

export const cut = (from: string, ...to: readonly string[]): readonly Fault[] =>
  to.map((other) => ({ kind: 'cut', from, to: other, isOneWay: false, path: null }))
const oneWay = (from: string, to: string): Fault => ({ kind: 'cut', from, to, isOneWay: true, path: null })
export const mend = (from: string, ...to: readonly string[]): readonly Fault[] =>
  to.map((other) => ({ kind: 'heal', between: [from, other] }))
/** `lateMs` null: lost; 0: as always again. */
const filter = (message: Traffic, from: readonly string[], to: readonly string[], lateMs: number | null): readonly Fault[] =>
  from.flatMap((a) => to.map((b): Fault => ({ kind: 'filter', from: a, to: b, message, lateMs })))
/** From the look at the permit to the pet almost a watchdog passes, and after the pet it never comes back. */
const stall: Fault = { kind: 'stall', target: '@self', forMs: ALMOST_MS, thenMs: LONG_MS }
const lastPets: Story['strikes'] = [
  ['last-pet', 1, stall],
  ['last-pet', 2, stall],
]

/** A room that is cut off from everything runs as long as it possibly can. No witness: the proof counts from the last ack alone. */
export const lastPetOfLostRoom: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { hasWitness: false },
    planned: [[5_000 + 37 * seed, ...cut('b', 'a', 'api')]],
    strikes: lastPets,
    untilMs: 14_000,
  })

/**
 * Three nodes a room. Room a takes the witness's vote away (it cannot reach it), with b2 and b3 (cut from the witness for a while) and without b1,
 * which reaches the witness and would object. Nobody but room a learns that epoch. Then b2 and b3 reach the witness again.
 */
const witnessOutUnheard = (learnerAlso: readonly string[] = []): Story['planned'] => [
  [
    4_000,
    ...cut('witness', 'a', 'b2', 'b3'),
    ...filter('prepare', ['a', 'b2', 'b3'], ['b1'], null),
    ...filter('learn', ['a', 'b'], ['b1', ...['b2', 'b3'].filter((node) => !learnerAlso.includes(node))], null),
  ],
]
const threeAndThree: Partial<WorldOptions> = { nodesOfRooms: [3, 3], vms: 6 }

/** b1 alone still lives by the epoch before; b2 and b3 have learned that the witness votes no more, and could ack what b1 sends in its old epoch. */
export const ackAcrossEpochs: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: threeAndThree,
    planned: [...witnessOutUnheard(['b2', 'b3']), [9_000 + 10 * seed, ...cut('b', 'a')]],
    untilMs: 22_000,
  })

/** Room b lives on by the old votes, with the witness, while room a decides alone by the new ones. a1 does not reach the API server: a2 carries out. */
export const notInstalled: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: threeAndThree,
    planned: [...witnessOutUnheard(), [4_500, ...cut('a1', 'api')], [8_000 + 10 * seed, ...mend('witness', 'b'), ...cut('b', 'a')]],
    untilMs: 22_000,
  })

/** Room a acks room b no more from the new epoch on; the others of room b learn it five seconds later, and until then their acks let b1 run. */
export const oldVotesUntilInstalled: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: threeAndThree,
    planned: [
      ...witnessOutUnheard(),
      [11_500, ...filter('learn', ['a'], ['b2', 'b3'], 0)],
      [12_200 + 10 * seed, ...cut('b', 'a', 'api'), ...cut('b1', 'b2', 'b3')],
      [13_200 + 10 * seed, { kind: 'stop', target: 'b1', forMs: LONG_MS }],
    ],
    untilMs: 22_000,
  })

/** Said of a node that is off but not fenced; it boots before anyone would fence it, and is cut off later. */
export const wordKept: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { rebootMs: [200, 300] },
    planned: [
      [5_000, { kind: 'power-off', target: 'b1' }],
      [5_100, { kind: 'confirm-dead', target: 'b1' }],
      [5_500, { kind: 'power-on', target: 'b1', isOverruled: true }],
      [14_000 + 10 * seed, ...cut('b', 'a', 'witness', 'api')],
    ],
    strikes: [
      ['last-pet', 1, stall],
      ['last-pet', 2, stall],
    ],
    untilMs: 22_000,
  })

/**
 * The witness took room a's fence and room b saw it there; all of room a accepts it 600 ms later. Then room a is cut off from the witness, and the
 * witness is restored from before it took anything.
 */
export const registerWentBack: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { nodesOfRooms: [3, 2] },
    planned: [[5_000 + 10 * seed, ...cut('a', 'b'), ...filter('accept', ['a'], ['a'], 600), ...cut('b', 'api')]],
    strikes: [['chosen', 1, ...cut('a', 'witness'), { kind: 'witness', how: 'restore' }]],
    untilMs: 18_000,
  })

/** Cut off and replaced, room b comes back with what it has paused, is un-fenced at once, and does not reach the API server that would tell its kubelet. */
export const backWithItsPaused: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    planned: [
      [5_000 + 10 * seed, ...cut('b', 'a', 'witness', 'api')],
      [13_000, ...mend('b', 'a'), ...filter('learn', ['a'], ['b'], null)],
      ...Array.from({ length: 40 }, (_, i) => [13_000 + 100 * i, { kind: 'unfence', target: 'b' }] as const),
      [13_900, ...filter('learn', ['a'], ['b'], 0)],
    ],
    untilMs: 22_000,
  })

/**
 * Fenced while the API server was away, room b said its kill and is let back. In that moment a2 is cut off from all but the API server: for the rest of
 * its permit it carries out a fence that it does not know to be over.
 */
export const quarantineUnheard: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    planned: [
      [4_000, { kind: 'api', how: 'down' }],
      [5_000 + 10 * seed, ...cut('b', 'a', 'witness')],
      [13_000, ...mend('b', 'a', 'witness'), ...cut('a', 'api')],
      [15_000, { kind: 'unfence', target: 'b' }],
      [15_900, ...cut('b', 'api')],
      [16_000, ...mend('a2', 'api')],
    ],
    strikes: [['decided', 2, ...cut('a2', 'a1', 'b', 'witness'), { kind: 'api', how: 'up' }]],
    untilMs: 22_000,
  })

/**
 * As above, with a slow API server and no proof but the word of a kill: what a2 orders at the very end of its permit is still under way when room b runs.
 */
export const quarantineWhileUnderWay: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { watchdogMs: null },
    planned: [
      [5_000 + 10 * seed, ...cut('b', 'a', 'witness')],
      [12_000, ...cut('a', 'api')],
      [13_000, ...mend('b', 'a', 'witness')],
      [15_000, { kind: 'unfence', target: 'b' }, { kind: 'api', how: 'slow' }],
      [16_750, ...mend('a2', 'api')],
    ],
    strikes: [['decided', 2, ...cut('a2', 'a1', 'b', 'witness')]],
    untilMs: 22_000,
  })

/**
 * A room that was lost, a witness, and one node that had the only vote: it gets a voter beside it, and is cut off.
 */
export const onlyVoterNoMore: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { nodesOfRooms: [1, 1], vms: 2, rebootMs: [500, 600] },
    planned: [
      [5_000, { kind: 'power-off', target: 'b' }],
      [8_000, { kind: 'power-on', target: 'b' }],
      ...Array.from({ length: 30 }, (_, i) => [10_000 + 200 * i, { kind: 'unfence', target: 'b' }] as const),
      [26_000 + 10 * seed, ...cut('a', 'b', 'witness', 'api')],
    ],
    untilMs: 40_000,
  })

/** Both rooms read an empty register; the swap of room a comes first, that of room b right after it. */
export const bothSwap: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    timings: { arbitrationDelayMs: 5 },
    planned: [
      [5_000 + 10 * seed, ...cut('a', 'b'), ...filter('swap', ['a'], ['witness'], 120), ...filter('swap', ['b'], ['witness'], 240)],
    ],
    untilMs: 14_000,
  })

/** The witness took room a's fence, and room a can tell it no more that it was chosen: room b goes on reading. */
export const readsOnAfterSwap: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    planned: [[5_000 + 10 * seed, ...cut('a', 'b'), ...cut('b', 'api')]],
    strikes: [['chosen', 1, ...cut('a', 'witness')]],
    untilMs: 18_000,
  })

/** As above, and the agents are killed in their second stop: the kernel pets once more for each. `residueMs`: what is in flight at a reset arrives so late. */
const killedInSecondStop =
  (ioResidueMs: number): DirectedSchedule =>
  (seed) =>
    scheduleOf(seed, {
      options: { hasWitness: false },
      timings: { ioResidueMs },
      planned: [
        [5_000, ...cut('b', 'a', 'api')],
        [8_500 + 40 * seed, { kind: 'crash', target: 'b', backMs: LONG_MS }],
      ],
      strikes: lastPets,
      untilMs: 14_000,
    })
export const killedAtTheBrink = killedInSecondStop(0)
export const killedWithWritesInFlight = killedInSecondStop(2_000)

/** Room b is heard no more but hears, except what would tell it of its fence. */
export const deafEars: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { hasWitness: false },
    planned: [[5_000 + 10 * seed, oneWay('b', 'a'), ...cut('b', 'api'), ...filter('learn', ['a'], ['b'], null)]],
    strikes: lastPets,
    untilMs: 16_000,
  })

/** Room b lives by room a's acks, which come later and later, up to more than four seconds; then it is heard no more. */
export const lateAcks: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { hasWitness: false },
    planned: [
      [4_000, ...filter('ack', ['a'], ['b'], 1_500), ...cut('b', 'api')],
      [6_000, ...filter('ack', ['a'], ['b'], 3_000)],
      [8_000, ...filter('ack', ['a'], ['b'], 4_400)],
      [10_000 + 10 * seed, oneWay('b', 'a'), ...filter('learn', ['a'], ['b'], null)],
    ],
    untilMs: 20_000,
  })

/**
 * The host of the only node of room a stands still for longer than the detection; what was sent to it meanwhile is lost. Everything else is well. No volumes: DRBD's
 * connections would tell that the others live.
 */
export const hostStoodStill: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { nodesOfRooms: [1, 1], vms: 0, watchdogMs: 5_000 },
    planned: [[11_000 + 7 * seed, { kind: 'stop', target: 'a1', forMs: 1_300, isDeaf: true }]],
    untilMs: 13_000,
    isLeftUnrepaired: true,
  })

/**
 * Two proposers of two rooms against a third that is lost, deaf to each other. a2 prepares while a1's prepare, with a lower ballot, is still under
 * way; a1's is promised after it, and a2's accepts come last. Nobody hears what a1 has learned.
 */
export const lowerBallotAfterHigher: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { nodesOfRooms: [3, 3, 3], hasWitness: false, vms: 6 },
    planned: [
      [
        5_000,
        ...cut('a1', 'a2'),
        { kind: 'power-off', target: 'c' },
        ...filter('prepare', ['a1'], ['a3', 'b'], 200),
        ...filter('accept', ['a2'], ['a3', 'b'], 400),
        ...filter('learn', ['a1'], ['a', 'b'], null),
      ],
    ],
    untilMs: 9_000 + 10 * seed,
  })

/**
 * Values of three people, each told to one agent. a1 proposes, and its read of the witness takes long. c1's value is accepted by three nodes, which are
 * then cut off from the other three. Those choose a2's value, with the witness. Only now a1's read comes, with a lower ballot than the register has.
 */
export const slowReader: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { nodesOfRooms: [2, 2, 2], vms: 0 },
    timings: {
      attemptMs: 6_000,
      detectMs: 20_000,
      detectNodeMs: 30_000,
      permitMs: 8_000,
      lingerMs: 3_000,
      witnessReadMs: 3_000,
      witnessShiftMs: 60_000,
      witnessRecentMs: 30_000,
    },
    planned: [
      [
        5_000,
        ...filter('prepare', ['a1'], ['b2', 'c'], null),
        ...filter('read', ['a1'], ['witness'], 2_500),
        ...filter('learn', ['a2', 'b1'], ['a1'], null),
      ],
      [5_010, { kind: 'suspension', isSuspended: true, at: 'a1' }],
      [5_400, { kind: 'suspension', isSuspended: true, at: 'c1' }],
      [6_550, { kind: 'crash', target: 'a2', backMs: 50 }],
      [6_750, { kind: 'suspension', isSuspended: true, at: 'a2' }],
      [8_000 + 10 * seed, ...cut('a1', 'witness')],
    ],
    strikes: [
      ['accept', 1, ...cut('a', 'c', 'b2'), ...cut('b1', 'c', 'b2')],
      // Six learned the genesis: the first that learns anything else.
      ['learned', 7, ...cut('a2', 'witness'), ...cut('b1', 'witness')],
    ],
    untilMs: 20_000,
  })

/**
 * Room a takes its fence to the witness and accepts it, but only a1 learns that it was chosen. Room b is heard again by a2 and a3, who could go on
 * acking it, and learn four seconds later.
 */
export const acksAfterAccepting: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: threeAndThree,
    planned: [
      [5_000 + 10 * seed, ...cut('b', 'a', 'witness', 'api'), ...cut('witness', 'a2', 'a3'), ...filter('learn', ['a'], ['a'], null)],
      [10_500, ...filter('learn', ['a'], ['a'], 0)],
    ],
    strikes: [['chosen', 1, ...mend('b', 'a2', 'a3'), ...filter('learn', ['a'], ['b'], null)]],
    untilMs: 22_000,
  })

/**
 * Epoch 1 fences a2, without the witness's vote. Room a, which cannot reach the witness, only hears that its register has counted up; b teaches it, fences
 * room a after that, and sees the register go back to before all that. Then room b is silent, and room a reaches the witness again.
 */
export const rememberedFromBefore: DirectedSchedule = (seed) =>
  scheduleOf(seed, {
    options: { nodesOfRooms: [3, 2] },
    planned: [
      [5_000, { kind: 'power-off', target: 'a2' }],
      [9_000, { kind: 'power-on', target: 'a2' }],
      [13_000, ...cut('a', 'b')],
      [17_000, { kind: 'witness', how: 'restore' }],
      [18_300, { kind: 'power-off', target: 'b' }],
      [18_600 + 37 * seed, ...mend('a', 'witness')],
    ],
    strikes: [['chosen', 1, ...cut('a', 'witness')]],
    untilMs: 24_000,
    isLeftUnrepaired: true,
  })
