/**
 * One authenticated packet (docs/wire-format.md). All numbers big-endian.
 *
 * | offset | size | field |
 * |---|---|---|
 * | 0 | 2 | magic `RF` |
 * | 2 | 1 | version, 1 |
 * | 3 | 1 | message type |
 * | 4 | 4 | key id: first bytes of SHA-256("roomfence key id" and the key) |
 * | 8 | 8 | boot nonce of the sender: random in each life of its process |
 * | 16 | 8 | boot nonce of the receiver as the sender last heard it; zeros: never |
 * | 24 | 6 | counter: up from 1 for each packet of this nonce to this receiver |
 * | 30 | 1 | length S of the sender's node name, 1 to 253 |
 * | 31 | 1 | length I of the sender's incarnation, 1 to 253 |
 * | 32 | 1 | length P of the path's name, 1 to 32 |
 * | 33 | 1 | 0 |
 * | 34 | 2 | length L of the payload |
 * | 36 | S + I + P + L | sender, incarnation, path, payload |
 * | end - 32 | 32 | HMAC-SHA256 over "roomfence packet 1", the receiver's node name with a length byte before it, and all bytes above |
 *
 * The receiver's name is in the HMAC and not in the packet: one that is sent on to another node does not verify there. Pure.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { incarnation as incarnationOf, type Incarnation, type NodeId, nodeId } from '../protocol/ids.ts'
import { decodedUtf8 } from './bytes.ts'
import { decodeMessage, encodeMessage, kindOf, TYPE_OF, type WireMessage } from './message-codec.ts'

const VERSION = 1
/** What a UDP datagram can carry. A membership of a thousand nodes deflates to about half of it. */
export const LARGEST_PAYLOAD = 60_000
const HEADER = 36
const MAC = 32
export const NONCE_BYTES = 8

export interface Key {
  readonly id: number
  readonly secret: Buffer
}

export const keyOf = (secret: Buffer): Key => ({
  id: createHash('sha256').update('roomfence key id').update(secret).digest().readUInt32BE(0),
  secret,
})

/** Eight bytes as 16 hexadecimal digits. */
export type Nonce = string & { readonly __brand: 'Nonce' }
export const NO_NONCE = '0000000000000000' as Nonce

export interface Packet {
  readonly sender: NodeId
  readonly incarnation: Incarnation
  readonly senderNonce: Nonce
  readonly receiverNonce: Nonce
  readonly counter: number
  readonly path: string
  readonly message: WireMessage
}

/** Why a packet was not taken, in the order in which it is looked at. */
export type PacketRefusal = 'short' | 'magic' | 'version' | 'length' | 'key' | 'authentication' | 'type' | 'payload'

export type Decoded = { readonly isTaken: true; readonly packet: Packet } | { readonly isTaken: false; readonly refusal: PacketRefusal }

export type Encoded =
  | { readonly isWhole: true; readonly bytes: Buffer }
  | { readonly isWhole: false; readonly reason: 'too-large' | 'not-encodable' }

function macOf(key: Key, receiver: NodeId, signed: Buffer): Buffer {
  const name = Buffer.from(receiver, 'utf8')
  return createHmac('sha256', key.secret)
    .update('roomfence packet 1')
    .update(Uint8Array.of(name.length))
    .update(name)
    .update(signed)
    .digest()
}

export function encodePacket(packet: Packet, receiver: NodeId, key: Key): Encoded {
  let payload: Buffer
  try {
    payload = encodeMessage(packet.message)
  } catch {
    return { isWhole: false, reason: 'not-encodable' }
  }
  if (payload.length > LARGEST_PAYLOAD) return { isWhole: false, reason: 'too-large' }
  const names = [packet.sender, packet.incarnation, packet.path].map((name) => Buffer.from(name, 'utf8'))
  if (names.some((name) => name.length < 1 || name.length > 253)) return { isWhole: false, reason: 'not-encodable' }
  const header = Buffer.alloc(HEADER)
  header.write('RF', 0, 'latin1')
  header.writeUInt8(VERSION, 2)
  header.writeUInt8(TYPE_OF[packet.message.kind], 3)
  header.writeUInt32BE(key.id, 4)
  header.write(packet.senderNonce, 8, NONCE_BYTES, 'hex')
  header.write(packet.receiverNonce, 16, NONCE_BYTES, 'hex')
  header.writeUIntBE(packet.counter, 24, 6)
  names.forEach((name, index) => header.writeUInt8(name.length, 30 + index))
  header.writeUInt16BE(payload.length, 34)
  const signed = Buffer.concat([header, ...names, payload])
  return { isWhole: true, bytes: Buffer.concat([signed, macOf(key, receiver, signed)]) }
}

/** Total: any bytes at all are a packet for `receiver` or a reason. Nothing of the payload is read before the HMAC holds. */
export function decodePacket(bytes: Buffer, receiver: NodeId, keys: readonly Key[]): Decoded {
  const refuse = (refusal: PacketRefusal): Decoded => ({ isTaken: false, refusal })
  if (bytes.length < HEADER + MAC + 3) return refuse('short')
  if (bytes.toString('latin1', 0, 2) !== 'RF') return refuse('magic')
  if (bytes.readUInt8(2) !== VERSION) return refuse('version')
  const nameLengths = [bytes.readUInt8(30), bytes.readUInt8(31), bytes.readUInt8(32)]
  const payloadLength = bytes.readUInt16BE(34)
  const end = nameLengths.reduce((at, length) => at + length, HEADER) + payloadLength
  if (end + MAC !== bytes.length || payloadLength > LARGEST_PAYLOAD || nameLengths.includes(0)) return refuse('length')
  const keyId = bytes.readUInt32BE(4)
  const key = keys.find(({ id }) => id === keyId)
  if (!key) return refuse('key')
  if (!timingSafeEqual(macOf(key, receiver, bytes.subarray(0, end)), bytes.subarray(end))) return refuse('authentication')
  const kind = kindOf(bytes.readUInt8(3))
  if (kind === undefined || bytes.readUInt8(33) !== 0) return refuse('type')
  try {
    let at = HEADER
    const [sender = '', incarnation = '', path = ''] = nameLengths.map((length) => {
      at += length
      return decodedUtf8(bytes.subarray(at - length, at))
    })
    const message = decodeMessage(kind, bytes.subarray(at, end))
    return {
      isTaken: true,
      packet: {
        sender: nodeId(sender),
        incarnation: incarnationOf(incarnation),
        senderNonce: bytes.toString('hex', 8, 16) as Nonce,
        receiverNonce: bytes.toString('hex', 16, 24) as Nonce,
        counter: bytes.readUIntBE(24, 6),
        path,
        message,
      },
    }
  } catch {
    // Signed by someone who has the key: another version of roomfence, or a bug; never an attacker's way to stop this agent.
    return refuse('payload')
  }
}
