/**
 * The bundled witness: the register over HTTPS, for agents that show the token. It has no opinion: what it counts and keeps is in
 * kept-register.ts, the API in http-wire.ts. A register restored from a backup is told by its version, by the agents, not here.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { WitnessConfiguration } from '../config/schema.ts'
import { epoch as epochOf, incarnation as incarnationOf, nodeId } from '../protocol/ids.ts'
import { etagOf, LARGEST_BODY, parseProposed, REGISTER_PATH, versionOfEtag } from './http-wire.ts'
import { openKeptRegister } from './kept-register.ts'
import { witnessMetrics } from './metrics.ts'

export interface WitnessLog {
  info(fields: object, text: string): void
  warn(fields: object, text: string): void
  error(fields: object, text: string): void
}

const SILENT: WitnessLog = { info: () => undefined, warn: () => undefined, error: () => undefined }

export interface RunningWitness {
  readonly port: number
  /** Answers what is under way, then closes. */
  stop(): Promise<void>
}

const LEAST_TOKEN = 16
const RELOAD_EVERY_MS = 10_000
const STOP_MS = 3000

class WitnessStartError extends Error {
  override readonly name = 'WitnessStartError'
}

function readSecretFile(field: string, file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (cause) {
    throw new WitnessStartError(
      `${field}: saw ${(cause as NodeJS.ErrnoException).code ?? 'an error'} at ${file}; allowed: a file that this user may read`,
      { cause },
    )
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

function readToken(file: string): Buffer {
  const token = readSecretFile('tokenFile', file).toString('utf8').trim()
  if (token.length < LEAST_TOKEN)
    throw new WitnessStartError(
      `tokenFile: saw ${token.length} characters in ${file}; allowed: at least ${LEAST_TOKEN}: openssl rand -hex 32`,
    )
  return digest(token)
}

const stampOf = (files: readonly string[]): string =>
  files.map((file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? '-').join(' ')

class BodyTooLarge extends Error {}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > LARGEST_BODY) throw new BodyTooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function answer(response: ServerResponse, status: number, body: unknown, etag?: string): void {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  response.writeHead(status, {
    'content-type': typeof body === 'string' ? 'text/plain; charset=utf-8' : 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    ...(etag !== undefined && { etag }),
  })
  response.end(text)
}

/** What a caller can do about it, in a `reason`. */
const refuse = (response: ServerResponse, status: number, reason: string): void => answer(response, status, { reason })

/**
 * Starts the witness and serves until it is stopped.
 *
 * @throws WitnessStartError for files of the configuration, DurableError for the state, the system's error for the port.
 */
export async function runWitness(configuration: WitnessConfiguration, log: WitnessLog = SILENT): Promise<RunningWitness> {
  const { listen, tlsCertFile, tlsKeyFile, tokenFile, stateDirectory } = configuration
  const tls = () => ({
    cert: readSecretFile('tlsCertFile', tlsCertFile),
    key: readSecretFile('tlsKeyFile', tlsKeyFile),
    minVersion: 'TLSv1.2' as const,
  })
  let token = readToken(tokenFile)
  const firstTls = tls()
  const register = await openKeptRegister(stateDirectory, () => performance.now())
  const metrics = witnessMetrics()

  function isAuthorized(request: IncomingMessage): boolean {
    const shown = /^Bearer (.{1,4096})$/.exec(request.headers.authorization ?? '')?.[1]
    // Digests have one length, so the comparison's time tells nothing of the token.
    return timingSafeEqual(digest(shown ?? ''), token) && shown !== undefined
  }

  function read(request: IncomingMessage, response: ServerResponse): void {
    const current = register.current()
    if (!current) return refuse(response, 404, 'there is no register yet: roomfence init makes it')
    const query = new URL(request.url ?? '/', 'https://witness').searchParams
    const reader = { node: nodeId(query.get('node') ?? ''), incarnation: incarnationOf(query.get('incarnation') ?? '') }
    const isCounted = register.countRead(current, reader, epochOf(Number(query.get('epoch') ?? NaN)), query.get('digest') ?? '')
    metrics.count(isCounted ? 'counted' : 'uncounted')
    answer(response, 200, { register: current, isCounted, memory: register.memory() }, etagOf(current.version))
  }

  async function write(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isCreation = request.headers['if-none-match'] === '*'
    const version = versionOfEtag(request.headers['if-match'] ?? '')
    if (isCreation === (version !== undefined)) return refuse(response, 428, 'send either If-Match: "VERSION" or If-None-Match: *')
    let proposed: ReturnType<typeof parseProposed>
    try {
      proposed = parseProposed(JSON.parse(await bodyOf(request)))
    } catch (error) {
      if (error instanceof BodyTooLarge) return refuse(response, 413, `at most ${LARGEST_BODY} bytes`)
      return refuse(response, 400, error instanceof Error ? error.message : 'no JSON')
    }
    const result = await register.write(isCreation ? 'none' : (version ?? -1), proposed)
    metrics.count(result.kind)
    switch (result.kind) {
      case 'written':
        log.info({ version: result.version, epoch: proposed.membership.epoch, isAccepted: proposed.accepted !== null }, 'register written')
        answer(response, isCreation ? 201 : 200, { version: result.version, memory: register.memory() }, etagOf(result.version))
        break
      case 'conflict':
        answer(response, 412, { register: result.register }, etagOf(result.register.version))
        break
      case 'none':
        refuse(response, 404, 'there is no register yet: roomfence init makes it')
        break
      case 'busy':
        refuse(response, 503, 'too many writes are waiting: try again')
        break
      case 'failed':
        log.error({ err: result.error }, 'the register could not be written')
        refuse(response, result.error.code === 'no-space' ? 507 : 503, result.error.message)
        break
    }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?', 1)[0]
    const failure = register.failure()
    if (path === '/healthz' && request.method === 'GET')
      return failure ? answer(response, 503, `${failure.message}\n`) : answer(response, 200, 'ok\n')
    if (path === '/metrics' && request.method === 'GET') return answer(response, 200, metrics.text(register))
    if (!isAuthorized(request)) {
      metrics.count('unauthorized')
      response.setHeader('www-authenticate', 'Bearer')
      return refuse(response, 401, 'send Authorization: Bearer TOKEN')
    }
    if (path !== REGISTER_PATH) return refuse(response, 404, `the register is at ${REGISTER_PATH}`)
    if (failure) return refuse(response, 503, failure.message)
    if (request.method === 'GET') return read(request, response)
    if (request.method === 'PUT') return write(request, response)
    response.setHeader('allow', 'GET, PUT')
    return refuse(response, 405, 'GET or PUT')
  }

  const server = createServer({ ...firstTls, maxHeaderSize: 16_384 }, (request, response) => {
    serve(request, response).catch((error: unknown) => {
      log.error({ err: error }, 'a request failed')
      if (!response.headersSent) refuse(response, 500, 'internal error: see the witness’s log')
      else response.destroy()
    })
  })
  server.maxConnections = 2000
  server.headersTimeout = 10_000
  server.requestTimeout = 20_000
  server.keepAliveTimeout = 60_000
  server.on('tlsClientError', () => metrics.count('tls-failed'))
  try {
    await listening(server, listen.host, listen.port)
  } catch (error) {
    await register.close()
    throw error
  }

  const secrets = [tlsCertFile, tlsKeyFile, tokenFile]
  let stamp = stampOf(secrets)
  const reload = setInterval(() => {
    const now = stampOf(secrets)
    if (now === stamp) return
    stamp = now
    try {
      token = readToken(tokenFile)
      server.setSecureContext(tls())
      log.info({}, 'certificate and token were read again')
    } catch (error) {
      log.warn({ err: error }, 'certificate or token changed and could not be read: the ones before stay in use')
    }
  }, RELOAD_EVERY_MS)
  reload.unref()

  const { port } = server.address() as AddressInfo
  log.info({ host: listen.host, port, version: register.current()?.version ?? 0 }, 'witness serves')
  return {
    port,
    async stop() {
      clearInterval(reload)
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
        // A kept connection may be between two requests only a moment from now, or never end its own.
        const idle = setInterval(() => server.closeIdleConnections(), 50)
        const rest = setTimeout(() => server.closeAllConnections(), STOP_MS)
        server.once('close', () => {
          clearInterval(idle)
          clearTimeout(rest)
        })
      })
      await register.close()
    },
  }
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
}
