/** What the coordinator's agent does on the cluster for each fence: failover, and un-fence where a person asks for it. Adapter shell. */
import type { Configuration } from '../config/schema.ts'
import type { StorageEntry } from '../evidence/storage-report.ts'
import type { FenceStatus } from '../failover/fence-object.ts'
import { startFailover, type Failover } from '../failover/failover.ts'
import {
  confirmDeadAnnotation,
  fenceId,
  type FailoverEvent,
  type FenceOrder,
  type ProofAnswer,
  type Proofs,
  unfenceAnnotation,
} from '../failover/order.ts'
import { refusalReason } from '../failover/rbac.ts'
import { isFenceLost } from '../failover/taints.ts'
import type { KubeClient } from '../kubernetes/client.ts'
import { isTransient, KubeError } from '../kubernetes/errors.ts'
import { guardedWrites } from '../kubernetes/guarded.ts'
import { nodeView, paths } from '../kubernetes/resources.ts'
import { pause as sleep } from '../kubernetes/watch.ts'
import type { Log } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import { coordinator } from '../protocol/contact.ts'
import type { Epoch, NodeId } from '../protocol/ids.ts'
import { fencedNodes, type Membership, memberOf } from '../protocol/membership.ts'
import { nodeProof } from '../protocol/proof.ts'
import { holdsPermit } from '../protocol/running.ts'
import type { State } from '../protocol/state.ts'
import { answerConfirmation, evidenceOfLife } from './demands.ts'
import { showFences } from './fence-gauges.ts'
import { confirmedBy, lookEveryMs, type UnfenceRequest, unfenceRequest } from './requests-on-nodes.ts'
import { dataGate, type StorageFacts, storageProof } from './storage-proof.ts'
import { createUnfencing } from './unfencing.ts'

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
  /** Asked about twice a second: starts, stops and pokes what is under way. */
  readonly review: () => void
  /** Proofs or replicas changed. */
  readonly poke: () => void
  readonly onLearned: (membership: Membership, before: Membership | null) => void
  readonly underWay: () => readonly string[]
  /** Whether this agent carries out fences. */
  readonly isCoordinator: () => boolean
  readonly stop: () => void
}

const LOOK_ELSEWHERE_MS = 3_000

export function createFences(options: FencesOptions): Fences {
  const { client, nowMs, log, metrics, configuration } = options
  const clock = { nowMs, isoTime: () => new Date().toISOString(), sleep }
  const stopping = new AbortController()
  const running = new Map<number, { readonly failover: Failover; readonly learnedAtMs: number }>()
  const finished = new Set<number>()
  /** Those of the finished ones that were carried out to the end. */
  const carriedOut = new Set<number>()
  const statuses = new Map<number, FenceStatus>()
  const learnedAtMs = new Map<number, number>()
  const causes = new Map<number, string>()
  let lookedAtMs = -Infinity
  let isLooking = false
  let wasApiReachable = true
  let proofsBefore = ''

  const isCoordinator = (): boolean => {
    const state = options.state()
    return (
      coordinator(state, nowMs()) === state.self.node && holdsPermit(state, nowMs()) && state.disk.persistedVersion >= state.disk.version
    )
  }

  const unfencing = createUnfencing({ ...options, clock, signal: stopping.signal })

  const proofs: Proofs = {
    node: (node) => {
      const proof = nodeProof(options.state(), node, nowMs())
      if (!proof.isHeld)
        return {
          held: false,
          reason: proof.reason,
          ...(proof.readyAtMs === null ? {} : { readyInMs: Math.max(0, proof.readyAtMs - nowMs()) }),
        }
      if (proof.kind === 'human') return { held: true, proof: { kind: 'human', by: proof.text } }
      return proof.kind === 'killed'
        ? { held: true, proof: { kind: 'killed' } }
        : { held: true, proof: { kind: 'timed', heldSinceMs: proof.sinceMs } }
    },
    workload: (node, resources): ProofAnswer => {
      const answer = proofs.node(node)
      if (answer.held) return answer
      const facts = options.storageFacts()
      const storage = facts ? storageProof(facts, resources) : { isHeld: false as const, reason: 'no membership' }
      if (storage.isHeld) return { held: true, proof: { kind: 'storage' } }
      return { ...answer, reason: `${answer.reason}; no storage proof: ${storage.reason}` }
    },
  }

  const gate: Parameters<typeof startFailover>[0]['dataGate'] = (volumes) => {
    const resources = volumes.filter(({ driver }) => configuration.failover.drbdDrivers.includes(driver)).map(({ handle }) => handle)
    const facts = options.storageFacts()
    if (resources.length === 0 || !facts) return { open: true }
    const answer = dataGate(facts, resources)
    return answer.isHeld ? { open: true } : { open: false, reason: answer.reason }
  }

  const onProgress = (epoch: number, event: FailoverEvent): void => {
    metrics.failoverEvents.inc({ kind: event.kind })
    const { atMs: _, kind, ...rest } = event
    if (kind === 'vm-running') {
      const since = learnedAtMs.get(epoch)
      if (since !== undefined) metrics.recoverySeconds.observe((nowMs() - since) / 1000)
    }
    log.info({ fence: fenceId(epoch), event: kind, ...rest }, `fence ${epoch}: ${kind}`)
  }

  const orderFor = (membership: Membership, epoch: number): FenceOrder => {
    const nodes = membership.members.filter((member) => member.standing === 'fenced' && member.lastFence === epoch)
    const rooms = [...new Set(nodes.map((member) => member.room))].filter((room) =>
      membership.members.every((member) => member.room !== room || member.standing === 'fenced'),
    )
    return {
      id: fenceId(epoch),
      epoch: epoch as Epoch,
      clusterId: membership.clusterId,
      nodes: nodes.map(({ node }) => node),
      rooms,
      reason: causes.get(epoch) ?? 'silent on every path',
      carriedOutBy: options.state().self.node,
      dryRun: configuration.isDryRun,
    }
  }

  const startFor = (membership: Membership, epoch: number): void => {
    const order = orderFor(membership, epoch)
    log.warn(
      { fence: order.id, nodes: order.nodes, rooms: order.rooms },
      `carrying out fence of ${order.nodes.join(', ')}: ${order.reason}`,
    )
    const failover = startFailover({
      order,
      // The permit alone: whoever else coordinates by now does no harm, and a state that is being written for a moment is no reason to hold a call up.
      client: guardedWrites(client, () => holdsPermit(options.state(), nowMs())),
      proofs,
      dataGate: gate,
      config: { ...configuration.failover, apiCallMs: configuration.timings.apiCallMs },
      clock,
      onProgress: (event) => onProgress(epoch, event),
      onStatus: (status) => statuses.set(epoch, status),
    })
    running.set(epoch, { failover, learnedAtMs: nowMs() })
    failover.done.then(
      (result) => {
        running.delete(epoch)
        if (result.outcome !== 'stopped') finished.add(epoch)
        if (result.outcome === 'finished' && !order.dryRun) carriedOut.add(epoch)
        log.info({ fence: order.id, result }, `fence ${order.id}: ${result.outcome}${result.reason === '' ? '' : `: ${result.reason}`}`)
      },
      (error: unknown) => {
        running.delete(epoch)
        log.error({ error, fence: order.id }, `fence ${order.id} failed and is taken up again`)
      },
    )
  }

  /** It may have been set back in time meanwhile, to before an un-fence or into the middle of a fence: both are looked at once more. */
  const noticeApiBack = (): void => {
    const { isApiReachable } = options.state().process
    if (isApiReachable && !wasApiReachable) {
      unfencing.expectLeftovers()
      for (const epoch of carriedOut) finished.delete(epoch)
    }
    wasApiReachable = isApiReachable
  }

  const review = (): void => {
    const membership = options.state().durable.membership
    const mine = isCoordinator()
    metrics.coordinator.set(mine ? 1 : 0)
    noticeApiBack()
    unfencing.review(mine)
    if (!membership) return
    const epochs = new Set(membership.members.filter((member) => member.standing === 'fenced').map((member) => Number(member.lastFence)))
    for (const epoch of statuses.keys()) if (!mine || !epochs.has(epoch)) statuses.delete(epoch)
    showFences(metrics, statuses.values(), configuration.failover, clock.isoTime())
    for (const [epoch, { failover }] of running) if (!mine || !epochs.has(epoch)) failover.stop()
    const fenced = fencedNodes(membership).length
    const isDue = nowMs() - lookedAtMs > lookEveryMs(mine, fenced, membership.members.length - fenced)
    if (fenced > 0 && !isLooking && isDue) void look(membership, mine)
    if (isWithoutVotes(membership) && !isLooking && nowMs() - lookedAtMs > LOOK_ELSEWHERE_MS) void lookAtSilent(membership)
    if (!mine) return
    for (const epoch of epochs) if (!running.has(epoch) && !finished.has(epoch)) startFor(membership, epoch)
    const proofsNow = fencedNodes(membership)
      .map((node) => nodeProof(options.state(), node, nowMs()).isHeld)
      .join()
    if (proofsNow !== proofsBefore) poke()
    proofsBefore = proofsNow
  }

  const poke = (): void => {
    for (const { failover } of running.values()) failover.poke()
  }

  /** Undefined: its Node was deleted, or may not be read. It asks for nothing then; the others are looked at all the same. Rejects while the API is away. */
  const readNode = async (node: NodeId): Promise<ReturnType<typeof nodeView> | undefined> => {
    try {
      return nodeView(await client.get(paths.node(node), { signal: stopping.signal }))
    } catch (error) {
      if (!(error instanceof KubeError) || isTransient(error)) throw error
      if (error.code !== 'not-found') log.warn({ node, error }, `${node} cannot be looked at: ${refusalReason(error)}`)
      return undefined
    }
  }

  /**
   * Only while something is fenced: looks at the fenced nodes for what people ask. The coordinator un-fences; every survivor takes a person's
   * word for a node's death, because its own replicas wait for the proof as well.
   */
  const look = async (membership: Membership, mine: boolean): Promise<void> => {
    isLooking = true
    try {
      const asked = new Map<string, UnfenceRequest & { readonly epoch: number; readonly nodes: NodeId[] }>()
      for (const { node, standing, lastFence } of membership.members) {
        if (standing !== 'fenced' || unfencing.isUnderWay(node) || (!mine && nodeProof(options.state(), node, nowMs()).isHeld)) continue
        const view = await readNode(node)
        if (!view) continue
        const { annotations, taints } = view
        hearConfirmation(node, lastFence, annotations[confirmDeadAnnotation])
        if (mine && carriedOut.has(lastFence) && isFenceLost({ annotations, taints }, lastFence)) {
          log.warn(
            { node, fence: fenceId(lastFence) },
            `${node} has lost the taint of ${fenceId(lastFence)}: the fence is carried out again`,
          )
          carriedOut.delete(lastFence)
          finished.delete(lastFence)
        }
        const value = annotations[unfenceAnnotation]
        if (value === undefined || !mine) continue
        const wanted = unfenceRequest(value, fenceId(lastFence))
        if (wanted === undefined) {
          log.warn({ node, value }, `${unfenceAnnotation} on ${node} names another fence: write "true" or "${fenceId(lastFence)}"`)
          continue
        }
        const key = `${lastFence} ${wanted.isForced} ${wanted.by}`
        const together = asked.get(key) ?? { ...wanted, epoch: lastFence, nodes: [] }
        together.nodes.push(node)
        asked.set(key, together)
      }
      for (const { epoch, nodes, isForced, by } of asked.values()) void unfencing.start(epoch, nodes, isForced, by)
    } catch (error) {
      log.debug({ error }, 'fenced nodes could not be looked at')
    } finally {
      isLooking = false
      lookedAtMs = nowMs()
    }
  }

  /** The word names the fence, so that one which was forgotten on the Node never proves the next. */
  const hearConfirmation = (node: NodeId, fencedIn: number, value: string | undefined): void => {
    const state = options.state()
    if (value === undefined || state.epoch.fences.get(node)?.humanProof !== undefined) return
    const by = confirmedBy(value, fenceId(fencedIn))
    if (by === undefined) {
      log.warn({ node, value }, `${confirmDeadAnnotation} on ${node} does not name its fence: write "${fenceId(fencedIn)},YOUR-NAME"`)
      return
    }
    const alive = evidenceOfLife(state, [node], nowMs())
    if (alive !== null) {
      log.warn({ node, by }, `${by} confirms ${node} dead, but ${alive}: refused; switch it off first`)
      return
    }
    log.warn({ node, by }, `${by} confirms that ${node} is dead: that is the proof of its fence`)
    options.confirmDead([node], by)
    poke()
  }

  /** Paused for want of votes, and not fenced: a person may say of the silent ones that they are dead. */
  const isWithoutVotes = (membership: Membership): boolean => {
    const state = options.state()
    return memberOf(membership, state.self.node)?.standing !== 'fenced' && state.process.isApiReachable && !holdsPermit(state, nowMs())
  }

  /** The word names the present epoch, so that one which was forgotten on the Node says nothing of a later outage. */
  const lookAtSilent = async (membership: Membership): Promise<void> => {
    isLooking = true
    try {
      const words = new Map<string, NodeId[]>()
      const silent = membership.members.filter(
        ({ node, standing }) =>
          standing !== 'fenced' && node !== options.state().self.node && evidenceOfLife(options.state(), [node], nowMs()) === null,
      )
      for (const { node } of silent) {
        const value = (await readNode(node))?.annotations[confirmDeadAnnotation]
        if (value === undefined) continue
        const name = `epoch-${membership.epoch}`
        const by = confirmedBy(value, name)
        if (by === undefined) {
          log.warn({ node }, `${confirmDeadAnnotation} on ${node} does not name this epoch: write "${name},YOUR-NAME"`)
          continue
        }
        words.set(by, [...(words.get(by) ?? []), node])
      }
      for (const [by, nodes] of words) {
        const answer = answerConfirmation(options.state(), { rooms: [], nodes, by }, nowMs())
        log.warn({ nodes, by }, `confirm-dead: ${answer.text}`)
        if (answer.isTaken) options.confirmDead(answer.nodes, by)
      }
    } catch (error) {
      log.debug({ error }, 'silent nodes could not be looked at')
    } finally {
      isLooking = false
      lookedAtMs = nowMs()
    }
  }

  return {
    review,
    poke,
    underWay: () => [...running.keys()].map(fenceId),
    isCoordinator,
    onLearned: (membership, before) => {
      const { cause } = membership
      if (cause.kind === 'fence' || cause.kind === 'forced') {
        causes.set(membership.epoch, cause.kind === 'fence' ? cause.reason : `${cause.by} confirmed ${cause.nodes.join(', ')} dead`)
        learnedAtMs.set(membership.epoch, nowMs())
      }
      if (before && fencedNodes(before).some((node) => memberOf(membership, node)?.standing !== 'fenced')) unfencing.expectLeftovers()
    },
    stop: () => {
      stopping.abort()
      for (const { failover } of running.values()) failover.stop()
    },
  }
}
