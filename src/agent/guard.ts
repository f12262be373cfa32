/** Keeps this node harmless when the protocol says so: containment, the watchdog, and the reboot where neither can be verified. Adapter shell. */
import type { Configuration } from '../config/schema.ts'
import { watchdogProblem } from '../config/rules.ts'
import { type Containment, createContainment } from '../containment/containment.ts'
import type { PauseValue } from '../containment/pause.ts'
import { reboot } from '../containment/reboot.ts'
import { openWatchdog, type Watchdog } from '../containment/watchdog.ts'
import type { Workload } from '../containment/workloads.ts'
import type { Drbd } from '../drbd/drbdsetup.ts'
import type { Log } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import { holdsPermit, mayCloseWatchdog, mayPet } from '../protocol/running.ts'
import type { ContainmentLevel, Input, State } from '../protocol/state.ts'

export interface GuardOptions {
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

export interface Guard {
  readonly contain: (level: ContainmentLevel) => void
  readonly reboot: (reason: string) => void
  /** Asked at every tick: opens the watchdog as soon as it may be petted, and lets go what an earlier life of this agent had paused. */
  readonly review: () => void
  readonly isArmed: () => boolean
  /** What could write and is alive here, by pod uid. */
  readonly alive: () => Promise<readonly string[]>
  /** Gives up the watchdog in good order, which takes a majority; true when it was disarmed, or there is none. */
  readonly leave: (withinMs: number) => Promise<boolean>
  readonly stop: () => void
}

const LOOK_EVERY_MS = 500
const RELEASE_AGAIN_MS = 100

export function createGuard(options: GuardOptions): Guard {
  const { configuration, drbd, nowMs, state, feed, log, metrics } = options
  const { isDryRun } = configuration
  let watchdog: Watchdog | undefined
  let watchdogTriedAtMs = -Infinity
  let petTimer: NodeJS.Timeout | undefined
  // Refused when it was due: tried again at each tick, or a permit that comes and goes in step with the timer ends in a reset.
  let isPetDue = false
  /** When what runs here is let go, again where it was not or not wholly; Infinity: done. */
  let releaseAtMs = -Infinity
  let isRebooting = false
  let isSayingLate = false

  const containment: Containment = createContainment(configuration.containment, {
    killWithinMs: configuration.timings.killMs,
    lookEveryMs: LOOK_EVERY_MS,
    nowMs,
    pauseValue,
    drbd,
    onBreach: (result) => {
      log.error({ unverified: result.unverified }, 'a workload escaped its containment')
      const { desired } = state()
      if (desired !== 'none') feed({ kind: 'contained', level: desired, isVerified: false })
    },
    onVerified: (wanted) => void sayLate(wanted === 'killed' ? 'kill' : 'pause'),
  })

  /**
   * A slow machine, or a kubelet that started a pod again just then: the order was not verified in time, and now it is. Said, or a node that cannot
   * reset itself would wait for ever, and one that can would reset itself again and again.
   */
  async function sayLate(level: 'pause' | 'kill'): Promise<void> {
    const isNews = (): boolean => state().desired === level && !(state().contained.level === level && state().contained.isVerified)
    if (!isNews() || isSayingLate) return
    isSayingLate = true
    try {
      if (level === 'kill') await options.distrustReplicas()
      if (!isNews() || containment.state() !== (level === 'kill' ? 'killed' : 'paused')) return
      log.warn({ level, isVerified: true }, `${level}: verified at last`)
      feed({ kind: 'contained', level, isVerified: true })
    } catch (error) {
      log.error({ error }, `${level}: the distrust of this node's replicas was not written, so no kill is reported`)
    } finally {
      isSayingLate = false
    }
  }

  /** DRBD resources bear the names of their PersistentVolumes (LINSTOR's way); a volume of another kind is judged by how it is used. */
  function pauseValue({ persistentVolumes, isMounted }: Workload): PauseValue {
    const snapshot = drbd.snapshot()
    const isStill = (name: string): boolean => {
      const resource = snapshot.kind === 'known' ? snapshot.resources.find((one) => one.name === name) : undefined
      return resource !== undefined && (resource.role !== 'Primary' || resource.suspended.fencing)
    }
    if (persistentVolumes.length > 0 && persistentVolumes.every(isStill)) return 'already-suspended'
    // A mounted file system writes from the page cache on behind a paused process; a block device opened by QEMU without cache does not.
    return isMounted ? 'never' : 'when-paused'
  }

  const contain = (level: ContainmentLevel): void => {
    if (isDryRun) return
    metrics.containment.reset()
    metrics.containment.set({ level }, 1)
    if (level === 'none') {
      releaseAtMs = Infinity
      void containment
        .resume(() => state().desired === 'none' && holdsPermit(state(), nowMs()))
        .then((result) => {
          for (const { podUid, reason } of result.failed)
            log.error({ podUid }, `a workload could not be resumed, it is tried again: ${reason}`)
          // The protocol asks once: a permit that was away for a moment, unseen by its ticks, must not leave all paused for ever.
          if (!result.resumed || result.failed.length > 0) releaseAtMs = nowMs() + RELEASE_AGAIN_MS
        })
      return
    }
    const order =
      level === 'kill' ? Promise.all([containment.kill(), options.distrustReplicas()]).then(([killed]) => killed) : containment.pause()
    const unwritten = (error: unknown): void => {
      log.error({ error }, `${level}: the distrust of this node's replicas was not written, so no kill is reported`)
      feed({ kind: 'contained', level, isVerified: false })
    }
    void order.then((result) => {
      if (result.isSuperseded) return
      for (const { podUid, reason } of result.unverified) log.error({ podUid }, `${level} of a workload is not verified: ${reason}`)
      log.warn({ level, isVerified: result.verified }, `${level}: ${result.verified ? 'verified' : 'not verified'}`)
      feed({ kind: 'contained', level, isVerified: result.verified })
    }, unwritten)
  }

  const pet = (): void => {
    if (!watchdog) return
    isPetDue = !mayPet(state(), nowMs())
    if (isPetDue) return
    const written = watchdog.pet()
    if (written.kind === 'failed') {
      metrics.watchdogFailures.inc()
      log.error(written.reason)
    }
  }

  /**
   * With the first permit or the first verified containment of this life, and told of only then: what a stated watchdog guards must be guarded. A node that
   * waits out its un-fence has said it by the time it dies again, and one whose agent was killed while all is paused is not reset for that.
   */
  const openWhenItMayPet = (): void => {
    if (watchdog || isDryRun || configuration.watchdog.kind === 'none' || nowMs() - watchdogTriedAtMs < 5_000) return
    if (state().isLeaving || !mayPet(state(), nowMs())) return
    watchdogTriedAtMs = nowMs()
    try {
      const opened = openWatchdog(configuration.watchdog)
      if (!opened) return
      const problem = watchdogProblem(configuration.timings, opened.timeoutMs)
      if (problem !== undefined) log.warn(problem)
      watchdog = opened
      log.info({ timeoutMs: opened.timeoutMs }, 'watchdog armed')
      pet()
      petTimer = setInterval(pet, Math.min(500, opened.timeoutMs / 5))
      feed({ kind: 'watchdog', timeoutMs: opened.timeoutMs })
    } catch (error) {
      log.error({ error }, `no watchdog, so no timed proof for this node: ${error instanceof Error ? error.message : String(error)}`)
    }
  }

  return {
    contain,
    reboot: (reason) => {
      if (isDryRun || isRebooting) return
      isRebooting = true
      const { rebootMethod, rebootCommand } = configuration.containment
      const order = reboot({ rebootMethod, rebootCommand, sysrqFile: '/proc/sysrq-trigger' }, reason, (line) => log.fatal(line))
      void order.finally(() => setTimeout(() => (isRebooting = false), 5_000).unref())
    },
    review: () => {
      openWhenItMayPet()
      if (isPetDue) pet()
      metrics.watchdogArmed.set(watchdog ? 1 : 0)
      if (nowMs() >= releaseAtMs && state().desired === 'none' && state().durable.membership && holdsPermit(state(), nowMs()))
        contain('none')
    },
    isArmed: () => watchdog !== undefined,
    alive: containment.alive,
    leave: async (withinMs) => {
      if (!watchdog) return true
      const untilMs = nowMs() + withinMs
      while (nowMs() < untilMs && !mayCloseWatchdog(state())) await new Promise((resolve) => setTimeout(resolve, 50))
      if (!mayCloseWatchdog(state())) {
        // Nobody acked that this node gives up its protection, so a proof may count on it, and once this agent is gone nobody holds what the kubelet starts.
        const { verified } = await containment.pause()
        const paused = verified ? 'all is paused' : 'the pause is not verified'
        log.fatal(
          `leaving without a majority: ${paused}; the watchdog stays armed and resets this node unless the next agent pets it in time`,
        )
        clearInterval(petTimer)
        watchdog.abandon()
        return false
      }
      const written = watchdog.disarm()
      if (written.kind === 'failed') {
        log.fatal(`${written.reason}; this agent ends now, and the node is reset unless the next one pets in time`)
        return false
      }
      clearInterval(petTimer)
      watchdog = undefined
      log.info('watchdog disarmed')
      return true
    },
    stop: () => {
      clearInterval(petTimer)
      containment.stop()
    },
  }
}
