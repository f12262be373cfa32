/** The watchdog of this node: opened, petted and closed as the protocol allows. Adapter shell. */
import { watchdogProblem } from '../../config/rules.ts'
import type { Configuration } from '../../config/schema.ts'
import { openWatchdog, type Watchdog } from '../../containment/watchdog.ts'
import type { Log } from '../../observe/log.ts'
import type { Metrics } from '../../observe/metrics.ts'
import { mayCloseWatchdog, mayPet } from '../../protocol/running.ts'
import type { Input, State } from '../../protocol/state.ts'

export interface PettingOptions {
  readonly configuration: Configuration
  readonly nowMs: () => number
  readonly state: () => State
  readonly feed: (input: Input) => void
  readonly log: Log
  readonly metrics: Metrics
}

export interface Petting {
  /** Asked at every tick: opens the watchdog as soon as it may be petted. */
  readonly review: () => void
  readonly isArmed: () => boolean
  /**
   * Gives the watchdog up in good order, which takes a majority; true when it was disarmed, or there is none.
   *
   * @param pauseAll tried where no majority acks it: what runs here must not run on without the agent
   */
  readonly leave: (withinMs: number, pauseAll: () => Promise<{ readonly verified: boolean }>) => Promise<boolean>
  readonly stop: () => void
}

const OPEN_AGAIN_MS = 5_000
const PET_EVERY_MS = 500
const ASK_TO_CLOSE_EVERY_MS = 50

export function createPetting({ configuration, nowMs, state, feed, log, metrics }: PettingOptions): Petting {
  let watchdog: Watchdog | undefined
  let triedAtMs = -Infinity
  let timer: NodeJS.Timeout | undefined
  // Refused when it was due: tried again at each tick, or a permit that comes and goes in step with the timer ends in a reset.
  let isDue = false

  const pet = (): void => {
    if (!watchdog) return
    isDue = !mayPet(state(), nowMs())
    if (isDue) return
    const written = watchdog.pet()
    if (written.kind === 'failed') {
      metrics.watchdogFailures.inc()
      log.error(written.reason)
    }
  }

  const open = (): void => {
    triedAtMs = nowMs()
    try {
      const opened = openWatchdog(configuration.watchdog)
      if (!opened) return
      watchdog = opened
      sayOpened(opened, configuration, log)
      pet()
      timer = setInterval(pet, Math.min(PET_EVERY_MS, opened.timeoutMs / 5))
      feed({ kind: 'watchdog', timeoutMs: opened.timeoutMs })
    } catch (error) {
      log.error({ error }, `no watchdog, so no timed proof for this node: ${error instanceof Error ? error.message : String(error)}`)
    }
  }

  /**
   * With the first permit or the first verified containment of this life, and told of only then: what a stated watchdog guards must be guarded. A node that
   * waits out its un-fence has said it by the time it dies again, and one whose agent was killed while all is paused is not reset for that.
   */
  const mayOpen = (): boolean =>
    !watchdog &&
    !configuration.isDryRun &&
    configuration.watchdog.kind !== 'none' &&
    nowMs() - triedAtMs >= OPEN_AGAIN_MS &&
    !state().process.isLeaving &&
    mayPet(state(), nowMs())

  return {
    review: () => {
      if (mayOpen()) open()
      if (isDue) pet()
      metrics.watchdogArmed.set(watchdog ? 1 : 0)
    },
    isArmed: () => watchdog !== undefined,
    leave: async (withinMs, pauseAll) => {
      if (!watchdog) return true
      await untilAllowed(() => mayCloseWatchdog(state()), withinMs, nowMs)
      if (!mayCloseWatchdog(state())) {
        await pauseForLeaving(pauseAll, log)
        clearInterval(timer)
        watchdog.abandon()
        return false
      }
      if (!disarm(watchdog, log)) return false
      clearInterval(timer)
      watchdog = undefined
      return true
    },
    stop: () => clearInterval(timer),
  }
}

function sayOpened({ timeoutMs }: Watchdog, { timings }: Configuration, log: Log): void {
  const problem = watchdogProblem(timings, timeoutMs)
  if (problem !== undefined) log.warn(problem)
  log.info({ timeoutMs }, 'watchdog armed')
}

async function untilAllowed(isAllowed: () => boolean, withinMs: number, nowMs: () => number): Promise<void> {
  const untilMs = nowMs() + withinMs
  while (nowMs() < untilMs && !isAllowed()) await new Promise((resolve) => setTimeout(resolve, ASK_TO_CLOSE_EVERY_MS))
}

function disarm(watchdog: Watchdog, log: Log): boolean {
  const written = watchdog.disarm()
  if (written.kind === 'failed') log.fatal(`${written.reason}; this agent ends now, and the node is reset unless the next one pets in time`)
  else log.info('watchdog disarmed')
  return written.kind !== 'failed'
}

/** Nobody acked that this node gives up its protection, so a proof may count on it, and once this agent is gone nobody holds what the kubelet starts. */
async function pauseForLeaving(pauseAll: () => Promise<{ readonly verified: boolean }>, log: Log): Promise<void> {
  const { verified } = await pauseAll()
  const paused = verified ? 'all is paused' : 'the pause is not verified'
  log.fatal(`leaving without a majority: ${paused}; the watchdog stays armed and resets this node unless the next agent pets it in time`)
}
