/** What containment does to the processes of one pod, whatever holds them together: a cgroup (production) or a process group (demo, hosts without pods). */
import type { Workload } from './workloads.ts'

/**
 * Each may be called again at any time. `why...` return undefined when it is verified, and otherwise what is in the way; they never guess: what cannot
 * be seen is in the way.
 */
export interface Grip {
  readonly pause: (workload: Workload) => Promise<void>
  readonly whyNotPaused: (workload: Workload) => Promise<string | undefined>
  readonly resume: (workload: Workload) => Promise<void>
  readonly kill: (workload: Workload) => Promise<void>
  readonly whyNotGone: (workload: Workload) => Promise<string | undefined>
  /**
   * Comes first in each look: finds where the pods' processes are held. Returns why this host cannot be contained in this form at all (no cgroup v2,
   * another cgroup root); undefined: it can.
   */
  readonly survey: () => Promise<string | undefined>
}
