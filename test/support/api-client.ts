/**
 * A small Kubernetes client for the tests: requests, and a watch that keeps a copy.
 * It shares nothing with src/kubernetes, so that a fault there cannot hide in a test.
 */
import { Agent, request as httpsRequest } from 'node:https'
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http'
import { sleep } from './timing.ts'

type PatchKind = 'merge-patch' | 'strategic-merge-patch' | 'json-patch'

/** The API server's refusal. `status` is HTTP's. */
class ApiError extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export const isApiError = (error: unknown, ...statuses: readonly number[]): boolean =>
  error instanceof ApiError && (statuses.length === 0 || statuses.includes(error.status))

/** What every object of the API has, as far as the tests look. */
export interface ApiObject {
  readonly metadata: {
    readonly name: string
    readonly uid: string
    readonly namespace?: string
    readonly resourceVersion?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
    readonly finalizers?: readonly string[]
    readonly ownerReferences?: readonly {
      readonly kind: string
      readonly name: string
      readonly uid: string
      readonly controller?: boolean
    }[]
    readonly deletionTimestamp?: string
    readonly deletionGracePeriodSeconds?: number
  }
}

type WatchType = 'ADDED' | 'MODIFIED' | 'DELETED'

export interface WatchedObjects<T extends ApiObject> {
  /** By uid. */
  readonly objects: ReadonlyMap<string, T>
  /** Resolves with the first list. */
  readonly listed: Promise<void>
  stop(): void
}

export interface ApiClient {
  readonly url: string
  get<T = ApiObject>(path: string): Promise<T>
  list<T = ApiObject>(path: string): Promise<readonly T[]>
  create<T = ApiObject>(path: string, object: unknown): Promise<T>
  replace<T = ApiObject>(path: string, object: unknown): Promise<T>
  patch<T = ApiObject>(path: string, change: unknown, kind?: PatchKind): Promise<T>
  /** `options` are DeleteOptions without kind and apiVersion. */
  remove(path: string, options?: { readonly gracePeriodSeconds?: number; readonly preconditions?: { readonly uid: string } }): Promise<void>
  watch<T extends ApiObject>(path: string, onEvent?: (type: WatchType, object: T) => void): WatchedObjects<T>
  /** The same server as somebody else (impersonation, which the admin may). */
  as(user: string, groups: readonly string[], extra: Readonly<Record<string, string>>): ApiClient
  /** Ends every watch and kept connection. */
  close(): void
}

export interface Access {
  readonly url: string
  readonly caPem: string
  readonly token: string
}

const requestTimeoutMs = 30_000

const textOf = async (response: IncomingMessage): Promise<string> => {
  response.setEncoding('utf8')
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return text
}

/** Lines of a chunked response, as they come. */
const linesOf = async function* (response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding('utf8')
  let rest = ''
  for await (const chunk of response) {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop() ?? ''
    yield* lines.filter((line) => line !== '')
  }
}

export const apiClient = ({ url, caPem, token }: Access, headers: Readonly<Record<string, string | readonly string[]>> = {}): ApiClient => {
  const agent = new Agent({ keepAlive: true, maxSockets: 32, ca: caPem })
  const server = new URL(url)
  const watches = new Set<() => void>()
  const children: ApiClient[] = []

  const send = async (
    options: RequestOptions,
    text: string | undefined,
    onRequest?: (request: ClientRequest) => void,
  ): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const request = httpsRequest({ host: server.hostname, port: server.port, ca: caPem, ...options }, resolve)
      request.on('error', reject)
      request.on('timeout', () => request.destroy(new Error(`${options.method} ${options.path}: no answer within ${requestTimeoutMs} ms`)))
      onRequest?.(request)
      request.end(text)
    })

  const call = async <T>(method: string, path: string, body?: unknown, contentType = 'application/json'): Promise<T> => {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const response = await send(
      {
        method,
        path,
        agent,
        timeout: requestTimeoutMs,
        headers: {
          authorization: `Bearer ${token}`,
          accept: 'application/json, */*', // KubeVirt's subresources answer 406 to application/json alone
          ...(text === undefined ? {} : { 'content-type': contentType, 'content-length': String(Buffer.byteLength(text)) }),
          ...(headers as Record<string, string | string[]>),
        },
      },
      text,
    )
    const answer = await textOf(response)
    const status = response.statusCode ?? 0
    const isJson = answer.startsWith('{') || answer.startsWith('[')
    if (status >= 400) {
      const message = isJson ? (JSON.parse(answer) as { message?: string }).message : answer
      throw new ApiError(status, `${method} ${path}: ${status} ${message ?? ''}`)
    }
    return (isJson ? JSON.parse(answer) : answer) as T
  }

  const watch = <T extends ApiObject>(path: string, onEvent: (type: WatchType, object: T) => void = () => {}): WatchedObjects<T> => {
    const objects = new Map<string, T>()
    const ending = new AbortController()
    let current: ClientRequest | undefined
    let tellListed = (): void => {}
    const listed = new Promise<void>((resolve) => (tellListed = resolve))

    const relist = async (): Promise<string> => {
      const list = await call<{ items: readonly T[]; metadata: { resourceVersion: string } }>('GET', path)
      const present = new Set(list.items.map((object) => object.metadata.uid))
      for (const [uid, object] of objects) {
        if (present.has(uid)) continue
        objects.delete(uid)
        onEvent('DELETED', object)
      }
      for (const object of list.items) {
        const before = objects.get(object.metadata.uid)
        if (before?.metadata.resourceVersion === object.metadata.resourceVersion) continue
        objects.set(object.metadata.uid, object)
        onEvent(before === undefined ? 'ADDED' : 'MODIFIED', object)
      }
      tellListed()
      return list.metadata.resourceVersion
    }

    /** Ends with the connection; gives the last resourceVersion, or undefined when a new list is needed. */
    const follow = async (from: string): Promise<string | undefined> => {
      const query = new URLSearchParams({ watch: '1', allowWatchBookmarks: 'true', timeoutSeconds: '600', resourceVersion: from })
      const options = {
        method: 'GET',
        path: `${path}${path.includes('?') ? '&' : '?'}${query.toString()}`,
        headers: { authorization: `Bearer ${token}` },
      }
      const response = await send(options, undefined, (request) => (current = request))
      if (response.statusCode !== 200) {
        response.destroy()
        return undefined
      }
      let version = from
      for await (const line of linesOf(response)) {
        const event = JSON.parse(line) as { type: WatchType | 'BOOKMARK' | 'ERROR'; object: T }
        if (event.type === 'ERROR') return undefined
        version = event.object.metadata.resourceVersion ?? version
        if (event.type === 'BOOKMARK') continue
        if (event.type === 'DELETED') objects.delete(event.object.metadata.uid)
        else objects.set(event.object.metadata.uid, event.object)
        onEvent(event.type, event.object)
      }
      return version
    }

    const run = async (): Promise<void> => {
      let version: string | undefined
      while (!ending.signal.aborted) {
        try {
          version ??= await relist()
          version = await follow(version)
        } catch {
          version = undefined
        }
        if (version === undefined && !ending.signal.aborted) await sleep(300)
      }
    }
    const stop = (): void => {
      ending.abort()
      watches.delete(stop)
      current?.destroy()
    }
    watches.add(stop)
    void run()
    return { objects, listed, stop }
  }

  return {
    url,
    get: async (path) => call('GET', path),
    list: async <T>(path: string) => (await call<{ items: readonly T[] }>('GET', path)).items,
    create: async (path, object) => call('POST', path, object),
    replace: async (path, object) => call('PUT', path, object),
    patch: async (path, change, kind = 'merge-patch') => call('PATCH', path, change, `application/${kind}+json`),
    remove: async (path, options) => {
      await call('DELETE', path, options === undefined ? undefined : { apiVersion: 'v1', kind: 'DeleteOptions', ...options })
    },
    watch,
    as: (user, groups, extra) => {
      const extras = Object.entries(extra).map(([key, value]) => [`impersonate-extra-${encodeURIComponent(key)}`, value])
      const child = apiClient(
        { url, caPem, token },
        { 'impersonate-user': user, 'impersonate-group': groups, ...Object.fromEntries(extras) },
      )
      children.push(child)
      return child
    },
    close: () => {
      for (const stop of watches) stop()
      for (const child of children) child.close()
      agent.destroy()
    },
  }
}
