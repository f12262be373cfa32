/** The connection between two replicas: dialling, a three-step handshake, messages, and pings that notice a silent loss. */
import { connect, type Socket } from 'node:net'
import { type HandshakeSide, holdsHandshake, type ResourceConfig } from './state.ts'

/** What two replicas that have met say to each other. */
export type PeerMessage =
  | { readonly type: 'write'; readonly sequence: number; readonly line: string }
  | { readonly type: 'written'; readonly sequence: number }
  | { readonly type: 'state'; readonly role: HandshakeSide['role']; readonly disk: HandshakeSide['disk'] }
  | { readonly type: 'content'; readonly text: string; readonly generation: HandshakeSide['generation'] }
  | { readonly type: 'synced' }
  | { readonly type: 'promote' }
  | { readonly type: 'promoteAnswer'; readonly isAllowed: boolean }
  | { readonly type: 'bye'; readonly outdateYourself: boolean }
  | { readonly type: 'byeAnswer' }

/** Everything on the wire, one JSON object a line. */
export type Message =
  | PeerMessage
  | { readonly type: 'hello'; readonly resource: string; readonly side: HandshakeSide }
  | { readonly type: 'helloReply'; readonly side: HandshakeSide }
  | { readonly type: 'joined' }
  | { readonly type: 'ping' }
  | { readonly type: 'pong' }

type LossReason = 'NetworkFailure' | 'BrokenPipe'

export interface PeerConnectionEvents {
  /** This side as it is now; a handshake that this no longer fits is dropped and tried again. */
  side(): HandshakeSide
  joined(peer: HandshakeSide, mine: HandshakeSide): void
  message(message: PeerMessage): void
  lost(reason: LossReason): void
}

export interface PeerConnection {
  /** Starts looking for the peer (Connecting). */
  start(): void
  /** Gives the connection up and stays alone. No `lost` is reported. */
  stop(): void
  /** A peer that dialled us; its hello has been read. Refused while stopped. */
  accept(socket: Socket, peer: HandshakeSide, rest: LineReader): void
  send(message: PeerMessage): void
  isJoined(): boolean
}

export interface LineReader {
  onLine: (line: string) => void
}

/** Splits a stream into lines; `onLine` may be replaced while it runs. */
export function readLines(socket: Socket, onLine: (line: string) => void): LineReader {
  const reader: LineReader = { onLine }
  let rest = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk) => {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) reader.onLine(line)
  })
  return reader
}

/** A session that is not yet started. */
export function createPeerConnection(config: ResourceConfig, events: PeerConnectionEvents): PeerConnection {
  let isRunning = false
  let socket: Socket | undefined
  let hasJoined = false
  let redial: NodeJS.Timeout | undefined
  let pulse: NodeJS.Timeout | undefined
  let heardAtMs = 0
  let pingedAtMs: number | undefined

  const isTrueFor = (peer: HandshakeSide, told: HandshakeSide): boolean =>
    holdsHandshake(told, events.side(), peer, config.allowTwoPrimaries)

  const write = (to: Socket, message: Message): void => {
    if (!to.destroyed) to.write(`${JSON.stringify(message)}\n`)
  }

  const drop = (reason: LossReason | undefined): void => {
    const wasJoined = hasJoined
    const old = socket
    socket = undefined
    hasJoined = false
    pingedAtMs = undefined
    clearTimeout(pulse)
    clearTimeout(redial)
    old?.destroy()
    if (wasJoined && reason !== undefined) events.lost(reason)
    if (isRunning && config.dial !== undefined) redial = setTimeout(dial, config.connectIntMs)
  }

  const beat = (from: Socket): void => {
    if (socket !== from || !hasJoined) return
    const nowMs = performance.now()
    if (pingedAtMs !== undefined && nowMs - pingedAtMs > config.pingTimeoutMs) {
      const askedAtMs = pingedAtMs
      // An answer may be waiting unread when this process itself was late: read first, then judge.
      setImmediate(() => {
        if (socket === from && pingedAtMs === askedAtMs) drop('NetworkFailure')
        else if (socket === from) pulse = setTimeout(beat, 20, from)
      })
      return
    }
    if (pingedAtMs === undefined && nowMs - heardAtMs >= config.pingIntMs) {
      pingedAtMs = nowMs
      write(from, { type: 'ping' })
    }
    pulse = setTimeout(beat, Math.max(20, Math.min(config.pingTimeoutMs, config.pingIntMs) / 5), from)
  }

  const join = (from: Socket, peer: HandshakeSide, mine: HandshakeSide): void => {
    hasJoined = true
    heardAtMs = performance.now()
    pulse = setTimeout(beat, 20, from)
    events.joined(peer, mine)
  }

  const receive = (from: Socket, line: string): void => {
    if (socket !== from || line === '') return
    heardAtMs = performance.now()
    const message = JSON.parse(line) as Message
    if (message.type === 'ping') write(from, { type: 'pong' })
    else if (message.type === 'pong') pingedAtMs = undefined
    else if (message.type !== 'hello' && message.type !== 'helloReply' && message.type !== 'joined') events.message(message)
  }

  const watch = (from: Socket): void => {
    from.setNoDelay(true)
    from.on('error', () => undefined)
    from.on('close', () => {
      if (socket === from) drop('NetworkFailure')
    })
  }

  function dial(): void {
    if (!isRunning || socket !== undefined || config.dial === undefined) return
    const near = connect(config.dial.port, config.dial.host)
    socket = near
    watch(near)
    const limit = setTimeout(
      () => {
        if (socket === near && !hasJoined) drop(undefined)
      },
      config.pingIntMs + 2 * config.pingTimeoutMs,
    )
    near.on('close', () => clearTimeout(limit))
    const mine = events.side()
    write(near, { type: 'hello', resource: config.name, side: mine })
    const reader = readLines(near, (line) => {
      if (socket !== near || line === '') return
      const reply = JSON.parse(line) as Message
      if (reply.type !== 'helloReply' || !isTrueFor(reply.side, mine)) {
        drop(undefined)
        return
      }
      clearTimeout(limit)
      reader.onLine = (next) => receive(near, next)
      write(near, { type: 'joined' })
      join(near, reply.side, mine)
    })
  }

  return {
    start() {
      if (isRunning) return
      isRunning = true
      dial()
    },
    stop() {
      isRunning = false
      drop(undefined)
    },
    accept(far, peer, reader) {
      if (!isRunning) {
        far.destroy()
        return
      }
      watch(far)
      const limit = setTimeout(() => far.destroy(), config.pingIntMs + 2 * config.pingTimeoutMs)
      far.on('close', () => clearTimeout(limit))
      const mine = events.side()
      write(far, { type: 'helloReply', side: mine })
      // Only the dialler's answer proves that this hello is not one that a cut link has held for minutes: until then what there is stays.
      reader.onLine = (line) => {
        if (line === '' || far.destroyed) return
        clearTimeout(limit)
        const isAnswer = (JSON.parse(line) as Message).type === 'joined'
        if (isAnswer && isRunning && socket !== undefined) drop('BrokenPipe')
        if (!isAnswer || !isRunning || !isTrueFor(peer, mine)) {
          far.destroy()
          return
        }
        socket = far
        reader.onLine = (next) => receive(far, next)
        join(far, peer, mine)
      }
    },
    send(message) {
      if (socket !== undefined && hasJoined) write(socket, message)
    },
    isJoined: () => hasJoined,
  }
}
