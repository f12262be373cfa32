/** Watches: a stream of changes from a version on, with bookmarks, selectors and the 410 of a version that is forgotten. */
import type { ServerResponse } from 'node:http'
import { asNewEvent } from './events.ts'
import type { PastChange } from './history.ts'
import { serialized } from './json.ts'
import type { Target } from './request.ts'
import { apiVersionOf, type Resource } from './resources.ts'
import { selectorOf } from './selectors.ts'
import { statusOf, storeErrorOf } from './status.ts'
import type { KubeObject, Snapshot, Store, StoreChange } from './store.ts'

/** As kube-apiserver: a bookmark about once a minute, and one shortly before a watch ends. */
const BOOKMARK_EVERY_MS = 60_000
const BOOKMARK_BEFORE_END_MS = 2_000
/** A watcher that has not read this much is too slow, and is dropped. */
const UNREAD_LIMIT_BYTES = 32 * 1024 * 1024

export interface Watch {
  /** Sends what was held back while reads were frozen. */
  catchUp(): void
  close(): void
}

export function startWatch(
  store: Store,
  frozen: () => Snapshot | undefined,
  resource: Resource,
  target: Target,
  query: URLSearchParams,
  response: ServerResponse,
): Watch {
  const selects = selectorOf(resource, query)
  const isInScope = (object: KubeObject): boolean => target.namespace === undefined || object.metadata.namespace === target.namespace
  const isSelected = (object: KubeObject): boolean => isInScope(object) && selects(object)
  const isNewEvent = target.group === 'events.k8s.io'
  const apiVersion = isNewEvent ? 'events.k8s.io/v1' : apiVersionOf(resource)
  const asked = query.get('resourceVersion') ?? ''
  const wantsBookmarks = ['1', 'true'].includes(query.get('allowWatchBookmarks') ?? '')
  const wantsInitial = query.get('sendInitialEvents') === 'true' || asked === '' || asked === '0'
  const timeoutSeconds = Number(query.get('timeoutSeconds') ?? 0) || 1800 + Math.floor(Math.random() * 1800)
  const shownNow = (): Snapshot => frozen() ?? store.snapshotOf(resource.plural)
  /** Everything up to `seen` is done with; `told` is the version the watcher knows of. */
  let seen = wantsInitial ? shownNow().version : Number(asked)
  let told = seen
  let isOpen = true
  const timers: NodeJS.Timeout[] = []

  const write = (type: string, objectText: string): void => {
    if (!isOpen) return
    response.write(`{"type":"${type}","object":${objectText}}\n`)
    if (response.writableLength > UNREAD_LIMIT_BYTES) response.destroy()
  }
  const writeObject = (type: string, object: KubeObject): void =>
    write(type, isNewEvent ? JSON.stringify(asNewEvent(object)) : serialized(object))
  const writeBookmark = (version: number, annotations?: Record<string, string>): void => {
    const metadata = { resourceVersion: String(version), ...(annotations === undefined ? {} : { annotations }) }
    write('BOOKMARK', JSON.stringify({ kind: resource.kind, apiVersion, metadata }))
  }
  /** As a real server's: only if it tells the watcher something new. */
  const bookmark = (): void => {
    const { version } = shownNow()
    if (version <= told) return
    told = version
    writeBookmark(version)
  }

  function tell(change: StoreChange, version: number): void {
    if (version <= seen) return
    seen = version
    const wasSelected = change.previous !== undefined && isSelected(change.previous)
    const isNowSelected = change.type !== 'DELETED' && isSelected(change.object)
    if (isNowSelected || wasSelected) told = version
    if (isNowSelected) writeObject(wasSelected ? 'MODIFIED' : 'ADDED', change.object)
    else if (wasSelected) writeObject('DELETED', change.type === 'DELETED' ? change.object : gone(change, version))
  }
  const sendAll = (changes: readonly PastChange[]): void => {
    for (const change of changes) tell(change, change.version)
  }

  const stopListening = store.onChange((change) => {
    if (change.plural === resource.plural && frozen() === undefined) tell(change, Number(change.object.metadata.resourceVersion))
  })
  function close(): void {
    if (!isOpen) return
    isOpen = false
    stopListening()
    for (const timer of timers) clearTimeout(timer)
    response.end()
  }
  function fail(error: unknown): void {
    const failure = storeErrorOf(error)
    write('ERROR', JSON.stringify(statusOf(failure)))
    close()
  }
  function catchUp(): void {
    if (!isOpen || frozen() !== undefined) return
    try {
      sendAll(store.history.since(resource.plural, seen))
    } catch (error) {
      fail(error)
    }
  }

  response.on('close', close)
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' })
  response.flushHeaders()
  if (wantsInitial) {
    for (const object of shownNow().collections.get(resource.plural)?.values() ?? []) if (isSelected(object)) writeObject('ADDED', object)
    if (query.get('sendInitialEvents') === 'true' && wantsBookmarks) writeBookmark(seen, { 'k8s.io/initial-events-end': 'true' })
  } else {
    catchUp()
  }
  if (isOpen) {
    timers.push(setTimeout(close, timeoutSeconds * 1000))
    if (wantsBookmarks) {
      timers.push(setInterval(bookmark, BOOKMARK_EVERY_MS))
      timers.push(setTimeout(bookmark, Math.max(0, timeoutSeconds * 1000 - BOOKMARK_BEFORE_END_MS)))
    }
  }
  return { catchUp, close }
}

/** An object that no longer matches the selector: told as deleted, in its last matching state, with the version of the change. */
function gone({ previous, object }: StoreChange, version: number): KubeObject {
  const last = previous ?? object
  return { ...last, metadata: { ...last.metadata, resourceVersion: String(version) } }
}
