/** Lists: selectors, pages with opaque tokens, and what kube-apiserver says of tokens and versions it cannot serve. */
import { asNewEvent } from './events.ts'
import { serialized } from './json.ts'
import type { Target } from './request.ts'
import { apiVersionOf, type Resource } from './resources.ts'
import { selectorOf } from './selectors.ts'
import { badRequest, StoreError } from './status.ts'
import { type KubeObject, type Snapshot, sorted, type Store } from './store.ts'

interface Page {
  /** The version the list shows; -1 in a token that accepts an inconsistent rest. */
  readonly rv: number
  /** The key of the last object that was sent. */
  readonly after: string
}

/** Recent versions of a collection that lists are being paged through. */
export interface Pages {
  remember(plural: string, version: number, objects: ReadonlyMap<string, KubeObject>): void
  find(plural: string, version: number): ReadonlyMap<string, KubeObject> | undefined
}

const REMEMBERED_PAGES = 32

export function createPages(): Pages {
  const remembered = new Map<string, ReadonlyMap<string, KubeObject>>()
  return {
    remember(plural, version, objects) {
      const key = `${plural}@${version}`
      if (remembered.has(key)) return
      remembered.set(key, new Map(objects))
      const oldest = remembered.keys().next().value
      if (remembered.size > REMEMBERED_PAGES && oldest !== undefined) remembered.delete(oldest)
    },
    find: (plural, version) => remembered.get(`${plural}@${version}`),
  }
}

const encoded = (page: Page): string =>
  Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: page.rv, start: page.after })).toString('base64url')

function decoded(token: string): Page {
  try {
    const page = JSON.parse(Buffer.from(token, 'base64url').toString()) as { rv?: unknown; start?: unknown }
    if (typeof page.rv === 'number' && typeof page.start === 'string') return { rv: page.rv, after: page.start }
  } catch {
    // Falls through to the one answer for all tokens that are none.
  }
  throw badRequest('continue key is not valid: the token was not issued by this server')
}

const keyOf = ({ metadata }: KubeObject): string => `${metadata.namespace ?? ''}/${metadata.name}`

const expired = (page: Page): StoreError =>
  new StoreError(
    410,
    'Expired',
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.',
    undefined,
    encoded({ ...page, rv: -1 }),
  )

function checkVersion(asked: string | null, version: number): void {
  if (asked === null || asked === '') return
  if (!/^\d+$/.test(asked)) throw badRequest(`invalid resource version: ${JSON.stringify(asked)}: must be a number`)
  if (Number(asked) <= version) return
  throw new StoreError(504, 'Timeout', `Timeout: Too large resource version: ${asked}, current: ${version}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  })
}

/** @returns the JSON text of the list */
export function listText(
  store: Store,
  pages: Pages,
  frozen: Snapshot | undefined,
  resource: Resource,
  target: Target,
  query: URLSearchParams,
): string {
  const limit = Number(query.get('limit') ?? 0)
  const token = query.get('continue') ?? ''
  const selects = selectorOf(resource, query)
  const now = frozen ?? store.snapshotOf(resource.plural)
  if (token === '') checkVersion(query.get('resourceVersion'), now.version)
  const page = token === '' ? undefined : decoded(token)
  const live = now.collections.get(resource.plural) ?? new Map<string, KubeObject>()
  const version = page === undefined || page.rv < 0 ? now.version : page.rv
  const objects = version === now.version ? live : pages.find(resource.plural, version)
  if (page !== undefined && (objects === undefined || !store.history.isKnown(version))) throw expired(page)
  const rest = sorted(objects ?? live, target.namespace).filter(
    (object) => (page === undefined || keyOf(object) > page.after) && selects(object),
  )
  const shown = limit > 0 ? rest.slice(0, limit) : rest
  const last = shown.at(-1)
  const metadata: Record<string, unknown> = { resourceVersion: String(version) }
  if (shown.length < rest.length && last !== undefined) {
    metadata['continue'] = encoded({ rv: version, after: keyOf(last) })
    if (!query.get('labelSelector') && !query.get('fieldSelector')) metadata['remainingItemCount'] = rest.length - shown.length
    pages.remember(resource.plural, version, objects ?? live)
  }
  const isNewEvent = target.group === 'events.k8s.io'
  const apiVersion = isNewEvent ? 'events.k8s.io/v1' : apiVersionOf(resource)
  const items = shown.map((object) => (isNewEvent ? JSON.stringify(asNewEvent(object)) : serialized(object)))
  return `{"kind":"${resource.kind}List","apiVersion":"${apiVersion}","metadata":${JSON.stringify(metadata)},"items":[${items.join(',')}]}`
}
