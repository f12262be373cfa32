/** The bundle: it starts under the Node of the lockfile, and holds what runs on a cluster and nothing else. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildBundle } from '../../deploy/build.ts'

const flagsOf = (dockerfile: string): readonly string[] =>
  (JSON.parse(/^ENTRYPOINT (.*)$/m.exec(dockerfile)?.[1] ?? '[]') as string[]).filter((word) => word.startsWith('--'))

describe('the bundle', () => {
  let folder = ''
  let files: readonly string[] = []
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'roomfence-bundle-'))
    files = await buildBundle(join(folder, 'roomfence.mjs'))
  })
  afterAll(() => {
    rmSync(folder, { recursive: true })
  })
  const flags = flagsOf(readFileSync(new URL('../../Dockerfile', import.meta.url), 'utf8'))
  const run = (parameters: readonly string[], environment: Record<string, string> = {}) =>
    spawnSync(process.execPath, [...flags, join(folder, 'roomfence.mjs'), ...parameters], {
      encoding: 'utf8',
      cwd: folder,
      env: { PATH: '/usr/bin', ...environment },
    })

  test('starts with --help and lists the commands', () => {
    const { status, stdout, stderr } = run(['--help'])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(/\bagent\b[^]*\bwitness\b[^]*\binit\b/)
  })

  test('says the version of the package', () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
    expect(run(['--version'])).toMatchObject({ status: 0, stdout: `${version}\n` })
  })

  test.each(['agent', 'witness'])('loads all of the %s and stops at a configuration that is not there', (command) => {
    const { status, stderr } = run([command, '--config', '/nonexistent'])
    expect(status).toBe(1)
    expect(stderr).toContain('/nonexistent: saw ENOENT')
  })

  test('leaves the demo and the simulator in the checkout, and says so', () => {
    expect(files.filter((file) => /^src\/(?:demo|sim)\//.test(file))).toEqual([])
    expect(files).toContain('src/agent/agent.ts')
    expect(run(['demo'])).toMatchObject({ status: 1, stderr: expect.stringContaining('run it from a checkout') as string })
  })

  test('fills V8’s compile cache, with the very flags of the image', () => {
    expect(flags).toEqual(['--max-semi-space-size=1', '--v8-pool-size=1'])
    const cache = join(folder, 'cache')
    run(['agent', '--config', '/nonexistent'], { NODE_COMPILE_CACHE: cache })
    expect(readdirSync(cache)).toHaveLength(1)
  })

  test('comes with the licences of what is in it', () => {
    const licences = readFileSync(join(folder, 'licences.txt'), 'utf8')
    const packages = new Set(files.flatMap((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []))
    expect(packages.size).toBeGreaterThan(5)
    expect([...packages].filter((name) => !licences.includes(`\n${name} `) && !licences.startsWith(`${name} `))).toEqual([])
  })
})
