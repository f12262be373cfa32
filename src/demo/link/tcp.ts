/** A stream forwarder on loopback: a cut link is a black hole (bytes and endings wait until it heals), never a reset. */
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Faults } from './faults.ts'
import type { Dice, Forwarder } from './udp.ts'

export type StreamTarget = { readonly host: string; readonly port: number } | { readonly path: string }

/** A lost segment is sent again after this long: TCP shows loss as delay. */
const RETRANSMIT_MS = 200

interface Flow {
  /** Looks at the faults again: a healed direction goes on, and an ending that waited is passed on. */
  review(): void
  stop(): void
}

/** One direction of a connection. Bytes are read only while the direction is open, so a cut one fills the sender's buffers as a real one does. */
function startFlow(source: Socket, sink: Socket, faults: () => Faults, dice: Dice): Flow {
  const queue: Buffer[] = []
  let ending: 'none' | 'ended' | 'closed' = 'none'
  let timer: NodeJS.Timeout | undefined
  let draining = false

  const pump = (): void => {
    timer = undefined
    if (faults().cut || draining || sink.destroyed) return
    const chunk = queue.shift()
    if (chunk !== undefined) {
      if (!sink.write(chunk)) {
        draining = true
        sink.once('drain', () => {
          draining = false
          schedule()
        })
      }
      schedule()
      return
    }
    if (ending === 'closed') sink.destroy()
    else if (ending === 'ended') sink.end()
    else source.resume()
  }
  const schedule = (): void => {
    if (timer !== undefined) return
    const now = faults()
    if (now.cut) {
      source.pause()
      return
    }
    const delayMs = queue.length === 0 ? 0 : now.delayMs + (now.jitterMs * dice()) / 100 + (dice() < now.lossPercent ? RETRANSMIT_MS : 0)
    if (delayMs <= 0) pump()
    else timer = setTimeout(pump, delayMs)
  }
  source.on('data', (chunk: Buffer) => {
    queue.push(chunk)
    if (queue.length > 64 || faults().cut) source.pause()
    schedule()
  })
  source.on('end', () => {
    if (ending === 'none') ending = 'ended'
    schedule()
  })
  source.on('close', () => {
    ending = 'closed'
    schedule()
  })
  source.on('error', () => undefined)
  return {
    review: schedule,
    stop() {
      if (timer !== undefined) clearTimeout(timer)
    },
  }
}

/**
 * Forwards connections to `target`. `forward` gives the faults from the caller to the target, `backward` those of the way back. A connection that
 * is opened over a cut link is accepted (loopback leaves no choice) but reaches its target only after the heal. `review` must be called whenever
 * the faults may have changed.
 */
export async function startTcpForwarder(
  target: StreamTarget,
  forward: () => Faults,
  backward: () => Faults,
  dice: Dice = () => Math.random() * 100,
): Promise<Forwarder & { review(): void }> {
  const connections = new Set<{ review(): void; stop(): void }>()

  const accept = (caller: Socket): void => {
    let callee: Socket | undefined
    let flows: readonly Flow[] = []
    caller.on('error', () => undefined)
    caller.pause()
    const open = (): void => {
      if (callee !== undefined || forward().cut || backward().cut) return
      if (caller.destroyed) {
        connections.delete(entry)
        return
      }
      callee = 'path' in target ? connect(target.path) : connect(target.port, target.host)
      const far = callee
      far.setNoDelay(true)
      far.on('error', () => undefined)
      flows = [startFlow(caller, far, forward, dice), startFlow(far, caller, backward, dice)]
      caller.resume()
      const forget = (): void => {
        if (caller.destroyed && far.destroyed) connections.delete(entry)
      }
      caller.on('close', forget)
      far.on('close', forget)
    }
    const entry = {
      review: (): void => {
        open()
        for (const flow of flows) flow.review()
      },
      stop: (): void => {
        for (const flow of flows) flow.stop()
        caller.destroy()
        callee?.destroy()
      },
    }
    connections.add(entry)
    caller.setNoDelay(true)
    open()
  }

  const server: Server = createServer({ allowHalfOpen: true }, accept)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('a stream forwarder has no port')
  return {
    address: { host: bound.address, port: bound.port },
    review: () => {
      for (const connection of connections) connection.review()
    },
    close: () =>
      new Promise((resolve) => {
        for (const connection of connections) connection.stop()
        server.close(() => resolve())
      }),
  }
}
