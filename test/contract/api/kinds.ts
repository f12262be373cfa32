/** Contract of the kinds this project writes: nodes' taints, leases, events, volume attachments, custom resources. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  at,
  call,
  type Connection,
  createNamespace,
  eventually,
  failure,
  jsonPatch,
  mergePatch,
  strategicPatch,
  textAt,
  uniqueName,
} from '../../support/api-connection.ts'

export function kindContract(connect: () => Connection): void {
  describe('nodes', () => {
    const name = uniqueName('node')
    const path = `/api/v1/nodes/${name}`
    const outOfService = { key: 'node.kubernetes.io/out-of-service', value: 'nodeshutdown', effect: 'NoSchedule' }
    beforeAll(() => call(connect(), 'POST', '/api/v1/nodes', { body: { apiVersion: 'v1', kind: 'Node', metadata: { name } } }))
    afterAll(() => call(connect(), 'DELETE', path))

    test('a new node is tainted as not ready, until someone says otherwise', async () => {
      const other = uniqueName('node')
      const { body } = await call(connect(), 'POST', '/api/v1/nodes?dryRun=All', {
        body: { apiVersion: 'v1', kind: 'Node', metadata: { name: other } },
      })
      expect(at(body, 'spec.taints')).toEqual([{ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }])
    })

    test('taints are set under the version they were read at, and only so', async () => {
      const { body: before } = await call(connect(), 'GET', path)
      const resourceVersion = textAt(before, 'metadata.resourceVersion')
      const taints = [...((at(before, 'spec.taints') ?? []) as unknown[]), outOfService]
      const body = { metadata: { resourceVersion }, spec: { taints } }
      const first = await call(connect(), 'PATCH', path, { body, contentType: mergePatch })
      // A controller of a real control plane may have written in between: then the precondition did its work.
      if (first.status === 200) expect(at(first.body, 'spec.taints')).toContainEqual(outOfService)
      else expect(failure(first)).toMatchObject({ http: 409, reason: 'Conflict' })
      const again = { metadata: { resourceVersion }, spec: { taints: [] } }
      expect(failure(await call(connect(), 'PATCH', path, { body: again, contentType: strategicPatch }))).toMatchObject({
        http: 409,
        reason: 'Conflict',
      })
      expect(failure(await call(connect(), 'PATCH', path, { body: again, contentType: mergePatch }))).toMatchObject({
        http: 409,
        reason: 'Conflict',
      })
    })

    test('a taint with an unknown effect, without a key, or twice is refused by its field', async () => {
      const reply = await call(connect(), 'PATCH', path, {
        body: { spec: { taints: [{ key: 'a', effect: 'Never' }] } },
        contentType: mergePatch,
      })
      expect(reply.status).toBe(422)
      expect(at(reply.body, 'details.causes.0.field')).toBe('metadata.taints[0].effect')
      expect(at(reply.body, 'details.causes.0.reason')).toBe('FieldValueNotSupported')
      expect(textAt(reply.body, 'message')).toContain(
        `Node "${name}" is invalid: metadata.taints[0].effect: Unsupported value: "Never": supported values: `,
      )
      const twice = [outOfService, { ...outOfService, value: 'other' }]
      const doubled = await call(connect(), 'PATCH', path, { body: { spec: { taints: twice } }, contentType: mergePatch })
      expect(failure(doubled)).toMatchObject({ http: 422, message: expect.stringContaining('metadata.taints[1]: Duplicate value') })
    })
  })

  describe('priority classes', () => {
    test('a pod gets the value of its class', async () => {
      const name = uniqueName('class')
      const namespace = await createNamespace(connect())
      const classes = '/apis/scheduling.k8s.io/v1/priorityclasses'
      const metadata = { name }
      await call(connect(), 'POST', classes, {
        body: { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata, value: 7_000 },
      })
      const spec = { priorityClassName: name, containers: [{ name: 'main', image: 'registry.example/pause:1' }] }
      const body = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'urgent' }, spec }
      // A real API server's admission hears of the class a moment later.
      const { body: pod } = await eventually(
        () => call(connect(), 'POST', `/api/v1/namespaces/${namespace}/pods?dryRun=All`, { body }),
        ({ status }) => status === 201,
      )
      expect(at(pod, 'spec.priority')).toBe(7_000)
      await call(connect(), 'DELETE', `${classes}/${name}`)
    })
  })

  describe('leases', () => {
    let path = ''
    beforeAll(async () => {
      path = `/apis/coordination.k8s.io/v1/namespaces/${await createNamespace(connect())}/leases`
    })
    const lease = (name: string, spec: object, metadata: object = {}): object => ({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name, ...metadata },
      spec,
    })
    const renewTime = '2026-01-02T03:04:05.123456Z'

    test('a lease is taken by the one whose update comes with the version it read', async () => {
      const { body } = await call(connect(), 'POST', path, {
        body: lease('taken', { holderIdentity: 'one', leaseDurationSeconds: 15, renewTime, leaseTransitions: 0 }),
      })
      expect(at(body, 'spec.renewTime')).toBe(renewTime)
      const resourceVersion = at(body, 'metadata.resourceVersion')
      const claim = (holderIdentity: string): ReturnType<typeof call> =>
        call(connect(), 'PUT', `${path}/taken`, { body: lease('taken', { holderIdentity, leaseDurationSeconds: 15 }, { resourceVersion }) })
      const statuses = (await Promise.all([claim('two'), claim('three')])).map(({ status }) => status)
      expect(statuses.toSorted((a, b) => a - b)).toEqual([200, 409])
    })

    test('an update of a lease without a version is refused', async () => {
      await call(connect(), 'POST', path, { body: lease('versioned', {}) })
      const reply = await call(connect(), 'PUT', `${path}/versioned`, { body: lease('versioned', { holderIdentity: 'x' }) })
      expect(failure(reply)).toMatchObject({
        http: 422,
        reason: 'Invalid',
        message: expect.stringContaining('metadata.resourceVersion: Invalid value: 0'),
      })
    })

    test('a JSON patch releases a lease if the holder is still the dead one', async () => {
      await call(connect(), 'POST', path, { body: lease('held', { holderIdentity: 'dead' }) })
      const release = [
        { op: 'test', path: '/spec/holderIdentity', value: 'dead' },
        { op: 'replace', path: '/spec/holderIdentity', value: '' },
      ]
      expect((await call(connect(), 'PATCH', `${path}/held`, { body: release, contentType: jsonPatch })).status).toBe(200)
      expect((await call(connect(), 'PATCH', `${path}/held`, { body: release, contentType: jsonPatch })).status).toBe(422)
    })

    test('a time without microseconds, and a duration of nothing, are refused', async () => {
      const short = await call(connect(), 'POST', path, { body: lease('short', { renewTime: '2026-01-02T03:04:05.123Z' }) })
      expect(failure(short)).toMatchObject({ http: 400, reason: 'BadRequest' })
      expect(textAt(short.body, 'message')).toContain(
        'Lease in version "v1" cannot be handled as a Lease: parsing time "2026-01-02T03:04:05.123Z" as "2006-01-02T15:04:05.000000Z07:00"',
      )
      const zero = await call(connect(), 'POST', path, { body: lease('zero', { leaseDurationSeconds: 0 }) })
      expect(failure(zero)).toMatchObject({
        http: 422,
        message: 'Lease.coordination.k8s.io "zero" is invalid: spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0',
      })
    })
  })

  describe('events', () => {
    let namespace = ''
    beforeAll(async () => {
      namespace = await createNamespace(connect())
    })
    const event = (name: string, changes: object = {}): object => ({
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name },
      eventTime: '2026-01-02T03:04:05.123456Z',
      reportingController: 'roomfence.io/agent',
      reportingInstance: 'agent-1',
      action: 'Fence',
      reason: 'RoomFenced',
      type: 'Warning',
      note: 'room b is fenced',
      regarding: { apiVersion: 'v1', kind: 'ConfigMap', namespace, name: 'x' },
      ...changes,
    })
    const newEvents = (where: string): string => `/apis/events.k8s.io/v1/namespaces/${where}/events`

    test('one event is seen in both groups, each with its own field names', async () => {
      const { status, body } = await call(connect(), 'POST', newEvents(namespace), { body: event('seen') })
      expect(status).toBe(201)
      expect(body).toMatchObject({
        apiVersion: 'events.k8s.io/v1',
        kind: 'Event',
        note: 'room b is fenced',
        reportingController: 'roomfence.io/agent',
      })
      const core = await call(connect(), 'GET', `/api/v1/namespaces/${namespace}/events/seen`)
      expect(core.body).toMatchObject({
        apiVersion: 'v1',
        message: 'room b is fenced',
        reportingComponent: 'roomfence.io/agent',
        involvedObject: { kind: 'ConfigMap', name: 'x' },
      })
      const list = await call(connect(), 'GET', `/api/v1/namespaces/${namespace}/events?fieldSelector=reason%3DRoomFenced`)
      expect(at(list.body, 'items.0.metadata.name')).toBe('seen')
    })

    test('a series is counted by a patch', async () => {
      await call(connect(), 'POST', newEvents(namespace), { body: event('series') })
      const series = { series: { count: 2, lastObservedTime: '2026-01-02T03:04:06.000000Z' } }
      const { status, body } = await call(connect(), 'PATCH', `${newEvents(namespace)}/series`, { body: series, contentType: mergePatch })
      expect(status).toBe(200)
      expect(at(body, 'series.count')).toBe(2)
    })

    test('an event about a node belongs into the namespace default or kube-system', async () => {
      const regarding = { apiVersion: 'v1', kind: 'Node', name: 'some-node' }
      const name = uniqueName('event')
      expect((await call(connect(), 'POST', newEvents(namespace), { body: event(name, { regarding }) })).status).toBe(422)
      expect((await call(connect(), 'POST', newEvents('default'), { body: event(name, { regarding }) })).status).toBe(201)
      await call(connect(), 'DELETE', `${newEvents('default')}/${name}`)
    })

    test.each([['reportingController'], ['reportingInstance'], ['action'], ['reason'], ['type']])(
      'an event without %s is refused by its name',
      async (field) => {
        const reply = await call(connect(), 'POST', newEvents(namespace), { body: event(uniqueName('event'), { [field]: undefined }) })
        expect(reply.status).toBe(422)
        expect(textAt(reply.body, 'message')).toContain(`${field}: `)
      },
    )

    test('a note longer than 1024 characters, and a time without microseconds, are refused', async () => {
      const long = await call(connect(), 'POST', newEvents(namespace), { body: event(uniqueName('event'), { note: 'x'.repeat(1025) }) })
      expect(long.status).toBe(422)
      const short = await call(connect(), 'POST', newEvents(namespace), {
        body: event(uniqueName('event'), { eventTime: '2026-01-02T03:04:05Z' }),
      })
      expect(short.status).toBe(400)
    })
  })

  describe('volume attachments', () => {
    const path = '/apis/storage.k8s.io/v1/volumeattachments'
    const name = uniqueName('va')
    const finalizers = ['external-attacher/linstor-csi-linbit-com']
    const spec = { attacher: 'linstor.csi.linbit.com', nodeName: 'some-node', source: { persistentVolumeName: 'some-volume' } }

    test('one is attached by its status, held by its finalizer, and answers its delete with itself', async () => {
      const made = await call(connect(), 'POST', path, {
        body: {
          apiVersion: 'storage.k8s.io/v1',
          kind: 'VolumeAttachment',
          metadata: { name, finalizers },
          spec,
          status: { attached: true },
        },
      })
      expect(made).toMatchObject({ status: 201, body: { spec, status: { attached: false } } })
      const attached = await call(connect(), 'PATCH', `${path}/${name}/status`, {
        body: { status: { attached: true } },
        contentType: mergePatch,
      })
      expect(attached).toMatchObject({ status: 200, body: { status: { attached: true } } })
      const uid = textAt(made.body, 'metadata.uid')
      const deleted = await call(connect(), 'DELETE', `${path}/${name}`, { body: { preconditions: { uid } } })
      expect(deleted).toMatchObject({ status: 200, body: { kind: 'VolumeAttachment', metadata: { uid } } })
      expect(at(deleted.body, 'metadata.deletionTimestamp')).toBeDefined()
      const freed = await call(connect(), 'PATCH', `${path}/${name}`, { body: { metadata: { finalizers: null } }, contentType: mergePatch })
      expect(freed.status).toBe(200)
      expect((await call(connect(), 'GET', `${path}/${name}`)).status).toBe(404)
    })
  })
}
