/** States for the protocol's tests: two rooms of two, all voting, with a witness; nothing here decides. */
import { bootId, clusterId, type Incarnation, incarnation, type NodeId, nodeId, room } from '../../src/protocol/ids.ts'
import type { FenceView } from '../../src/protocol/epoch.ts'
import { digestOf, genesis, type Membership, nextEpoch, withStanding } from '../../src/protocol/membership.ts'
import type { Ballot, Message, Statement } from '../../src/protocol/messages.ts'
import { type Durable, type Effect, type Input, start, type State } from '../../src/protocol/state.ts'
import { step } from '../../src/protocol/step.ts'
import { defaultTimings } from '../../src/protocol/timings.ts'

export const names = ['a1', 'a2', 'b1', 'b2'].map(nodeId)

export const first: Membership = genesis(
  clusterId('test'),
  names.map((node) => ({ node, room: room(node.slice(0, 1)), incarnation: lifeOf(node), addresses: [] })),
  room('a'),
  'w0',
)

export function lifeOf(node: NodeId): Incarnation {
  return incarnation(`${node}-1`)
}

export const fencing = (now: Membership, ...nodes: readonly string[]): Membership =>
  nextEpoch(now, {
    members: withStanding(now, nodes.map(nodeId), 'fenced'),
    cause: { kind: 'fence', nodes: nodes.map(nodeId), by: nodeId('a1'), reason: 'test' },
  })

export const unfencing = (now: Membership, ...nodes: readonly string[]): Membership =>
  nextEpoch(now, {
    members: withStanding(now, nodes.map(nodeId), 'observing'),
    cause: { kind: 'unfence', nodes: nodes.map(nodeId), by: 'test' },
  })

export const ballot = (round: number, node = 'a1'): Ballot => ({ round, node: nodeId(node), incarnation: lifeOf(nodeId(node)) })

/** One agent whose disk answers at once unless `isDiskStuck`, and whose API server finds all bound here unless `isCutFromApi`. */
export interface Agent {
  readonly state: State
  readonly effects: Effect[]
  isDiskStuck: boolean
  isCutFromApi: boolean
  give(input: Input, nowMs: number): readonly Effect[]
  hear(from: string, message: Message, nowMs: number): readonly Effect[]
}

export interface AgentOptions {
  readonly durable?: Partial<Durable> | null
  readonly boot?: string
  readonly nowMs?: number
  readonly isDryRun?: boolean
  readonly maxFencedShare?: number
  /** A broken invariant is what the test is about. */
  readonly mayBreak?: boolean
}

export function agent(
  node: string,
  { durable = {}, boot = 'boot1', nowMs = 0, isDryRun = false, maxFencedShare = 0.9, mayBreak = false }: AgentOptions = {},
): Agent {
  const self = { node: nodeId(node), room: room(node.slice(0, 1)), incarnation: lifeOf(nodeId(node)), bootId: bootId(boot), addresses: [] }
  const onDisk: Durable = {
    membership: first,
    promised: null,
    accepted: null,
    round: 0,
    installedEpoch: -1,
    killedEpoch: -1,
    freedEpoch: -1,
    witnessSeen: null,
    bootId: bootId('boot1'),
  }
  const state = start({
    self,
    timings: defaultTimings,
    brakes: { isDryRun, maxFencedShare, maxFencedShareOfRoom: 0.5 },
    durable: durable === null ? null : { ...onDisk, ...durable },
    nowMs,
    seed: 1,
  })
  const made: Agent = {
    state,
    effects: [],
    isDiskStuck: false,
    isCutFromApi: false,
    give: (input, atMs) => {
      const out: Effect[] = []
      const queue: Input[] = [input]
      for (let next = queue.shift(); next; next = queue.shift()) {
        const { effects } = step(state, next, atMs)
        if (state.process.broken && !mayBreak) throw new Error(`${state.process.broken.invariant}: ${state.process.broken.text}`)
        for (const effect of effects) {
          out.push(effect)
          if (effect.kind === 'persist' && !made.isDiskStuck) queue.push({ kind: 'persisted', version: effect.version })
          if (effect.kind === 'check-bound' && !made.isCutFromApi) queue.push({ kind: 'bound', lastFence: effect.lastFence })
        }
      }
      made.effects.push(...out)
      return out
    },
    hear: (from, message, atMs) => made.give({ kind: 'message', from: nodeId(from), incarnation: lifeOf(nodeId(from)), message }, atMs),
  }
  return made
}

const statement = (change: Partial<Statement> = {}): Statement => ({
  bootId: bootId('boot1'),
  watchdogMs: 5_000,
  killedEpoch: -1,
  isInSync: true,
  witnessVersion: -1,
  isLeaving: false,
  isApiReachable: true,
  isDryRun: false,
  ...change,
})

export const heartbeat = (membership: Membership, sequence = 1, change: Partial<Statement> = {}): Message => ({
  kind: 'heartbeat',
  sequence,
  epoch: membership.epoch,
  digest: digestOf(membership),
  statement: statement(change),
})

/** What a state knows of the fence of a node that is fenced in it. */
export function fenceOf(state: State, node: NodeId): FenceView {
  const fence = state.epoch.fences.get(node)
  if (!fence) throw new Error(`${node} is not fenced`)
  return fence
}

export const sent = (effects: readonly Effect[], kind: Message['kind']): readonly Message[] =>
  effects.flatMap((effect) => (effect.kind === 'send' && effect.message.kind === kind ? [effect.message] : []))
