/**
 * Pausing and killing pods through process groups: SIGSTOP, SIGCONT, SIGKILL, verified thread by thread in /proc. Adapter.
 *
 * A process that leaves its group (setsid) is not seen: where pods are untrusted, only cgroups will do.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Grip } from './grip.ts'
import type { Workload } from './workloads.ts'

/** One look at a group: the state letter of every thread, by `pid/tid`. */
type Threads = ReadonlyMap<string, string>

/** `/proc/<pid>/stat` letters of threads that run nothing any more: zombie, dead. */
const isGone = (state: string): boolean => state === 'Z' || state === 'X'
const isStopped = (state: string): boolean => state === 'T' || state === 't' || isGone(state)

export function processGroupGrip(): Grip {
  const signalled = async (workload: Workload, signal: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): Promise<void> => {
    const group = await processGroupOf(workload)
    if (group === undefined) return
    try {
      process.kill(-group, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
  /** Twice in a row the same threads, all of them so: a child born while /proc was being read shows up in the second look. */
  const whyNot = async (workload: Workload, isDone: (state: string) => boolean, wanted: string): Promise<string | undefined> => {
    const group = await processGroupOf(workload)
    if (group === undefined) return undefined
    const first = threadsOf(group)
    const second = threadsOf(group)
    const running = [...second].filter(([, state]) => !isDone(state))
    if (running.length > 0) {
      const shown = running.slice(0, 10).map(([thread, state]) => `${thread} is ${state}`)
      return `process group ${group} is not ${wanted}: ${shown.join(', ')}`
    }
    const isStable = first.size === second.size && [...second.keys()].every((thread) => first.has(thread))
    return isStable ? undefined : `process group ${group} was still changing`
  }
  return {
    pause: async (workload) => {
      await signalled(workload, 'SIGSTOP')
      const group = await processGroupOf(workload)
      if (group !== undefined) await releaseVforks(group)
    },
    whyNotPaused: (workload) => whyNot(workload, isStopped, 'stopped'),
    resume: (workload) => signalled(workload, 'SIGCONT'),
    kill: (workload) => signalled(workload, 'SIGKILL'),
    whyNotGone: (workload) => whyNot(workload, isGone, 'gone'),
    survey: async () => undefined,
  }
}

/**
 * A child stopped between vfork and exec keeps its parent in uninterruptible sleep, so the group could never be verified (seen with dash, which starts
 * every command so). The child gets a moment to reach its exec; the parent's own stop is pending and takes it as soon as it wakes.
 */
async function releaseVforks(group: number): Promise<void> {
  const members = readdirSync('/proc').flatMap((pid) => {
    const stat = /^\d+$/.test(pid) ? readStat(pid) : undefined
    return stat?.group === group ? [{ pid: Number(pid), ...stat }] : []
  })
  const asleep = new Set(members.filter(({ state }) => state === 'D').map(({ pid }) => pid))
  for (const { pid, parent, state } of members) {
    if (state !== 'T' || !asleep.has(parent)) continue
    try {
      process.kill(pid, 'SIGCONT')
      await sleep(2)
      process.kill(pid, 'SIGSTOP')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

/**
 * The pod directory's file `pgid`; undefined where there is none: nothing of the pod was started yet.
 *
 * @throws where it is not the number of a group that may be signalled: 0 and 1 are everybody's, and our own is ours.
 */
async function processGroupOf({ directory }: Workload): Promise<number | undefined> {
  const file = join(directory, 'pgid')
  let text: string
  try {
    text = (await readFile(file, 'utf8')).trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const group = Number(text)
  if (!/^\d{1,10}$/.test(text) || group < 2) throw new Error(`${file} is "${text.slice(0, 40)}", but must be a process group above 1`)
  if (group === readStat('self')?.group) throw new Error(`${file} names the agent's own process group ${group}`)
  return group
}

function threadsOf(group: number): Threads {
  const threads = new Map<string, string>()
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || readStat(pid)?.group !== group) continue
    for (const thread of tasksOf(pid)) {
      const state = readStat(`${pid}/task/${thread}`)?.state
      if (state !== undefined) threads.set(`${pid}/${thread}`, state)
    }
  }
  return threads
}

function tasksOf(pid: string): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/** Undefined for a process that is gone. The command's name stands in brackets and may hold anything, so the last bracket counts. */
function readStat(path: string): { readonly state: string; readonly parent: number; readonly group: number } | undefined {
  try {
    const text = readFileSync(`/proc/${path}/stat`, 'utf8')
    const [state, parent, group] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return state === undefined ? undefined : { state, parent: Number(parent), group: Number(group) }
  } catch {
    return undefined
  }
}
