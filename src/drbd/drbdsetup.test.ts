/** The adapter against small shell programs that behave as drbdsetup was recorded to. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createDrbd, type Drbd, type DrbdConfiguration } from './drbdsetup.ts'
import { runProgram } from './program.ts'

const fixtures = join(import.meta.dirname, 'fixtures')
const clock = { nowMs: () => performance.now() }
let folder = ''
let open: Drbd[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'roomfence-drbd-'))
  writeFileSync(join(folder, 'proc'), 'version: 9.2.18')
  writeFileSync(join(folder, 'helper'), 'disabled\n')
})
afterEach(() => {
  for (const drbd of open) drbd.stop()
  open = []
  rmSync(folder, { recursive: true, force: true })
})

/** `$state` names the status fixture; events2 prints its dump and then whatever is put into `more`, until it is told to end. */
const program = (special = '') => {
  const path = join(folder, 'drbdsetup')
  writeFileSync(
    path,
    `#!/bin/sh
echo "$*" >> ${folder}/calls
${special}
case "$1" in
  status) cat ${fixtures}/$(cat ${folder}/state).txt ;;
  show) cat ${fixtures}/show-defaults.txt ;;
  events2)
    sed -n 1,18p ${fixtures}/cut.events2-9.22.txt
    echo "2026-11-23T06:32:32.177792+00:00 exists -"
    echo $$ > ${folder}/events2.pid
    while [ ! -e ${folder}/end ]; do
      if [ -e ${folder}/more ]; then cat ${folder}/more; rm ${folder}/more; fi
      sleep 0.05
    done
    rm ${folder}/end
    exit 20 ;;
esac
exit 0
`,
    { mode: 0o755 },
  )
  say('state', 'healthy.status-9.22')
  return path
}
const say = (file: string, text: string) => writeFileSync(join(folder, file), text)
const calls = () => (existsSync(join(folder, 'calls')) ? readFileSync(join(folder, 'calls'), 'utf8').split('\n') : [])
const drbdWith = (change: Partial<DrbdConfiguration>): Drbd => {
  const drbd = createDrbd(
    {
      program: join(folder, 'drbdsetup'),
      procDrbd: join(folder, 'proc'),
      usermodeHelperFile: join(folder, 'helper'),
      readEveryMs: 600_000,
      ...change,
    },
    clock,
  )
  open.push(drbd)
  return drbd
}
const until = (holds: () => void) => vi.waitFor(holds, { timeout: 30_000, interval: 20 })

describe('DRBD on this node', () => {
  test('is known with the time at which the reading began, its options and the helper', async () => {
    program()
    const before = clock.nowMs()
    const snapshot = await drbdWith({}).refresh()
    expect(snapshot).toMatchObject({ kind: 'known', usermodeHelper: 'disabled', problems: [] })
    if (snapshot.kind !== 'known') return
    expect(snapshot.readAtMs).toBeGreaterThanOrEqual(before)
    expect(snapshot.resources).toHaveLength(3)
    expect(snapshot.shown).toHaveLength(1)
  })

  test('is absent without the module, and then no program is run: it would answer 0 to anything', async () => {
    program()
    const drbd = drbdWith({ procDrbd: join(folder, 'no-such') })
    expect(await drbd.refresh()).toMatchObject({ kind: 'absent' })
    const executed = await drbd.execute({ kind: 'secondary-force', resource: 'r' })
    expect(executed).toMatchObject({ exitCode: undefined, message: expect.stringMatching(/not loaded/), snapshot: { kind: 'absent' } })
    expect(calls()).toEqual([])
  })

  test('is unknown, not absent, where the module is there but drbdsetup is missing, fails, hangs or talks nonsense', async () => {
    expect(await drbdWith({ program: join(folder, 'no-such') }).refresh()).toMatchObject({
      kind: 'unknown',
      reason: expect.stringMatching(/installed/),
    })
    program('echo "Failed to modprobe drbd" >&2; exit 20')
    expect(await drbdWith({}).refresh()).toMatchObject({
      kind: 'unknown',
      reason: expect.stringMatching(/ended with 20: Failed to modprobe/),
    })
    program('exec sleep 30')
    expect(await drbdWith({ timeoutMs: 100 }).refresh()).toMatchObject({
      kind: 'unknown',
      reason: expect.stringMatching(/longer than 100 ms/),
    })
    program('echo "{"; exit 0')
    expect(await drbdWith({}).refresh()).toMatchObject({ kind: 'unknown', reason: expect.stringMatching(/array|JSON/) })
  })

  test('is read again at once when events2 announces a change, skips a line or ends', async () => {
    program()
    const drbd = drbdWith({})
    const seen: string[] = []
    drbd.onChange((snapshot) => seen.push(snapshot.kind === 'known' ? (snapshot.resources[0]?.role ?? 'none') : snapshot.kind))
    await until(() => expect(existsSync(join(folder, 'events2.pid'))).toBe(true))
    await until(() => expect(seen).toEqual(['Secondary']))

    say('state', 'frozen-primary.status-9.22')
    say(
      'more',
      '2026-11-23T06:32:40.1+00:00 change resource name:pvc-0f1c5a52-7a0e-4b7e-9c53-2f9d1c6a7b01 role:Primary suspended:fencing\n',
    )
    await until(() => expect(seen).toEqual(['Secondary', 'Primary']))

    say('state', 'demoted-loser.status-9.22')
    say('more', '2026-11-23T06:32:41.1+00:00 - skipped -2\n')
    await until(() => expect(seen).toEqual(['Secondary', 'Primary', 'Secondary']))

    const pid = readFileSync(join(folder, 'events2.pid'), 'utf8')
    say('state', 'frozen-primary.status-9.22')
    say('end', '')
    await until(() => expect(seen).toEqual(['Secondary', 'Primary', 'Secondary', 'Primary']))
    await until(() => expect(readFileSync(join(folder, 'events2.pid'), 'utf8')).not.toBe(pid))
  })

  test('is read again although events2 is silent', async () => {
    program()
    const drbd = drbdWith({ readEveryMs: 50 })
    await drbd.refresh()
    // More changes than the one reading that the start of events2 brings.
    for (const state of ['frozen-primary', 'healthy', 'frozen-primary', 'healthy']) {
      say('state', `${state}.status-9.22`)
      await until(() =>
        expect(drbd.snapshot()).toMatchObject({ resources: [{ suspended: { fencing: state === 'frozen-primary' } }, {}, {}] }),
      )
    }
  })

  test('answers a command with what was read after it', async () => {
    program(`if [ "$1" = secondary ]; then printf demoted-loser.status-9.22 > ${folder}/state; echo "State change failed" >&2; exit 11; fi`)
    const drbd = drbdWith({})
    say('state', 'frozen-primary.status-9.22')
    await drbd.refresh()
    const executed = await drbd.execute({ kind: 'secondary-force', resource: 'pvc' })
    expect(executed).toMatchObject({
      exitCode: 11,
      message: 'State change failed',
      snapshot: { resources: [{ role: 'Secondary' }, {}, {}] },
    })
    expect(calls()).toContain('secondary --force pvc')
  })

  test('is not read without end: a program that floods is ended', async () => {
    const flood = runProgram('/bin/sh', ['-c', 'while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done'], {
      timeoutMs: 30_000,
      outputLimitBytes: 10_000,
    })
    await expect(flood).rejects.toMatchObject({ code: 'output-limit' })
  })
})
