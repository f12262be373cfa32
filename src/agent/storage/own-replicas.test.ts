/** What a2 says of its replica of one volume, which was read from a kernel, and which step it takes; the peer is b1. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { KnownDrbd } from '../../drbd/drbdsetup.ts'
import type { Connection, Resource } from '../../drbd/model.ts'
import { parseStatus } from '../../drbd/status.ts'
import { NO_REPORTS } from '../../evidence/storage-report.ts'
import { agent, fencing, first } from '../../../test/support/protocol-states.ts'
import { room } from '../../protocol/ids.ts'
import type { Membership } from '../../protocol/membership.ts'
import type { State } from '../../protocol/state.ts'
import { type KeptReplicas, NO_REPLICAS } from '../state/durable.ts'
import { nextStep } from './next-step.ts'
import { freshSnapshot, ownEntries, storageEvidence } from './own-replicas.ts'

const recording = new URL('../../drbd/fixtures/survivor-secondary.status-9.22.txt', import.meta.url)

function replica(change: Partial<Connection> = {}): Resource {
  const [resource] = parseStatus(readFileSync(recording, 'utf8'))
  if (resource === undefined) throw new Error('no resource in the recording')
  return { ...resource, connections: resource.connections.map((connection) => ({ ...connection, peer: 'b1', ...change })) }
}
const { name } = replica()
const known = (resource: Resource, readAtMs = 0): KnownDrbd => ({
  kind: 'known',
  readAtMs,
  resources: [resource],
  shownAtMs: 0,
  shown: [],
  usermodeHelper: 'disabled',
  problems: [],
})
const fenced = fencing(first, 'b1', 'b2')
/** b1 stated freeze mode before its fence, and was cut off. */
const cut: KeptReplicas = {
  memory: new Map([[name, new Map([['b1', { wasUpToDate: true, readAtMs: 0 }]])]]),
  touched: new Map([[name, new Set(['b1'])]]),
  stated: new Map([[name, new Map([['b1', 0]])]]),
}

describe('what is said of the own replica', () => {
  const said = (resource: Resource, membership: Membership | null, kept = NO_REPLICAS, isDone = false) =>
    ownEntries({ snapshot: known(resource), membership, ownRoom: room('a'), kept, isDone: () => isDone })

  test('is nothing while nobody knows, and an empty report without DRBD', () => {
    const asked = { membership: first, ownRoom: room('a'), kept: NO_REPLICAS, isDone: () => true }
    expect(ownEntries({ ...asked, snapshot: { kind: 'unknown', reason: 'x' } })).toBeUndefined()
    expect(said(replica(), null)).toBeUndefined()
    expect(ownEntries({ ...asked, snapshot: { kind: 'absent', readAtMs: 0 } })).toEqual([])
  })

  test('a cut counts where the peer is fenced, had stated freeze mode, and was cut off by this agent', () => {
    const alone = replica({ connectionState: 'StandAlone' })
    expect(said(alone, fenced, cut)).toMatchObject([{ resource: name, peer: 'b1', ownUpToDate: true, isCutByForce: true }])
    for (const entries of [
      said(replica(), fenced, cut),
      said(alone, first, cut),
      said(alone, fenced, { ...cut, touched: new Map() }),
      said(alone, fenced, { ...cut, stated: new Map() }),
    ])
      expect(entries).toMatchObject([{ isCutByForce: false }])
  })

  test('it is free to be written once its plan is over, towards who is fenced', () => {
    expect(said(replica(), fenced, cut, true)).toMatchObject([{ isUnlocked: true }])
    expect(said(replica(), fenced, cut, false)).toMatchObject([{ isUnlocked: false }])
    expect(said(replica(), first, cut, true)).toMatchObject([{ isUnlocked: false }])
  })

  test('one without a connection is said all the same', () => {
    expect(said({ ...replica(), connections: [] }, first)).toMatchObject([{ peer: '', isConnected: false }])
  })
})

test('the evidence: who is connected, and whether all is in sync with all who are not fenced', () => {
  expect(storageEvidence({ kind: 'absent', readAtMs: 0 }, first)).toEqual({ connected: [], isInSync: true })
  expect(storageEvidence({ kind: 'unknown', reason: 'x' }, first)).toEqual({ connected: [], isInSync: false })
  expect(storageEvidence(known(replica({ connectionState: 'Connected' })), first)).toEqual({ connected: ['b1'], isInSync: true })
  expect(storageEvidence(known(replica()), first)).toEqual({ connected: [], isInSync: false })
  expect(storageEvidence(known(replica()), fenced)).toEqual({ connected: [], isInSync: true })
})

test('a reading of long ago is as good as none', () => {
  const snapshot = known(replica(), 1_000)
  expect(freshSnapshot(snapshot, 100, 2_299)).toBe(snapshot)
  expect(freshSnapshot(snapshot, 100, 2_300)).toMatchObject({ kind: 'unknown' })
})

describe('the next step', () => {
  const stepOf = (membership: Membership, kept: KeptReplicas, change: Partial<State> = {}) => {
    const state = Object.assign(agent('a2', { durable: { membership } }).state, change)
    return nextStep({ state, kept, reports: NO_REPORTS, learnedAtMs: 0, staleReads: 'allow', nowMs: 0 }, known(replica()), replica())
  }

  test('waits until the membership is on disk', () => {
    expect(stepOf(fenced, cut, { disk: { version: 9, persistedVersion: 8, failure: null, unsent: [] } })).toMatchObject({
      kind: 'wait',
      reason: 'no membership on disk yet',
    })
  })

  test('is done while nobody is fenced, and cuts the fenced peer off first', () => {
    expect(stepOf(first, NO_REPLICAS)).toEqual({ kind: 'done', outcome: 'nothing is fenced' })
    expect(stepOf(fenced, { ...cut, touched: new Map() })).toMatchObject({ kind: 'run', command: { kind: 'disconnect-force', peer: 'b1' } })
  })
})
