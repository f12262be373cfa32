/** The failovers of this agent: which are under way, which are over, and what each says. Adapter shell. */
import type { Configuration } from '../../config/schema.ts'
import { type Failover, startFailover } from '../../failover/run/failover.ts'
import type { FenceStatus } from '../../failover/fence/fence.ts'
import type { FailoverClock } from '../../failover/run/clock.ts'
import type { FailoverEvent } from '../../failover/run/progress.ts'
import { fenceId } from '../../failover/fence/names.ts'
import type { CommittedFence } from '../../failover/fence/committed-fence.ts'
import type { Proofs } from '../../failover/fence/proofs.ts'
import type { KubeClient } from '../../kubernetes/client.ts'
import { guardedWrites } from '../../kubernetes/guarded.ts'
import type { Log } from '../../observe/log.ts'
import type { Metrics } from '../../observe/metrics.ts'
import { hasPermit } from '../../protocol/running.ts'
import type { State } from '../../protocol/state.ts'
import type { StorageFacts } from '../storage/storage-proof.ts'
import { gateOf, proofOfNode, proofOfWorkload } from './proofs.ts'

export interface CarryingOptions {
  readonly configuration: Configuration
  readonly client: KubeClient
  readonly clock: FailoverClock
  readonly state: () => State
  readonly storageFacts: () => StorageFacts | null
  /** When the fence of an epoch was learned here; undefined: before this life of the agent. */
  readonly learnedAtMs: (epoch: number) => number | undefined
  readonly log: Log
  readonly metrics: Metrics
}

export interface Carrying {
  readonly start: (order: CommittedFence) => void
  /** Whether it is under way, or over and not to be carried out again. */
  readonly isTaken: (epoch: number) => boolean
  /** Whether this agent carried it out to its end, and has no reason to do so again. */
  readonly isCarriedOut: (epoch: number) => boolean
  /** That one is carried out again. */
  readonly again: (epoch: number) => void
  /** Each is looked at once more, to its end. */
  readonly allAgain: () => void
  readonly stopExcept: (epochs: ReadonlySet<number>) => void
  readonly poke: () => void
  readonly underWay: () => readonly number[]
  readonly statuses: () => Iterable<FenceStatus>
  readonly forgetStatusesExcept: (epochs: ReadonlySet<number>) => void
}

export function createCarrying(options: CarryingOptions): Carrying {
  const running = new Map<number, Failover>()
  const finished = new Set<number>()
  /** Those of the finished ones that were carried out to the end. */
  const completed = new Set<number>()
  const statuses = new Map<number, FenceStatus>()

  const start = (order: CommittedFence): void => {
    const { log } = options
    log.warn(
      { fence: order.id, nodes: order.nodes, rooms: order.rooms },
      `executing the fence of ${order.nodes.join(', ')}: ${order.reason}`,
    )
    const failover = failoverOf(order, options, (status) => statuses.set(order.epoch, status))
    running.set(order.epoch, failover)
    failover.done.then(
      (result) => {
        running.delete(order.epoch)
        if (result.outcome !== 'stopped') finished.add(order.epoch)
        if (result.outcome === 'finished' && !order.dryRun) completed.add(order.epoch)
        log.info({ fence: order.id, result }, `fence ${order.id}: ${result.outcome}${result.reason === '' ? '' : `: ${result.reason}`}`)
      },
      (error: unknown) => {
        running.delete(order.epoch)
        log.error({ error, fence: order.id }, `fence ${order.id} failed and is taken up again`)
      },
    )
  }

  return {
    start,
    isTaken: (epoch) => running.has(epoch) || finished.has(epoch),
    isCarriedOut: (epoch) => completed.has(epoch),
    again: (epoch) => {
      completed.delete(epoch)
      finished.delete(epoch)
    },
    allAgain: () => {
      for (const epoch of completed) finished.delete(epoch)
    },
    stopExcept: (epochs) => {
      for (const [epoch, failover] of running) if (!epochs.has(epoch)) failover.stop()
    },
    poke: () => {
      for (const failover of running.values()) failover.poke()
    },
    underWay: () => [...running.keys()],
    statuses: () => statuses.values(),
    forgetStatusesExcept: (epochs) => {
      for (const epoch of statuses.keys()) if (!epochs.has(epoch)) statuses.delete(epoch)
    },
  }
}

function failoverOf(order: CommittedFence, options: CarryingOptions, onStatus: (status: FenceStatus) => void): Failover {
  const { configuration, client, clock, state, storageFacts } = options
  const proofs: Proofs = {
    node: (node) => proofOfNode(state(), node, clock.nowMs()),
    workload: (node, resources) => proofOfWorkload(proofs.node(node), storageFacts(), resources),
  }
  return startFailover({
    order,
    // The permit alone: whoever else coordinates by now does no harm, and a state that is being written for a moment is no reason to hold a call up.
    client: guardedWrites(client, () => hasPermit(state(), clock.nowMs())),
    proofs,
    dataGate: (volumes) => gateOf(storageFacts(), volumes, configuration.failover.drbdDrivers),
    config: { ...configuration.failover, apiCallMs: configuration.timings.apiCallMs },
    clock,
    onProgress: (event) => tellProgress(order.epoch, event, options),
    onStatus,
  })
}

function tellProgress(epoch: number, event: FailoverEvent, { metrics, log, learnedAtMs, clock }: CarryingOptions): void {
  metrics.failoverEvents.inc({ kind: event.kind })
  const { atMs: _, kind, ...rest } = event
  const sinceMs = kind === 'vm-running' ? learnedAtMs(epoch) : undefined
  if (sinceMs !== undefined) metrics.recoverySeconds.observe((clock.nowMs() - sinceMs) / 1000)
  log.info({ fence: fenceId(epoch), event: kind, ...rest }, `fence ${epoch}: ${kind}`)
}
