/** `npm run simulate` as a person calls it: on one core and on two, stopped and gone on with, and with its branches counted. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { readParts } from '../../src/sim/sweep/parts.ts'

const folder = mkdtempSync(join(tmpdir(), 'roomfence-sweep-'))
afterAll(() => {
  rmSync(folder, { recursive: true })
})

const program = new URL('../../src/cli/main.ts', import.meta.url).pathname

interface Ended {
  readonly status: unknown
  readonly stdout: string
  readonly stderr: string
}

const simulate = (...words: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(process.execPath, [program, 'simulate', ...words], (error, stdout, stderr) =>
      resolve({ status: error?.code ?? 0, stdout, stderr }),
    )
  })
const partsIn = (name: string) => readParts(readFileSync(join(folder, name), 'utf8'))

describe('npm run simulate', () => {
  it('gives the same result on one core, on two, and in two goes', async () => {
    const inTwoGoes = async (): Promise<void> => {
      await simulate('--seeds', '20', '--seed', '1', '--resume', join(folder, 'goes'))
      await simulate('--seeds', '60', '--workers', '2', '--resume', join(folder, 'goes'))
    }
    await Promise.all([
      simulate('--seeds', '60', '--seed', '1', '--resume', join(folder, 'one')),
      simulate('--seeds', '60', '--seed', '1', '--workers', '2', '--resume', join(folder, 'two')),
      inTwoGoes(),
    ])
    const [one] = partsIn('one')
    expect(one?.total.seeds).toBe(60)
    expect(partsIn('two')).toEqual([one])
    expect(partsIn('goes')).toEqual([one])
    const again = await simulate('--seeds', '60', '--resume', join(folder, 'goes'))
    expect(again.stdout).toContain('has 60 schedules of this part already')
    expect((await simulate('--report', join(folder, 'goes'))).stdout).toMatch(/\| 60 hostile from seed 1 \|/)
  })

  it('counts the branches of the protocol that its schedules ran', async () => {
    const { stdout } = await simulate('--seeds', '30', '--seed', '1', '--coverage', '--resume', join(folder, 'counted'))
    const [part] = partsIn('counted')
    expect(part?.measuredSeeds).toBe(30)
    expect(Object.keys(part?.coverage ?? {})).toContain('src/protocol/proposer.ts')
    const [, covered, all] = /coverage of protocol branches: (\d+) of (\d+)/.exec(stdout) ?? []
    expect(Number(covered)).toBeGreaterThan(500)
    expect(Number(all)).toBeGreaterThan(Number(covered))
    expect(stdout).toMatch(/ src\/protocol\/[a-z-]+\.ts:\d+(?:-\d+)? {2}\S/)
  })

  it.each([
    [['--workers', '0'], "option '--workers <number>' argument '0' is invalid. Allowed: a whole number from 1 to 64."],
    [['--seeds', 'many'], "option '--seeds <number>' argument 'many' is invalid."],
    [['--profile', 'mild'], "argument 'mild' is invalid. Allowed choices are hostile, ordinary."],
    [['--report', '/nonexistent'], '--report /nonexistent: ENOENT'],
    [['--scenario', 'nobody'], '--scenario: saw "nobody"; allowed: agent-stopped-on-purpose, '],
  ])('refuses %j', async (words, reason) => {
    const { status, stderr } = await simulate(...words)
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining(reason) as string })
  })
})
