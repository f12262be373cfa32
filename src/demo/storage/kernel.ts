/** The demo's stand-in for DRBD's kernel module: one process a node, which hosts that node's replicas. Run as `kernel.ts <configuration file>`. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type ListenOptions, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { runCommand } from './commands.ts'
import type { Opener, Resource } from './device.ts'
import { commandPortFile } from './drbdsetup.ts'
import { changedLines, eventStamp, existingLines } from './render.ts'
import { openReplica, type Replica } from './replica.ts'
import { bringUp } from './resource.ts'
import { type Message, readLines } from './peer-connection.ts'
import type { ResourceConfig, ResourceState } from './state.ts'

export interface KernelConfig {
  /** Where the replicas' files lie. */
  readonly directory: string
  /** Unix socket for virtual machines and for drbdsetup's events. The port for its commands is written beside it. */
  readonly localSocket: string
  /** Unix socket behind the faulty link, at which peers' kernels arrive. */
  readonly peerSocket: string
  readonly resources: readonly ResourceConfig[]
}

/** What a local process asks for, one JSON object a line. */
type LocalRequest =
  | { readonly type: 'open'; readonly resource: string; readonly command: string; readonly pid: number }
  | { readonly type: 'read' }
  | { readonly type: 'write'; readonly line: string }
  | { readonly type: 'events'; readonly argv: readonly string[] }

export interface Kernel {
  readonly resources: ReadonlyMap<string, Resource>
  /** Ends it as a power loss does: nothing is written to a replica any more. */
  close(): Promise<void>
}

type Listener = (resource: Resource, before: ResourceState, after: ResourceState) => void

interface Door {
  readonly server: Server
  readonly sockets: ReadonlySet<Socket>
}

function listenAtPath(path: string, onConnection: (socket: Socket) => void): Promise<Door> {
  mkdirSync(dirname(path), { recursive: true })
  rmSync(path, { force: true })
  return listen({ path }, onConnection)
}

async function listenAtPort(portFile: string, onConnection: (socket: Socket) => void): Promise<Door> {
  const door = await listen({ host: '127.0.0.1', port: 0 }, onConnection)
  const address = door.server.address()
  writeFileSync(portFile, typeof address === 'object' && address !== null ? `${address.port}\n` : '')
  return door
}

async function listen(where: ListenOptions, onConnection: (socket: Socket) => void): Promise<Door> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    onConnection(socket)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(where, resolve)
  })
  return { server, sockets }
}

function serveEvents(socket: Socket, resources: ReadonlyMap<string, Resource>, listeners: Set<Listener>, argv: readonly string[]): void {
  const only = argv.find((word) => !word.startsWith('-'))
  const withStatistics = argv.includes('--statistics')
  const print = (lines: readonly string[]): void => {
    if (lines.length === 0) return
    const stamp = argv.includes('--timestamps') ? `${eventStamp(new Date())} ` : ''
    socket.write(lines.map((line) => `${stamp}${line}\n`).join(''))
  }
  for (const resource of resources.values()) {
    if (only === undefined || resource.config.name === only) print(existingLines(resource, withStatistics))
  }
  print(['exists -'])
  if (argv.includes('--now')) {
    socket.end()
    return
  }
  const listener: Listener = (resource, before, after) => {
    if (only === undefined || resource.config.name === only) print(changedLines(resource, before, after, withStatistics))
  }
  listeners.add(listener)
  socket.on('close', () => listeners.delete(listener))
}

/** Starts all replicas of a node. */
export async function startKernel(config: KernelConfig): Promise<Kernel> {
  const resources = new Map<string, Resource>()
  const listeners = new Set<Listener>()
  const replicas: Replica[] = []
  for (const resourceConfig of config.resources) {
    const replica = openReplica(config.directory, resourceConfig.name)
    replicas.push(replica)
    const resource: Resource = bringUp(resourceConfig, replica, (before, after) => {
      for (const listener of listeners) listener(resource, before, after)
    })
    resources.set(resourceConfig.name, resource)
  }
  const peers = await listenAtPath(config.peerSocket, (socket) => {
    const reader = readLines(socket, (line) => {
      const message = JSON.parse(line) as Message
      const resource = message.type === 'hello' ? resources.get(message.resource) : undefined
      if (resource === undefined || message.type !== 'hello') socket.destroy()
      else resource.session.accept(socket, message.side, reader)
    })
  })
  const locals = await listenAtPath(config.localSocket, (socket) => serveLocal(socket, resources, listeners))
  const commands = await listenAtPort(commandPortFile(config.localSocket), (socket) => serveCommand(socket, resources))
  for (const resource of resources.values()) resource.connect(false)
  return {
    resources,
    async close() {
      for (const replica of replicas) replica.halt()
      for (const resource of resources.values()) resource.session.stop()
      for (const { server, sockets } of [peers, locals, commands]) {
        for (const socket of sockets) socket.destroy()
        await new Promise((resolve) => server.close(resolve))
      }
    },
  }
}

/** One command a connection: its words, a line each, then an empty line. Answered with exit code and bytes of stderr in a line, stderr, stdout. */
function serveCommand(socket: Socket, resources: ReadonlyMap<string, Resource>): void {
  const argv: string[] = []
  const serve = async (): Promise<void> => {
    const { code, stdout, stderr } = await runCommand(resources, argv)
    if (!socket.destroyed) socket.end(`${code} ${Buffer.byteLength(stderr)}\n${stderr}${stdout}`)
  }
  readLines(socket, (word) => {
    if (word === '') void serve()
    else argv.push(word)
  })
}

function serveLocal(socket: Socket, resources: ReadonlyMap<string, Resource>, listeners: Set<Listener>): void {
  let opened: { resource: Resource; opener: Opener } | undefined
  const answer = (value: unknown): void => {
    if (!socket.destroyed) socket.write(`${JSON.stringify(value)}\n`)
  }
  const serve = async (request: LocalRequest): Promise<void> => {
    switch (request.type) {
      case 'open': {
        const resource = resources.get(request.resource)
        if (resource === undefined) {
          answer({ error: 'ENOENT', reason: `no resource ${request.resource} on this node` })
          return
        }
        const opener: Opener = { command: request.command, pid: request.pid, openedAt: new Date() }
        // As it was found: promotion itself calls a Consistent disk UpToDate.
        const { disk } = resource.state()
        const refusal = await resource.open(opener)
        if (refusal !== undefined) {
          answer({ error: 'EROFS', reason: `${refusal.text} (${refusal.code})` })
          return
        }
        if (socket.destroyed) {
          resource.close(opener)
          return
        }
        opened = { resource, opener }
        answer({ ok: true, disk })
        return
      }
      case 'read':
        answer(opened === undefined ? { error: 'EBADF' } : { ok: true, content: opened.resource.read() })
        return
      case 'write':
        if (opened === undefined) answer({ error: 'EBADF' })
        else opened.resource.write(request.line, (result) => answer(result === 'ok' ? { ok: true } : { error: result }))
        return
      case 'events':
        serveEvents(socket, resources, listeners, request.argv)
        return
    }
  }
  readLines(socket, (line) => void serve(JSON.parse(line) as LocalRequest))
  socket.on('close', () => {
    if (opened !== undefined) opened.resource.close(opened.opener)
  })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const file = process.argv[2]
  if (file === undefined) throw new Error('usage: kernel.ts <configuration file>')
  process.stdin.on('end', () => process.exit(0)).resume()
  await startKernel(JSON.parse(readFileSync(file, 'utf8')) as KernelConfig)
  process.stdout.write('up\n')
}
