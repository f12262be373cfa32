/**
 * A collection of projected objects kept current by list and watch. Every way a watch can end has a name and is reported; it always goes on,
 * except when it is stopped.
 */
import { type KubeClient, selectorQuery } from './client.ts'
import { isKubeError, KubeError } from './errors.ts'

/** Why a list or watch ended and was begun again. */
export type WatchEnding =
  | 'closed' /* by the server, as it does every few minutes */
  | 'expired' /* 410: our resourceVersion is too old; listed anew */
  | 'silent' /* neither event nor bookmark for too long */
  | 'refused' /* 401 or 403 */
  | 'absent' /* 404: this kind is not served here */
  | 'throttled' /* 429 */
  | 'broken' /* the connection failed or gave no answer */
  | 'garbled' /* a line that is not an event */

export interface CollectionOptions<T> {
  readonly client: KubeClient
  readonly path: string
  readonly labelSelector?: string
  readonly fieldSelector?: string
  readonly project: (object: unknown) => T | undefined
  readonly keyOf: (item: T) => string
  /** The server is asked to end the watch after this; bookmarks come about once a minute. */
  readonly watchMs?: number
  readonly silenceMs?: number
  readonly onChange?: (change: { readonly type: 'listed' | 'added' | 'modified' | 'deleted'; readonly item?: T }) => void
  readonly onEnding?: (ending: WatchEnding, error: KubeError | undefined) => void
}

export interface Collection<T> {
  items(): ReadonlyMap<string, T>
  /** A first list has come in (or the kind is not served here). */
  isFresh(): boolean
  /** False while the kind is not served here (404). */
  isServed(): boolean
  whenFresh: Promise<void>
  /** Takes what a call of our own answered, ahead of the watch. */
  put(item: T): void
  /** Lists anew, and at once: for who knows that the API server lost what it had told, or that it answers again. */
  relist(): void
  stop(): void
}

interface WatchLine {
  readonly type?: string
  readonly object?: { readonly metadata?: { readonly resourceVersion?: string }; readonly code?: number; readonly message?: string }
}

const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 10_000

export function startCollection<T>(options: CollectionOptions<T>): Collection<T> {
  const stopping = new AbortController()
  const items = createItems(options)
  let relisting = new AbortController()
  void keepCurrent(options, items, stopping.signal, {
    signal: () => relisting.signal,
    renew: () => {
      relisting = new AbortController()
    },
  })
  return {
    items: items.all,
    isFresh: items.isFresh,
    isServed: items.isServed,
    whenFresh: items.whenFresh,
    put: items.put,
    relist: () => {
      relisting.abort()
    },
    stop: () => {
      stopping.abort()
      items.markFresh()
    },
  }
}

/** What was listed and has changed since. */
interface Items<T> {
  readonly all: () => ReadonlyMap<string, T>
  readonly isFresh: () => boolean
  readonly isServed: () => boolean
  readonly whenFresh: Promise<void>
  readonly markFresh: () => void
  readonly put: (item: T) => void
  readonly take: (line: WatchLine) => void
  /** undefined: the kind is not served here. */
  readonly listed: (list: readonly T[] | undefined) => void
}

function createItems<T>({ project, keyOf, onChange }: CollectionOptions<T>): Items<T> {
  let items = new Map<string, T>()
  let isServed = true
  let isFresh = false
  let markFresh: () => void = () => {}
  const whenFresh = new Promise<void>((resolve) => {
    markFresh = resolve
  })
  return {
    all: () => items,
    isFresh: () => isFresh,
    isServed: () => isServed,
    whenFresh,
    markFresh,
    put: (item) => {
      items.set(keyOf(item), item)
    },
    take: (line) => {
      const item = project(line.object)
      if (item === undefined) return
      if (line.type === 'DELETED') {
        items.delete(keyOf(item))
        onChange?.({ type: 'deleted', item })
        return
      }
      items.set(keyOf(item), item)
      onChange?.({ type: line.type === 'ADDED' ? 'added' : 'modified', item })
    },
    listed: (list) => {
      items = new Map(list?.map((item) => [keyOf(item), item]))
      isServed = list !== undefined
      isFresh = true
      markFresh()
      onChange?.({ type: 'listed' })
    },
  }
}

/** Asked for from outside, once for each list. */
interface Relisting {
  readonly signal: () => AbortSignal
  readonly renew: () => void
}

async function keepCurrent<T>(options: CollectionOptions<T>, items: Items<T>, stopping: AbortSignal, relisting: Relisting): Promise<void> {
  const { path, onEnding } = options
  let resourceVersion: string | undefined
  let retryMs = FIRST_PAUSE_MS
  while (!stopping.aborted) {
    try {
      if (relisting.signal().aborted) {
        relisting.renew()
        resourceVersion = undefined
      }
      // Every watch that ended may have ended with the API server, and it may have come back older.
      if (resourceVersion !== undefined && (await isSetBack(options, resourceVersion, stopping))) resourceVersion = undefined
      resourceVersion ??= await listAll(options, items, stopping)
      const startedMs = performance.now()
      resourceVersion = await watchOnce(options, items.take, resourceVersion, AbortSignal.any([stopping, relisting.signal()]))
      onEnding?.('closed', undefined)
      // A server that closes at once must not be asked in a tight loop.
      if (performance.now() - startedMs > 1_000) retryMs = FIRST_PAUSE_MS
      else await sleepUnless(retryMs, stopping)
    } catch (error) {
      if (stopping.aborted) return
      if (relisting.signal().aborted) continue
      const typed =
        error instanceof KubeError
          ? error
          : new KubeError('bad-answer', String(error), { ...watchOf(path), status: 0, reason: 'Unexpected', cause: error })
      const ending = endingOf(typed)
      onEnding?.(ending, typed)
      if (ending === 'absent') items.listed(undefined)
      if (ending !== 'broken' && ending !== 'throttled') resourceVersion = undefined
      await sleepUnless(
        ending === 'absent' ? LONGEST_PAUSE_MS : (typed.retryAfterMs ?? (ending === 'expired' ? 0 : retryMs)),
        AbortSignal.any([stopping, relisting.signal()]),
      )
      retryMs = relisting.signal().aborted ? FIRST_PAUSE_MS : Math.min(LONGEST_PAUSE_MS, retryMs * 2)
    }
  }
}

async function listAll<T>(options: CollectionOptions<T>, items: Items<T>, stopping: AbortSignal): Promise<string> {
  const { client, path, project, labelSelector, fieldSelector } = options
  const selectors = {
    ...(labelSelector === undefined ? {} : { labelSelector }),
    ...(fieldSelector === undefined ? {} : { fieldSelector }),
  }
  const list = await client.list(path, { project, signal: stopping, ...selectors })
  items.listed(list.items)
  return list.resourceVersion
}

/**
 * Whether the API server is at an earlier version than the one we know, because its etcd was restored from a backup. A watch from a version that it
 * has yet to reach is accepted, and stays deaf to everything until then. One object is asked for: the answer carries the version of now.
 */
async function isSetBack<T>(options: CollectionOptions<T>, known: string, stopping: AbortSignal): Promise<boolean> {
  const query = selectorQuery(options)
  query.set('limit', '1')
  const page = (await options.client.get(`${options.path}?${query.toString()}`, { signal: stopping })) as WatchLine['object']
  return isEarlier(page?.metadata?.resourceVersion ?? '', known)
}

/** Reads one watch to its end. Returns where to go on; rejects when a list is needed or the connection failed. */
async function watchOnce<T>(
  options: CollectionOptions<T>,
  take: (line: WatchLine) => void,
  from: string,
  isUnwanted: AbortSignal,
): Promise<string> {
  const { client, path } = options
  let resourceVersion = from
  const watchMs = options.watchMs ?? 300_000
  const silenceMs = options.silenceMs ?? 90_000
  const query = selectorQuery(options)
  query.set('watch', 'true')
  query.set('allowWatchBookmarks', 'true')
  query.set('resourceVersion', from)
  query.set('timeoutSeconds', String(Math.ceil(watchMs / 1_000)))
  const silence = new AbortController()
  const isOver = AbortSignal.any([isUnwanted, silence.signal])
  let timer = setTimeout(() => {
    silence.abort()
  }, silenceMs)
  try {
    for await (const text of client.lines(`${path}?${query.toString()}`, isOver)) {
      clearTimeout(timer)
      timer = setTimeout(() => {
        silence.abort()
      }, silenceMs)
      const line = parseLine(path, text)
      if (line.type === 'ERROR') throw watchError(path, line)
      resourceVersion = line.object?.metadata?.resourceVersion ?? resourceVersion
      if (line.type !== 'BOOKMARK') take(line)
    }
  } catch (error) {
    if (silence.signal.aborted)
      throw new KubeError('timeout', `watch of ${path}: silent for ${silenceMs} ms`, {
        ...watchOf(path),
        status: 0,
        reason: 'Silent',
      })
    // What came in is kept: a broken connection goes on from the last event seen, so nothing is lost and nothing listed twice.
    if (isKubeError(error, 'unavailable') && resourceVersion !== from) return resourceVersion
    throw error
  } finally {
    clearTimeout(timer)
  }
  return resourceVersion
}

/** Versions are whole numbers of any length (Kubernetes API conventions since 1.35); of anything else nothing is known, and it is listed anew. */
function isEarlier(version: string, than: string): boolean {
  if (!/^\d+$/.test(version) || !/^\d+$/.test(than)) return version !== than
  return BigInt(version) < BigInt(than)
}

const watchOf = (path: string) => ({ method: 'WATCH', path })

function endingOf(error: KubeError): WatchEnding {
  switch (error.code) {
    case 'gone':
      return 'expired'
    case 'forbidden':
    case 'unauthorized':
      return 'refused'
    case 'not-found':
      return 'absent'
    case 'too-many-requests':
      return 'throttled'
    case 'timeout':
      return error.reason === 'Silent' ? 'silent' : 'broken'
    case 'bad-answer':
      return 'garbled'
    case 'conflict':
    case 'already-exists':
    case 'invalid':
    case 'unavailable':
    case 'bad-request':
    case 'server-error':
    case 'aborted':
      return 'broken'
    default:
      return error.code satisfies never
  }
}

function parseLine(path: string, text: string): WatchLine {
  try {
    return JSON.parse(text) as WatchLine
  } catch (error) {
    throw new KubeError('bad-answer', `watch of ${path}: not an event: ${text.slice(0, 80)}`, {
      ...watchOf(path),
      status: 200,
      reason: 'NotJson',
      cause: error,
    })
  }
}

function watchError(path: string, line: WatchLine): KubeError {
  const code = line.object?.code ?? 0
  const message = line.object?.message ?? 'an ERROR event without a message'
  return new KubeError(code === 410 ? 'gone' : code === 429 ? 'too-many-requests' : 'server-error', `watch of ${path}: ${message}`, {
    ...watchOf(path),
    status: code,
    reason: 'ErrorEvent',
  })
}

/** Resolves early when stopped. */
export function sleepUnless(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted || ms <= 0) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
}
