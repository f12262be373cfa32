/** Makes a schedule from a seed: its world, its faults, and the adversary's strikes. The same seed gives the same schedule. */
import { defaultTimings } from '../../protocol/timings.ts'
import { faultOf } from './draw-fault.ts'
import { addEpisodes, strikeOf } from './episodes.ts'
import { type Random, randomFrom } from './random.ts'
import {
  hostileTimings,
  HOSTILE_WATCHDOG_MS,
  type Moment,
  ORDINARY_WATCHDOG_MS,
  type Planned,
  type Profile,
  type Schedule,
  type Strike,
  type WorldOptions,
} from './schedule.ts'

/** Moments with how often they come: a strike picks one of so many first times. */
const moments: readonly (readonly [Moment, number])[] = [
  ['proposing', 6],
  ['finishing', 4],
  ['promise', 20],
  ['accept', 20],
  ['accepted', 20],
  ['swap', 10],
  ['swapped', 10],
  ['chosen', 3],
  ['decided', 6],
  ['decided', 6],
  ['learned', 20],
  ['persist', 40],
  ['persisted', 40],
  ['permit-lost', 8],
  ['permit-ending', 4],
  ['pausing', 8],
  ['killing', 6],
  ['thawing', 6],
  ['petting', 300],
  ['last-pet', 3],
  ['tainting', 6],
  ['ordering', 6],
  ['starting', 10],
]

const laterMoments: typeof moments = [
  ['installed', 20],
  ['half-paused', 6],
]

export function generate(seed: number, profile: Profile): Schedule {
  const random = randomFrom(Math.imul(seed, 7919) + (profile === 'hostile' ? 13 : 29))
  const options = worldOf(seed, profile, random)
  const rooms = ['a', 'b', 'c'].slice(0, options.nodesOfRooms.length)
  const nodes = rooms.flatMap((room, r) => Array.from({ length: options.nodesOfRooms[r] ?? 0 }, (_, i) => `${room}${i + 1}`))
  const startMs = random.between(2_000, 5_000)
  let untilMs = startMs + (profile === 'hostile' ? random.between(12_000, 50_000) : random.between(60_000, 240_000))
  // Without long quiet times nobody is ever well for long: some wrongs show only there.
  const isCalm = profile === 'hostile' && random.chance(0.15)
  const planned: Planned[] = []
  let atMs = startMs
  while (atMs < untilMs) {
    planned.push({ atMs: Math.round(atMs), fault: faultOf(random, options, rooms, nodes, profile) })
    const isBurst = random.chance(0.5)
    if (isCalm) atMs += random.between(2_000, 14_000)
    else if (profile === 'hostile') atMs += isBurst ? random.between(0, 600) : random.between(400, 5_000)
    else atMs += isBurst ? random.between(0, 2_000) : random.between(2_000, 40_000)
  }
  const strikes: Strike[] = Array.from({ length: random.integer(0, profile === 'hostile' ? 6 : 3) }, () => {
    const [moment, times] = random.pick(moments)
    return { moment, nth: nthOf(random, times), fault: strikeOf(random, options) }
  })
  if (profile === 'hostile') untilMs = addEpisodes({ random, options, rooms, nodes, planned, strikes, startMs, untilMs })
  if (random.chance(0.2)) declareDead(random, rooms, planned, startMs, untilMs)
  if (profile === 'hostile') slowApi(seed, planned, startMs, untilMs)
  addLaterMoments(seed, options, strikes)
  planned.sort((a, b) => a.atMs - b.atMs)
  return {
    options,
    planned,
    strikes,
    untilMs: Math.round(untilMs),
    finale: finaleOf(random, rooms),
    finaleHow: profile === 'hostile' && random.chance(0.6) ? 'cut' : 'power',
  }
}

/** Moments that came to the list later. Drawn apart: other schedules stay as they are. */
function addLaterMoments(seed: number, options: WorldOptions, strikes: Strike[]): void {
  const random = randomFrom(Math.imul(seed, 15_485_863) + 3)
  for (const [moment, times] of laterMoments)
    if (random.chance(0.15)) strikes.push({ moment, nth: nthOf(random, times), fault: strikeOf(random, options) })
}

/** Spells in which each write to the API server is under way for a while, often around an un-fence. Drawn apart: other schedules stay as they are. */
function slowApi(seed: number, planned: Planned[], startMs: number, untilMs: number): void {
  const random = randomFrom(Math.imul(seed, 104_729) + 7)
  if (!random.chance(0.25)) return
  const unfences = planned.filter(({ fault }) => fault.kind === 'unfence')
  for (let left = random.integer(1, 3); left > 0; left--) {
    const fromMs =
      unfences.length > 0 && random.chance(0.6) ? random.pick(unfences).atMs - random.between(0, 2_500) : random.between(startMs, untilMs)
    planned.push(
      { atMs: Math.round(Math.max(0, fromMs)), fault: { kind: 'api', how: 'slow' } },
      { atMs: Math.round(fromMs + random.between(500, 8_000)), fault: { kind: 'api', how: 'quick' } },
    )
  }
}

function worldOf(seed: number, profile: Profile, random: Random): WorldOptions {
  const isHostile = profile === 'hostile'
  const rooms = random.chance(0.88) ? 2 : 3
  const most = random.chance(0.15) ? 5 : 3
  return {
    seed,
    nodesOfRooms: Array.from({ length: rooms }, () => random.integer(1, rooms === 3 ? 2 : most)),
    hasWitness: random.chance(0.8),
    paths: random.chance(0.7) ? 1 : 2,
    vms: 4,
    isFreezeMode: random.chance(0.4),
    ...(isHostile
      ? hostileWorld(random)
      : { timings: defaultTimings, watchdogMs: ORDINARY_WATCHDOG_MS, rebootMs: [5_000, 40_000] as const }),
    ...(random.chance(0.04) ? { watchdogMs: null } : {}),
    tickMs: isHostile ? 50 : 100,
    preferredRoom: random.chance(0.35) ? 'b' : 'a',
  }
}

/** Margins so short that slack hides nothing; which of them is the shortest differs. */
function hostileWorld(random: Random): Pick<WorldOptions, 'timings' | 'watchdogMs' | 'rebootMs' | 'petsAPeriod' | 'areClocksAtEdge'> {
  const killMs = random.pick([500, 500, 150])
  const ioResidueMs = random.pick([400, 400, 800])
  return {
    timings: { ...hostileTimings, killMs, ioResidueMs },
    watchdogMs: random.pick([HOSTILE_WATCHDOG_MS, HOSTILE_WATCHDOG_MS, HOSTILE_WATCHDOG_MS, 700, 2_600]),
    rebootMs: [1_500, 8_000],
    petsAPeriod: random.pick([5, 12]),
    areClocksAtEdge: true,
  }
}

/** Early ones more often than late ones: they are sure to come. */
const nthOf = (random: Random, times: number): number => 1 + Math.floor(times * random.next() ** 2)

/** A room that is lost in the end. */
const finaleOf = (random: Random, rooms: readonly string[]): string | null => (random.chance(0.6) ? random.pick(rooms) : null)

/** A room loses power, with or without the votes for its fence, and a person says so, more than once. */
function declareDead(random: Random, rooms: readonly string[], planned: Planned[], startMs: number, untilMs: number): void {
  const target = random.pick(rooms)
  let atMs = Math.round(random.between(startMs, untilMs))
  planned.push({ atMs, fault: { kind: 'power-off', target } })
  if (random.chance(0.5)) planned.push({ atMs: Math.max(0, atMs - random.integer(0, 3_000)), fault: { kind: 'witness', how: 'down' } })
  for (let left = random.integer(1, 4); left > 0; left--) {
    atMs += random.integer(300, 3_000)
    if (atMs < untilMs) planned.push({ atMs, fault: { kind: 'confirm-dead', target } })
  }
}
