/** HTTP calls to the API server: kept-alive TLS, a time-out on every call, typed errors. Decides nothing. */
import { type AgentOptions, Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import fetch, { type RequestInit, type Response } from 'node-fetch'
import type { Credentials } from './credentials.ts'
import { errorOfAnswer, KubeError } from './errors.ts'

export interface KubeClientOptions {
  readonly credentials: Credentials
  /** Longest wait for one answer, body included. */
  readonly timeoutMs?: number
  readonly userAgent?: string
  /** Called after every call, for metrics: how it ended (a code of `KubeError` or `ok`) and how long it took. */
  readonly onCall?: (call: { readonly method: string; readonly outcome: string; readonly durationMs: number }) => void
}

export interface CallOptions {
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  /** Asked in the moment in which the call is sent, each time that it is: false, and it is not (`unavailable`). */
  readonly may?: () => boolean
}

export interface PatchOptions extends CallOptions {
  readonly dryRun?: boolean
}

export interface ListOptions<T> extends CallOptions {
  /** What is kept of each item: the rest is garbage before the next page is read. `undefined` leaves an item out. */
  readonly project: (object: unknown) => T | undefined
  readonly labelSelector?: string
  readonly fieldSelector?: string
  /** Items a page. */
  readonly limit?: number
}

export interface Listed<T> {
  readonly items: readonly T[]
  /** Where a watch goes on. */
  readonly resourceVersion: string
}

export interface DeleteOptions extends CallOptions {
  /** The object that is meant: another one of the same name answers 409. */
  readonly uid: string
  readonly gracePeriodSeconds?: number
}

export interface JsonPatchOperation {
  readonly op: 'add' | 'remove' | 'replace' | 'test'
  readonly path: string
  readonly value?: unknown
}

/** Paths are absolute without a query: `/api/v1/nodes/a1`. Every method rejects with `KubeError` only. */
export interface KubeClient {
  readonly server: string
  get(path: string, options?: CallOptions): Promise<unknown>
  list<T>(path: string, options: ListOptions<T>): Promise<Listed<T>>
  create(path: string, body: unknown, options?: CallOptions): Promise<unknown>
  /** Put `metadata.resourceVersion` (or `uid`) into the body to make it a compare-and-swap. */
  patchMerge(path: string, body: unknown, options?: PatchOptions): Promise<unknown>
  /** A failed `test` answers 422 (`invalid`), not 409. */
  patchJson(path: string, operations: readonly JsonPatchOperation[], options?: PatchOptions): Promise<unknown>
  patchStrategic(path: string, body: unknown, options?: PatchOptions): Promise<unknown>
  put(path: string, body: unknown, options?: CallOptions): Promise<unknown>
  delete(path: string, options: DeleteOptions): Promise<unknown>
  /** PUT on a KubeVirt subresource: Accept is anything, because virt-api answers 406 to `application/json` alone; the answer is empty. */
  putSubresource(path: string, body: unknown, options?: CallOptions): Promise<void>
  /** GET /readyz: resolves when the API server can serve, storage included. */
  probe(options?: CallOptions): Promise<void>
  /** The lines of a watch. `openTimeoutMs` is for the first byte of the answer only; whoever reads watches for silence. */
  lines(pathWithQuery: string, signal: AbortSignal, openTimeoutMs?: number): AsyncGenerator<string, void, undefined>
  close(): void
}

interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly accept?: string
  readonly contentType?: string
  readonly body?: unknown
}

const DEFAULT_TIMEOUT_MS = 10_000
const PROBE_TIMEOUT_MS = 2_000

/**
 * What is given up here is given up by the server as well, counted from when it came there (`timeout` of every request, kube-apiserver's
 * WithRequestDeadline): a write must not be done when nobody counts on it any more (docs/protocol/permit.md).
 */
function withDeadline(call: Call, limitMs: number): Call {
  if (call.method === 'GET') return call
  return { ...call, path: `${call.path}${call.path.includes('?') ? '&' : '?'}timeout=${Math.ceil(limitMs)}ms` }
}

export function createKubeClient(options: KubeClientOptions): KubeClient {
  const { credentials } = options
  const agent = agentOf(credentials, { keepAlive: true, maxSockets: 48, maxFreeSockets: 8, scheduling: 'lifo' })
  // Watches keep their connections to themselves, or they would use up those of the calls.
  const watchAgent = agentOf(credentials, { keepAlive: false })

  const callText = (call: Call, callOptions: CallOptions | undefined): Promise<string> => textOf(options, agent, call, callOptions)
  const callJson = async (call: Call, callOptions: CallOptions | undefined): Promise<unknown> => {
    const text = await callText(call, callOptions)
    return parseAnswer(call, text)
  }
  const patch = (contentType: string) => (path: string, body: unknown, patchOptions?: PatchOptions) =>
    callJson({ method: 'PATCH', path: patchOptions?.dryRun === true ? `${path}?dryRun=All` : path, contentType, body }, patchOptions)

  return {
    server: credentials.server,
    get: (path, callOptions) => callJson({ method: 'GET', path }, callOptions),
    list: (path, listOptions) => listPages((page) => callJson({ method: 'GET', path: page }, listOptions), path, listOptions),
    create: (path, body, callOptions) => callJson({ method: 'POST', path, body }, callOptions),
    patchMerge: patch('application/merge-patch+json'),
    patchJson: patch('application/json-patch+json'),
    patchStrategic: patch('application/strategic-merge-patch+json'),
    put: (path, body, callOptions) => callJson({ method: 'PUT', path, body }, callOptions),
    delete: (path, { uid, gracePeriodSeconds, ...callOptions }) =>
      callJson(
        {
          method: 'DELETE',
          path,
          body: {
            apiVersion: 'v1',
            kind: 'DeleteOptions',
            preconditions: { uid },
            ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
          },
        },
        callOptions,
      ),
    putSubresource: async (path, body, callOptions) => {
      await callText({ method: 'PUT', path, accept: '*/*', body }, callOptions)
    },
    probe: async (callOptions) => {
      await callText({ method: 'GET', path: '/readyz', accept: '*/*' }, { timeoutMs: PROBE_TIMEOUT_MS, ...callOptions })
    },
    lines: (pathWithQuery, signal, openTimeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS) =>
      readLines(options, watchAgent, pathWithQuery, signal, openTimeoutMs),
    close: () => {
      agent.destroy()
      watchAgent.destroy()
    },
  }
}

/** One call, sent again where that is certain to be no second one: on a closed kept-alive connection, and with the credentials read again. */
async function send(
  { credentials, userAgent }: KubeClientOptions,
  through: HttpAgent,
  call: Call,
  signal: AbortSignal,
  may?: () => boolean,
): Promise<Response> {
  const attempt = async (isRefused: boolean): Promise<Response> => {
    const authorization = await credentials.authorization(isRefused)
    const init: RequestInit = {
      method: call.method,
      agent: through,
      signal,
      headers: {
        accept: call.accept ?? 'application/json',
        'user-agent': userAgent ?? 'roomfence',
        ...(authorization === undefined ? {} : { authorization }),
        ...(call.body === undefined ? {} : { 'content-type': call.contentType ?? 'application/json' }),
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    }
    if (may?.() === false)
      throw new KubeError('unavailable', `${call.method} ${call.path}: not sent, this agent may not act now`, {
        method: call.method,
        path: call.path,
        status: 0,
        reason: 'NoPermit',
      })
    return fetch(`${credentials.server}${call.path}`, init)
  }
  // A kept-alive connection that the server closed meanwhile: the call was not served. Not for POST, which might have been.
  const sent = await attempt(false).catch((error: unknown) => {
    if (signal.aborted || call.method === 'POST' || networkCode(error) !== 'ECONNRESET') throw error
    return attempt(false)
  })
  if (sent.status !== 401) return sent
  await sent.text()
  return attempt(true)
}

async function textOf(options: KubeClientOptions, through: HttpAgent, call: Call, callOptions: CallOptions | undefined): Promise<string> {
  const startedMs = performance.now()
  const finished = (outcome: string) => options.onCall?.({ method: call.method, outcome, durationMs: performance.now() - startedMs })
  const limitMs = callOptions?.timeoutMs ?? options.timeoutMs ?? DEFAULT_TIMEOUT_MS
  const limit = AbortSignal.timeout(limitMs)
  const signal = callOptions?.signal === undefined ? limit : AbortSignal.any([limit, callOptions.signal])
  try {
    const answer = await send(options, through, withDeadline(call, limitMs), signal, callOptions?.may)
    const text = await answer.text()
    if (answer.status >= 400) throw errorOfAnswer(call, answer.status, text, answer.headers.get('retry-after') ?? undefined)
    finished('ok')
    return text
  } catch (error) {
    const typed =
      error instanceof KubeError
        ? error
        : networkError(call, error, callOptions?.signal?.aborted === true, limit.aborted ? limitMs : undefined)
    finished(typed.code)
    throw typed
  }
}

async function* readLines(
  options: KubeClientOptions,
  through: HttpAgent,
  pathWithQuery: string,
  signal: AbortSignal,
  openTimeoutMs: number,
): AsyncGenerator<string, void, undefined> {
  const call: Call = { method: 'GET', path: pathWithQuery }
  const opening = new AbortController()
  const timer = setTimeout(() => {
    opening.abort()
  }, openTimeoutMs)
  try {
    const answer = await send(options, through, call, AbortSignal.any([signal, opening.signal]))
    if (answer.status >= 400) throw errorOfAnswer(call, answer.status, await answer.text(), answer.headers.get('retry-after') ?? undefined)
    clearTimeout(timer)
    if (answer.body !== null) yield* linesOf(answer.body as AsyncIterable<Uint8Array>)
  } catch (error) {
    throw error instanceof KubeError ? error : networkError(call, error, signal.aborted, opening.signal.aborted ? openTimeoutMs : undefined)
  } finally {
    clearTimeout(timer)
  }
}

function agentOf(credentials: Credentials, options: AgentOptions): HttpAgent {
  if (credentials.server.startsWith('http:')) return new HttpAgent(options)
  return new HttpsAgent({
    ...options,
    ...(credentials.ca === undefined ? {} : { ca: credentials.ca }),
    ...(credentials.cert === undefined ? {} : { cert: credentials.cert }),
    ...(credentials.key === undefined ? {} : { key: credentials.key }),
    ...(credentials.serverName === undefined ? {} : { servername: credentials.serverName }),
    rejectUnauthorized: !credentials.skipTlsVerify,
  })
}

async function listPages<T>(getPage: (path: string) => Promise<unknown>, path: string, options: ListOptions<T>): Promise<Listed<T>> {
  const items: T[] = []
  let resourceVersion = ''
  let continueFrom = ''
  do {
    const query = selectorQuery(options)
    query.set('limit', String(options.limit ?? 100))
    if (continueFrom !== '') query.set('continue', continueFrom)
    const page = (await getPage(`${path}?${query.toString()}`)) as ListPage
    for (const item of page.items ?? []) {
      const kept = options.project(item)
      if (kept !== undefined) items.push(kept)
    }
    resourceVersion = page.metadata?.resourceVersion ?? ''
    continueFrom = page.metadata?.continue ?? ''
  } while (continueFrom !== '')
  return { items, resourceVersion }
}

interface ListPage {
  readonly items?: readonly unknown[]
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string }
}

export function selectorQuery(selectors: { readonly labelSelector?: string; readonly fieldSelector?: string }): URLSearchParams {
  const query = new URLSearchParams()
  if (selectors.labelSelector !== undefined) query.set('labelSelector', selectors.labelSelector)
  if (selectors.fieldSelector !== undefined) query.set('fieldSelector', selectors.fieldSelector)
  return query
}

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true })
    let end = rest.indexOf('\n')
    while (end >= 0) {
      const line = rest.slice(0, end)
      rest = rest.slice(end + 1)
      if (line.trim() !== '') yield line
      end = rest.indexOf('\n')
    }
  }
}

function parseAnswer(call: Call, text: string): unknown {
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new KubeError('bad-answer', `${call.method} ${call.path}: the answer is not JSON: ${text.slice(0, 80)}`, {
      ...call,
      status: 200,
      reason: 'NotJson',
      cause: error,
    })
  }
}

function networkError(call: Call, cause: unknown, isAborted: boolean, timedOutAfterMs: number | undefined): KubeError {
  const detail = { method: call.method, path: call.path, status: 0, cause }
  if (isAborted) return new KubeError('aborted', `${call.method} ${call.path}: stopped by us`, { ...detail, reason: 'Aborted' })
  if (timedOutAfterMs !== undefined) {
    return new KubeError('timeout', `${call.method} ${call.path}: no answer within ${timedOutAfterMs} ms`, {
      ...detail,
      reason: 'Timeout',
    })
  }
  const code = networkCode(cause)
  return new KubeError('unavailable', `${call.method} ${call.path}: ${cause instanceof Error ? cause.message : String(cause)}`, {
    ...detail,
    reason: code ?? 'NetworkError',
  })
}

function networkCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : undefined
}
