/** Nodes of the demo with real processes: power, watchdog, pods, volumes, and nothing left behind. */
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { createNetwork, type Network } from '../link/network.ts'
import { createObserver, type Observer } from '../observer/observer.ts'
import { pairReplicas } from '../storage/pair.ts'
import { createNode, type DemoNode, type NodeEvent, type NodeOptions } from './node.ts'
import { nodePaths } from './paths.ts'
import { type Programs, preparePrograms } from './programs.ts'

const shared = mkdtempSync(join(tmpdir(), 'rf-programs-'))
let programs: Programs
beforeAll(async () => {
  programs = await preparePrograms(shared)
  return () => rmSync(shared, { recursive: true, force: true })
})

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

const patience = { timeout: 30_000, interval: 50 }
const until = (what: () => void): Promise<void> => vi.waitFor(what, { ...patience, interval: 10 })

/** An agent that only pets: one byte every 100 ms; on SIGUSR2 it closes the watchdog with the magic byte and goes on without it. */
const pettingAgent = (watchdog: string): string[] => [
  process.execPath,
  '-e',
  `const fs = require('node:fs'); const device = fs.openSync(${JSON.stringify(watchdog)}, 'w')
  fs.writeSync(device, '.'); const timer = setInterval(() => fs.writeSync(device, '.'), 100)
  process.on('SIGUSR2', () => { clearInterval(timer); fs.writeSync(device, 'V'); fs.closeSync(device); setInterval(() => undefined, 1000) })
  console.log('armed')`,
]

/** Processes that carry the mark of a node below `directory`, zombies left out. */
function processesBelow(directory: string): number[] {
  const found: number[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      if (readFileSync(`/proc/${name}/environ`, 'utf8').includes(`ROOMFENCE_DEMO_NODE=${directory}`)) found.push(Number(name))
    } catch {
      // It ended while we looked.
    }
  }
  return found
}

interface Rooms {
  readonly directory: string
  readonly network: Network
  readonly a: DemoNode
  readonly b: DemoNode
  readonly observer: Observer
}

async function rooms(options: { freeze?: boolean; a?: Partial<NodeOptions>; b?: Partial<NodeOptions> } = {}): Promise<Rooms> {
  const directory = mkdtempSync(join(tmpdir(), 'rf-'))
  closers.push(() => rmSync(directory, { recursive: true, force: true }))
  const network = createNetwork()
  closers.push(() => network.close())
  const log = join(directory, 'observer.log')
  const [pathsA, pathsB] = [nodePaths(join(directory, 'a1')), nodePaths(join(directory, 'b1'))]
  const { first, second } = await pairReplicas(network, {
    name: 'pvc-1',
    minor: 1000,
    first: { room: 'room-a', node: 'a1', peerSocket: pathsA.kernelPeerSocket },
    second: { room: 'room-b', node: 'b1', peerSocket: pathsB.kernelPeerSocket },
    freeze: options.freeze ?? true,
    pingIntMs: 200,
    pingTimeoutMs: 200,
    connectIntMs: 50,
    resyncMs: 10,
  })
  const common = { programs, network, observerLog: log, reachesApi: () => true, bootDelayMs: 10, agentRestartMs: 50, vmIntervalMs: 10 }
  const make = (given: NodeOptions): DemoNode => {
    const node = createNode(given)
    closers.push(async () => {
      await node.stop()
      expect(processesBelow(given.directory)).toEqual([])
    })
    return node
  }
  const a = make({ name: 'a1', room: 'room-a', directory: pathsA.directory, resources: [first], ...common, ...options.a })
  const b = make({ name: 'b1', room: 'room-b', directory: pathsB.directory, resources: [second], ...common, ...options.b })
  await Promise.all([a.powerOn(), b.powerOn()])
  const replicas = [a, b].map(({ name, paths }) => ({ node: name, directory: paths.replicas }))
  const observer = createObserver({ log, volumes: () => [{ vm: 'vm-1', resource: 'pvc-1', replicas }] })
  await vi.waitFor(async () => expect(await diskOf(b)).toMatchObject({ connection: 'Connected' }), patience)
  return { directory, network, a, b, observer }
}

const drbdsetup = async (node: DemoNode, ...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
  promisify(execFile)(node.paths.drbdsetup, argv).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({ code: error.code, stdout: error.stdout, stderr: error.stderr }),
  )

interface Status {
  role: string
  'suspended-fencing': boolean
  devices: { 'disk-state': string }[]
  connections: { 'connection-state': string }[]
}

async function diskOf(node: DemoNode): Promise<{ role: string; disk: string; connection: string; frozen: boolean }> {
  const [status] = JSON.parse((await drbdsetup(node, 'status', '--json')).stdout || '[]') as Status[]
  return {
    role: status?.role ?? 'none',
    disk: status?.devices[0]?.['disk-state'] ?? 'none',
    connection: status?.connections[0]?.['connection-state'] ?? 'none',
    frozen: status?.['suspended-fencing'] ?? false,
  }
}

const pod = (uid: string, volumes = ['pvc-1']): Parameters<DemoNode['startPod']>[0] => ({
  uid,
  namespace: 'default',
  name: `virt-launcher-${uid}`,
  volumes,
  vm: { name: 'vm-1', vmiUid: `vmi-${uid}` },
})

/** A watchdog that was never petted does nothing: wait for the first byte. */
const armed = (node: DemoNode): Promise<void> => until(() => expect(readFileSync(node.paths.agentLog, 'utf8')).toContain('armed'))

const acknowledged = (observer: Observer): number => observer.progress().get('vm-1')?.acknowledgedNumber ?? 0

describe('a node', () => {
  test('a room that loses its power gives its machine to the other one, with every acknowledged record', async () => {
    const { network, a, b, observer } = await rooms()
    await a.startPod(pod('one'))
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(5))
    expect(a.runningPods()).toEqual(new Set(['one']))
    expect(Number(readFileSync(join(a.paths.kubelet, 'pods', 'one', 'pgid'), 'utf8'))).toBeGreaterThan(1)
    expect(existsSync(join(a.paths.kubelet, 'pods', 'one', 'volumeDevices', 'kubernetes.io~csi', 'pvc-1'))).toBe(true)
    await expect(b.startPod(pod('early'))).rejects.toThrow(/EROFS.*Multiple primaries/)
    expect(b.runningPods().size).toBe(0)

    await a.powerOff()
    expect([a.isPowered(), a.runningPods().size, processesBelow(a.paths.directory)]).toEqual([false, 0, []])
    await vi.waitFor(async () => expect(await diskOf(b)).toMatchObject({ connection: 'Connecting', disk: 'UpToDate' }), patience)
    await expect(b.startPod(pod('locked'))).rejects.toThrow(/EROFS.*not outdated \(-7\)/)
    expect((await drbdsetup(b, 'disconnect', 'pvc-1', '0', '--force')).code).toBe(0)
    expect((await drbdsetup(b, 'net-options', 'pvc-1', '0', '--fencing=dont-care')).code).toBe(0)
    const before = acknowledged(observer)
    await b.startPod(pod('two'))
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(before + 3))
    expect(observer.progress().get('vm-1')?.node).toBe('b1')

    const firstBoot = a.bootId
    await a.powerOn()
    expect(a.bootId).not.toBe(firstBoot)
    expect(readFileSync(a.paths.bootId, 'utf8').trim()).toBe(a.bootId)
    expect(await diskOf(a)).toMatchObject({ role: 'Secondary', disk: 'Consistent' })
    expect((await drbdsetup(b, 'connect', 'pvc-1', '0')).code).toBe(0)
    await vi.waitFor(async () => expect(await diskOf(a)).toMatchObject({ disk: 'UpToDate', connection: 'Connected' }), patience)
    await b.stopPod('two')
    expect(network.reaches({ site: 'room-a', node: 'a1' }, 'room-b')).toBe(true)
    expect(observer.judge({ survivingNode: () => 'b1' })).toEqual([])
    expect(observer.judge({ survivingNode: () => 'a1' })).toEqual([])
  })

  test('an agent that hangs starves the watchdog, and the whole node is reset: machine, kernel and agent', async () => {
    const { a, b, observer } = await rooms({
      a: { watchdogTimeoutSeconds: 1, agentCommand: (paths) => pettingAgent(paths.watchdog) },
    })
    await a.startPod(pod('one'))
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(3))
    const events: NodeEvent[] = []
    a.onEvent((event) => events.push(event))
    const firstBoot = a.bootId
    await armed(a)
    await a.signalAgent('SIGSTOP')
    await until(() => expect(events.map((event) => event.type)).toEqual(['down', 'booted', 'agentStarted']))
    expect(events[0]).toEqual({ type: 'down', cause: 'watchdog' })
    expect(a.bootId).not.toBe(firstBoot)
    expect(a.runningPods().size).toBe(0)
    expect(readdirSync(join(a.paths.kubelet, 'pods'))).toEqual([])
    // The agent of the new boot pets again: the node stays up and its disk finds its peer.
    await vi.waitFor(async () => expect(await diskOf(a)).toMatchObject({ connection: 'Connected', disk: 'UpToDate' }), patience)
    await b.startPod(pod('two'))
    const before = acknowledged(observer)
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(before))
    await b.stopPod('two')
    expect(observer.judge({ survivingNode: () => 'b1' })).toEqual([])
  })

  test('a magic close disarms the watchdog; a node without one is never reset', async () => {
    const { a, b } = await rooms({
      a: { watchdogTimeoutSeconds: 1, agentCommand: (paths) => pettingAgent(paths.watchdog) },
      b: { watchdogTimeoutSeconds: 'none', agentCommand: [process.execPath, '-e', 'setInterval(() => undefined, 1000)'] },
    })
    const events: NodeEvent[] = []
    a.onEvent((event) => events.push(event))
    b.onEvent((event) => events.push(event))
    await armed(a)
    await a.signalAgent('SIGUSR2')
    await b.signalAgent('SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, 1500))
    expect(events).toEqual([])
    expect(existsSync(b.paths.watchdog)).toBe(false)
  })

  test('a storage kernel that dies takes its node with it', async () => {
    const { a } = await rooms()
    const firstBoot = a.bootId
    const events: NodeEvent[] = []
    a.onEvent((event) => events.push(event))
    const kernel = processesBelow(a.paths.directory).find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('kernel.mjs'))
    if (kernel === undefined) throw new Error('no kernel')
    process.kill(kernel, 'SIGKILL')
    await until(() => expect(events.map((event) => event.type)).toEqual(['down', 'booted']))
    expect(events[0]).toEqual({ type: 'down', cause: 'panic' })
    expect(a.bootId).not.toBe(firstBoot)
  })

  test('an agent that ends is started again, without a reset', async () => {
    const { a } = await rooms({ a: { agentCommand: [process.execPath, '-e', 'setInterval(() => undefined, 1000)'] } })
    const firstPid = a.agentPid()
    expect(firstPid).toBeDefined()
    await a.signalAgent('SIGKILL')
    await until(() => expect(a.agentPid()).not.toBe(firstPid))
    await until(() => expect(a.agentPid()).toBeDefined())
  })

  test('a stopped machine is paused, goes on when continued, and dies with its node', async () => {
    const { a, observer } = await rooms()
    await a.startPod(pod('one'))
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(3))
    const pgid = Number(readFileSync(join(a.paths.kubelet, 'pods', 'one', 'pgid'), 'utf8'))
    process.kill(-pgid, 'SIGSTOP')
    await until(() => expect(readFileSync(`/proc/${pgid}/stat`, 'utf8')).toContain(') T '))
    const paused = acknowledged(observer)
    expect(a.runningPods().has('one')).toBe(true)
    process.kill(-pgid, 'SIGCONT')
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(paused + 2))
    process.kill(-pgid, 'SIGSTOP')
    await a.stop()
    expect(processesBelow(a.paths.directory)).toEqual([])
  })

  test('a machine that is killed on its node is reported with its pod directory gone', async () => {
    const { a, observer } = await rooms()
    const events: NodeEvent[] = []
    a.onEvent((event) => events.push(event))
    await a.startPod(pod('one'))
    await a.startPod({ uid: 'idle', namespace: 'default', name: 'idle', volumes: ['pvc-2'] })
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(0))
    process.kill(-Number(readFileSync(join(a.paths.kubelet, 'pods', 'one', 'pgid'), 'utf8')), 'SIGKILL')
    await until(() => expect(events.at(-1)).toMatchObject({ type: 'podExited', uid: 'one', signal: 'SIGKILL' }))
    const killed = observer.judge({ healthyNodes: new Set(['a1']) })
    expect(killed).toMatchObject([{ type: 'killedOnHealthyNode', vm: 'vm-1', node: 'a1' }])
    expect(existsSync(join(a.paths.kubelet, 'pods', 'one'))).toBe(false)
    expect(a.runningPods()).toEqual(new Set(['idle']))
    await a.stopPod('idle')
    expect(a.runningPods().size).toBe(0)
  })

  test('nothing is left when a supervisor itself is killed, stopped machines included', async () => {
    const { a, observer } = await rooms()
    await a.startPod(pod('one'))
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(0))
    const pgid = Number(readFileSync(join(a.paths.kubelet, 'pods', 'one', 'pgid'), 'utf8'))
    process.kill(-pgid, 'SIGSTOP')
    const supervisor = Number(
      readFileSync(`/proc/${pgid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ')[1],
    )
    process.kill(supervisor, 'SIGKILL')
    await until(() => expect(processesBelow(a.paths.directory)).toEqual([]))
    await expect(a.startPod(pod('two'))).rejects.toThrow('the supervisor of a1 has ended')
  })
})

test('nothing is left when the demo itself is killed', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'rf-'))
  closers.push(() => rmSync(directory, { recursive: true, force: true }))
  const module = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href)
  const demo = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `const { createNode } = await import(${module('./node.ts')}); const { createNetwork } = await import(${module('../link/network.ts')})
      const node = createNode({ name: 'a1', room: 'room-a', directory: ${JSON.stringify(join(directory, 'a1'))}, network: createNetwork(), resources: [],
        programs: ${JSON.stringify(programs)}, observerLog: ${JSON.stringify(join(directory, 'observer.log'))}, reachesApi: () => true, bootDelayMs: 1,
        agentCommand: ['cat'] })
      await node.powerOn(); await node.startPod({ uid: 'one', namespace: 'd', name: 'one', volumes: [] }); console.log('up')`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  closers.push(() => demo.kill('SIGKILL'))
  let isUp = false
  demo.stdout.on('data', () => (isUp = true))
  await until(() => expect(isUp).toBe(true))
  expect(processesBelow(directory).length).toBe(3)
  demo.kill('SIGKILL')
  await until(() => expect(processesBelow(directory)).toEqual([]))
})

describe('drbdsetup as a program', () => {
  test('events2 prints what exists, then what changes, in the words of the recordings; without the kernel it ends with 20', async () => {
    const { a, b, observer } = await rooms()
    await a.startPod(pod('one'))
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(0))
    const stream = spawn(a.paths.drbdsetup, ['events2', '--timestamps', '--statistics'], { stdio: ['ignore', 'pipe', 'inherit'] })
    closers.push(() => stream.kill('SIGKILL'))
    let text = ''
    let exitCode: number | null = null
    stream.stdout.on('data', (chunk) => (text += String(chunk)))
    stream.on('exit', (code) => (exitCode = code))
    await until(() => expect(text).toContain(' exists -\n'))
    const stamp = '\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}\\+00:00'
    expect(text).toMatch(
      new RegExp(
        `^${stamp} exists resource name:pvc-1 role:Primary suspended:no force-io-failures:no write-ordering:flush may_promote:no promotion_score:10102$`,
        'm',
      ),
    )
    expect(text).toMatch(
      /exists device name:pvc-1 volume:0 minor:1000 backing_dev:\S+ disk:UpToDate client:no quorum:yes size:\d+ read:\d+ written:\d+ al-writes:\d+ bm-writes:\d+ upper-pending:\d+ lower-pending:0 al-suspended:no blocked:no/,
    )
    expect((await drbdsetup(b, 'disconnect', 'pvc-1', '0', '--force')).code).toBe(0)
    await until(() => expect(text).toMatch(/change resource name:pvc-1 suspended:fencing may_promote:no promotion_score:10101/))
    expect((await drbdsetup(a, 'secondary', 'pvc-1')).code).toBe(11)
    expect((await drbdsetup(a, 'secondary', '--force', 'pvc-1')).code).toBe(0)
    await until(() => expect(a.runningPods().size).toBe(0))
    await a.powerOff()
    await until(() => expect(exitCode).toBe(20))
    expect((await drbdsetup(a, 'status', '--json')).code).toBe(20)
  })
})

describe('drbdsetup’s lock file', () => {
  test('is there after a command that names a minor, for root alone, and after no other', async () => {
    const { a } = await rooms()
    for (const words of [['status'], ['net-options', 'pvc-1', '1', '--fencing=resource-and-stonith'], ['secondary', '--force', 'pvc-1']])
      expect((await drbdsetup(a, ...words)).code).toBe(0)
    expect(readdirSync(a.paths.locks)).toEqual([])
    expect((await drbdsetup(a, 'resume-io', '1000')).code).toBe(0)
    expect(readdirSync(a.paths.locks)).toEqual(['drbd-147-1000'])
    expect(statSync(join(a.paths.locks, 'drbd-147-1000')).mode & 0o777).toBe(0o600)
  })

  test('that cannot be written keeps the command from being carried out', async () => {
    const { a, b, observer } = await rooms()
    await a.startPod(pod('one'))
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(0))
    expect((await drbdsetup(b, 'disconnect', 'pvc-1', '0', '--force')).code).toBe(0)
    await vi.waitFor(async () => expect(await diskOf(a)).toMatchObject({ frozen: true }), patience)
    rmSync(a.paths.locks, { recursive: true })
    const stderr = `open(${a.paths.locks}/drbd-147-1000): No such file or directory\n`
    expect(await drbdsetup(a, 'resume-io', '1000')).toEqual({ code: 20, stdout: '', stderr })
    expect(await diskOf(a)).toMatchObject({ frozen: true })
    mkdirSync(a.paths.locks)
    expect((await drbdsetup(a, 'resume-io', '1000')).code).toBe(0)
    await vi.waitFor(async () => expect(await diskOf(a)).toMatchObject({ frozen: false }), patience)
  })
})

describe('the observer over real machines', () => {
  test('sees two copies that write at once, and the records that a split brain loses', async () => {
    const { network, a, b, observer } = await rooms({ freeze: false })
    await a.startPod(pod('one'))
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(3))
    network.cut('room-a', 'room-b')
    await vi.waitFor(async () => expect(await diskOf(b)).toMatchObject({ connection: 'Connecting', disk: 'UpToDate' }), patience)
    await b.startPod(pod('two'))
    const began = observer.events().length
    await until(() => expect(observer.events().length).toBeGreaterThan(began + 20))
    await Promise.all([a.stopPod('one'), b.stopPod('two')])
    const found = new Set(observer.judge({ survivingNode: () => 'b1' }).map((finding) => finding.type))
    expect(found).toContain('twoWriters')
    expect(found).toContain('acknowledgedRecordMissing')
  })

  test('sees a start from the stale replica of a node that booted alone', async () => {
    const { a, b, observer } = await rooms({ freeze: false })
    await a.startPod(pod('one'))
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(0))
    await b.powerOff()
    const before = acknowledged(observer)
    await until(() => expect(acknowledged(observer)).toBeGreaterThan(before + 3))
    await a.powerOff()
    await b.powerOn()
    await b.startPod(pod('two'))
    await until(() => expect(observer.progress().get('vm-1')?.node).toBe('b1'))
    await b.stopPod('two')
    const found = new Set(observer.judge({ survivingNode: () => 'b1' }).map((finding) => finding.type))
    expect(found).toEqual(new Set(['staleStart', 'acknowledgedRecordMissing']))
  })
})
