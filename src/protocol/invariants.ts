/**
 * What is true after every step, whatever others say and whatever fails (docs/protocol/README.md, "Invariants"). A broken one is an error of this program: nothing
 * that it knows can be relied on any more. Pure, and cheap: only what a step changed is looked at. Nothing here asks the code that it watches over.
 */
import { compareBallots } from './acceptor.ts'
import type { EpochState } from './epoch.ts'
import type { NodeId } from './ids.ts'
import { fencedNodes, isSuccessor, type Membership, memberOf, votesOf } from './membership.ts'
import type { Message } from './messages.ts'
import type { BrokenInvariant, ContainmentLevel, InvariantName } from './process.ts'
import type { Durable, Effect, Input, State } from './state.ts'

/** What a step may not change, or only in one direction. */
export interface Before {
  readonly durable: Durable
  readonly epoch: EpochState
  readonly grants: number
  readonly version: number
  readonly persistedVersion: number
  readonly unsent: number
  /** How much of what is unsent may go with this step. */
  readonly releasable: number
}

export function beforeStep({ durable, epoch, disk }: State, input: Input): Before {
  return {
    durable,
    epoch,
    grants: epoch.grants.size,
    version: disk.version,
    persistedVersion: disk.persistedVersion,
    unsent: disk.unsent.length,
    releasable: input.kind === 'persisted' ? disk.unsent.filter(({ version }) => version <= input.version).length : 0,
  }
}

const broken = (invariant: InvariantName, text: string): BrokenInvariant => ({ invariant, text })

/** The first invariant that a step broke. */
export function brokenInvariant(
  before: Before,
  state: State,
  input: Input,
  effects: readonly Effect[],
  nowMs: number,
): BrokenInvariant | undefined {
  return (
    (state.durable === before.durable ? undefined : brokenOnDisk(before.durable, state.durable, state)) ??
    (state.epoch === before.epoch ? undefined : brokenEpoch(state, nowMs)) ??
    brokenGrants(before, state, nowMs) ??
    brokenDisk(before, state, input) ??
    brokenEffects(before, state, input, effects, nowMs)
  )
}

/** What is on disk goes in one direction. */
function brokenOnDisk(before: Durable, after: Durable, state: State): BrokenInvariant | undefined {
  const counter = (['round', 'installedEpoch', 'killedEpoch', 'freedEpoch'] as const).find((one) => after[one] < before[one])
  if (counter !== undefined) return broken('counter', `${counter} goes back from ${before[counter]} to ${after[counter]}`)
  const [seen, saw] = [before.witnessSeen, after.witnessSeen]
  if (seen && (!saw || (saw.incarnation === seen.incarnation && saw.version < seen.version)))
    return broken('counter', `the version seen of the witness goes back from ${seen.version} to ${saw?.version ?? 'none'}`)
  if (after.membership !== before.membership) return brokenMembership(before.membership, after)
  return brokenPromise(before, after) ?? brokenAcceptance(before, after, state)
}

function brokenMembership(before: Membership | null, { membership, promised, accepted, ...after }: Durable): BrokenInvariant | undefined {
  if (!membership) return broken('membership', `epoch ${before?.epoch} is forgotten`)
  if (before && membership.epoch <= before.epoch)
    return broken('membership', `epoch ${before.epoch} is followed by epoch ${membership.epoch}`)
  if (before && membership.clusterId !== before.clusterId)
    return broken('membership', `cluster ${before.clusterId} is followed by cluster ${membership.clusterId}`)
  if (promised || accepted)
    return broken('membership', `epoch ${membership.epoch} begins with a promise or an accepted value of the one before`)
  const early = (['installedEpoch', 'killedEpoch', 'freedEpoch'] as const).find((one) => after[one] > membership.epoch)
  return early && broken('counter', `${early} is ${after[early]} in epoch ${membership.epoch}`)
}

function brokenPromise(before: Durable, { promised, accepted, round }: Durable): BrokenInvariant | undefined {
  if (promised === before.promised && accepted === before.accepted) return undefined
  if (!promised) return broken('promise', 'a promise is forgotten')
  if (before.promised && compareBallots(promised, before.promised) < 0)
    return broken(
      'promise',
      `ballot ${before.promised.round} of ${before.promised.node} is promised, and now ${promised.round} of ${promised.node}`,
    )
  if (promised.round > round) return broken('promise', `round ${promised.round} is promised, but the highest round is ${round}`)
  if (accepted && compareBallots(promised, accepted.ballot) < 0)
    return broken('promise', `a value is accepted under round ${accepted.ballot.round}, and only round ${promised.round} is promised`)
  return undefined
}

function brokenAcceptance(before: Durable, { membership, accepted }: Durable, { self, brakes }: State): BrokenInvariant | undefined {
  if (accepted === before.accepted) return undefined
  if (!accepted || !membership) return broken('acceptance', 'an accepted value is forgotten')
  const { ballot, membership: value } = accepted
  if (!isSuccessor(membership, value)) return broken('acceptance', `epoch ${value.epoch} is accepted in epoch ${membership.epoch}`)
  if (before.accepted && compareBallots(ballot, before.accepted.ballot) < 0)
    return broken('acceptance', `a value is accepted under round ${ballot.round} after one under round ${before.accepted.ballot.round}`)
  if (before.accepted && value.epoch < before.accepted.membership.epoch)
    return broken('acceptance', `a forced value is exchanged for epoch ${value.epoch}`)
  if (memberOf(value, self.node)?.standing === 'fenced') return broken('acceptance', `${self.node} accepts its own fence`)
  return brakes.isDryRun ? broken('acceptance', 'a value is accepted in dry run') : undefined
}

/** An epoch is made whole, and brings no more of a permit than one permit. */
function brokenEpoch({ epoch, durable: { membership }, timings }: State, nowMs: number): BrokenInvariant | undefined {
  if (epoch.carriedUntilMs > nowMs + timings.permitMs) return broken('grant', 'an epoch carries over more than one permit')
  const fenced = membership ? fencedNodes(membership) : []
  return fenced.length === epoch.fences.size && fenced.every((node) => epoch.fences.has(node))
    ? undefined
    : broken('membership', `fenced are ${fenced.join(', ')}, but known are the fences of ${[...epoch.fences.keys()].join(', ')}`)
}

/** Grants are of those who vote, for one permit at most; a voter's own is without end. Looked at when a voter grants for the first time in an epoch. */
function brokenGrants(before: Before, { durable, epoch, timings }: State, nowMs: number): BrokenInvariant | undefined {
  if (epoch === before.epoch && epoch.grants.size === before.grants) return undefined
  const votes = durable.membership && votesOf(durable.membership)
  const latestMs = nowMs + timings.permitMs
  let endless = 0
  for (const [voter, untilMs] of epoch.grants) {
    if (!votes?.has(voter)) return broken('grant', `${voter} grants a permit, but has no vote`)
    if (untilMs <= latestMs) continue
    endless += 1
    if (untilMs !== Infinity || endless > 1) return broken('grant', `${voter} grants a permit for ${untilMs - nowMs} ms`)
  }
  return undefined
}

/** What is said is on disk, and true; what may run has a permit. */
function brokenEffects(before: Before, state: State, input: Input, effects: readonly Effect[], nowMs: number): BrokenInvariant | undefined {
  const { disk, durable } = state
  let { version, releasable } = before
  let given = before.durable
  // The last order of a step: the ones before it were overtaken.
  let level: ContainmentLevel | undefined
  for (const effect of effects) {
    const { kind } = effect
    if (kind === 'persist') {
      version = effect.version
      given = effect.durable
    } else if (kind === 'contain') level = effect.level
    else if (kind === 'send' || kind === 'witness' || kind === 'learned') {
      if (releasable > 0) releasable -= 1
      else if (version > disk.persistedVersion)
        return broken('unwritten', `${nameOf(effect)} goes out at version ${version}, and version ${disk.persistedVersion} is written`)
      else if (kind === 'send' && input.kind === 'message') {
        const wrong = brokenAnswer(state, effect.to, effect.message)
        if (wrong) return wrong
      }
    }
  }
  if (given !== durable || version !== disk.version) return broken('unwritten', 'a change is not given to the disk')
  return level === undefined || level === 'pause' ? undefined : brokenContainment(state, level, nowMs)
}

/** Only the disk's word makes a version written, and what waits for it is true as well. */
function brokenDisk(before: Before, state: State, input: Input): BrokenInvariant | undefined {
  const { persistedVersion, unsent } = state.disk
  if (persistedVersion !== before.persistedVersion && (input.kind !== 'persisted' || persistedVersion > input.version))
    return broken('unwritten', `version ${persistedVersion} is taken for written, and is not`)
  for (let i = before.unsent; i < unsent.length; i++) {
    const effect = unsent[i]?.effect
    const wrong = effect?.kind === 'send' ? brokenAnswer(state, effect.to, effect.message) : undefined
    if (wrong) return wrong
  }
  return undefined
}

const nameOf = (effect: Effect): string => (effect.kind === 'send' ? effect.message.kind : effect.kind)

/** An ack, a promise and a vote say what is known at that moment. */
function brokenAnswer({ durable, epoch }: State, to: NodeId, message: Message): BrokenInvariant | undefined {
  const { membership, promised, accepted } = durable
  if (message.kind === 'promise')
    return promised && compareBallots(message.ballot, promised) === 0 ? undefined : broken('promise', 'a promise is told that was not made')
  if (message.kind === 'accepted')
    return accepted && compareBallots(message.ballot, accepted.ballot) === 0
      ? undefined
      : broken('acceptance', 'a value is told to be accepted that was not')
  if (message.kind !== 'ack') return undefined
  if (!membership || message.epoch !== membership.epoch || epoch.hasConflict)
    return broken('ack', `${to} is acked in epoch ${message.epoch}, which is not the present one or there twice`)
  if (epoch.fences.has(to) || (accepted && memberOf(accepted.membership, to)?.standing === 'fenced'))
    return broken('ack', `${to} is acked, and its door is closed`)
  return undefined
}

function brokenContainment(state: State, level: 'kill' | 'none', nowMs: number): BrokenInvariant | undefined {
  const { self, durable, epoch } = state
  const { membership, killedEpoch, freedEpoch } = durable
  const member = membership && memberOf(membership, self.node)
  if (level === 'kill')
    return member && (member.standing === 'fenced' || (member.lastFence > 0 && member.lastFence > killedEpoch))
      ? undefined
      : broken('containment', 'workloads are killed on a node that is not fenced')
  if (!membership || member?.incarnation !== self.incarnation || member.standing === 'fenced' || epoch.hasConflict)
    return broken('containment', 'workloads run on a node that is fenced, no member, or sees two memberships')
  if (member.lastFence > 0 && (member.lastFence > killedEpoch || member.lastFence > freedEpoch))
    return broken('containment', `workloads run on a node that has not killed, or not waited, for its fence in epoch ${member.lastFence}`)
  let [granted, all] = [0, 0]
  for (const [voter, weight] of votesOf(membership)) {
    all += weight
    if ((epoch.grants.get(voter) ?? -Infinity) > nowMs) granted += weight
  }
  return granted * 2 > all || epoch.carriedUntilMs > nowMs ? undefined : broken('containment', 'workloads run without a permit')
}
