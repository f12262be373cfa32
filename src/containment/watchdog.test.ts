/** A FIFO stands for the device: what is written to it can be read back. */
import { spawnSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { reboot } from './reboot.ts'
import { openWatchdog, type Watchdog } from './watchdog.ts'

let folder = ''
let device = ''
let reader = -1

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'roomfence-watchdog-'))
  device = join(folder, 'watchdog')
  spawnSync('mkfifo', [device])
  reader = openSync(device, constants.O_RDONLY | constants.O_NONBLOCK)
  writeFileSync(join(folder, 'timeout'), '5\n')
})
afterEach(() => {
  if (reader >= 0) closeSync(reader)
  rmSync(folder, { recursive: true, force: true })
})

const opened = (nowayout?: string): Watchdog => {
  const nowayoutFile = nowayout === undefined ? undefined : join(folder, 'nowayout')
  if (nowayoutFile !== undefined) writeFileSync(nowayoutFile, `${nowayout}\n`)
  const watchdog = openWatchdog({ kind: 'device', device, timeoutFile: join(folder, 'timeout'), nowayoutFile })
  if (watchdog === undefined) throw new Error('none')
  return watchdog
}
/** What was written since; undefined while it is open and silent, '' once it is closed. */
const received = (): string | undefined => {
  const buffer = Buffer.alloc(100)
  try {
    return buffer.toString('latin1', 0, readSync(reader, buffer))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined
    throw error
  }
}

describe('a watchdog', () => {
  test('is none where none is configured', () => {
    expect(openWatchdog({ kind: 'none' })).toBeUndefined()
  })

  test('is armed by opening it, and each pet is one byte that is not the magic one', () => {
    const watchdog = opened()
    expect([watchdog.timeoutMs, watchdog.mayDisarm]).toEqual([5000, true])
    expect(received()).toBeUndefined()
    expect([watchdog.pet(), watchdog.pet()]).toEqual([{ kind: 'written' }, { kind: 'written' }])
    expect(received()).toBe('\0\0')
    watchdog.abandon()
  })

  test('is disarmed by V and close, and left to bite by close alone', () => {
    const disarmed = opened()
    expect(disarmed.disarm()).toEqual({ kind: 'written' })
    expect([received(), received()]).toEqual(['V', ''])
    expect(disarmed.pet()).toMatchObject({ kind: 'failed', reason: expect.stringMatching(/is closed/) })
    const abandoned = opened()
    abandoned.pet()
    abandoned.abandon()
    abandoned.abandon()
    expect([received(), received()]).toEqual(['\0', ''])
  })

  test('with nowayout stays open and goes on being petted', () => {
    const watchdog = opened('1')
    expect(watchdog.disarm()).toMatchObject({ kind: 'failed', reason: expect.stringMatching(/nowayout/) })
    expect(received()).toBeUndefined()
    expect(watchdog.pet()).toEqual({ kind: 'written' })
    watchdog.abandon()
    expect(opened('0').disarm()).toEqual({ kind: 'written' })
  })

  test('reports a write that fails, and never waits for a reader', () => {
    const watchdog = opened()
    let last = watchdog.pet()
    for (let count = 0; last.kind === 'written' && count < 1_100_000; count += 1) last = watchdog.pet()
    expect(last).toMatchObject({ kind: 'failed', reason: expect.stringMatching(/EAGAIN/) })
    closeSync(reader)
    reader = -1
    expect(watchdog.pet()).toMatchObject({ kind: 'failed', reason: expect.stringMatching(/EPIPE.*reset in 5000 ms/) })
    watchdog.abandon()
  })

  test('that cannot be opened says why and what to do, and is not armed with an unknown timeout', () => {
    const at = (change: { device?: string; timeout?: string; timeoutFile?: string }) => () => {
      if (change.timeout !== undefined) writeFileSync(join(folder, 'timeout'), change.timeout)
      openWatchdog({ kind: 'device', device: change.device ?? device, timeoutFile: change.timeoutFile ?? join(folder, 'timeout') })
    }
    expect(at({ device: join(folder, 'none') })).toThrow(
      expect.objectContaining({ code: 'missing', message: expect.stringMatching(/softdog/) }),
    )
    expect(at({ device: folder })).toThrow(expect.objectContaining({ code: 'not-openable' }))
    expect(at({ timeoutFile: join(folder, 'none') })).toThrow(expect.objectContaining({ code: 'timeout-unknown' }))
    for (const timeout of ['', '0', '-5', '2.5', '5s']) expect(at({ timeout }), timeout).toThrow(/whole seconds from 1/)
    writeFileSync(join(folder, 'timeout'), '5')
    expect(() => opened('maybe')).toThrow(/must be 0 or 1/)
    // None of these has opened the device: a reader would see the end of a writer.
    expect(received()).toBe('')
    closeSync(reader)
    reader = -1
    expect(at({})).toThrow(expect.objectContaining({ code: 'missing' }))
  })
})

describe('a reboot', () => {
  const lines: string[] = []
  const order = (change: Partial<Parameters<typeof reboot>[0]>) => {
    lines.length = 0
    const configuration = { rebootMethod: 'sysrq' as const, rebootCommand: [], sysrqFile: join(folder, 'sysrq'), ...change }
    return reboot(configuration, 'vm-1 was not paused in time', (line) => lines.push(line))
  }

  test('writes b to the sysrq trigger, after saying so', async () => {
    writeFileSync(join(folder, 'sysrq'), '')
    expect(await order({})).toEqual({ kind: 'ordered' })
    expect(readFileSync(join(folder, 'sysrq'), 'utf8')).toBe('b')
    expect(lines).toEqual(['REBOOTING THIS NODE NOW (sysrq): vm-1 was not paused in time'])
  })

  test('runs the configured command', async () => {
    expect(await order({ rebootMethod: 'command', rebootCommand: ['/bin/sh', '-c', `echo now > ${folder}/rebooted`] })).toEqual({
      kind: 'ordered',
    })
    expect(readFileSync(join(folder, 'rebooted'), 'utf8')).toBe('now\n')
  })

  test('that cannot be ordered says so, and leaves it to the watchdog', async () => {
    const failures = [{}, { rebootMethod: 'none' as const }, { rebootMethod: 'command' as const }]
    const commands = [['/no/such/program'], ['/bin/false']].map((rebootCommand) => ({ rebootMethod: 'command' as const, rebootCommand }))
    for (const change of [...failures, ...commands]) {
      expect(await order(change), JSON.stringify(change)).toMatchObject({ kind: 'not-ordered' })
      expect(lines.at(-1)).toMatch(/REBOOT FAILED, the watchdog has to do it: ./)
    }
  })
})
