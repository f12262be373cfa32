import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { bootId, epoch, incarnation, nodeId } from '../protocol/ids.ts'
import type { Ack, Heartbeat } from '../protocol/messages.ts'
import { createTransport, type Received, type Transport, type TransportOptions } from './transport.ts'
import { type Key, keyOf } from './wire.ts'

const key = keyOf(Buffer.from('0123456789abcdef0123456789abcdef'))
const otherKey = keyOf(Buffer.from('fedcba9876543210fedcba9876543210'))
const ring = (...keys: [Key, ...Key[]]) => ({ current: () => keys[0], accepted: () => keys })

const a1 = nodeId('a1')
const b1 = nodeId('b1')

const heartbeat = (sequence: number): Heartbeat => ({
  kind: 'heartbeat',
  sequence,
  epoch: epoch(3),
  digest: '00ff00ff00ff00',
  statement: {
    bootId: bootId('boot'),
    watchdogMs: 5000,
    killedEpoch: -1,
    isInSync: true,
    witnessVersion: 4,
    isLeaving: false,
    isApiReachable: true,
    isDryRun: false,
  },
})
const ack = (sequence: number): Ack => ({ kind: 'ack', sequence, epoch: epoch(3), digest: '00ff00ff00ff00' })

const running: { stop(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop()))
})

interface Side {
  readonly transport: Transport
  readonly received: Received[]
}

async function start(name: string, options: Partial<TransportOptions> = {}): Promise<Side> {
  const transport = await createTransport({
    node: nodeId(name),
    incarnation: incarnation(`${name}-life`),
    paths: [{ name: 'node', listenHost: '127.0.0.1', listenPort: 0 }],
    keys: ring(key),
    clock: () => performance.now(),
    ...options,
  })
  running.push(transport)
  const received: Received[] = []
  transport.onMessage((message) => received.push(message))
  return { transport, received }
}

/** A relay in front of `to` that keeps every packet, to send it again. */
async function recorder(to: Transport): Promise<{ port: number; packets: Buffer[]; resend(packet: Buffer): void }> {
  const target = to.addresses()[0]?.port ?? 0
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const packets: Buffer[] = []
  const resend = (packet: Buffer) => socket.send(packet, target, '127.0.0.1')
  socket.on('message', (packet) => {
    packets.push(packet)
    resend(packet)
  })
  running.push({ stop: () => new Promise((resolve) => socket.close(() => resolve())) })
  return { port: socket.address().port, packets, resend }
}

const at = (port: number) => [{ path: 'node', host: '127.0.0.1', port }]
const portOf = (side: Side) => side.transport.addresses()[0]?.port ?? 0

function introduce(a: Side, b: Side, portToB = portOf(b), portToA = portOf(a)): void {
  a.transport.setPeers([{ node: b1, addresses: at(portToB) }])
  b.transport.setPeers([{ node: a1, addresses: at(portToA) }])
}

let talks = 0

/** Sends until one counts (the first packets only teach each other's nonces), and until nothing of it is under way any more. */
async function talk(from: Side, to: Side, name: string): Promise<void> {
  const first = ++talks * 100_000
  let last = first
  const sequences = () => to.received.map(({ message }) => (message.kind === 'heartbeat' ? message.sequence : 0))
  await vi.waitFor(
    () => {
      if (sequences().every((sequence) => sequence <= first)) from.transport.send(nodeId(name), heartbeat(++last))
      expect(sequences()).toContain(last)
    },
    { timeout: 20_000, interval: 20 },
  )
}

const settled = async (
  side: Side,
  reason: 'replayed' | 'retired' | 'unverified' | 'authentication' | 'wrong-path' | 'key' | 'stranger',
  count: number,
) => vi.waitFor(() => expect(side.transport.stats().refused[reason] ?? 0).toBeGreaterThanOrEqual(count), { timeout: 20_000, interval: 10 })

describe('two agents', () => {
  test('hear each other once each has echoed the other’s nonce', async () => {
    const [a, b] = [await start('a1'), await start('b1')]
    introduce(a, b)
    await talk(a, b, 'b1')
    await talk(b, a, 'a1')
    expect(b.received[0]).toMatchObject({
      from: 'a1',
      incarnation: 'a1-life',
      path: 'node',
      message: { kind: 'heartbeat', statement: heartbeat(1).statement },
    })
    expect(b.transport.stats().refused.unverified).toBeGreaterThan(0)
  })

  test('hear each other on every path that both have', async () => {
    const paths = ['node', 'storage'].map((name) => ({ name, listenHost: '127.0.0.1', listenPort: 0 }))
    const [a, b] = [await start('a1', { paths }), await start('b1', { paths })]
    a.transport.setPeers([{ node: b1, addresses: b.transport.addresses() }])
    b.transport.setPeers([{ node: a1, addresses: a.transport.addresses() }])
    await vi.waitFor(
      () => {
        a.transport.send(b1, heartbeat(2))
        expect(new Set(b.received.map(({ path }) => path))).toEqual(new Set(['node', 'storage']))
      },
      { timeout: 20_000, interval: 20 },
    )
  })

  test('refuse a packet that was led onto another path', async () => {
    const paths = ['node', 'storage'].map((name) => ({ name, listenHost: '127.0.0.1', listenPort: 0 }))
    const [a, b] = [await start('a1', { paths }), await start('b1', { paths })]
    const storagePort = b.transport.addresses()[1]?.port ?? 0
    introduce(a, b, storagePort)
    a.transport.send(b1, heartbeat(1))
    await settled(b, 'wrong-path', 1)
    expect(b.received).toEqual([])
  })

  test('without the same key do not hear each other', async () => {
    const [a, b] = [await start('a1', { keys: ring(otherKey) }), await start('b1')]
    introduce(a, b)
    a.transport.send(b1, heartbeat(1))
    await settled(b, 'key', 1)
    expect(b.received).toEqual([])
  })

  test('stay in contact while the key changes: the one before is still believed', async () => {
    const [a, b] = [await start('a1', { keys: ring(otherKey, key) }), await start('b1', { keys: ring(key, otherKey) })]
    introduce(a, b)
    await talk(a, b, 'b1')
    await talk(b, a, 'a1')
  })

  test('hear each other again after one of them restarted', async () => {
    const [a, b] = [await start('a1'), await start('b1')]
    introduce(a, b)
    await talk(a, b, 'b1')
    await a.transport.stop()
    const again = await start('a1', { paths: [{ name: 'node', listenHost: '127.0.0.1', listenPort: 0 }] })
    introduce(again, b)
    await talk(again, b, 'b1')
    expect(new Set(b.received.map(({ life }) => life)).size).toBe(2)
  })
})

describe('a recorded packet', () => {
  test('counts once, however often it is sent again', async () => {
    const [a, b] = [await start('a1'), await start('b1')]
    const relay = await recorder(b.transport)
    introduce(a, b, relay.port)
    await talk(a, b, 'b1')
    const count = b.received.length
    const last = relay.packets.at(-1)
    if (last) for (let i = 0; i < 5; i++) relay.resend(last)
    await settled(b, 'replayed', 5)
    expect(b.received.length).toBe(count)
  })

  test('of a life that ended is refused in the next', async () => {
    const [a, b] = [await start('a1'), await start('b1')]
    const relay = await recorder(b.transport)
    introduce(a, b, relay.port)
    await talk(a, b, 'b1')
    const old = [...relay.packets]
    await a.transport.stop()
    const again = await start('a1')
    introduce(again, b, relay.port)
    await talk(again, b, 'b1')
    const count = b.received.length
    for (const packet of old) relay.resend(packet)
    await settled(b, 'retired', old.length)
    expect(b.received.length).toBe(count)
  })

  test('from before the receiver’s restart only teaches the sender’s nonce', async () => {
    const [a, b] = [await start('a1'), await start('b1')]
    const relay = await recorder(b.transport)
    introduce(a, b, relay.port)
    await talk(a, b, 'b1')
    const last = relay.packets.at(-1) ?? Buffer.alloc(0)
    const again = await start('b1')
    introduce(a, again)
    const socket = createSocket('udp4')
    running.push({ stop: () => new Promise((resolve) => socket.close(() => resolve())) })
    socket.send(last, portOf(again), '127.0.0.1')
    await settled(again, 'unverified', 1)
    expect(again.received).toEqual([])
  })

  test('means nothing to another node', async () => {
    const [a, b, c] = [await start('a1'), await start('b1'), await start('c1')]
    const relay = await recorder(c.transport)
    c.transport.setPeers([{ node: a1, addresses: at(portOf(a)) }])
    introduce(a, b, relay.port)
    a.transport.send(b1, ack(9))
    await settled(c, 'authentication', 1)
    expect(c.received).toEqual([])
  })
})

describe('a transport', () => {
  test('hears a stranger’s join and nothing else of it', async () => {
    const strangers: string[] = []
    const [a, b] = [await start('a1'), await start('b1', { onStranger: (from, _, join) => strangers.push(`${from} ${join.room}`) })]
    a.transport.setPeers([{ node: b1, addresses: at(portOf(b)) }])
    a.transport.send(b1, heartbeat(1))
    a.transport.send(b1, { kind: 'join', room: 'A', addresses: a.transport.addresses() })
    await settled(b, 'stranger', 2)
    expect(strangers).toEqual(['a1 A'])
    expect(b.received).toEqual([])
  })

  test('counts what it cannot send, by reason', async () => {
    const a = await start('a1')
    a.transport.send(b1, heartbeat(1))
    a.transport.setPeers([{ node: b1, addresses: [{ path: 'storage', host: '127.0.0.1', port: 9 }] }])
    a.transport.send(b1, heartbeat(1))
    a.transport.setPeers([{ node: b1, addresses: at(9) }])
    a.transport.send(b1, { ...heartbeat(1), sequence: Number.NaN })
    a.transport.send(b1, { kind: 'join', room: randomBytes(100_000).toString('hex'), addresses: [] })
    expect(a.transport.stats().unsent).toEqual({ 'no-peer': 1, 'no-path': 1, 'not-encodable': 1, 'too-large': 1 })
  })

  test('outlives garbage on its port', async () => {
    const [a, b] = [await start('a1'), await start('b1')]
    introduce(a, b)
    const socket = createSocket('udp4')
    running.push({ stop: () => new Promise((resolve) => socket.close(() => resolve())) })
    for (const bytes of [Buffer.alloc(0), Buffer.from('GET / HTTP/1.1'), Buffer.alloc(1400, 0x52)])
      socket.send(bytes, portOf(b), '127.0.0.1')
    await vi.waitFor(() =>
      expect(Object.values(b.transport.stats().refused).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(3),
    )
    await talk(a, b, 'b1')
  })

  test('says so when an address is taken, and leaves no socket behind', async () => {
    const a = await start('a1')
    const taken = { name: 'storage', listenHost: '127.0.0.1', listenPort: portOf(a) }
    await expect(start('b1', { paths: [{ name: 'node', listenHost: '127.0.0.1', listenPort: 0 }, taken] })).rejects.toThrow(/EADDRINUSE/)
  })
})
