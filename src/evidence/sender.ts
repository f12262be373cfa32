/** The sending end of the transport: to which addresses, under which nonce and counter, and what could not be sent. */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:dgram'
import type { Incarnation, NodeId } from '../protocol/ids.ts'
import type { Address } from '../protocol/membership.ts'
import type { KeyRing } from './keys.ts'
import type { WireMessage } from './message-codec.ts'
import { encodePacket, NONCE_BYTES, type Nonce } from './wire.ts'

export interface Peer {
  readonly node: NodeId
  readonly addresses: readonly Address[]
}

export type UnsentReason = 'no-peer' | 'no-path' | 'too-large' | 'not-encodable' | 'system'

export interface SenderOptions {
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly keys: Pick<KeyRing, 'current'>
  /** Monotonic ms. */
  readonly clock: () => number
  readonly onUnsent?: (reason: UnsentReason, to: NodeId, cause?: unknown) => void
}

export interface Sender {
  /** On every path of that peer where none is named. */
  send(to: NodeId, message: WireMessage, path: string | undefined, receiverNonce: Nonce): void
  /** Teaches a peer our nonce; `echo` is the one it just showed, so that this very packet counts for it. */
  sendHello(to: NodeId, path: string, echo: Nonce): void
  setPeers(peers: readonly Peer[]): void
  isPeer(node: NodeId): boolean
  ownNonce(): Nonce
  renewNonce(): void
  leaveUnsent(reason: UnsentReason, to: NodeId, cause?: unknown): void
  sent(): number
  unsent(): { readonly [R in UnsentReason]?: number }
  /** Nothing is sent any more, and what fails while the sockets close is no news. */
  stop(): void
}

/** At most one hello to a peer in this time: the answer to a flood of replays is a trickle. */
const HELLO_EVERY_MS = 100

const freshNonce = (): Nonce => randomBytes(NONCE_BYTES).toString('hex') as Nonce

export function createSender(options: SenderOptions, sockets: ReadonlyMap<string, Socket>): Sender {
  const { node, incarnation, keys, clock } = options
  let ownNonce = freshNonce()
  let peers = new Map<NodeId, Peer>()
  const counters = new Map<NodeId, number>()
  const helloAtMs = new Map<NodeId, number>()
  const unsent: { [R in UnsentReason]?: number } = {}
  let sent = 0
  let isStopped = false

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

  function send(to: NodeId, message: WireMessage, path: string | undefined, receiverNonce: Nonce): void {
    if (isStopped) return
    const peer = peers.get(to)
    if (!peer) return leaveUnsent('no-peer', to)
    const addresses = path === undefined ? peer.addresses : peer.addresses.filter((address) => address.path === path)
    if (addresses.length === 0) return leaveUnsent('no-path', to)
    for (const address of addresses) transmit(to, address, message, receiverNonce)
  }

  return {
    send,
    sendHello(to, path, echo) {
      const nowMs = clock()
      if (nowMs - (helloAtMs.get(to) ?? -Infinity) < HELLO_EVERY_MS) return
      helloAtMs.set(to, nowMs)
      send(to, { kind: 'hello' }, path, echo)
    },
    setPeers(next) {
      peers = new Map(next.filter((peer) => peer.node !== node).map((peer) => [peer.node, peer]))
    },
    isPeer: (one) => peers.has(one),
    ownNonce: () => ownNonce,
    renewNonce() {
      ownNonce = freshNonce()
      counters.clear()
    },
    leaveUnsent,
    sent: () => sent,
    unsent: () => ({ ...unsent }),
    stop() {
      isStopped = true
    },
  }
}
