/** Un-fencing on the cluster, which the coordinator does: from a request to the end, and what another one left to do. Adapter shell. */
import type { Configuration } from '../config/schema.ts'
import type { StorageEntry } from '../evidence/storage-report.ts'
import { fenceId } from '../failover/fence/names.ts'
import type { FailoverClock } from '../failover/run/clock.ts'
import { takeAwayLeftovers } from '../failover/unfence/leftovers.ts'
import { type ChosenEpoch, startUnfence } from '../failover/unfence/unfence.ts'
import type { KubeClient } from '../kubernetes/client.ts'
import type { Log } from '../observe/log.ts'
import type { NodeId } from '../protocol/ids.ts'
import { memberOf, type Membership } from '../protocol/membership.ts'
import type { State } from '../protocol/state.ts'
import { agentReport } from './agent-report.ts'

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
  /** An un-fence was learned, or the API server is back and may have been set back in time. */
  readonly expectLeftovers: () => void
}

const CHOOSE_WITHIN_MS = 20_000
const AGAIN_MS = 2_000
/** The agent that asked has a head start. */
const LEFTOVERS_AFTER_MS = 5_000
const LEFTOVERS_EVERY_MS = 300_000

export function createUnfencing(options: UnfencingOptions): Unfencing {
  const { client, configuration, clock, signal, log } = options
  const underWay = new Set<NodeId>()
  let wasMine = false
  let isSweeping = false
  let sweepAtMs = Infinity

  const start = async (epoch: number, nodes: readonly NodeId[], isForced: boolean, by: string): Promise<void> => {
    for (const node of nodes) underWay.add(node)
    try {
      const request = startUnfence({
        fencedIn: epoch,
        nodes,
        by,
        isForced,
        client,
        clock,
        agentReport: (node) => agentReport(options.state(), options.reported(node), node, clock.nowMs()),
        chooseEpoch: async () => chooseEpoch(nodes, by),
        backoff: configuration.failover,
        events: configuration.failover.events,
        onProgress: (event) => log.info({ fence: fenceId(epoch), ...event }, `un-fence of ${nodes.join(', ')}: ${event.kind}`),
      })
      const stop = (): void => request.stop()
      signal.addEventListener('abort', stop)
      const result = await request.done
      signal.removeEventListener('abort', stop)
      log.warn({ fence: fenceId(epoch), result }, `un-fence of ${nodes.join(', ')}: ${result.outcome}`)
      const isBackingOff = result.outcome === 'refused' && result.checks.every(({ check }) => check === 'flapping')
      if (result.outcome !== 'unfenced') await clock.sleep((isBackingOff ? 5 : 1) * AGAIN_MS, signal)
    } catch (error) {
      log.warn({ error }, `un-fence of ${nodes.join(', ')} failed and is tried again`)
      await clock.sleep(AGAIN_MS, signal)
    } finally {
      for (const node of nodes) underWay.delete(node)
      expectLeftovers()
    }
  }

  const chooseEpoch = async (nodes: readonly NodeId[], by: string): Promise<ChosenEpoch> => {
    const untilMs = clock.nowMs() + CHOOSE_WITHIN_MS
    while (clock.nowMs() < untilMs && !signal.aborted) {
      const { membership } = options.state().durable
      if (membership && nodes.every((node) => memberOf(membership, node)?.standing !== 'fenced'))
        return { chosen: true, epoch: membership.epoch }
      options.requestUnfence(nodes, by)
      await clock.sleep(100, signal)
    }
    return { chosen: false, reason: options.state().process.lastVeto ?? 'no majority agreed in time' }
  }

  const expectLeftovers = (): void => {
    sweepAtMs = Math.min(sweepAtMs, clock.nowMs() + LEFTOVERS_AFTER_MS)
  }

  const sweep = async (membership: Membership): Promise<void> =>
    takeAwayLeftovers({
      client,
      clock,
      membership,
      isUnderWay: (node) => underWay.has(node),
      onFound: ({ node, fencedIn, isKnown }) => {
        if (!isKnown) log.warn({ node, fencedIn }, `${node} has a taint of roomfence whose fence is not known here: it is left alone`)
        else
          log.warn(
            { node, fence: fenceId(fencedIn) },
            `${node} still has the taint of ${fenceId(fencedIn)}, which is over: it is taken away`,
          )
      },
      signal,
    })

  return {
    start,
    isUnderWay: (node) => underWay.has(node),
    expectLeftovers,
    review: (mine) => {
      if (mine && !wasMine) expectLeftovers()
      wasMine = mine
      const { membership } = options.state().durable
      if (!mine || !membership || configuration.isDryRun || isSweeping || clock.nowMs() < sweepAtMs) return
      isSweeping = true
      sweepAtMs = clock.nowMs() + LEFTOVERS_EVERY_MS
      sweep(membership)
        .catch((error: unknown) => {
          log.debug({ error }, 'taints that were left over could not be looked for')
          expectLeftovers()
        })
        .finally(() => (isSweeping = false))
    },
  }
}
