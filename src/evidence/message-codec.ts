/**
 * The payload of a packet: one message (docs/wire-format.md, "Payloads"). What is sent all the time, or decides in a hurry, is fixed binary;
 * what carries a membership is deflated JSON, checked strictly. Decoding throws `MalformedBytes` or an Error of the schema; wire.ts turns both into
 * a refusal. Pure.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import * as z from 'zod/mini'
import { type BootId, type Epoch, epoch, incarnation, nodeId } from '../protocol/ids.ts'
import type { Ballot, DoorStatement, Message, Statement } from '../protocol/messages.ts'
import { decodedUtf8, MalformedBytes, type ByteReader, reader, type ByteWriter, writer } from './bytes.ts'
import { acceptedSchema, addressSchema, ballotSchema, check, membershipSchema } from './membership-schema.ts'
import { MOST_PAGES, type StorageEntry, type StorageReport } from './storage-report.ts'

/** Says nothing but the header's nonces: two peers learn each other's before anything counts. */
export interface Hello {
  readonly kind: 'hello'
}

export type WireMessage = Message | StorageReport | Hello
export type WireKind = WireMessage['kind']

/** The type byte of each message. Numbers are never used again for something else. */
export const TYPE_OF: { readonly [K in WireKind]: number } = {
  heartbeat: 1,
  ack: 2,
  want: 3,
  consent: 4,
  'ask-doors': 5,
  doors: 6,
  learn: 7,
  prepare: 8,
  promise: 9,
  accept: 10,
  accepted: 11,
  refusal: 12,
  join: 13,
  hello: 14,
  'storage-report': 15,
}

const KIND_OF: ReadonlyMap<number, WireKind> = new Map(Object.entries(TYPE_OF).map(([kind, type]) => [type, kind as WireKind]))
export const kindOf = (type: number): WireKind | undefined => KIND_OF.get(type)

const NO_WATCHDOG = -1
const MOST_DOORS = 2000
/** Two memberships of two thousand nodes; what inflates to more is refused while it inflates. */
const LARGEST_JSON = 2_000_000

function flagsOf(...flags: readonly boolean[]): number {
  return flags.reduce((bits, flag, index) => bits | (flag ? 1 << index : 0), 0)
}

function flagsFrom(byte: number, width: number): (index: number) => boolean {
  if (byte >> width !== 0) throw new MalformedBytes('unknown flags')
  return (index) => (byte & (1 << index)) !== 0
}

function atLeast(value: number, least: number): number {
  if (value < least) throw new MalformedBytes(`${value} is less than ${least}`)
  return value
}

function writeStatement(out: ByteWriter, statement: Statement): void {
  out.text(statement.bootId)
  out.count(statement.watchdogMs ?? NO_WATCHDOG)
  out.count(statement.killedEpoch)
  out.count(statement.witnessVersion)
  out.byte(flagsOf(statement.isInSync, statement.isLeaving, statement.isApiReachable, statement.isDryRun))
}

function readStatement(from: ByteReader): Statement {
  const bootId = from.text() as BootId
  const watchdogMs = atLeast(from.count(), NO_WATCHDOG)
  const killedEpoch = atLeast(from.count(), -1)
  const witnessVersion = atLeast(from.count(), -1)
  const flag = flagsFrom(from.byte(), 4)
  return {
    bootId,
    watchdogMs: watchdogMs === NO_WATCHDOG ? null : watchdogMs,
    killedEpoch,
    isInSync: flag(0),
    witnessVersion,
    isLeaving: flag(1),
    isApiReachable: flag(2),
    isDryRun: flag(3),
  }
}

const readEpoch = (from: ByteReader): Epoch => epoch(atLeast(from.count(), -1))

function writeBallot(out: ByteWriter, ballot: Ballot): void {
  out.count(ballot.round)
  out.text(ballot.node)
  out.text(ballot.incarnation)
}

const readBallot = (from: ByteReader): Ballot => ({
  round: atLeast(from.count(), 0),
  node: nodeId(from.text()),
  incarnation: incarnation(from.text()),
})

function writeDoors(out: ByteWriter, doors: readonly DoorStatement[]): void {
  if (doors.length > MOST_DOORS) throw new MalformedBytes(`${doors.length} doors`)
  out.short(doors.length)
  for (const door of doors) {
    out.text(door.node)
    // Infinity would be no statement at all, and less than nothing is only rounding.
    out.real(Math.max(0, door.ackedAgoMs))
    out.real(Math.max(0, door.installedAgoMs))
    out.count(door.watchdogMs ?? NO_WATCHDOG)
  }
}

function readDoors(from: ByteReader): readonly DoorStatement[] {
  return Array.from({ length: from.short() }, () => {
    const node = nodeId(from.text())
    const ackedAgoMs = atLeast(from.real(), 0)
    const installedAgoMs = atLeast(from.real(), 0)
    const watchdogMs = atLeast(from.count(), NO_WATCHDOG)
    return { node, ackedAgoMs, installedAgoMs, watchdogMs: watchdogMs === NO_WATCHDOG ? null : watchdogMs }
  })
}

function writeEntry(out: ByteWriter, entry: StorageEntry): void {
  out.text(entry.resource)
  out.text(entry.peer)
  out.short(
    flagsOf(
      entry.ownUpToDate,
      entry.isPrimary,
      entry.isFrozen,
      entry.isConnected,
      entry.peerUpToDate,
      entry.hasFreezeMode,
      entry.isUnlocked,
      entry.isCutByForce,
      entry.isClient,
    ),
  )
}

function readEntry(from: ByteReader): StorageEntry {
  const resource = from.text()
  const peer = from.text()
  const flag = flagsFrom(from.short(), 9)
  return {
    resource,
    peer,
    ownUpToDate: flag(0),
    isPrimary: flag(1),
    isFrozen: flag(2),
    isConnected: flag(3),
    peerUpToDate: flag(4),
    hasFreezeMode: flag(5),
    isUnlocked: flag(6),
    isCutByForce: flag(7),
    isClient: flag(8),
  }
}

function readReport(from: ByteReader): StorageReport {
  const reportEpoch = readEpoch(from)
  const sequence = atLeast(from.count(), 0)
  const page = from.short()
  const pages = from.short()
  if (pages < 1 || pages > MOST_PAGES || page >= pages) throw new MalformedBytes(`page ${page} of ${pages}`)
  const entries = Array.from({ length: from.short() }, () => readEntry(from))
  return { kind: 'storage-report', epoch: reportEpoch, sequence, page, pages, entries }
}

const count = z.int().check(z.nonnegative(), z.maximum(2 ** 47 - 1))

const jsonSchemas = {
  learn: z.strictObject({ kind: z.literal('learn'), membership: membershipSchema }),
  prepare: z.strictObject({ kind: z.literal('prepare'), ballot: ballotSchema, proposal: membershipSchema, isFinishing: z.boolean() }),
  promise: z.strictObject({ kind: z.literal('promise'), ballot: ballotSchema, epoch: count, accepted: z.nullable(acceptedSchema) }),
  accept: z.strictObject({ kind: z.literal('accept'), ballot: ballotSchema, membership: membershipSchema }),
  refusal: z.strictObject({
    kind: z.literal('refusal'),
    ballot: ballotSchema,
    epoch: z.int().check(z.minimum(-1)),
    reason: z.discriminatedUnion('code', [
      z.strictObject({ code: z.literal('ballot'), promised: ballotSchema }),
      z.strictObject({ code: z.literal('veto'), text: z.string().check(z.maxLength(2000)) }),
      z.strictObject({ code: z.literal('epoch'), epoch: z.int().check(z.minimum(-1)) }),
    ]),
  }),
  join: z.strictObject({
    kind: z.literal('join'),
    room: z.string().check(z.minLength(1), z.maxLength(253)),
    addresses: z.array(addressSchema).check(z.maxLength(8)),
  }),
} as const

type JsonKind = keyof typeof jsonSchemas

const isJson = (kind: WireKind): kind is JsonKind => Object.hasOwn(jsonSchemas, kind)

/** @throws MalformedBytes when the message holds what the wire cannot carry. */
export function encodeMessage(message: WireMessage): Buffer {
  const out = writer()
  switch (message.kind) {
    case 'heartbeat':
      out.count(message.sequence)
      out.count(message.epoch)
      out.text(message.digest)
      writeStatement(out, message.statement)
      break
    case 'ack':
      out.count(message.sequence)
      out.count(message.epoch)
      out.text(message.digest)
      break
    case 'want':
    case 'ask-doors':
      out.count(message.epoch)
      break
    case 'consent':
      writeStatement(out, message.statement)
      break
    case 'doors':
      out.count(message.epoch)
      writeDoors(out, message.doors)
      break
    case 'accepted':
      writeBallot(out, message.ballot)
      out.count(message.epoch)
      break
    case 'storage-report':
      out.count(message.epoch)
      out.count(message.sequence)
      out.short(message.page)
      out.short(message.pages)
      out.short(message.entries.length)
      for (const entry of message.entries) writeEntry(out, entry)
      break
    case 'hello':
      break
    case 'learn':
    case 'prepare':
    case 'promise':
    case 'accept':
    case 'refusal':
    case 'join':
      // Small enough for one frame of Ethernet in most clusters: a fragment that is lost loses the whole packet.
      out.raw(deflateRawSync(JSON.stringify(message)))
      break
  }
  return out.bytes()
}

function decodeBinary(kind: Exclude<WireKind, JsonKind>, from: ByteReader): WireMessage {
  switch (kind) {
    case 'heartbeat':
      return { kind, sequence: atLeast(from.count(), 0), epoch: readEpoch(from), digest: from.text(), statement: readStatement(from) }
    case 'ack':
      return { kind, sequence: atLeast(from.count(), 0), epoch: readEpoch(from), digest: from.text() }
    case 'want':
    case 'ask-doors':
      return { kind, epoch: readEpoch(from) }
    case 'consent':
      return { kind, statement: readStatement(from) }
    case 'doors':
      return { kind, epoch: readEpoch(from), doors: readDoors(from) }
    case 'accepted':
      return { kind, ballot: readBallot(from), epoch: readEpoch(from) }
    case 'storage-report':
      return readReport(from)
    case 'hello':
      break
  }
  return { kind }
}

/** @throws MalformedBytes, or an Error that names the wrong field. */
export function decodeMessage(kind: WireKind, payload: Buffer): WireMessage {
  if (isJson(kind)) {
    const value: unknown = JSON.parse(decodedUtf8(inflateRawSync(payload, { maxOutputLength: LARGEST_JSON })))
    check(jsonSchemas[kind], value, kind)
    return value as WireMessage
  }
  const from = reader(payload)
  const message = decodeBinary(kind, from)
  from.end()
  return message
}
