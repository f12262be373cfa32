/**
 * One node of the demo: power, boot, hardware watchdog, and the process groups of its storage kernel, its agent and its pods.
 * Run as `supervisor.ts <configuration as JSON>` with an IPC channel; it ends with everything it started when that channel closes.
 */
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { appendFileSync, closeSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { killGroup, startGroup } from './groups.ts'
import type { NodeEvent, NodeCommand, CommandMessage, Pod, Report, SupervisorConfig } from './messages.ts'
import { nodePaths, podDirectory } from './paths.ts'
import { commandPortFile, drbdsetupProgram } from '../storage/drbdsetup.ts'
import { monotonicMs } from '../storage/replica.ts'
import type { VmEvent } from '../vm/vm.ts'
import { startWatchdog } from './watchdog.ts'

type Child = ReturnType<typeof startGroup>

const given = process.argv[2]
if (given === undefined) throw new Error('usage: supervisor.ts <configuration as JSON>')
const config = JSON.parse(given) as SupervisorConfig
const paths = nodePaths(config.directory)
const groups = new Set<Child>()
const pods = new Map<string, Child>()
let agent: Child | undefined
/** Until then no agent is started after one that ended. */
let agentAwayUntilMs = -Infinity
let bootId = ''
let isPowered = false
/** Counts power cycles, so that what was begun before one does not go on after it. */
let cycle = 0

const report = (message: Report): void => {
  if (process.connected) process.send?.(message)
}
const tell = (event: NodeEvent): void => report({ type: 'event', event })

function startNodeGroup(command: readonly string[], output: number | 'pipe', environment: Readonly<Record<string, string>> = {}): Child {
  const child = startGroup({ command, output, environment, directory: config.directory })
  groups.add(child)
  child.on('error', () => groups.delete(child))
  child.on('exit', () => groups.delete(child))
  child.stdin?.on('error', () => undefined)
  if (child.pid !== undefined) report({ type: 'group', pgid: child.pid })
  return child
}

const ended = (child: Child): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) resolve()
    else child.once('exit', () => resolve())
  })

/** The power goes: every group of this node at once, and nothing is tidied up. */
function cutPower(): Promise<unknown> {
  isPowered = false
  cycle++
  // The port may be anybody's when the kernel is gone.
  rmSync(commandPortFile(paths.kernelSocket), { force: true })
  const dying = [...groups]
  for (const child of dying) if (child.pid !== undefined) killGroup(child.pid)
  return Promise.all(dying.map(ended))
}

function startAgent(): void {
  if (config.agentCommand === undefined) return
  const startedIn = cycle
  const log = openSync(paths.agentLog, 'a')
  const child = startNodeGroup(config.agentCommand, log, config.agentEnvironment)
  closeSync(log)
  agent = child
  if (child.pid !== undefined) tell({ type: 'agentStarted', pid: child.pid })
  const restart = (code: number | null, signal: string | null): void => {
    if (agent === child) agent = undefined
    // With the power nothing is left that could tell of an end.
    if (cycle === startedIn) tell({ type: 'agentExited', code, signal })
    setTimeout(
      () => {
        if (isPowered && cycle === startedIn) startAgent()
      },
      Math.max(config.agentRestartMs, agentAwayUntilMs - monotonicMs()),
    )
  }
  child.on('exit', restart)
  child.on('error', () => restart(null, null))
}

async function startKernelProcess(): Promise<void> {
  const startedIn = cycle
  const child = startNodeGroup([process.execPath, config.programs.kernel, paths.kernelConfig], 'pipe')
  let errors = ''
  child.stderr?.on('data', (chunk) => (errors += String(chunk)))
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => resolve())
    child.once('exit', () => reject(new Error(`the storage kernel of ${config.name} ended: ${errors}`)))
  })
  // A kernel that dies takes its machine with it.
  child.once('exit', () => {
    if (cycle === startedIn) reset('panic')
  })
  writeFileSync(paths.procDrbd, 'version: 9.2.18 (api:2/proto:118-124)\nTransports (api:21): tcp (9.2.18)\n')
}

async function boot(): Promise<void> {
  isPowered = true
  const startedIn = cycle
  await new Promise((resolve) => setTimeout(resolve, config.bootDelayMs))
  if (cycle !== startedIn) return
  // What ran before the boot does not run now; a stale group number could belong to anybody.
  rmSync(join(paths.kubelet, 'pods'), { recursive: true, force: true })
  rmSync(paths.procDrbd, { force: true })
  mkdirSync(join(paths.kubelet, 'pods'), { recursive: true })
  watchdog?.reset()
  bootId = randomUUID()
  writeFileSync(paths.bootId, `${bootId}\n`)
  await startKernelProcess()
  if (cycle !== startedIn) return
  tell({ type: 'booted', bootId })
  startAgent()
}

const instanceOf = (pod: Pod): string => `${pod.uid}/${bootId.slice(0, 8)}`
const writerName = (pod: Pod): string => pod.vm?.name ?? `${pod.namespace}/${pod.name}`

/**
 * The volume that the pod writes to. Undefined where none of its volumes has a replica here, and for a launcher pod that is given no machine: the
 * target of a migration holds the guest only after the handover, until then it must not write.
 */
function writtenVolume(pod: Pod): string | undefined {
  if (pod.vm !== undefined) return pod.volumes[0]
  if (pod.name.startsWith('virt-launcher-')) return undefined
  return pod.volumes.find((volume) => config.kernel.resources.some(({ name }) => name === volume))
}

function podCommand(pod: Pod): readonly string[] {
  const volume = writtenVolume(pod)
  // A pod that writes nothing is a process that waits for the end of its input.
  if (volume === undefined) return ['cat']
  const options = {
    vm: writerName(pod),
    instance: instanceOf(pod),
    node: config.name,
    resource: volume,
    kernelSocket: paths.kernelSocket,
    observerLog: config.observerLog,
    intervalMs: config.vmIntervalMs,
  }
  return [process.execPath, '--max-semi-space-size=1', config.programs.vm, JSON.stringify(options)]
}

/** Tells the observer that a copy is gone although its node is not. */
function logForObserver(pod: Pod, instance: string): void {
  const event: VmEvent = { type: 'ended', atMs: monotonicMs(), vm: writerName(pod), instance, node: config.name }
  appendFileSync(config.observerLog, `${JSON.stringify(event)}\n`)
}

async function startPod(pod: Pod): Promise<void> {
  if (!isPowered || bootId === '') throw new Error(`${config.name} has no power`)
  if (pods.has(pod.uid)) throw new Error(`pod ${pod.uid} already runs on ${config.name}`)
  const directory = podDirectory(paths, pod.uid)
  for (const volume of pod.volumes) mkdirSync(join(directory, 'volumeDevices', 'kubernetes.io~csi', volume), { recursive: true })
  mkdirSync(directory, { recursive: true })
  const startedIn = cycle
  const instance = instanceOf(pod)
  const child = startNodeGroup(podCommand(pod), 'pipe')
  if (child.pid === undefined) throw new Error(`pod ${pod.uid}: its process could not be started`)
  writeFileSync(join(directory, 'pgid'), `${child.pid}\n`)
  pods.set(pod.uid, child)
  let reason = ''
  child.stderr?.on('data', (chunk) => (reason += String(chunk)))
  let isRunning = false
  await new Promise<void>((resolve, reject) => {
    const run = (): void => {
      isRunning = true
      tell({ type: 'podRunning', uid: pod.uid, pgid: child.pid ?? 0 })
      resolve()
    }
    child.stdout?.once('data', run)
    if (writtenVolume(pod) === undefined) child.once('spawn', run)
    child.once('close', (code, signal) => {
      if (pods.get(pod.uid) === child) pods.delete(pod.uid)
      if (cycle === startedIn) rmSync(directory, { recursive: true, force: true })
      if (isRunning && cycle === startedIn) {
        if (writtenVolume(pod) !== undefined) logForObserver(pod, instance)
        tell({ type: 'podExited', uid: pod.uid, code, signal, reason: reason.trim() })
      }
      reject(new Error(`pod ${pod.namespace}/${pod.name} on ${config.name}: ${reason.trim() || `ended with ${code ?? signal}`}`))
    })
  })
}

async function stopPod(uid: string): Promise<void> {
  const child = pods.get(uid)
  if (child?.pid === undefined) return
  const { pid } = child
  // Its end has been told and its directory is gone when this resolves: that was the first listener to `close`.
  const closed = new Promise((resolve) => child.once('close', resolve))
  killGroup(pid, 'SIGTERM')
  const limit = setTimeout(() => killGroup(pid), 500)
  await closed
  clearTimeout(limit)
}

async function execute(order: NodeCommand): Promise<void> {
  switch (order.type) {
    case 'startPod':
      return startPod(order.pod)
    case 'stopPod':
      return stopPod(order.uid)
    case 'powerOff':
      await cutPower()
      tell({ type: 'down', cause: 'power' })
      return undefined
    case 'powerOn':
      return isPowered ? undefined : boot()
    case 'signalAgent':
      if (agent?.pid !== undefined) killGroup(agent.pid, order.signal)
      return undefined
    case 'endAgent':
      agentAwayUntilMs = monotonicMs() + order.awayMs
      if (agent?.pid !== undefined) killGroup(agent.pid, order.signal)
      return undefined
  }
}

/** The board resets itself: what the hardware watchdog does to a node whose agent no longer pets it. */
function reset(cause: 'watchdog' | 'panic'): void {
  if (!isPowered) return
  void cutPower().then(() => {
    tell({ type: 'down', cause })
    return boot()
  })
}

mkdirSync(paths.directory, { recursive: true })
mkdirSync(paths.locks, { recursive: true })
writeFileSync(paths.kernelConfig, JSON.stringify(config.kernel))
writeFileSync(paths.usermodeHelper, 'disabled\n')
writeFileSync(
  paths.drbdsetup,
  drbdsetupProgram({ kernelSocket: paths.kernelSocket, lockFolder: paths.locks, events2: [process.execPath, config.programs.events2] }),
  { mode: 0o755 },
)
if (config.watchdogTimeoutSeconds !== undefined) {
  writeFileSync(paths.watchdogTimeout, `${config.watchdogTimeoutSeconds}\n`)
  if (!existsSync(paths.watchdog)) execFileSync('mkfifo', [paths.watchdog])
}
const watchdog =
  config.watchdogTimeoutSeconds === undefined
    ? undefined
    : startWatchdog({ device: paths.watchdog, timeoutFile: paths.watchdogTimeout, pollMs: 50, onStarved: () => reset('watchdog') })

process.on('message', (message: CommandMessage) => {
  execute(message.order).then(
    () => report({ type: 'answer', id: message.id }),
    (error: unknown) => report({ type: 'answer', id: message.id, error: error instanceof Error ? error.message : String(error) }),
  )
})
process.on('disconnect', () => void cutPower().then(() => process.exit(0)))
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => void cutPower().then(() => process.exit(0)))
