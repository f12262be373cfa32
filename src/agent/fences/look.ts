/** Looks at the Nodes that are fenced or silent for what people ask by annotation, and gives it on. Adapter shell. */
import { confirmDeadAnnotation, fenceId, unfenceAnnotation } from '../../failover/fence/names.ts'
import { refusalReason } from '../../failover/run/rbac.ts'
import { isFenceLost } from '../../failover/fence/taints.ts'
import type { KubeClient } from '../../kubernetes/client.ts'
import { isTransient, KubeError } from '../../kubernetes/errors.ts'
import { type NodeView, nodeView, paths } from '../../kubernetes/resources.ts'
import type { Log } from '../../observe/log.ts'
import { type NodeId, nodeId } from '../../protocol/ids.ts'
import { fencedNodes, type Member, type Membership, memberOf } from '../../protocol/membership.ts'
import { nodeProof } from '../../protocol/proof.ts'
import { hasPermit } from '../../protocol/running.ts'
import type { State } from '../../protocol/state.ts'
import { confirmationOnNode, lookEveryMs, together, unfenceOnNode } from '../requests/annotations.ts'
import { answerFencedConfirmation, evidenceOfLife, replyTo } from '../requests/replies.ts'
import type { RequestOf } from '../requests/request.ts'
import type { Unfencing } from '../unfence/unfencing.ts'
import type { Carrying } from './executing.ts'

export interface LookOptions {
  readonly client: KubeClient
  readonly nowMs: () => number
  readonly state: () => State
  readonly carrying: Pick<Carrying, 'isCarriedOut' | 'again' | 'poke'>
  readonly unfencing: Pick<Unfencing, 'isUnderWay' | 'start'>
  readonly confirmDead: (nodes: readonly NodeId[], by: string) => void
  /** A request was expected during the look that is over now: the Node may have been read before it was there. */
  readonly lookAgain: () => void
  readonly signal: AbortSignal
  readonly log: Log
}

export interface Look {
  /** Asked about twice a second: reads Nodes when a look is due. */
  readonly review: (membership: Membership, mine: boolean) => void
  /** Somebody asked just now: the next review looks, whenever the last look was. */
  readonly expectRequest: () => void
}

const LOOK_ELSEWHERE_MS = 3_000

export function createLook(options: LookOptions): Look {
  const { nowMs, log } = options
  let lookedAtMs = -Infinity
  let isLooking = false
  let isExpected = false

  const look = async (whom: 'fenced' | 'silent', work: () => Promise<void>): Promise<void> => {
    isLooking = true
    isExpected = false
    try {
      await work()
    } catch (error) {
      log.debug({ error }, `${whom} nodes could not be looked at`)
    } finally {
      isLooking = false
      lookedAtMs = nowMs()
    }
    if (isExpected) options.lookAgain()
  }

  return {
    review: (membership, mine) => {
      const fenced = fencedNodes(membership).length
      const isDue = isExpected || nowMs() - lookedAtMs > lookEveryMs(mine, fenced, membership.members.length - fenced)
      if (fenced > 0 && !isLooking && isDue) void look('fenced', async () => lookAtFenced(membership, mine, options))
      if (isWithoutVotes(options.state(), membership, nowMs()) && !isLooking && nowMs() - lookedAtMs > LOOK_ELSEWHERE_MS)
        void look('silent', async () => lookAtSilent(membership, options))
    },
    expectRequest: () => {
      isExpected = true
    },
  }
}

/** Paused for want of votes, and not fenced: a person may say of the silent ones that they are dead. */
function isWithoutVotes(state: State, membership: Membership, nowMs: number): boolean {
  return memberOf(membership, state.self.node)?.standing !== 'fenced' && state.process.isApiReachable && !hasPermit(state, nowMs)
}

/** Undefined: its Node was deleted, or may not be read. It asks for nothing then; the others are looked at all the same. Rejects while the API is away. */
async function readNode(node: NodeId, { client, signal, log }: LookOptions): Promise<NodeView | undefined> {
  try {
    return nodeView(await client.get(paths.node(node), { signal }))
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
async function lookAtFenced(membership: Membership, mine: boolean, options: LookOptions): Promise<void> {
  const { state, nowMs, unfencing } = options
  const asked: { readonly epoch: number; readonly request: RequestOf<'unfence'> }[] = []
  for (const member of membership.members) {
    const { node, standing, lastFence } = member
    if (standing !== 'fenced' || unfencing.isUnderWay(node) || (!mine && nodeProof(state(), node, nowMs()).isProved)) continue
    const view = await readNode(node, options)
    if (!view) continue
    readConfirmation(member, view.annotations[confirmDeadAnnotation], options)
    if (!mine) continue
    noticeLostTaint(member, view, options)
    const request = hearUnfence(member, view.annotations[unfenceAnnotation], options)
    if (request) asked.push({ epoch: lastFence, request })
  }
  for (const [epoch, ofEpoch] of Map.groupBy(asked, (one) => one.epoch))
    for (const { nodes, isForced, by } of together(ofEpoch.map(({ request }) => request)))
      void unfencing.start(epoch, nodes.map(nodeId), isForced, by)
}

function noticeLostTaint({ node, lastFence }: Member, view: NodeView, { carrying, log }: LookOptions): void {
  if (!carrying.isCarriedOut(lastFence) || !isFenceLost(view, lastFence)) return
  const fence = fenceId(lastFence)
  log.warn({ node, fence }, `${node} has lost the taint of ${fence}: the fence is executed again`)
  carrying.again(lastFence)
}

function hearUnfence({ node, lastFence }: Member, value: string | undefined, { log }: LookOptions): RequestOf<'unfence'> | undefined {
  if (value === undefined) return undefined
  const fence = fenceId(lastFence)
  const request = unfenceOnNode(node, value, fence)
  if (!request) log.warn({ node, value }, `${unfenceAnnotation} on ${node} names another fence: write "true" or "${fence}"`)
  return request
}

/** The word names the fence, so that one which was forgotten on the Node never proves the next. */
function readConfirmation({ node, lastFence }: Member, value: string | undefined, options: LookOptions): void {
  const { carrying, confirmDead, log, nowMs } = options
  const state = options.state()
  if (value === undefined || state.epoch.fences.get(node)?.confirmedBy !== undefined) return
  const fence = fenceId(lastFence)
  const request = confirmationOnNode(node, value, fence)
  if (!request) {
    log.warn({ node, value }, `${confirmDeadAnnotation} on ${node} does not name its fence: write "${fence},YOUR-NAME"`)
    return
  }
  const { by } = request
  const reply = answerFencedConfirmation(state, node, by, nowMs())
  log.warn({ node, by }, reply.text)
  if (!reply.isTaken) return
  confirmDead(reply.nodes, by)
  carrying.poke()
}

/** The word names the present epoch, so that one which was forgotten on the Node says nothing of a later outage. */
async function lookAtSilent(membership: Membership, options: LookOptions): Promise<void> {
  const { state, nowMs, confirmDead, log } = options
  const { node: self } = state().self
  const silent = membership.members.filter(
    ({ node, standing }) => standing !== 'fenced' && node !== self && evidenceOfLife(state(), [node], nowMs()) === null,
  )
  const heard: RequestOf<'confirm-dead'>[] = []
  for (const { node } of silent) {
    const value = (await readNode(node, options))?.annotations[confirmDeadAnnotation]
    if (value === undefined) continue
    const name = `epoch-${membership.epoch}`
    const request = confirmationOnNode(node, value, name)
    if (request) heard.push(request)
    else log.warn({ node }, `${confirmDeadAnnotation} on ${node} does not name this epoch: write "${name},YOUR-NAME"`)
  }
  for (const request of together(heard)) {
    const { nodes, by } = request
    const reply = replyTo(state(), request, nowMs())
    log.warn({ nodes, by }, `confirm-dead: ${reply.text}`)
    if (reply.isTaken) confirmDead(reply.nodes, by)
  }
}
