/**
 * Authenticated messages between agents over UDP, one socket a path. Packets go only to addresses that were configured, never to where one
 * came from; what is not verified, replayed or malformed is counted by its reason and teaches nothing.
 */
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { Incarnation, NodeId } from '../protocol/ids.ts'
import type { Address } from '../protocol/membership.ts'
import type { Join, Message } from '../protocol/messages.ts'
import type { KeyRing } from './keys.ts'
import { createSender, type Peer, type Sender, type UnsentReason } from './sender.ts'
import { judge, NEW_SESSION, type LatestStatements, type Session, withStatement } from './session.ts'
import type { StorageReport } from './storage-report.ts'
import { decodePacket, NO_NONCE, type Nonce, type Packet, type PacketRefusal } from './wire.ts'

export type { Peer } from './sender.ts'

export interface ListenPath {
  readonly name: string
  readonly listenHost: string
  /** 0: any free one, for tests; `addresses()` tells which. */
  readonly listenPort: number
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

export type ReceiveRefusal = PacketRefusal | 'self' | 'stranger' | 'wrong-path' | 'unverified' | 'replayed' | 'retired' | 'overtaken'

export interface TransportStats {
  readonly sent: number
  readonly received: number
  readonly refused: { readonly [R in ReceiveRefusal]?: number }
  readonly unsent: { readonly [R in UnsentReason]?: number }
}

export interface TransportOptions {
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly paths: readonly ListenPath[]
  readonly keys: Pick<KeyRing, 'current' | 'accepted'>
  /** Monotonic ms. */
  readonly clock: () => number
  readonly onRefused?: (reason: ReceiveRefusal, from: NodeId | undefined, path: string) => void
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
  const { node, paths, keys, clock } = options
  const sockets = await boundAll(paths)
  const refused: { [R in ReceiveRefusal]?: number } = {}
  const refuse: Refuse = (reason, from, path) => {
    refused[reason] = (refused[reason] ?? 0) + 1
    options.onRefused?.(reason, from, path)
  }
  const sender = createSender(options, sockets)
  const receiver = createReceiver(options, sender, refuse)
  for (const [path, socket] of sockets) {
    socket.on('message', (bytes) => {
      const atMs = clock()
      const decoded = decodePacket(bytes, node, keys.accepted())
      if (decoded.isTaken) receiver.take(decoded.packet, path, atMs)
      else refuse(decoded.refusal, undefined, path)
    })
    socket.on('error', (error) => sender.leaveUnsent('system', node, error))
  }

  let isStopped = false
  return {
    send: (to, message, path) => sender.send(to, message, path, receiver.nonceOf(to)),
    setPeers: (peers) => sender.setPeers(peers),
    onMessage: (listener) => receiver.onMessage(listener),
    stats: () => ({ sent: sender.sent(), received: receiver.received(), refused: { ...refused }, unsent: sender.unsent() }),
    addresses: () =>
      paths.flatMap(({ name }) => {
        const socket = sockets.get(name)
        return socket ? [{ path: name, host: socket.address().address, port: socket.address().port }] : []
      }),
    async stop() {
      if (isStopped) return
      isStopped = true
      sender.stop()
      await Promise.all([...sockets.values()].map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))))
    },
  }
}

async function boundAll(paths: readonly ListenPath[]): Promise<ReadonlyMap<string, Socket>> {
  const sockets = new Map<string, Socket>()
  try {
    for (const path of paths) sockets.set(path.name, await bound(path))
  } catch (error) {
    for (const socket of sockets.values()) socket.close()
    throw error
  }
  return sockets
}

type Refuse = (reason: ReceiveRefusal, from: NodeId | undefined, path: string) => void

interface Receiver {
  take(packet: Packet, path: string, atMs: number): void
  onMessage(listener: (received: Received) => void): void
  received(): number
  /** What a peer showed last, for what is sent to it; none before it was heard. */
  nonceOf(peer: NodeId): Nonce
}

/** Takes what is verified and new of a peer, and tells nobody of the rest. */
function createReceiver({ node, onStranger }: TransportOptions, sender: Sender, refuse: Refuse): Receiver {
  const sessions = new Map<NodeId, Session>()
  const said = new Map<NodeId, LatestStatements>()
  let listener: (received: Received) => void = () => undefined
  let received = 0
  return {
    take(packet, path, atMs) {
      const { sender: from, message } = packet
      if (from === node) return refuse('self', from, path)
      if (packet.path !== path) return refuse('wrong-path', from, path)
      if (!sender.isPeer(from)) {
        refuse('stranger', from, path)
        if (message.kind === 'join') onStranger?.(from, packet.incarnation, message)
        return
      }
      const verdict = judge(sessions.get(from) ?? NEW_SESSION, packet, sender.ownNonce())
      if (verdict.kind !== 'taken') {
        refuse(verdict.kind, from, path)
        if (verdict.kind === 'unverified') sender.sendHello(from, path, packet.senderNonce)
        return
      }
      sessions.set(from, verdict.session)
      if (verdict.isNonceUsedUp) sender.renewNonce()
      if (message.kind === 'hello') {
        // It knows our nonce and we now know its own: one answer, so that it may take ours for true as well.
        if (verdict.isNewLife) sender.sendHello(from, path, packet.senderNonce)
        return
      }
      const latestNow = withStatement(said.get(from), packet)
      if (!latestNow) return refuse('overtaken', from, path)
      said.set(from, latestNow)
      received += 1
      listener({ from, incarnation: packet.incarnation, life: packet.senderNonce, path, message, atMs })
    },
    onMessage(next) {
      listener = next
    },
    received: () => received,
    nonceOf: (peer) => sessions.get(peer)?.peerNonce ?? NO_NONCE,
  }
}
