/** Two kernels of the DRBD stand-in over the faulty link, as tests use them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, vi } from 'vitest'
import { createNetwork, type Network } from '../../src/demo/link/network.ts'
import { runCommand } from '../../src/demo/storage/commands.ts'
import type { Resource } from '../../src/demo/storage/device.ts'
import { type Kernel, type KernelConfig, startKernel } from '../../src/demo/storage/kernel.ts'
import { type PairOptions, pairReplicas } from '../../src/demo/storage/pair.ts'
import type { ResourceState } from '../../src/demo/storage/state.ts'

export const closers: (() => unknown)[] = []

/** Ends everything that a test has started; for `afterEach`. */
export async function closeAll(): Promise<void> {
  for (const close of closers.splice(0).toReversed()) await close()
}

export const until = (what: () => void): Promise<void> => vi.waitFor(what, { timeout: 20_000, interval: 5 })

export interface End {
  config: KernelConfig
  kernel: Kernel
  resource: () => Resource
  state: () => ResourceState
  run: (...argv: string[]) => Promise<number>
  socket: string
}

export async function pair(
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

export interface Device {
  answer: { ok?: boolean; error?: string; reason?: string }
  write: (line: string) => { result: () => string }
  close: () => void
}

/** Opens the device of one end for writing, as a virtual machine does. */
export async function open(end: End): Promise<Device> {
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

export const written = async (device: Device, line: string, result = 'ok'): Promise<void> => {
  const write = device.write(line)
  await until(() => expect(write.result()).toBe(result))
}

export const frozen = (end: End): Promise<void> => until(() => expect(end.state().suspendedFencing).toBe(true))
