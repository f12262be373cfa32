/** Runs one schedule: the faults, the repair, and then what must follow from it (docs/simulation.md, "Liveness"). */
import { memberOf } from '../../protocol/membership.ts'
import { silentAfterMs } from '../../protocol/timings.ts'
import { applyFault } from '../faults/faults.ts'
import { LOST_AMID_CHOICE } from '../faults/services.ts'
import { describeCause } from '../observer/epochs.ts'
import { hasMajority, isRegisterRemembered, isUndecidable } from '../observer/lost.ts'
import { violate } from '../observer/violations.ts'
import type { Fault, Schedule } from '../schedule/schedule.ts'
import type { Property, Violation } from '../world/observations.ts'
import { mayPromote } from '../world/storage.ts'
import type { World } from '../world/world.ts'
import type { Checkpoint } from './expectation.ts'
import { createWorld } from './make-world.ts'

export interface Outcome {
  readonly violations: readonly Violation[]
  readonly counts: ReadonlyMap<string, number>
  readonly log: readonly string[]
  readonly virtualMs: number
  /** From a room's loss at the end to its last VM's start elsewhere, ms; 0: none was lost. */
  readonly stallMs: number
  /** What a scenario expected and did not get. */
  readonly unmet: readonly string[]
}

const POLL_MS = 500

export function runSchedule(schedule: Schedule, isTracing = false, checkpoints: readonly Checkpoint[] = []): Outcome {
  const world = createWorld(schedule, isTracing)
  for (const { atMs, fault } of schedule.planned) world.timeline.at(atMs, () => applyFault(world, fault, undefined))
  const unmet: string[] = []
  for (const checkpoint of checkpoints) world.timeline.at(checkpoint.atMs, () => void unmet.push(...checkpoint.unmet(world)))
  let stallMs = 0
  world.timeline.runUntil(schedule.untilMs)
  if (world.observer.violations.length === 0 && schedule.isLeftUnrepaired !== true) stallMs = afterwards(world)
  return {
    violations: world.observer.violations,
    counts: world.counts,
    log: world.log ?? [],
    virtualMs: world.timeline.nowMs,
    stallMs,
    unmet,
  }
}

/** Waits until `holds` gives undefined, and says how long that took; after `withinMs` what it gives is a violation, of P6 where no other property is named. */
function await_(
  world: World,
  withinMs: number,
  what: string,
  holds: () => string | undefined,
  each?: () => void,
  property: Property = 'P6 it ends',
): number | undefined {
  const startMs = world.timeline.nowMs
  for (;;) {
    const reason = holds()
    if (reason === undefined) return world.timeline.nowMs - startMs
    if (world.timeline.nowMs - startMs >= withinMs) {
      violate(world, property, `${what}: after ${withinMs} ms ${reason}`)
      return undefined
    }
    each?.()
    world.timeline.runUntil(world.timeline.nowMs + POLL_MS)
    if (world.observer.violations.length > 0) return undefined
  }
}

function afterwards(world: World): number {
  const { timings, watchdogMs, rebootMs, hasWitness } = world.options
  applyFault(world, { kind: 'repair' }, undefined)
  // Whoever was stopped does now what it had in hand: also say goodbye.
  world.timeline.runUntil(world.timeline.nowMs + POLL_MS)
  if (!hasMajority(world)) {
    world.count('majority lost with its disks')
    return 0
  }
  const isUp = await_(world, rebootMs[1] * 3 + 15_000, 'all nodes boot', () => {
    const down = world.nodes.filter((node) => !node.state)
    return down.length > 0 ? `${down.map(({ name }) => name).join(', ')} is not up` : undefined
  })
  if (isUp === undefined) return 0
  // 30 s with the default times; a witness that was restored must first lose its vote.
  const calmMs = 30_000 + timings.witnessShiftMs
  if (world.counts.has(LOST_AMID_CHOICE)) {
    world.timeline.runUntil(world.timeline.nowMs + calmMs)
    if (unrest(world) !== undefined) {
      world.count('left to an operator')
      return 0
    }
  }
  if (await_(world, calmMs, 'after the last fault', () => (isUndecidable(world) ? undefined : unrest(world))) === undefined) return 0
  if (isUndecidable(world)) {
    // What is left to an operator must be safe all the same.
    world.timeline.runUntil(world.timeline.nowMs + calmMs)
    world.count('left to an operator')
    return 0
  }
  const proofMs = watchdogMs === null ? 20_000 : silentAfterMs(timings, watchdogMs)
  const isExecuted = await_(world, proofMs + 20_000, 'every fence is executed', () => unexecuted(world), undefined, 'P5 nothing forgotten')
  if (isExecuted === undefined) return 0
  const unfence = (): void => applyUnfence(world)
  // Once in any case: it takes back words that are still fresh, such as a pause.
  unfence()
  // Again, until it stays so: a fence that was proposed before the repair may be chosen after it, where disks are slow.
  do {
    if (await_(world, 60_000 + 2 * timings.witnessShiftMs, 'every node is back', () => notBack(world), unfence) === undefined) return 0
    // Whoever has just started must have heard the others once: a watchdog that nobody knows of is no protection.
    world.timeline.runUntil(world.timeline.nowMs + 4 * timings.heartbeatMs)
  } while (notBack(world) !== undefined)
  return world.schedule.finale === null ? 0 : loseRoom(world, world.schedule.finale, hasWitness)
}

/** After the repair only what the run itself does still happens. It is none of the faults that are counted: those are planned or struck. */
function applyAfterRepair(world: World, fault: Fault): void {
  const counted = `fault ${fault.kind}`
  const before = world.counts.get(counted)
  world.isRepaired = false
  applyFault(world, fault, undefined)
  world.isRepaired = true
  if (before === undefined) world.counts.delete(counted)
  else world.counts.set(counted, before)
}

/** Pressed again and again, as an impatient operator does. */
function applyUnfence(world: World): void {
  applyAfterRepair(world, { kind: 'suspension', isSuspended: false })
  for (const target of new Set(world.nodes.map(({ room }) => room))) {
    applyAfterRepair(world, { kind: 'unfence', target })
    applyAfterRepair(world, { kind: 'maintenance', target, isOn: false })
  }
}

function unrest(world: World): string | undefined {
  const latest = world.observer.latest ?? world.genesis
  const { register } = world.witness
  if (world.options.hasWitness && register.accepted && register.accepted.membership.epoch > register.membership.epoch)
    return `the witness has an accepted value for epoch ${register.accepted.membership.epoch}`
  for (const node of world.nodes) {
    const { state } = node
    if (!state) return `${node.name} is not up`
    const { membership, accepted } = state.durable
    if (accepted) return `${node.name} has an accepted value for epoch ${accepted.membership.epoch} (${describeCause(accepted.membership)})`
    if (membership?.epoch !== latest.epoch) return `${node.name} knows epoch ${membership?.epoch} of ${latest.epoch}`
    if (state.epoch.hasConflict) return `${node.name} sees two memberships`
    const member = memberOf(latest, node.name)
    if (member?.standing !== 'fenced' && member?.incarnation === node.incarnation && node.guard !== 'none')
      return `${node.name} is contained (${node.guard})`
  }
  for (const copy of world.copies) {
    const node = world.nodes[copy.node]
    if (copy.state === 'paused' && node && memberOf(latest, node.name)?.standing !== 'fenced')
      return `vm${copy.vm} is paused on ${node.name}`
  }
  return undefined
}

function unexecuted(world: World): string | undefined {
  const latest = world.observer.latest ?? world.genesis
  for (const { node, standing } of latest.members) {
    if (standing !== 'fenced') continue
    const index = world.nodeByName.get(node)?.index ?? -1
    if (!world.api.taints.has(index)) return `${node} has no taint`
    for (const volume of world.volumes) {
      if (world.api.placement[volume.vm] !== index) continue
      const side = volume.sides.find((one) => one.node !== index)
      const isFree = side && mayPromote(volume, side) && !world.api.taints.has(side.node) && side.wasUpToDate
      if (isFree) return `vm${volume.vm} is still ordered to run on ${node}`
    }
  }
  return undefined
}

function notBack(world: World): string | undefined {
  const latest = world.observer.latest ?? world.genesis
  // A goodbye that was said before the repair: whoever dies after one is not missed.
  for (const { name, state } of world.nodes) if (state?.process.isLeaving === true) return `${name} is leaving`
  for (const { name, state } of world.nodes)
    if (state?.epoch.isInstalled !== true) return `${name} does not know epoch ${latest.epoch} to be installed`
  if (latest.fencingPausedBy !== null) return 'fencing is paused'
  for (const { node, isInMaintenance } of latest.members) if (isInMaintenance) return `${node} is in maintenance`
  for (const { node, standing } of latest.members) if (standing !== 'voting') return `${node} is ${standing} in epoch ${latest.epoch}`
  for (const node of world.nodes)
    if (memberOf(latest, node.name)?.incarnation !== node.incarnation) return `${node.name} is not a member in its incarnation`
  if (world.options.hasWitness && latest.witness?.isVoting !== true) return 'the witness has no vote'
  const { register } = world.witness
  const isRegisterCurrent =
    register.incarnation === latest.witness?.incarnation && register.membership.epoch === latest.epoch && isRegisterRemembered(world)
  if (world.options.hasWitness && !isRegisterCurrent) return 'the register is an old one'
  if (world.api.taints.size > 0) return 'a taint is left'
  for (const { vm } of world.volumes) {
    const running = world.copies.filter((copy) => copy.vm === vm && copy.state === 'running')
    if (running.length !== 1) return `vm${vm} runs ${running.length} times`
  }
  for (const { vm, sides } of world.volumes)
    if (sides.some(({ state, connection }) => state !== 'UpToDate' || connection !== 'Connected')) return `vm${vm} is not in sync`
  return unrest(world)
}

/** All its links fail at once; its nodes run on, as long as they possibly can. */
function cutOff(world: World, room: string): void {
  applyAfterRepair(world, { kind: 'brink', target: room, times: 3 })
  for (const to of [...new Set(world.nodes.map((node) => node.room as string)), 'witness', 'api'])
    if (to !== room) applyAfterRepair(world, { kind: 'cut', from: room, to, isOneWay: false, path: null })
}

/** From a healthy cluster either room may be lost: without a witness the preferred one of two with a person's word. */
function loseRoom(world: World, room: string, hasWitness: boolean): number {
  const { timings, watchdogMs } = world.options
  const lost = world.nodes.filter((node) => node.room === room)
  const startMs = world.timeline.nowMs
  const needsOperator = !hasWitness && world.options.nodesOfRooms.length === 2 && room === world.genesis.preferredRoom
  // A person vouches for rooms without power only.
  if (world.schedule.finaleHow === 'cut' && !needsOperator) cutOff(world, room)
  else applyAfterRepair(world, { kind: 'power-off', target: room })
  const r = 1 + timings.clockRateError
  // Detection, then up to three attempts with their arbitration delay.
  const fenceMs =
    r * (timings.detectMs + 3 * (timings.attemptMs + timings.heartbeatMs * 6) + 3 * (hasWitness ? timings.arbitrationDelayMs : 0)) + 2_000
  const confirm = (): void => applyAfterRepair(world, { kind: 'confirm-dead', target: room })
  const isFenced = (): string | undefined => {
    const latest = world.observer.latest
    return lost.some(({ name }) => latest && memberOf(latest, name)?.standing !== 'fenced') ? `room ${room} is not fenced` : undefined
  }
  const fenced = await_(world, fenceMs, `room ${room} is lost`, isFenced, needsOperator ? confirm : undefined)
  if (fenced === undefined || watchdogMs === null) return 0
  const orderMs = silentAfterMs(timings, watchdogMs) * r + 6_000
  const moved = await_(world, orderMs, `room ${room} is fenced`, () => {
    for (const { vm } of world.volumes)
      if (!world.copies.some((copy) => copy.vm === vm && copy.state === 'running' && world.nodes[copy.node]?.room !== room))
        return `vm${vm} does not run outside of room ${room}`
    return undefined
  })
  return moved === undefined ? 0 : world.timeline.nowMs - startMs
}
