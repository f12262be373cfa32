/** Contract of single objects: create, read, update, delete, and their refusals. */
import { beforeAll, describe, expect, test } from 'vitest'
import { at, call, type Connection, createNamespace, eventually, failure, textAt, uniqueName, watch } from '../../support/api-connection.ts'

export function objectContract(connect: () => Connection): void {
  describe('objects', () => {
    let namespace = ''
    let configmaps = ''
    let pods = ''
    beforeAll(async () => {
      namespace = await createNamespace(connect())
      configmaps = `/api/v1/namespaces/${namespace}/configmaps`
      pods = `/api/v1/namespaces/${namespace}/pods`
    })
    const configMap = (metadata: object, data: object = {}): object => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data })
    const pod = (metadata: object, spec: object = {}): object => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata,
      spec: { containers: [{ name: 'main', image: 'registry.example/none' }], ...spec },
    })

    test('a created object has a uid, a version, a time and its namespace', async () => {
      const name = uniqueName('cm')
      const { status, body } = await call(connect(), 'POST', configmaps, { body: configMap({ name }, { a: '1' }) })
      expect(status).toBe(201)
      expect(body).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data: { a: '1' } })
      expect(textAt(body, 'metadata.uid')).toMatch(/^[0-9a-f-]{36}$/)
      expect(textAt(body, 'metadata.resourceVersion')).toMatch(/^\d+$/)
      expect(textAt(body, 'metadata.creationTimestamp')).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
      expect(await call(connect(), 'GET', `${configmaps}/${name}`)).toMatchObject({ status: 200, body: { metadata: { name } } })
    })

    test('generateName makes different names', async () => {
      const replies = await Promise.all(
        [1, 2].map(() => call(connect(), 'POST', configmaps, { body: configMap({ generateName: 'made-' }) })),
      )
      const names = replies.map(({ body }) => textAt(body, 'metadata.name'))
      for (const name of names) expect(name).toMatch(/^made-[a-z0-9]{5}$/)
      expect(names[0]).not.toBe(names[1])
    })

    test('a name that exists is refused as AlreadyExists', async () => {
      const name = uniqueName('cm')
      await call(connect(), 'POST', configmaps, { body: configMap({ name }) })
      const again = await call(connect(), 'POST', configmaps, { body: configMap({ name }) })
      expect(again.body).toEqual({
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message: `configmaps "${name}" already exists`,
        reason: 'AlreadyExists',
        details: { name, kind: 'configmaps' },
        code: 409,
      })
      expect(again.status).toBe(409)
    })

    test('a missing object is NotFound, by its qualified resource', async () => {
      const missing = await call(connect(), 'GET', `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/none`)
      expect(missing.body).toEqual({
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message: 'leases.coordination.k8s.io "none" not found',
        reason: 'NotFound',
        details: { name: 'none', group: 'coordination.k8s.io', kind: 'leases' },
        code: 404,
      })
    })

    test('an unknown resource and a missing namespace are NotFound too', async () => {
      expect(failure(await call(connect(), 'GET', `/api/v1/namespaces/${namespace}/nothings`))).toMatchObject({
        http: 404,
        reason: 'NotFound',
        message: 'the server could not find the requested resource',
      })
      const orphan = await call(connect(), 'POST', '/api/v1/namespaces/no-such/configmaps', { body: configMap({ name: 'a' }) })
      expect(failure(orphan)).toMatchObject({ http: 404, message: 'namespaces "no-such" not found' })
    })

    test.each([
      [
        'without a name',
        (): object => configMap({}),
        422,
        /ConfigMap "" is invalid: metadata\.name: Required value: name or generateName is required/,
      ],
      [
        'with a name that is none',
        (): object => configMap({ name: 'No_Name' }),
        422,
        /metadata\.name: Invalid value: "No_Name": a lowercase RFC 1123 subdomain/,
      ],
      [
        'of another namespace',
        (): object => configMap({ name: 'a', namespace: 'other' }),
        400,
        /the namespace of the provided object does not match/,
      ],
      ['of another version', (): object => ({ ...configMap({ name: 'a' }), apiVersion: 'v2' }), 400, /./],
      [
        'with a version to be',
        (): object => configMap({ name: 'a', resourceVersion: '1' }),
        500,
        /resourceVersion should not be set on objects to be created/,
      ],
    ])('an object %s is refused', async (_what, body, status, message) => {
      const reply = await call(connect(), 'POST', configmaps, { body: body() })
      expect(reply.status).toBe(status)
      expect(textAt(reply.body, 'message')).toMatch(message)
    })

    test('an update changes the version, and an update of an older version is a Conflict', async () => {
      const name = uniqueName('cm')
      const { body: first } = await call(connect(), 'POST', configmaps, { body: configMap({ name }, { a: '1' }) })
      const changed = { ...(first as object), data: { a: '2' } }
      const { status, body: second } = await call(connect(), 'PUT', `${configmaps}/${name}`, { body: changed })
      expect(status).toBe(200)
      expect(at(second, 'metadata.resourceVersion')).not.toBe(at(first, 'metadata.resourceVersion'))
      expect(at(second, 'metadata.uid')).toBe(at(first, 'metadata.uid'))
      const stale = await call(connect(), 'PUT', `${configmaps}/${name}`, { body: { ...changed, data: { a: '3' } } })
      expect(stale).toMatchObject({ status: 409, body: { reason: 'Conflict', details: { name, kind: 'configmaps' }, code: 409 } })
      expect(at(stale.body, 'message')).toBe(
        `Operation cannot be fulfilled on configmaps "${name}": the object has been modified; please apply your changes to the latest version and try again`,
      )
    })

    test('an update that changes nothing leaves the version', async () => {
      const name = uniqueName('cm')
      const { body: first } = await call(connect(), 'POST', configmaps, { body: configMap({ name }, { a: '1' }) })
      const { body: second } = await call(connect(), 'PUT', `${configmaps}/${name}`, { body: first })
      expect(at(second, 'metadata.resourceVersion')).toBe(at(first, 'metadata.resourceVersion'))
    })

    test('an update of another uid is a Conflict, of another name a bad request, of nothing NotFound', async () => {
      const name = uniqueName('cm')
      await call(connect(), 'POST', configmaps, { body: configMap({ name }) })
      const uid = '00000000-0000-0000-0000-000000000000'
      expect(failure(await call(connect(), 'PUT', `${configmaps}/${name}`, { body: configMap({ name, uid }) }))).toMatchObject({
        http: 409,
        reason: 'Conflict',
        message: expect.stringContaining(`Precondition failed: UID in precondition: ${uid}, UID in object meta: `),
      })
      expect(failure(await call(connect(), 'PUT', `${configmaps}/${name}`, { body: configMap({ name: 'other' }) }))).toMatchObject({
        http: 400,
        message: `the name of the object (other) does not match the name on the URL (${name})`,
      })
      expect((await call(connect(), 'PUT', `${configmaps}/absent`, { body: configMap({ name: 'absent' }) })).status).toBe(404)
    })

    test('dryRun=All answers as if, and stores nothing', async () => {
      const name = uniqueName('cm')
      const made = await call(connect(), 'POST', `${configmaps}?dryRun=All`, { body: configMap({ name }) })
      expect(made).toMatchObject({ status: 201, body: { metadata: { name } } })
      expect((await call(connect(), 'GET', `${configmaps}/${name}`)).status).toBe(404)
      const { body: kept } = await call(connect(), 'POST', configmaps, { body: configMap({ name }, { a: '1' }) })
      const changed = await call(connect(), 'PUT', `${configmaps}/${name}?dryRun=All`, { body: configMap({ name }, { a: '2' }) })
      expect(changed).toMatchObject({ status: 200, body: { data: { a: '2' } } })
      expect((await call(connect(), 'DELETE', `${configmaps}/${name}`, { body: { dryRun: ['All'] } })).status).toBe(200)
      expect((await call(connect(), 'GET', `${configmaps}/${name}`)).body).toEqual(kept)
      expect(failure(await call(connect(), 'POST', `${configmaps}?dryRun=Some`, { body: configMap({ name }) }))).toMatchObject({
        http: 422,
      })
    })

    test('a delete answers with a Status that names what went, a second one is NotFound', async () => {
      const name = uniqueName('cm')
      const { body } = await call(connect(), 'POST', configmaps, { body: configMap({ name }) })
      const gone = await call(connect(), 'DELETE', `${configmaps}/${name}`)
      expect(gone).toMatchObject({
        status: 200,
        body: { kind: 'Status', status: 'Success', details: { name, kind: 'configmaps', uid: at(body, 'metadata.uid') } },
      })
      expect((await call(connect(), 'DELETE', `${configmaps}/${name}`)).status).toBe(404)
    })

    test('a delete with a precondition on uid or version that fails is a Conflict', async () => {
      const name = uniqueName('cm')
      const { body } = await call(connect(), 'POST', configmaps, { body: configMap({ name }) })
      const uid = '00000000-0000-0000-0000-000000000000'
      const wrongUid = await call(connect(), 'DELETE', `${configmaps}/${name}`, { body: { preconditions: { uid } } })
      expect(failure(wrongUid)).toMatchObject({
        http: 409,
        reason: 'Conflict',
        message: `Operation cannot be fulfilled on ConfigMap "${name}": the UID in the precondition (${uid}) does not match the UID in record (${textAt(body, 'metadata.uid')}). The object might have been deleted and then recreated`,
      })
      expect(at(wrongUid.body, 'details')).toEqual({ name, kind: 'ConfigMap' })
      const wrongVersion = await call(connect(), 'DELETE', `${configmaps}/${name}`, { body: { preconditions: { resourceVersion: '1' } } })
      expect(failure(wrongVersion)).toMatchObject({
        http: 409,
        message: expect.stringContaining('the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ('),
      })
      const right = { uid: at(body, 'metadata.uid'), resourceVersion: at(body, 'metadata.resourceVersion') }
      expect((await call(connect(), 'DELETE', `${configmaps}/${name}`, { body: { preconditions: right } })).status).toBe(200)
    })

    test('a write that may take no time is given up and not done, and a time that is none is refused', async () => {
      const name = uniqueName('cm')
      await call(connect(), 'POST', configmaps, { body: configMap({ name }) })
      const late = await call(connect(), 'DELETE', `${configmaps}/${name}?timeout=1ns`)
      expect(late.status).toBe(504)
      expect((await call(connect(), 'DELETE', `${configmaps}/${name}?timeout=soon`)).status).toBe(400)
      expect((await call(connect(), 'GET', `${configmaps}/${name}`)).status).toBe(200)
      expect((await call(connect(), 'DELETE', `${configmaps}/${name}?timeout=15000ms`)).status).toBe(200)
    })

    test('a finalizer holds a deleted object until it is removed, and none can be added meanwhile', async () => {
      const name = uniqueName('cm')
      await call(connect(), 'POST', configmaps, { body: configMap({ name, finalizers: ['roomfence.test/hold'] }) })
      const deleted = await call(connect(), 'DELETE', `${configmaps}/${name}`)
      expect(deleted.status).toBe(200)
      const { body: held } = await call(connect(), 'GET', `${configmaps}/${name}`)
      expect(at(held, 'metadata.deletionTimestamp')).toBeDefined()
      expect(at(held, 'metadata.deletionGracePeriodSeconds')).toBe(0)
      const more = { metadata: { finalizers: ['roomfence.test/hold', 'roomfence.test/more'] } }
      const added = await call(connect(), 'PATCH', `${configmaps}/${name}`, { body: more, contentType: 'application/merge-patch+json' })
      expect(failure(added)).toMatchObject({
        http: 422,
        message: expect.stringContaining('no new finalizers can be added if the object is being deleted'),
      })
      const none = { metadata: { finalizers: null } }
      const freed = await call(connect(), 'PATCH', `${configmaps}/${name}`, { body: none, contentType: 'application/merge-patch+json' })
      expect(freed.status).toBe(200)
      expect((await call(connect(), 'GET', `${configmaps}/${name}`)).status).toBe(404)
    })

    test('a scheduled pod is deleted with its grace, which can be shortened, and goes at once with grace 0', async () => {
      const name = uniqueName('pod')
      const spec = { nodeName: 'no-such-node', terminationGracePeriodSeconds: 45 }
      const { status } = await call(connect(), 'POST', pods, { body: pod({ name }, spec) })
      expect(status).toBe(201)
      const first = await call(connect(), 'DELETE', `${pods}/${name}`)
      expect(first).toMatchObject({ status: 200, body: { kind: 'Pod', metadata: { deletionGracePeriodSeconds: 45 } } })
      const longer = await call(connect(), 'DELETE', `${pods}/${name}`, { body: { gracePeriodSeconds: 60 } })
      expect(at(longer.body, 'metadata.deletionGracePeriodSeconds')).toBe(45)
      const shorter = await call(connect(), 'DELETE', `${pods}/${name}`, { body: { gracePeriodSeconds: 30 } })
      expect(at(shorter.body, 'metadata.deletionGracePeriodSeconds')).toBe(30)
      const { body: going } = await call(connect(), 'GET', `${pods}/${name}`)
      const uid = textAt(going, 'metadata.uid')
      const stream = await watch(connect(), pods, {
        resourceVersion: textAt(going, 'metadata.resourceVersion'),
        fieldSelector: `metadata.name=${name}`,
      })
      const forced = await call(connect(), 'DELETE', `${pods}/${name}`, { body: { gracePeriodSeconds: 0, preconditions: { uid } } })
      expect(forced.status).toBe(200)
      await stream.until(({ type }) => type === 'DELETED')
      stream.close()
      // Seen twice: marked with grace 0, then gone.
      expect(stream.events.map(({ type }) => type)).toEqual(['MODIFIED', 'DELETED'])
      expect(stream.events.map(({ object }) => at(object, 'metadata.deletionGracePeriodSeconds'))).toEqual([0, 0])
    })

    test('a pod that is not scheduled, or has ended, goes at once', async () => {
      const [waiting, ended] = [uniqueName('pod'), uniqueName('pod')]
      await call(connect(), 'POST', pods, { body: pod({ name: waiting }, { schedulerName: 'none' }) })
      expect((await call(connect(), 'DELETE', `${pods}/${waiting}`)).status).toBe(200)
      expect((await call(connect(), 'GET', `${pods}/${waiting}`)).status).toBe(404)
      await call(connect(), 'POST', pods, { body: pod({ name: ended }, { nodeName: 'no-such-node' }) })
      const failed = { status: { phase: 'Failed' } }
      const patched = await call(connect(), 'PATCH', `${pods}/${ended}/status`, {
        body: failed,
        contentType: 'application/merge-patch+json',
      })
      expect(patched.status).toBe(200)
      await call(connect(), 'DELETE', `${pods}/${ended}`)
      expect((await call(connect(), 'GET', `${pods}/${ended}`)).status).toBe(404)
    })

    test('a pod is created Pending, tolerates a lost node for five minutes, and its status only changes as a status', async () => {
      const name = uniqueName('pod')
      const { body } = await call(connect(), 'POST', pods, {
        body: { ...pod({ name }, { schedulerName: 'none' }), status: { phase: 'Running' } },
      })
      expect(body).toMatchObject({ metadata: { generation: 1 }, status: { phase: 'Pending' } })
      expect(at(body, 'spec.tolerations')).toEqual(
        ['not-ready', 'unreachable'].map((key) => ({
          key: `node.kubernetes.io/${key}`,
          operator: 'Exists',
          effect: 'NoExecute',
          tolerationSeconds: 300,
        })),
      )
      const both = { metadata: { labels: { seen: 'yes' } }, status: { phase: 'Running' }, spec: { activeDeadlineSeconds: 60 } }
      const main = await call(connect(), 'PATCH', `${pods}/${name}`, { body: both, contentType: 'application/merge-patch+json' })
      expect(main).toMatchObject({
        status: 200,
        body: { metadata: { labels: { seen: 'yes' }, generation: 2 }, status: { phase: 'Pending' } },
      })
      const second = { status: { phase: 'Running' }, spec: { activeDeadlineSeconds: 30 } }
      const below = await call(connect(), 'PATCH', `${pods}/${name}/status`, { body: second, contentType: 'application/merge-patch+json' })
      expect(below).toMatchObject({
        status: 200,
        body: { metadata: { generation: 2 }, spec: { activeDeadlineSeconds: 60 }, status: { phase: 'Running' } },
      })
    })

    test('a pod is bound to its node once', async () => {
      const name = uniqueName('pod')
      await call(connect(), 'POST', pods, { body: pod({ name }, { schedulerName: 'none' }) })
      const binding = {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name },
        target: { apiVersion: 'v1', kind: 'Node', name: 'some-node' },
      }
      expect((await call(connect(), 'POST', `${pods}/${name}/binding`, { body: binding })).status).toBe(201)
      const { body } = await call(connect(), 'GET', `${pods}/${name}`)
      expect(at(body, 'spec.nodeName')).toBe('some-node')
      expect(at(body, 'status.conditions')).toMatchObject([{ type: 'PodScheduled', status: 'True' }])
      expect((await call(connect(), 'POST', `${pods}/${name}/binding`, { body: binding })).status).toBe(409)
    })

    test('what has lost its owner is collected, by uid', async () => {
      const [owner, owned] = [uniqueName('cm'), uniqueName('cm')]
      const { body } = await call(connect(), 'POST', configmaps, { body: configMap({ name: owner }) })
      const ownerReferences = [{ apiVersion: 'v1', kind: 'ConfigMap', name: owner, uid: at(body, 'metadata.uid') }]
      await call(connect(), 'POST', configmaps, { body: configMap({ name: owned, ownerReferences }) })
      await call(connect(), 'DELETE', `${configmaps}/${owner}`, { body: { propagationPolicy: 'Background' } })
      await eventually(
        () => call(connect(), 'GET', `${configmaps}/${owned}`),
        ({ status }) => status === 404,
      )
    })

    test('with Orphan, what was owned stays', async () => {
      const [owner, owned] = [uniqueName('cm'), uniqueName('cm')]
      const { body } = await call(connect(), 'POST', configmaps, { body: configMap({ name: owner }) })
      const ownerReferences = [{ apiVersion: 'v1', kind: 'ConfigMap', name: owner, uid: at(body, 'metadata.uid') }]
      await call(connect(), 'POST', configmaps, { body: configMap({ name: owned, ownerReferences }) })
      // A real collector learns of the owned object by its watch, a little later.
      await new Promise((resolve) => setTimeout(resolve, 500))
      await call(connect(), 'DELETE', `${configmaps}/${owner}`, { body: { propagationPolicy: 'Orphan' } })
      const orphan = await eventually(
        () => call(connect(), 'GET', `${configmaps}/${owned}`),
        (reply) => reply.status === 404 || at(reply.body, 'metadata.ownerReferences') === undefined,
      )
      expect(orphan.status).toBe(200)
    })

    test('a deleted namespace takes its content with it', async () => {
      const doomed = await createNamespace(connect())
      await call(connect(), 'POST', `/api/v1/namespaces/${doomed}/configmaps`, { body: configMap({ name: 'a' }) })
      const deleted = await call(connect(), 'DELETE', `/api/v1/namespaces/${doomed}`)
      expect(deleted).toMatchObject({ status: 200, body: { kind: 'Namespace', status: { phase: 'Terminating' } } })
      await eventually(
        () => call(connect(), 'GET', `/api/v1/namespaces/${doomed}`),
        ({ status }) => status === 404,
      )
    })
  })
}
