/** The virtual world around the shipped decision code: nodes, disks, clocks, watchdogs, links, the witness, and VMs that can write. */
import { bootId, clusterId, type Incarnation, incarnation, type NodeId, nodeId, type Room, room } from '../protocol/ids.ts'
import { digestOf, genesis, type Membership, memberOf } from '../protocol/membership.ts'
import type { Message, Register, WitnessAnswer, WitnessRequest } from '../protocol/messages.ts'
import { coordinator } from '../protocol/contact.ts'
import { nodeProof } from '../protocol/proof.ts'
import { holdsPermit, mayPet, mustKill } from '../protocol/running.ts'
import { type Brakes, type ContainmentLevel, type Durable, type Effect, type Input, start, type State } from '../protocol/state.ts'
import { step } from '../protocol/step.ts'
import type { Timings } from '../protocol/timings.ts'
import { type Random, randomFrom } from './random.ts'
import { createTimeline, type Timeline } from './timeline.ts'

export interface WorldOptions {
  readonly seed: number
  readonly rooms: number
  readonly nodesARoom: number
  readonly hasWitness: boolean
  readonly vms: number
  readonly timings: Timings
  readonly watchdogMs: number | null
  readonly isTracing: boolean
}

export interface Copy {
  readonly vm: number
  readonly node: string
  state: 'running' | 'paused' | 'dead'
}

export interface SimNode {
  readonly name: NodeId
  readonly room: Room
  incarnation: Incarnation
  disk: Durable | null
  boot: number
  /** Counts agent processes: what was sent to an earlier one is not for this one. */
  life: number
  isPowered: boolean
  state: State | null
  /** Stopped by the kernel or a debugger until then: nothing of the agent happens, true ms. */
  stoppedUntilMs: number
  readonly rate: number
  readonly offsetMs: number
  watchdogPettedAtMs: number
  watchdogPlan: number
  containment: number
}

export interface Violation {
  readonly property: string
  readonly text: string
  readonly atMs: number
}

export interface LinkFault {
  isCut: boolean
  loss: number
  delayMs: number
  jitterMs: number
}

export interface World {
  readonly options: WorldOptions
  readonly timeline: Timeline
  readonly random: Random
  readonly nodes: ReadonlyMap<string, SimNode>
  readonly copies: Copy[]
  readonly violations: Violation[]
  readonly log: string[]
  readonly counts: Map<string, number>
  /** Fault of the way from `a` to `b`; names are nodes or `witness`. */
  link(a: string, b: string): LinkFault
  witness: { isUp: boolean; register: Register }
  powerOff(name: string): void
  powerOn(name: string): void
  crashAgent(name: string, backAfterMs: number): void
  stopAgent(name: string, forMs: number): void
  feed(name: string, input: Input): void
  localMs(node: SimNode): number
  note(text: string): void
  violate(property: string, text: string): void
}

const TICK_MS = 100
const brakes: Brakes = { isDryRun: false, isPaused: false, maxFencedShare: 0.7 }

export function createWorld(options: WorldOptions): World {
  const { timings } = options
  const timeline = createTimeline()
  const random = randomFrom(options.seed)
  const nodes = new Map<string, SimNode>()
  const links = new Map<string, LinkFault>()
  const copies: Copy[] = []
  const violations: Violation[] = []
  const log: string[] = []
  const counts = new Map<string, number>()
  const chosen = new Map<number, string>()
  const roomNames = ['a', 'b', 'c'].slice(0, options.rooms)
  const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1)
  const note = (text: string): void => {
    if (options.isTracing) log.push(`${(timeline.nowMs / 1000).toFixed(3).padStart(9)} ${text}`)
  }
  const violate = (property: string, text: string): void => {
    violations.push({ property, text, atMs: timeline.nowMs })
    note(`VIOLATION ${property}: ${text}`)
  }
  for (const roomName of roomNames)
    for (let i = 1; i <= options.nodesARoom; i++) {
      const name = nodeId(`${roomName}${i}`)
      nodes.set(name, {
        name,
        room: room(roomName),
        incarnation: incarnation(`${name}-1`),
        disk: null,
        boot: 1,
        life: 0,
        isPowered: true,
        state: null,
        stoppedUntilMs: -Infinity,
        rate: 1 + random.between(-0.5, 0.5) * timings.clockRateError,
        offsetMs: random.between(0, 1e6),
        watchdogPettedAtMs: -Infinity,
        watchdogPlan: 0,
        containment: 0,
      })
    }
  const first = genesis(
    clusterId('sim'),
    [...nodes.values()].map((node) => ({ node: node.name, room: node.room, incarnation: node.incarnation, addresses: [] })),
    room('a'),
    options.hasWitness ? 'w0' : null,
  )
  const witness = { isUp: options.hasWitness, register: { incarnation: 'w0', version: 1, membership: first, accepted: null } as Register }
  const localMs = (node: SimNode): number => node.offsetMs + timeline.nowMs * node.rate
  const link = (a: string, b: string): LinkFault => {
    const key = `${a}>${b}`
    const known = links.get(key)
    if (known) return known
    const fresh: LinkFault = { isCut: false, loss: 0, delayMs: 0.3, jitterMs: 0.5 }
    links.set(key, fresh)
    return fresh
  }
  const travel = (from: string, to: string, arrive: () => void): void => {
    const fault = link(from, to)
    if (fault.isCut || (fault.loss > 0 && random.chance(fault.loss))) return
    timeline.in(fault.delayMs + random.next() * fault.jitterMs, arrive)
  }

  /** Gives an input to the agent now, or when it is running again. */
  const feed = (name: string, input: Input): void => {
    const node = nodes.get(name)
    if (!node?.state) return
    if (node.stoppedUntilMs > timeline.nowMs) {
      const { life } = node
      timeline.at(node.stoppedUntilMs, () => {
        if (node.life === life) feed(name, input)
      })
      return
    }
    const before = node.state.durable.membership
    const { state, effects } = step(node.state, input, localMs(node))
    node.state = state
    if (state.durable.membership !== before) count('learned')
    for (const effect of effects) carryOut(node, effect)
  }

  const carryOut = (node: SimNode, effect: Effect): void => {
    const { life } = node
    switch (effect.kind) {
      case 'persist':
        timeline.in(random.between(0.5, 8), () => {
          if (node.life !== life || !node.isPowered) return
          node.disk = effect.durable
          feed(node.name, { kind: 'persisted', version: effect.version })
        })
        return
      case 'send':
        return deliver(node, effect.to, effect.message)
      case 'witness':
        return toWitness(node, effect.request)
      case 'contain':
        return containNode(node, effect.level)
      case 'reboot':
        note(`${node.name} reboots: ${effect.reason}`)
        count('reboot')
        return reset(node)
      case 'learned':
        return onLearned(node, effect.membership)
      case 'note':
        count(`note ${effect.code}`)
        if (options.isTracing) note(`${node.name} ${effect.code}: ${effect.text}`)
    }
  }

  const deliver = (from: SimNode, to: string, message: Message): void => {
    const receiver = nodes.get(to)
    if (!receiver) return
    if (receiver === from) {
      const { life } = from
      timeline.in(0, () => {
        if (from.life === life) feed(to, { kind: 'message', from: from.name, incarnation: from.incarnation, message })
      })
      return
    }
    const { life } = receiver
    travel(from.name, to, () => {
      if (receiver.life === life && receiver.state) feed(to, { kind: 'message', from: from.name, incarnation: from.incarnation, message })
    })
  }

  const toWitness = (node: SimNode, request: WitnessRequest): void => {
    const { life } = node
    const answer = (result: WitnessAnswer): void =>
      travel('witness', node.name, () => {
        if (node.life === life) feed(node.name, { kind: 'witness', answer: result })
      })
    travel(node.name, 'witness', () => {
      if (!witness.isUp) return
      const { register } = witness
      if (request.kind === 'read') {
        const isSame = register.membership.epoch === request.epoch && digestOf(register.membership) === request.digest
        const isOpen =
          memberOf(register.membership, node.name)?.standing !== 'fenced' &&
          (!register.accepted || memberOf(register.accepted.membership, node.name)?.standing !== 'fenced')
        return answer({ kind: 'register', id: request.id, register, isCounted: isSame && isOpen })
      }
      if (request.expectedVersion !== register.version) return answer({ kind: 'conflict', id: request.id, register })
      witness.register = { ...request.register, version: register.version + 1 }
      answer({ kind: 'swapped', id: request.id, version: register.version + 1 })
    })
    timeline.in(timings.witnessReadMs, () => {
      if (node.life === life) feed(node.name, { kind: 'witness', answer: { kind: 'failed', id: request.id, reason: 'no answer' } })
    })
  }

  const setCopy = (copy: Copy, state: Copy['state']): void => {
    if (copy.state === state || copy.state === 'dead') return
    copy.state = state
    note(`vm${copy.vm} on ${copy.node} is ${state}`)
    if (state === 'running') checkSingle(copy)
  }
  const checkSingle = (copy: Copy): void => {
    for (const other of copies)
      if (other !== copy && other.vm === copy.vm && other.state === 'running')
        violate('P1', `vm${copy.vm} runs on ${other.node} and on ${copy.node}`)
  }

  const containNode = (node: SimNode, level: ContainmentLevel): void => {
    const { life, boot } = node
    const plan = ++node.containment
    timeline.in(random.between(1, 40), () => {
      if (node.boot !== boot || node.life !== life || node.containment !== plan || !node.state || node.stoppedUntilMs > timeline.nowMs)
        return
      for (const copy of copies) {
        if (copy.node !== node.name) continue
        if (level === 'kill') setCopy(copy, 'dead')
        else if (level === 'pause' && copy.state === 'running') setCopy(copy, 'paused')
        else if (level === 'none' && copy.state === 'paused' && holdsPermit(node.state, localMs(node))) setCopy(copy, 'running')
      }
      feed(node.name, { kind: 'contained', level, isVerified: true })
    })
  }

  const reset = (node: SimNode): void => {
    for (const copy of copies) if (copy.node === node.name) setCopy(copy, 'dead')
    node.state = null
    node.life += 1
    node.boot += 1
    node.watchdogPettedAtMs = -Infinity
    node.watchdogPlan += 1
    if (!node.isPowered) return
    const { boot } = node
    timeline.in(random.between(5_000, 40_000), () => {
      if (node.isPowered && node.boot === boot && !node.state) startAgent(node)
    })
  }

  const startAgent = (node: SimNode): void => {
    node.life += 1
    node.stoppedUntilMs = -Infinity
    const { life } = node
    node.state = start({
      self: {
        node: node.name,
        room: node.room,
        incarnation: node.incarnation,
        bootId: bootId(`${node.name}-boot${node.boot}`),
        addresses: [],
      },
      timings,
      brakes,
      durable: node.disk,
      nowMs: localMs(node),
      seed: random.integer(1, 1e9),
    })
    note(`${node.name} agent starts (boot ${node.boot})`)
    if (node.disk === null) feed(node.name, { kind: 'genesis', membership: first })
    feed(node.name, { kind: 'watchdog', timeoutMs: options.watchdogMs })
    feed(node.name, { kind: 'contained', level: node.state.desired, isVerified: true })
    const tick = (): void => {
      if (node.life !== life) return
      if (node.stoppedUntilMs > timeline.nowMs) return timeline.at(node.stoppedUntilMs, tick)
      feed(node.name, { kind: 'storage', connected: [], isInSync: true })
      feed(node.name, { kind: 'tick' })
      carryOutFences(node)
      timeline.in(TICK_MS / node.rate, tick)
    }
    const pet = (): void => {
      if (node.life !== life || options.watchdogMs === null || !node.state) return
      if (node.stoppedUntilMs > timeline.nowMs) return timeline.at(node.stoppedUntilMs, pet)
      if (mayPet(node.state, localMs(node))) petWatchdog(node, options.watchdogMs)
      timeline.in(options.watchdogMs / 5, pet)
    }
    timeline.in(random.between(0, TICK_MS), tick)
    pet()
  }

  const petWatchdog = (node: SimNode, watchdogMs: number): void => {
    node.watchdogPettedAtMs = timeline.nowMs
    const plan = ++node.watchdogPlan
    timeline.in(watchdogMs, () => {
      if (node.watchdogPlan !== plan || !node.isPowered) return
      note(`${node.name} watchdog fires`)
      count('watchdog')
      reset(node)
    })
  }

  const onLearned = (node: SimNode, membership: Membership): void => {
    const digest = digestOf(membership)
    const known = chosen.get(membership.epoch)
    if (known === undefined) {
      chosen.set(membership.epoch, digest)
      count(`epoch ${membership.cause.kind}`)
      note(`epoch ${membership.epoch} chosen: ${JSON.stringify(membership.cause)}`)
    } else if (known !== digest) violate('P2', `${node.name} learned another epoch ${membership.epoch}`)
  }

  /** The failover, reduced to its safety: the coordinator orders a VM elsewhere once the node that ran it is proved to have stopped. */
  const carryOutFences = (node: SimNode): void => {
    const { state } = node
    const membership = state?.durable.membership
    if (!state || !membership || state.persistedVersion < state.durableVersion) return
    const nowMs = localMs(node)
    if (membership.members.every((member) => member.standing !== 'fenced') || coordinator(state, nowMs) !== node.name || mustKill(state))
      return
    for (const member of membership.members) {
      if (member.standing !== 'fenced' || !nodeProof(state, member.node, nowMs).isHeld) continue
      for (let vm = 0; vm < options.vms; vm++) {
        const placed = placement.get(vm)
        if (placed !== member.node) continue
        const target = [...nodes.values()].find(
          (other) =>
            other.state &&
            other.isPowered &&
            memberOf(membership, other.name)?.standing !== 'fenced' &&
            holdsPermit(other.state, localMs(other)),
        )
        if (!target) continue
        placement.set(vm, target.name)
        count('failover')
        note(`${node.name} orders vm${vm} from ${member.node} to ${target.name}`)
        const copy: Copy = { vm, node: target.name, state: 'running' }
        copies.push(copy)
        checkSingle(copy)
      }
    }
  }
  const placement = new Map<number, NodeId>()

  const world: World = {
    options,
    timeline,
    random,
    nodes,
    copies,
    violations,
    log,
    counts,
    link,
    witness,
    localMs,
    note,
    violate,
    feed,
    powerOff: (name) => {
      const node = nodes.get(name)
      if (!node?.isPowered) return
      note(`${name} loses power`)
      node.isPowered = false
      reset(node)
    },
    powerOn: (name) => {
      const node = nodes.get(name)
      if (!node || node.isPowered) return
      note(`${name} gets power`)
      node.isPowered = true
      reset(node)
    },
    crashAgent: (name, backAfterMs) => {
      const node = nodes.get(name)
      if (!node?.state) return
      note(`${name} agent crashes`)
      node.state = null
      node.life += 1
      const { life, boot } = node
      timeline.in(backAfterMs, () => {
        if (node.life === life && node.boot === boot && node.isPowered) startAgent(node)
      })
    },
    stopAgent: (name, forMs) => {
      const node = nodes.get(name)
      if (!node) return
      note(`${name} agent is stopped for ${Math.round(forMs)} ms`)
      node.stoppedUntilMs = Math.max(node.stoppedUntilMs, timeline.nowMs + forMs)
    },
  }
  const all = [...nodes.values()]
  for (const node of all) startAgent(node)
  for (let vm = 0; vm < options.vms; vm++) {
    const node = all[vm % all.length]
    if (!node) continue
    placement.set(vm, node.name)
    copies.push({ vm, node: node.name, state: 'running' })
  }
  return world
}
