/** How the contract suites talk to an API server, embedded or real: plain HTTPS requests, and watches collected event by event. */
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'

export interface Connection {
  readonly url: string
  readonly caPem: string
  /** Of a user in `system:masters`. */
  readonly token: string
}

/** JSON as it comes; the suites look into it with `at`. */
export type Json = unknown

export interface Reply {
  readonly status: number
  readonly body: Json
  readonly headers: IncomingMessage['headers']
}

export interface Sending {
  readonly body?: Json
  readonly contentType?: string
  readonly accept?: string
  /** Another user's token, or '' for none. */
  readonly token?: string
}

export const mergePatch = 'application/merge-patch+json'
export const jsonPatch = 'application/json-patch+json'
export const strategicPatch = 'application/strategic-merge-patch+json'

const agents = new Map<string, Agent>()

function agentOf({ url, caPem }: Connection): Agent {
  const known = agents.get(url)
  if (known !== undefined) return known
  const agent = new Agent({ ca: caPem, keepAlive: true })
  agents.set(url, agent)
  return agent
}

async function open(connection: Connection, method: string, path: string, sending: Sending): Promise<IncomingMessage> {
  const text = sending.body === undefined ? undefined : JSON.stringify(sending.body)
  const token = sending.token ?? connection.token
  const outgoing = request(new URL(path, connection.url), {
    method,
    agent: agentOf(connection),
    headers: {
      accept: sending.accept ?? 'application/json',
      ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
      // With its length: of a DELETE's body, Node sends none by itself, and the server takes it for the next request.
      ...(text === undefined
        ? {}
        : { 'content-type': sending.contentType ?? 'application/json', 'content-length': Buffer.byteLength(text) }),
    },
  })
  outgoing.end(text)
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
  return response
}

export async function call(connection: Connection, method: string, path: string, sending: Sending = {}): Promise<Reply> {
  const response = await open(connection, method, path, sending)
  let text = ''
  response.setEncoding('utf8')
  for await (const chunk of response) text += String(chunk)
  const isJson = response.headers['content-type']?.startsWith('application/json') === true
  return { status: response.statusCode ?? 0, body: isJson ? (JSON.parse(text) as Json) : text, headers: response.headers }
}

export interface WatchEvent {
  readonly type: string
  readonly object: Json
}

export interface WatchStream {
  readonly status: number
  readonly events: readonly WatchEvent[]
  /** Resolves once an event matches (also one from before), with it; rejects when the stream ends first. */
  until(matches: (event: WatchEvent) => boolean): Promise<WatchEvent>
  /** Resolves when the server ends the stream. */
  readonly ended: Promise<void>
  close(): void
}

/** @param path of the collection; @param query without `watch` */
export async function watch(connection: Connection, path: string, query: Readonly<Record<string, string>>): Promise<WatchStream> {
  const response = await open(connection, 'GET', `${path}?${new URLSearchParams({ ...query, watch: 'true' }).toString()}`, {})
  const events: WatchEvent[] = []
  const waiting = new Set<() => void>()
  let isOver = false
  const wake = (): void => {
    for (const wakeUp of waiting) wakeUp()
  }
  let unread = ''
  response.setEncoding('utf8')
  response.on('data', (chunk: string) => {
    const lines = `${unread}${chunk}`.split('\n')
    unread = lines.pop() ?? ''
    events.push(...lines.filter((line) => line !== '').map((line) => JSON.parse(line) as WatchEvent))
    wake()
  })
  response.on('error', () => {})
  const ended = new Promise<void>((resolve) => {
    response.on('close', () => {
      isOver = true
      wake()
      resolve()
    })
  })
  return {
    status: response.statusCode ?? 0,
    events,
    ended,
    close: () => void response.destroy(),
    until: (matches) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = events.find(matches)
          if (found === undefined && !isOver) return
          waiting.delete(look)
          if (found !== undefined) resolve(found)
          else reject(new Error(`the watch of ${path} ended without the event; seen: ${JSON.stringify(events).slice(0, 2000)}`))
        }
        waiting.add(look)
        look()
      }),
  }
}

/** The value at a path of fields and indexes such as `metadata.labels` or `items.0.metadata.name`; undefined if there is none. */
export function at(value: Json, path: string): Json {
  let here = value
  for (const step of path.split('.')) {
    if (typeof here !== 'object' || here === null) return undefined
    here = (here as Record<string, unknown>)[step]
  }
  return here
}

export const textAt = (value: Json, path: string): string => String(at(value, path))

/** The fields of a `Status` that clients decide on. */
export const failure = ({ status, body }: Reply): Record<string, unknown> => ({
  http: status,
  code: at(body, 'code'),
  reason: at(body, 'reason'),
  message: at(body, 'message'),
  kind: at(body, 'kind'),
})

let made = 0
/** A name that no other test uses, also not one of an earlier run against the same server. */
export function uniqueName(prefix: string): string {
  made += 1
  return `${prefix}-${Date.now().toString(36)}-${made}`
}

/** A namespace with the service account that pods need. */
export async function createNamespace(connection: Connection): Promise<string> {
  const name = uniqueName('contract')
  const created = await call(connection, 'POST', '/api/v1/namespaces', {
    body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name } },
  })
  if (created.status !== 201) throw new Error(`namespace ${name} was not created: ${JSON.stringify(created.body)}`)
  // The controller of a real control plane may come first: then this is a 409, and as good.
  await call(connection, 'POST', `/api/v1/namespaces/${name}/serviceaccounts`, {
    body: { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default' } },
  })
  return name
}

/** Repeats a request until its reply satisfies, at most for half a minute. */
export async function eventually(ask: () => Promise<Reply>, satisfies: (reply: Reply) => boolean): Promise<Reply> {
  const deadlineMs = performance.now() + 30_000
  for (;;) {
    const reply = await ask()
    if (satisfies(reply)) return reply
    if (performance.now() > deadlineMs) throw new Error(`not within 30 s; the last reply: ${reply.status} ${JSON.stringify(reply.body)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
