/** Pausing and killing pods through cgroup v2: `cgroup.freeze`, `cgroup.kill`, verified in `cgroup.events` (Linux 5.14 or newer). Adapter. */
import { access, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Grip } from './grip.ts'
import type { Workload } from './workloads.ts'

/** The kubelet nests at most: its own root, kubepods, the QoS class, the pod; kind and k3d put one more above. */
const DEEPEST = 6

export function cgroupGrip(cgroupRoot: string): Grip {
  let surveyed: ReadonlyMap<string, readonly string[]> | undefined
  const cgroupsOf = ({ podUid }: Workload): readonly string[] => {
    if (surveyed === undefined) throw new Error('the cgroups have not been looked for yet')
    return surveyed.get(podUid) ?? []
  }
  const inEach = async (workload: Workload, work: (directory: string) => Promise<void>) => {
    for (const directory of cgroupsOf(workload)) await work(directory)
  }
  const firstReason = async (workload: Workload, reason: (directory: string) => Promise<string | undefined>) => {
    for (const directory of cgroupsOf(workload)) {
      const found = await reason(directory)
      if (found !== undefined) return found
    }
    return undefined
  }
  return {
    pause: (workload) => inEach(workload, (directory) => write(directory, 'cgroup.freeze', '1')),
    whyNotPaused: (workload) =>
      firstReason(workload, async (directory) => {
        const events = await read(directory, 'cgroup.events')
        if (events === undefined || /^frozen 1$/m.test(events)) return undefined
        return `${directory}/cgroup.events does not say frozen 1${await stuckTasks(directory)}`
      }),
    resume: (workload) => inEach(workload, (directory) => write(directory, 'cgroup.freeze', '0')),
    kill: (workload) =>
      inEach(workload, async (directory) => {
        // Frozen first and left so: what the kubelet starts in this pod afterwards is born frozen and waits for the next round.
        await write(directory, 'cgroup.freeze', '1')
        await write(directory, 'cgroup.kill', '1')
      }),
    whyNotGone: (workload) =>
      firstReason(workload, async (directory) => {
        const events = await read(directory, 'cgroup.events')
        if (events === undefined || /^populated 0$/m.test(events)) return undefined
        return `${directory}/cgroup.events does not say populated 0${await stuckTasks(directory)}`
      }),
    survey: async () => {
      surveyed = await podCgroups(cgroupRoot)
      return whyUnusable(cgroupRoot)
    },
  }
}

/**
 * The cgroups of all pods by uid, in the systemd form (`kubepods-burstable-pod<uid with _>.slice`) and the cgroupfs form (`pod<uid>`).
 * A pod that is not among them has no process, given that `whyUnusable` found the kubelet's tree.
 */
async function podCgroups(cgroupRoot: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>()
  const walk = async (directory: string, depth: number): Promise<void> => {
    const names = await directoriesIn(directory)
    await Promise.all(
      names.map(async (name) => {
        const path = join(directory, name)
        const podUid = podUidIn(name)
        if (podUid !== undefined) found.set(podUid, [...(found.get(podUid) ?? []), path])
        else if (depth < DEEPEST && leadsToPods(name)) await walk(path, depth + 1)
      }),
    )
  }
  await walk(cgroupRoot, 0)
  return found
}

function podUidIn(name: string): string | undefined {
  const matched = /(?:^|-)pod([0-9A-Za-z_-]+)(\.slice)?$/.exec(name)
  return matched?.[2] === undefined ? matched?.[1] : matched[1]?.replaceAll('_', '-')
}

const leadsToPods = (name: string): boolean => /kube|^burstable$|^besteffort$/.test(name)

async function whyUnusable(cgroupRoot: string): Promise<string | undefined> {
  if ((await read(cgroupRoot, 'cgroup.procs')) === undefined || (await read(cgroupRoot, 'cgroup.subtree_control')) === undefined) {
    return `${cgroupRoot} is no cgroup v2: boot with systemd.unified_cgroup_hierarchy=1, or set containment.cgroupRoot`
  }
  const trees = (await directoriesIn(cgroupRoot)).filter(leadsToPods)
  if (trees.length === 0) return `${cgroupRoot} holds no kubepods: is containment.cgroupRoot the host's, and did the kubelet ever start?`
  for (const tree of trees) {
    if (!(await exists(join(cgroupRoot, tree, 'cgroup.kill')))) return `${tree} has no cgroup.kill: Linux 5.14 or newer is needed`
  }
  return undefined
}

/** For people: tasks in uninterruptible sleep, which neither freeze nor die. */
async function stuckTasks(directory: string): Promise<string> {
  const stuck: string[] = []
  const visit = async (path: string): Promise<void> => {
    for (const pid of ((await read(path, 'cgroup.procs')) ?? '').split('\n').filter(Boolean)) {
      const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
      if (/\) D /.test(status)) stuck.push(pid)
    }
    for (const name of await directoriesIn(path)) await visit(join(path, name))
  }
  await visit(directory)
  return stuck.length === 0 ? '' : `; in uninterruptible sleep: ${stuck.slice(0, 10).join(', ')}`
}

const directoriesIn = async (path: string): Promise<readonly string[]> => {
  const entries = await readdir(path, { withFileTypes: true }).catch(whenGone([]))
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
}

/** Undefined where the cgroup is gone, and with it all its processes. */
const read = (directory: string, file: string): Promise<string | undefined> =>
  readFile(join(directory, file), 'utf8').catch(whenGone<string | undefined>(undefined))

const write = (directory: string, file: string, text: string): Promise<void> =>
  // Without O_CREAT: on anything that is no cgroup it must fail instead of making a file.
  writeFile(join(directory, file), text, { flag: 'r+' }).catch(whenGone<void>(undefined))

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

const whenGone =
  <T>(value: T) =>
  (error: NodeJS.ErrnoException): T => {
    // ENODEV: the cgroup was removed while its file was open.
    if (error.code === 'ENOENT' || error.code === 'ENODEV') return value
    throw error
  }
