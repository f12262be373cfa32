/** The machinery of a controller: keys queued by events, worked one at a time, tried again later when that fails; and the shared clock. */
import type { KubeObject, Store } from '../apiserver/store.ts'

/** Time for the stand-ins. `nowMs` is monotonic. */
export interface Clock {
  nowMs(): number
  /** Wall clock, for the timestamps in objects. */
  wallTime(): Date
  /** @returns a function that cancels. */
  after(delayMs: number, run: () => void): () => void
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallTime: () => new Date(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs)
    return () => clearTimeout(timer)
  },
}

/** What every stand-in is given. */
export interface ClusterContext {
  readonly store: Store
  readonly clock: Clock
  /** Real milliseconds per millisecond of the real components: 0.01 makes the 50 s grace period half a second. */
  readonly timeFactor: number
  /** Told of what a controller could not do (it tries again). */
  readonly report: (controller: string, message: string) => void
}

export type Stop = () => void

/** RFC 3339 to the second, as Kubernetes writes it. */
export const timestamp = (context: ClusterContext): string => `${context.clock.wallTime().toISOString().slice(0, 19)}Z`
/** RFC 3339 with microseconds (Lease, Event). */
export const microTimestamp = (context: ClusterContext): string => `${context.clock.wallTime().toISOString().slice(0, 23)}000Z`

export interface WorkQueue {
  add(key: string): void
  /** Adds the key when that much of the real components' time has gone by; an earlier wish for the same key stays as it is. */
  addAfter(key: string, delayMs: number): void
  stop(): void
}

const FIRST_RETRY_MS = 5
const LONGEST_RETRY_MS = 1_000

/**
 * A queue without duplicates. A key added while it is being worked is worked again; one whose work threw is tried again with back-off.
 *
 * @param latencyMs real components' time between an event and the work on it.
 */
export function createWorkQueue(
  context: ClusterContext,
  name: string,
  work: (key: string) => void | Promise<void>,
  latencyMs = 0,
): WorkQueue {
  const waiting = new Set<string>()
  const failures = new Map<string, number>()
  const timers = new Map<string, { atMs: number; cancel: () => void }>()
  let isStopped = false
  let isWorking = false
  let cancelTurn: (() => void) | undefined

  const plan = (key: string, realDelayMs: number): void => {
    if (isStopped) return
    const atMs = context.clock.nowMs() + realDelayMs
    const earlier = timers.get(key)
    if (earlier !== undefined && earlier.atMs <= atMs) return
    earlier?.cancel()
    const cancel = context.clock.after(realDelayMs, () => {
      timers.delete(key)
      queue.add(key)
    })
    timers.set(key, { atMs, cancel })
  }

  const turn = async (): Promise<void> => {
    const [key] = waiting
    if (key === undefined || isStopped) return
    waiting.delete(key)
    isWorking = true
    try {
      await work(key)
      failures.delete(key)
    } catch (error) {
      const count = failures.get(key) ?? 0
      failures.set(key, count + 1)
      if (!isStopped) {
        context.report(name, `${key}: ${error instanceof Error ? error.message : String(error)}`)
        plan(key, Math.min(FIRST_RETRY_MS * 2 ** count, LONGEST_RETRY_MS))
      }
    } finally {
      isWorking = false
      if (waiting.size > 0) planTurn()
    }
  }
  const planTurn = (): void => {
    if (isStopped || isWorking || cancelTurn !== undefined) return
    cancelTurn = context.clock.after(latencyMs * context.timeFactor, () => {
      cancelTurn = undefined
      void turn()
    })
  }

  const queue: WorkQueue = {
    add(key) {
      if (isStopped) return
      waiting.add(key)
      planTurn()
    },
    addAfter: (key, delayMs) => plan(key, delayMs * context.timeFactor),
    stop() {
      isStopped = true
      cancelTurn?.()
      for (const { cancel } of timers.values()) cancel()
      timers.clear()
      waiting.clear()
    },
  }
  return queue
}

/** Runs again and again, `periodMs` of the real components' time apart; the first run is one period away. */
export function every(context: ClusterContext, periodMs: number, run: () => void, shortestMs = 10): Stop {
  let cancel: () => void
  const plan = (): void => {
    cancel = context.clock.after(Math.max(periodMs * context.timeFactor, shortestMs), () => {
      plan()
      try {
        run()
      } catch (error) {
        context.report('timer', error instanceof Error ? error.message : String(error))
      }
    })
  }
  plan()
  return () => cancel()
}

/** One run after `delayMs` of the real components' time. */
export const later = (context: ClusterContext, delayMs: number, run: () => void): Stop =>
  context.clock.after(delayMs * context.timeFactor, run)

export interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly plural: string
  readonly object: KubeObject
}

/** Shows a controller all that exists of these kinds, then every change. */
export function watch(store: Store, plurals: readonly string[], listener: (change: Change) => void): Stop {
  const stop = store.onChange((change) => {
    if (plurals.includes(change.plural)) listener(change)
  })
  for (const plural of plurals) for (const object of store.list(plural)) listener({ type: 'ADDED', plural, object })
  return stop
}

export const stopAll =
  (...stops: readonly (Stop | WorkQueue)[]): Stop =>
  () => {
    for (const stop of stops) {
      if (typeof stop === 'function') stop()
      else stop.stop()
    }
  }
