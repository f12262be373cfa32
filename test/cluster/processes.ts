/**
 * Programs started for a test, each in a process group of its own; none outlives the test, however that ends.
 *
 * A small shell (the reaper) waits for the test's end of a pipe to close, which the kernel does even when the test is
 * killed, and then kills every group that is still written down in `<directory>/groups`.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stretched, until } from '../support/timing.ts'

export interface ProgramStart {
  /** Unique among the running ones; names the log file. */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly directory?: string
  /** Appended to; `<keeper's directory>/logs/<name>.log` unless given; null throws the output away. */
  readonly logFile?: string | null
}

export interface Program {
  readonly name: string
  /** Also the number of its process group. */
  readonly pid: number
  readonly logFile: string | null
  /** Resolves, never rejects, with how the program itself ended, as one readable word: `code 1`, `SIGKILL`. */
  readonly ended: Promise<string>
  isRunning(): boolean
  /** The last lines of its log. */
  logTail(lines?: number): string
  /** Sends the signal to the whole group; SIGKILL follows for what is left after `graceMs`. Resolves when the group is empty. */
  stop(signal?: NodeJS.Signals, graceMs?: number): Promise<void>
  /** SIGKILL to the whole group, as a power cut. Resolves when the group is empty. */
  kill(): Promise<void>
}

export interface ProcessKeeper {
  /** Removed by `stop` unless `ROOMFENCE_KEEP_LAB` is set. */
  readonly directory: string
  start(program: ProgramStart): Program
  /** Kills the latest first (nothing of a test is worth a graceful end), then throws when a process of this keeper, even one that left its group, is still there. */
  stop(): Promise<void>
}

const mark = 'ROOMFENCE_LAB_DIRECTORY'
const keepsFiles = (): boolean => Boolean(process.env['ROOMFENCE_KEEP_LAB'])

/** On the end of its input: kill the groups written down, then remove the directory ($2 = keep keeps it). */
const reaperScript = `trap '' INT TERM HUP
cat > /dev/null
for group in "$1"/groups/*; do [ -e "$group" ] && kill -s KILL -- "-\${group##*/}" 2> /dev/null; done
[ "$2" = keep ] || rm -rf "$1"`

interface ProcessStatus {
  readonly group: number
  /** The kernel's letter (proc_pid_stat(5)): T is stopped by a signal. */
  readonly state: string
}

let table: { readonly atMs: number; readonly processes: readonly ProcessStatus[] } | undefined

/** Every process that still lives: one that only waits to be reaped does not. At most 20 ms old, since many ask at once. */
const liveProcesses = (): readonly ProcessStatus[] => {
  if (table !== undefined && performance.now() - table.atMs < 20) return table.processes
  const processes = readdirSync('/proc').flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return []
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8')
      // the name before may hold spaces and parentheses
      const [state = '', , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return state === 'Z' || state === 'X' ? [] : [{ group: Number(group), state }]
    } catch {
      return [] // gone meanwhile
    }
  })
  table = { atMs: performance.now(), processes }
  return processes
}

/** The states of a process group's live members, one letter each; empty when none lives. */
export const groupStates = (group: number): readonly string[] =>
  liveProcesses()
    .filter((one) => one.group === group)
    .map(({ state }) => state)

const signalGroup = (group: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(-group, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

export interface Leftover {
  readonly pid: number
  readonly directory: string
  readonly command: string
}

/** Live processes that some keeper started (this user's), those of one directory if given. Found by their environment, so also outside their group. */
export const markedProcesses = (directory?: string): readonly Leftover[] =>
  readdirSync('/proc').flatMap((entry) => {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) return []
    try {
      const environment = readFileSync(`/proc/${entry}/environ`, 'utf8').split('\0')
      const seen = environment.find((line) => line.startsWith(`${mark}=`))?.slice(mark.length + 1)
      if (seen === undefined || (directory !== undefined && seen !== directory)) return []
      const command = readFileSync(`/proc/${entry}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
      return command === '' ? [] : [{ pid: Number(entry), directory: seen, command: command.slice(0, 200) }]
    } catch {
      return [] // gone meanwhile, or another user's
    }
  })

const startReaper = (directory: string): { release: () => Promise<void> } => {
  const reaper = spawn('sh', ['-c', reaperScript, 'roomfence-reaper', directory, keepsFiles() ? 'keep' : 'remove'], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  reaper.unref()
  ;(reaper.stdin as Socket).unref()
  const ended = once(reaper, 'exit')
  return {
    release: async () => {
      reaper.ref()
      reaper.stdin.end()
      await ended
    },
  }
}

/** `{ 'secure-port': 0 }` as `--secure-port=0`. */
export const flags = (values: Readonly<Record<string, string | number | boolean>>): readonly string[] =>
  Object.entries(values).map(([name, value]) => `--${name}=${value}`)

/** `purpose` becomes a part of the directory's name. */
export const keepProcesses = (purpose: string): ProcessKeeper => {
  const directory = mkdtempSync(join(tmpdir(), `roomfence-${purpose}-`))
  const groups = join(directory, 'groups')
  for (const folder of [groups, join(directory, 'logs')]) mkdirSync(folder)
  const reaper = startReaper(directory)
  const running = new Map<number, Program>()

  const start = ({ name, command, args, env, directory: workingDirectory, logFile: wantedLog }: ProgramStart): Program => {
    const logFile = wantedLog === undefined ? join(directory, 'logs', `${name}.log`) : wantedLog
    const log = logFile === null ? undefined : openSync(logFile, 'a')
    const child = spawn(command, [...args], {
      cwd: workingDirectory ?? directory,
      env: { ...process.env, ...env, [mark]: directory },
      detached: true,
      stdio: ['ignore', log ?? 'ignore', log ?? 'ignore'],
    })
    if (log !== undefined) closeSync(log)
    const pid = child.pid
    if (pid === undefined) {
      child.on('error', () => {})
      throw new Error(`${name}: cannot start ${command}; is it there, and may it be executed?`)
    }
    table = undefined // it knows nothing of the new one
    writeFileSync(join(groups, String(pid)), name)
    child.unref()
    const ended = once(child, 'exit').then(([code, signal]) => (signal === null ? `code ${String(code)}` : String(signal)))
    const forget = (): void => {
      rmSync(join(groups, String(pid)), { force: true })
      running.delete(pid)
    }
    const stop = async (signal: NodeJS.Signals = 'SIGTERM', graceMs = 10_000): Promise<void> => {
      if (!running.has(pid)) return
      const deadlineMs = performance.now() + stretched(graceMs)
      signalGroup(pid, signal)
      if (signal !== 'SIGKILL') signalGroup(pid, 'SIGCONT')
      await until(
        `the process group of ${name} ends`,
        graceMs + 20_000,
        () => {
          if (groupStates(pid).length === 0) return true
          if (performance.now() > deadlineMs) signalGroup(pid, 'SIGKILL')
          return false
        },
        20,
      )
      await ended // the kernel's word comes first, Node's a little later
      forget()
    }
    const program: Program = {
      name,
      pid,
      logFile,
      ended,
      isRunning: () => child.exitCode === null && child.signalCode === null,
      logTail: (lines = 10) => (logFile === null ? '' : readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n')),
      stop,
      kill: async () => stop('SIGKILL'),
    }
    running.set(pid, program)
    return program
  }

  const stop = async (): Promise<void> => {
    for (const program of [...running.values()].toReversed()) await program.kill()
    const left = markedProcesses(directory)
    for (const { pid } of left) process.kill(pid, 'SIGKILL')
    await reaper.release()
    if (left.length > 0) throw new Error(`left running: ${left.map(({ pid, command }) => `${pid} ${command}`).join('; ')}`)
  }
  return { directory, start, stop }
}
