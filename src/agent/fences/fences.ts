/** What the coordinator's agent does on the cluster for each fence: failover, and un-fence where a person asks for it. Adapter shell. */
import type { Configuration } from '../../config/schema.ts'
import type { StorageEntry } from '../../evidence/storage-report.ts'
import { fenceId } from '../../failover/fence/names.ts'
import type { KubeClient } from '../../kubernetes/client.ts'
import { sleepUnless } from '../../kubernetes/watch.ts'
import type { Log } from '../../observe/log.ts'
import type { Metrics } from '../../observe/metrics.ts'
import { coordinator } from '../../protocol/contact.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { fencedNodes, type Membership, memberOf } from '../../protocol/membership.ts'
import { nodeProof } from '../../protocol/proof.ts'
import { hasPermit, isReliable } from '../../protocol/running.ts'
import type { State } from '../../protocol/state.ts'
import type { StorageFacts } from '../storage/storage-proof.ts'
import { createUnfencing } from '../unfence/unfencing.ts'
import { createCarrying } from './executing.ts'
import { showFences } from './fence-gauges.ts'
import { fenceOrder, fenceReason, fencingEpochs } from './committed-fence.ts'
import { createLook } from './look.ts'

export interface FencesOptions {
  readonly configuration: Configuration
  readonly client: KubeClient
  readonly nowMs: () => number
  readonly state: () => State
  readonly storageFacts: () => StorageFacts | null
  readonly reported: (node: NodeId) => readonly StorageEntry[] | undefined
  readonly requestUnfence: (nodes: readonly NodeId[], by: string) => void
  /** A person's word, for the proof of nodes that are fenced or in place of missing votes. */
  readonly confirmDead: (nodes: readonly NodeId[], by: string) => void
  readonly log: Log
  readonly metrics: Metrics
}

export interface Fences {
  /** Starts, stops and pokes what is under way. Asked when the state was written, and now and then: whose turn it is changes with silence, too. */
  readonly review: () => void
  /** Proofs or replicas changed. */
  readonly poke: () => void
  /** The state has the membership: its fence is carried out at once, and what it un-fences is stopped. */
  readonly onLearned: (membership: Membership, before: Membership | null) => void
  /** This agent has written a request on the Nodes just now: it need not find that by its next look. */
  readonly onRequestWritten: () => void
  readonly underWay: () => readonly string[]
  /** Whether this agent carries out fences. */
  readonly isCoordinator: () => boolean
  readonly stop: () => void
}

/** Whether this agent is the one that carries out fences now: what it has learned is on its disk. */
function coordinates(state: State, nowMs: number): boolean {
  return coordinator(state, nowMs) === state.self.node && hasPermit(state, nowMs) && isReliable(state)
}

/** Which of the fenced nodes have a proof, to be compared with what it was. */
function heldProofs(membership: Membership, state: State, nowMs: number): string {
  return fencedNodes(membership)
    .map((node) => nodeProof(state, node, nowMs).isProved)
    .join()
}

/** Calls back when somebody answers again who did not. */
function createReturnNotice(onReturn: () => void): (isReachable: boolean) => void {
  let wasReachable = true
  return (isReachable) => {
    if (isReachable && !wasReachable) onReturn()
    wasReachable = isReachable
  }
}

const nobody: ReadonlySet<number> = new Set()

export function createFences(options: FencesOptions): Fences {
  const { nowMs, metrics, configuration } = options
  const clock = { nowMs, isoTime: () => new Date().toISOString(), sleep: sleepUnless }
  const stopping = new AbortController()
  /** Of the fences that were learned in this life of the agent. */
  const learned = new Map<number, { readonly reason: string; readonly atMs: number }>()
  let proofsBefore = ''
  const unfencing = createUnfencing({ ...options, clock, signal: stopping.signal })
  const carrying = createCarrying({ ...options, clock, learnedAtMs: (epoch) => learned.get(epoch)?.atMs })
  const look = createLook({ ...options, carrying, unfencing, lookAgain: () => review(), signal: stopping.signal })

  const isCoordinator = (): boolean => coordinates(options.state(), nowMs())

  /** It may have been set back in time meanwhile, to before an un-fence or into the middle of a fence: both are looked at once more. */
  const noticeApi = createReturnNotice(() => {
    unfencing.expectLeftovers()
    carrying.allAgain()
  })

  const startFor = (membership: Membership, epoch: number): void => {
    const about = { reason: learned.get(epoch)?.reason, carriedOutBy: options.state().self.node, isDryRun: configuration.isDryRun }
    carrying.start(fenceOrder(membership, epoch, about))
  }

  const review = (): void => {
    if (stopping.signal.aborted) return
    const { membership } = options.state().durable
    const mine = isCoordinator()
    metrics.coordinator.set(mine ? 1 : 0)
    noticeApi(options.state().process.isApiReachable)
    unfencing.review(mine)
    if (!membership) return
    const epochs = mine ? fencingEpochs(membership) : nobody
    carrying.forgetStatusesExcept(epochs)
    showFences(metrics, carrying.statuses(), configuration.failover, clock.isoTime())
    carrying.stopExcept(epochs)
    look.review(membership, mine)
    if (!mine) return
    for (const epoch of epochs) if (!carrying.isTaken(epoch)) startFor(membership, epoch)
    const proofs = heldProofs(membership, options.state(), nowMs())
    if (proofs !== proofsBefore) carrying.poke()
    proofsBefore = proofs
  }

  return {
    review,
    poke: carrying.poke,
    onRequestWritten: () => {
      if (!isCoordinator()) return
      look.expectRequest()
      review()
    },
    underWay: () => carrying.underWay().map(fenceId),
    isCoordinator,
    onLearned: (membership, before) => {
      const reason = fenceReason(membership)
      if (reason !== undefined) learned.set(membership.epoch, { reason, atMs: nowMs() })
      if (before && fencedNodes(before).some((node) => memberOf(membership, node)?.standing !== 'fenced')) unfencing.expectLeftovers()
      review()
    },
    stop: () => {
      stopping.abort()
      carrying.stopExcept(nobody)
    },
  }
}
