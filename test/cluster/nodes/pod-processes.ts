/**
 * The part of a pod that can write shared storage, for real: a process group, and the kubelet's directory by which an agent
 * finds it without the API server (`pods/<uid>/volumeDevices/kubernetes.io~csi/<volume>`, and `pgid`, a decimal number).
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { PersistentVolume } from '../api/objects.ts'
import { groupStates, type ProcessKeeper, type Program } from '../processes.ts'

/** Where the kernel has the pod's processes: `paused` when all are stopped (SIGSTOP), `gone` when none is left. */
export type ProcessState = 'running' | 'paused' | 'gone'

export interface PodProcesses {
  /** `onDeath` is told when the processes end without `end` having been asked for. */
  start(kubeletDirectory: string, podUid: string, volumes: readonly PersistentVolume[], onDeath: () => void): void
  /** SIGKILL; then the directory goes unless `keepsDirectory`, as after a power cut. */
  end(kubeletDirectory: string, podUid: string, keepsDirectory?: boolean): Promise<void>
  state(podUid: string): ProcessState
  /** kubelet's housekeeping after a boot: directories of pods it does not know. */
  removeDirectoriesExcept(kubeletDirectory: string, podUids: ReadonlySet<string>): void
}

const podDirectory = (kubeletDirectory: string, podUid: string): string => join(kubeletDirectory, 'pods', podUid)

export const podProcesses = (keeper: ProcessKeeper): PodProcesses => {
  const groups = new Map<string, Program>()
  return {
    start: (kubeletDirectory, podUid, volumes, onDeath) => {
      const directory = podDirectory(kubeletDirectory, podUid)
      for (const { metadata, spec } of volumes) {
        const parent = join(directory, spec.volumeMode === 'Block' ? 'volumeDevices' : 'volumes', 'kubernetes.io~csi')
        mkdirSync(parent, { recursive: true })
        if (spec.volumeMode === 'Block') writeFileSync(join(parent, metadata.name), '')
        else mkdirSync(join(parent, metadata.name, 'mount'), { recursive: true })
      }
      // two processes, so that pausing only the first would be seen
      const program = keeper.start({ name: `pod-${podUid}`, command: 'sh', args: ['-c', 'sleep infinity & wait'], logFile: null })
      groups.set(podUid, program)
      writeFileSync(join(directory, 'pgid'), `${program.pid}\n`)
      void program.ended.then(async () => {
        if (groups.get(podUid) !== program) return
        groups.delete(podUid)
        await program.kill()
        rmSync(join(directory, 'pgid'), { force: true })
        onDeath()
      })
    },
    end: async (kubeletDirectory, podUid, keepsDirectory = false) => {
      const program = groups.get(podUid)
      groups.delete(podUid)
      await program?.kill()
      const directory = podDirectory(kubeletDirectory, podUid)
      // the number may be another group's from now on
      rmSync(keepsDirectory ? join(directory, 'pgid') : directory, { recursive: true, force: true })
    },
    state: (podUid) => {
      const program = groups.get(podUid)
      const states = program === undefined ? [] : groupStates(program.pid)
      return states.length === 0 ? 'gone' : states.every((state) => state === 'T') ? 'paused' : 'running'
    },
    removeDirectoriesExcept: (kubeletDirectory, podUids) => {
      for (const podUid of readdirSync(join(kubeletDirectory, 'pods')))
        if (!podUids.has(podUid)) rmSync(podDirectory(kubeletDirectory, podUid), { recursive: true, force: true })
    },
  }
}
