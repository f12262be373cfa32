/** `roomfence agent`: one process a node. Makes the adapters, joins them to the protocol, and stops in good order. */
import type { Configuration } from '../config/schema.ts'
import { DurableError } from '../disk/durable-error.ts'
import { type ApiProbe, startApiProbe } from '../evidence/api-probe.ts'
import { createLog } from '../observe/log.ts'
import { createMetrics } from '../observe/metrics.ts'
import { startObserveServer } from '../observe/server.ts'
import { statementOf } from '../protocol/step.ts'
import { nowMs, sleep } from './clock.ts'
import { runInert, type RunningAgent } from './guard/inert.ts'
import { TICK_MS } from './loop.ts'
import { createParts, type Parts } from './parts.ts'
import { controlSocket, startControl } from './requests/control.ts'
import { takeRequest } from './requests/take.ts'
import { awaitGenesis } from './state/await-genesis.ts'
import { type OpenState, openState } from './state/kept-state.ts'
import { statusOf, unreadyReason, updateMetrics } from './status.ts'
import { createClient, createSurroundings, readBootId, type Surroundings } from './surroundings.ts'

const API_PROBE_EVERY_MS = 2_000
/** An API server that takes seconds is slow, not away: handing a failover over to another agent only adds to what it has to do. */
const API_PROBE_TIMEOUT_MS = 5_000
const SLOW_REVIEW_MS = 300
const LEAVE_WITHIN_MS = 10_000
/** What was sent last goes out before the sockets are closed. */
const LAST_PACKETS_MS = 20
/** The protocol's loop has not ticked for so long: this agent is stuck. */
const STUCK_MS = 10_000

/** @throws ConfigurationError, DurableError, KeyError, CredentialsError or the system's error: each says what is wrong and what to do. */
export async function runAgent(configuration: Configuration): Promise<RunningAgent> {
  const log = createLog(configuration.log.level, configuration.node)
  const metrics = createMetrics()
  const boot = readBootId(configuration)
  const client = createClient(configuration, metrics)
  const opened = await openOrDamaged(configuration)
  if (opened instanceof DurableError) return runInert(configuration, opened, log, metrics)
  log.info({ incarnation: opened.own, boot, epoch: opened.durable?.membership?.epoch ?? null }, 'agent starts')
  const surroundings = await createSurroundings({ configuration, opened, client, boot, log, metrics })
  const parts = createParts(surroundings)
  const probe = startProbe(surroundings, parts)
  const { loop, guard } = parts
  if (loop.state().process.desired !== 'none') guard.contain(loop.state().process.desired)
  const pulse = startPulse(surroundings, parts)
  void introduce(surroundings, parts)
  const servers = await startServers(surroundings, parts, { probe, pulse })
  log.info({ port: servers.observePort, addresses: surroundings.self.addresses }, 'agent runs')
  return {
    observePort: servers.observePort,
    stop: async () => stopInOrder(surroundings, parts, { probe, pulse, servers }),
  }
}

/** @returns the error where nobody knows what this node promised. */
async function openOrDamaged({ stateDirectory }: Configuration): Promise<OpenState | DurableError> {
  try {
    return await openState(stateDirectory)
  } catch (error) {
    if (error instanceof DurableError && (error.code === 'corrupt' || error.code === 'lost')) return error
    throw error
  }
}

function startProbe({ client, log }: Surroundings, { loop }: Parts): ApiProbe {
  return startApiProbe({
    probe: (signal) => client.probe({ signal }),
    everyMs: API_PROBE_EVERY_MS,
    timeoutMs: API_PROBE_TIMEOUT_MS,
    clock: nowMs,
    onChange: ({ isReachable, failure }) => {
      loop.feed({ kind: 'api', isReachable: isReachable === true })
      log.info(isReachable === true ? 'the API server answers' : `the API server does not answer: ${failure}`)
    },
  })
}

interface Pulse {
  readonly lastTickMs: () => number
  readonly stop: () => void
}

/** What is asked at every tick, and what is asked less often. */
function startPulse({ network, metrics }: Surroundings, { loop, storage, guard, fences, capacity }: Parts): Pulse {
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
    updateMetrics(metrics, loop.state(), network.transport.stats(), storage.counts(), nowMs())
  }, SLOW_REVIEW_MS)
  return {
    lastTickMs: () => lastTickMs,
    stop: () => {
      clearInterval(tick)
      clearInterval(slow)
    },
  }
}

async function introduce({ client, configuration, self, stopping, log }: Surroundings, { loop }: Parts): Promise<void> {
  const { node, incarnation, addresses } = self
  await awaitGenesis({
    client,
    node,
    namespace: configuration.cluster.namespace,
    word: { incarnation, addresses },
    isKnown: () => loop.state().durable.membership !== null,
    onGenesis: (membership) => loop.feed({ kind: 'genesis', membership }),
    sleep,
    signal: stopping.signal,
    log,
  })
}

interface Servers {
  readonly observePort: number
  readonly stop: () => Promise<unknown>
}

interface Running {
  readonly probe: ApiProbe
  readonly pulse: Pulse
}

/** The page for people and for Prometheus, and the socket on which people ask. */
async function startServers(surroundings: Surroundings, { loop, guard, fences }: Parts, { probe, pulse }: Running): Promise<Servers> {
  const { configuration, client, stopping, log, metrics } = surroundings
  const { state, feed } = loop
  const status = (): unknown => statusOf(state(), nowMs(), { underWay: fences.underWay(), isArmed: guard.isArmed(), api: probe.current() })
  const observe = await startObserveServer({
    host: configuration.observe.host,
    port: configuration.observe.port,
    metrics: () => metrics.registry.metrics(),
    unhealthy: () => {
      const silentMs = nowMs() - pulse.lastTickMs()
      return silentMs > STUCK_MS ? `the protocol has not run for ${Math.round(silentMs)} ms` : null
    },
    unready: () => unreadyReason(state(), nowMs()),
    status,
  })
  const { isDryRun } = configuration
  const taking = { client, nowMs, state, feed, onUnfenceWritten: fences.onRequestWritten, isDryRun, signal: stopping.signal, log }
  const control = await startControl({
    path: controlSocket(configuration.stateDirectory),
    status,
    reply: (request) => takeRequest(request, taking),
    log,
  })
  return { observePort: observe.port, stop: async () => Promise.all([observe.stop(), control.stop()]) }
}

async function stopInOrder(
  { self, network: { transport }, opened, keyRing, witness, client, stopping, log }: Surroundings,
  { loop, storage, guard, fences, capacity }: Parts,
  { probe, pulse, servers }: Running & { readonly servers: Servers },
): Promise<void> {
  log.info('stopping: consent is sent to the others')
  loop.feed({ kind: 'leaving' })
  const isLeft = await guard.leave(LEAVE_WITHIN_MS)
  const statement = statementOf(loop.state())
  for (const { node } of loop.state().durable.membership?.members ?? [])
    if (node !== self.node) transport.send(node, { kind: 'consent', statement })
  stopping.abort()
  for (const part of [pulse, probe, fences, capacity, guard]) part.stop()
  await sleep(LAST_PACKETS_MS)
  await Promise.all([transport.stop(), servers.stop(), storage.stop(), opened.store.close()])
  keyRing.stop()
  witness?.close()
  client.close()
  log.info(isLeft ? 'stopped' : 'stopped, and the watchdog resets this node')
}
