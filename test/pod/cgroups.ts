/**
 * The cgroups of played nodes. Each node has a tree of its own in the machine's cgroup v2 hierarchy, wherever that is mounted, and it stands for the
 * whole of that node's: the kubelet's `kubepods` in it, and a pod's cgroup below.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

interface Hierarchy {
  readonly folder: string
  readonly isVersion2: boolean
}

export function hierarchiesIn(mountinfo: string): readonly Hierarchy[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ')
    const folder = before.split(' ')[4]
    const type = after.split(' ')[0]
    return folder !== undefined && (type === 'cgroup' || type === 'cgroup2') ? [{ folder, isVersion2: type === 'cgroup2' }] : []
  })
}

const hierarchies = (): readonly Hierarchy[] => hierarchiesIn(readFileSync('/proc/self/mountinfo', 'utf8'))

export const hierarchyFolders = (): readonly string[] => hierarchies().map(({ folder }) => folder)

function cgroup2Folder(): string {
  const found = hierarchies().find(({ isVersion2 }) => isVersion2)
  if (found === undefined) throw new Error('no cgroup v2 hierarchy is mounted on this machine: containment cannot be played')
  return found.folder
}

export interface NodeCgroup {
  /** Stands for the node's /sys/fs/cgroup. */
  readonly folder: string
  /** Of a container below the root of any hierarchy, for runc. */
  containerPath(podUid: string, container: string): string
  /** Folders of the pod in every hierarchy in which a runtime may make them. */
  podFolders(podUid: string): readonly string[]
  /** For a pod that is no container: made if need be. A process that is written to its `cgroup.procs` is a process of the pod. */
  workloadFolder(podUid: string): string
}

export function nodeCgroup(lab: string, node: string): NodeCgroup {
  const kubepods = join('/', lab, node, 'kubepods', 'burstable')
  const path = (podUid: string): string => join(kubepods, `pod${podUid}`)
  mkdirSync(join(cgroup2Folder(), kubepods), { recursive: true })
  return {
    folder: join(cgroup2Folder(), lab, node),
    containerPath: (podUid, container) => join(path(podUid), container),
    podFolders: (podUid) => hierarchyFolders().map((folder) => join(folder, path(podUid))),
    workloadFolder: (podUid) => {
      const folder = join(cgroup2Folder(), path(podUid), 'workload')
      mkdirSync(folder, { recursive: true })
      return folder
    },
  }
}

const eventOf = (folder: string, name: string): string | undefined => {
  const file = join(folder, 'cgroup.events')
  return existsSync(file) ? new RegExp(`^${name} (.*)$`, 'm').exec(readFileSync(file, 'utf8'))?.[1] : undefined
}

export const isFrozen = (folder: string): boolean => eventOf(folder, 'frozen') === '1'
