/** This node's DRBD resources under the protocol: evidence, reports to the others, and the survivor's or loser's next command. Adapter shell. */
import type { Drbd } from '../../drbd/drbdsetup.ts'
import type { StorageEntry, StorageReport } from '../../evidence/storage-report.ts'
import type { Received } from '../../evidence/transport.ts'
import type { NodeId } from '../../protocol/ids.ts'
import type { Membership } from '../../protocol/membership.ts'
import { createKnowledge, knownOf, type KnowledgeOptions } from './knowledge.ts'
import { nextStep } from './next-step.ts'
import { ownEntries, storageEvidence } from './own-replicas.ts'
import { createPlans } from './plans.ts'
import { createReporter } from './reporter.ts'
import { REPORT_AGE_MS } from './reports.ts'
import type { StorageFacts } from './storage-proof.ts'

export interface StorageOptions extends KnowledgeOptions {
  readonly send: (to: NodeId, report: StorageReport) => void
  readonly onEvidence: (connected: readonly NodeId[], isInSync: boolean) => void
  /** Reports of others or the own replicas changed: proofs may hold now. */
  readonly onChange: () => void
  readonly isDryRun: boolean
}

export interface Storage {
  readonly drbd: Drbd
  readonly onReport: (received: Received, report: StorageReport) => void
  /** A membership was learned: what was stated before it is kept, and the others are told at once. */
  readonly onLearned: (membership: Membership, before: Membership | null) => void
  /** Asked often: reads nothing, reports what changed, and carries on with the plans. */
  readonly review: () => void
  /** Resolves when it is on disk that no replica here counts as the newest. Rejects when it cannot be written: then no kill is reported. */
  readonly distrustReplicas: () => Promise<void>
  readonly facts: () => StorageFacts | null
  /** What a node says of its resources, in its present incarnation and epoch; undefined where it says nothing, or said it too long ago. */
  readonly reported: (node: NodeId) => readonly StorageEntry[] | undefined
  readonly counts: () => { readonly resources: number; readonly unprotected: number }
  readonly stop: () => Promise<void>
}

const PLAN_EVERY_MS = 300

export function createStorage(options: StorageOptions): Storage {
  const { nowMs, state, onChange, isDryRun, log } = options
  const knowledge = createKnowledge(options)
  const { drbd, memory } = knowledge
  const { node: self, room: ownRoom } = state().self
  const membership = (): Membership | null => state().durable.membership
  let plannedAtMs = -Infinity
  const plans = createPlans({
    drbd,
    known: () => knownOf(knowledge.snapshot()),
    nextStep: (snapshot, resource) => nextStep(knowledge.planFacts(), snapshot, resource),
    memory,
    onChange,
    isDryRun,
    log,
  })
  const reporter = createReporter({ self, nowMs, send: options.send, onChange })
  const own = (): readonly StorageEntry[] | undefined =>
    ownEntries({ snapshot: knowledge.snapshot(), membership: membership(), ownRoom, kept: memory.current(), isDone: plans.isDone })

  const review = (): void => {
    const { connected, isInSync } = storageEvidence(knowledge.snapshot(), membership())
    options.onEvidence(connected, isInSync)
    knowledge.rememberReading()
    if (nowMs() - plannedAtMs >= PLAN_EVERY_MS) {
      plannedAtMs = nowMs()
      plans.runPlan()
    }
    const now = membership()
    const entries = own()
    if (now && entries) reporter.report(now, entries)
  }
  const reviewAtOnce = (): void => {
    plannedAtMs = -Infinity
    review()
  }
  drbd.onChange(reviewAtOnce)

  return {
    drbd,
    onReport: (received, report) => {
      if (knowledge.takeReport(received, report)) onChange()
    },
    onLearned: (now, before) => {
      knowledge.takeMembership(now, before)
      plans.forget()
      reviewAtOnce()
    },
    review,
    distrustReplicas: memory.distrustAll,
    facts: () => {
      const now = membership()
      return now && { membership: now, self, own: own(), reports: knowledge.reports(), nowMs: nowMs(), maxAgeMs: REPORT_AGE_MS }
    },
    reported: knowledge.reported,
    counts: knowledge.counts,
    stop: async () => {
      drbd.stop()
      await memory.stop()
    },
  }
}
