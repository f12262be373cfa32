/** An HTTPS proxy before either world's API server, for what goes wrong on the way: slow, silent, refused, answered with an error. Watches pass through. */
import { once } from 'node:events'
import { type IncomingMessage, request as plainRequest, type RequestOptions, type ServerResponse } from 'node:http'
import { Agent, createServer, request as secureRequest } from 'node:https'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createAuthority } from '../../src/demo/certificates.ts'
import type { Access } from './api-client.ts'

export interface ProxyFault {
  /** By default all requests. `path` is without its query; a watch has method WATCH. */
  readonly appliesTo?: (request: { readonly method: string; readonly path: string }) => boolean
  /** Waits before the request goes on. */
  readonly latencyMs?: number
  /** Answered with this instead of being sent on. */
  readonly answer?: { readonly status: 429 | 500 | 503 | 504; readonly retryAfterSeconds?: number }
  /** Never answered, and never sent on. */
  readonly isHanging?: boolean
}

export interface ProxiedRequest {
  readonly method: string
  readonly path: string
  readonly atMs: number
  /** Requests with the same method that were under way when it came, itself among them. */
  readonly together: number
  /** HTTP status; 0 while there is none. */
  status: number
}

export interface ApiProxy {
  /** As the world's, through the proxy. */
  readonly access: Access
  /** Everything that came, in order. */
  readonly requests: readonly ProxiedRequest[]
  /** Replaces the faults in force; none of them ends all. */
  set(...faults: readonly ProxyFault[]): void
  /** Connections are refused, open ones dropped, until `accept`. */
  refuse(): Promise<void>
  accept(): Promise<void>
  dropConnections(): void
  close(): Promise<void>
}

const reasons = { 429: 'TooManyRequests', 500: 'InternalError', 503: 'ServiceUnavailable', 504: 'Timeout' } as const

export async function startApiProxy(to: Access): Promise<ApiProxy> {
  const authority = createAuthority('proxy of a test')
  const certificate = authority.server('kube-apiserver', ['localhost', '127.0.0.1'])
  const target = new URL(to.url)
  const agent = new Agent({ keepAlive: true, ca: to.caPem })
  const send = target.protocol === 'http:' ? plainRequest : secureRequest
  const sockets = new Set<Socket>()
  const requests: ProxiedRequest[] = []
  const underWay = new Map<string, number>()
  let faults: readonly ProxyFault[] = []

  const pass = (request: IncomingMessage, response: ServerResponse, done: (status: number) => void): void => {
    const options: RequestOptions & { agent: Agent } = {
      host: target.hostname,
      port: target.port,
      method: request.method,
      path: request.url,
      headers: { ...request.headers, host: target.host },
      agent,
    }
    const onward = send(options, (answer) => {
      done(answer.statusCode ?? 0)
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.on('error', () => response.destroy())
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    response.on('close', () => onward.destroy())
    request.pipe(onward)
  }

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', to.url)
    const method = url.searchParams.has('watch') ? 'WATCH' : (request.method ?? '')
    const together = (underWay.get(method) ?? 0) + 1
    underWay.set(method, together)
    response.on('close', () => underWay.set(method, (underWay.get(method) ?? 1) - 1))
    const seen: ProxiedRequest = { method, path: url.pathname, atMs: performance.now(), together, status: 0 }
    requests.push(seen)
    for (const { appliesTo, latencyMs, answer, isHanging } of faults) {
      if (appliesTo?.({ method, path: url.pathname }) === false) continue
      if (isHanging === true) return
      if (latencyMs !== undefined) await sleep(latencyMs)
      if (answer === undefined) continue
      const { status, retryAfterSeconds } = answer
      seen.status = status
      request.resume()
      response.writeHead(status, {
        'content-type': 'application/json',
        ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }),
      })
      response.end(
        JSON.stringify({
          kind: 'Status',
          apiVersion: 'v1',
          status: 'Failure',
          code: status,
          reason: reasons[status],
          message: `the proxy answers ${String(status)}`,
        }),
      )
      return
    }
    pass(request, response, (status) => {
      seen.status = status
    })
  }

  const server = createServer({ cert: certificate.certificatePem, key: certificate.keyPem }, (request, response) => {
    serve(request, response).catch(() => response.destroy())
  })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
  })
  server.on('tlsClientError', () => {})
  const dropConnections = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  let port = 0
  const accept = async (): Promise<void> => {
    if (server.listening) return
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (typeof address === 'object' && address !== null) ({ port } = address)
  }
  const refuse = async (): Promise<void> => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    dropConnections()
    await closed
  }
  await accept()
  return {
    access: { url: `https://127.0.0.1:${String(port)}`, caPem: authority.certificatePem, token: to.token },
    requests,
    set: (...next) => {
      faults = next
    },
    refuse,
    accept,
    dropConnections,
    close: async () => {
      await refuse()
      agent.destroy()
    },
  }
}
