/** Draws one fault: where it is, and which of all that may go wrong. */
import { stallOf } from './episodes.ts'
import { type Random, rateOf } from './random.ts'
import type { Fault, Profile, WorldOptions } from './schedule.ts'

/** Where a fault may be: drawn for every fault before its kind, whatever that needs of it. */
interface Place {
  readonly random: Random
  readonly options: WorldOptions
  readonly isHostile: boolean
  readonly rooms: readonly string[]
  readonly room: string
  readonly node: string
  readonly anywhere: string
  /** Draws a node, a room, the witness or the API server. */
  readonly anySite: () => string
  /** Another site than the room. */
  readonly other: string
  readonly path: number | null
}

function placeOf(random: Random, options: WorldOptions, rooms: readonly string[], nodes: readonly string[], isHostile: boolean): Place {
  const room = random.pick(rooms)
  const node = random.pick(nodes)
  const anywhere = random.chance(0.6) ? room : node
  const sites = [...rooms, 'witness', 'api']
  const other = random.pick(sites.filter((site) => site !== room))
  const path = options.paths > 1 && random.chance(0.4) ? random.integer(0, options.paths - 1) : null
  const anySite = (): string => random.pick([...nodes, ...sites])
  return { random, options, isHostile, rooms, room, node, anywhere, anySite, other, path }
}

const cutRoom = ({ room, other, path }: Place): Fault => ({ kind: 'cut', from: room, to: other, isOneWay: false, path })

const cutRoomOneWay = ({ random, room, other, path }: Place): Fault => ({
  kind: 'cut',
  from: random.chance(0.5) ? room : other,
  to: random.chance(0.5) ? other : room,
  isOneWay: true,
  path,
})

const cutNode = ({ random, node, anySite, path }: Place): Fault => ({
  kind: 'cut',
  from: node,
  to: anySite(),
  isOneWay: random.chance(0.4),
  path,
})

const heal = (): Fault => ({ kind: 'heal' })

const degrade = ({ random, anySite, path }: Place): Fault => ({
  kind: 'degrade',
  from: anySite(),
  to: anySite(),
  path,
  loss: random.chance(0.5) ? random.next() * 0.8 : 0,
  delayMs: random.chance(0.5) ? random.between(0, 300) : 0.3,
  jitterMs: random.chance(0.5) ? random.between(0, 900) : 0.5,
  duplicate: random.chance(0.4) ? random.next() : 0,
})

const flap = ({ random, room, other, isHostile }: Place): Fault => ({
  kind: 'flap',
  from: room,
  to: other,
  everyMs: Math.round(random.between(200, isHostile ? 3_000 : 9_000)),
  times: random.integer(2, 8),
})

const clockAtEdge = ({ random, node, options }: Place): Fault => ({
  kind: 'clock',
  target: node,
  rate: rateOf(random, options.timings.clockRateError),
})

const clockOrHeal = ({ random, node, options }: Place): Fault =>
  random.chance(0.3) ? { kind: 'clock', target: node, rate: 1 + random.between(-1, 1) * options.timings.clockRateError } : { kind: 'heal' }

const powerOffNode = ({ node }: Place): Fault => ({ kind: 'power-off', target: node })
const powerOffRoom = ({ room }: Place): Fault => ({ kind: 'power-off', target: room })
const powerOn = ({ random, rooms }: Place): Fault => ({ kind: 'power-on', target: random.pick(rooms) })

const crash = ({ random, anywhere, isHostile }: Place): Fault => ({
  kind: 'crash',
  target: anywhere,
  backMs: Math.round(random.between(20, isHostile ? 3_000 : 20_000)),
})

const stop = ({ random, anywhere }: Place): Fault => ({
  kind: 'stop',
  target: anywhere,
  forMs: Math.round(random.chance(0.6) ? random.between(5, 3_000) : random.between(1_000, 60_000)),
})

const stall = ({ random, options, anywhere }: Place): Fault => stallOf(random, options, anywhere)

const disk = ({ random, node }: Place): Fault => ({
  kind: 'disk',
  target: node,
  how: random.chance(0.06) ? 'dead' : random.pick(['slow', 'full', 'good', 'good']),
})

const migrate = ({ random, options }: Place): Fault => ({ kind: 'migrate', vm: random.integer(0, options.vms - 1) })

const stuckOrMigrate = (place: Place): Fault =>
  place.random.chance(0.3) ? { kind: 'stuck', target: place.node, forMs: Math.round(place.random.between(200, 6_000)) } : migrate(place)

const witness = ({ random }: Place): Fault => ({
  kind: 'witness',
  how: random.pick(['down', 'up', 'slow', 'quick', 'restore', 'restore-earlier']),
})

const witnessUpOrDown = ({ random }: Place): Fault => ({ kind: 'witness', how: random.pick(['down', 'up']) })
const api = ({ random }: Place): Fault => ({ kind: 'api', how: random.pick(['down', 'up', 'up', 'rollback']) })
const unfence = ({ random, rooms }: Place): Fault => ({ kind: 'unfence', target: random.pick(rooms) })

const askedByPeople = ({ random, room, node, anywhere }: Place): Fault =>
  random.pick<Fault>([
    { kind: 'confirm-dead', target: room },
    { kind: 'suspension', isSuspended: random.chance(0.4) },
    { kind: 'leave', target: node, backMs: Math.round(random.between(100, 5_000)) },
    { kind: 'unfence', target: node },
    { kind: 'maintenance', target: anywhere, isOn: random.chance(0.6) },
  ])

type Draw = (place: Place) => Fault

/** Each as often as its number says. Another order gives every seed another schedule. */
const shares: readonly (readonly [number, Draw])[] = [
  [3, cutRoom],
  [2, cutRoomOneWay],
  [1, cutNode],
  [2, heal],
  [1, stall],
  [1, clockAtEdge],
  [1, degrade],
  [1, flap],
  [1, powerOffNode],
  [1, powerOffRoom],
  [2, powerOn],
  [1, crash],
  [2, stop],
  [1, clockOrHeal],
  [1, disk],
  [1, stuckOrMigrate],
  [1, witness],
  [1, witnessUpOrDown],
  [1, api],
  [1, unfence],
  [1, askedByPeople],
  [1, migrate],
]
const faults: readonly Draw[] = shares.flatMap(([share, draw]) => Array.from({ length: share }, () => draw))

export function faultOf(
  random: Random,
  options: WorldOptions,
  rooms: readonly string[],
  nodes: readonly string[],
  profile: Profile,
): Fault {
  const place = placeOf(random, options, rooms, nodes, profile === 'hostile')
  return (faults[random.integer(0, faults.length - 1)] ?? heal)(place)
}
