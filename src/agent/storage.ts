/** This node's DRBD resources under the protocol: evidence, reports to the others, and the survivor's or loser's next command. Adapter shell. */
import { createDrbd, type Drbd, type DrbdConfiguration, type KnownDrbd } from '../drbd/drbdsetup.ts'
import { judgeFreezeMode, optionsOf } from '../drbd/freeze-mode.ts'
import { planLoser } from '../drbd/loser.ts'
import { distrust, isSameMemory, remember } from '../drbd/memory.ts'
import { isConnectedUpToDate, type Resource } from '../drbd/model.ts'
import type { NextStep } from '../drbd/commands.ts'
import { planSurvivor, planThawWithoutTieBreaker } from '../drbd/survivor.ts'
import type { DurableStore } from '../disk/durable-store.ts'
import {
  NO_REPORTS,
  pagesOf,
  reportOf,
  type StorageEntry,
  type StorageReport,
  type StorageReports,
  withPage,
} from '../evidence/storage-report.ts'
import type { Received } from '../evidence/transport.ts'
import type { Log } from '../observe/log.ts'
import type { NodeId } from '../protocol/ids.ts'
import { fencedNodes, type Member, type Membership, memberOf } from '../protocol/membership.ts'
import { nodeProof } from '../protocol/proof.ts'
import type { State } from '../protocol/state.ts'
import { type KeptReplicas, replicasAsJson } from './durable.ts'
import { keepStatements, statedPeers } from './freeze-statements.ts'
import type { StorageFacts } from './storage-proof.ts'

export interface StorageOptions {
  readonly drbd: DrbdConfiguration & { readonly staleReads: 'wait' | 'allow' }
  readonly nowMs: () => number
  readonly state: () => State
  readonly store: DurableStore<unknown>
  readonly kept: KeptReplicas
  readonly send: (to: NodeId, report: StorageReport) => void
  readonly onEvidence: (connected: readonly NodeId[], isInSync: boolean) => void
  /** Reports of others or the own replicas changed: proofs may hold now. */
  readonly onChange: () => void
  readonly isDryRun: boolean
  readonly log: Log
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

/** A report goes out when it changed, and this often anyway: reports are lost like all datagrams. */
const REPORT_EVERY_MS = 2_000
const REPORT_AGE_MS = 10_000
const PLAN_EVERY_MS = 300

export function createStorage(options: StorageOptions): Storage {
  const { nowMs, log } = options
  const drbd = createDrbd(options.drbd, { nowMs })
  let kept: KeptReplicas = options.kept
  let reports: StorageReports = NO_REPORTS
  let sequence = 0
  let reportedText = ''
  let reportedAtMs = -Infinity
  let plannedAtMs = -Infinity
  let learnedAtMs = nowMs()
  const busy = new Set<string>()
  const outcomes = new Map<string, NextStep>()

  const keep = async (next: KeptReplicas): Promise<void> => {
    kept = next
    await options.store
      .save(replicasAsJson(next))
      .catch((error: unknown) => log.error({ error }, 'what is remembered of replicas was not written'))
  }
  const known = (): KnownDrbd | undefined => {
    const snapshot = drbd.snapshot()
    return snapshot.kind === 'known' ? snapshot : undefined
  }
  const isFresh = ({ readAtMs }: KnownDrbd): boolean => nowMs() - readAtMs < 3 * options.drbd.readEveryMs + 1_000
  const membership = (): Membership | null => options.state().durable.membership
  const roomOf = (peer: string): string | undefined => {
    const now = membership()
    return now ? memberOf(now, peer as NodeId)?.room : undefined
  }
  const freezeHolds = (snapshot: KnownDrbd, resource: Resource): boolean =>
    judgeFreezeMode({
      resource,
      shown: snapshot.shown.find((shown) => shown.name === resource.name),
      ownRoom: options.state().self.room,
      peerRoom: roomOf,
      usermodeHelper: snapshot.usermodeHelper,
    }).holds

  /** Undefined while nobody knows: an empty report would say that there is no replica here. */
  const ownEntries = (): readonly StorageEntry[] | undefined => {
    const snapshot = drbd.snapshot()
    const now = membership()
    if (snapshot.kind === 'absent') return []
    if (snapshot.kind === 'unknown' || !now || !isFresh(snapshot)) return undefined
    const fenced = new Set<string>(fencedNodes(now))
    return snapshot.resources.flatMap((resource): StorageEntry[] => {
      const stated = statedPeers(kept.stated, now, resource.name)
      const holds = freezeHolds(snapshot, resource)
      const isFree = outcomes.get(resource.name)?.kind === 'done'
      const common = {
        resource: resource.name,
        ownUpToDate: resource.volumes.length > 0 && resource.volumes.every(({ diskState }) => diskState === 'UpToDate'),
        isPrimary: resource.role === 'Primary',
        isSuspendedFencing: resource.suspended.fencing,
        freezeHolds: holds,
        isClient: resource.volumes.length > 0 && resource.volumes.every(({ isClient }) => isClient),
      }
      if (resource.connections.length === 0)
        return [{ ...common, peer: '', isConnected: false, peerUpToDate: false, isUnlocked: false, isCutByForce: false }]
      return resource.connections.map((connection) => {
        const isTouched = kept.touched.get(resource.name)?.has(connection.peer) === true
        return {
          ...common,
          peer: connection.peer,
          isConnected: connection.connectionState === 'Connected',
          peerUpToDate: isConnectedUpToDate(connection),
          isUnlocked: fenced.has(connection.peer) && isFree,
          isCutByForce:
            fenced.has(connection.peer) && isTouched && stated.has(connection.peer) && connection.connectionState === 'StandAlone',
        }
      })
    })
  }

  const sendReport = (): void => {
    const now = membership()
    const { self } = options.state()
    const entries = ownEntries()
    if (!now || !entries) return
    const text = `${now.epoch} ${JSON.stringify(entries)}`
    if (text === reportedText && nowMs() - reportedAtMs < REPORT_EVERY_MS) return
    if (text !== reportedText) options.onChange()
    reportedText = text
    reportedAtMs = nowMs()
    sequence += 1
    const pages = pagesOf(now.epoch, sequence, entries)
    for (const { node } of now.members) if (node !== self.node) for (const page of pages) options.send(node, page)
  }

  const giveEvidence = (): void => {
    const snapshot = drbd.snapshot()
    const now = membership()
    if (snapshot.kind === 'absent') return options.onEvidence([], true)
    if (snapshot.kind === 'unknown' || !isFresh(snapshot)) return options.onEvidence([], false)
    const connected = new Set<string>()
    let isInSync = true
    for (const resource of snapshot.resources) {
      if (!resource.volumes.every(({ diskState, isClient }) => diskState === 'UpToDate' || isClient)) isInSync = false
      for (const connection of resource.connections) {
        if (connection.connectionState === 'Connected') connected.add(connection.peer)
        const standing = now ? memberOf(now, connection.peer as NodeId)?.standing : undefined
        if (standing !== undefined && standing !== 'fenced' && connection.connectionState !== 'Connected') isInSync = false
      }
    }
    options.onEvidence([...connected] as NodeId[], isInSync)
  }

  /** Fenced nodes that killed and hold nothing Primary: they may follow again, resync included, before anyone asks for their un-fence. */
  const harmlessLosers = (state: State, now: Membership, resource: string): ReadonlySet<string> => {
    const harmless = new Set<string>()
    for (const { node, standing, lastFence, incarnation } of now.members) {
      const contact = state.process.contacts.get(node)
      if (standing !== 'fenced' || !contact?.statement || contact.incarnation !== incarnation) continue
      if (contact.statement.killedEpoch < lastFence || nowMs() - contact.heardAtMs > state.timings.detectMs) continue
      const report = reportOf(reports, node, incarnation, now.epoch, nowMs(), REPORT_AGE_MS)
      if (report?.entries.every((entry) => entry.resource !== resource || !entry.isPrimary)) harmless.add(node)
    }
    return harmless
  }

  const stepFor = (snapshot: KnownDrbd, resource: Resource): NextStep => {
    const state = options.state()
    const now = membership()
    if (!now || state.disk.persistedVersion < state.disk.version) return { kind: 'wait', reason: 'no membership on disk yet' }
    const fenced = new Set<string>(fencedNodes(now))
    const shown = snapshot.shown.find((one) => one.name === resource.name)
    if (fenced.has(state.self.node)) {
      const isKilled = state.process.contained.level === 'kill' && state.process.contained.isVerified
      const survivors = new Set<string>(isKilled ? now.members.filter(({ standing }) => standing !== 'fenced').map(({ node }) => node) : [])
      return planLoser({ resource, rejoining: survivors })
    }
    if (fenced.size === 0 && (kept.touched.get(resource.name)?.size ?? 0) === 0)
      return planThawWithoutTieBreaker(resource, shown) ?? { kind: 'done', outcome: 'nothing is fenced' }
    const harmless = harmlessLosers(state, now, resource.name)
    const returned = now.members.filter(({ node, standing }) => standing !== 'fenced' && node !== state.self.node).map(({ node }) => node)
    const lostReadsMs = Math.max(
      0,
      ...resource.connections
        .filter(({ peer }) => fenced.has(peer))
        .map((connection) => {
          const given = optionsOf(shown, connection)
          return (given?.pingIntMs ?? 10_000) + (given?.pingTimeoutMs ?? 500) + 200
        }),
    )
    const step = planSurvivor({
      resource,
      shown,
      fenced,
      rejoining: harmless,
      statedFreezeMode: statedPeers(kept.stated, now, resource.name),
      provedStopped: new Set([...fenced].filter((node) => nodeProof(state, node as NodeId, nowMs()).isHeld)),
      confirmedSecondary: new Set([...harmless, ...returned]),
      touched: kept.touched.get(resource.name) ?? new Set(),
      memory: kept.memory.get(resource.name) ?? new Map(),
      goodReplicas: new Set(),
      staleReadsUntilMs: options.drbd.staleReads === 'wait' ? learnedAtMs + lostReadsMs - state.timings.detectMs : undefined,
      nowMs: nowMs(),
    })
    return step
  }

  const carryOn = async (name: string): Promise<void> => {
    for (let turns = 0; turns < 12; turns++) {
      const snapshot = known()
      const resource = snapshot?.resources.find((one) => one.name === name)
      if (!snapshot || !resource || !isFresh(snapshot)) return
      const step = stepFor(snapshot, resource)
      const before = outcomes.get(name)
      outcomes.set(name, step)
      if (before?.kind !== step.kind) options.onChange()
      if (step.kind === 'held' && before?.kind !== 'held')
        log.warn({ resource: name, nextStep: step.nextStep }, `${name} is held: ${step.reason}`)
      if (step.kind !== 'run' || options.isDryRun) return
      const { command, why } = step
      if (command.kind === 'disconnect-force' || command.kind === 'unlock') {
        const peers = new Set(kept.touched.get(name) ?? [])
        if (!peers.has(command.peer)) await keep({ ...kept, touched: new Map(kept.touched).set(name, peers.add(command.peer)) })
      }
      const { exitCode, message, snapshot: after } = await drbd.execute(command)
      log.info(
        { resource: name, command: command.kind, exitCode },
        `${name}: ${command.kind}, ${why}${message === '' ? '' : ` (${message})`}`,
      )
      if (command.kind === 'relock' && exitCode === 0) {
        const peers = new Set(kept.touched.get(name) ?? [])
        peers.delete(command.peer)
        await keep({ ...kept, touched: new Map(kept.touched).set(name, peers) })
      }
      if (after.kind !== 'known') return
    }
  }

  const carryOnAll = (): void => {
    for (const { name } of known()?.resources ?? []) {
      if (busy.has(name)) continue
      busy.add(name)
      carryOn(name)
        .catch((error: unknown) => log.error({ error }, `${name}: carrying on failed`))
        .finally(() => busy.delete(name))
    }
  }

  const rememberAll = (): void => {
    const snapshot = known()
    if (!snapshot) return
    let memory = kept.memory
    const now = membership()
    const mayTrust = now !== null && memberOf(now, options.state().self.node)?.standing === 'voting'
    for (const resource of snapshot.resources) {
      const before = memory.get(resource.name) ?? new Map()
      const after = remember(before, resource, snapshot.readAtMs, mayTrust)
      if (!isSameMemory(before, after)) memory = new Map(memory).set(resource.name, after)
    }
    if (memory !== kept.memory) void keep({ ...kept, memory })
  }

  const review = (): void => {
    giveEvidence()
    rememberAll()
    if (nowMs() - plannedAtMs >= PLAN_EVERY_MS) {
      plannedAtMs = nowMs()
      carryOnAll()
    }
    sendReport()
  }
  drbd.onChange(() => {
    plannedAtMs = -Infinity
    review()
  })

  return {
    drbd,
    onReport: (received, report) => {
      const before = reports
      reports = withPage(reports, { node: received.from, incarnation: received.incarnation, life: received.life }, report, received.atMs)
      const was = before.complete.get(received.from)
      const is = reports.complete.get(received.from)
      if (was?.epoch !== is?.epoch || JSON.stringify(was?.entries) !== JSON.stringify(is?.entries)) options.onChange()
    },
    onLearned: (now, before) => {
      learnedAtMs = nowMs()
      const { self } = options.state()
      const reported = ({ node, incarnation }: Member): readonly StorageEntry[] | undefined =>
        before ? reportOf(reports, node, incarnation, before.epoch, nowMs(), Infinity)?.entries : undefined
      const stated = keepStatements(kept.stated, self.node, now, before, reported)
      void keep({ ...kept, stated })
      outcomes.clear()
      plannedAtMs = -Infinity
      review()
    },
    review,
    distrustReplicas: async () => {
      const memory = new Map([...kept.memory].map(([name, peers]) => [name, distrust(peers)]))
      kept = { ...kept, memory }
      await options.store.save(replicasAsJson(kept))
    },
    facts: () => {
      const now = membership()
      if (!now) return null
      return { membership: now, self: options.state().self.node, own: ownEntries(), reports, nowMs: nowMs(), maxAgeMs: REPORT_AGE_MS }
    },
    reported: (node) => {
      const now = membership()
      const member = now && memberOf(now, node)
      return now && member ? reportOf(reports, node, member.incarnation, now.epoch, nowMs(), REPORT_AGE_MS)?.entries : undefined
    },
    counts: () => {
      const snapshot = known()
      const all = snapshot?.resources ?? []
      return { resources: all.length, unprotected: snapshot ? all.filter((resource) => !freezeHolds(snapshot, resource)).length : 0 }
    },
    stop: async () => {
      drbd.stop()
      await options.store.close()
    },
  }
}
