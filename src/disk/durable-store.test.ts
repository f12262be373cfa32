import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DurableError } from './durable-error.ts'
import { type Disk, openDurableStore } from './durable-store.ts'
import { decodeStateFile, encodeStateFile } from './state-file.ts'

interface State {
  readonly promised: number
}

function parse(value: unknown): State {
  if (typeof value !== 'object' || value === null || !('promised' in value) || typeof value.promised !== 'number')
    throw new Error('promised: no number')
  return { promised: value.promised }
}

let directory = ''
beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), 'roomfence-disk-')), 'state')
})
afterEach(() => rmSync(join(directory, '..'), { recursive: true, force: true }))

const openHere = (disk?: Disk) => openDurableStore({ directory, name: 'agent', parse, ...(disk && { disk }) })
const stateFile = () => join(directory, 'agent.state')

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt
  } catch (error) {
    if (error instanceof DurableError) return error.code
    throw error
  }
  return 'none'
}

async function saved(...values: number[]): Promise<void> {
  const store = await openHere()
  for (const promised of values) await store.save({ promised })
  await store.close()
}

describe('a durable store', () => {
  test('is empty in a directory that never held a value', async () => {
    const store = await openHere()
    expect(store.loaded).toEqual({ kind: 'empty' })
    await store.close()
  })

  test('gives back the value saved last', async () => {
    await saved(1, 2, 3)
    const store = await openHere()
    expect(store.loaded).toEqual({ kind: 'value', value: { promised: 3 }, generation: 3 })
    await store.close()
  })

  test('keeps the generation before, for people', async () => {
    await saved(1, 2)
    expect(decodeStateFile(readFileSync(join(directory, 'agent.previous')))).toMatchObject({ generation: 1, value: { promised: 1 } })
  })

  test('carries out saves in the order they were asked for', async () => {
    const store = await openHere()
    await Promise.all(Array.from({ length: 20 }, (_, promised) => store.save({ promised })))
    await store.close()
    expect(decodeStateFile(readFileSync(stateFile()))).toMatchObject({ generation: 20, value: { promised: 19 } })
  })

  test('that lost its file says lost, never empty', async () => {
    await saved(1)
    unlinkSync(stateFile())
    expect(await codeOf(openHere())).toBe('lost')
    unlinkSync(join(directory, 'agent.exists'))
    const store = await openHere()
    expect(store.loaded.kind).toBe('empty')
    await store.close()
  })

  test('does not fall back to the generation before: it lacks promises', async () => {
    await saved(1, 2)
    unlinkSync(join(directory, 'agent.exists'))
    unlinkSync(stateFile())
    expect(await codeOf(openHere())).toBe('lost')
  })

  test('torn at any byte says corrupt', async () => {
    await saved(1, 2)
    const whole = readFileSync(stateFile())
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(stateFile(), whole.subarray(0, length))
      expect(await codeOf(openHere())).toBe('corrupt')
    }
    truncateSync(stateFile(), whole.length + 4096)
    expect(await codeOf(openHere())).toBe('corrupt')
  })

  test('names the file and the next step of a corrupt state', async () => {
    await saved(1)
    writeFileSync(stateFile(), 'x')
    await expect(openHere()).rejects.toThrow(/agent\.state: its header line is missing\. Next step: do not restore a backup/)
  })

  test('whose content its reader refuses says invalid', async () => {
    await saved(1)
    writeFileSync(stateFile(), encodeStateFile(2, { promised: 'much' }))
    expect(await codeOf(openHere())).toBe('invalid')
  })

  test('ignores a value that was only being written when power went', async () => {
    await saved(1)
    writeFileSync(join(directory, 'agent.new'), encodeStateFile(2, { promised: 2 }).subarray(0, 40))
    const store = await openHere()
    expect(store.loaded).toMatchObject({ value: { promised: 1 } })
    await store.close()
  })

  test('is held by one program at a time', async () => {
    const store = await openHere()
    expect(await codeOf(openHere())).toBe('locked')
    await store.close()
    expect(await codeOf(openHere().then((again) => again.close()))).toBe('none')
  })

  test('is free again when its holder was killed', async () => {
    const script = `import('${join(import.meta.dirname, 'durable-store.ts')}').then(async ({ openDurableStore }) => {
      const store = await openDurableStore({ directory: ${JSON.stringify(directory)}, name: 'agent', parse: (value) => value })
      await store.save({ promised: 7 }); console.log('holds'); setInterval(() => {}, 1000) })`
    const holder = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      await once(holder.stdout, 'data')
      expect(await codeOf(openHere())).toBe('locked')
    } finally {
      holder.kill('SIGKILL')
    }
    await once(holder, 'exit')
    const store = await openHere()
    expect(store.loaded).toMatchObject({ value: { promised: 7 } })
    await store.close()
    expect(existsSync(join(directory, 'lock'))).toBe(false)
  })

  test('refuses to save after it was closed', async () => {
    const store = await openHere()
    await store.close()
    await expect(store.save({ promised: 1 })).rejects.toThrow(DurableError)
  })
})

describe('a disk that fails', () => {
  /** Fails the n-th call to it with `errno`, and works otherwise. */
  function failing(at: number, errno: string): Disk {
    let calls = 0
    const fail = () => {
      calls += 1
      if (calls === at) throw Object.assign(new Error(errno), { code: errno })
    }
    return {
      open: async (file, flags, mode) => {
        fail()
        const handle = await open(file, flags, mode)
        return {
          writeFile: async (bytes) => {
            fail()
            return handle.writeFile(bytes)
          },
          sync: async () => {
            fail()
            return handle.sync()
          },
          close: () => handle.close(),
        }
      },
      rename: async (from, to) => {
        fail()
        return rename(from, to)
      },
    }
  }

  test('at any step leaves a whole value, the old or the new, and the next save holds', async () => {
    await saved(1)
    for (let step = 1; ; step++) {
      const store = await openHere(failing(step, 'EIO'))
      const before = store.loaded.kind === 'value' ? store.loaded.value.promised : -1
      const code = await codeOf(store.save({ promised: before + 1 }))
      expect([before, before + 1]).toContain((decodeStateFile(readFileSync(stateFile())) as { value: State }).value.promised)
      if (code === 'none') {
        expect(step).toBeGreaterThan(8)
        await store.close()
        break
      }
      expect(code).toBe('io')
      await store.save({ promised: before + 2 })
      await store.close()
      const again = await openHere()
      expect(again.loaded).toMatchObject({ value: { promised: before + 2 } })
      await again.close()
    }
  })

  test('on the very first save leaves an empty directory or a value, never a loss', async () => {
    for (let step = 1; step <= 9; step++) {
      const store = await openHere(failing(step, 'ENOSPC'))
      const code = await codeOf(store.save({ promised: step }))
      await store.close()
      expect(['no-space', 'none']).toContain(code)
      const again = await openHere()
      expect(['empty', 'value']).toContain(again.loaded.kind)
      await again.close()
      rmSync(directory, { recursive: true })
    }
  })

  test.each([
    ['ENOSPC', 'no-space'],
    ['EROFS', 'denied'],
    ['EIO', 'io'],
  ])('with %s says %s and keeps the cause', async (errno, code) => {
    const store = await openHere(failing(1, errno))
    await expect(store.save({ promised: 1 })).rejects.toMatchObject({ code, cause: { code: errno } })
    await store.close()
  })
})

describe('a record', () => {
  test('with any bit flipped is not sound', () => {
    const whole = encodeStateFile(12, { promised: 5, text: 'µ' })
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const flipped = Buffer.from(whole)
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      expect(decodeStateFile(flipped).isSound).toBe(false)
    }
  })

  test('comes back as it was written', () => {
    fc.assert(
      fc.property(fc.nat(), fc.jsonValue(), (generation, value) => {
        expect(decodeStateFile(encodeStateFile(generation, value))).toEqual({
          isSound: true,
          generation,
          value: JSON.parse(JSON.stringify(value)),
        })
      }),
    )
  })

  test('is told from any other bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(decodeStateFile(Buffer.from(bytes)).isSound).toBe(false)
      }),
    )
  })
})
