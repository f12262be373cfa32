/** Which fenced peers count as frozen, for a2, which holds a replica of pvc-1 beside b1 and b2; it may have missed epochs. */
import { describe, expect, test } from 'vitest'
import { storageEntry } from '../../../test/support/storage-entry.ts'
import type { StorageEntry } from '../../evidence/storage-report.ts'
import { fencing, first, unfencing } from '../../../test/support/protocol-states.ts'
import { nodeId } from '../../protocol/ids.ts'
import { FORCED_STEP, forcedEpoch, type Membership, nextEpoch } from '../../protocol/membership.ts'
import { type FreezeStatements, parseKeptReplicas, replicasAsJson } from '../state/durable.ts'
import { keepStatements, statedPeers } from './freeze-statements.ts'

const noStatements: FreezeStatements = new Map()
const self = nodeId('a2')
const end = (peer: string, hasFreezeMode = true): StorageEntry => storageEntry(peer, { isPrimary: true, hasFreezeMode })
/** Each peer said under `before` that freeze mode holds towards both nodes of room A, unless told otherwise. */
const learned = (
  kept: FreezeStatements,
  now: Membership,
  before: Membership | null,
  said: readonly StorageEntry[] = [end('a1'), end('a2')],
) => keepStatements(kept, self, now, before, () => said)
const counted = (statements: FreezeStatements, membership: Membership) => [...statedPeers(statements, membership, 'pvc-1')].toSorted()
const noOp = (now: Membership): Membership => nextEpoch(now, { cause: { kind: 'no-op' } })
const fence = fencing(first, 'b1', 'b2')

describe('a statement of freeze mode', () => {
  test('counts for the fence that follows the epoch in which it was made', () => {
    expect(counted(learned(noStatements, fence, first), fence)).toEqual(['b1', 'b2'])
    expect(counted(learned(noStatements, fence, first), noOp(fence))).toEqual(['b1', 'b2'])
  })

  test('is the peer’s own word of the connection to this node, or none', () => {
    expect(counted(learned(noStatements, fence, first, [end('a1'), end('a2', false)]), fence)).toEqual([])
    expect(counted(learned(noStatements, fence, null), fence)).toEqual([])
    expect(
      counted(
        keepStatements(noStatements, self, fence, first, () => undefined),
        fence,
      ),
    ).toEqual([])
  })

  test('does not count where this node missed the epoch before the fence: the peer may have been unlocked in it', () => {
    const later = fencing(noOp(first), 'b1')
    expect(counted(learned(noStatements, later, first), later)).toEqual([])
  })

  test('does not count for a peer that was fenced anew while this node knew of one fence only', () => {
    const again = fencing(unfencing(fence, 'b1'), 'b1')
    expect(counted(learned(learned(noStatements, fence, first), again, fence), again)).toEqual(['b2'])
  })

  test('is gone with the un-fence, and made anew for the next fence', () => {
    const back = unfencing(fence, 'b1')
    const kept = learned(learned(noStatements, fence, first), back, fence)
    const again = fencing(back, 'b1')
    expect(counted(learned(kept, again, back, [end('a2', false)]), again)).toEqual(['b2'])
    expect(counted(learned(kept, again, back), again)).toEqual(['b1', 'b2'])
  })

  test('counts for a forced fence from the epoch that it follows on, whose number is far below', () => {
    const forced = forcedEpoch(first, [nodeId('b1'), nodeId('b2')], 'ada')
    expect(forced.epoch).toBe(first.epoch + FORCED_STEP)
    expect(counted(learned(noStatements, forced, first), forced)).toEqual(['b1', 'b2'])
    expect(counted(learned(noStatements, noOp(forced), first), noOp(forced))).toEqual(['b1', 'b2'])
    const later = forcedEpoch(noOp(first), [nodeId('b1')], 'ada')
    expect(counted(learned(noStatements, later, first), later)).toEqual([])
    // Fenced anew by force: what it stated before its first fence says nothing of what it did since.
    const anew = forcedEpoch(fence, [nodeId('b2')], 'ada')
    expect(counted(learned(learned(noStatements, fence, first), anew, fence), anew)).toEqual([])
  })
})

describe('on disk', () => {
  const kept = { memory: new Map(), touched: new Map([['pvc-1', new Set(['b1'])]]), stated: learned(noStatements, fence, first) }

  test('a statement keeps its epoch', () => {
    expect(parseKeptReplicas(JSON.parse(JSON.stringify(replicasAsJson(kept))))).toEqual(kept)
  })

  test('one of an earlier version, without its epoch, is read and does not count', () => {
    const old = parseKeptReplicas({ memory: {}, touched: { 'pvc-1': ['b1'] }, stated: { 'pvc-1': ['b1'] } })
    expect([...(old.touched.get('pvc-1') ?? [])]).toEqual(['b1'])
    expect(counted(old.stated, fence)).toEqual([])
  })

  test('one that is neither keeps the agent from starting', () => {
    expect(() => parseKeptReplicas({ memory: {}, touched: {}, stated: { 'pvc-1': { b1: 'yes' } } })).toThrow(/b1 is not a whole number/)
  })
})
