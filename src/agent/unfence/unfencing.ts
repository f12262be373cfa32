/** Un-fencing on the cluster, which the coordinator does, from a request to the end (src/failover/unfence). Adapter shell. */
import type { Configuration } from '../../config/schema.ts'
import type { StorageEntry } from '../../evidence/storage-report.ts'
import { fenceId } from '../../failover/fence/names.ts'
import type { FailoverClock } from '../../failover/run/clock.ts'
import { type ChosenEpoch, startUnfence, type UnfenceResult } from '../../failover/unfence/unfence.ts'
import type { KubeClient } from '../../kubernetes/client.ts'
import type { Log } from '../../observe/log.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { memberOf } from '../../protocol/membership.ts'
import type { State } from '../../protocol/state.ts'
import { agentReport } from './agent-report.ts'
import { createLeftovers } from './leftovers.ts'

export interface UnfencingOptions {
  readonly configuration: Configuration
  readonly client: KubeClient
  readonly clock: FailoverClock
  readonly state: () => State
  readonly reported: (node: NodeId) => readonly StorageEntry[] | undefined
  readonly requestUnfence: (nodes: readonly NodeId[], by: string) => void
  readonly signal: AbortSignal
  readonly log: Log
}

export interface Unfencing {
  /** Of these nodes, fenced in `epoch`, by the name of who asked. */
  readonly start: (epoch: number, nodes: readonly NodeId[], isForced: boolean, by: string) => Promise<void>
  readonly isUnderWay: (node: NodeId) => boolean
  /** Asked often: now and then, and soon after `expectLeftovers`, taints are looked for that no fence has any more. */
  readonly review: (mine: boolean) => void
  /** An un-fence was learned, which is what an epoch that was asked for is waited for by; or the API server is back and may have been set back in time. */
  readonly expectLeftovers: () => void
}

const CHOOSE_WITHIN_MS = 20_000
const AGAIN_MS = 2_000
/** A request counts for as long as a heartbeat does: it is made again so many times in that. */
const REQUESTS_IN_TIME = 3

export function createUnfencing(options: UnfencingOptions): Unfencing {
  const { clock, signal, log } = options
  const underWay = new Set<NodeId>()
  const isUnderWay = (node: NodeId): boolean => underWay.has(node)
  const leftovers = createLeftovers({ ...options, isUnderWay })
  const waits = new Set<AbortController>()
  const untilLearned = async (atMostMs: number): Promise<void> => {
    const wait = new AbortController()
    waits.add(wait)
    await clock.sleep(atMostMs, AbortSignal.any([wait.signal, signal]))
    waits.delete(wait)
  }
  return {
    start: async (epoch, nodes, isForced, by) => {
      for (const node of nodes) underWay.add(node)
      try {
        const result = await unfenceOnce({ epoch, nodes, isForced, by }, { ...options, untilLearned })
        const isBackingOff = result.outcome === 'refused' && result.checks.every(({ check }) => check === 'flapping')
        if (result.outcome !== 'unfenced') await clock.sleep((isBackingOff ? 5 : 1) * AGAIN_MS, signal)
      } catch (error) {
        log.warn({ error }, `un-fence of ${nodes.join(', ')} failed and is tried again`)
        await clock.sleep(AGAIN_MS, signal)
      } finally {
        for (const node of nodes) underWay.delete(node)
        leftovers.expect()
      }
    },
    isUnderWay,
    expectLeftovers: () => {
      for (const wait of waits) wait.abort()
      leftovers.expect()
    },
    review: leftovers.review,
  }
}

interface Asked {
  readonly epoch: number
  readonly nodes: readonly NodeId[]
  readonly isForced: boolean
  readonly by: string
}

interface Choosing extends UnfencingOptions {
  /** Resolves when an un-fence was learned, or after that time. */
  readonly untilLearned: (atMostMs: number) => Promise<void>
}

async function unfenceOnce({ epoch, nodes, isForced, by }: Asked, options: Choosing): Promise<UnfenceResult> {
  const { client, configuration, clock, signal, log } = options
  const request = startUnfence({
    fencedIn: epoch,
    nodes,
    by,
    isForced,
    client,
    clock,
    agentReport: (node) => agentReport(options.state(), options.reported(node), node, clock.nowMs()),
    chooseEpoch: async () => chooseEpoch(nodes, by, options),
    backoff: configuration.failover,
    events: configuration.failover.events,
    onProgress: (event) => log.info({ fence: fenceId(epoch), ...event }, `un-fence of ${nodes.join(', ')}: ${event.kind}`),
  })
  const stop = (): void => request.stop()
  signal.addEventListener('abort', stop)
  const result = await request.done
  signal.removeEventListener('abort', stop)
  log.warn({ fence: fenceId(epoch), result }, `un-fence of ${nodes.join(', ')}: ${result.outcome}`)
  return result
}

async function chooseEpoch(nodes: readonly NodeId[], by: string, options: Choosing): Promise<ChosenEpoch> {
  const { clock, signal, configuration, untilLearned } = options
  const untilMs = clock.nowMs() + CHOOSE_WITHIN_MS
  const againMs = configuration.timings.detectMs / REQUESTS_IN_TIME
  while (clock.nowMs() < untilMs && !signal.aborted) {
    const { membership } = options.state().durable
    if (membership && nodes.every((node) => memberOf(membership, node)?.standing !== 'fenced'))
      return { chosen: true, epoch: membership.epoch }
    const learned = untilLearned(Math.min(againMs, untilMs - clock.nowMs()))
    options.requestUnfence(nodes, by)
    await learned
  }
  return { chosen: false, reason: options.state().process.lastVeto ?? 'no majority agreed in time' }
}
