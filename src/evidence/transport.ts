/**
 * Authenticated messages between agents over UDP, one socket a path. Packets go only to addresses that were configured, never to where one
 * came from; what is not verified, replayed or malformed is counted by its reason and teaches nothing.
 */
import { randomBytes } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { Incarnation, NodeId } from '../protocol/ids.ts'
import type { Address } from '../protocol/membership.ts'
import type { Join, Message } from '../protocol/messages.ts'
import type { KeyRing } from './keys.ts'
import type { WireMessage } from './message-codec.ts'
import { judge, NEW_SESSION, type Said, type Session, withSaid } from './session.ts'
import type { StorageReport } from './storage-report.ts'
import { decodePacket, encodePacket, NO_NONCE, NONCE_BYTES, type Nonce, type Packet, type PacketRefusal } from './wire.ts'

export interface ListenPath {
  readonly name: string
  readonly listenHost: string
  /** 0: any free one, for tests; `addresses()` tells which. */
  readonly listenPort: number
}

export interface Peer {
  readonly node: NodeId
  readonly addresses: readonly Address[]
}

export interface Received {
  readonly from: NodeId
  readonly incarnation: Incarnation
  /** One life of the sender's process. */
  readonly life: string
  readonly path: string
  readonly message: Message | StorageReport
  /** This node's clock when the packet was read. */
  readonly atMs: number
}

export type RefusalReason = PacketRefusal | 'self' | 'stranger' | 'wrong-path' | 'unverified' | 'replayed' | 'retired' | 'overtaken'
export type UnsentReason = 'no-peer' | 'no-path' | 'too-large' | 'not-encodable' | 'system'

export interface TransportStats {
  readonly sent: number
  readonly received: number
  readonly refused: { readonly [R in RefusalReason]?: number }
  readonly unsent: { readonly [R in UnsentReason]?: number }
}

export interface TransportOptions {
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly paths: readonly ListenPath[]
  readonly keys: Pick<KeyRing, 'current' | 'accepted'>
  /** Monotonic ms. */
  readonly clock: () => number
  readonly onRefused?: (reason: RefusalReason, from: NodeId | undefined, path: string) => void
  readonly onUnsent?: (reason: UnsentReason, to: NodeId, cause?: unknown) => void
  /**
   * A node that is no peer asks to join. Authenticated, but it may be a replay: add its addresses with `setPeers`, then its next `join` is
   * verified and comes by `onMessage`.
   */
  readonly onStranger?: (from: NodeId, incarnation: Incarnation, join: Join) => void
}

export interface Transport {
  /** On every path of that peer, or on `path` alone. Loss is the network's right: nothing is repeated. */
  send(to: NodeId, message: Message | StorageReport, path?: string): void
  /** Replaces the peers before; replay protection outlives a peer's removal. */
  setPeers(peers: readonly Peer[]): void
  onMessage(listener: (received: Received) => void): void
  stats(): TransportStats
  /** Where it listens: path, host and the port in use. */
  addresses(): readonly Address[]
  stop(): Promise<void>
}

/** At most one hello to a peer in this time: the answer to a flood of replays is a trickle. */
const HELLO_EVERY_MS = 100

const freshNonce = (): Nonce => randomBytes(NONCE_BYTES).toString('hex') as Nonce

function bound(path: ListenPath): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({ type: isIPv6(path.listenHost) ? 'udp6' : 'udp4' })
    socket.once('error', reject)
    socket.bind(path.listenPort, path.listenHost, () => {
      socket.removeListener('error', reject)
      resolve(socket)
    })
  })
}

/** @throws the system's error when a path's address cannot be bound. */
export async function createTransport(options: TransportOptions): Promise<Transport> {
  const { node, incarnation, keys, clock } = options
  const sockets = new Map<string, Socket>()
  try {
    for (const path of options.paths) sockets.set(path.name, await bound(path))
  } catch (error) {
    for (const socket of sockets.values()) socket.close()
    throw error
  }

  let ownNonce = freshNonce()
  let peers = new Map<NodeId, Peer>()
  const sessions = new Map<NodeId, Session>()
  const said = new Map<NodeId, Said>()
  const counters = new Map<NodeId, number>()
  const helloAtMs = new Map<NodeId, number>()
  let listener: (received: Received) => void = () => undefined
  let sent = 0
  let received = 0
  const refused: { [R in RefusalReason]?: number } = {}
  const unsent: { [R in UnsentReason]?: number } = {}
  let isStopped = false

  function refuse(reason: RefusalReason, from: NodeId | undefined, path: string): void {
    refused[reason] = (refused[reason] ?? 0) + 1
    options.onRefused?.(reason, from, path)
  }

  function leaveUnsent(reason: UnsentReason, to: NodeId, cause?: unknown): void {
    unsent[reason] = (unsent[reason] ?? 0) + 1
    options.onUnsent?.(reason, to, cause)
  }

  function transmit(to: NodeId, address: Address, message: WireMessage, receiverNonce: Nonce): void {
    const socket = sockets.get(address.path)
    if (!socket) return leaveUnsent('no-path', to)
    const counter = (counters.get(to) ?? 0) + 1
    counters.set(to, counter)
    const encoded = encodePacket(
      { sender: node, incarnation, senderNonce: ownNonce, receiverNonce, counter, path: address.path, message },
      to,
      keys.current(),
    )
    if (!encoded.isWhole) return leaveUnsent(encoded.reason, to)
    try {
      socket.send(encoded.bytes, address.port, address.host, (error) => {
        if (error && !isStopped) leaveUnsent('system', to, error)
      })
      sent += 1
    } catch (error) {
      leaveUnsent('system', to, error)
    }
  }

  function sendTo(to: NodeId, message: WireMessage, path: string | undefined, receiverNonce: Nonce): void {
    if (isStopped) return
    const peer = peers.get(to)
    if (!peer) return leaveUnsent('no-peer', to)
    const addresses = path === undefined ? peer.addresses : peer.addresses.filter((address) => address.path === path)
    if (addresses.length === 0) return leaveUnsent('no-path', to)
    for (const address of addresses) transmit(to, address, message, receiverNonce)
  }

  /** Teaches a peer our nonce; `echo` is the one it just showed, so that this very packet counts for it. */
  function sendHello(to: NodeId, path: string, echo: Nonce): void {
    const nowMs = clock()
    if (nowMs - (helloAtMs.get(to) ?? -Infinity) < HELLO_EVERY_MS) return
    helloAtMs.set(to, nowMs)
    sendTo(to, { kind: 'hello' }, path, echo)
  }

  function take(packet: Packet, path: string, atMs: number): void {
    const { sender, message } = packet
    if (sender === node) return refuse('self', sender, path)
    if (packet.path !== path) return refuse('wrong-path', sender, path)
    if (!peers.has(sender)) {
      refuse('stranger', sender, path)
      if (message.kind === 'join') options.onStranger?.(sender, packet.incarnation, message)
      return
    }
    const verdict = judge(sessions.get(sender) ?? NEW_SESSION, packet, ownNonce)
    if (verdict.kind !== 'taken') {
      refuse(verdict.kind, sender, path)
      if (verdict.kind === 'unverified') sendHello(sender, path, packet.senderNonce)
      return
    }
    sessions.set(sender, verdict.session)
    if (verdict.needsNewNonce) {
      ownNonce = freshNonce()
      counters.clear()
    }
    if (message.kind === 'hello') {
      // It knows our nonce and we now know its own: one answer, so that it may take ours for true as well.
      if (verdict.isNewLife) sendHello(sender, path, packet.senderNonce)
      return
    }
    const saidNow = withSaid(said.get(sender), packet)
    if (!saidNow) return refuse('overtaken', sender, path)
    said.set(sender, saidNow)
    received += 1
    listener({ from: sender, incarnation: packet.incarnation, life: packet.senderNonce, path, message, atMs })
  }

  for (const [path, socket] of sockets) {
    socket.on('message', (bytes) => {
      const atMs = clock()
      const decoded = decodePacket(bytes, node, keys.accepted())
      if (decoded.isTaken) take(decoded.packet, path, atMs)
      else refuse(decoded.refusal, undefined, path)
    })
    socket.on('error', (error) => leaveUnsent('system', node, error))
  }

  return {
    send: (to, message, path) => sendTo(to, message, path, sessions.get(to)?.peerNonce ?? NO_NONCE),
    setPeers(next) {
      peers = new Map(next.filter((peer) => peer.node !== node).map((peer) => [peer.node, peer]))
    },
    onMessage(next) {
      listener = next
    },
    stats: () => ({ sent, received, refused: { ...refused }, unsent: { ...unsent } }),
    addresses: () =>
      options.paths.flatMap(({ name }) => {
        const socket = sockets.get(name)
        return socket ? [{ path: name, host: socket.address().address, port: socket.address().port }] : []
      }),
    async stop() {
      if (isStopped) return
      isStopped = true
      await Promise.all([...sockets.values()].map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))))
    },
  }
}
