import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { deflateRawSync } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bootId, clusterId, epoch, incarnation, nodeId, room } from '../protocol/ids.ts'
import { digestOf, forcedEpoch, genesis, type Membership, nextEpoch, withStanding } from '../protocol/membership.ts'
import type { Accepted, Ballot, DoorStatement, Statement } from '../protocol/messages.ts'
import { parseMembership } from './membership-schema.ts'
import { TYPE_OF, type WireKind, type WireMessage } from './message-codec.ts'
import type { StorageEntry } from './storage-report.ts'
import { decodePacket, encodePacket, keyOf, LARGEST_PAYLOAD, type Nonce, type Packet, type PacketRefusal } from './wire.ts'

const key = keyOf(Buffer.from('0123456789abcdef0123456789abcdef'))
const oldKey = keyOf(Buffer.from('fedcba9876543210fedcba9876543210'))
const b1 = nodeId('b1')

const text = (maxLength: number) =>
  fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: Math.floor(maxLength / 8) })
    .filter((value) => Buffer.byteLength(value) <= maxLength)
const count = fc.integer({ min: 0, max: 2 ** 47 - 1 })
const anyEpoch = fc.integer({ min: -1, max: 2 ** 40 }).map(epoch)
const statement: fc.Arbitrary<Statement> = fc.record({
  bootId: text(64).map(bootId),
  watchdogMs: fc.option(count),
  killedEpoch: fc.integer({ min: -1, max: 2 ** 40 }),
  isInSync: fc.boolean(),
  witnessVersion: fc.integer({ min: -1, max: 2 ** 40 }),
  isLeaving: fc.boolean(),
  isApiReachable: fc.boolean(),
  isDryRun: fc.boolean(),
})
const ballot: fc.Arbitrary<Ballot> = fc.record({ round: count, node: text(200).map(nodeId), incarnation: text(200).map(incarnation) })
const door: fc.Arbitrary<DoorStatement> = fc.record({
  node: text(200).map(nodeId),
  ackedAgoMs: fc.double({ min: 0, max: 1e12, noNaN: true }),
  installedAgoMs: fc.double({ min: 0, max: 1e12, noNaN: true }),
  watchdogMs: fc.option(count),
})
const entry: fc.Arbitrary<StorageEntry> = fc.record({
  resource: text(128),
  peer: text(128),
  ownUpToDate: fc.boolean(),
  isClient: fc.boolean(),
  isPrimary: fc.boolean(),
  isFrozen: fc.boolean(),
  isConnected: fc.boolean(),
  peerUpToDate: fc.boolean(),
  hasFreezeMode: fc.boolean(),
  isUnlocked: fc.boolean(),
  isCutByForce: fc.boolean(),
})

function clusterOf(nodes: number): Membership {
  const members = Array.from({ length: nodes }, (_, index) => ({
    node: nodeId(`node-${index}.example.org`),
    room: room(index % 2 === 0 ? 'A' : 'B'),
    incarnation: incarnation(`3b1e5c52-8c2b-4a8e-9d3c-${String(index).padStart(12, '0')}`),
    addresses: [
      { path: 'node', host: `10.0.${index >> 8}.${index & 255}`, port: 7000 },
      { path: 'storage', host: `10.1.${index >> 8}.${index & 255}`, port: 7000 },
    ],
  }))
  return genesis(clusterId('cluster'), members, room('A'), 'w-1')
}

const membership: fc.Arbitrary<Membership> = fc.integer({ min: 1, max: 12 }).chain((nodes) =>
  fc.tuple(fc.subarray(Array.from({ length: nodes }, (_, index) => index)), fc.boolean()).map(([fenced, isForced]) => {
    const first = clusterOf(nodes)
    const names = first.members.filter((_, index) => fenced.includes(index)).map(({ node }) => node)
    if (isForced) return forcedEpoch(first, names, 'ada')
    return nextEpoch(first, {
      members: withStanding(first, names, 'fenced'),
      cause: { kind: 'fence', by: b1, reason: 'silent "since" µ', nodes: names },
    })
  }),
)
const accepted: fc.Arbitrary<Accepted> = fc.record({ ballot, membership })

const messages: { readonly [K in WireKind]: fc.Arbitrary<WireMessage> } = {
  heartbeat: fc.record({
    kind: fc.constant('heartbeat'),
    sequence: count,
    epoch: anyEpoch,
    digest: fc.string({ maxLength: 14 }),
    statement,
  }),
  ack: fc.record({ kind: fc.constant('ack'), sequence: count, epoch: anyEpoch, digest: fc.string({ maxLength: 14 }) }),
  want: fc.record({ kind: fc.constant('want'), epoch: anyEpoch }),
  consent: fc.record({ kind: fc.constant('consent'), statement }),
  'ask-doors': fc.record({ kind: fc.constant('ask-doors'), epoch: anyEpoch }),
  doors: fc.record({ kind: fc.constant('doors'), epoch: anyEpoch, doors: fc.array(door, { maxLength: 20 }) }),
  learn: fc.record({ kind: fc.constant('learn'), membership }),
  prepare: fc.record({ kind: fc.constant('prepare'), ballot, proposal: membership, isFinishing: fc.boolean() }),
  promise: fc.record({
    kind: fc.constant('promise'),
    ballot,
    epoch: count.map(epoch),
    accepted: fc.option<Accepted>(accepted, { nil: null }),
  }),
  accept: fc.record({ kind: fc.constant('accept'), ballot, membership }),
  accepted: fc.record({ kind: fc.constant('accepted'), ballot, epoch: anyEpoch }),
  refusal: fc.record({
    kind: fc.constant('refusal'),
    ballot,
    epoch: anyEpoch,
    reason: fc.oneof(
      fc.record({ code: fc.constant('ballot' as const), promised: ballot }),
      fc.record({ code: fc.constant('veto' as const), text: fc.string({ maxLength: 200 }) }),
      fc.record({ code: fc.constant('epoch' as const), epoch: anyEpoch }),
    ),
  }),
  join: fc.record({ kind: fc.constant('join'), room: text(100), addresses: fc.constant([{ path: 'node', host: '10.0.0.1', port: 7000 }]) }),
  hello: fc.record({ kind: fc.constant('hello') }),
  'storage-report': fc.record({
    kind: fc.constant('storage-report'),
    epoch: anyEpoch,
    sequence: count,
    page: fc.constant(1),
    pages: fc.integer({ min: 2, max: 200 }),
    entries: fc.array(entry, { maxLength: 20 }),
  }),
}

const nonce = fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('hex') as Nonce)
const packetOf = (message: fc.Arbitrary<WireMessage>): fc.Arbitrary<Packet> =>
  fc.record({
    sender: text(253).map(nodeId),
    incarnation: text(253).map(incarnation),
    senderNonce: nonce,
    receiverNonce: nonce,
    counter: count,
    path: text(32),
    message,
  })
const anyPacket = packetOf(fc.oneof(...Object.values(messages)))

function bytesOf(packet: Packet): Buffer {
  const encoded = encodePacket(packet, b1, key)
  if (!encoded.isWhole) throw new Error(encoded.reason)
  return encoded.bytes
}

const sample: Packet = {
  sender: nodeId('a1'),
  incarnation: incarnation('a1-life'),
  senderNonce: '1111111111111111' as Nonce,
  receiverNonce: '2222222222222222' as Nonce,
  counter: 5,
  path: 'node',
  message: { kind: 'ack', sequence: 9, epoch: epoch(2), digest: '00ff' },
}

const refusalOf = (bytes: Buffer, receiver = b1, keys = [key]): PacketRefusal | 'taken' => {
  const decoded = decodePacket(bytes, receiver, keys)
  return decoded.isTaken ? 'taken' : decoded.refusal
}

describe('a packet', () => {
  test.each(Object.keys(messages) as WireKind[])('with a %s comes out as it went in', (kind) => {
    fc.assert(
      fc.property(packetOf(messages[kind]), (packet) => {
        expect(decodePacket(bytesOf(packet), b1, [oldKey, key])).toEqual({ isTaken: true, packet })
      }),
      { numRuns: 40 },
    )
  })

  test('has a type byte of its own for every message', () => {
    expect(new Set(Object.values(TYPE_OF)).size).toBe(Object.keys(messages).length)
  })

  test('keeps the digest of the membership in it', () => {
    fc.assert(
      fc.property(membership, (value) => {
        const decoded = decodePacket(bytesOf({ ...sample, message: { kind: 'learn', membership: value } }), b1, [key])
        expect(decoded.isTaken && decoded.packet.message.kind === 'learn' && digestOf(decoded.packet.message.membership)).toBe(
          digestOf(value),
        )
      }),
      { numRuns: 30 },
    )
  })

  test('with any bit flipped is refused', () => {
    const whole = bytesOf(sample)
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const flipped = Buffer.from(whole)
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      expect(refusalOf(flipped)).not.toBe('taken')
    }
  })

  test('cut anywhere, or with more after it, is refused', () => {
    const whole = bytesOf(sample)
    for (let length = 0; length < whole.length; length++) expect(refusalOf(whole.subarray(0, length))).not.toBe('taken')
    expect(refusalOf(Buffer.concat([whole, Buffer.alloc(1)]))).toBe('length')
  })

  test('is refused by any other node, and without its key', () => {
    expect(refusalOf(bytesOf(sample), nodeId('b2'))).toBe('authentication')
    expect(refusalOf(bytesOf(sample), b1, [oldKey])).toBe('key')
    expect(refusalOf(bytesOf(sample), b1, [])).toBe('key')
  })

  test('names why it is refused', () => {
    const changed = (at: number, value: number) => {
      const bytes = Buffer.from(bytesOf(sample))
      bytes.writeUInt8(value, at)
      return refusalOf(bytes)
    }
    expect([refusalOf(Buffer.alloc(20)), changed(0, 0), changed(2, 2), changed(30, 0), changed(4, 0), changed(3, 1)]).toEqual([
      'short',
      'magic',
      'version',
      'length',
      'key',
      'authentication',
    ])
  })

  test('of any bytes at all is a packet or a reason, never an exception', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 400 }),
          fc.uint8Array({ maxLength: 300 }).map((tail) => Uint8Array.from([0x52, 0x46, 1, ...tail])),
        ),
        (bytes) => {
          expect(refusalOf(Buffer.from(bytes))).not.toBe('taken')
        },
      ),
      { numRuns: 500 },
    )
  })

  test('too large for a datagram is not made', () => {
    const noisy = Array.from({ length: 2000 }, (_, index) => ({
      node: nodeId(`${index}-${digestOf(clusterOf(1 + (index % 7)))}${'x'.repeat(30)}`),
      ackedAgoMs: index,
      installedAgoMs: index,
      watchdogMs: null,
    }))
    expect(encodePacket({ ...sample, message: { kind: 'doors', epoch: epoch(1), doors: noisy } }, b1, key)).toEqual({
      isWhole: false,
      reason: 'too-large',
    })
  })

  test('carries the membership of a thousand nodes', () => {
    expect(bytesOf({ ...sample, message: { kind: 'learn', membership: clusterOf(1000) } }).length).toBeLessThan(LARGEST_PAYLOAD / 2)
  })

  test('of six nodes fits one frame of Ethernet', () => {
    expect(
      bytesOf({
        ...sample,
        message: {
          kind: 'prepare',
          ballot: { round: 1, node: b1, incarnation: incarnation('x') },
          proposal: clusterOf(6),
          isFinishing: false,
        },
      }).length,
    ).toBeLessThan(1400)
  })
})

describe('a payload that is signed but wrong', () => {
  /** A packet whose payload was exchanged by someone who has the key. */
  function signed(kind: WireKind, payload: Buffer): Buffer {
    // An ack's payload is replaced through a message that encodes to nothing: header and HMAC are made by the same code as ever.
    const stand = { kind: 'hello' } as WireMessage
    const encoded = encodePacket({ ...sample, message: stand }, b1, key)
    if (!encoded.isWhole) throw new Error(encoded.reason)
    const body = encoded.bytes.subarray(0, -32)
    const unsigned = Buffer.concat([body, payload])
    unsigned.writeUInt8(TYPE_OF[kind], 3)
    unsigned.writeUInt16BE(payload.length, 34)
    return Buffer.concat([unsigned, hmac(unsigned)])
  }

  function hmac(bytes: Buffer): Buffer {
    return createHmac('sha256', key.secret).update('roomfence packet 1').update(Uint8Array.of(2)).update('b1').update(bytes).digest()
  }

  const json = (value: unknown) => deflateRawSync(typeof value === 'string' ? value : JSON.stringify(value))
  const learn = { kind: 'learn', membership: clusterOf(2) }

  test('is a packet again with the right payload, so that the cases below test what they say', () => {
    expect(refusalOf(signed('learn', json(learn)))).toBe('taken')
    expect(refusalOf(signed('hello', Buffer.alloc(0)))).toBe('taken')
  })

  test.each<[string, WireKind, Buffer]>([
    ['bytes left over', 'hello', Buffer.alloc(1)],
    ['nothing in it', 'heartbeat', Buffer.alloc(0)],
    ['JSON that is none', 'learn', json('{')],
    ['JSON of another kind', 'learn', json({ ...learn, kind: 'want' })],
    ['an unknown field', 'learn', json({ ...learn, more: 1 })],
    ['an unknown field deep inside', 'learn', json({ ...learn, membership: { ...learn.membership, more: 1 } })],
    ['__proto__ as a field', 'learn', json(JSON.stringify(learn).replace('{', '{"__proto__":{"isFinishing":true},'))],
    ['a missing field', 'learn', json({ kind: 'learn', membership: { ...learn.membership, fenceVotes: undefined } })],
    [
      'members out of order',
      'learn',
      json({ ...learn, membership: { ...learn.membership, members: learn.membership.members.toReversed() } }),
    ],
    [
      'a member twice',
      'learn',
      json({ ...learn, membership: { ...learn.membership, members: [learn.membership.members[0], learn.membership.members[0]] } }),
    ],
    ['a negative epoch in a membership', 'learn', json({ ...learn, membership: { ...learn.membership, epoch: -1 } })],
    ['JSON that was not deflated', 'learn', Buffer.from(JSON.stringify(learn))],
    ['a bomb that inflates without end', 'learn', json(`${' '.repeat(3_000_000)}${JSON.stringify(learn)}`)],
  ])('is refused as such: %s', (_, kind, payload) => {
    expect(refusalOf(signed(kind, payload))).toBe('payload')
  })

  test('of any bytes at all is a message or refused', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...(Object.keys(messages) as WireKind[])),
        fc.uint8Array({ maxLength: 200 }),
        fc.boolean(),
        (kind, bytes, isDeflated) => {
          const payload = isDeflated ? deflateRawSync(bytes) : Buffer.from(bytes)
          expect(['taken', 'payload']).toContain(refusalOf(signed(kind, payload)))
        },
      ),
      { numRuns: 500 },
    )
  })

  test('mutated from a real one is a message or refused', () => {
    fc.assert(
      fc.property(anyPacket, fc.nat(), fc.nat(255), (packet, at, value) => {
        const whole = bytesOf(packet)
        const head = 36 + Buffer.byteLength(packet.sender) + Buffer.byteLength(packet.incarnation) + Buffer.byteLength(packet.path)
        const payload = Buffer.from(whole.subarray(head, -32))
        if (payload.length > 0) payload.writeUInt8(value, at % payload.length)
        expect(['taken', 'payload']).toContain(refusalOf(signed(packet.message.kind, payload)))
      }),
      { numRuns: 300 },
    )
  })
})

describe('a membership from outside', () => {
  test('is taken as it is and not as a copy in another order', () => {
    const value: unknown = JSON.parse(JSON.stringify(clusterOf(3)))
    expect(parseMembership(value)).toBe(value)
  })

  test('names the first wrong field', () => {
    expect(() => parseMembership({ ...clusterOf(1), witness: { incarnation: 'w' } })).toThrow('membership: witness.isVoting: invalid_type')
  })
})

describe('docs/wire-format.md', () => {
  const page = () => readFileSync(join(import.meta.dirname, '../../docs/wire-format.md'), 'utf8')

  test('has the type byte of every message', () => {
    for (const [kind, type] of Object.entries(TYPE_OF)) expect(page()).toContain(`| ${type} | \`${kind}\` |`)
  })

  test('has the same header table as wire.ts', () => {
    const rows = readFileSync(join(import.meta.dirname, 'wire.ts'), 'utf8').match(/(?<=^ \* )\| .*\|$/gm) ?? []
    expect(rows.length).toBeGreaterThan(12)
    for (const row of rows) expect(page()).toContain(row)
  })
})
