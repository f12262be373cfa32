/** An agent whose durable state is damaged: it cannot know what it promised, so it votes for nothing, and keeps this node's workloads paused. */
import type { Configuration } from '../../config/schema.ts'
import { createContainment } from '../../containment/containment.ts'
import type { DurableError } from '../../disk/durable-error.ts'
import type { Log } from '../../observe/log.ts'
import type { Metrics } from '../../observe/metrics.ts'
import { startObserveServer } from '../../observe/server.ts'

export interface RunningAgent {
  readonly observePort: number
  stop(): Promise<void>
}

const SAY_EVERY_MS = 60_000
const LOOK_EVERY_MS = 500

/** Stays up until it is stopped: an agent that ends would leave the workloads to run without a permit. */
export async function runInert(configuration: Configuration, error: DurableError, log: Log, metrics: Metrics): Promise<RunningAgent> {
  const nowMs = (): number => performance.now()
  let isVerified = false
  const say = (): void => log.fatal({ code: error.code, isVerified }, `this node is inert and its workloads are paused: ${error.message}`)
  const containment = createContainment(configuration.containment, {
    killWithinMs: configuration.timings.killMs,
    lookEveryMs: LOOK_EVERY_MS,
    nowMs,
    pauseValue: () => 'when-paused',
    onBreach: ({ unverified }) => {
      isVerified = false
      log.fatal({ unverified }, 'a workload of this inert node is not paused')
    },
  })
  if (!configuration.isDryRun) {
    const result = await containment.pause()
    isVerified = result.verified
    metrics.containment.set({ level: 'pause' }, 1)
    metrics.containmentVerified.set(isVerified ? 1 : 0)
  }
  say()
  const timer = setInterval(say, SAY_EVERY_MS)
  const observe = await startObserveServer({
    host: configuration.observe.host,
    port: configuration.observe.port,
    metrics: () => metrics.registry.metrics(),
    // Alive on purpose: a restart by the kubelet would change nothing.
    unhealthy: () => null,
    unready: () => error.message,
    status: () => ({ node: configuration.node, isInert: true, reason: error.message, isVerified }),
  })
  return {
    observePort: observe.port,
    stop: async () => {
      clearInterval(timer)
      // What is paused stays paused: nobody gave this node the right to run.
      containment.stop()
      await observe.stop()
    },
  }
}
