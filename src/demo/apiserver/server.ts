/**
 * The embedded API server: Kubernetes' REST protocol over HTTPS for what the demo and the tests touch, in this process. Its answers are
 * compared with a real kube-apiserver's by the suites in test/contract/api.
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { type Authority, createAuthority } from '../certificates.ts'
import { forbidden, isAllowed, type User } from './authorize.ts'
import { serveDefinitions } from './crd.ts'
import { describe } from './discovery.ts'
import { createFaults, type Fault, type Faults } from './faults.ts'
import { collectGarbage } from './garbage.ts'
import { createPages, listText } from './listing.ts'
import { attemptOf, resourceOf, targetOf, timeoutMsOf } from './request.ts'
import { noSuchResource, notFound, statusOf, StoreError, storeErrorOf, timedOut } from './status.ts'
import { createStore, type Store } from './store.ts'
import { type Answer, answer, answerVirtualMachine, type Call, reviewAccess, tokenAnswer } from './verbs.ts'
import { startWatch, type Watch } from './watching.ts'

export interface ApiServerOptions {
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Default 0: any free port. */
  readonly port?: number
  /** Who signs the server's certificate, and whose client certificates are accepted (CN: user, O: groups). */
  readonly authority?: Authority
  /** Further names and addresses for the server's certificate; `localhost` and the host are in it. */
  readonly names?: readonly string[]
  /** Bearer tokens. Service accounts are users named `system:serviceaccount:NAMESPACE:NAME`. */
  readonly tokens: Readonly<Record<string, User>>
  readonly store?: Store
  /** False where another stand-in collects what has lost its owners and empties namespaces. Default true. */
  readonly collectsGarbage?: boolean
}

export interface ApiServer {
  readonly url: string
  readonly caPem: string
  readonly store: Store
  readonly faults: Faults
  /** A kubeconfig file's text for one of the tokens. @param url another address, e.g. of a link in between */
  kubeconfig(token: string, url?: string): string
  close(): Promise<void>
}

/** As etcd's limit on a request. */
const BODY_LIMIT_BYTES = 3 * 1024 * 1024
const anonymous: User = { name: 'system:anonymous', groups: ['system:unauthenticated'] }

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > BODY_LIMIT_BYTES) throw new StoreError(413, 'BadRequest', `Request entity too large: limit is ${BODY_LIMIT_BYTES}`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function userOf(request: IncomingMessage, tokens: ReadonlyMap<string, User>): User {
  const known = ({ name, groups }: User): User => ({ name, groups: [...groups, 'system:authenticated'] })
  const [, token] = /^Bearer\s+(\S+)$/i.exec(request.headers.authorization ?? '') ?? []
  const socket = request.socket as TLSSocket
  if (token !== undefined) {
    const user = tokens.get(token)
    if (user !== undefined) return known(user)
  } else {
    const { subject } = socket.getPeerCertificate()
    if (subject === undefined) return anonymous
    const organizations: unknown = subject.O ?? []
    const groups = (Array.isArray(organizations) ? organizations : [organizations]).map(String)
    if (socket.authorized) return known({ name: subject.CN, groups })
  }
  throw new StoreError(401, 'Unauthorized', 'Unauthorized')
}

/** Only protobuf, say, is asked for: this server speaks JSON. */
function checkAccept(accept: string): void {
  const types = accept.split(',').map((type) => type.split(';')[0]?.trim())
  if (accept === '' || types.some((type) => type === '*/*' || type === 'application/*' || type === 'application/json')) return
  throw new StoreError(406, 'NotAcceptable', '406: Not Acceptable\n\nAvailable representations: application/json', {})
}

function send(
  response: ServerResponse,
  { status, text, contentType = 'application/json' }: Answer,
  headers: Record<string, string> = {},
): void {
  const length = Buffer.byteLength(text)
  response.writeHead(status, {
    ...headers,
    ...(length === 0 ? {} : { 'content-type': contentType }),
    'content-length': length,
    'cache-control': 'no-cache, private',
  })
  response.end(text)
}

function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const failure = storeErrorOf(error)
  const seconds = failure.details?.retryAfterSeconds
  send(
    response,
    { status: failure.status, text: JSON.stringify(statusOf(failure)) },
    seconds === undefined ? {} : { 'retry-after': String(seconds) },
  )
}

const faultTexts = {
  429: ['TooManyRequests', 'too many requests, please try again later'],
  500: ['InternalError', 'Internal error occurred: etcdserver: request timed out'],
  503: ['ServiceUnavailable', 'the server is currently unable to handle the request'],
} as const

function faultError({ status, retryAfterSeconds }: NonNullable<Fault['answer']>): StoreError {
  const [reason, message] = faultTexts[status]
  return new StoreError(status, reason, message, retryAfterSeconds === undefined ? undefined : { retryAfterSeconds })
}

/** Starts listening; the certificate is made here. */
export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { host = '127.0.0.1', authority = createAuthority(), store = createStore() } = options
  const credentials = authority.server('kube-apiserver', ['localhost', host, ...(options.names ?? [])])
  const tokens = new Map(Object.entries(options.tokens))
  const pages = createPages()
  const watches = new Set<Watch>()
  const sockets = new Set<Socket>()
  const endings = [serveDefinitions(store), ...(options.collectsGarbage === false ? [] : [collectGarbage(store)])]

  const server = createServer(
    {
      cert: credentials.certificatePem,
      key: credentials.keyPem,
      ca: authority.certificatePem,
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      serve(request, response).catch((error: unknown) => sendError(response, error))
    },
  )
  server.keepAliveTimeout = 90_000
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
  })
  server.on('tlsClientError', () => {})

  const dropConnections = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  let port = options.port ?? 0
  async function open(): Promise<void> {
    if (server.listening) return
    server.listen(port, host)
    await once(server, 'listening')
    const address = server.address()
    if (typeof address === 'object' && address !== null) port = address.port
  }
  async function shut(): Promise<void> {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    dropConnections()
    await closed
  }
  const faults = createFaults(store, {
    open,
    close: shut,
    dropConnections,
    thawed: () => {
      for (const watch of watches) watch.catchUp()
    },
  })

  /** @returns whether the request is to be answered at all */
  async function undergoFaults(method: string, path: string, user: User): Promise<boolean> {
    for (const fault of faults.current()) {
      if (fault.appliesTo?.({ method, path, userName: user.name }) === false) continue
      if (fault.latencyMs !== undefined) await sleep(fault.latencyMs)
      if (fault.isHanging) return false
      if (fault.answer !== undefined) throw faultError(fault.answer)
    }
    return true
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', headers } = request
    const { pathname: path, searchParams: query } = new URL(request.url ?? '/', 'https://api')
    const limitMs = timeoutMsOf(query)
    const cameMs = performance.now()
    const bodyText = await bodyOf(request)
    const user = userOf(request, tokens)
    if (!(await undergoFaults(method, path, user)) || response.destroyed) return
    if (performance.now() - cameMs >= limitMs) throw timedOut()
    const target = targetOf(method, path, query)
    const attempt = attemptOf(method, path, target)
    const isReview = target?.plural === 'selfsubjectaccessreviews' && user !== anonymous
    if (!isReview && !isAllowed(store, user, attempt)) throw forbidden(user, attempt)
    if (target === undefined) {
      const description = method === 'GET' ? describe(store, path) : undefined
      if (description === undefined) throw noSuchResource()
      const isText = typeof description === 'string'
      send(response, {
        status: 200,
        text: isText ? description : JSON.stringify(description),
        ...(isText ? { contentType: 'text/plain; charset=utf-8' } : {}),
      })
      return
    }
    const call: Call = { target, query, user, contentType: headers['content-type'] ?? '', accept: headers.accept ?? '', bodyText }
    if (target.group === 'subresources.kubevirt.io') return send(response, answerVirtualMachine(store, call))
    checkAccept(call.accept)
    if (isReview) return send(response, reviewAccess(store, call))
    const resource = resourceOf(store, target)
    if (resource === undefined) throw noSuchResource()
    if (resource.plural === 'serviceaccounts' && target.subresource === 'token' && target.verb === 'create') {
      const { namespace = '', name = '' } = target
      if (store.get(resource.plural, namespace, name) === undefined) throw notFound(resource, name)
      const token = randomUUID()
      const groups = ['system:serviceaccounts', `system:serviceaccounts:${namespace}`]
      tokens.set(token, { name: `system:serviceaccount:${namespace}:${name}`, groups })
      send(response, tokenAnswer(token, Date.now()))
    } else if (target.verb === 'watch') {
      const watch = startWatch(store, () => faults.frozen(), resource, target, query, response)
      watches.add(watch)
      response.on('close', () => watches.delete(watch))
    } else if (target.verb === 'list') {
      send(response, { status: 200, text: listText(store, pages, faults.frozen(), resource, target, query) })
    } else {
      send(response, answer(store, faults.frozen(), resource, call))
    }
  }

  await open()
  const url = `https://${host}:${port}`
  return {
    url,
    caPem: authority.certificatePem,
    store,
    faults,
    kubeconfig: (token, address = url) => kubeconfigText(address, authority.certificatePem, token),
    async close() {
      for (const end of endings) end()
      for (const watch of watches) watch.close()
      await shut()
    },
  }
}

function kubeconfigText(url: string, caPem: string, token: string): string {
  return `apiVersion: v1
kind: Config
clusters:
  - name: demo
    cluster:
      server: ${url}
      certificate-authority-data: ${Buffer.from(caPem).toString('base64')}
users:
  - name: demo
    user:
      token: ${token}
contexts:
  - name: demo
    context: { cluster: demo, user: demo }
current-context: demo
`
}
