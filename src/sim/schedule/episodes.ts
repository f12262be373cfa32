/** Troubles of several faults that belong together, as real systems have them, and what the adversary does at a moment of the protocol. */
import type { Random } from './random.ts'
import type { Fault, Moment, Planned, Strike, WorldOptions } from './schedule.ts'

/** A schedule that is being made. */
export interface Draft {
  readonly random: Random
  readonly options: WorldOptions
  readonly rooms: readonly string[]
  readonly nodes: readonly string[]
  readonly planned: Planned[]
  readonly strikes: Strike[]
  readonly startMs: number
  readonly untilMs: number
}

/** @returns when the faults end, ms: an episode may need longer. */
export function addEpisodes(draft: Draft): number {
  const { random } = draft
  let { untilMs } = draft
  for (let left = random.integer(0, 2); left > 0; left--) {
    const episode = random.pick([isolate, isolate, duel, duel, late, turnabout, turnabout, doze])
    untilMs = Math.max(untilMs, episode({ ...draft, untilMs }))
  }
  if (draft.planned.some(({ fault }) => fault.kind === 'cut') && random.chance(0.35))
    draft.strikes.push({
      moment: random.chance(0.8) ? 'last-pet' : 'permit-ending',
      nth: random.integer(1, 3),
      fault: stallOf(random, draft.options, '@self'),
    })
  return untilMs
}

/** Takes out most of what would end an episode before its time. */
function clear(random: Random, planned: Planned[], fromMs: number, toMs: number, kinds: readonly Fault['kind'][], share: number): void {
  for (let i = planned.length - 1; i >= 0; i--) {
    const one = planned[i]
    if (one && one.atMs >= fromMs && one.atMs < toMs && kinds.includes(one.fault.kind) && random.chance(share)) planned.splice(i, 1)
  }
}

const brinkOf = (random: Random, target: string): Fault => ({ kind: 'brink', target, times: random.integer(1, 6) })

const beginOf = ({ random, startMs, untilMs }: Draft, lengthMs: number): number =>
  Math.round(random.between(startMs, Math.max(startMs, untilMs - lengthMs)))

/** Rooms cut from each other that all reach a witness, over links so slow that one reads what the other is about to write. */
function duel(draft: Draft): number {
  const { random, options, rooms, planned, strikes } = draft
  const forMs = random.integer(5_000, 12_000)
  const atMs = beginOf(draft, forMs)
  clear(
    random,
    planned,
    atMs - 1_000,
    atMs + forMs,
    ['heal', 'power-off', 'stop', 'stall', 'crash', 'suspension', 'witness', 'flap', 'cut'],
    0.85,
  )
  if (options.hasWitness) planned.push({ atMs: atMs - 1, fault: { kind: 'witness', how: random.chance(0.3) ? 'slow' : 'quick' } })
  for (const [i, from] of rooms.entries())
    for (const to of rooms.slice(i + 1)) planned.push({ atMs, fault: { kind: 'cut', from, to, isOneWay: random.chance(0.15), path: null } })
  for (const room of rooms) {
    for (const [from, to] of [
      [room, 'witness'],
      ['witness', room],
    ] as const)
      planned.push({
        atMs: atMs - 1,
        fault: {
          kind: 'degrade',
          from,
          to,
          path: null,
          loss: random.chance(0.2) ? 0.3 : 0,
          delayMs: random.between(0, random.pick([40, 130, 180, 600])),
          jitterMs: random.between(0, random.pick([2, 40, 300])),
          duplicate: 0,
        },
      })
    // Who reaches no API server waits longer before it asks the witness.
    if (random.chance(0.35)) planned.push({ atMs: atMs - 1, fault: { kind: 'cut', from: room, to: 'api', isOneWay: false, path: null } })
  }
  // The one that has just been served goes away.
  for (let left = random.integer(0, 2); left > 0; left--)
    strikes.push({
      moment: random.pick<Moment>(['swap', 'swapped', 'swapped', 'accept', 'accepted', 'decided', 'decided']),
      nth: random.integer(1, 2),
      fromMs: atMs,
      fault: random.pick<Fault>([
        { kind: 'cut', from: '@room', to: 'witness', isOneWay: random.chance(0.3), path: null },
        { kind: 'cut', from: '@room', to: 'witness', isOneWay: false, path: null },
        { kind: 'cut', from: '@self', to: '@room', isOneWay: random.chance(0.3), path: null },
        { kind: 'crash', target: '@self', backMs: random.integer(10, 1_500) },
        { kind: 'stop', target: '@self', forMs: random.integer(300, 4_000) },
        { kind: 'power-off', target: '@self' },
      ]),
    })
  if (random.chance(0.35)) planned.push({ atMs: atMs + random.integer(1_500, forMs), fault: { kind: 'witness', how: 'restore' } })
  if (random.chance(0.5)) planned.push({ atMs: atMs + random.integer(0, 2_000), fault: brinkOf(random, random.pick(rooms)) })
  if (random.chance(0.6)) planned.push({ atMs: atMs + forMs, fault: { kind: 'heal' } })
  return Math.max(draft.untilMs, atMs + forMs + 500)
}

/** Buffers full of packets: one direction of a link is seconds late, and before they have arrived the link is cut. */
function late(draft: Draft): number {
  const { random, options, rooms, nodes, planned } = draft
  const forMs = random.integer(4_000, 12_000)
  const atMs = beginOf(draft, forMs)
  clear(random, planned, atMs, atMs + forMs, ['heal', 'power-off'], 0.9)
  const one = random.pick(random.chance(0.7) ? rooms : nodes)
  const others = [...rooms.filter((room) => !one.startsWith(room)), ...(options.hasWitness ? ['witness'] : [])]
  const isIn = random.chance(0.65)
  const delayMs = random.between(800, 6_500)
  const jitterMs = random.chance(0.5) ? 1 : random.between(0, 3_000)
  const cutAtMs = atMs + random.integer(0, 3_500)
  for (const other of others) {
    if (other === 'witness' && random.chance(0.4)) {
      if (random.chance(0.7)) planned.push({ atMs, fault: { kind: 'cut', from: one, to: other, isOneWay: false, path: null } })
      continue
    }
    const [from, to] = isIn ? [other, one] : [one, other]
    planned.push(
      {
        atMs,
        fault: {
          kind: 'degrade',
          from,
          to,
          path: null,
          loss: random.chance(0.3) ? 0.4 : 0,
          delayMs,
          jitterMs,
          duplicate: random.chance(0.3) ? 0.5 : 0,
        },
      },
      { atMs: cutAtMs, fault: { kind: 'cut', from: to, to: from, isOneWay: random.chance(0.6), path: null } },
    )
  }
  if (random.chance(0.4)) planned.push({ atMs: cutAtMs, fault: brinkOf(random, one) })
  if (random.chance(0.5)) planned.push({ atMs: atMs + forMs, fault: { kind: 'heal' } })
  return Math.max(draft.untilMs, atMs + forMs)
}

/** A room is fenced, comes back with its votes, and as soon as it has them the one that had fenced it is lost in turn. */
function turnabout(draft: Draft): number {
  const { random, rooms, planned, strikes } = draft
  const first = random.pick(rooms)
  const second = random.pick(rooms.filter((room) => room !== first))
  const backAfterMs = random.integer(3_500, 6_500)
  const againAfterMs = backAfterMs + random.integer(2_500, 9_000)
  const forMs = againAfterMs + random.integer(4_000, 10_000)
  const atMs = Math.round(random.between(draft.startMs, draft.startMs + 6_000))
  clear(
    random,
    planned,
    atMs - 1_500,
    atMs + forMs,
    ['cut', 'heal', 'power-off', 'flap', 'suspension', 'maintenance', 'witness', 'disk', 'stop', 'degrade', 'leave'],
    0.9,
  )
  const lose = (room: string, lossMs: number): void => {
    for (const other of rooms)
      if (other !== room)
        planned.push({ atMs: lossMs + random.integer(0, 60), fault: { kind: 'cut', from: room, to: other, isOneWay: false, path: null } })
    for (const site of ['witness', 'api'])
      if (random.chance(0.75)) planned.push({ atMs: lossMs, fault: { kind: 'cut', from: room, to: site, isOneWay: false, path: null } })
    if (random.chance(0.5)) planned.push({ atMs: lossMs, fault: brinkOf(random, room) })
  }
  planned.push({ atMs: atMs - 10, fault: { kind: 'heal' } })
  lose(first, atMs)
  planned.push({ atMs: atMs + backAfterMs, fault: { kind: 'heal' } })
  for (const afterMs of [-1_000, 100, 1_200, 3_000])
    if (random.chance(0.7)) planned.push({ atMs: atMs + backAfterMs + afterMs, fault: { kind: 'unfence', target: first } })
  // Just as an epoch of the return is decided, its first learner is alone with it.
  if (random.chance(0.6)) {
    const when = { moment: 'decided' as const, nth: random.integer(1, 3), fromMs: atMs + backAfterMs }
    const isOneWay = random.chance(0.2)
    const from = random.pick(['@self', '@room', '@room'])
    strikes.push({
      ...when,
      fault: { kind: 'cut', from, to: from === '@room' ? '@others' : random.pick(['@others', '@room']), isOneWay, path: null },
    })
    const away = random.pick([null, '@others', '@room'])
    if (away !== null) strikes.push({ ...when, fault: { kind: 'cut', from: away, to: 'witness', isOneWay: false, path: null } })
  }
  lose(second, atMs + againAfterMs)
  if (random.chance(0.6)) planned.push({ atMs: atMs + forMs, fault: { kind: 'heal' } })
  return Math.max(draft.untilMs, atMs + forMs + 500)
}

/** A room or node that is cut off for so long that it may be fenced and replaced while it lives: nothing is healed meanwhile. */
function isolate({ random, options, rooms, nodes, planned, startMs, untilMs }: Draft): number {
  const target = random.pick(random.chance(0.7) ? rooms : nodes)
  const atMs = Math.round(random.between(startMs, Math.max(startMs, untilMs - 8_000)))
  const forMs = random.between(3_000, 14_000)
  clear(random, planned, atMs, atMs + forMs, ['heal', 'power-off'], 0.9)
  const cut = (to: string, isOneWay: boolean): void => {
    const isOut = random.chance(0.5)
    planned.push({
      atMs: atMs + random.integer(0, 400),
      fault: { kind: 'cut', from: isOut ? target : to, to: isOut ? to : target, isOneWay, path: null },
    })
  }
  for (const room of rooms) if (!target.startsWith(room)) cut(room, random.chance(0.25))
  if (options.hasWitness && random.chance(0.6)) cut('witness', random.chance(0.3))
  if (random.chance(0.5)) cut('api', false)
  if (random.chance(0.4)) planned.push({ atMs: atMs + random.integer(0, 3_000), fault: stallOf(random, options, target) })
  if (random.chance(0.5)) planned.push({ atMs: atMs + random.integer(0, 1_500), fault: brinkOf(random, target) })
  // Heard again, or hearing again, but not both.
  if (random.chance(0.35)) {
    const halfMs = atMs + random.integer(2_500, 7_000)
    const isHeard = random.chance(0.7)
    for (const room of rooms)
      if (!target.startsWith(room))
        planned.push(
          { atMs: halfMs, fault: { kind: 'heal', between: [target, room] } },
          { atMs: halfMs, fault: { kind: 'cut', from: isHeard ? room : target, to: isHeard ? target : room, isOneWay: true, path: null } },
        )
    if (random.chance(0.7)) planned.push({ atMs: halfMs - random.integer(-1_500, 1_000), fault: { kind: 'unfence', target } })
  }
  // An operator who is too early: the node is still cut off, and knows nothing.
  if (random.chance(0.4)) planned.push({ atMs: atMs + random.integer(2_000, 7_000), fault: { kind: 'unfence', target } })
  if (random.chance(0.5)) planned.push({ atMs: Math.round(atMs + forMs), fault: { kind: 'heal' } })
  return untilMs
}

/** Everything is well for long, and then a room's hosts stand still for about as long as it takes to be given up, and go on. */
function doze(draft: Draft): number {
  const { random, options, rooms, nodes, planned } = draft
  const atMs = Math.round(draft.startMs + random.between(9_500, 13_000))
  const most = options.watchdogMs ?? 4_000
  const all: readonly Fault['kind'][] = [
    'cut',
    'heal',
    'power-off',
    'flap',
    'suspension',
    'maintenance',
    'witness',
    'disk',
    'stop',
    'stall',
    'crash',
    'degrade',
    'leave',
    'brink',
    'stuck',
    'clock',
  ]
  clear(random, planned, 0, atMs + 4_000, all, 0.97)
  const target = random.pick(random.chance(0.8) ? rooms : nodes)
  planned.push({ atMs, fault: { kind: 'stop', target, forMs: Math.round(most * random.between(0.5, 0.99)), isDeaf: random.chance(0.6) } })
  return Math.max(draft.untilMs, atMs + 4_000)
}

/** Two stops in a row, about as long as a watchdog lets a process stop. */
export function stallOf(random: Random, options: WorldOptions, target: string): Fault {
  const most = options.watchdogMs ?? 2_000
  return {
    kind: 'stall',
    target,
    forMs: Math.round(most * (random.chance(0.5) ? random.between(0.7, 0.99) : random.between(0.1, 1.1))),
    thenMs: Math.round(most * random.between(0.3, 3)),
  }
}

export function strikeOf(random: Random, options: WorldOptions): Fault {
  switch (random.integer(0, 14)) {
    case 0:
    case 1:
      return { kind: 'crash', target: '@self', backMs: Math.round(random.between(10, 2_000)) }
    case 2:
    case 3:
      return {
        kind: 'stop',
        target: random.pick(['@self', '@self', '@room', '@peer']),
        forMs: Math.round(random.chance(0.7) ? random.between(5, 4_000) : random.between(4_000, 40_000)),
      }
    case 4:
      return { kind: 'cut', from: '@room', to: '@others', isOneWay: random.chance(0.3), path: null }
    case 5:
      return {
        kind: 'cut',
        from: '@self',
        to: random.pick(['@others', '@room', 'witness', 'api']),
        isOneWay: random.chance(0.3),
        path: null,
      }
    case 6:
      return { kind: 'power-off', target: random.pick(['@self', '@room', '@peer']) }
    case 7:
      return { kind: 'witness', how: random.pick(['down', 'up', 'slow']) }
    case 8:
      return { kind: 'heal' }
    case 11:
      return { kind: 'brink', target: random.pick(['@self', '@room']), times: random.integer(1, 6) }
    case 12:
      return { kind: 'witness', how: 'restore' }
    case 13:
      return { kind: 'crash', target: '@room', backMs: Math.round(random.between(10, 2_000)) }
    case 9:
    case 10:
      return stallOf(random, options, random.pick(['@self', '@self', '@room']))
    default:
      return { kind: 'cut', from: '@room', to: 'witness', isOneWay: false, path: null }
  }
}
