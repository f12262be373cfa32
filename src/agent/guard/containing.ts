/** Carries out what the protocol wants of this node's workloads, and tells it what came of that. Adapter shell. */
import type { Configuration } from '../../config/schema.ts'
import { type Containment, createContainment } from '../../containment/containment.ts'
import type { Drbd } from '../../drbd/drbdsetup.ts'
import type { Log } from '../../observe/log.ts'
import type { Metrics } from '../../observe/metrics.ts'
import { hasPermit } from '../../protocol/running.ts'
import type { ContainmentLevel } from '../../protocol/process.ts'
import type { Input, State } from '../../protocol/state.ts'
import { pauseValueOf } from './pause-value.ts'

export interface ContainingOptions {
  readonly configuration: Configuration
  readonly drbd: Drbd
  readonly nowMs: () => number
  readonly state: () => State
  readonly feed: (input: Input) => void
  /** Others have written since this node was fenced: what it remembers of its replicas is distrusted, on disk, before its kill is said. */
  readonly distrustReplicas: () => Promise<void>
  readonly log: Log
  readonly metrics: Metrics
}

export interface Containing {
  readonly contain: (level: ContainmentLevel) => void
  /** Asked at every tick: lets go what an earlier life of this agent had paused, and again what could not be let go. */
  readonly review: () => void
  readonly pauseAll: Containment['pause']
  readonly alive: Containment['alive']
  readonly stop: () => void
}

const LOOK_EVERY_MS = 500
const RELEASE_AGAIN_MS = 100

type Contained = Extract<Input, { kind: 'contained' }>

export function createContaining(options: ContainingOptions): Containing {
  const { configuration, drbd, nowMs, state, feed, log, metrics } = options
  const say = (level: Contained['level'], isVerified: boolean): void => feed({ kind: 'contained', level, isVerified })
  /** When what runs here is let go, again where it was not or not wholly; Infinity: done. */
  let releaseAtMs = -Infinity

  const containment: Containment = createContainment(configuration.containment, {
    killWithinMs: configuration.timings.killMs,
    lookEveryMs: LOOK_EVERY_MS,
    nowMs,
    pauseValue: (workload) => pauseValueOf(workload, drbd.snapshot()),
    drbd,
    onBreach: (result) => {
      log.error({ unverified: result.unverified }, 'a workload escaped its containment')
      const { desired } = state().process
      if (desired !== 'none') say(desired, false)
    },
    onVerified: (wanted) => void reportLateVerification(wanted === 'killed' ? 'kill' : 'pause'),
  })
  const reportLateVerification = createLateVerification({
    ...options,
    isVerified: (level) => containment.state() === (level === 'kill' ? 'killed' : 'paused'),
    say,
  })

  const release = async (): Promise<void> => {
    releaseAtMs = Infinity
    const result = await containment.resume(() => state().process.desired === 'none' && hasPermit(state(), nowMs()))
    for (const { podUid, reason } of result.failed) log.error({ podUid }, `a workload could not be resumed, it is tried again: ${reason}`)
    // The protocol asks once: a permit that was away for a moment, unseen by its ticks, must not leave all paused for ever.
    if (!result.resumed || result.failed.length > 0) releaseAtMs = nowMs() + RELEASE_AGAIN_MS
  }

  const contain = (level: ContainmentLevel): void => {
    if (configuration.isDryRun) return
    metrics.containment.reset()
    metrics.containment.set({ level }, 1)
    if (level === 'none') return void release()
    const order =
      level === 'kill' ? Promise.all([containment.kill(), options.distrustReplicas()]).then(([killed]) => killed) : containment.pause()
    void order.then(
      (result) => {
        if (result.isSuperseded) return
        for (const { podUid, reason } of result.unverified) log.error({ podUid }, `${level} of a workload is not verified: ${reason}`)
        log.warn({ level, isVerified: result.verified }, `${level}: ${result.verified ? 'verified' : 'not verified'}`)
        say(level, result.verified)
      },
      (error: unknown) => {
        log.error({ error }, unwritten(level))
        say(level, false)
      },
    )
  }

  return {
    contain,
    review: () => {
      if (nowMs() >= releaseAtMs && state().process.desired === 'none' && state().durable.membership && hasPermit(state(), nowMs()))
        contain('none')
    },
    pauseAll: containment.pause,
    alive: containment.alive,
    stop: containment.stop,
  }
}

const unwritten = (level: ContainmentLevel): string =>
  `${level}: the distrust of this node's replicas was not written, so no kill is reported`

interface LateWordOptions extends Pick<ContainingOptions, 'state' | 'distrustReplicas' | 'log'> {
  readonly isVerified: (level: Contained['level']) => boolean
  readonly say: (level: Contained['level'], isVerified: boolean) => void
}

/**
 * A slow machine, or a kubelet that started a pod again just then: the order was not verified in time, and now it is. Said, or a node that cannot
 * reset itself would wait for ever, and one that can would reset itself again and again.
 */
function createLateVerification({
  state,
  distrustReplicas,
  log,
  isVerified,
  say,
}: LateWordOptions): (level: Contained['level']) => Promise<void> {
  let isSaying = false
  return async (level) => {
    const isNews = (): boolean =>
      state().process.desired === level && !(state().process.contained.level === level && state().process.contained.isVerified)
    if (!isNews() || isSaying) return
    isSaying = true
    try {
      if (level === 'kill') await distrustReplicas()
      if (!isNews() || !isVerified(level)) return
      log.warn({ level, isVerified: true }, `${level}: verified at last`)
      say(level, true)
    } catch (error) {
      log.error({ error }, unwritten(level))
    } finally {
      isSaying = false
    }
  }
}
