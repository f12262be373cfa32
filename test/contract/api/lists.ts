/** Contract of lists: order, selectors, pages. */
import { beforeAll, describe, expect, test } from 'vitest'
import { at, call, type Connection, createNamespace, failure, textAt } from '../../support/api-connection.ts'

export function listContract(connect: () => Connection): void {
  describe('lists', () => {
    let path = ''
    const names = ['a', 'b', 'c', 'd', 'e']
    const list = (query: Record<string, string>): ReturnType<typeof call> =>
      call(connect(), 'GET', `${path}?${new URLSearchParams(query).toString()}`)
    const namesOf = (body: unknown): unknown[] => (at(body, 'items') as unknown[]).map((item) => at(item, 'metadata.name'))
    beforeAll(async () => {
      path = `/apis/coordination.k8s.io/v1/namespaces/${await createNamespace(connect())}/leases`
      const labels: Record<string, object> = { a: { tier: 'x' }, b: { tier: 'y' }, c: { tier: 'y', 'roomfence.io/room': 'one' } }
      for (const name of names.toReversed()) {
        const metadata = { name, labels: labels[name] ?? {} }
        await call(connect(), 'POST', path, { body: { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec: {} } })
      }
    })

    test('a list is sorted by name, typed, and has a version', async () => {
      const { status, body } = await list({})
      expect(status).toBe(200)
      expect(body).toMatchObject({ kind: 'LeaseList', apiVersion: 'coordination.k8s.io/v1' })
      expect(namesOf(body)).toEqual(names)
      expect(textAt(body, 'metadata.resourceVersion')).toMatch(/^\d+$/)
    })

    test('pages add up to the list, all of one version, with the rest counted', async () => {
      const seen: unknown[] = []
      const versions = new Set<unknown>()
      let token: string | undefined
      do {
        const { body } = await list({ limit: '2', ...(token === undefined ? {} : { continue: token }) })
        if (token === undefined) expect(at(body, 'metadata.remainingItemCount')).toBe(3)
        seen.push(...namesOf(body))
        versions.add(at(body, 'metadata.resourceVersion'))
        token = at(body, 'metadata.continue') as string | undefined
      } while (token)
      expect(seen).toEqual(names)
      expect(versions.size).toBe(1)
    })

    test('a page shows the state of the first page, though the list has changed since', async () => {
      const { body: first } = await list({ limit: '2' })
      const late = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'cc' }, spec: {} }
      await call(connect(), 'POST', path, { body: late })
      const { body: rest } = await list({ limit: '10', continue: textAt(first, 'metadata.continue') })
      await call(connect(), 'DELETE', `${path}/cc`)
      expect(namesOf(rest)).toEqual(['c', 'd', 'e'])
    })

    test('a token that is none is refused', async () => {
      expect(failure(await list({ limit: '2', continue: 'nonsense' }))).toMatchObject({ http: 400, reason: 'BadRequest' })
    })

    test.each([
      ['tier=x', ['a']],
      ['tier==y', ['b', 'c']],
      ['tier!=y', ['a', 'd', 'e']],
      ['tier in (x, y)', ['a', 'b', 'c']],
      ['tier notin (x)', ['b', 'c', 'd', 'e']],
      ['tier', ['a', 'b', 'c']],
      ['!tier', ['d', 'e']],
      ['tier=y,roomfence.io/room=one', ['c']],
      ['tier in (x,y),roomfence.io/room', ['c']],
      ['tier,!roomfence.io/room', ['a', 'b']],
    ])('the label selector %s selects %j', async (labelSelector, expected) => {
      expect(namesOf((await list({ labelSelector })).body)).toEqual(expected)
    })

    test.each([
      ['metadata.name=b', ['b']],
      ['metadata.name!=b', ['a', 'c', 'd', 'e']],
    ])('the field selector %s selects %j', async (fieldSelector, expected) => {
      expect(namesOf((await list({ fieldSelector })).body)).toEqual(expected)
    })

    test('a selector that cannot be understood is refused', async () => {
      expect(failure(await list({ labelSelector: 'a in' }))).toMatchObject({ http: 400, reason: 'BadRequest' })
      expect(failure(await list({ fieldSelector: 'spec.holderIdentity=me' }))).toMatchObject({
        http: 400,
        message: '"spec.holderIdentity" is not a known field selector: only "metadata.name", "metadata.namespace"',
      })
      expect(failure(await call(connect(), 'GET', '/api/v1/pods?fieldSelector=spec.foo%3Dx'))).toMatchObject({
        http: 400,
        message: 'field label not supported: spec.foo',
      })
    })

    test('pods are selected by node and phase across namespaces', async () => {
      const nodeName = `node-${Date.now().toString(36)}`
      for (const name of ['one', 'two']) {
        const namespace = await createNamespace(connect())
        const spec = { nodeName, containers: [{ name: 'main', image: 'registry.example/none' }] }
        await call(connect(), 'POST', `/api/v1/namespaces/${namespace}/pods`, {
          body: { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec },
        })
      }
      const on = async (selector: string): Promise<unknown[]> =>
        namesOf((await call(connect(), 'GET', `/api/v1/pods?fieldSelector=${encodeURIComponent(selector)}`)).body)
      expect(new Set(await on(`spec.nodeName=${nodeName}`))).toEqual(new Set(['one', 'two']))
      expect(await on(`spec.nodeName=${nodeName},status.phase=Running`)).toEqual([])
      expect((await on(`spec.nodeName=${nodeName},status.phase!=Running`)).length).toBe(2)
    })

    test('a version of the future is refused with a time to come back', async () => {
      const reply = await list({ resourceVersion: '999999999999', resourceVersionMatch: 'NotOlderThan' })
      expect(reply).toMatchObject({
        status: 504,
        body: { reason: 'Timeout', details: { causes: [{ reason: 'ResourceVersionTooLarge' }] } },
      })
    })
  })
}
