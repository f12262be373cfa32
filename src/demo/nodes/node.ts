/** A node of the demo as the main process sees it: power, pods, and what happened to it. The work is done by the node's supervisor process. */
import { type ChildProcess, fork } from 'node:child_process'
import type { Network } from '../link/network.ts'
import type { ResourceConfig } from '../storage/state.ts'
import { belongsToNode, killGroup } from './groups.ts'
import type { NodeEvent, NodeCommand, CommandMessage, Pod, Report, SupervisorConfig } from './messages.ts'
import { type NodePaths, nodePaths } from './paths.ts'
import type { Programs } from './programs.ts'

export type { NodeEvent, Pod } from './messages.ts'

/** One node's host, as a kubelet stand-in uses it. */
export interface NodeHost {
  readonly name: string
  readonly room: string
  readonly bootId: string
  isPowered(): boolean
  /** Whether this node's link to the API server passes traffic now. A kubelet stand-in without it neither reports nor learns. */
  reachesApi(): boolean
  /** Starts the pod's process; resolves when it runs, rejects with the reason when its volume refuses to be opened for writing. */
  startPod(pod: Pod): Promise<void>
  stopPod(uid: string): Promise<void>
  /** Pods whose processes really run on this node now (a stopped process runs). */
  runningPods(): ReadonlySet<string>
}

export interface DemoNode extends NodeHost {
  readonly paths: NodePaths
  /** The agent's process, while it runs. */
  agentPid(): number | undefined
  /** Cuts the node off the network, then kills everything on it at once. */
  powerOff(): Promise<void>
  /** Resolves when the node has booted. */
  powerOn(): Promise<void>
  /** Sends a signal to the agent's process group (SIGSTOP: an agent that hangs). */
  signalAgent(signal: NodeJS.Signals): Promise<void>
  /** Ends the agent's process with a signal; it is started again after `awayMs`, or after the usual time if that is longer. */
  endAgent(signal: NodeJS.Signals, awayMs: number): Promise<void>
  /** What happens on this node: boots, resets by the watchdog, ends of pods and agent. Returns how to stop listening. */
  onEvent(listener: (event: NodeEvent) => void): () => void
  /** Ends the node and its supervisor; afterwards no process of it is left. */
  stop(): Promise<void>
}

export interface NodeOptions {
  readonly name: string
  readonly room: string
  readonly directory: string
  readonly programs: Programs
  readonly network: Network
  readonly resources: readonly ResourceConfig[]
  readonly observerLog: string
  readonly reachesApi: () => boolean
  /** The agent's command line, run on every boot. */
  readonly agentCommand?: readonly string[] | ((paths: NodePaths) => readonly string[])
  readonly agentEnvironment?: Readonly<Record<string, string>>
  readonly agentRestartMs?: number
  readonly bootDelayMs?: number
  /** Whole seconds, 5 by default; `none` for a node without a watchdog. */
  readonly watchdogTimeoutSeconds?: number | 'none'
  readonly vmIntervalMs?: number
}

function supervisorConfig(options: NodeOptions, paths: NodePaths): SupervisorConfig {
  const { kernel, events2, vm } = options.programs
  const timeout = options.watchdogTimeoutSeconds ?? 5
  const agentCommand = typeof options.agentCommand === 'function' ? options.agentCommand(paths) : options.agentCommand
  return {
    name: options.name,
    directory: options.directory,
    programs: { kernel, events2, vm },
    ...(agentCommand === undefined ? {} : { agentCommand }),
    agentEnvironment: options.agentEnvironment ?? {},
    agentRestartMs: options.agentRestartMs ?? 1000,
    bootDelayMs: options.bootDelayMs ?? 2000,
    ...(timeout === 'none' ? {} : { watchdogTimeoutSeconds: timeout }),
    kernel: {
      directory: paths.replicas,
      localSocket: paths.kernelSocket,
      peerSocket: paths.kernelPeerSocket,
      resources: options.resources,
    },
    observerLog: options.observerLog,
    vmIntervalMs: options.vmIntervalMs ?? 50,
  }
}

/** Starts a node's supervisor; the node is off until `powerOn`. */
export function createNode(options: NodeOptions): DemoNode {
  const paths = nodePaths(options.directory)
  const listeners = new Set<(event: NodeEvent) => void>()
  const waiting = new Map<number, { resolve: () => void; reject: (error: Error) => void }>()
  const started = new Set<number>()
  const pods = new Set<string>()
  let bootId = ''
  let isPowered = false
  let agentPid: number | undefined
  let orders = 0

  const supervisor: ChildProcess = fork(options.programs.supervisor, [JSON.stringify(supervisorConfig(options, paths))], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: [],
  })

  const learn = (event: NodeEvent): void => {
    if (event.type === 'booted') {
      bootId = event.bootId
      isPowered = true
      options.network.restore(options.name)
    } else if (event.type === 'down') {
      isPowered = false
      agentPid = undefined
      pods.clear()
      // A board that resets sends nothing more, until it has booted.
      options.network.isolate(options.name)
    } else if (event.type === 'agentStarted') agentPid = event.pid
    else if (event.type === 'agentExited') agentPid = undefined
    else if (event.type === 'podRunning') pods.add(event.uid)
    else pods.delete(event.uid)
    for (const listener of listeners) listener(event)
  }
  supervisor.on('message', (report: Report) => {
    if (report.type === 'event') learn(report.event)
    else if (report.type === 'group') started.add(report.pgid)
    else {
      const order = waiting.get(report.id)
      waiting.delete(report.id)
      if (report.error === undefined) order?.resolve()
      else order?.reject(new Error(report.error))
    }
  })
  const gone = new Promise<void>((resolve) => {
    const end = (): void => {
      for (const order of waiting.values()) order.reject(new Error(`the supervisor of ${options.name} has ended`))
      waiting.clear()
      isPowered = false
      pods.clear()
      // Normally nothing is left; a supervisor that was killed itself leaves stopped processes where the system has no setpriv.
      for (const pgid of started) if (belongsToNode(pgid, options.directory)) killGroup(pgid)
      resolve()
    }
    supervisor.once('exit', end)
    supervisor.once('error', end)
  })

  const give = (order: NodeCommand): Promise<void> =>
    new Promise((resolve, reject) => {
      if (!supervisor.connected) {
        reject(new Error(`the supervisor of ${options.name} has ended`))
        return
      }
      const id = orders++
      waiting.set(id, { resolve, reject })
      const message: CommandMessage = { id, order }
      supervisor.send(message)
    })

  return {
    name: options.name,
    room: options.room,
    paths,
    get bootId() {
      return bootId
    },
    isPowered: () => isPowered,
    reachesApi: () => isPowered && options.reachesApi(),
    agentPid: () => agentPid,
    startPod: (pod) => give({ type: 'startPod', pod }),
    stopPod: (uid) => give({ type: 'stopPod', uid }),
    runningPods: () => pods,
    powerOff() {
      // First the network: a machine without power closes no connections.
      options.network.isolate(options.name)
      isPowered = false
      return give({ type: 'powerOff' })
    },
    powerOn: () => give({ type: 'powerOn' }),
    signalAgent: (signal) => give({ type: 'signalAgent', signal }),
    endAgent: (signal, awayMs) => give({ type: 'endAgent', signal, awayMs }),
    onEvent(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    stop() {
      if (supervisor.connected) supervisor.disconnect()
      return gone
    },
  }
}
