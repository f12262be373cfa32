/** Without freeze mode, what was acknowledged after the rooms were parted may be lost; nothing else may. */
import { expect, test } from 'vitest'
import type { Finding } from '../observer/judge.ts'
import type { VmEvent } from '../vm/vm.ts'
import { isAfterParting } from './excuse.ts'

const parted = 1000
const acknowledged = (number: number, atMs: number): VmEvent => ({
  type: 'acknowledged',
  atMs,
  vm: 'one',
  instance: 'i',
  node: 'b1',
  number,
})
const events = [acknowledged(1, 900), acknowledged(2, 999), acknowledged(3, 1001)]
const missing = (acknowledgedAtMs: number): Finding => ({
  type: 'acknowledgedRecordMissing',
  vm: 'one',
  instance: 'i',
  number: 1,
  acknowledgedAtMs,
  survivor: 'a1',
})
const stale = (foundNumber: number): Finding => ({
  type: 'staleStart',
  vm: 'one',
  instance: 'j',
  node: 'a1',
  atMs: 5000,
  foundNumber,
  acknowledgedNumber: 3,
})

test('a record of after the cut may be missing, one of before may not', () => {
  expect(isAfterParting(missing(1000), events, parted)).toBe(true)
  expect(isAfterParting(missing(999), events, parted)).toBe(false)
})

test('a start may lack what came after the cut, nothing of before', () => {
  expect(isAfterParting(stale(2), events, parted)).toBe(true)
  expect(isAfterParting(stale(1), events, parted)).toBe(false)
})

test('two writers are never excused', () => {
  const first = { instance: 'i', node: 'b1', lastAcknowledgedAtMs: 3000, number: 9 }
  const second = { instance: 'j', node: 'a1', firstAcknowledgedAtMs: 2000 }
  expect(isAfterParting({ type: 'twoWriters', vm: 'one', first, second }, events, parted)).toBe(false)
})
