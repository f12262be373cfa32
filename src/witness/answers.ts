/** What the witness answers to a request: the register to whoever shows the token, its health and its numbers to everybody. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { epoch as epochOf, incarnation as incarnationOf, nodeId } from '../protocol/ids.ts'
import { etagOf, LARGEST_BODY, parseProposed, REGISTER_PATH, versionOfEtag } from './http-wire.ts'
import type { KeptRegister } from './kept-register.ts'
import type { WitnessMetrics } from './metrics.ts'

export interface WitnessLog {
  info(fields: object, text: string): void
  warn(fields: object, text: string): void
  error(fields: object, text: string): void
}

interface Served {
  readonly register: KeptRegister
  readonly metrics: WitnessMetrics
  /** In a time that tells nothing of the token. */
  readonly isToken: (shown: string) => boolean
  readonly log: WitnessLog
}

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
export const refuse = (response: ServerResponse, status: number, reason: string): void => answer(response, status, { reason })

export const answersOf = (served: Served) => (request: IncomingMessage, response: ServerResponse) => serve(served, request, response)

async function serve(served: Served, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { register, metrics, isToken } = served
  const path = (request.url ?? '/').split('?', 1)[0]
  const failure = register.failure()
  if (path === '/healthz' && request.method === 'GET')
    return failure ? answer(response, 503, `${failure.message}\n`) : answer(response, 200, 'ok\n')
  if (path === '/metrics' && request.method === 'GET') return answer(response, 200, metrics.text(register))
  if (!isAuthorized(request, isToken)) {
    metrics.count('unauthorized')
    response.setHeader('www-authenticate', 'Bearer')
    return refuse(response, 401, 'send Authorization: Bearer TOKEN')
  }
  if (path !== REGISTER_PATH) return refuse(response, 404, `the register is at ${REGISTER_PATH}`)
  if (failure) return refuse(response, 503, failure.message)
  if (request.method === 'GET') return read(served, request, response)
  if (request.method === 'PUT') return write(served, request, response)
  response.setHeader('allow', 'GET, PUT')
  return refuse(response, 405, 'GET or PUT')
}

function isAuthorized(request: IncomingMessage, isToken: Served['isToken']): boolean {
  const shown = /^Bearer (.{1,4096})$/.exec(request.headers.authorization ?? '')?.[1]
  return isToken(shown ?? '') && shown !== undefined
}

function read({ register, metrics }: Served, request: IncomingMessage, response: ServerResponse): void {
  const current = register.current()
  if (!current) return refuse(response, 404, 'there is no register yet: roomfence init makes it')
  const query = new URL(request.url ?? '/', 'https://witness').searchParams
  const reader = { node: nodeId(query.get('node') ?? ''), incarnation: incarnationOf(query.get('incarnation') ?? '') }
  const isCounted = register.countRead(current, reader, epochOf(Number(query.get('epoch') ?? NaN)), query.get('digest') ?? '')
  metrics.count(isCounted ? 'counted' : 'uncounted')
  answer(response, 200, { register: current, isCounted, memory: register.memory() }, etagOf(current.version))
}

async function write({ register, metrics, log }: Served, request: IncomingMessage, response: ServerResponse): Promise<void> {
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
