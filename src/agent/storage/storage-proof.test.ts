/** The `storage` proof and the data gate, on two rooms of two nodes of which room B is fenced in epoch 1. */
import { describe, expect, test } from 'vitest'
import { storageEntry } from '../../../test/support/storage-entry.ts'
import { NO_REPORTS, pagesOf, type StorageEntry, type StorageReports, withPage } from '../../evidence/storage-report.ts'
import { fencing, first, lifeOf } from '../../../test/support/protocol-states.ts'
import { nodeId } from '../../protocol/ids.ts'
import { dataGate, type StorageFacts, storageProof } from './storage-proof.ts'

const membership = fencing(first, 'b1', 'b2')

/** An end that was cut off by force and unlocked. */
const end = (peer: string, change: Partial<StorageEntry> = {}): StorageEntry =>
  storageEntry(peer, { isConnected: false, peerUpToDate: false, isUnlocked: true, isCutByForce: true, ...change })
const tieBreaker = { ownUpToDate: false, isClient: true, isUnlocked: false }

/** What a1 knows: its own ends, and what the others said (null: nothing in this epoch). */
function facts(
  own: readonly StorageEntry[] | undefined,
  told: Readonly<Record<string, readonly StorageEntry[] | null>> = {},
): StorageFacts {
  let reports: StorageReports = NO_REPORTS
  for (const [name, entries] of Object.entries({ a2: [], ...told })) {
    const node = nodeId(name)
    for (const page of entries === null ? [] : pagesOf(membership.epoch, 1, entries))
      reports = withPage(reports, { node, incarnation: lifeOf(node), life: 'x' }, page, 1_000)
  }
  return { membership, self: nodeId('a1'), own, reports, nowMs: 2_000, maxAgeMs: 10_000 }
}
const refusal = (answer: ReturnType<typeof dataGate>): string => (answer.isProved ? 'held' : answer.reason)

describe('the data gate', () => {
  const gate = (own: readonly StorageEntry[] | undefined, told?: Parameters<typeof facts>[1]) =>
    refusal(dataGate(facts(own, told), ['pvc-1']))

  test('is open where a survivor has the newest data, free to be written', () => {
    expect(gate([end('b1')])).toBe('held')
    expect(gate([], { a2: [end('b1')] })).toBe('held')
  })

  test('stays shut for a replica in doubt, whoever else of its own side it is connected to', () => {
    const doubted = end('b1', { isUnlocked: false })
    const reason = 'pvc-1 is not yet free to be written on a survivor'
    expect(gate([doubted])).toBe(reason)
    expect(gate([doubted, end('a2', { isConnected: true, isUnlocked: false })])).toBe(reason)
    expect(
      gate([end('a2', { isConnected: true, isUnlocked: false }), doubted], { a2: [end('a1', tieBreaker), end('b1', tieBreaker)] }),
    ).toBe(reason)
    expect(gate([end('b1'), end('b2', { isUnlocked: false })])).toBe(reason)
  })

  test('is opened by one good replica beside one in doubt', () => {
    expect(gate([end('b1', { isUnlocked: false })], { a2: [end('a1'), end('b1')] })).toBe('held')
  })

  test('is shut where nobody has a replica that is UpToDate, or any at all, or where a node does not know', () => {
    expect(gate([end('b1', { ownUpToDate: false })], { a2: [end('a1', tieBreaker)] })).toBe('no survivor has an UpToDate replica of pvc-1')
    expect(gate([])).toBe('no survivor reports a replica of pvc-1')
    expect(gate(undefined)).toBe('no survivor reports a replica of pvc-1')
    expect(gate([], { a2: null, b1: [end('a1')] })).toBe('no survivor reports a replica of pvc-1')
  })
})

describe('the storage proof', () => {
  const proof = (own: readonly StorageEntry[] | undefined, told?: Parameters<typeof facts>[1], resources = ['pvc-1']) =>
    refusal(storageProof(facts(own, told), resources))

  test('holds when every survivor has cut every fenced peer by force', () => {
    expect(proof([end('b1'), end('b2')])).toBe('held')
    expect(proof([end('b1')], { a2: [end('b1', tieBreaker)] })).toBe('held')
  })

  test('waits for the one connection that is not cut, a diskless one, too', () => {
    expect(proof([end('b1'), end('b2', { isCutByForce: false })])).toMatch(/^a1 has not cut pvc-1 from b2/)
    expect(proof([end('b1')], { a2: [end('b1', { ...tieBreaker, isCutByForce: false })] })).toMatch(/^a2 has not cut pvc-1 from b1/)
  })

  test('waits for every survivor to know its own ends, this one among them', () => {
    expect(proof([end('b1')], { a2: null })).toMatch(/^a2 did not yet report its replicas/)
    expect(proof(undefined, { a2: [end('b1', tieBreaker)] })).toMatch(/^a1 did not yet report its replicas/)
  })

  test('holds for no volume, and for none that no survivor has', () => {
    expect(proof([end('b1')], {}, [])).toBe('it has no DRBD volume')
    expect(proof([end('a2')])).toMatch(/^no survivor has a replica of pvc-1/)
  })
})
