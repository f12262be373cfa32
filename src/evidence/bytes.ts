/** Big-endian numbers and short texts, written and read in order. Reading past the end or a bad text ends in `MalformedBytes`. Pure. */

/** Thrown and caught inside this folder: decoding as a whole is total. */
export class MalformedBytes extends Error {
  override readonly name = 'MalformedBytes'
}

/** 47 bits: what six bytes hold with a sign. */
const LARGEST_COUNT = 2 ** 47 - 1

export interface ByteWriter {
  byte(value: number): void
  short(value: number): void
  /** A whole number within 47 bits, sign included. */
  count(value: number): void
  real(value: number): void
  /** At most 255 bytes of UTF-8. */
  text(value: string): void
  raw(value: Uint8Array): void
  bytes(): Buffer
}

export function writer(): ByteWriter {
  const parts: Uint8Array[] = []
  const sized = (size: number, fill: (part: Buffer) => void) => {
    const part = Buffer.alloc(size)
    fill(part)
    parts.push(part)
  }
  return {
    byte: (value) => sized(1, (part) => part.writeUInt8(value)),
    short: (value) => sized(2, (part) => part.writeUInt16BE(value)),
    count: (value) => {
      if (!Number.isSafeInteger(value) || Math.abs(value) > LARGEST_COUNT) throw new MalformedBytes(`no count: ${value}`)
      sized(6, (part) => part.writeIntBE(value, 0, 6))
    },
    real: (value) => {
      if (!Number.isFinite(value)) throw new MalformedBytes(`no real number: ${value}`)
      sized(8, (part) => part.writeDoubleBE(value))
    },
    text: (value) => {
      const utf8 = Buffer.from(value, 'utf8')
      if (utf8.length > 255) throw new MalformedBytes(`a text of ${utf8.length} bytes`)
      parts.push(Uint8Array.of(utf8.length), utf8)
    },
    raw: (value) => void parts.push(value),
    bytes: () => Buffer.concat(parts),
  }
}

export interface ByteReader {
  byte(): number
  short(): number
  count(): number
  real(): number
  text(): string
  raw(size: number): Buffer
  rest(): Buffer
  /** Nothing may be left over: one message has one encoding. */
  end(): void
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function decodedUtf8(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    throw new MalformedBytes('no UTF-8')
  }
}

export function reader(bytes: Buffer): ByteReader {
  let at = 0
  const raw = (size: number): Buffer => {
    if (at + size > bytes.length) throw new MalformedBytes('too short')
    at += size
    return bytes.subarray(at - size, at)
  }
  return {
    byte: () => raw(1).readUInt8(),
    short: () => raw(2).readUInt16BE(),
    count: () => raw(6).readIntBE(0, 6),
    real: () => {
      const value = raw(8).readDoubleBE()
      if (!Number.isFinite(value)) throw new MalformedBytes('no finite number')
      return value
    },
    text: () => decodedUtf8(raw(raw(1).readUInt8())),
    raw,
    rest: () => raw(bytes.length - at),
    end: () => {
      if (at !== bytes.length) throw new MalformedBytes('bytes left over')
    },
  }
}
