/** A person's word that nodes are dead: what speaks against it here, before it is given to the protocol (docs/protocol.md, "People"). Pure. */
import { contactOf, lastLifeMs } from '../protocol/contact.ts'
import type { NodeId } from '../protocol/ids.ts'
import { type Membership, memberOf } from '../protocol/membership.ts'
import { holdsPermit } from '../protocol/running.ts'
import type { State } from '../protocol/state.ts'

export interface Confirmation {
  /** A room or nodes, at least one of them. */
  readonly rooms: readonly string[]
  readonly nodes: readonly string[]
  readonly by: string
}

export type ConfirmationAnswer =
  | { readonly isTaken: true; readonly nodes: readonly NodeId[]; readonly by: string; readonly text: string }
  | { readonly isTaken: false; readonly text: string }

const refuse = (text: string): ConfirmationAnswer => ({ isTaken: false, text })

/** @returns whether the word is given to the protocol, or why not and what to do; the voters may still refuse by what they have heard. */
export function answerConfirmation(state: State, { rooms, nodes, by }: Confirmation, nowMs: number): ConfirmationAnswer {
  const { membership } = state.durable
  if (!membership) return refuse(`${state.self.node} knows no membership yet: run roomfence init`)
  if (by.trim() === '') return refuse('by is empty: say who confirms it')
  const named = namedNodes(membership, rooms, nodes)
  if (typeof named === 'string') return refuse(named)
  if (named.includes(state.self.node)) return refuse(`${state.self.node} is alive: it answers you`)
  if (memberOf(membership, state.self.node)?.standing === 'fenced')
    return refuse(`${state.self.node} has learned its own fence in epoch ${membership.epoch}: the other side goes on, ask there`)
  const alive = evidenceOfLife(state, named, nowMs)
  if (alive !== null) return refuse(`${alive}: refused; switch it off first`)
  const open = named.filter((node) => memberOf(membership, node)?.standing !== 'fenced')
  if (open.length === 0)
    return { isTaken: true, nodes: named, by, text: `the word of ${by} is the proof of the fence of ${named.join(', ')}` }
  if (holdsPermit(state, nowMs))
    return refuse(
      `${state.self.node} holds a permit: a majority is here, and silent nodes are fenced without a person's word; wait for the fence of ${open.join(', ')}, and say it again if that waits for a proof`,
    )
  return { isTaken: true, nodes: named, by, text: `a forced epoch is asked for, on the word of ${by}: it fences ${open.join(', ')}` }
}

/** @returns a sentence with the evidence, or null. */
export function evidenceOfLife(state: State, nodes: readonly NodeId[], nowMs: number): string | null {
  for (const node of nodes) {
    const contact = contactOf(state, node)
    const agoMs = Math.round(nowMs - lastLifeMs(contact))
    if (agoMs >= state.timings.detectMs) continue
    return contact.heardAtMs >= contact.storageAtMs ? `${node} was heard ${agoMs} ms ago` : `a DRBD connection to ${node} is up`
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
