import { describe, expect, test } from 'vitest'
import { confirmedBy, lookEveryMs, unfenceRequest } from './annotations.ts'

describe('an un-fence asked for by annotation', () => {
  test.each([
    ['true', { isForced: false, by: 'annotation' }],
    ['fence-7', { isForced: false, by: 'annotation' }],
    ['true,ada', { isForced: false, by: 'ada' }],
    ['fence-7, force, ada lovelace', { isForced: true, by: 'ada lovelace' }],
    ['force', { isForced: true, by: 'annotation' }],
    ['fence-6', undefined],
    ['ada', undefined],
    ['', undefined],
  ])('%j is read as %j', (value, request) => {
    expect(unfenceRequest(value, 'fence-7')).toEqual(request)
  })
})

test('nodes are looked at every second by the coordinator and every three by the others, and more rarely the more there are', () => {
  expect([lookEveryMs(true, 3, 3), lookEveryMs(false, 3, 3)]).toEqual([1_000, 3_000])
  for (const many of [20, 50, 200]) {
    expect(many / (lookEveryMs(true, many, many) / 1_000)).toBeLessThanOrEqual(20)
    expect((many * many) / (lookEveryMs(false, many, many) / 1_000)).toBeLessThanOrEqual(140)
  }
})

test("a person's word for a death counts for what it names, and leaves the person's name", () => {
  expect(confirmedBy('fence-7,ada', 'fence-7')).toBe('ada')
  expect(confirmedBy('ada lovelace epoch-12', 'epoch-12')).toBe('ada lovelace')
  expect(confirmedBy('fence-7', 'fence-7')).toBe('annotation')
  expect(confirmedBy('fence-7,ada', 'fence-8')).toBeUndefined()
  expect(confirmedBy('', 'fence-7')).toBeUndefined()
})
