/** What every witness must do, whichever register is behind it: the suite runs against any `WitnessClient`. */
import { describe, expect, test } from 'vitest'
import { clusterId, epoch, incarnation, nodeId, room } from '../../src/protocol/ids.ts'
import { digestOf, genesis, type Membership, nextEpoch, withStanding } from '../../src/protocol/membership.ts'
import type { Accepted, Register } from '../../src/protocol/messages.ts'
import type { Reader, WitnessClient } from '../../src/witness/register.ts'

export interface WitnessBed {
  /** A client that reads as `reader`. */
  client(reader: Reader): WitnessClient
  /** Stops the register and starts it again on the same state; absent where that cannot be done. */
  readonly restart?: () => Promise<void>
}

export const readerOf = (name: string): Reader => ({ node: nodeId(name), incarnation: incarnation(`${name}-1`) })

const memberOfRoom = (name: string, roomName: string) => ({
  node: nodeId(name),
  room: room(roomName),
  incarnation: incarnation(`${name}-1`),
  addresses: [{ path: 'node', host: '127.0.0.1', port: 7000 }],
})

export const FIRST: Membership = genesis(
  clusterId('c'),
  [memberOfRoom('a1', 'A'), memberOfRoom('a2', 'A'), memberOfRoom('b1', 'B'), memberOfRoom('b2', 'B')],
  room('A'),
  'w1',
)
const B_FENCED: Membership = nextEpoch(FIRST, {
  members: withStanding(FIRST, [nodeId('b1'), nodeId('b2')], 'fenced'),
  cause: { kind: 'fence', nodes: [nodeId('b1'), nodeId('b2')], by: nodeId('a1'), reason: 'silent' },
})
const WITHOUT_B2: Membership = nextEpoch(FIRST, { members: FIRST.members.filter(({ node }) => node !== 'b2'), cause: { kind: 'no-op' } })

export const proposedOf = (membership: Membership, accepted: Accepted | null = null): Omit<Register, 'version'> => ({
  incarnation: 'w1',
  membership,
  accepted,
})
const acceptedOf = (membership: Membership, round = 1): Accepted => ({
  ballot: { round, node: nodeId('a1'), incarnation: incarnation('a1-1') },
  membership,
})

let ids = 0

async function readAs(client: WitnessClient, membership: Membership) {
  const id = ++ids
  const reply = await client.request({ kind: 'read', id, epoch: membership.epoch, digest: digestOf(membership) })
  if (reply.kind !== 'register') throw new Error(`no register: ${JSON.stringify(reply)}`)
  expect(reply.id).toBe(id)
  return reply
}

const swap = (client: WitnessClient, expectedVersion: number, register: Omit<Register, 'version'>) =>
  client.request({ kind: 'swap', id: ++ids, expectedVersion, register })

/** @param open a witness without a register, closed by the caller's own afterEach. */
export function witnessContract(name: string, open: () => Promise<WitnessBed>): void {
  describe(`${name} as a witness`, () => {
    test('fails, and never says an empty register, before genesis', async () => {
      const a1 = (await open()).client(readerOf('a1'))
      expect(await a1.request({ kind: 'read', id: 7, epoch: epoch(0), digest: '' })).toMatchObject({ kind: 'failed', id: 7 })
      expect(await swap(a1, 0, proposedOf(FIRST))).toMatchObject({ kind: 'failed' })
    })

    test('is made once, by whoever is first', async () => {
      const bed = await open()
      const answers = await Promise.all(['a1', 'a2', 'b1', 'b2'].map((node) => bed.client(readerOf(node)).create(proposedOf(FIRST))))
      expect(answers.map(({ kind }) => kind).sort()).toEqual(['created', 'exists', 'exists', 'exists'])
    })

    test('gives back what was swapped in, with a higher version', async () => {
      const a1 = (await open()).client(readerOf('a1'))
      await a1.create(proposedOf(FIRST))
      const before = (await readAs(a1, FIRST)).register
      const swapped = await swap(a1, before.version, proposedOf(FIRST, acceptedOf(B_FENCED)))
      expect(swapped.kind).toBe('swapped')
      const after = (await readAs(a1, FIRST)).register
      expect(after).toEqual({ ...proposedOf(FIRST, acceptedOf(B_FENCED)), version: swapped.kind === 'swapped' ? swapped.version : -1 })
      expect(after.version).toBeGreaterThan(before.version)
      expect(digestOf(after.accepted?.membership ?? FIRST)).toBe(digestOf(B_FENCED))
    })

    test('answers a swap that expected another version with the register that is there', async () => {
      const a1 = (await open()).client(readerOf('a1'))
      await a1.create(proposedOf(FIRST))
      const { register } = await readAs(a1, FIRST)
      await swap(a1, register.version, proposedOf(B_FENCED))
      const lost = await swap(a1, register.version, proposedOf(FIRST))
      expect(lost).toMatchObject({ kind: 'conflict', register: { membership: { epoch: 1 } } })
    })

    test('counts a read as an ack only under the very epoch and digest that it holds', async () => {
      const a1 = (await open()).client(readerOf('a1'))
      await a1.create(proposedOf(FIRST))
      expect((await readAs(a1, FIRST)).isCounted).toBe(true)
      expect((await readAs(a1, B_FENCED)).isCounted).toBe(false)
      const other = await a1.request({ kind: 'read', id: 1, epoch: FIRST.epoch, digest: digestOf(B_FENCED) })
      expect(other).toMatchObject({ kind: 'register', isCounted: false })
    })

    test('counts no read of a node that is fenced, about to be, removed, unknown, or in another life', async () => {
      const bed = await open()
      const [a1, b1, b2] = [bed.client(readerOf('a1')), bed.client(readerOf('b1')), bed.client(readerOf('b2'))]
      await a1.create(proposedOf(FIRST))
      expect((await readAs(b1, FIRST)).isCounted).toBe(true)
      expect((await readAs(bed.client({ node: nodeId('b1'), incarnation: incarnation('b1-2') }), FIRST)).isCounted).toBe(false)
      expect((await readAs(bed.client(readerOf('c1')), FIRST)).isCounted).toBe(false)
      let { version } = (await readAs(a1, FIRST)).register
      await swap(a1, version, proposedOf(FIRST, acceptedOf(B_FENCED)))
      expect((await readAs(b1, FIRST)).isCounted).toBe(false)
      expect((await readAs(a1, FIRST)).isCounted).toBe(true)
      ;({ version } = (await readAs(a1, FIRST)).register)
      await swap(a1, version, proposedOf(FIRST, acceptedOf(WITHOUT_B2, 2)))
      expect([(await readAs(b1, FIRST)).isCounted, (await readAs(b2, FIRST)).isCounted]).toEqual([true, false])
      ;({ version } = (await readAs(a1, FIRST)).register)
      await swap(a1, version, proposedOf(B_FENCED))
      expect((await readAs(b1, B_FENCED)).isCounted).toBe(false)
      expect((await readAs(a1, B_FENCED)).isCounted).toBe(true)
    })

    test('is linearizable under many clients at once: each success replaced exactly what its client expected', async () => {
      const bed = await open()
      await bed.client(readerOf('a1')).create(proposedOf(FIRST))
      const wins: { readonly expected: number; readonly got: number; readonly round: number }[] = []
      const observed: number[][] = []
      await Promise.all(
        Array.from({ length: 8 }, async (_, worker) => {
          const client = bed.client(readerOf(['a1', 'a2', 'b1', 'b2'][worker % 4] ?? 'a1'))
          const seen: number[] = []
          observed.push(seen)
          for (let turn = 0; turn < 12; turn++) {
            const { register } = await readAs(client, FIRST)
            const round = worker * 1000 + turn
            const result = await swap(client, register.version, proposedOf(FIRST, acceptedOf(B_FENCED, round)))
            seen.push(register.version)
            if (result.kind === 'swapped') {
              wins.push({ expected: register.version, got: result.version, round })
              seen.push(result.version)
            } else if (result.kind === 'conflict') {
              expect(result.register.version).toBeGreaterThan(register.version)
              seen.push(result.register.version)
            } else throw new Error(JSON.stringify(result))
          }
        }),
      )
      wins.sort((a, b) => a.got - b.got)
      expect(new Set(wins.map(({ expected }) => expected)).size).toBe(wins.length)
      wins.forEach(({ expected, got }, index) => {
        expect(got).toBeGreaterThan(expected)
        if (index > 0) expect(expected).toBe(wins[index - 1]?.got)
      })
      // Nobody ever saw the register go back.
      for (const seen of observed) expect(seen).toEqual([...seen].sort((a, b) => a - b))
      const last = (await readAs(bed.client(readerOf('a1')), FIRST)).register
      expect(last).toMatchObject({ version: wins.at(-1)?.got, accepted: { ballot: { round: wins.at(-1)?.round } } })
    })

    test('remembers the register over a restart, and swaps go on from there', async (context) => {
      const bed = await open()
      if (!bed.restart) {
        context.skip('this register cannot be restarted by the test')
        return
      }
      const a1 = bed.client(readerOf('a1'))
      await a1.create(proposedOf(FIRST))
      const { register } = await readAs(a1, FIRST)
      await swap(a1, register.version, proposedOf(FIRST, acceptedOf(B_FENCED)))
      const before = (await readAs(a1, FIRST)).register
      await bed.restart()
      const again = bed.client(readerOf('a1'))
      expect((await readAs(again, FIRST)).register).toEqual(before)
      expect((await swap(again, before.version, proposedOf(B_FENCED))).kind).toBe('swapped')
      expect(await again.create(proposedOf(FIRST))).toMatchObject({ kind: 'exists' })
    })

    test('that is out of reach fails with a reason and does not reject', async () => {
      const a1 = (await open()).client(readerOf('a1'))
      const reply = await a1.request({ kind: 'read', id: 3, epoch: epoch(0), digest: '' }, AbortSignal.abort())
      expect(reply).toMatchObject({ kind: 'failed', id: 3 })
    })
  })
}
