/** What DRBD's planners are given, from the protocol's state, the others' reports and what is remembered; and the step that they name. Pure. */
import type { NextStep } from '../../drbd/commands.ts'
import type { KnownDrbd } from '../../drbd/drbdsetup.ts'
import { optionsOf } from '../../drbd/freeze-mode.ts'
import { type LoserView, planLoser } from '../../drbd/loser.ts'
import type { Resource } from '../../drbd/model.ts'
import type { ShownResource } from '../../drbd/show.ts'
import { planSurvivor, planThawWithoutTieBreaker, type SurvivorView } from '../../drbd/survivor.ts'
import type { StorageReports } from '../../evidence/storage-report.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { fencedNodes, type Membership } from '../../protocol/membership.ts'
import { isReliable } from '../../protocol/running.ts'
import { nodeProof } from '../../protocol/proof.ts'
import type { State } from '../../protocol/state.ts'
import type { KeptReplicas } from '../state/durable.ts'
import { statedPeers } from './freeze-statements.ts'
import { reportedBy } from './reports.ts'

export interface PlanFacts {
  readonly state: State
  readonly kept: KeptReplicas
  readonly reports: StorageReports
  /** When the present membership was learned. */
  readonly learnedAtMs: number
  readonly staleReads: 'wait' | 'allow'
  readonly nowMs: number
}

export function nextStep(facts: PlanFacts, snapshot: KnownDrbd, resource: Resource): NextStep {
  const { state, kept } = facts
  const { membership } = state.durable
  if (state.process.broken) return { kind: 'wait', reason: 'this agent has an error of its own and must be restarted' }
  if (!membership || !isReliable(state)) return { kind: 'wait', reason: 'no membership on disk yet' }
  const fenced = fencedNodes(membership)
  if (fenced.includes(state.self.node)) return planLoser(loserView(state, membership, resource))
  const shown = snapshot.shown.find((one) => one.name === resource.name)
  if (fenced.length === 0 && (kept.touched.get(resource.name)?.size ?? 0) === 0)
    return planThawWithoutTieBreaker(resource, shown) ?? { kind: 'done', outcome: 'nothing is fenced' }
  return planSurvivor(survivorView(facts, membership, resource, shown))
}

/** Of a node that is fenced: it follows the survivors again once it has killed what it ran. */
function loserView(state: State, { members }: Membership, resource: Resource): LoserView {
  const isKilled = state.process.contained.level === 'kill' && state.process.contained.isVerified
  const survivors = isKilled ? members.filter(({ standing }) => standing !== 'fenced').map(({ node }) => node) : []
  return { resource, rejoining: new Set<string>(survivors) }
}

function survivorView(facts: PlanFacts, membership: Membership, resource: Resource, shown: ShownResource | undefined): SurvivorView {
  const { state, kept, learnedAtMs, staleReads, nowMs } = facts
  const fenced = fencedNodes(membership)
  const harmless = harmlessLosers(facts, membership, resource.name)
  const returned = membership.members.filter(({ node, standing }) => standing !== 'fenced' && node !== state.self.node)
  const lostReadsMs = longestLostReadsMs(resource, shown, new Set<string>(fenced))
  return {
    resource,
    shown,
    fenced: new Set<string>(fenced),
    rejoining: harmless,
    statedFreezeMode: statedPeers(kept.stated, membership, resource.name),
    provedStopped: new Set<string>(fenced.filter((node) => nodeProof(state, node, nowMs).isProved)),
    confirmedSecondary: new Set([...harmless, ...returned.map(({ node }) => node)]),
    touched: kept.touched.get(resource.name) ?? new Set(),
    memory: kept.memory.get(resource.name) ?? new Map(),
    goodReplicas: new Set(),
    staleReadsUntilMs: staleReads === 'wait' ? learnedAtMs + lostReadsMs - state.timings.detectMs : undefined,
    nowMs,
  }
}

/** Fenced nodes that killed and hold nothing Primary: they may follow again, resync included, before anyone asks for their un-fence. */
function harmlessLosers({ state, reports, nowMs }: PlanFacts, membership: Membership, resource: string): ReadonlySet<string> {
  const isHarmless = ({ node, standing, lastFence, incarnation }: Membership['members'][number]): boolean => {
    const contact = state.process.contacts.get(node)
    if (standing !== 'fenced' || !contact?.statement || contact.incarnation !== incarnation) return false
    if (contact.statement.killedEpoch < lastFence || nowMs - contact.heardAtMs > state.timings.detectMs) return false
    const entries = reportedBy(reports, membership, node, nowMs)
    return entries?.every((entry) => entry.resource !== resource || !entry.isPrimary) === true
  }
  return new Set<string>(membership.members.filter(isHarmless).map(({ node }) => node))
}

/** How long after the cut a lost Primary may still answer reads: until its kernel's ping went unanswered. */
function longestLostReadsMs({ connections }: Resource, shown: ShownResource | undefined, fenced: ReadonlySet<NodeId | string>): number {
  const lost = connections.filter(({ peer }) => fenced.has(peer))
  const reads = lost.map((connection) => {
    const given = optionsOf(shown, connection)
    return (given?.pingIntMs ?? 10_000) + (given?.pingTimeoutMs ?? 500) + 200
  })
  return Math.max(0, ...reads)
}
