/** DRBD on this node, read and commanded through drbdsetup. Adapter: it knows when it was last told the truth, and decides nothing. */
import { access, readFile } from 'node:fs/promises'
import { commandLine, type DrbdCommand } from './commands.ts'
import { followEvents, withoutStatistics } from './follower.ts'
import type { Resource } from './model.ts'
import { type ProgramLimits, runProgram } from './program.ts'
import { parseShow, type ShownResource } from './show.ts'
import { parseStatus } from './status.ts'

export interface DrbdConfiguration {
  /** Name or absolute path of drbdsetup. */
  readonly program: string
  /** `/proc/drbd`: it exists exactly while the module is loaded, in a container, too. Asked before each run, for drbdsetup would call modprobe. */
  readonly procDrbd: string
  /** `/sys/module/drbd/parameters/usermode_helper` */
  readonly usermodeHelperFile: string
  /** The state is read this often although nothing was announced: silence is not trusted. */
  readonly readEveryMs: number
  /** Limit of one run of drbdsetup; default 5 s. */
  readonly timeoutMs?: number
}

export interface KnownDrbd {
  readonly kind: 'known'
  /** When the reading began: true at that time or later. The caller says how old is too old. */
  readonly readAtMs: number
  readonly resources: readonly Resource[]
  /** When the reading of `shown` and `usermodeHelper` began. They are read less often than the rest. */
  readonly shownAtMs: number
  /** Options in force; empty where they could not be read, and then `problems` says why. */
  readonly shown: readonly ShownResource[]
  readonly usermodeHelper: string | undefined
  readonly problems: readonly string[]
}

/**
 * - `absent`: the module is not loaded, so nothing here is DRBD's. A normal state; it is looked for again and again.
 * - `unknown`: the module is there (or not read yet), but its state could not be read. Never to be taken for `absent`.
 */
export type DrbdSnapshot =
  | KnownDrbd
  | { readonly kind: 'absent'; readonly readAtMs: number }
  | { readonly kind: 'unknown'; readonly reason: string }

/** What a command came to. Judge by `snapshot`, which was read after it, never by the exit code. */
export interface Executed {
  /** Undefined where drbdsetup did not run or did not end; `message` says why. */
  readonly exitCode: number | undefined
  readonly message: string
  readonly snapshot: DrbdSnapshot
}

export interface Drbd {
  readonly snapshot: () => DrbdSnapshot
  /** Why changes are not announced at the moment (events2 does not run): they are then seen by the periodic reading only. For people. */
  readonly followerProblem: () => string | undefined
  /** Reads everything now. Never rejects: what fails is in the snapshot. */
  readonly refresh: () => Promise<DrbdSnapshot>
  /** Called after a reading that differs from the one before in more than statistics. @returns what takes the listener away */
  readonly onChange: (listener: (snapshot: DrbdSnapshot) => void) => () => void
  /** One at a time per resource, please: each is to be planned on what was read after the one before. Never rejects. */
  readonly execute: (command: DrbdCommand) => Promise<Executed>
  readonly stop: () => void
}

/** Starts reading and following at once. */
export function createDrbd(configuration: DrbdConfiguration, clock: { readonly nowMs: () => number }): Drbd {
  const { program, procDrbd, readEveryMs } = configuration
  const limits: ProgramLimits = { timeoutMs: configuration.timeoutMs ?? 5000, outputLimitBytes: 32 * 1024 * 1024 }
  const listeners = new Set<(snapshot: DrbdSnapshot) => void>()
  let current: DrbdSnapshot = { kind: 'unknown', reason: 'not read yet' }
  let hasCommanded = false
  let isStopped = false

  const refresh = oneAtATime(async (): Promise<DrbdSnapshot> => {
    const before = hasCommanded || current.kind !== 'known' ? undefined : current
    hasCommanded = false
    const snapshot = await read(configuration, limits, clock, before)
    if (isStopped) return current
    const isOther = comparable(snapshot) !== comparable(current)
    current = snapshot
    following.whileThere(snapshot.kind)
    if (isOther) for (const listener of listeners) listener(current)
    return current
  })
  const following = createFollowing(program, () => void refresh())

  void refresh()
  const timer = setInterval(() => void refresh(), readEveryMs)
  return {
    snapshot: () => current,
    followerProblem: following.problem,
    refresh,
    onChange: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    execute: async (command) => {
      if (!(await exists(procDrbd))) {
        return {
          exitCode: undefined,
          message: `not run: ${procDrbd} is absent, so the DRBD module is not loaded`,
          snapshot: await refresh(),
        }
      }
      try {
        const { exitCode, stdout, stderr } = await runProgram(program, commandLine(command), limits)
        hasCommanded = true
        return { exitCode, message: (stderr || stdout).trim().slice(0, 1000), snapshot: await refresh() }
      } catch (error) {
        hasCommanded = true
        return { exitCode: undefined, message: reasonOf(error), snapshot: await refresh() }
      }
    },
    stop: () => {
      isStopped = true
      clearInterval(timer)
      following.stop()
    },
  }
}

/** A reading that has begun may have missed what it is asked for now: one more follows it, and serves all who asked meanwhile. */
function oneAtATime<T>(readNow: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined
  let next: Promise<T> | undefined
  const refresh = (): Promise<T> => {
    if (running === undefined) {
      running = readNow().finally(() => (running = undefined))
      return running
    }
    next ??= running.then(() => {
      next = undefined
      return refresh()
    })
    return next
  }
  return refresh
}

interface Following {
  /** Follows while the module is known to be there, and ends when it is known to be gone. */
  readonly whileThere: (kind: DrbdSnapshot['kind']) => void
  readonly problem: () => string | undefined
  readonly stop: () => void
}

function createFollowing(program: string, onChange: () => void): Following {
  let problem: string | undefined
  let stopFollowing: (() => void) | undefined
  return {
    whileThere: (kind) => {
      if (kind === 'absent') {
        stopFollowing?.()
        stopFollowing = undefined
      } else if (kind === 'known') {
        stopFollowing ??= followEvents({
          program,
          restartAfterMs: 200,
          restartAtMostMs: 10_000,
          onChange,
          onProblem: (reason) => (problem = reason),
        })
      }
    },
    problem: () => problem,
    stop: () => stopFollowing?.(),
  }
}

/** Options change rarely and each reading is a process: they are read again when the state is another, after a command, and every so often. */
const SHOWN_EVERY_READINGS = 5

async function read(
  configuration: DrbdConfiguration,
  limits: ProgramLimits,
  clock: { readonly nowMs: () => number },
  before: KnownDrbd | undefined,
): Promise<DrbdSnapshot> {
  const { program, procDrbd, usermodeHelperFile, readEveryMs } = configuration
  const readAtMs = clock.nowMs()
  if (!(await exists(procDrbd))) return { kind: 'absent', readAtMs }
  let resources: readonly Resource[]
  try {
    resources = parseStatus(await ask(program, ['status', '--json', '--verbose', '--statistics'], limits))
  } catch (error) {
    return { kind: 'unknown', reason: reasonOf(error) }
  }
  const isRecent = before !== undefined && readAtMs - before.shownAtMs < SHOWN_EVERY_READINGS * readEveryMs
  if (isRecent && before.problems.length === 0 && withoutStatistics(before.resources) === withoutStatistics(resources)) {
    return { ...before, readAtMs, resources }
  }
  const shownAtMs = clock.nowMs()
  const [shown, helper] = await Promise.allSettled([
    ask(program, ['show', '--json', '--show-defaults'], limits).then(parseShow),
    readFile(usermodeHelperFile, 'utf8'),
  ])
  return {
    kind: 'known',
    readAtMs,
    resources,
    shownAtMs,
    shown: shown.status === 'fulfilled' ? shown.value : [],
    usermodeHelper: helper.status === 'fulfilled' ? helper.value.trim() : undefined,
    problems: [shown, helper].flatMap((one) => (one.status === 'rejected' ? [reasonOf(one.reason)] : [])),
  }
}

async function ask(program: string, parameters: readonly string[], limits: ProgramLimits): Promise<string> {
  const { exitCode, stdout, stderr } = await runProgram(program, parameters, limits)
  if (exitCode !== 0) throw new Error(`"${[program, ...parameters].join(' ')}" ended with ${exitCode}: ${stderr.trim().slice(0, 500)}`)
  return stdout
}

const comparable = (snapshot: DrbdSnapshot): string => {
  if (snapshot.kind !== 'known') return JSON.stringify({ ...snapshot, readAtMs: undefined })
  const { resources, shown, usermodeHelper } = snapshot
  return withoutStatistics(resources) + JSON.stringify([shown, usermodeHelper])
}

/** Any other failure than "there is none" must not read as absent. */
const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
  )

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
