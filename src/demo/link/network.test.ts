/** What the faulty link does to real datagrams and streams. */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createNetwork, type Network } from './network.ts'
import { freeTcpPort, freeUdpPort, loopbackAddress } from './ports.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

function network(dice?: () => number): Network {
  const made = createNetwork(dice)
  closers.push(() => made.close())
  return made
}

async function receiver(): Promise<{ port: number; got: string[]; socket: DatagramSocket }> {
  const socket = createSocket('udp4')
  const got: string[] = []
  socket.on('message', (message) => got.push(message.toString()))
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  closers.push(() => socket.close())
  return { port: socket.address().port, got, socket }
}

async function echoServer(): Promise<{ port: number; server: Server; ended: () => number }> {
  let ends = 0
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => socket.write(chunk))
    socket.on('close', () => ends++)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => server.close())
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { port: address.port, server, ended: () => ends }
}

function client(port: number): { socket: Socket; got: () => string; closed: () => boolean } {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  let closed = false
  socket.on('data', (chunk) => (text += chunk.toString()))
  socket.on('error', () => undefined)
  socket.on('close', () => (closed = true))
  closers.push(() => socket.destroy())
  return { socket, got: () => text, closed: () => closed }
}

const until = (what: () => void): Promise<void> => vi.waitFor(what, { timeout: 20_000, interval: 5 })

describe('datagrams', () => {
  test('a datagram reaches its target, and none passes a cut link until it heals', async () => {
    const net = network()
    const target = await receiver()
    const there = await net.udp({ from: 'room-a', to: 'room-b', target: { host: '127.0.0.1', port: target.port } })
    const sender = await receiver()
    sender.socket.send('one', there.port, there.host)
    await until(() => expect(target.got).toEqual(['one']))
    net.cut('room-a', 'room-b')
    sender.socket.send('lost', there.port, there.host)
    // A second way to the same target proves that the first datagram has been seen and dropped.
    const witness = await net.udp({ from: 'witness', to: 'room-b', target: { host: '127.0.0.1', port: target.port } })
    sender.socket.send('from the witness', witness.port, witness.host)
    await until(() => expect(target.got).toEqual(['one', 'from the witness']))
    net.heal('room-a', 'room-b')
    sender.socket.send('two', there.port, there.host)
    await until(() => expect(target.got).toEqual(['one', 'from the witness', 'two']))
  })

  test('a one-way cut leaves the other direction open', async () => {
    const net = network()
    const [a, b] = [await receiver(), await receiver()]
    const toB = await net.udp({ from: 'room-a', to: 'room-b', target: { host: '127.0.0.1', port: b.port } })
    const toA = await net.udp({ from: 'room-b', to: 'room-a', target: { host: '127.0.0.1', port: a.port } })
    net.cut('room-a', 'room-b', { direction: 'forward' })
    a.socket.send('lost', toB.port, toB.host)
    b.socket.send('heard', toA.port, toA.host)
    await until(() => expect(a.got).toEqual(['heard']))
    expect(b.got).toEqual([])
    expect(net.reaches('room-a', 'room-b')).toBe(false)
  })

  test('loss and doubling follow the dice', async () => {
    let next = 50
    const net = network(() => next)
    const target = await receiver()
    const there = await net.udp({ from: 'room-a', to: 'room-b', target: { host: '127.0.0.1', port: target.port } })
    const sender = await receiver()
    net.setFaults('room-a', 'room-b', { lossPercent: 40, duplicatePercent: 60 })
    sender.socket.send('twice', there.port, there.host)
    await until(() => expect(target.got).toEqual(['twice', 'twice']))
    next = 30
    sender.socket.send('lost', there.port, there.host)
    net.setLoss('room-a', 'room-b', 0)
    sender.socket.send('once', there.port, there.host)
    await until(() => expect(target.got).toContain('once'))
  })

  test('an isolated node is silent while its room goes on', async () => {
    const net = network()
    const target = await receiver()
    const port = { host: '127.0.0.1', port: target.port }
    const fromA1 = await net.udp({ from: { site: 'room-a', node: 'a1' }, to: 'room-b', target: port })
    const fromA2 = await net.udp({ from: { site: 'room-a', node: 'a2' }, to: 'room-b', target: port })
    net.isolate('a1')
    const sender = await receiver()
    sender.socket.send('a1', fromA1.port, fromA1.host)
    sender.socket.send('a2', fromA2.port, fromA2.host)
    await until(() => expect(target.got).toEqual(['a2']))
    expect(net.reaches({ site: 'room-a', node: 'a1' }, { site: 'room-a', node: 'a2' })).toBe(false)
    net.restore('a1')
    sender.socket.send('a1', fromA1.port, fromA1.host)
    await until(() => expect(target.got).toEqual(['a2', 'a1']))
  })
})

describe('streams', () => {
  test('a cut stalls a connection without closing it, and a heal lets the held bytes through in order', async () => {
    const net = network()
    const server = await echoServer()
    const there = await net.tcp({ from: 'room-a', to: 'witness', target: { host: '127.0.0.1', port: server.port } })
    const one = client(there.port)
    one.socket.write('a')
    await until(() => expect(one.got()).toBe('a'))
    net.cut('room-a', 'witness')
    one.socket.write('b')
    one.socket.write('c')
    const other = await net.tcp({ from: 'room-b', to: 'witness', target: { host: '127.0.0.1', port: server.port } })
    const two = client(other.port)
    two.socket.write('x')
    await until(() => expect(two.got()).toBe('x'))
    expect([one.got(), one.closed()]).toEqual(['a', false])
    net.heal('room-a', 'witness')
    await until(() => expect(one.got()).toBe('abc'))
  })

  test('the end of a process behind a cut link is learned only after the heal', async () => {
    const net = network()
    const server = await echoServer()
    const there = await net.tcp({ from: 'room-a', to: 'room-b', target: { host: '127.0.0.1', port: server.port } })
    const one = client(there.port)
    one.socket.write('a')
    await until(() => expect(one.got()).toBe('a'))
    net.isolate('room-a')
    one.socket.destroy()
    await until(() => expect(one.closed()).toBe(true))
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(server.ended()).toBe(0)
    net.restore('room-a')
    await until(() => expect(server.ended()).toBe(1))
  })

  test('bytes that a slow link still holds when it is cut wait for the heal, in order', async () => {
    const net = network(() => 0)
    const server = await echoServer()
    const there = await net.tcp({ from: 'room-a', to: 'room-b', target: { host: '127.0.0.1', port: server.port } })
    const one = client(there.port)
    one.socket.write('a')
    await until(() => expect(one.got()).toBe('a'))
    net.setFaults('room-a', 'room-b', { delayMs: 100 }, { direction: 'forward' })
    one.socket.write('b')
    await new Promise((resolve) => setTimeout(resolve, 30))
    net.setFaults('room-a', 'room-b', { delayMs: 100, cut: true }, { direction: 'forward' })
    await new Promise((resolve) => setTimeout(resolve, 150))
    one.socket.write('c')
    expect(one.got()).toBe('a')
    net.heal('room-a', 'room-b')
    await until(() => expect(one.got()).toBe('abc'))
  })

  test('a connection opened over a cut link reaches its target after the heal', async () => {
    const net = network()
    const server = await echoServer()
    const there = await net.tcp({ from: 'room-a', to: 'room-b', target: { host: '127.0.0.1', port: server.port } })
    net.cut('room-a', 'room-b')
    const one = client(there.port)
    one.socket.write('early')
    await until(() => expect(one.socket.connecting).toBe(false))
    expect(one.got()).toBe('')
    net.heal('room-a', 'room-b')
    await until(() => expect(one.got()).toBe('early'))
  })
})

test('a run of the demo gets an address of its own with free ports on it', async () => {
  const host = loopbackAddress()
  expect(host).toMatch(/^127\.\d+\.\d+\.\d+$/)
  expect(host).not.toBe('127.0.0.1')
  expect(await freeUdpPort(host)).toBeGreaterThan(1023)
  expect(await freeTcpPort(host)).toBeGreaterThan(1023)
})

describe('one of several networks between two sites', () => {
  test('is cut without the others, and healed with them', () => {
    const net = network()
    const [a, b] = [
      { site: 'room-a', node: 'a1' },
      { site: 'room-b', node: 'b1' },
    ]
    const reaches = (path: string): boolean => net.reaches({ ...a, path }, { ...b, path })
    net.cut('room-a', 'room-b', { path: 'storage' })
    expect([reaches('node'), reaches('storage'), net.reaches(a, b)]).toEqual([true, false, true])
    net.cut('room-a', 'b1')
    expect([reaches('node'), reaches('storage')]).toEqual([false, false])
    net.heal('b1', 'room-a')
    expect([reaches('node'), reaches('storage')]).toEqual([true, false])
    net.heal('room-b', 'room-a')
    expect(reaches('storage')).toBe(true)
  })
})
