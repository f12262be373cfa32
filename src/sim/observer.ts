/** The observer: it sees the true state of the world, never the agents' opinions, and checks the properties after everything that could break one. */
import {
  digestOf,
  FORCED_STEP,
  isDecidedBy,
  isForced,
  isMajority,
  type Membership,
  memberOf,
  newlyFenced,
  nodeVoter,
  votesBeforeOf,
  votesOf,
  witnessVoter,
} from '../protocol/membership.ts'
import type { Accepted, Ballot, Register } from '../protocol/messages.ts'
import { holdsPermit } from '../protocol/running.ts'
import type { Effect } from '../protocol/state.ts'
import { readClock } from './clock.ts'
import { checkRegister, checkUnfenced } from './invariants.ts'
import { checkKilled, checkOrdered, checkReset } from './kills.ts'
import { isRegisterRemembered } from './lost.ts'
import { contains, otherSide, type Side, sideOn, type Volume } from './storage.ts'
import type { SimNode, World } from './world.ts'
import type { Copy } from './workloads.ts'

export type Property =
  | 'P1 single writer'
  | 'P2 single survivor'
  | 'P3 no self-made outage'
  | 'P4 no stale start'
  | 'P5 nothing forgotten'
  | 'P6 it ends'
  | 'lost-write'
  | 'reboot with permit'
  | 'killed unfenced'

export interface Violation {
  readonly property: Property
  readonly text: string
  readonly atMs: number
}

export interface Observer {
  readonly violations: Violation[]
  /** Every epoch that anyone ever learned. */
  readonly chosen: Map<number, Membership>
  latest: Membership | null
  /** The highest epoch of which the adversary has heard. */
  announcedEpoch: number
  /** When each of them was first learned, by number. */
  readonly chosenAtMs: Map<number, number>
  /** When a value was first accepted by anyone, by digest. */
  readonly acceptedAtMs: Map<string, number>
  /** Who accepted a value under a ballot, by digest and ballot. */
  readonly acceptedBy: Map<string, Map<string, Set<string>>>
  /** The last fence for which a node, in one of its lives on a disk, has killed. */
  readonly killedFor: Map<string, number>
  longestStallMs: number
  violate(world: World, property: Property, text: string): void
  learned(world: World, node: SimNode, membership: Membership): void
  /**
   * On a disk. A forced epoch counts as the last one only from then on: it was chosen by the few that were left, and where they died before they learned
   * it, an ordinary one takes its place, and nothing has come of it.
   */
  remembered(membership: Membership): void
  accepted(world: World, node: SimNode, accepted: Accepted): void
  decided(world: World, node: SimNode, effects: readonly Effect[]): void
  registerWritten(world: World, before: Register): void
  checkWriters(world: World, vm: number): void
  started(world: World, volume: Volume, side: Side): void
  killed(world: World, copy: Copy, why: string): void
  reset(world: World, node: SimNode, reason: string, heldPermit: boolean): void
  contained(world: World, node: SimNode): void
  declaredStopped(world: World, index: number): void
  ordered(world: World, vm: number, from: number): void
}

/** In contact for so long: nothing of what happened before can still take effect (permits, retries, votes that shift). */
const settledMs = (world: World): number => {
  const { permitMs, detectMs, lingerMs, attemptMs } = world.options.timings
  return permitMs + detectMs + 3 * (lingerMs + attemptMs)
}

export function createObserver(): Observer {
  const chosen = new Map<number, Membership>()
  const observer: Observer = {
    violations: [],
    chosen,
    latest: null,
    announcedEpoch: 0,
    chosenAtMs: new Map(),
    acceptedAtMs: new Map(),
    acceptedBy: new Map(),
    killedFor: new Map(),
    longestStallMs: 0,
    violate: (world, property, text) => {
      if (observer.violations.length > 20) return
      observer.violations.push({ property, text, atMs: world.timeline.nowMs })
      world.note(`VIOLATION ${property}: ${text}`)
    },
    learned: (world, node, membership) => {
      const known = chosen.get(membership.epoch)
      if (known === membership) return
      if (known) {
        if (digestOf(known) !== digestOf(membership))
          observer.violate(
            world,
            'P2 single survivor',
            `${node.name} learned another epoch ${membership.epoch}: ${JSON.stringify(membership.cause)}`,
          )
        return
      }
      chosen.set(membership.epoch, membership)
      observer.chosenAtMs.set(membership.epoch, world.timeline.nowMs)
      checkUnfenced(world, membership)
      world.count(`epochs ${membership.cause.kind}`)
      world.note(`epoch ${membership.epoch} chosen: ${describeCause(membership)}`)
      const before = chosen.get(membership.epoch - (isForced(membership) ? FORCED_STEP : 1))
      if (before) checkChosen(observer, world, before, membership)
      if (before && !isForced(membership)) checkSuccession(observer, world, before, membership)
      if (!isForced(membership)) observer.remembered(membership)
    },
    remembered: (membership) => {
      if (membership.epoch > (observer.latest?.epoch ?? -1)) observer.latest = membership
    },
    accepted: (world, node, accepted) => {
      const digest = digestOf(accepted.membership)
      if (!observer.acceptedAtMs.has(digest)) observer.acceptedAtMs.set(digest, world.timeline.nowMs)
      noteAccepted(observer, digest, accepted.ballot, nodeVoter(node.name, node.incarnation))
      checkDoor(observer, world, node, accepted.membership)
    },
    decided: (world, node, effects) => {
      for (const effect of effects)
        if (
          effect.kind === 'contain' &&
          effect.level === 'none' &&
          node.state &&
          !holdsPermit(node.state, readClock(node.clock, world.timeline.nowMs))
        )
          observer.violate(world, 'P1 single writer', `${node.name} frees what it has contained without a permit`)
    },
    registerWritten: (world, before) => {
      const { register } = world.witness
      checkRegister(world, before, register)
      if (register.accepted) {
        const digest = digestOf(register.accepted.membership)
        // The witness accepts first: from then on the value may be finished, whoever lives by then.
        if (!observer.acceptedAtMs.has(digest)) observer.acceptedAtMs.set(digest, world.timeline.nowMs)
        noteAccepted(observer, digest, register.accepted.ballot, witnessVoter(register.incarnation))
      }
      if (register.accepted && register.accepted.membership.clusterId !== register.membership.clusterId)
        observer.violate(world, 'P5 nothing forgotten', 'the register mixes clusters')
    },
    checkWriters: (world, vm) => {
      let first: Copy | null = null
      for (const copy of world.copies) {
        if (copy.vm !== vm || !canWrite(world, copy)) continue
        if (first && first.node !== copy.node)
          observer.violate(
            world,
            'P1 single writer',
            `vm${vm} can write on ${world.nodes[first.node]?.name} and on ${world.nodes[copy.node]?.name}`,
          )
        first = copy
      }
    },
    started: (world, volume, side) => {
      const name = world.nodes[side.node]?.name
      // Not by what DRBD says of the replica, which it says wrongly of one that was left behind: by what is in it.
      const missed = world.options.isFreezeMode ? volume.acknowledged : volume.binding
      if (!contains(side.head, missed))
        observer.violate(
          world,
          'P4 no stale start',
          `vm${volume.vm} starts on ${name} from a replica without a write that was acknowledged (${side.state}, write ${side.head?.depth ?? 0} of ${missed?.depth})`,
        )
    },
    killed: checkKilled,
    reset: (world, node, reason, heldPermit) => {
      checkReset(world, node, reason, heldPermit)
      const isAwake = world.timeline.nowMs - node.wellSinceMs > settledMs(world)
      if (reason !== 'watchdog' && !reason.includes('not verified')) return
      if (isAwake && node.stuckUntilMs < world.timeline.nowMs - 5_000) checkOutage(observer, world, node, `reset (${reason})`)
    },
    contained: (world, node) => checkOutage(observer, world, node, 'paused'),
    declaredStopped: (world, index) => {
      for (const copy of world.copies)
        if (copy.node === index && canWrite(world, copy))
          observer.violate(
            world,
            'P1 single writer',
            `${world.nodes[index]?.name} was declared out of service while vm${copy.vm} could write there`,
          )
    },
    ordered: (world, vm, from) => {
      for (const copy of world.copies)
        if (copy.vm === vm && canWrite(world, copy))
          observer.violate(
            world,
            'P1 single writer',
            `vm${vm} was ordered elsewhere while its copy on ${world.nodes[copy.node]?.name} could write`,
          )
      checkOrdered(world, vm, from)
    },
  }
  return observer
}

export function canWrite(world: World, copy: Copy): boolean {
  if (copy.state === 'draining') return true
  if (copy.state !== 'running') return false
  const volume = world.volumes[copy.vm]
  const side = volume && sideOn(volume, copy.node)
  if (!volume || !side?.isPrimary || side.isSuspended) return false
  // Until the kernel notices that its peer has gone, a locked Primary's writes hang: nobody is told that they are safe.
  return !(side.isLocked && side.connection === 'Connected' && otherSide(volume, side).connection !== 'Connected')
}

export function describeCause(membership: Membership): string {
  const { cause } = membership
  const nodes = 'nodes' in cause ? ` ${cause.nodes.join(',')}` : ''
  const witness = 'witness' in cause ? ` witness ${cause.witness}` : ''
  const by = 'by' in cause ? ` by ${cause.by}` : ''
  return `${cause.kind}${nodes}${witness}${by}`
}

function noteAccepted(observer: Observer, digest: string, { round, node, incarnation }: Ballot, voter: string): void {
  const ballots = observer.acceptedBy.get(digest) ?? new Map<string, Set<string>>()
  observer.acceptedBy.set(digest, ballots)
  const key = `${round} ${node} ${incarnation}`
  const voters = ballots.get(key)
  if (voters) voters.add(voter)
  else ballots.set(key, new Set([voter]))
}

/** What is learned was accepted, under one ballot, by majorities of the votes before and after it. */
function checkChosen(observer: Observer, world: World, before: Membership, after: Membership): void {
  const ballots = observer.acceptedBy.get(digestOf(after))
  for (const voters of ballots?.values() ?? []) if (isDecidedBy(before, after, (voter) => voters.has(voter))) return
  observer.violate(world, 'P2 single survivor', `epoch ${after.epoch} (${describeCause(after)}) is learned, but was never chosen`)
}

/** No node agrees to its own fence, and none closes its door to others before the witness has taken the value, where its vote is needed. */
function checkDoor(observer: Observer, world: World, node: SimNode, value: Membership): void {
  if (memberOf(value, node.name)?.standing === 'fenced')
    observer.violate(world, 'P3 no self-made outage', `${node.name} accepted its own fence`)
  const now = node.state?.durable.membership
  if (!now || isForced(value) || newlyFenced(now, value).length === 0) return
  const never = new Set<string>()
  for (const { node: name, incarnation, standing } of value.members) if (standing === 'fenced') never.add(nodeVoter(name, incarnation))
  if (isDecidedBy(now, value, (voter) => !voter.startsWith('witness/') && !never.has(voter))) return
  const ballots = observer.acceptedBy.get(digestOf(value))
  for (const voters of ballots?.values() ?? []) for (const voter of voters) if (voter.startsWith('witness/')) return
  observer.violate(
    world,
    'P3 no self-made outage',
    `${node.name} closes its door to ${newlyFenced(now, value).join(', ')}, but the witness, whose vote is needed, has not taken that fence`,
  )
}

/** Each epoch is made of the one before it: its votes, and its fenced nodes unless the change is to let them back. */
function checkSuccession(observer: Observer, world: World, before: Membership, after: Membership): void {
  if (JSON.stringify([...votesOf(before)]) !== JSON.stringify(after.votesBefore))
    observer.violate(world, 'P2 single survivor', `epoch ${after.epoch} was made from another epoch ${before.epoch} than the one chosen`)
  for (const { node, standing } of before.members)
    if (standing === 'fenced' && memberOf(after, node)?.standing !== 'fenced' && after.cause.kind !== 'unfence')
      observer.violate(
        world,
        'P5 nothing forgotten',
        `${node} is fenced in epoch ${before.epoch} and no more in ${after.epoch} (${after.cause.kind})`,
      )
  // An old value that may have been chosen is finished whoever lives by then; only its making is judged.
  const acceptedAtMs = observer.acceptedAtMs.get(digestOf(after)) ?? world.timeline.nowMs
  if (world.timeline.nowMs - acceptedAtMs > 2 * world.options.timings.attemptMs) return
  for (const name of newlyFenced(before, after)) {
    const node = world.nodeByName.get(name)
    if (node) checkOutage(observer, world, node, 'fenced', before)
  }
}

/** P3: nothing happens to a node that has long been in contact with more than half of the votes, itself among them. */
function checkOutage(observer: Observer, world: World, victim: SimNode, what: string, epoch?: Membership): void {
  const membership = epoch ?? victim.state?.durable.membership ?? world.genesis
  // Who has not learned yet that it is fenced may well be paused first.
  if (observer.latest && memberOf(observer.latest, victim.name)?.standing === 'fenced' && what !== 'fenced') return
  const member = memberOf(membership, victim.name)
  if (!member || member.standing === 'fenced' || member.incarnation !== victim.incarnation) return
  const { nowMs } = world.timeline
  const isSettled = (sinceMs: number): boolean => nowMs - sinceMs >= settledMs(world)
  if (!isSettled(victim.wellSinceMs)) return
  const group = world.nodes.filter(
    (node) => node === victim || (isSettled(node.wellSinceMs) && isSettled(world.network.contactSinceMs(victim.index, node.index))),
  )
  // In contact with the victim and with each other; who is not drops out, the one with most trouble first.
  const isWhole = group.every((a) => group.every((b) => a === b || isSettled(world.network.contactSinceMs(a.index, b.index))))
  if (!isWhole) return
  const voters = new Set<string>()
  for (const node of group) if (memberOf(membership, node.name)?.standing !== 'fenced') voters.add(nodeVoter(node.name, node.incarnation))
  const { witness } = world
  const isWitnessGood =
    witness.isUp &&
    // Where somebody has seen a newer version it grants nothing until it has lost its vote and got it back.
    isRegisterRemembered(world) &&
    isSettled(witness.goodSinceMs) &&
    group.every((node) => isSettled(world.network.contactSinceMs(node.index, world.witnessSite)))
  if (isWitnessGood && membership.witness?.incarnation === witness.register.incarnation)
    voters.add(witnessVoter(witness.register.incarnation))
  // A witness that both sides reach has to choose one.
  const outside = new Set<string>()
  for (const member of membership.members) {
    const node = world.nodeByName.get(member.node)
    if (node && !group.includes(node) && !isSettled(world.network.contactSinceMs(victim.index, node.index)))
      outside.add(nodeVoter(member.node, member.incarnation))
  }
  if (membership.witness && world.options.hasWitness) outside.add(witnessVoter(membership.witness.incarnation))
  if (isMajority(votesOf(membership), (voter) => outside.has(voter))) return
  // In an epoch that is just being learned the votes before it still count.
  const { state } = victim
  const isFresh = state !== null && readClock(victim.clock, nowMs) - state.learnedAtMs < 2 * world.options.timings.permitMs
  if (isFresh && !isMajority(votesBeforeOf(membership), (voter) => voters.has(voter))) return
  // Its proposer died before it told: the others learned of the epoch from the register, a read later, and one more read is the witness's first ack in it.
  const justLearnedMs = world.options.timings.permitMs / 4
  if (what === 'paused' && state !== null && readClock(victim.clock, nowMs) - state.learnedAtMs < justLearnedMs) return
  // Whoever is fenced is judged by when that was made, above: the very value that fences it excuses nothing.
  if (what !== 'fenced' && isBlocked(world, membership, victim, group, voters)) return
  if (isMajority(votesOf(membership), (voter) => voters.has(voter)))
    observer.violate(
      world,
      'P3 no self-made outage',
      `${victim.name} was ${what} while ${group.map(({ name }) => name).join(', ')} with a majority had been in contact for long`,
    )
}

/**
 * One of the group, or the register, accepted a fence of the victim that those who are out of reach may have chosen: nobody may rule it out, and the
 * group without the victim is too few to finish it (docs/simulation.md, "Limits of the model").
 */
function isBlocked(world: World, membership: Membership, victim: SimNode, group: readonly SimNode[], voters: ReadonlySet<string>): boolean {
  const ofGroup = group.map(({ state }) => (state?.durable.membership?.epoch === membership.epoch ? state.durable.accepted : null))
  return [...ofGroup, world.witness.register.accepted].some((accepted) => {
    const value = accepted?.membership
    if (!value || value.epoch <= membership.epoch || memberOf(value, victim.name)?.standing !== 'fenced') return false
    const never = new Set<string>(
      newlyFenced(membership, value).map((name) => nodeVoter(name, memberOf(value, name)?.incarnation ?? victim.incarnation)),
    )
    return !isDecidedBy(membership, value, (voter) => voters.has(voter) && !never.has(voter))
  })
}
