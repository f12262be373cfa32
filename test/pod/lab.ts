/** What all containers of one test share: a name for their cgroups, the runtime's state, and an end that comes whatever happens to the test. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { hierarchyFolders, type NodeCgroup, nodeCgroup } from './cgroups.ts'
import { needed } from './needed.ts'

export interface PodLab {
  /** runc's `--root`. Not in the test's folder, which may be gone before the containers are. */
  readonly state: string
  cgroupOf(node: string): NodeCgroup
  /** Ends every container and every process in a cgroup of the lab. */
  close(): Promise<void>
}

const labPrefix = 'roomfence-pods-'

/** @throws with what to do where pods cannot be run. */
export function openPodLab(): PodLab {
  const missing = needed()
  if (missing !== undefined) throw new Error(missing)
  const lab = `${labPrefix}${randomBytes(4).toString('hex')}`
  const state = join('/run', lab)
  mkdirSync(state)
  const ender = spawn(join(import.meta.dirname, 'end-lab.sh'), [lab, state, ...hierarchyFolders()], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  ender.unref()
  ;(ender.stdin as Socket).unref()
  const ended = once(ender, 'exit')
  return {
    state,
    cgroupOf: (node) => nodeCgroup(lab, node),
    close: async () => {
      ender.ref()
      ender.stdin.end()
      const [code] = (await ended) as [number | null]
      if (code !== 0) throw new Error(`containers or cgroups of ${lab} could not be ended`)
    },
  }
}
