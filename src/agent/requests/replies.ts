/** What people ask of an agent: what speaks against it here, before it is given to the protocol (docs/protocol/operator.md). Pure. */
import { signOfLife } from '../../protocol/contact.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { fencedNodes, type Membership, memberOf } from '../../protocol/membership.ts'
import { hasPermit } from '../../protocol/running.ts'
import type { State } from '../../protocol/state.ts'
import type { Named, OperatorRequest, RequestReply } from './request.ts'

const refuse = (text: string): RequestReply => ({ isTaken: false, text })

/** To what comes by the control socket, and to an annotation that concerns nodes which are not fenced. */
export function replyTo(state: State, request: OperatorRequest, nowMs: number): RequestReply {
  switch (request.kind) {
    case 'suspend-fencing':
      return answerPause(state, request, nowMs)
    case 'maintenance':
      return answerMaintenance(state, request, nowMs)
    case 'unfence':
      return answerUnfence(state, request)
    case 'confirm-dead':
    default:
      return answerConfirmation(state, request, nowMs)
  }
}

function withoutBasis(state: State, by: string, who = 'say who asks for it'): string | null {
  if (state.process.broken)
    return `${state.self.node} has an error of its own (see its log) and does nothing until it is restarted: ask another node`
  if (!state.durable.membership) return `${state.self.node} knows no membership yet: run roomfence init`
  return by.trim() === '' ? `by is empty: ${who}` : null
}

/** What holds for every request that takes an epoch of the majority. */
function withoutMajority(state: State, by: string, nowMs: number): string | null {
  const { membership } = state.durable
  const reason = withoutBasis(state, by)
  if (reason !== null || !membership) return reason
  if (memberOf(membership, state.self.node)?.standing === 'fenced') return `${state.self.node} is fenced: ask a node that goes on`
  return hasPermit(state, nowMs) ? null : `${state.self.node} has no permit: there is no majority here that could choose it`
}

/** Pausing all fencing, and resuming it. */
export function answerPause(
  state: State,
  { isSuspended, by }: { readonly isSuspended: boolean; readonly by: string },
  nowMs: number,
): RequestReply {
  const reason = withoutMajority(state, by, nowMs)
  if (reason !== null) return refuse(reason)
  const is = state.durable.membership?.fencingPausedBy ?? null
  if (isSuspended === (is !== null))
    return { isTaken: true, nodes: [], text: is === null ? 'fencing is not suspended' : `fencing is suspended by ${is}` }
  return { isTaken: true, nodes: [], text: `an epoch is requested in which fencing is ${isSuspended ? 'paused' : 'not paused'}` }
}

/** Nodes in maintenance, or out of it. */
export function answerMaintenance(
  state: State,
  { rooms, nodes, isOn, by }: Named & { readonly isOn: boolean },
  nowMs: number,
): RequestReply {
  const reason = withoutMajority(state, by, nowMs)
  if (reason !== null) return refuse(reason)
  const { membership } = state.durable
  const named = membership ? namedNodes(membership, rooms, nodes) : 'no membership'
  if (typeof named === 'string' || !membership) return refuse(String(named))
  const left = membership.members.filter(
    ({ node, standing, isInMaintenance }) => standing === 'voting' && !isInMaintenance && !named.includes(node),
  )
  if (isOn && left.length === 0) return refuse('nobody would be left to vote: leave one room out')
  return {
    isTaken: true,
    nodes: named,
    text: `an epoch is requested in which ${named.join(', ')} ${isOn ? 'is' : 'is no more'} in maintenance`,
  }
}

/** Whether it is carried out is checked by the coordinator, whose answer is on the Node (docs/protocol/operator.md). */
function answerUnfence(state: State, { rooms, nodes, by }: Named): RequestReply {
  const { membership } = state.durable
  const reason = withoutBasis(state, by)
  if (reason !== null || !membership) return refuse(String(reason))
  const named = namedNodes(membership, rooms, nodes)
  if (typeof named === 'string') return refuse(named)
  const fenced = fencedNodes(membership).filter((node) => named.includes(node))
  if (fenced.length === 0) return { isTaken: true, nodes: named, text: `${named.join(', ')} not fenced` }
  if (!state.process.isApiReachable)
    return refuse(`${state.self.node} reaches no API server, and an un-fence needs one: ask a node that does`)
  return {
    isTaken: true,
    nodes: named,
    text: `the un-fence of ${fenced.join(', ')} is requested; a rejection is written on the node: kubectl describe node ${fenced[0] ?? ''} (roomfence.io/unfence-answer)`,
  }
}

/** @returns whether the word is given to the protocol, or why not and what to do; the voters may still refuse by what they have heard. */
export function answerConfirmation(state: State, { rooms, nodes, by }: Named, nowMs: number): RequestReply {
  const { membership } = state.durable
  const reason = withoutBasis(state, by, 'say who confirms it')
  if (reason !== null || !membership) return refuse(String(reason))
  const named = namedNodes(membership, rooms, nodes)
  if (typeof named === 'string') return refuse(named)
  if (named.includes(state.self.node)) return refuse(`${state.self.node} is alive: it answers you`)
  if (memberOf(membership, state.self.node)?.standing === 'fenced')
    return refuse(`${state.self.node} has learned its own fence in epoch ${membership.epoch}: the other side goes on, ask there`)
  const alive = evidenceOfLife(state, named, nowMs)
  if (alive !== null) return refuse(`${alive}: refused; switch it off first`)
  const open = named.filter((node) => memberOf(membership, node)?.standing !== 'fenced')
  if (open.length === 0)
    return { isTaken: true, nodes: named, text: `the confirmation of ${by} is the proof of the fence of ${named.join(', ')}` }
  if (hasPermit(state, nowMs))
    return refuse(
      `${state.self.node} has a permit: a majority is here, and silent nodes are fenced without a confirmation; wait for the fence of ${open.join(', ')}, and confirm again if that waits for a proof`,
    )
  return { isTaken: true, nodes: named, text: `a forced epoch is requested, by the confirmation of ${by}: it fences ${open.join(', ')}` }
}

/** Of a node that is fenced, by an annotation of its Node that names the fence: it stands already, and wants its proof alone. */
export function answerFencedConfirmation(state: State, node: NodeId, by: string, nowMs: number): RequestReply {
  const alive = evidenceOfLife(state, [node], nowMs)
  if (alive !== null) return refuse(`${by} confirms ${node} dead, but ${alive}: refused; switch it off first`)
  return { isTaken: true, nodes: [node], text: `${by} confirms that ${node} is dead: that is the proof of its fence` }
}

/** @returns a sentence with the evidence, or null. */
export function evidenceOfLife(state: State, nodes: readonly NodeId[], nowMs: number): string | null {
  for (const node of nodes) {
    const life = signOfLife(state, node, nowMs)
    if (life) return life.over === 'heartbeats' ? `${node} was heard ${life.agoMs} ms ago` : `a DRBD connection to ${node} is up`
  }
  return null
}

function namedNodes(membership: Membership, rooms: readonly string[], nodes: readonly string[]): readonly NodeId[] | string {
  const known = [...new Set(membership.members.map(({ room }) => String(room)))]
  const stranger = rooms.find((room) => !known.includes(room))
  if (stranger !== undefined) return `room ${stranger} is not known here, only ${known.join(', ')}`
  const unknown = nodes.find((name) => !membership.members.some(({ node }) => node === name))
  if (unknown !== undefined) return `node ${unknown} is not a member: ${membership.members.map(({ node }) => node).join(', ')}`
  const named = membership.members.filter(({ node, room }) => rooms.includes(room) || nodes.includes(node)).map(({ node }) => node)
  return named.length > 0 ? named : 'no room and no node is named'
}
