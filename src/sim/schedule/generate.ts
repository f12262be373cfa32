/** Makes a schedule from a seed: its world, its faults, and the adversary's strikes. The same seed gives the same schedule. */
import { defaultTimings } from '../../protocol/timings.ts'
import { type Random, randomFrom, rateOf } from './random.ts'
import { addEpisodes, stallOf, strikeOf } from './episodes.ts'
import {
  type Fault,
  hostileTimings,
  hostileWatchdogMs,
  type Moment,
  ordinaryWatchdogMs,
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
    ...(isHostile ? hostileWorld(random) : { timings: defaultTimings, watchdogMs: ordinaryWatchdogMs, rebootMs: [5_000, 40_000] as const }),
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
    watchdogMs: random.pick([hostileWatchdogMs, hostileWatchdogMs, hostileWatchdogMs, 700, 2_600]),
    rebootMs: [1_500, 8_000],
    petsAPeriod: random.pick([5, 12]),
    areClocksAtEdge: true,
  }
}

/** Early ones more often than late ones: they are sure to come. */
const nthOf = (random: Random, times: number): number => 1 + Math.floor(times * random.next() ** 2)

/** A room that is lost in the end. */
const finaleOf = (random: Random, rooms: readonly string[]): string | null => (random.chance(0.6) ? random.pick(rooms) : null)

function faultOf(random: Random, options: WorldOptions, rooms: readonly string[], nodes: readonly string[], profile: Profile): Fault {
  const room = random.pick(rooms)
  const node = random.pick(nodes)
  const anywhere = random.chance(0.6) ? room : node
  const sites = [...rooms, 'witness', 'api']
  const other = random.pick(sites.filter((site) => site !== room))
  const path = options.paths > 1 && random.chance(0.4) ? random.integer(0, options.paths - 1) : null
  const isHostile = profile === 'hostile'
  switch (random.integer(0, 27)) {
    case 0:
    case 1:
    case 2:
      return { kind: 'cut', from: room, to: other, isOneWay: false, path }
    case 3:
    case 4:
      return { kind: 'cut', from: random.chance(0.5) ? room : other, to: random.chance(0.5) ? other : room, isOneWay: true, path }
    case 5:
      return { kind: 'cut', from: node, to: random.pick([...nodes, ...sites]), isOneWay: random.chance(0.4), path }
    case 6:
    case 7:
      return { kind: 'heal' }
    case 8:
      return stallOf(random, options, anywhere)
    case 9:
      return { kind: 'clock', target: node, rate: rateOf(random, options.timings.clockRateError) }
    case 10:
      return {
        kind: 'degrade',
        from: random.pick([...nodes, ...sites]),
        to: random.pick([...nodes, ...sites]),
        path,
        loss: random.chance(0.5) ? random.next() * 0.8 : 0,
        delayMs: random.chance(0.5) ? random.between(0, 300) : 0.3,
        jitterMs: random.chance(0.5) ? random.between(0, 900) : 0.5,
        duplicate: random.chance(0.4) ? random.next() : 0,
      }
    case 11:
      return {
        kind: 'flap',
        from: room,
        to: other,
        everyMs: Math.round(random.between(200, isHostile ? 3_000 : 9_000)),
        times: random.integer(2, 8),
      }
    case 12:
      return { kind: 'power-off', target: node }
    case 13:
      return { kind: 'power-off', target: room }
    case 14:
    case 15:
      return { kind: 'power-on', target: random.pick(rooms) }
    case 16:
      return { kind: 'crash', target: anywhere, backMs: Math.round(random.between(20, isHostile ? 3_000 : 20_000)) }
    case 17:
    case 18:
      return {
        kind: 'stop',
        target: anywhere,
        forMs: Math.round(random.chance(0.6) ? random.between(5, 3_000) : random.between(1_000, 60_000)),
      }
    case 19:
      return random.chance(0.3)
        ? { kind: 'clock', target: node, rate: 1 + random.between(-1, 1) * options.timings.clockRateError }
        : { kind: 'heal' }
    case 20:
      return { kind: 'disk', target: node, how: random.chance(0.06) ? 'dead' : random.pick(['slow', 'full', 'good', 'good']) }
    case 21:
      return random.chance(0.3)
        ? { kind: 'stuck', target: node, forMs: Math.round(random.between(200, 6_000)) }
        : { kind: 'migrate', vm: random.integer(0, options.vms - 1) }
    case 22:
      return { kind: 'witness', how: random.pick(['down', 'up', 'slow', 'quick', 'restore', 'restore-earlier']) }
    case 23:
      return { kind: 'witness', how: random.pick(['down', 'up']) }
    case 24:
      return { kind: 'api', how: random.pick(['down', 'up', 'up', 'rollback']) }
    case 25:
      return { kind: 'unfence', target: random.pick(rooms) }
    case 26:
      return random.pick<Fault>([
        { kind: 'confirm-dead', target: room },
        { kind: 'brake', isPaused: random.chance(0.4) },
        { kind: 'leave', target: node, backMs: Math.round(random.between(100, 5_000)) },
        { kind: 'unfence', target: node },
        { kind: 'maintenance', target: anywhere, isOn: random.chance(0.6) },
      ])
    default:
      return { kind: 'migrate', vm: random.integer(0, options.vms - 1) }
  }
}

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
