import { chmodSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { KeyError, type KeyRing, openKeyRing, readKey } from './keys.ts'

let folder = ''
let ring: KeyRing | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'roomfence-keys-'))
})
afterEach(() => {
  ring?.stop()
  rmSync(folder, { recursive: true })
})

const OLD = 'old-0123456789abcdef0123456789abcdef'
const NEW = 'new-0123456789abcdef0123456789abcdef'

function put(name: string, text: string, mode = 0o600): string {
  const file = join(folder, name)
  writeFileSync(file, text)
  chmodSync(file, mode)
  return file
}

describe('a key file', () => {
  test('is the same key with or without a line end after it', () => {
    expect(readKey(put('a', OLD)).id).toBe(readKey(put('b', `${OLD}\r\n`)).id)
  })

  test.each([
    ['unreadable', () => join(folder, 'none')],
    ['too-short', () => put('k', 'x'.repeat(31))],
    ['too-long', () => put('k', OLD.repeat(200))],
    ['too-plain', () => put('k', 'ab'.repeat(40))],
    ['too-open', () => put('k', OLD, 0o644)],
  ])('is refused when it is %s, without a word of the key', (code, file) => {
    const refused = (() => {
      try {
        return readKey(file())
      } catch (error) {
        return error
      }
    })()
    expect(refused).toBeInstanceOf(KeyError)
    expect(refused).toMatchObject({ code, message: expect.not.stringMatching(/abcdef|xxxx|abab/) })
  })
})

describe('a key ring', () => {
  test('signs with the present key and believes the one before', () => {
    ring = openKeyRing({ file: put('k', NEW), previousFile: put('p', OLD) }, () => undefined)
    expect(ring.current().id).toBe(readKey(put('x', NEW)).id)
    expect(ring.accepted().length).toBe(2)
  })

  test('without a previous key, or with an empty one, believes one alone', () => {
    ring = openKeyRing({ file: put('k', NEW), previousFile: join(folder, 'none') }, () => undefined)
    expect(ring.accepted().length).toBe(1)
    ring.stop()
    ring = openKeyRing({ file: put('k', NEW), previousFile: put('p', '') }, () => undefined)
    expect(ring.accepted().length).toBe(1)
  })

  test('believes a replaced key a little longer, and not for ever', () => {
    let nowMs = 0
    ring = openKeyRing(
      { file: put('k', OLD) },
      () => undefined,
      () => nowMs,
    )
    const old = ring.current().id
    put('k', NEW)
    ring.reload()
    expect(ring.current().id).not.toBe(old)
    expect(ring.accepted().map(({ id }) => id)).toContain(old)
    nowMs = 31_000
    expect(ring.accepted().map(({ id }) => id)).not.toContain(old)
  })

  test('keeps its keys when the files cannot be read, and says so', () => {
    const problems: string[] = []
    ring = openKeyRing({ file: put('k', NEW), previousFile: put('p', OLD) }, (problem) => problems.push(problem))
    const before = ring.accepted().map(({ id }) => id)
    unlinkSync(join(folder, 'k'))
    put('p', 'short')
    ring.reload()
    expect(ring.accepted().map(({ id }) => id)).toEqual(before)
    expect(problems).toEqual([expect.stringContaining('ENOENT'), expect.stringContaining('5 bytes')])
  })
})
