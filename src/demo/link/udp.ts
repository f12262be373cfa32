/** A one-way datagram forwarder on loopback that loses, delays, doubles and reorders as its fault table says. */
import { createSocket } from 'node:dgram'
import type { Faults } from './faults.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

export interface Forwarder {
  readonly address: Address
  close(): Promise<void>
}

/** A number in [0, 100); given so that tests can make chance certain. */
export type Dice = () => number

/**
 * Forwards every datagram that arrives at the returned address to `target`. The receiver sees the forwarder as the source, which is why agents
 * answer to a peer's configured address and never to the address a packet came from: the way back is another forwarder with faults of its own.
 */
export async function startUdpForwarder(target: Address, faults: () => Faults, dice: Dice = () => Math.random() * 100): Promise<Forwarder> {
  const socket = createSocket('udp4')
  const pending = new Set<NodeJS.Timeout>()
  const send = (message: Buffer): void => {
    // A target that is not listening (a node without power) answers with ICMP; to the sender that is silence.
    socket.send(message, target.port, target.host, () => undefined)
  }
  socket.on('error', () => undefined)
  socket.on('message', (message) => {
    const now = faults()
    if (now.cut || dice() < now.lossPercent) return
    const copies = dice() < now.duplicatePercent ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      const delayMs = now.delayMs + (now.jitterMs * dice()) / 100
      if (delayMs <= 0) {
        send(message)
        continue
      }
      const timer = setTimeout(() => {
        pending.delete(timer)
        // A datagram in flight when the link is cut is lost with it.
        if (!faults().cut) send(message)
      }, delayMs)
      pending.add(timer)
    }
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(0, '127.0.0.1', () => {
      socket.off('error', reject)
      resolve()
    })
  })
  const { address: host, port } = socket.address()
  return {
    address: { host, port },
    close: () =>
      new Promise((resolve) => {
        for (const timer of pending) clearTimeout(timer)
        socket.close(() => resolve())
      }),
  }
}
