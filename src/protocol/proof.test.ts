import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { agent, fenceOf, fencing, first, heartbeat, lifeOf } from '../../test/support/protocol-states.ts'
import { bootId, incarnation, nodeId } from './ids.ts'
import { nodeVoter } from './membership.ts'
import { addDoors, nodeProof, wantsDoors } from './proof.ts'
import { silentAfterMs } from './timings.ts'

const fence = fencing(first, 'b1')
const b1 = nodeId('b1')
const NOW = 100_000
const WATCHDOG = 5_000
const voter = (node: string) => nodeVoter(nodeId(node), lifeOf(nodeId(node)))

/** a1 after the fence of room b, with what a1 and a2 say, and since when the witness's door is closed. */
function judging(doors: Readonly<Record<string, { agoMs: number; watchdogMs?: number | null }>>, witnessDoorMs: number | null = 0) {
  const made = agent('a1', { durable: { membership: fence } })
  for (const [node, { agoMs, watchdogMs = WATCHDOG }] of Object.entries(doors))
    addDoors(made.state, voter(node), [{ node: b1, ackedAgoMs: agoMs, installedAgoMs: agoMs, watchdogMs }], NOW)
  if (witnessDoorMs !== null) fenceOf(made.state, b1).witnessDoorAtMs = witnessDoorMs
  return made
}
const readyAtMs = (made: ReturnType<typeof agent>): number | null => {
  const proof = nodeProof(made.state, b1, -Infinity)
  return proof.isProved ? null : proof.readyAtMs
}

describe('a timed proof', () => {
  it('waits from the latest ack among the earliest doors that are a majority, on the slowest clock', () => {
    const made = judging({ a1: { agoMs: 9_000 }, a2: { agoMs: 4_000 } }, 60_000)
    const { clockRateError: r } = made.state.timings
    expect(readyAtMs(made)).toBeCloseTo(NOW - 9_000 * ((1 - r) / (1 + r)) + silentAfterMs(made.state.timings, WATCHDOG), 6)
  })

  it('is never ready earlier for an ack that was later, a door that closed later, or a longer watchdog', () => {
    const agoMs = fc.integer({ min: 0, max: 60_000 })
    const lessMs = fc.integer({ min: 0, max: 60_000 })
    fc.assert(
      fc.property(agoMs, agoMs, agoMs, lessMs, lessMs, lessMs, lessMs, (a1, a2, w, a1Less, a2Less, wLater, longerMs) => {
        const before = readyAtMs(judging({ a1: { agoMs: a1 }, a2: { agoMs: a2 } }, NOW - w))
        const after = readyAtMs(
          judging(
            { a1: { agoMs: Math.max(0, a1 - a1Less) }, a2: { agoMs: Math.max(0, a2 - a2Less), watchdogMs: WATCHDOG + longerMs } },
            NOW - w + wLater,
          ),
        )
        expect(after ?? NaN).toBeGreaterThanOrEqual(before ?? NaN)
      }),
    )
  })

  it('counts from no moment before the one in which the epoch before was known to be installed', () => {
    const made = judging({})
    fenceOf(made.state, b1).floorMs = 90_000
    for (const node of ['a1', 'a2'])
      addDoors(made.state, voter(node), [{ node: b1, ackedAgoMs: 80_000, installedAgoMs: 0, watchdogMs: WATCHDOG }], NOW)
    expect(readyAtMs(made)).toBe(90_000 + silentAfterMs(made.state.timings, WATCHDOG))
  })

  it('believes what a voter said first: a later answer makes no ack later, and no watchdog whole again', () => {
    const made = judging({ a1: { agoMs: 9_000 }, a2: { agoMs: 9_000 } })
    const before = readyAtMs(made)
    addDoors(made.state, voter('a2'), [{ node: b1, ackedAgoMs: 0, installedAgoMs: 0, watchdogMs: WATCHDOG }], NOW + 5_000)
    expect(readyAtMs(made)).toBe(before)
    addDoors(made.state, voter('a2'), [{ node: b1, ackedAgoMs: 9_000, installedAgoMs: 0, watchdogMs: null }], NOW)
    addDoors(made.state, voter('a2'), [{ node: b1, ackedAgoMs: 9_000, installedAgoMs: 0, watchdogMs: WATCHDOG }], NOW)
    expect(fenceOf(made.state, b1).doors.get(voter('a2'))?.watchdogMs).toBeNull()
  })

  it('is not to be had where no majority knows of a watchdog, and says what else would do', () => {
    const made = judging({ a1: { agoMs: 9_000, watchdogMs: null }, a2: { agoMs: 9_000, watchdogMs: null } })
    expect(nodeProof(made.state, b1, NOW)).toMatchObject({ isProved: false, readyAtMs: null })
    expect(nodeProof(made.state, b1, NOW)).toMatchObject({ reason: expect.stringContaining('roomfence.io/confirm-dead=fence-1') })
  })

  it('wants more answers until a majority of the votes of that fence has answered', () => {
    expect(wantsDoors(judging({ a1: { agoMs: 1 } }, null).state)).toBe(true)
    expect(readyAtMs(judging({ a1: { agoMs: 1 }, a2: { agoMs: 1 } }, null))).toBeNull()
    expect(wantsDoors(judging({ a1: { agoMs: 1 }, a2: { agoMs: 1 } }, 0).state)).toBe(false)
  })
})

describe("a node's own word", () => {
  const said = (killedEpoch: number, life = lifeOf(b1), boot = 'boot1') => {
    const made = judging({})
    const message = heartbeat(first, 1, { killedEpoch, bootId: bootId(boot) })
    made.give({ kind: 'message', from: b1, incarnation: life, message }, NOW)
    return nodeProof(made.state, b1, NOW)
  }

  it('of its kill under this fence or a later one is a proof, from its present incarnation alone', () => {
    expect(said(fence.epoch)).toMatchObject({ isProved: true, kind: 'killed' })
    expect(said(fence.epoch + 3)).toMatchObject({ isProved: true, kind: 'killed' })
    expect(said(fence.epoch - 1)).toMatchObject({ isProved: false })
    expect(said(fence.epoch, incarnation('b1-2'))).toMatchObject({ isProved: false })
  })

  it('of another boot is none', () => {
    expect(said(-1, lifeOf(b1), 'boot2')).toMatchObject({ isProved: false })
  })
})

it('nothing proves a node that is not fenced, not even a person', () => {
  const made = agent('a1')
  made.give({ kind: 'confirm-dead', nodes: [b1], by: 'ada' }, NOW)
  expect(nodeProof(made.state, b1, NOW)).toMatchObject({ isProved: false, reason: 'b1 is not in a committed fence' })
})
