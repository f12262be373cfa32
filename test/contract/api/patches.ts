/** Contract of the three kinds of patch, and of status as a subresource of its own. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  at,
  call,
  type Connection,
  createNamespace,
  failure,
  jsonPatch,
  mergePatch,
  type Reply,
  strategicPatch,
  textAt,
  uniqueName,
} from '../../support/api-connection.ts'

export function patchContract(connect: () => Connection): void {
  describe('patches', () => {
    let namespace = ''
    let path = ''
    let node = ''
    beforeAll(async () => {
      namespace = await createNamespace(connect())
      const configmaps = `/api/v1/namespaces/${namespace}/configmaps`
      const metadata = { name: 'cm', labels: { a: '1', b: '2' }, annotations: { 'x.y/z': 'old' } }
      await call(connect(), 'POST', configmaps, { body: { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { list: 'a' } } })
      path = `${configmaps}/cm`
      const name = uniqueName('node')
      await call(connect(), 'POST', '/api/v1/nodes', { body: { apiVersion: 'v1', kind: 'Node', metadata: { name } } })
      node = `/api/v1/nodes/${name}`
    })
    afterAll(() => call(connect(), 'DELETE', node))
    const patch = (where: string, contentType: string, body: unknown): Promise<Reply> =>
      call(connect(), 'PATCH', where, { body, contentType })
    const read = async (where: string): Promise<unknown> => (await call(connect(), 'GET', where)).body

    test('a merge patch sets fields, and removes those that are null', async () => {
      const { status, body } = await patch(path, mergePatch, { metadata: { labels: { a: null, c: '3' } }, data: { more: 'x' } })
      expect(status).toBe(200)
      expect(body).toMatchObject({ metadata: { labels: { b: '2', c: '3' } }, data: { list: 'a', more: 'x' } })
      expect(at(body, 'metadata.labels.a')).toBeUndefined()
    })

    test('a version in a patch is a precondition', async () => {
      const stale = await patch(path, mergePatch, { metadata: { resourceVersion: '1', labels: { d: '4' } } })
      expect(failure(stale)).toMatchObject({
        http: 409,
        reason: 'Conflict',
        message:
          'Operation cannot be fulfilled on configmaps "cm": the object has been modified; please apply your changes to the latest version and try again',
      })
      const resourceVersion = textAt(await read(path), 'metadata.resourceVersion')
      expect((await patch(path, mergePatch, { metadata: { resourceVersion, labels: { d: '4' } } })).status).toBe(200)
    })

    test('a JSON patch tests, adds, replaces and removes, with escaped steps', async () => {
      const { status, body } = await patch(path, jsonPatch, [
        { op: 'test', path: '/metadata/annotations/x.y~1z', value: 'old' },
        { op: 'replace', path: '/metadata/annotations/x.y~1z', value: 'new' },
        { op: 'add', path: '/data/added', value: 'yes' },
        // Against RFC 6902, a replace of what is absent adds it.
        { op: 'replace', path: '/data/replaced', value: 'too' },
        { op: 'remove', path: '/data/list' },
        { op: 'test', path: '/data/absent', value: null },
      ])
      expect(status).toBe(200)
      expect(body).toMatchObject({ metadata: { annotations: { 'x.y/z': 'new' } }, data: { added: 'yes', replaced: 'too' } })
      expect(at(body, 'data.list')).toBeUndefined()
    })

    test.each([
      ['whose test fails', [{ op: 'test', path: '/data/added', value: 'no' }]],
      ['that removes what is absent', [{ op: 'remove', path: '/data/absent' }]],
      ['that replaces below what is absent', [{ op: 'replace', path: '/absent/deep', value: 'x' }]],
      ['that adds below what is absent', [{ op: 'add', path: '/absent/deep', value: 'x' }]],
    ])('a JSON patch %s is refused with 422 and changes nothing', async (_what, operations) => {
      const before = await read(path)
      const reply = await patch(path, jsonPatch, [{ op: 'add', path: '/data/never', value: 'x' }, ...operations])
      expect(failure(reply)).toMatchObject({
        http: 422,
        reason: 'Invalid',
        message: 'the server rejected our request due to an error in our request',
      })
      expect(await read(path)).toEqual(before)
    })

    test('a patch of nothing is NotFound, of an unknown kind an unsupported media type', async () => {
      expect((await patch(`${path}-absent`, mergePatch, {})).status).toBe(404)
      const unknown = await patch(path, 'application/json', {})
      expect(failure(unknown)).toMatchObject({ http: 415, reason: 'UnsupportedMediaType' })
    })

    test('a strategic patch merges conditions by type, in place', async () => {
      const ready = { type: 'Ready', status: 'True', reason: 'Up', message: 'it is up' }
      const disk = { type: 'DiskPressure', status: 'False', reason: 'Fine', message: 'it has room' }
      await patch(`${node}/status`, strategicPatch, { status: { conditions: [ready, disk] } })
      const { status, body } = await patch(`${node}/status`, strategicPatch, {
        status: { conditions: [{ type: 'Ready', status: 'Unknown' }] },
      })
      expect(status).toBe(200)
      expect(at(body, 'status.conditions')).toMatchObject([{ ...ready, status: 'Unknown' }, disk])
    })

    test('a strategic patch replaces taints whole, and merges finalizers', async () => {
      const one = { key: 'one', effect: 'NoSchedule' }
      const two = { key: 'two', value: 'x', effect: 'NoExecute' }
      await patch(node, strategicPatch, { metadata: { finalizers: ['roomfence.test/a'] }, spec: { taints: [one] } })
      const { body } = await patch(node, strategicPatch, { metadata: { finalizers: ['roomfence.test/b'] }, spec: { taints: [two] } })
      const taints = (at(body, 'spec.taints') as { key: string }[]).filter(({ key }) => !key.startsWith('node.kubernetes.io/'))
      expect(taints.map(({ key }) => key)).toEqual(['two'])
      expect((at(body, 'metadata.finalizers') as string[]).toSorted()).toEqual(['roomfence.test/a', 'roomfence.test/b'])
      const without = { metadata: { '$deleteFromPrimitiveList/finalizers': ['roomfence.test/a', 'roomfence.test/b'] } }
      const { body: after } = await patch(node, strategicPatch, without)
      expect(at(after, 'metadata.finalizers')).toBeUndefined()
    })

    test('a strategic patch deletes an item of a merged list', async () => {
      const body = { status: { conditions: [{ type: 'DiskPressure', $patch: 'delete' }] } }
      const { body: after } = await patch(`${node}/status`, strategicPatch, body)
      expect((at(after, 'status.conditions') as { type: string }[]).some(({ type }) => type === 'DiskPressure')).toBe(false)
    })

    test('a write to the object leaves its status alone, a write to the status leaves the rest', async () => {
      const status = { conditions: [{ type: 'Ready', status: 'False' }] }
      await patch(node, mergePatch, { status, spec: { unschedulable: true } })
      const first = await read(node)
      expect(at(first, 'spec.unschedulable')).toBe(true)
      expect(at(first, 'status.conditions.0.status')).not.toBe('False')
      await patch(`${node}/status`, mergePatch, { status, spec: { unschedulable: null } })
      const second = await read(node)
      expect(at(second, 'spec.unschedulable')).toBe(true)
      expect(at(second, 'status.conditions.0.status')).toBe('False')
    })

    test('dryRun=All shows what a patch would give', async () => {
      const before = await read(path)
      const reply = await patch(`${path}?dryRun=All`, mergePatch, { data: { dry: 'yes' } })
      expect(reply).toMatchObject({ status: 200, body: { data: { dry: 'yes' } } })
      expect(await read(path)).toEqual(before)
    })
  })
}
