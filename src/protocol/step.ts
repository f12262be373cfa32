/** The protocol's one entry: state and one input give the next state and what to do (docs/protocol/README.md). Pure; shared by agent and simulator. */
import type { Incarnation, NodeId, Room } from './ids.ts'
import { digestOf, memberOf, type Membership, nodeVoter, votesOf } from './membership.ts'
import type { Ack, Heartbeat, Message, Statement } from './messages.ts'
import { doorStatements, isDoorOpen, onAccept, onPrepare } from './acceptor.ts'
import { contactOf, isMember } from './contact.ts'
import { proposeNext } from './proposal.ts'
import { beforeStep, brokenInvariant } from './invariants.ts'
import { declareConflict, learn, noteInstalled, teach } from './learning.ts'
import { note, type Outbox, persisted, persistFailed, retryPersist, send } from './outbox.ts'
import { addGrant } from './permit.ts'
import { addDoors, wantsDoors } from './proof.ts'
import { advance, onAccepted, onPromise, onRefusal } from './proposer.ts'
import { breakDown, grantSelf, onBound, reviewContainment, stepBroken } from './running.ts'
import type { Input, State, Step } from './state.ts'
import { hearWitnessVersion, onWitness, pollWitness, teachWitness } from './witness-view.ts'

/**
 * One step. The given state is used up: the same object is changed and returned, because the simulator takes millions of steps.
 *
 * @param nowMs this node's monotonic clock, never less than at the step before.
 */
export function step(state: State, input: Input, nowMs: number): Step {
  if (state.process.broken) return { state, effects: stepBroken(state, input, nowMs) }
  const before = beforeStep(state, input)
  const out: Outbox = []
  take(state, out, input, nowMs)
  const broken = brokenInvariant(before, state, input, out, nowMs)
  // Nothing goes out of a step that broke one.
  return { state, effects: broken ? breakDown(state, broken, nowMs) : out }
}

function take(state: State, out: Outbox, input: Input, nowMs: number): void {
  switch (input.kind) {
    case 'tick':
      onTick(state, out, nowMs)
      break
    case 'message':
      onMessage(state, out, input.from, input.incarnation, input.message, nowMs)
      break
    case 'witness':
      onWitness(state, out, input.answer, nowMs)
      break
    case 'persisted':
      persisted(state, out, input.version)
      noteInstalled(state, out, nowMs)
      break
    case 'persist-failed':
      persistFailed(state, input.reason)
      break
    case 'storage':
      for (const node of input.connected) contactOf(state, node).storageAtMs = nowMs
      state.process.isInSync = input.isInSync
      break
    case 'api':
      state.process.isApiReachable = input.isReachable
      break
    case 'watchdog':
      state.process.watchdogMs = input.timeoutMs
      break
    case 'contained':
      onContained(state, out, input, nowMs)
      break
    case 'bound':
      onBound(state, out, input.lastFence, nowMs)
      break
    case 'unfence':
      for (const node of input.nodes) state.requests.unfence.set(node, { nodes: input.nodes, by: input.by, requestedAtMs: nowMs })
      break
    case 'confirm-dead':
      // Only of nodes that are fenced now: said of a living one it would hold for the next fence.
      for (const node of input.nodes) {
        const fence = state.epoch.fences.get(node)
        if (fence) fence.confirmedBy = input.by
        else state.requests.confirmedDead.set(node, { by: input.by, requestedAtMs: nowMs })
      }
      break
    case 'suspend-fencing':
      state.requests.suspension = { isSuspended: input.isSuspended, by: input.by, requestedAtMs: nowMs }
      break
    case 'maintenance':
      for (const node of input.nodes) state.requests.maintenance.set(node, { isOn: input.isOn, by: input.by, requestedAtMs: nowMs })
      break
    case 'leaving':
      state.process.isLeaving = true
      state.process.withdrawal = { fromSequence: state.process.sequence + 1, ackedBy: new Set() }
      state.process.heartbeatAtMs = -Infinity
      onTick(state, out, nowMs)
      break
    case 'genesis':
      if (!state.durable.membership) learn(state, out, input.membership, nowMs)
      break
  }
}

function onTick(state: State, out: Outbox, nowMs: number): void {
  if (nowMs - state.process.lastTickMs > state.timings.lateMs) {
    state.process.awakeSinceMs = nowMs
    note(out, 'late', `this agent was ${Math.round(nowMs - state.process.lastTickMs)} ms late: it accuses nobody for a while`)
  }
  state.process.lastTickMs = nowMs
  grantSelf(state)
  noteInstalled(state, out, nowMs)
  reviewContainment(state, out, nowMs)
  if (nowMs - state.process.heartbeatAtMs >= state.timings.heartbeatMs) sendHeartbeats(state, out, nowMs)
  pollWitness(state, out, nowMs)
  teachWitness(state, out, nowMs)
  advance(state, out, nowMs)
  if (!state.process.isLeaving) proposeNext(state, out, nowMs)
  askDoors(state, out, nowMs)
  retryPersist(state, out)
}

export function statementOf(state: State): Statement {
  const { membership, witnessSeen } = state.durable
  // What was seen of an incarnation before says nothing of this one: told as its own, it made a new register look restored.
  const isPresent = witnessSeen !== null && witnessSeen.incarnation === membership?.witness?.incarnation
  return {
    bootId: state.self.bootId,
    watchdogMs: state.process.isLeaving ? null : state.process.watchdogMs,
    killedEpoch: state.durable.killedEpoch,
    isInSync: state.process.isInSync,
    witnessVersion: isPresent ? witnessSeen.version : -1,
    isLeaving: state.process.isLeaving,
    isApiReachable: state.process.isApiReachable,
    isDryRun: state.brakes.isDryRun,
  }
}

function sendHeartbeats(state: State, out: Outbox, nowMs: number): void {
  const { membership } = state.durable
  state.process.heartbeatAtMs = nowMs
  if (!membership) return
  state.process.sequence += 1
  state.process.sentAtMs.set(state.process.sequence, nowMs)
  for (const sequence of state.process.sentAtMs.keys()) {
    if (sequence > state.process.sequence - 32) break
    state.process.sentAtMs.delete(sequence)
  }
  const heartbeat: Heartbeat = {
    kind: 'heartbeat',
    sequence: state.process.sequence,
    epoch: membership.epoch,
    digest: digestOf(membership),
    statement: statementOf(state),
  }
  for (const { node } of membership.members) if (node !== state.self.node) send(state, out, node, heartbeat)
  const isIn = isMember(membership, state.self.node, state.self.incarnation)
  if (isIn) return
  const { room, addresses } = state.self
  for (const { node } of membership.members) if (node !== state.self.node) send(state, out, node, { kind: 'join', room, addresses })
}

/** Every survivor asks: the coordinator for the order to start, the others because only a proof unlocks their own replicas. */
function askDoors(state: State, out: Outbox, nowMs: number): void {
  const { membership } = state.durable
  if (!membership || memberOf(membership, state.self.node)?.standing === 'fenced') return
  if (nowMs - state.process.doorsAskedAtMs < state.timings.heartbeatMs || !wantsDoors(state)) return
  state.process.doorsAskedAtMs = nowMs
  for (const { node, standing } of membership.members)
    if (standing !== 'fenced') send(state, out, node, { kind: 'ask-doors', epoch: membership.epoch })
}

function onContained(state: State, out: Outbox, input: Extract<Input, { kind: 'contained' }>, nowMs: number): void {
  if (input.level !== state.process.desired) return
  state.process.contained = { level: input.level, isVerified: input.isVerified }
  // Once for the kill that this reports, and once more for what it may allow.
  reviewContainment(state, out, nowMs)
  reviewContainment(state, out, nowMs)
}

function onMessage(state: State, out: Outbox, from: NodeId, incarnation: Incarnation, message: Message, nowMs: number): void {
  const contact = contactOf(state, from)
  if (from !== state.self.node) {
    if (contact.incarnation !== incarnation) {
      contact.incarnation = incarnation
      contact.epoch = -1
      contact.digest = ''
      contact.inSyncSinceMs = Infinity
    }
    if (message.kind !== 'consent') contact.heardAtMs = nowMs
  }
  const voter = nodeVoter(from, incarnation)
  switch (message.kind) {
    case 'heartbeat':
      return onHeartbeat(state, out, from, incarnation, message, nowMs)
    case 'ack':
      return onAck(state, out, from, incarnation, message, nowMs)
    case 'learn':
      return learn(state, out, message.membership, nowMs)
    case 'want': {
      const { membership } = state.durable
      if (membership && membership.epoch > message.epoch) send(state, out, from, { kind: 'learn', membership })
      return
    }
    case 'prepare':
      return onPrepare(state, out, from, message, nowMs)
    case 'promise':
      return onPromise(state, out, voter, message, nowMs)
    case 'refusal':
      return onRefusal(state, out, from, message, nowMs)
    case 'accept':
      return onAccept(state, out, from, message, nowMs)
    case 'accepted':
      return onAccepted(state, out, voter, message, nowMs)
    case 'ask-doors': {
      const { membership } = state.durable
      if (membership && membership.epoch >= message.epoch)
        send(state, out, from, { kind: 'doors', epoch: membership.epoch, doors: doorStatements(state, nowMs) })
      return
    }
    case 'doors': {
      const { membership } = state.durable
      if (membership && message.epoch >= membership.epoch) addDoors(state, voter, message.doors, nowMs)
      return
    }
    case 'consent':
      contact.statement = message.statement
      return
    case 'join':
      state.process.joins.set(from, { incarnation, room: message.room as Room, addresses: message.addresses, atMs: nowMs })
      return
  }
}

function onHeartbeat(state: State, out: Outbox, from: NodeId, incarnation: Incarnation, heartbeat: Heartbeat, nowMs: number): void {
  const contact = contactOf(state, from)
  contact.statement = heartbeat.statement
  contact.epoch = heartbeat.epoch
  contact.digest = heartbeat.digest
  if (!heartbeat.statement.isInSync) contact.inSyncSinceMs = Infinity
  else if (contact.inSyncSinceMs === Infinity) contact.inSyncSinceMs = nowMs
  const { membership } = state.durable
  if (!membership) return send(state, out, from, { kind: 'want', epoch: -1 as Heartbeat['epoch'] })
  if (heartbeat.epoch > membership.epoch) return send(state, out, from, { kind: 'want', epoch: membership.epoch })
  if (heartbeat.epoch < membership.epoch) return teach(state, out, from, nowMs)
  if (heartbeat.digest !== digestOf(membership)) return conflictWith(state, out, membership)
  // In the same epoch alone: another one may have another register, and its versions say nothing of this one's.
  hearWitnessVersion(state, out, heartbeat.statement.witnessVersion, nowMs)
  noteInstalled(state, out, nowMs)
  if (!mayAck(state, membership, from, incarnation)) return
  contact.ackedAtMs = nowMs
  send(state, out, from, { kind: 'ack', sequence: heartbeat.sequence, epoch: membership.epoch, digest: heartbeat.digest })
}

const conflictWith = (state: State, out: Outbox, membership: Membership): void => declareConflict(state, out, membership)

/** Only who votes acks, only members in their present incarnation, and only through an open door. */
function mayAck(state: State, membership: Membership, node: NodeId, incarnation: string): boolean {
  if (state.epoch.hasConflict || !votesOf(membership).has(nodeVoter(state.self.node, state.self.incarnation))) return false
  return isMember(membership, node, incarnation) && isDoorOpen(state, node)
}

function onAck(state: State, out: Outbox, from: NodeId, incarnation: Incarnation, ack: Ack, nowMs: number): void {
  const { membership } = state.durable
  const sentAtMs = state.process.sentAtMs.get(ack.sequence)
  if (!membership || sentAtMs === undefined || ack.epoch !== membership.epoch || ack.digest !== digestOf(membership)) return
  const voter = nodeVoter(from, incarnation)
  if (!votesOf(membership).has(voter)) return
  addGrant(state.epoch.grants, voter, sentAtMs, state.timings.permitMs)
  if (state.process.withdrawal && ack.sequence >= state.process.withdrawal.fromSequence) state.process.withdrawal.ackedBy.add(voter)
  if (state.process.desired === 'pause' || !state.process.hasHadPermit) reviewContainment(state, out, nowMs)
}
