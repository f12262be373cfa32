/** Contract of watches: what starts them, what they tell, how they end. */
import { beforeAll, describe, expect, test } from 'vitest'
import {
  at,
  call,
  type Connection,
  createNamespace,
  mergePatch,
  textAt,
  uniqueName,
  watch,
  type WatchEvent,
} from '../../support/api-connection.ts'

export function watchContract(connect: () => Connection): void {
  describe('watches', () => {
    let path = ''
    let namespace = ''
    beforeAll(async () => {
      namespace = await createNamespace(connect())
      path = `/api/v1/namespaces/${namespace}/configmaps`
    })
    const create = (name: string, labels: object = {}): ReturnType<typeof call> =>
      call(connect(), 'POST', path, { body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, labels } } })
    const label = (name: string, labels: object): ReturnType<typeof call> =>
      call(connect(), 'PATCH', `${path}/${name}`, { body: { metadata: { labels } }, contentType: mergePatch })
    const remove = (name: string): ReturnType<typeof call> => call(connect(), 'DELETE', `${path}/${name}`)
    const is = (type: string, name?: string) => (event: WatchEvent) =>
      event.type === type && (name === undefined || at(event.object, 'metadata.name') === name)
    const version = async (): Promise<string> => textAt((await call(connect(), 'GET', `${path}?limit=1`)).body, 'metadata.resourceVersion')

    test('a watch from a version tells every change after it, in order, with growing versions', async () => {
      const name = uniqueName('cm')
      const from = await version()
      await create(name)
      const stream = await watch(connect(), path, { resourceVersion: from, fieldSelector: `metadata.name=${name}` })
      expect(stream.status).toBe(200)
      await stream.until(is('ADDED', name))
      await label(name, { a: '1' })
      await remove(name)
      await stream.until(is('DELETED', name))
      stream.close()
      expect(stream.events.map(({ type }) => type)).toEqual(['ADDED', 'MODIFIED', 'DELETED'])
      const versions = stream.events.map(({ object }) => Number(at(object, 'metadata.resourceVersion')))
      expect(versions).toEqual(versions.toSorted((a, b) => a - b))
      expect(new Set(versions).size).toBe(3)
      expect(stream.events[0]?.object).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' })
    })

    test.each([['0'], ['']])('a watch from version %j begins with all that exists', async (resourceVersion) => {
      const name = uniqueName('cm')
      await create(name)
      const stream = await watch(connect(), path, resourceVersion === '' ? {} : { resourceVersion })
      await stream.until(is('ADDED', name))
      stream.close()
    })

    test('an object that comes into a selector is ADDED, one that leaves it is DELETED', async () => {
      const name = uniqueName('cm')
      const from = await version()
      const stream = await watch(connect(), path, { resourceVersion: from, labelSelector: `seen-by=${name}` })
      await create(name)
      await label(name, { 'seen-by': name })
      await stream.until(is('ADDED', name))
      await label(name, { 'seen-by': 'no-one' })
      const left = await stream.until(is('DELETED', name))
      stream.close()
      expect(stream.events.map(({ type }) => type)).toEqual(['ADDED', 'DELETED'])
      expect(at(left.object, 'metadata.labels.seen-by')).toBe(name)
    })

    test('with sendInitialEvents, a bookmark ends what exists', async () => {
      const name = uniqueName('cm')
      await create(name)
      const stream = await watch(connect(), path, {
        sendInitialEvents: 'true',
        resourceVersionMatch: 'NotOlderThan',
        allowWatchBookmarks: 'true',
      })
      const bookmark = await stream.until(is('BOOKMARK'))
      stream.close()
      expect(stream.events.some(is('ADDED', name))).toBe(true)
      expect((at(bookmark.object, 'metadata.annotations') as Record<string, unknown>)['k8s.io/initial-events-end']).toBe('true')
    })

    test('a watch ends after its timeout, with a bookmark before that tells of what the selector left out', async () => {
      const from = await version()
      const query = { resourceVersion: from, allowWatchBookmarks: 'true', timeoutSeconds: '6', fieldSelector: 'metadata.name=none' }
      const stream = await watch(connect(), path, query)
      const { body } = await create(uniqueName('cm'))
      await stream.ended
      expect(new Set(stream.events.map(({ type }) => type))).toEqual(new Set(['BOOKMARK']))
      expect(stream.events.at(-1)?.object).toMatchObject({ kind: 'ConfigMap', apiVersion: 'v1' })
      expect(Number(at(stream.events.at(-1)?.object, 'metadata.resourceVersion'))).toBeGreaterThanOrEqual(
        Number(at(body, 'metadata.resourceVersion')),
      )
    })

    test('a watch without a bookmark wish gets none', async () => {
      const stream = await watch(connect(), path, { resourceVersion: await version(), timeoutSeconds: '3' })
      await stream.ended
      expect(stream.events.filter(is('BOOKMARK'))).toEqual([])
    })

    test('a watch of all namespaces sees those of one', async () => {
      const name = uniqueName('cm')
      const stream = await watch(connect(), '/api/v1/configmaps', { resourceVersion: await version() })
      await create(name)
      const { object } = await stream.until(is('ADDED', name))
      stream.close()
      expect(at(object, 'metadata.namespace')).toBe(namespace)
    })
  })
}
