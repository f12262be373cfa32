/** The guard of one node: what it says of its containment, also when that came true late. */
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { stringify } from 'yaml'
import { createGuard } from './guard.ts'
import { parseConfiguration } from '../../config/load.ts'
import type { Configuration } from '../../config/schema.ts'
import type { Drbd } from '../../drbd/drbdsetup.ts'
import { createLog } from '../../observe/log.ts'
import { createMetrics } from '../../observe/metrics.ts'
import { type Agent, agent, fencing, first } from '../../../test/support/protocol-states.ts'
import type { Input } from '../../protocol/state.ts'
import { statementOf } from '../../protocol/step.ts'
import { defaultTimings } from '../../protocol/timings.ts'

const endings: (() => void)[] = []
afterEach(() => {
  for (const end of endings.splice(0).toReversed()) end()
})

const absent = { kind: 'absent', readAtMs: 0 } as const
const noDrbd: Drbd = {
  snapshot: () => absent,
  followerProblem: () => undefined,
  refresh: () => Promise.resolve(absent),
  onChange: () => () => undefined,
  execute: () => Promise.resolve({ exitCode: 0, message: '', snapshot: absent }),
  stop: () => undefined,
}

function createDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'roomfence-guard-'))
  endings.push(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** The directory of one pod with a CSI volume; `pgid` names its process group. */
function createPod(directory: string, pgid: string): string {
  const pod = join(directory, 'kubelet', 'pods', '11111111-2222-3333-4444-555555555555')
  mkdirSync(join(pod, 'volumeDevices', 'kubernetes.io~csi', 'pv-1'), { recursive: true })
  writeFileSync(join(pod, 'pgid'), pgid)
  return pod
}

const configurationOf = (directory: string, watchdog: object): Configuration =>
  parseConfiguration(
    stringify({
      node: 'b1',
      cluster: { kubeconfig: '/nonexistent' },
      paths: [{ name: 'node', listenHost: '127.0.0.1', listenPort: 1 }],
      keys: { file: '/nonexistent' },
      timings: { killMs: 500 },
      watchdog,
      containment: { form: 'processGroup', kubeletDirectory: join(directory, 'kubelet'), rebootMethod: 'none' },
    }),
  )
const optionsOf = (configuration: Configuration) => ({
  configuration,
  drbd: noDrbd,
  distrustReplicas: () => Promise.resolve(),
  log: createLog('fatal', 'guard'),
  metrics: createMetrics(),
})

/** A fenced node with one pod whose process group cannot be read, so no kill of it is verified; its state takes what the guard feeds. */
function fencedNode(distrustReplicas: () => Promise<void>) {
  const directory = createDirectory()
  const pod = createPod(directory, 'nobody knows')
  const configuration = configurationOf(directory, { kind: 'none' })
  const made = agent('b1', { durable: { membership: fencing(first, 'b1', 'b2') } })
  made.give({ kind: 'tick' }, 0)
  const said: boolean[] = []
  const guard = createGuard({
    ...optionsOf(configuration),
    nowMs: () => performance.now(),
    state: () => made.state,
    feed: (input: Input) => {
      if (input.kind === 'contained') said.push(input.isVerified)
      made.give(input, 100)
    },
    distrustReplicas,
  })
  endings.push(() => guard.stop())
  return { made, guard, said, removePod: () => rmSync(pod, { recursive: true }) }
}

/** A watchdog whose pets are counted: a FIFO. */
function createWatchdog(directory: string) {
  const device = join(directory, 'watchdog')
  execFileSync('mkfifo', [device])
  const reader = openSync(device, constants.O_RDONLY | constants.O_NONBLOCK)
  endings.push(() => closeSync(reader))
  writeFileSync(join(directory, 'timeout'), '10')
  /** What was written since; '' for nothing. */
  const written = (): string => {
    const buffer = Buffer.alloc(100)
    try {
      return buffer.toString('latin1', 0, readSync(reader, buffer))
    } catch {
      return ''
    }
  }
  return { configuration: { kind: 'device', device, timeoutFile: join(directory, 'timeout') }, written, pets: () => written().length }
}

/** An agent whose guard has a watchdog; what the protocol orders is carried out, what the guard says is fed back. */
function watchedNode(directory: string, made: Agent, nowMs = () => 100) {
  const { configuration, written, pets } = createWatchdog(directory)
  const said: Input[] = []
  const give = (input: Input): void => {
    for (const effect of made.give(input, nowMs())) if (effect.kind === 'contain') guard.contain(effect.level)
  }
  const guard = createGuard({
    ...optionsOf(configurationOf(directory, configuration)),
    nowMs: () => performance.now(),
    state: () => made.state,
    feed: (input: Input) => {
      said.push(input)
      give(input)
    },
  })
  endings.push(() => guard.stop())
  const isSaid = (level: string, isVerified: boolean) => () => expect(said).toContainEqual({ kind: 'contained', level, isVerified })
  return { made, guard, give, said, written, pets, isSaid }
}

describe('a watchdog', () => {
  const opened: Input = { kind: 'watchdog', timeoutMs: 10_000 }

  test('of a node that boots is opened, told of and petted when its pause is verified, not only with its first permit', async () => {
    const directory = createDirectory()
    mkdirSync(join(directory, 'kubelet'))
    const made = agent('b1', { boot: 'boot2' })
    const node = watchedNode(directory, made)
    expect(made.state.process.desired).toBe('pause')
    node.guard.review()
    expect([node.guard.isArmed(), node.said]).toEqual([false, []])
    node.guard.contain('pause')
    await vi.waitFor(node.isSaid('pause', true), { timeout: 30_000 })
    node.guard.review()
    expect(node.guard.isArmed()).toBe(true)
    expect(node.said).toContainEqual(opened)
    expect(statementOf(made.state).watchdogMs).toBe(10_000)
    expect(node.pets()).toBe(1)
    await vi.waitFor(() => expect(node.pets()).toBeGreaterThan(0), { timeout: 30_000 })
  })

  test('that an earlier life has armed is petted on by an agent that restarts while nobody has a permit', async () => {
    const directory = createDirectory()
    mkdirSync(join(directory, 'kubelet'))
    let nowMs = 100
    const node = watchedNode(directory, agent('b1'), () => nowMs)
    node.give({ kind: 'tick' })
    node.guard.review()
    // What runs here is not known to be contained.
    expect(node.guard.isArmed()).toBe(false)
    nowMs = defaultTimings.restartGraceMs + 100
    node.give({ kind: 'tick' })
    await vi.waitFor(node.isSaid('pause', true), { timeout: 30_000 })
    node.guard.review()
    expect([node.guard.isArmed(), node.pets()]).toEqual([true, 1])
  })

  test('is neither opened nor told of while what is contained is not verified', async () => {
    const directory = createDirectory()
    createPod(directory, 'nobody knows')
    const node = watchedNode(directory, agent('b1', { boot: 'boot2' }))
    node.guard.contain('pause')
    await vi.waitFor(node.isSaid('pause', false), { timeout: 30_000 })
    node.guard.review()
    expect([node.guard.isArmed(), node.pets()]).toEqual([false, 0])
    expect(node.said).not.toContainEqual(opened)
  })

  test('stays armed when its agent leaves and no majority has acked that, although all is paused', async () => {
    const directory = createDirectory()
    mkdirSync(join(directory, 'kubelet'))
    const node = watchedNode(directory, agent('b1', { boot: 'boot2' }))
    node.guard.contain('pause')
    await vi.waitFor(node.isSaid('pause', true), { timeout: 30_000 })
    node.guard.review()
    node.give({ kind: 'leaving' })
    expect(await node.guard.leave(100)).toBe(false)
    expect(node.written()).not.toContain('V')
    expect(node.guard.isArmed()).toBe(true)
  })
})

describe('a pet that was refused when it was due', () => {
  test('is made up for at the next tick that may, not only when the next one is due', () => {
    const directory = createDirectory()
    const { configuration: watchdog, pets } = createWatchdog(directory)
    const made = agent('b1')
    const configuration = configurationOf(directory, watchdog)
    vi.useFakeTimers()
    endings.push(() => vi.useRealTimers())
    const guard = createGuard({ ...optionsOf(configuration), nowMs: () => 100, state: () => made.state, feed: () => undefined })
    endings.push(() => guard.stop())
    const permitUntil = (ms: number): void => void (made.state.epoch.carriedUntilMs = ms)
    permitUntil(1_000)
    guard.review()
    guard.review()
    expect(pets()).toBe(1)
    permitUntil(-Infinity)
    vi.advanceTimersByTime(500)
    guard.review()
    expect(pets()).toBe(0)
    permitUntil(1_000)
    guard.review()
    guard.review()
    expect(pets()).toBe(1)
  })
})

describe('a release that came while the permit was away for a moment', () => {
  test('is made up for, although the protocol saw no loss and asks for nothing more', async () => {
    const directory = createDirectory()
    const workload = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' })
    endings.push(() => void workload.kill('SIGKILL'))
    createPod(directory, String(workload.pid))
    const stateOf = (): string | undefined => /\) (\w) /.exec(readFileSync(`/proc/${workload.pid}/stat`, 'utf8'))?.[1]
    const made = agent('b1')
    const configuration = configurationOf(directory, { kind: 'none' })
    const guard = createGuard({
      ...optionsOf(configuration),
      nowMs: () => performance.now(),
      state: () => made.state,
      feed: () => undefined,
    })
    endings.push(() => guard.stop())
    guard.contain('pause')
    await vi.waitFor(() => expect(stateOf()).toBe('T'), { timeout: 30_000 })
    made.state.epoch.carriedUntilMs = -Infinity
    guard.contain('none')
    await new Promise((resolve) => setTimeout(resolve, 300))
    guard.review()
    expect(stateOf()).toBe('T')
    made.state.epoch.carriedUntilMs = Infinity
    await vi.waitFor(
      () => {
        guard.review()
        expect(stateOf()).toBe('S')
      },
      { timeout: 30_000 },
    )
  })
})

describe('a pause of a pod on a network file system', () => {
  test('is not verified: what it wrote goes on from the page cache', async () => {
    const directory = createDirectory()
    mkdirSync(join(directory, 'kubelet/pods/11111111-2222-3333-4444-555555555555/volumes/kubernetes.io~nfs/data'), { recursive: true })
    const { state } = agent('b1')
    const said: boolean[] = []
    const guard = createGuard({
      ...optionsOf(configurationOf(directory, { kind: 'none' })),
      nowMs: () => performance.now(),
      state: () => state,
      feed: (input: Input) => void (input.kind === 'contained' && said.push(input.isVerified)),
    })
    endings.push(() => guard.stop())
    guard.contain('pause')
    await vi.waitFor(() => expect(said).toEqual([false]), { timeout: 30_000 })
  })
})

describe('a kill that could not be verified in time', () => {
  test('is said as soon as a later look has verified it, and counts as the proof of the fence', async () => {
    const distrusted: string[] = []
    const { made, guard, said, removePod } = fencedNode(() => Promise.resolve(void distrusted.push('yes')))
    expect(made.state.process.desired).toBe('kill')
    guard.contain('kill')
    await vi.waitFor(() => expect(said).toContain(false), { timeout: 30_000 })
    expect(made.state.durable.killedEpoch).toBe(-1)
    removePod()
    await vi.waitFor(() => expect(said).toContain(true), { timeout: 30_000 })
    expect(made.state.durable.killedEpoch).toBe(made.state.durable.membership?.epoch)
    expect(distrusted.length).toBeGreaterThan(0)
  })

  test('is not said while the distrust of its replicas cannot be written', async () => {
    let isDiskFull = true
    const tried: string[] = []
    const { guard, said, removePod } = fencedNode(() => {
      tried.push('write')
      return isDiskFull ? Promise.reject(new Error('ENOSPC')) : Promise.resolve()
    })
    guard.contain('kill')
    removePod()
    await vi.waitFor(() => expect(tried.length).toBeGreaterThan(2), { timeout: 30_000 })
    expect(said).not.toContain(true)
    isDiskFull = false
    await vi.waitFor(() => expect(said).toContain(true), { timeout: 30_000 })
  })
})
