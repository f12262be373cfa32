/** One real agent process per fake node: started with its power, killed with it, its output kept in files. */
import { join } from 'node:path'
import type { FakeNodes, NodePlace } from './nodes/fake-nodes.ts'
import type { ProcessKeeper, Program } from './processes.ts'

interface AgentStart {
  /** The program and its arguments, as `[process.execPath, 'src/cli/main.ts', 'agent', '--config', file]`. */
  readonly command: readonly [string, ...string[]]
  readonly env?: Readonly<Record<string, string>>
}

export interface AgentOptions {
  /**
   * Writes what the agent of this node needs into the node's directory (its disk: it outlives the power) and says how to start it.
   * Called before every start, so also after a boot, when the node's `bootId` is another.
   */
  readonly configure: (node: NodePlace) => AgentStart | Promise<AgentStart>
  /** Only these nodes; all by default. */
  readonly nodes?: readonly string[]
}

export interface Agents {
  /** Of a node whose agent runs or ran; undefined before the first start. */
  program(node: string): Program | undefined
  /** Grows over restarts of the agent. */
  logFile(node: string): string
  /** SIGKILL, the node stays on; starts nothing. */
  kill(node: string): Promise<void>
  start(node: string): Promise<void>
  /** Agents that ended by themselves, with how: an empty list is what a test expects. */
  unexpectedEnds(): readonly { readonly node: string; readonly ended: string; readonly logTail: string }[]
  /** SIGTERM to all at once, then SIGKILL. */
  stop(): Promise<void>
}

/** Starts the agents of all nodes that are on, and follows the nodes' power from then on. */
export const startAgents = async (keeper: ProcessKeeper, fakeNodes: FakeNodes, { configure, nodes }: AgentOptions): Promise<Agents> => {
  const chosen = fakeNodes.nodes.filter(({ name }) => nodes === undefined || nodes.includes(name))
  const programs = new Map<string, Program>()
  const ends: { node: string; ended: string; logTail: string }[] = []
  let isStopped = false
  const placeOf = (name: string): NodePlace => {
    const place = chosen.find((one) => one.name === name)
    if (place === undefined) throw new Error(`no agent for node ${name}; there are ${chosen.map((one) => one.name).join(', ')}`)
    return place
  }
  const logFile = (node: string): string => join(keeper.directory, 'logs', `agent-${node}.log`)

  const start = async (node: string): Promise<void> => {
    if (isStopped || programs.get(node)?.isRunning()) return
    const { command, env = {} } = await configure(placeOf(node))
    const [program, ...args] = command
    // from the checkout's root, so that a relative `src/cli/main.ts` is found
    const started = keeper.start({ name: `agent-${node}`, command: program, args, env, directory: process.cwd(), logFile: logFile(node) })
    programs.set(node, started)
    void started.ended.then((ended) => {
      if (programs.get(node) === started) ends.push({ node, ended, logTail: started.logTail() })
    })
  }
  /** Forgotten before it is killed, so that its end is not unexpected. */
  const end = async (node: string, how: (program: Program) => Promise<void>): Promise<void> => {
    const program = programs.get(node)
    programs.delete(node)
    if (program !== undefined) await how(program)
  }
  const kill = async (node: string): Promise<void> => end(node, async (program) => program.kill())

  fakeNodes.addHooks({
    onPowerOff: async ({ name }) => {
      if (chosen.some((one) => one.name === name)) await kill(name)
    },
    onPowerOn: async ({ name }) => {
      if (chosen.some((one) => one.name === name)) await start(name)
    },
  })
  const on = new Set(fakeNodes.state().flatMap(({ name, power }) => (power === 'off' ? [] : [name])))
  await Promise.all(chosen.filter(({ name }) => on.has(name)).map(async ({ name }) => start(name)))
  return {
    program: (node) => programs.get(placeOf(node).name),
    logFile,
    kill,
    start,
    unexpectedEnds: () => ends,
    stop: async () => {
      isStopped = true
      await Promise.all([...programs.keys()].map(async (node) => end(node, async (program) => program.stop())))
    },
  }
}
