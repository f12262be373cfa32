/** What this agent keeps on disk, checked when it is read: its incarnation, the protocol's durable part, and what it remembers of replicas. */
import type { ReplicaMemory } from '../../drbd/memory.ts'
import { parseAccepted, parseMembership } from '../../evidence/membership-schema.ts'
import { bootId, type Incarnation, incarnation, nodeId } from '../../protocol/ids.ts'
import type { Ballot } from '../../protocol/messages.ts'
import type { Durable } from '../../protocol/state.ts'

export interface KeptState {
  readonly incarnation: Incarnation
  /** Null until a membership was learned or something was promised. */
  readonly durable: Durable | null
}

type Fields = { readonly [field: string]: unknown }

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${what} is not a mapping`)
  return value as Fields
}

function text(fields: Fields, field: string): string {
  const value = fields[field]
  if (typeof value !== 'string' || value === '') throw new Error(`${field} is not a text`)
  return value
}

function whole(fields: Fields, field: string): number {
  const value = fields[field]
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw new Error(`${field} is not a whole number`)
  return value
}

function ballotOf(value: unknown): Ballot {
  const fields = fieldsOf(value, 'promised')
  return { round: whole(fields, 'round'), node: nodeId(text(fields, 'node')), incarnation: incarnation(text(fields, 'incarnation')) }
}

/** @throws Error naming the field. */
export function parseKeptState(value: unknown): KeptState {
  const kept = fieldsOf(value, 'the state')
  const own = incarnation(text(kept, 'incarnation'))
  if (kept['durable'] === null) return { incarnation: own, durable: null }
  const fields = fieldsOf(kept['durable'], 'durable')
  const seen = fields['witnessSeen'] === null ? null : fieldsOf(fields['witnessSeen'], 'witnessSeen')
  return {
    incarnation: own,
    durable: {
      membership: fields['membership'] === null ? null : parseMembership(fields['membership']),
      promised: fields['promised'] === null ? null : ballotOf(fields['promised']),
      accepted: fields['accepted'] === null ? null : parseAccepted(fields['accepted']),
      round: whole(fields, 'round'),
      // A state written before this was kept: it is found out again.
      installedEpoch: 'installedEpoch' in fields ? whole(fields, 'installedEpoch') : -1,
      killedEpoch: whole(fields, 'killedEpoch'),
      // A state written before there was such a wait: who runs by it is not paused anew.
      freedEpoch: whole(fields, 'freedEpoch' in fields ? 'freedEpoch' : 'killedEpoch'),
      witnessSeen: seen && { incarnation: text(seen, 'incarnation'), version: whole(seen, 'version') },
      bootId: bootId(text(fields, 'bootId')),
    },
  }
}

/** By resource and peer: the epoch in which freeze mode was stated. */
export type FreezeStatements = ReadonlyMap<string, ReadonlyMap<string, number>>

/** What must be known of replicas after a restart of the agent. */
export interface KeptReplicas {
  readonly memory: ReadonlyMap<string, ReplicaMemory>
  /** Peers that this agent has disconnected or unlocked, by resource. */
  readonly touched: ReadonlyMap<string, ReadonlySet<string>>
  /** When fenced peers last stated freeze mode. */
  readonly stated: FreezeStatements
}

export const NO_REPLICAS: KeptReplicas = { memory: new Map(), touched: new Map(), stated: new Map() }

const setsOf = (value: unknown, what: string): ReadonlyMap<string, ReadonlySet<string>> =>
  new Map(
    Object.entries(fieldsOf(value, what)).map(([resource, peers]) => {
      if (!Array.isArray(peers) || !peers.every((peer) => typeof peer === 'string'))
        throw new Error(`${what}.${resource} is not a list of nodes`)
      return [resource, new Set<string>(peers)]
    }),
  )

/** An earlier version kept the names alone: nobody knows when those were said. */
const statementsOf = (value: unknown): FreezeStatements =>
  new Map(
    Object.entries(fieldsOf(value, 'stated')).map(([resource, peers]) => {
      if (Array.isArray(peers)) return [resource, new Map<string, number>()]
      const epochs = fieldsOf(peers, `stated.${resource}`)
      return [resource, new Map(Object.keys(epochs).map((peer) => [peer, whole(epochs, peer)]))]
    }),
  )

export function parseKeptReplicas(value: unknown): KeptReplicas {
  const fields = fieldsOf(value, 'replicas')
  const memory = new Map<string, ReplicaMemory>()
  for (const [resource, peers] of Object.entries(fieldsOf(fields['memory'], 'memory')))
    memory.set(
      resource,
      new Map(
        Object.entries(fieldsOf(peers, resource)).map(([peer, wasUpToDate]) => [peer, { wasUpToDate: wasUpToDate === true, readAtMs: 0 }]),
      ),
    )
  return { memory, touched: setsOf(fields['touched'], 'touched'), stated: statementsOf(fields['stated']) }
}

/** As JSON: times of another boot mean nothing and are left out. */
export function replicasAsJson({ memory, touched, stated }: KeptReplicas): unknown {
  const lists = (sets: ReadonlyMap<string, ReadonlySet<string>>) =>
    Object.fromEntries([...sets].map(([resource, peers]) => [resource, [...peers]]))
  return {
    memory: Object.fromEntries(
      [...memory].map(([resource, peers]) => [
        resource,
        Object.fromEntries([...peers].map(([peer, { wasUpToDate }]) => [peer, wasUpToDate])),
      ]),
    ),
    touched: lists(touched),
    stated: Object.fromEntries([...stated].map(([resource, peers]) => [resource, Object.fromEntries(peers)])),
  }
}
