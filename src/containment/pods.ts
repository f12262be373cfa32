/** One look at the pods of this node, and what is done to all of them in it: paused, killed, resumed, or only seen. Adapter. */
import type { Drbd } from '../drbd/drbdsetup.ts'
import type { Grip } from './grip.ts'
import { demoteAll, killAll } from './kill.ts'
import { type PauseValue, pauseAll, resumeAll } from './pause.ts'
import type { Unverified } from './verification.ts'
import { findWorkloads, type Workload } from './workloads.ts'

export interface PodsOptions {
  readonly kubeletDirectory: string
  readonly pauseValue: (workload: Workload) => PauseValue
  readonly isExempt: ((podUid: string) => boolean) | undefined
  readonly drbd: Drbd | undefined
}

export interface Pods {
  /** @returns what is in the way; nothing where a newer order has come meanwhile. */
  readonly contain: (wanted: 'paused' | 'killed', isCurrent: () => boolean) => Promise<readonly Unverified[]>
  readonly thaw: (mayResume: () => boolean) => Promise<{ readonly resumed: boolean; readonly failed: readonly Unverified[] }>
  /** Rejects where nobody can tell. */
  readonly alive: () => Promise<readonly string[]>
}

export function podsInGrip(grip: Grip, { kubeletDirectory, pauseValue, isExempt, drbd }: PodsOptions): Pods {
  const workloads = async () => (await findWorkloads(kubeletDirectory)).filter(({ podUid }) => isExempt?.(podUid) !== true)
  return {
    contain: async (wanted, isCurrent) => {
      const found = await workloads()
      const reason = found.length === 0 ? undefined : await grip.survey()
      if (reason !== undefined) return [{ podUid: 'node', reason }]
      // A look that hung must not pause what has been resumed since.
      if (!isCurrent()) return []
      if (wanted === 'paused') return pauseAll(grip, found, pauseValue)
      return (await Promise.all([killAll(grip, found), drbd === undefined ? [] : demoteAll(drbd)])).flat()
    },
    thaw: async (mayResume) => {
      try {
        const found = await workloads()
        if (found.length > 0) await grip.survey()
        return await resumeAll(grip, found, mayResume)
      } catch (error) {
        return { resumed: false, failed: [{ podUid: 'node', reason: error instanceof Error ? error.message : String(error) }] }
      }
    },
    alive: async () => {
      const found = await workloads()
      const reason = found.length === 0 ? undefined : await grip.survey()
      if (reason !== undefined) throw new Error(reason)
      const states = await Promise.all(
        found.map(async (workload) => ({ workload, isAlive: (await grip.whyNotGone(workload)) !== undefined })),
      )
      return states.filter(({ isAlive }) => isAlive).map(({ workload }) => workload.podUid)
    },
  }
}
