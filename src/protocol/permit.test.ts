import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMajority, type VoterKey } from './membership.ts'
import { addGrant, permitUntilMs } from './permit.ts'

const voter = (name: string): VoterKey => name as VoterKey
const votes = new Map([
  [voter('a'), 6000],
  [voter('b'), 6000],
  [voter('w'), 6060],
])

describe('a permit', () => {
  it('needs a majority of weights, not of heads', () => {
    expect(permitUntilMs(votes, new Map([[voter('w'), 9]]))).toBe(-Infinity)
    expect(
      permitUntilMs(
        votes,
        new Map([
          [voter('a'), 5],
          [voter('w'), 9],
        ]),
      ),
    ).toBe(5)
  })

  it('lasts until the first grant ends without which there is no majority', () => {
    const weights = fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.option(fc.integer({ min: 0, max: 100 }))), {
      minLength: 1,
      maxLength: 6,
    })
    fc.assert(
      fc.property(weights, fc.integer({ min: -1, max: 101 }), (list, nowMs) => {
        const all = new Map(list.map(([weight], i) => [voter(`v${i}`), weight]))
        const grants = new Map(list.flatMap(([, untilMs], i) => (untilMs === null ? [] : [[voter(`v${i}`), untilMs] as const])))
        const hasPermitNow = isMajority(all, (key) => (grants.get(key) ?? -Infinity) > nowMs)
        expect(permitUntilMs(all, grants) > nowMs).toBe(hasPermitNow)
      }),
    )
  })

  it('counts an ack from when its heartbeat was sent, and a late one never shortens it', () => {
    const grants = new Map<VoterKey, number>()
    addGrant(grants, voter('a'), 1_000, 5_000)
    addGrant(grants, voter('a'), 500, 5_000)
    expect(grants.get(voter('a'))).toBe(6_000)
  })
})
