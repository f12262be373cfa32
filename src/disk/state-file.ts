/**
 * The bytes of a durable file: one header line, then JSON. Pure.
 *
 *     roomfence-state 1 GENERATION LENGTH SHA256\n{...}
 *
 * GENERATION counts the saves, LENGTH is that of the JSON in bytes, SHA256 (hexadecimal) is over `GENERATION LENGTH\n` and the JSON.
 */
import { createHash } from 'node:crypto'

const MAGIC = 'roomfence-state'
const FORMAT = '1'

const checksum = (generation: number, body: Buffer): string =>
  createHash('sha256').update(`${generation} ${body.length}\n`).update(body).digest('hex')

export function encodeStateFile(generation: number, value: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(value), 'utf8')
  return Buffer.concat([Buffer.from(`${MAGIC} ${FORMAT} ${generation} ${body.length} ${checksum(generation, body)}\n`), body])
}

export type DecodedStateFile =
  | { readonly isSound: true; readonly generation: number; readonly value: unknown }
  | { readonly isSound: false; readonly seen: string }

/** Total: any bytes at all are a record or a word on what is wrong with them. */
export function decodeStateFile(bytes: Buffer): DecodedStateFile {
  const torn = (seen: string): DecodedStateFile => ({ isSound: false, seen })
  if (bytes.length === 0) return torn('the file is empty')
  const end = bytes.subarray(0, 200).indexOf(0x0a)
  if (end < 0) return torn('its header line is missing')
  const header = bytes.toString('latin1', 0, end)
  const match = /^roomfence-state (\d{1,4}) (\d{1,15}) (\d{1,10}) ([0-9a-f]{64})$/.exec(header)
  if (!match) return torn('its header line is not one of ours')
  if (match[1] !== FORMAT) return torn(`it has format ${match[1]}, this program reads ${FORMAT}`)
  const body = bytes.subarray(end + 1)
  const generation = Number(match[2])
  if (body.length !== Number(match[3])) return torn(`it should have ${match[3]} bytes after its header and has ${body.length}`)
  // Written the one way numbers are written: `007` would pass a looser check of flipped bits.
  if (header !== `${MAGIC} ${FORMAT} ${generation} ${body.length} ${checksum(generation, body)}`) return torn('its checksum does not match')
  try {
    return { isSound: true, generation, value: JSON.parse(body.toString('utf8')) }
  } catch {
    return torn('its checksum matches but it holds no JSON')
  }
}
