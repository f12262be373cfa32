import { describe, expect, test } from 'vitest'
import type { PastFence } from '../fence/fence.ts'
import { flappingOf, flappingNote, waitsForMs, worstFlapping } from './flapping.ts'

const backoff = { flapWindowMs: 3_600_000, unfenceBackoffMs: 60_000, unfenceBackoffMaxMs: 200_000 }
const at = (minute: number): string => new Date(Date.UTC(2026, 0, 1, 12, minute)).toISOString()
const fenceOf = (epoch: number, minute: number, more: Partial<PastFence> = {}): PastFence => ({
  epoch,
  createdAt: at(minute),
  dryRun: false,
  nodes: ['b1', 'b2'],
  unfenced: ['b1', 'b2'],
  ...more,
})
const present = fenceOf(9, 50, { unfenced: [] })
const notBefore = (...fences: readonly PastFence[]) => flappingOf('b1', present, [...fences, present], backoff)?.unfenceNotBefore

describe('a node that was fenced again', () => {
  test('waits from the present fence on, twice as long for each round before it, up to the longest wait', () => {
    expect(notBefore(fenceOf(1, 10))).toBe(at(51))
    expect(notBefore(fenceOf(1, 10), fenceOf(3, 20))).toBe(at(52))
    expect(notBefore(fenceOf(1, 10), fenceOf(3, 20), fenceOf(5, 30))).toBe('2026-01-01T12:53:20.000Z')
  })

  test.each([
    ['was never fenced before', []],
    ['was fenced long before', [fenceOf(1, -11)]],
    ['was not let back between, as its fence is still another’s record', [fenceOf(1, 10, { unfenced: ['b2'] })]],
    ['was not among those that were fenced before', [fenceOf(1, 10, { nodes: ['b2'] })]],
    ['was fenced in a dry run', [fenceOf(1, 10, { dryRun: true })]],
    ['was fenced later', [fenceOf(11, 10)]],
  ])('does not wait if it %s', (_, fences) => {
    expect(notBefore(...fences)).toBeUndefined()
  })

  test('waits for no longer than it was meant to, whatever the clock says', () => {
    const flapping = { fencesBefore: 2, unfenceNotBefore: at(52) }
    expect(waitsForMs(flapping, at(51), backoff)).toBe(60_000)
    expect(waitsForMs(flapping, at(53), backoff)).toBe(0)
    expect(waitsForMs(flapping, '1970-01-01T00:00:00Z', backoff)).toBe(200_000)
  })

  test('makes its room wait as long as the node that flapped most', () => {
    const fences = [fenceOf(1, 10, { nodes: ['b2'] }), fenceOf(3, 20), present]
    expect(worstFlapping(['b1', 'b2'], present, fences, backoff)).toEqual({ fencesBefore: 2, unfenceNotBefore: at(52) })
    expect(worstFlapping(['b1', 'b2'], present, [present], backoff)).toBeUndefined()
  })

  test('is told of with the time from which on its un-fence is accepted', () => {
    expect(flappingNote({ fencesBefore: 2, unfenceNotBefore: at(52) })).toBe(
      'fenced again after 2 fences and un-fences not long ago: an un-fence is accepted from 2026-01-01T12:52:00.000Z on',
    )
  })
})
