/** What is known of the others: who was heard, over what, and who is silent (docs/protocol/choosing.md, "Suspicion"). Pure. */
import type { NodeId, Room } from './ids.ts'
import { type Member, type Membership, memberOf } from './membership.ts'
import type { Contact } from './process.ts'
import type { State } from './state.ts'

export function contactOf(state: State, node: NodeId): Contact {
  const known = state.process.contacts.get(node)
  if (known) return known
  const fresh: Contact = {
    heardAtMs: -Infinity,
    storageAtMs: -Infinity,
    ackedAtMs: -Infinity,
    statement: null,
    incarnation: null,
    epoch: -1,
    digest: '',
    inSyncSinceMs: Infinity,
    learnSentAtMs: -Infinity,
  }
  state.process.contacts.set(node, fresh)
  return fresh
}

export const isHeard = (state: State, node: NodeId, nowMs: number): boolean =>
  node === state.self.node || nowMs - contactOf(state, node).heardAtMs <= state.timings.detectMs

/** Last sign of life on any path: a heartbeat or a DRBD connection that is up. */
export const lastLifeMs = (contact: Contact): number => Math.max(contact.heardAtMs, contact.storageAtMs)

/** A sign of life that is younger than the detection: positive evidence, which always vetoes. Null: none. */
export function signOfLife(
  state: State,
  node: NodeId,
  nowMs: number,
): { readonly agoMs: number; readonly over: 'heartbeats' | 'storage' } | null {
  const contact = contactOf(state, node)
  const agoMs = Math.round(nowMs - lastLifeMs(contact))
  return agoMs < state.timings.detectMs ? { agoMs, over: contact.heardAtMs >= contact.storageAtMs ? 'heartbeats' : 'storage' } : null
}

/**
 * How long this agent has listened to `node` and heard nothing. Time in which the agent itself was late, stopped or not started is
 * not silence of the other.
 */
function silentForMs(state: State, node: NodeId, nowMs: number): number {
  return nowMs - Math.max(lastLifeMs(contactOf(state, node)), state.process.awakeSinceMs)
}

const isLeaving = (state: State, node: NodeId): boolean => contactOf(state, node).statement?.isLeaving === true

export interface Suspects {
  readonly nodes: readonly NodeId[]
  /** Those that are silent whole. */
  readonly rooms: readonly Room[]
}

const nobody: Suspects = { nodes: [], rooms: [] }

/** What to fence: every silent room whole, else the nodes that were silent for the longer time. Empty: nobody. */
export function suspects(state: State, membership: Membership, nowMs: number): Suspects {
  const { detectMs, detectNodeMs } = state.timings
  const shortestMs = Math.min(detectMs, detectNodeMs)
  const isCandidate = ({ node, standing, isInMaintenance }: Member): boolean =>
    node !== state.self.node && standing !== 'fenced' && !isInMaintenance
  // Nearly always: nobody was silent for long enough to be told from the others of its room.
  if (!membership.members.some((member) => isCandidate(member) && silentForMs(state, member.node, nowMs) >= shortestMs)) return nobody
  const running = new Map<Room, Member[]>()
  for (const member of membership.members) {
    if (member.standing === 'fenced' || member.isInMaintenance) continue
    const inRoom = running.get(member.room)
    if (inRoom) inRoom.push(member)
    else running.set(member.room, [member])
  }
  const nodes: NodeId[] = []
  const rooms: Room[] = []
  for (const [room, members] of running) {
    if (members.some((member) => member.node === state.self.node)) continue
    const isSilent = members.every((member) => silentForMs(state, member.node, nowMs) >= detectMs)
    if (!isSilent || members.every((member) => isLeaving(state, member.node))) continue
    rooms.push(room)
    nodes.push(...members.map((member) => member.node))
  }
  for (const members of running.values())
    for (const { node, room } of members)
      if (node !== state.self.node && !rooms.includes(room) && !isLeaving(state, node) && silentForMs(state, node, nowMs) >= detectNodeMs)
        nodes.push(node)
  return { nodes, rooms }
}

/** Place of this agent among the unfenced ones that it hears, by name: the others wait longer, so that one acts first. */
export function rankOf(state: State, membership: Membership, nowMs: number): number {
  let rank = 0
  for (const { node, standing } of membership.members)
    if (standing !== 'fenced' && node < state.self.node && isHeard(state, node, nowMs) && !isLeaving(state, node)) rank += 1
  return rank
}

/**
 * The agent that carries out a fence: the first by name that is in contact and reaches the API. Two at once do no harm. One in dry run only where
 * all are: while the others are restarted one by one without it, its record of what it would have done must not stand for the deed.
 */
export function coordinator(state: State, nowMs: number): NodeId | null {
  const membership = state.durable.membership
  if (!membership) return null
  const candidates = membership.members.filter(
    ({ node, standing }) =>
      standing !== 'fenced' &&
      isHeard(state, node, nowMs) &&
      (node === state.self.node ? !state.process.isLeaving : !isLeaving(state, node)),
  )
  const acting = candidates.filter(
    ({ node }) => !(node === state.self.node ? state.brakes.isDryRun : contactOf(state, node).statement?.isDryRun === true),
  )
  const inContact = acting.length > 0 ? acting : candidates
  const reaching = inContact.filter(({ node }) =>
    node === state.self.node ? state.process.isApiReachable : contactOf(state, node).statement?.isApiReachable === true,
  )
  // Who was let back may not have its permit yet, without which it carries nothing out.
  return (reaching.find(({ standing }) => standing === 'voting') ?? reaching[0] ?? inContact[0])?.node ?? null
}

export function isMember(membership: Membership, node: NodeId, incarnation: string | null): boolean {
  return incarnation !== null && memberOf(membership, node)?.incarnation === incarnation
}
