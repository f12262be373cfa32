/** All that this node knows of replicas: what DRBD shows here, what is remembered, and what the others report. Adapter shell. */
import { createDrbd, type Drbd, type DrbdConfiguration, type DrbdSnapshot, type KnownDrbd } from '../../drbd/drbdsetup.ts'
import type { DurableStore } from '../../disk/durable-store.ts'
import {
  NO_REPORTS,
  reportOf,
  type StorageEntry,
  type StorageReport,
  type StorageReports,
  withPage,
} from '../../evidence/storage-report.ts'
import type { Received } from '../../evidence/transport.ts'
import type { Log } from '../../observe/log.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { type Member, type Membership, memberOf } from '../../protocol/membership.ts'
import type { State } from '../../protocol/state.ts'
import type { KeptReplicas } from '../state/durable.ts'
import { keepStatements } from './freeze-statements.ts'
import { afterReading, createMemory, type Memory } from './memory.ts'
import type { PlanFacts } from './next-step.ts'
import { hasFreezeMode, freshSnapshot } from './own-replicas.ts'
import { isNewReport, reportedBy } from './reports.ts'

export interface KnowledgeOptions {
  readonly drbd: DrbdConfiguration & { readonly staleReads: 'wait' | 'allow' }
  readonly nowMs: () => number
  readonly state: () => State
  readonly store: DurableStore<unknown>
  readonly kept: KeptReplicas
  readonly log: Log
}

export interface Knowledge {
  readonly drbd: Drbd
  readonly memory: Memory
  /** Unknown where it was read too long ago. */
  readonly snapshot: () => DrbdSnapshot
  readonly reports: () => StorageReports
  readonly planFacts: () => PlanFacts
  /** @returns whether it says something new. */
  readonly takeReport: (received: Received, report: StorageReport) => boolean
  /** Keeps what was stated before a membership that was learned now. */
  readonly takeMembership: (membership: Membership, before: Membership | null) => void
  readonly rememberReading: () => void
  readonly reported: (node: NodeId) => readonly StorageEntry[] | undefined
  readonly counts: () => { readonly resources: number; readonly unprotected: number }
}

export const knownOf = (snapshot: DrbdSnapshot): KnownDrbd | undefined => (snapshot.kind === 'known' ? snapshot : undefined)

export function createKnowledge({ drbd: configuration, nowMs, state, store, kept, log }: KnowledgeOptions): Knowledge {
  const { readEveryMs, staleReads } = configuration
  const drbd = createDrbd(configuration, { nowMs })
  const memory = createMemory(kept, store, log)
  let reports: StorageReports = NO_REPORTS
  let learnedAtMs = nowMs()
  const membership = (): Membership | null => state().durable.membership
  return {
    drbd,
    memory,
    snapshot: () => freshSnapshot(drbd.snapshot(), readEveryMs, nowMs()),
    reports: () => reports,
    planFacts: () => ({ state: state(), kept: memory.current(), reports, learnedAtMs, staleReads, nowMs: nowMs() }),
    takeReport: ({ from, incarnation, life, atMs }, report) => {
      const before = reports
      reports = withPage(reports, { node: from, incarnation, life }, report, atMs)
      return isNewReport(before, reports, from)
    },
    takeMembership: (now, before) => {
      learnedAtMs = nowMs()
      const lastStatement = ({ node, incarnation }: Member): readonly StorageEntry[] | undefined =>
        before ? reportOf(reports, node, incarnation, before.epoch, nowMs(), Infinity)?.entries : undefined
      void memory.change({ stated: keepStatements(memory.current().stated, state().self.node, now, before, lastStatement) })
    },
    rememberReading: () => {
      const snapshot = knownOf(drbd.snapshot())
      if (!snapshot) return
      const now = membership()
      const mayTrust = now !== null && memberOf(now, state().self.node)?.standing === 'voting'
      const before = memory.current().memory
      const after = afterReading(before, snapshot, mayTrust)
      if (after !== before) void memory.change({ memory: after })
    },
    reported: (node) => {
      const now = membership()
      return now ? reportedBy(reports, now, node, nowMs()) : undefined
    },
    counts: () => {
      const snapshot = knownOf(drbd.snapshot())
      if (!snapshot) return { resources: 0, unprotected: 0 }
      const open = snapshot.resources.filter((resource) => !hasFreezeMode(snapshot, resource, state().self.room, membership()))
      return { resources: snapshot.resources.length, unprotected: open.length }
    },
  }
}
