/** The driver of containment: pause, resume, kill, and keeping it so while new pods are born. Adapter; the protocol orders, this carries out. */
import type { Drbd } from '../drbd/drbdsetup.ts'
import { cgroupGrip } from './cgroup.ts'
import type { Grip } from './grip.ts'
import type { PauseValue } from './pause.ts'
import { type Pods, podsInGrip } from './pods.ts'
import { processGroupGrip } from './process-group.ts'
import { type ContainmentResult, type Unverified, verified } from './verification.ts'
import type { Workload } from './workloads.ts'

export interface ContainmentConfiguration {
  readonly form: 'cgroup' | 'processGroup'
  readonly kubeletDirectory: string
  /** Where cgroup v2 is mounted. */
  readonly cgroupRoot: string
}

export interface ContainmentOptions {
  /** T_kill: what is not verified after so long is not contained. */
  readonly killWithinMs: number
  /** While contained, pods are looked for so often: the kubelet starts some at boot, or again after a kill. */
  readonly lookEveryMs: number
  readonly nowMs: () => number
  readonly pauseValue: (workload: Workload) => PauseValue
  /** Pods that are left alone, by uid (opted out by a person). */
  readonly isExempt?: (podUid: string) => boolean
  /** For demoting after a kill; undefined: not this node's business. */
  readonly drbd?: Drbd
  /** A later look, while contained, that could not be verified in time: as bad as a failed pause or kill. */
  readonly onBreach: (result: ContainmentResult) => void
  /** A later look that was verified: what an order or a look before it could not verify in time has become true. */
  readonly onVerified?: (wanted: 'paused' | 'killed') => void
}

export type ContainmentState = 'free' | 'paused' | 'killed'

export interface Resumed {
  /** False: the permit was gone before the last pod ran, everything is paused again, and `again` says whether that was verified. */
  readonly resumed: boolean
  readonly failed: readonly Unverified[]
  readonly again: ContainmentResult | undefined
}

export interface Containment {
  /** What was ordered last; whether it was reached is in the results. */
  readonly state: () => ContainmentState
  readonly pause: () => Promise<ContainmentResult>
  /** Also after a kill: it lets pods be started again. The permit is asked right before each pod and once more after the last. */
  readonly resume: (mayResume: () => boolean) => Promise<Resumed>
  readonly kill: () => Promise<ContainmentResult>
  /** Pods to contain that have processes, paused ones among them, by uid. Rejects where nobody can tell. */
  readonly alive: () => Promise<readonly string[]>
  readonly stop: () => void
}

/**
 * At its start the agent does not know what an earlier life of it has paused: it pauses, and resumes with the permit.
 * Each order may be given again and then shares the result. A pause never weakens a kill; a kill cuts a pause under way short. None of them rejects.
 */
export function createContainment(configuration: ContainmentConfiguration, options: ContainmentOptions): Containment {
  const { killWithinMs, lookEveryMs, nowMs, onBreach, onVerified } = options
  const pods = podsOf(configuration, options)
  const turns = createTurns()
  let state: ContainmentState = 'free'
  /** Counts orders: whoever is under way for an older one stops. */
  let order = 0
  let underWay: { readonly wanted: ContainmentState; readonly result: Promise<ContainmentResult> } | undefined

  const contained = (wanted: 'paused' | 'killed', mine: number, untilMs: number): Promise<ContainmentResult> => {
    const isCurrent = () => order === mine
    return verified(() => pods.contain(wanted, isCurrent), { nowMs, untilMs, isSuperseded: () => !isCurrent() })
  }
  const contain = (asked: 'paused' | 'killed'): Promise<ContainmentResult> => {
    const wanted = state === 'killed' ? 'killed' : asked
    if (underWay?.wanted === wanted) return underWay.result
    state = wanted
    order += 1
    const mine = order
    // The time runs from the order, also while an older one is let go.
    const untilMs = nowMs() + killWithinMs
    const result = turns
      .take(() => contained(wanted, mine, untilMs))
      .finally(() => {
        if (underWay?.result === result) underWay = undefined
      })
    underWay = { wanted, result }
    return result
  }
  const resume = async (asked: number, mayResume: () => boolean): Promise<Resumed> => {
    // Another order was given before this one's turn, and that one counts.
    if (order !== asked || !mayResume()) return { resumed: false, failed: [], again: undefined }
    order += 1
    const mine = order
    const before = state
    state = 'free'
    const { resumed, failed } = await pods.thaw(() => order === mine && mayResume())
    if (resumed || order !== mine) return { resumed, failed, again: undefined }
    state = before === 'free' ? 'paused' : before
    return { resumed, failed, again: await contained(state, mine, nowMs() + killWithinMs) }
  }
  const lookAgain = () => {
    if (state === 'free' || turns.isBusy()) return
    const wanted = state
    const mine = order
    void turns.take(async () => {
      if (order !== mine) return
      const result = await contained(wanted, mine, nowMs() + killWithinMs)
      if (result.isSuperseded) return
      if (result.verified) onVerified?.(wanted)
      else onBreach(result)
    })
  }
  const timer = setInterval(lookAgain, lookEveryMs)

  return {
    state: () => state,
    pause: () => contain('paused'),
    kill: () => contain('killed'),
    alive: pods.alive,
    resume: (mayResume) => {
      const asked = order
      return turns.take(() => resume(asked, mayResume))
    },
    stop: () => clearInterval(timer),
  }
}

function podsOf({ form, cgroupRoot, kubeletDirectory }: ContainmentConfiguration, options: ContainmentOptions): Pods {
  const grip: Grip = form === 'cgroup' ? cgroupGrip(cgroupRoot) : processGroupGrip()
  const { pauseValue, isExempt, drbd } = options
  return podsInGrip(grip, { kubeletDirectory, pauseValue, isExempt, drbd })
}

interface Turns {
  /** Runs `work` when all before it is over. */
  readonly take: <T>(work: () => Promise<T>) => Promise<T>
  readonly isBusy: () => boolean
}

function createTurns(): Turns {
  let last: Promise<unknown> = Promise.resolve()
  let isBusy = false
  return {
    isBusy: () => isBusy,
    take: (work) => {
      const mine = last.then(async () => {
        isBusy = true
        try {
          return await work()
        } finally {
          isBusy = false
        }
      })
      last = mine.catch(() => undefined)
      return mine
    },
  }
}
