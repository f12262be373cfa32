// The DRBD stand-in, two kernels over the faulty link, does what the recordings of real DRBD show.
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createNetwork, type Network } from '../link/network.ts'
import { runCommand } from './commands.ts'
import { type Kernel, type KernelConfig, startKernel } from './kernel.ts'
import { type PairOptions, pairReplicas } from './pair.ts'
import type { Resource } from './device.ts'
import type { ResourceState } from './state.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

const until = (what: () => void): Promise<void> => vi.waitFor(what, { timeout: 20_000, interval: 5 })

interface End {
  config: KernelConfig
  kernel: Kernel
  resource: () => Resource
  state: () => ResourceState
  run: (...argv: string[]) => Promise<number>
  socket: string
}

async function pair(
  options: Partial<PairOptions> = {},
): Promise<{ network: Network; a: End; b: End; reboot: (end: End) => Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'roomfence-kernel-'))
  closers.push(() => rmSync(directory, { recursive: true, force: true }))
  const network = createNetwork()
  closers.push(() => network.close())
  const socket = (node: string, name: string): string => join(directory, node, name)
  const configs = await pairReplicas(network, {
    name: 'pvc-1',
    minor: 1000,
    first: { room: 'room-a', node: 'a1', peerSocket: socket('a1', 'peer.sock') },
    second: { room: 'room-b', node: 'b1', peerSocket: socket('b1', 'peer.sock') },
    freeze: true,
    pingIntMs: 100,
    pingTimeoutMs: 100,
    connectIntMs: 30,
    resyncMs: 10,
    ...options,
  })
  const start = async (node: string, resource: (typeof configs)['first']): Promise<End> => {
    const config = {
      directory: join(directory, node, 'replicas'),
      localSocket: socket(node, 'kernel.sock'),
      peerSocket: socket(node, 'peer.sock'),
      resources: [resource],
    }
    const end: End = {
      config,
      kernel: await startKernel(config),
      socket: config.localSocket,
      resource: () => {
        const found = end.kernel.resources.get('pvc-1')
        if (found === undefined) throw new Error('no resource')
        return found
      },
      state: () => end.resource().state(),
      run: async (...argv) => (await runCommand(end.kernel.resources, argv)).code,
    }
    closers.push(() => end.kernel.close())
    return end
  }
  const a = await start('a1', configs.first)
  const b = await start('b1', configs.second)
  await until(() => expect([a.state().connection, b.state().connection]).toEqual(['Connected', 'Connected']))
  return {
    network,
    a,
    b,
    reboot: async (end) => {
      await end.kernel.close()
      end.kernel = await startKernel(end.config)
    },
  }
}

interface Device {
  answer: { ok?: boolean; error?: string; reason?: string }
  write: (line: string) => { result: () => string }
  close: () => void
}

/** Opens the device of one end for writing, as a virtual machine does. */
async function open(end: End): Promise<Device> {
  const socket: Socket = connect(end.socket)
  closers.push(() => socket.destroy())
  socket.setEncoding('utf8')
  socket.on('error', () => undefined)
  const answers: { ok?: boolean; error?: string; reason?: string }[] = []
  let rest = ''
  socket.on('data', (chunk) => {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) answers.push(JSON.parse(line) as Device['answer'])
  })
  const ask = (request: unknown): (() => Device['answer'] | undefined) => {
    const index = asked++
    socket.write(`${JSON.stringify(request)}\n`)
    return () => answers[index]
  }
  let asked = 0
  const opened = ask({ type: 'open', resource: 'pvc-1', command: 'test', pid: process.pid })
  await until(() => expect(opened()).toBeDefined())
  return {
    answer: opened() ?? {},
    write: (line) => {
      const answered = ask({ type: 'write', line })
      return { result: () => (answered()?.ok === true ? 'ok' : (answered()?.error ?? 'hangs')) }
    },
    close: () => socket.destroy(),
  }
}

const written = async (device: Device, line: string, result = 'ok'): Promise<void> => {
  const write = device.write(line)
  await until(() => expect(write.result()).toBe(result))
}

const frozen = (end: End): Promise<void> => until(() => expect(end.state().suspendedFencing).toBe(true))

describe('freeze mode', () => {
  test('an acknowledged write is on both replicas', async () => {
    const { a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    expect([a.resource().read(), b.resource().read()]).toEqual(['one\n', 'one\n'])
    expect([a.state().role, b.state().peerRole]).toEqual(['Primary', 'Primary'])
    expect((await open(b)).answer).toEqual({ error: 'EROFS', reason: 'Multiple primaries not allowed by config (-1)' })
    device.close()
    await until(() => expect(a.state().role).toBe('Secondary'))
  })

  test('a cut hangs the Primary until the heal, which thaws it and completes its write', async () => {
    const { network, a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    const hanging = device.write('two')
    await frozen(a)
    const held = device.write('three')
    expect([hanging.result(), held.result(), b.resource().read()]).toEqual(['hangs', 'hangs', 'one\n'])
    expect(a.resource().read()).toBe('one\ntwo\n')
    network.heal('room-a', 'room-b')
    await until(() => expect([hanging.result(), held.result()]).toEqual(['ok', 'ok']))
    await until(() => expect(b.resource().read()).toBe('one\ntwo\nthree\n'))
    expect(a.state()).toMatchObject({ suspendedFencing: false, disk: 'UpToDate', role: 'Primary' })
  })

  test('an idle Primary freezes, too, in the very change in which the connection is lost', async () => {
    const { network, a } = await pair()
    await open(a)
    const seen: string[] = []
    const socket = connect(a.socket)
    closers.push(() => socket.destroy())
    socket.setEncoding('utf8').on('data', (chunk) =>
      seen.push(
        ...String(chunk)
          .split('\n')
          .filter((line) => line !== ''),
      ),
    )
    socket.write(`${JSON.stringify({ type: 'events', argv: [] })}\n`)
    await until(() => expect(seen).toContain('exists -'))
    network.cut('room-a', 'room-b')
    await frozen(a)
    await until(() => expect(seen.some((line) => line.includes('connection:Connecting'))).toBe(true))
    const start = seen.indexOf('exists -') + 1
    expect(seen[start]).toBe('change resource name:pvc-1 suspended:fencing may_promote:no promotion_score:10101')
    expect(seen[start + 1]).toBe('change connection name:pvc-1 peer-node-id:1 conn-name:b1 connection:NetworkFailure role:Unknown')
  })

  test('a Secondary whose peer is unknown cannot be promoted, although it says may_promote, until it is unlocked', async () => {
    const { network, a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    await until(() => expect(b.state().connection).toBe('Connecting'))
    expect((await open(b)).answer).toMatchObject({ error: 'EROFS', reason: expect.stringContaining('(-7)') })
    expect(await b.run('primary', 'pvc-1')).toBe(11)
    expect(await b.run('resume-io', '1000')).toBe(0)
    expect((await open(b)).answer).toMatchObject({ error: 'EROFS' })
    expect(await b.run('net-options', 'pvc-1', '0', '--fencing=dont-care')).toBe(0)
    const winner = await open(b)
    expect(winner.answer).toEqual({ ok: true, disk: 'UpToDate' })
    await written(winner, 'two')
  })

  test('a forced disconnect of the Secondary keeps it UpToDate and freezes the Primary; a plain one outdates the Secondary and the Primary goes on', async () => {
    const forced = await pair()
    const device = await open(forced.a)
    await written(device, 'one')
    expect(await forced.b.run('disconnect', 'pvc-1', '0', '--force')).toBe(0)
    expect(forced.b.state()).toMatchObject({ connection: 'StandAlone', disk: 'UpToDate' })
    await frozen(forced.a)

    const plain = await pair()
    const other = await open(plain.a)
    await written(other, 'one')
    expect(await plain.b.run('disconnect', 'pvc-1', '0')).toBe(0)
    expect(plain.b.state()).toMatchObject({ connection: 'StandAlone', disk: 'Outdated' })
    await written(other, 'two')
    expect(plain.a.state()).toMatchObject({ suspendedFencing: false, peerDisk: 'Outdated' })
  })

  test('resume-io lets the winner that is the frozen Primary go on, and the peer comes back as its sync target', async () => {
    const { network, a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    const hanging = device.write('two')
    await frozen(a)
    expect(await a.run('disconnect', 'pvc-1', '1', '--force')).toBe(0)
    expect(await a.run('resume-io', '1000')).toBe(0)
    await until(() => expect(hanging.result()).toBe('ok'))
    await written(device, 'three')
    network.heal('room-a', 'room-b')
    expect(await a.run('connect', 'pvc-1', '1')).toBe(0)
    await until(() => expect(b.state()).toMatchObject({ disk: 'UpToDate', replication: 'Established' }))
    expect(b.resource().read()).toBe('one\ntwo\nthree\n')
  })

  test('a loser demoted before the reconnect gets errors, loses nothing acknowledged, and is overwritten by the winner', async () => {
    const { network, a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    const hanging = device.write('unacknowledged')
    await frozen(a)
    await b.run('disconnect', 'pvc-1', '0', '--force')
    await b.run('net-options', 'pvc-1', '0', '--fencing=dont-care')
    const winner = await open(b)
    await written(winner, 'two')
    expect(await a.run('secondary', 'pvc-1')).toBe(11)
    expect(await a.run('secondary', 'pvc-1', '--force')).toBe(0)
    await until(() => expect(hanging.result()).toBe('EIO'))
    expect(a.state()).toMatchObject({ role: 'Secondary', suspendedFencing: true, forceIoFailures: true })
    device.close()
    await until(() => expect(a.state().forceIoFailures).toBe(false))
    network.heal('room-a', 'room-b')
    await b.run('connect', 'pvc-1', '0')
    await until(() => expect(a.state()).toMatchObject({ disk: 'UpToDate', suspendedFencing: false, replication: 'Established' }))
    expect(a.resource().read()).toBe('one\ntwo\n')
    await written(winner, 'three')
    expect(a.resource().read()).toBe('one\ntwo\nthree\n')
  })

  test('a frozen Primary that meets a winner that wrote is demoted and overwritten; with the default policies both stay alone', async () => {
    for (const policies of ['force', 'default'] as const) {
      const { network, a, b } = await pair(
        policies === 'force' ? {} : { onSuspendedPrimaryOutdated: 'disconnect', rrConflict: 'disconnect' },
      )
      const device = await open(a)
      await written(device, 'one')
      network.cut('room-a', 'room-b')
      const hanging = device.write('unacknowledged')
      await frozen(a)
      await until(() => expect(b.state().connection).toBe('Connecting'))
      await b.run('net-options', 'pvc-1', '0', '--fencing=dont-care')
      await written(await open(b), 'two')
      network.heal('room-a', 'room-b')
      await until(() => expect(hanging.result()).toBe('EIO'))
      if (policies === 'force') {
        await until(() => expect(a.state()).toMatchObject({ role: 'Secondary', disk: 'UpToDate' }))
        expect(a.resource().read()).toBe('one\ntwo\n')
      } else {
        await until(() => expect([a.state().connection, b.state().connection]).toEqual(['StandAlone', 'StandAlone']))
        expect(a.state()).toMatchObject({ role: 'Primary', disk: 'Outdated', suspendedFencing: false })
      }
    }
  })

  test('the hole: a frozen Primary that meets a newer generation without writes acknowledges its hanging write, then loses it', async () => {
    const { network, a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    const hanging = device.write('acknowledged and erased')
    await frozen(a)
    await until(() => expect(b.state().connection).toBe('Connecting'))
    await b.run('net-options', 'pvc-1', '0', '--fencing=dont-care')
    await b.run('primary', 'pvc-1')
    await b.run('resume-io', '1000')
    await b.run('secondary', 'pvc-1')
    network.heal('room-a', 'room-b')
    await until(() => expect(hanging.result()).toBe('ok'))
    await until(() => expect(a.state()).toMatchObject({ disk: 'UpToDate', replication: 'Established' }))
    expect([a.resource().read(), b.resource().read()]).toEqual(['one\n', 'one\n'])
    await written(device, 'two')
    expect(b.resource().read()).toBe('one\ntwo\n')
  })

  test('a node that booted without its peer claims Consistent and stays locked', async () => {
    const { network, a, reboot } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.isolate('a1')
    await reboot(a)
    expect(a.state()).toMatchObject({ disk: 'Consistent', role: 'Secondary', connection: 'Connecting' })
    expect((await open(a)).answer).toMatchObject({ error: 'EROFS' })
    network.restore('a1')
    await until(() => expect(a.state()).toMatchObject({ disk: 'UpToDate', connection: 'Connected' }))
  })

  test('a Secondary that outdates itself after a forced disconnect cannot be promoted', async () => {
    const { b } = await pair()
    await b.run('disconnect', 'pvc-1', '0', '--force')
    expect(await b.run('outdate', '1000')).toBe(0)
    await b.run('net-options', 'pvc-1', '0', '--fencing=dont-care')
    expect((await open(b)).answer).toMatchObject({ error: 'EROFS', reason: expect.stringContaining('(-2)') })
  })
})

describe('without freeze mode', () => {
  test('a Primary that loses its peer goes on alone, and the peer comes back as its sync target', async () => {
    const { network, a, b } = await pair({ freeze: false })
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    await written(device, 'two')
    await written(device, 'three')
    expect(a.state().outOfSyncRecords).toBe(2)
    network.heal('room-a', 'room-b')
    await until(() => expect(b.resource().read()).toBe('one\ntwo\nthree\n'))
    await until(() => expect(a.state().outOfSyncRecords).toBe(0))
  })

  test('both sides can be promoted while the link is cut; once both wrote they stay alone', async () => {
    const { network, a, b } = await pair({ freeze: false })
    const left = await open(a)
    await written(left, 'one')
    network.cut('room-a', 'room-b')
    await written(left, 'left')
    await until(() => expect(b.state().connection).toBe('Connecting'))
    const right = await open(b)
    expect(right.answer).toMatchObject({ ok: true })
    await written(right, 'right')
    network.heal('room-a', 'room-b')
    await until(() => expect([a.state().connection, b.state().connection]).toEqual(['StandAlone', 'StandAlone']))
    expect([a.resource().read(), b.resource().read()]).toEqual(['one\nleft\n', 'one\nright\n'])
  })

  test('a node that booted without its peer claims UpToDate although the survivor went on, and learns better when they meet', async () => {
    const { network, a, b, reboot } = await pair({ freeze: false })
    const device = await open(b)
    network.isolate('a1')
    await written(device, 'one')
    await reboot(a)
    expect(a.state().disk).toBe('UpToDate')
    network.restore('a1')
    await until(() => expect(a.resource().read()).toBe('one\n'))
  })
})

describe('drbdsetup', () => {
  test('exit codes are those of the recordings', async () => {
    const { a } = await pair()
    expect(await a.run('status', 'nosuch', '--json')).toBe(10)
    expect(await a.run('status', '--json')).toBe(0)
    expect(await a.run('secondary', 'nosuch')).toBe(10)
    expect(await a.run('connect', 'pvc-1', '1')).toBe(10)
    expect(await a.run('resume-io', '77')).toBe(10)
    expect(await a.run('frobnicate', 'pvc-1')).toBe(20)
    await open(a)
    const refusal = await runCommand(a.kernel.resources, ['secondary', 'pvc-1'])
    expect(refusal.code).toBe(11)
    expect(refusal.stderr).toContain('pvc-1: State change failed: (-12) Device is held open by someone')
    const shown = JSON.parse((await runCommand(a.kernel.resources, ['show', '--json'])).stdout) as { connections: { net: unknown }[] }[]
    expect(shown[0]?.connections[0]?.net).toMatchObject({ protocol: 'C', fencing: 'resource-and-stonith', _name: 'b1' })
  })
})
