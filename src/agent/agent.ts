/** `roomfence agent`: one process a node. Makes the adapters, joins them to the protocol, and stops in good order. */
import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import pRetry from 'p-retry'
import type { Configuration } from '../config/schema.ts'
import { DurableError } from '../disk/durable-error.ts'
import { startApiProbe } from '../evidence/api-probe.ts'
import { openKeyRing } from '../evidence/keys.ts'
import { createTransport, type Peer } from '../evidence/transport.ts'
import { createKubeClient, type KubeClient } from '../kubernetes/client.ts'
import { kubeconfigCredentials, serviceAccountCredentials } from '../kubernetes/credentials.ts'
import { createLog } from '../observe/log.ts'
import { createMetrics } from '../observe/metrics.ts'
import { startObserveServer } from '../observe/server.ts'
import { bootId, type NodeId, nodeId, type Room } from '../protocol/ids.ts'
import { type Address, fencedNodes, memberOf } from '../protocol/membership.ts'
import { holdsPermit } from '../protocol/running.ts'
import { start } from '../protocol/state.ts'
import { statementOf } from '../protocol/step.ts'
import { createHttpWitness } from '../witness/http-client.ts'
import type { WitnessClient } from '../witness/register.ts'
import { createCapacityCount } from './capacity.ts'
import { controlSocket, type Demand, startControl } from './control.ts'
import { answerConfirmation, answerMaintenance, answerPause, answerUnfence, type DemandAnswer } from './demands.ts'
import { tellOnNode } from './confirmation.ts'
import { createFences } from './fences.ts'
import { podsNotBound } from './bound-pods.ts'
import { createGuard } from './guard.ts'
import { type RunningAgent, runInert } from './inert.ts'
import { openState } from './kept-state.ts'
import { createLoop, TICK_MS } from './loop.ts'
import { publishWord, readGenesis, readRoom } from './membership-source.ts'
import { statusOf, updateMetrics } from './status.ts'
import { createStorage } from './storage.ts'
import { unfenceWord } from './requests-on-nodes.ts'
import { askOnNode } from './unfence-request.ts'

const RETRY_MS = 1_000
const API_PROBE_EVERY_MS = 2_000
/** An API server that takes seconds is slow, not away: handing a failover over to another agent only adds to what it has to do. */
const API_PROBE_TIMEOUT_MS = 5_000
const LEAVE_WITHIN_MS = 10_000
/** The protocol's loop has not ticked for so long: this agent is stuck. */
const STUCK_MS = 10_000

const nowMs = (): number => performance.now()
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Addresses under which the others reach this node. */
function advertised(configuration: Configuration): readonly Address[] {
  return configuration.paths.map((path) => ({
    path: path.name,
    host: path.advertiseHost ?? path.listenHost,
    port: path.advertisePort ?? path.listenPort,
  }))
}

/** @throws ConfigurationError, DurableError, KeyError, CredentialsError or the system's error: each says what is wrong and what to do. */
export async function runAgent(configuration: Configuration): Promise<RunningAgent> {
  const log = createLog(configuration.log.level, configuration.node)
  const metrics = createMetrics()
  const node = nodeId(configuration.node)
  const boot = bootId(readFileSync(configuration.bootIdFile, 'utf8').trim())
  const client: KubeClient = createKubeClient({
    credentials:
      configuration.cluster.kubeconfig === '' ? serviceAccountCredentials() : kubeconfigCredentials(configuration.cluster.kubeconfig),
    timeoutMs: configuration.timings.apiCallMs,
    userAgent: 'roomfence',
    onCall: ({ method, outcome }) => metrics.kubernetesCalls.inc({ method, outcome }),
  })
  const opened = await openState(configuration.stateDirectory).catch((error: unknown) => {
    if (error instanceof DurableError && (error.code === 'corrupt' || error.code === 'lost')) return error
    throw error
  })
  if (opened instanceof DurableError) return runInert(configuration, opened, log, metrics)
  const { store, replicaStore, kept, own, durable } = opened
  log.info({ incarnation: own, boot, epoch: durable?.membership?.epoch ?? null }, 'agent starts')

  const stopping = new AbortController()
  const ownRoom = await roomOfThisNode()
  async function roomOfThisNode(): Promise<Room> {
    const known = durable?.membership && memberOf(durable.membership, node)
    if (known) return known.room
    // Without its room an agent can say nothing: it asks for as long as it takes.
    return pRetry(() => readRoom(client, node, configuration.cluster.roomLabel), {
      retries: Infinity,
      factor: 1.5,
      minTimeout: RETRY_MS / 4,
      maxTimeout: 5 * RETRY_MS,
      shouldRetry: () => true,
      onFailedAttempt: ({ attemptNumber, error }) => {
        if (attemptNumber % 10 === 1) log.warn(`waiting to learn this node's room: ${error.message}`)
      },
    })
  }
  const addresses = advertised(configuration)
  const keyRing = openKeyRing(
    {
      file: configuration.keys.file,
      ...(configuration.keys.previousFile === undefined ? {} : { previousFile: configuration.keys.previousFile }),
    },
    (problem) => log.error(problem),
  )
  const strangers = new Map<NodeId, readonly Address[]>()
  const transport = await createTransport({
    node,
    incarnation: own,
    paths: configuration.paths.map(({ name, listenHost, listenPort }) => ({ name, listenHost, listenPort })),
    keys: keyRing,
    clock: nowMs,
    onRefused: (reason) => metrics.packetsRefused.inc({ reason }),
    onStranger: (from, _life, join) => {
      strangers.set(from, join.addresses)
      setPeers()
    },
  })
  const witness: WitnessClient | null =
    configuration.witness.kind === 'http' ? createHttpWitness({ ...configuration.witness, reader: { node, incarnation: own } }) : null

  const loop = createLoop(
    start({
      self: { node, room: ownRoom, incarnation: own, bootId: boot, addresses },
      timings: configuration.timings,
      brakes: {
        isDryRun: configuration.isDryRun,
        maxFencedShare: configuration.failover.maxFencedShare,
        maxFencedShareOfRoom: configuration.failover.maxFencedShareOfRoom,
      },
      durable,
      nowMs: nowMs(),
      seed: randomInt(1, 2 ** 31),
    }),
    {
      nowMs,
      persist: async (next) => {
        const end = metrics.persistSeconds.startTimer()
        try {
          await store.save({ incarnation: own, durable: next })
        } catch (error) {
          metrics.persistFailures.inc()
          log.error({ error }, 'the durable state was not written: this node says nothing until it is')
          await pause(RETRY_MS)
          throw error
        } finally {
          end()
        }
      },
      send: (to, message) => transport.send(to, message),
      askWitness: (request) =>
        witness?.request(request, stopping.signal) ??
        Promise.resolve({ kind: 'failed', id: request.id, reason: 'no witness is configured here' }),
      contain: (level) => guard.contain(level),
      reboot: (reason) => guard.reboot(reason),
      isAllBound: async () => {
        const strangers = await podsNotBound(client, node, await guard.alive(), stopping.signal)
        if (strangers.length > 0)
          log.warn({ pods: strangers }, 'pods that were deleted meanwhile are still here: all stays paused until their end')
        return strangers.length === 0
      },
      onLearned: (membership, before) => {
        setPeers()
        storage.onLearned(membership, before)
        fences.onLearned(membership, before)
        log.warn(
          { epoch: membership.epoch, cause: membership.cause, fenced: fencedNodes(membership) },
          `epoch ${membership.epoch}: ${membership.cause.kind}`,
        )
        if (membership.cause.kind === 'fence' || membership.cause.kind === 'forced') metrics.fences.inc()
      },
      onNote: (code, text, nodes) => {
        if (code === 'veto') metrics.vetoes.inc()
        if (code === 'permit-lost') metrics.permitLosses.inc()
        if (code === 'late') metrics.late.inc()
        const line = { note: code, ...(nodes.length === 0 ? {} : { nodes }) }
        if (code === 'conflict' || code === 'told-fenced' || code === 'permit-lost' || code === 'fence-chosen') log.warn(line, text)
        else if (code === 'learned') log.debug(line, text)
        else log.info(line, text)
      },
    },
  )

  function setPeers(): void {
    const peers = new Map<NodeId, Peer>()
    for (const [stranger, at] of strangers) peers.set(stranger, { node: stranger, addresses: at })
    for (const member of loop.state().durable.membership?.members ?? [])
      peers.set(member.node, { node: member.node, addresses: member.addresses })
    for (const peer of peers.values()) {
      const given = configuration.peerAddresses[peer.node]
      if (given) peers.set(peer.node, { node: peer.node, addresses: given })
    }
    transport.setPeers([...peers.values()])
  }

  const storage = createStorage({
    drbd: configuration.drbd,
    nowMs,
    state: loop.state,
    store: replicaStore,
    kept,
    send: (to, report) => transport.send(to, report),
    onEvidence: (connected, isInSync) => loop.feed({ kind: 'storage', connected, isInSync }),
    onChange: () => fences.poke(),
    isDryRun: configuration.isDryRun,
    log,
  })
  const { distrustReplicas, drbd } = storage
  const guard = createGuard({ configuration, drbd, distrustReplicas, nowMs, state: loop.state, feed: loop.feed, log, metrics })
  const fences = createFences({
    configuration,
    client,
    nowMs,
    state: loop.state,
    storageFacts: storage.facts,
    reported: storage.reported,
    requestUnfence: (nodes, by) => loop.feed({ kind: 'unfence', nodes, by }),
    confirmDead: (dead, by) => loop.feed({ kind: 'confirm-dead', nodes: dead, by }),
    log,
    metrics,
  })
  const capacity = createCapacityCount({
    client,
    nowMs,
    everyMs: configuration.failover.capacityEveryMs,
    membership: () => loop.state().durable.membership,
    isMine: () => fences.isCoordinator() && loop.state().process.isApiReachable && fences.underWay().length === 0,
    log,
    metrics,
  })
  transport.onMessage((received) => {
    if (received.message.kind === 'storage-report') storage.onReport(received, received.message)
    else loop.feed({ kind: 'message', from: received.from, incarnation: received.incarnation, message: received.message })
  })
  setPeers()
  const probe = startApiProbe({
    probe: (signal) => client.probe({ signal }),
    everyMs: API_PROBE_EVERY_MS,
    timeoutMs: API_PROBE_TIMEOUT_MS,
    clock: nowMs,
    onChange: ({ isReachable, failure }) => {
      loop.feed({ kind: 'api', isReachable: isReachable === true })
      log.info(isReachable === true ? 'the API server answers' : `the API server does not answer: ${failure}`)
    },
  })
  if (loop.state().process.desired !== 'none') guard.contain(loop.state().process.desired)

  let lastTickMs = nowMs()
  const tick = setInterval(() => {
    lastTickMs = nowMs()
    loop.feed({ kind: 'tick' })
    guard.review()
  }, TICK_MS)
  const slow = setInterval(() => {
    storage.review()
    fences.review()
    capacity.review()
    updateMetrics(metrics, loop.state(), transport.stats(), storage.counts(), nowMs())
  }, 300)
  void untilGenesis()

  /** An agent with an empty disk waits for `roomfence init`, and says who it is meanwhile. */
  async function untilGenesis(): Promise<void> {
    let isPublished = false
    for (let tries = 0; !stopping.signal.aborted; tries++) {
      try {
        if (!isPublished) await publishWord(client, node, { incarnation: own, addresses })
        isPublished = true
        if (loop.state().durable.membership) return
        const membership = await readGenesis(client, configuration.cluster.namespace)
        if (membership) loop.feed({ kind: 'genesis', membership })
        else if (tries % 30 === 0) log.warn('waiting for genesis: run "roomfence init" once every agent runs')
      } catch (error) {
        if (tries % 30 === 0) log.warn(`waiting for the API server: ${error instanceof Error ? error.message : String(error)}`)
      }
      await pause(RETRY_MS)
    }
  }

  const status = (): unknown =>
    statusOf(loop.state(), nowMs(), { underWay: fences.underWay(), isArmed: guard.isArmed(), api: probe.current() })

  const observe = await startObserveServer({
    host: configuration.observe.host,
    port: configuration.observe.port,
    metrics: () => metrics.registry.metrics(),
    unhealthy: () => (nowMs() - lastTickMs > STUCK_MS ? `the protocol has not run for ${Math.round(nowMs() - lastTickMs)} ms` : null),
    unready: () => {
      const { membership } = loop.state().durable
      if (!membership) return 'no membership yet: run roomfence init'
      return holdsPermit(loop.state(), nowMs()) ? null : 'this node has no permit: its workloads are contained'
    },
    status,
  })
  function takeDemand(demand: Demand): DemandAnswer {
    const state = loop.state()
    if (demand.path === '/pause-fencing') {
      const answer = answerPause(state, demand, nowMs())
      if (answer.isTaken) loop.feed({ kind: 'pause-fencing', isPaused: demand.isPaused, by: demand.by })
      return answer
    }
    if (demand.path === '/maintenance') {
      const answer = answerMaintenance(state, demand, nowMs())
      if (answer.isTaken) loop.feed({ kind: 'maintenance', nodes: answer.nodes, isOn: demand.isOn, by: demand.by })
      return answer
    }
    if (demand.path === '/unfence') {
      const answer = answerUnfence(state, demand)
      const { membership } = state.durable
      if (answer.isTaken && membership && !configuration.isDryRun)
        for (const back of fencedNodes(membership))
          if (answer.nodes.includes(back))
            void askOnNode(back, unfenceWord(demand.by, demand.isForced), { client, signal: stopping.signal, log })
      return answer
    }
    const answer = answerConfirmation(state, demand, nowMs())
    if (answer.isTaken) {
      loop.feed({ kind: 'confirm-dead', nodes: answer.nodes, by: demand.by })
      const told = { client, state: loop.state, signal: stopping.signal, log }
      if (!configuration.isDryRun) for (const dead of answer.nodes) void tellOnNode(dead, demand.by, told)
    }
    return answer
  }

  const control = await startControl({
    path: controlSocket(configuration.stateDirectory),
    status,
    answer: (demand) => {
      const answer = takeDemand(demand)
      log.warn({ demand }, answer.text)
      return answer
    },
    log,
  })
  log.info({ port: observe.port, addresses }, 'agent runs')

  return {
    observePort: observe.port,
    stop: async () => {
      log.info('stopping: the others are told')
      loop.feed({ kind: 'leaving' })
      const isLeft = await guard.leave(LEAVE_WITHIN_MS)
      const statement = statementOf(loop.state())
      for (const { node: peer } of loop.state().durable.membership?.members ?? [])
        if (peer !== node) transport.send(peer, { kind: 'goodbye', statement })
      stopping.abort()
      clearInterval(tick)
      clearInterval(slow)
      probe.stop()
      fences.stop()
      capacity.stop()
      guard.stop()
      await pause(20)
      await Promise.all([transport.stop(), observe.stop(), control.stop(), storage.stop(), store.close()])
      keyRing.stop()
      witness?.close()
      client.close()
      log.info(isLeft ? 'stopped' : 'stopped, and the watchdog resets this node')
    },
  }
}
