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

interface Member {
  readonly pid: number
  readonly parent: number
  readonly state: string
}
/** All processes of this host by their group, as one reading of /proc showed them. */
type Groups = ReadonlyMap<number, readonly Member[]>

/** `/proc/<pid>/stat` letters of threads that run nothing any more: zombie, dead. */
const isGone = (state: string): boolean => state === 'Z' || state === 'X'
const isStopped = (state: string): boolean => state === 'T' || state === 't' || isGone(state)

export function processGroupGrip(): Grip {
  // One reading at the start of a look and one after the signals serve all pods: with dozens of pods, reading /proc for each would stall the agent.
  let before: Groups = new Map()
  let after: Groups | undefined
  const signalled = async (workload: Workload, signal: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): Promise<number | undefined> => {
    const group = await processGroupOf(workload)
    if (group === undefined) return undefined
    try {
      process.kill(-group, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
    return group
  }
  /** The same processes in both readings, every thread of them so. (The kernel signals a group as a whole: no child slips out by being born meanwhile.) */
  const whyNot = async (workload: Workload, isDone: (state: string) => boolean, wanted: string): Promise<string | undefined> => {
    const group = await processGroupOf(workload)
    if (group === undefined) return undefined
    after ??= readGroups()
    const members = after.get(group) ?? []
    const running = members.flatMap(({ pid }) => threadsOf(pid)).filter(({ state }) => !isDone(state))
    if (running.length > 0) {
      const shown = running.slice(0, 10).map(({ thread, state }) => `${thread} is ${state}`)
      return `process group ${group} is not ${wanted}: ${shown.join(', ')}`
    }
    const known = new Set(before.get(group)?.map(({ pid }) => pid))
    return members.every(({ pid }) => known.has(pid)) ? undefined : `process group ${group} was still changing`
  }
  return {
    pause: async (workload) => {
      const group = await signalled(workload, 'SIGSTOP')
      if (group !== undefined) await releaseVforks(group, before.get(group) ?? [])
    },
    whyNotPaused: (workload) => whyNot(workload, isStopped, 'stopped'),
    resume: async (workload) => void (await signalled(workload, 'SIGCONT')),
    kill: async (workload) => void (await signalled(workload, 'SIGKILL')),
    whyNotGone: (workload) => whyNot(workload, isGone, 'gone'),
    survey: async () => {
      before = readGroups()
      after = undefined
      return undefined
    },
  }
}

/**
 * A child stopped between vfork and exec keeps its parent in uninterruptible sleep, so the group could never be verified (seen with dash, which starts
 * every command so). The child gets a moment to reach its exec; the parent's own stop is pending and takes it as soon as it wakes.
 */
async function releaseVforks(group: number, members: readonly Member[]): Promise<void> {
  const asleep = new Set(members.filter(({ state }) => state === 'D').map(({ pid }) => pid))
  for (const { pid, parent, state } of members) {
    if (state !== 'T' || !asleep.has(parent) || readStat(String(pid))?.group !== group) continue
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

function readGroups(): Groups {
  const groups = new Map<number, Member[]>()
  for (const pid of readdirSync('/proc')) {
    const stat = /^\d+$/.test(pid) ? readStat(pid) : undefined
    if (stat === undefined) continue
    const members = groups.get(stat.group) ?? []
    members.push({ pid: Number(pid), parent: stat.parent, state: stat.state })
    groups.set(stat.group, members)
  }
  return groups
}

/** Each thread has a state of its own; the process's is only the first one's. */
function threadsOf(pid: number): readonly { readonly thread: string; readonly state: string }[] {
  let threads: readonly string[]
  try {
    threads = readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
  return threads.flatMap((thread) => {
    const state = readStat(`${pid}/task/${thread}`)?.state
    return state === undefined ? [] : [{ thread: `${pid}/${thread}`, state }]
  })
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
