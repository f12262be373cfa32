/** What a proof rests on where the fence was only learned (docs/protocol/proofs.md). */
import { describe, expect, it } from 'vitest'
import { agent, fenceOf, fencing, first, heartbeat, lifeOf, unfencing } from '../../test/support/protocol-states.ts'
import { nodeId } from './ids.ts'
import type { Membership } from './membership.ts'
import type { Message } from './messages.ts'
import { nodeProof } from './proof.ts'
import { silentAfterMs } from './timings.ts'

const [b1, b2] = [nodeId('b1'), nodeId('b2')]
const fence = fencing(first, 'b1', 'b2')
const doors = (membership: Membership, ackedAgoMs: number, installedAgoMs: number): Message => ({
  kind: 'doors',
  epoch: membership.epoch,
  doors: [b1, b2].map((node) => ({ node, ackedAgoMs, installedAgoMs, watchdogMs: 5_000 })),
})
const doorsOfRegister = (made: ReturnType<typeof agent>, atMs: number) => {
  for (const node of [b1, b2]) fenceOf(made.state, node).witnessDoorAtMs = atMs
}
const readyAtMs = (made: ReturnType<typeof agent>, nowMs: number): number | null => {
  const proof = nodeProof(made.state, b1, nowMs)
  return proof.isProved ? -Infinity : proof.readyAtMs
}

describe('who only learned of a fence', () => {
  it('counts from the earliest moment at which a voter knew the epoch before to be installed, shortened by both clocks', () => {
    const made = agent('a1', { nowMs: 100_000 })
    made.hear('a2', { kind: 'learn', membership: fence }, 103_000)
    doorsOfRegister(made, 10_000)
    made.hear('a1', doors(fence, 60_000, 0), 103_100)
    made.hear('a2', doors(fence, 60_000, 0), 103_100)
    const late = readyAtMs(made, 103_100)
    expect(late).toBe(103_000 + silentAfterMs(made.state.timings, 5_000))
    made.hear('a2', doors(fence, 60_000, 20_000), 103_200)
    const { clockRateError: r } = made.state.timings
    expect(readyAtMs(made, 103_200)).toBeCloseTo(103_200 - 20_000 * ((1 - r) / (1 + r)) + silentAfterMs(made.state.timings, 5_000), 6)
  })

  it('tells the others no earlier moment than it knows itself', () => {
    const made = agent('a2', { nowMs: 100_000 })
    made.hear('a1', { kind: 'learn', membership: fence }, 103_000)
    const [answer] = made
      .hear('a1', { kind: 'ask-doors', epoch: fence.epoch }, 104_000)
      .flatMap((effect) => (effect.kind === 'send' && effect.message.kind === 'doors' ? [effect.message] : []))
    expect(answer?.doors).toMatchObject([
      { node: 'b1', installedAgoMs: 1_000 },
      { node: 'b2', installedAgoMs: 1_000 },
    ])
  })

  it('and slept through the un-fence after it, has no proof of the next fence from what it knew of this one', () => {
    const made = agent('a1', { nowMs: 1_000 })
    made.hear('a2', { kind: 'learn', membership: fence }, 1_100)
    doorsOfRegister(made, 1_100)
    for (const from of ['a1', 'a2']) made.hear(from, doors(fence, 0, 0), 1_200)
    made.give({ kind: 'confirm-dead', nodes: [b2], by: 'ada' }, 1_300)
    expect(nodeProof(made.state, b1, 60_000).isProved).toBe(true)
    expect(nodeProof(made.state, b2, 8_000)).toMatchObject({ isProved: true, kind: 'human' })

    const again = fencing(unfencing(fence, 'b1', 'b2'), 'b1', 'b2')
    made.hear('a2', { kind: 'learn', membership: again }, 60_000)
    expect(nodeProof(made.state, b1, 61_000).isProved).toBe(false)
    expect(nodeProof(made.state, b2, 61_000).isProved).toBe(false)
    made.hear('b1', heartbeat(fence, 1, { killedEpoch: fence.epoch }), 61_000)
    expect(made.state.process.contacts.get(b1)?.incarnation).toBe(lifeOf(b1))
    expect(nodeProof(made.state, b1, 61_000).isProved).toBe(false)
  })
})
