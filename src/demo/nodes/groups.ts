/** Process groups of a demo node: started so that they die with their supervisor, killed as a whole. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'

/** Marks every process of a demo node in its environment; nothing without the mark is ever killed. */
const NODE_MARK = 'ROOMFENCE_DEMO_NODE'

const setpriv = ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => existsSync(path))

interface GroupOptions {
  readonly command: readonly string[]
  readonly directory: string
  readonly environment?: Readonly<Record<string, string>>
  /** A file descriptor for output, or `pipe`. */
  readonly output: number | 'pipe'
}

/** Starts a command as the leader of a process group of its own; its pid is the group's. Its input is a pipe that ends with the supervisor. */
export function startGroup(options: GroupOptions): ChildProcess {
  const command = setpriv === undefined ? options.command : [setpriv, '--pdeathsig', 'KILL', '--', ...options.command]
  const [program, ...args] = command
  if (program === undefined) throw new Error('a process group needs a command')
  return spawn(program, args, {
    detached: true,
    stdio: ['pipe', options.output, options.output],
    env: { ...process.env, ...options.environment, [NODE_MARK]: options.directory },
  })
}

/** Kills a group that this node started; a stopped one dies as well. Groups that are gone are passed over. */
export function killGroup(pgid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(-pgid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Whether the leader of a group still is a process of the node in `directory`: a number alone may long belong to somebody else. */
export function belongsToNode(pgid: number, directory: string): boolean {
  try {
    return readFileSync(`/proc/${pgid}/environ`, 'utf8').split('\0').includes(`${NODE_MARK}=${directory}`)
  } catch {
    return false
  }
}
