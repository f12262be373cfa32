import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fencing, first, lifeOf, names, unfencing } from '../../test/support/protocol-states.ts'
import { clusterId, incarnation, nodeId, room } from './ids.ts'
import {
  digestOf,
  genesis,
  isMajority,
  memberOf,
  type Membership,
  nextEpoch,
  newlyFenced,
  nodeVoter,
  votesOf,
  witnessVoter,
} from './membership.ts'

const made = (sizes: readonly number[], hasWitness: boolean): Membership =>
  genesis(
    clusterId('c'),
    sizes.flatMap((size, r) =>
      Array.from({ length: size }, (_, i) => {
        const name = `${'abc'[r] ?? 'z'}${i + 1}`
        return { node: nodeId(name), room: room('abc'[r] ?? 'z'), incarnation: incarnation(`${name}-1`), addresses: [] }
      }),
    ),
    room('a'),
    hasWitness ? 'w0' : null,
  )

const anyMembership = fc
  .tuple(fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 3 }), fc.boolean())
  .map(([sizes, w]) => made(sizes, w))

describe('votes', () => {
  it('are equal for every room, however many nodes it has', () => {
    const votes = votesOf(made([1, 5], true))
    expect(votes.get(nodeVoter(nodeId('a1'), incarnation('a1-1')))).toBe(6000)
    expect([...votes].filter(([voter]) => voter.startsWith('b')).reduce((sum, [, weight]) => sum + weight, 0)).toBe(6000)
  })

  it('of two rooms with a witness are a majority with either room and the witness, and with neither room alone', () => {
    const votes = votesOf(first)
    const room = (name: string) => (voter: string) => voter.startsWith(name)
    for (const name of ['a', 'b']) {
      expect(isMajority(votes, room(name))).toBe(false)
      expect(isMajority(votes, (voter) => room(name)(voter) || voter.startsWith('witness'))).toBe(true)
    }
  })

  it('without a witness make the preferred room a majority alone, and the other one never', () => {
    const votes = votesOf(made([3, 3], false))
    expect(isMajority(votes, (voter) => voter.startsWith('a'))).toBe(true)
    expect(isMajority(votes, (voter) => voter.startsWith('b'))).toBe(false)
  })

  it('with one room left make the witness a tie-break that is never missed', () => {
    const votes = votesOf(fencing(first, 'b1', 'b2'))
    expect(isMajority(votes, (voter) => voter.startsWith('a'))).toBe(true)
    expect(isMajority(votes, (voter) => voter.startsWith('a1') || voter.startsWith('witness'))).toBe(true)
    expect(isMajority(votes, (voter) => voter.startsWith('a2'))).toBe(false)
  })

  it('never make two groups without a common voter both majorities', () => {
    fc.assert(
      fc.property(anyMembership, fc.infiniteStream(fc.boolean()), (membership, sides) => {
        const votes = votesOf(membership)
        const left = new Set([...votes.keys()].filter(() => sides.next().value === true))
        expect(isMajority(votes, (voter) => left.has(voter)) && isMajority(votes, (voter) => !left.has(voter))).toBe(false)
      }),
    )
  })

  it('always have a majority when everybody is there, and one side of each cut has it, but for one that halves both of two rooms without a witness', () => {
    fc.assert(
      fc.property(anyMembership, fc.infiniteStream(fc.boolean()), (membership, sides) => {
        // 3030 + 3000 on either side: the preferred room's hundredth is shared like the rest of its vote.
        fc.pre(membership.witness !== null || new Set(membership.members.map((member) => member.room)).size !== 2)
        const votes = votesOf(membership)
        const left = new Set([...votes.keys()].filter(() => sides.next().value === true))
        expect(isMajority(votes, () => true)).toBe(true)
        expect(isMajority(votes, (voter) => left.has(voter)) || isMajority(votes, (voter) => !left.has(voter))).toBe(true)
      }),
    )
  })
})

describe('the next epoch', () => {
  it('is one higher, carries the votes before it, and notes who was fenced when', () => {
    const next = fencing(first, 'b1', 'b2')
    expect(next.epoch).toBe(1)
    expect(next.votesBefore).toEqual([...votesOf(first)])
    expect(memberOf(next, nodeId('b1'))).toMatchObject({ standing: 'fenced', lastFence: 1 })
    expect(next.fenceVotes).toEqual([{ epoch: 1, votes: [...votesOf(first)] }])
    expect(newlyFenced(first, next)).toEqual(['b1', 'b2'])
  })

  it('of an un-fence lets run without a vote, and keeps the memory of the fence', () => {
    const back = unfencing(fencing(first, 'b1', 'b2'), 'b1', 'b2')
    expect(memberOf(back, nodeId('b1'))).toMatchObject({ standing: 'observing', lastFence: 1 })
    expect([...votesOf(back).keys()].some((voter) => voter.startsWith('b'))).toBe(false)
    expect(back.fenceVotes).toEqual([])
  })

  it('has one digest whatever the order of its members, and another for another content', () => {
    const reversed = nextEpoch(first, { members: first.members.toReversed(), cause: { kind: 'no-op' } })
    const straight = nextEpoch(first, { cause: { kind: 'no-op' } })
    expect(digestOf(reversed)).toBe(digestOf(straight))
    expect(digestOf(fencing(first, 'b1'))).not.toBe(digestOf(fencing(first, 'b2')))
  })

  it('names each voter in the life that has the vote', () => {
    expect(new Set(votesOf(first).keys())).toEqual(new Set([...names.map((node) => nodeVoter(node, lifeOf(node))), witnessVoter('w0')]))
  })
})
