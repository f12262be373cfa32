/** Contract of who may do what: authentication, roles, and the words of a refusal; and of the paths that are no resources. */
import { beforeAll, describe, expect, test } from 'vitest'
import { at, call, type Connection, createNamespace, eventually, failure, textAt } from '../../support/api-connection.ts'

export function accessContract(connect: () => Connection): void {
  describe('access', () => {
    let namespace = ''
    let token = ''
    const user = (): string => `system:serviceaccount:${namespace}:agent`
    beforeAll(async () => {
      namespace = await createNamespace(connect())
      const accounts = `/api/v1/namespaces/${namespace}/serviceaccounts`
      await call(connect(), 'POST', accounts, { body: { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'agent' } } })
      const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 3600 } }
      const issued = await call(connect(), 'POST', `${accounts}/agent/token`, { body: request })
      expect(issued.status).toBe(201)
      token = textAt(issued.body, 'status.token')
    })

    test('a token that is not known is Unauthorized', async () => {
      const reply = await call(connect(), 'GET', '/api/v1/nodes', { token: 'nonsense' })
      expect(reply.status).toBe(401)
      expect(reply.body).toEqual({
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message: 'Unauthorized',
        reason: 'Unauthorized',
        code: 401,
      })
    })

    test('a user without a role is refused, by verb, resource, group and scope', async () => {
      const list = await call(connect(), 'GET', '/api/v1/nodes', { token })
      expect(list.body).toEqual({
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message: `nodes is forbidden: User "${user()}" cannot list resource "nodes" in API group "" at the cluster scope`,
        reason: 'Forbidden',
        details: { kind: 'nodes' },
        code: 403,
      })
      const lease = await call(connect(), 'PATCH', `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/a`, {
        token,
        body: {},
        contentType: 'application/merge-patch+json',
      })
      expect(lease.body).toMatchObject({
        message: `leases.coordination.k8s.io "a" is forbidden: User "${user()}" cannot patch resource "leases" in API group "coordination.k8s.io" in the namespace "${namespace}"`,
        details: { name: 'a', group: 'coordination.k8s.io', kind: 'leases' },
        code: 403,
      })
      const status = await call(connect(), 'PUT', `/api/v1/namespaces/${namespace}/pods/a/status`, { token, body: {} })
      expect(at(status.body, 'message')).toBe(
        `pods "a" is forbidden: User "${user()}" cannot update resource "pods/status" in API group "" in the namespace "${namespace}"`,
      )
    })

    test('a call of KubeVirt is refused like any other', async () => {
      const path = `/apis/subresources.kubevirt.io/v1/namespaces/${namespace}/virtualmachines/a/start`
      const reply = await call(connect(), 'PUT', path, { token, body: {}, accept: '*/*' })
      expect(failure(reply)).toMatchObject({
        http: 403,
        message: `virtualmachines.subresources.kubevirt.io "a" is forbidden: User "${user()}" cannot update resource "virtualmachines/start" in API group "subresources.kubevirt.io" in the namespace "${namespace}"`,
      })
    })

    test('a role bound to the service account allows its verbs in its namespace, and no more', async () => {
      const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`
      const rules = [
        { apiGroups: [''], resources: ['configmaps'], verbs: ['list', 'get'] },
        { apiGroups: [''], resources: ['secrets'], resourceNames: ['mine'], verbs: ['get'] },
      ]
      const metadata = { name: 'agent' }
      await call(connect(), 'POST', `${rbac}/roles`, {
        body: { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata, rules },
      })
      await call(connect(), 'POST', `${rbac}/rolebindings`, {
        body: {
          apiVersion: 'rbac.authorization.k8s.io/v1',
          kind: 'RoleBinding',
          metadata,
          subjects: [{ kind: 'ServiceAccount', name: 'agent', namespace }],
          roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'agent' },
        },
      })
      const status = async (method: string, path: string): Promise<number> => (await call(connect(), method, path, { token })).status
      await eventually(
        () => call(connect(), 'GET', `/api/v1/namespaces/${namespace}/configmaps`, { token }),
        (reply) => reply.status === 200,
      )
      expect(await status('GET', `/api/v1/namespaces/${namespace}/configmaps/absent`)).toBe(404)
      expect(await status('DELETE', `/api/v1/namespaces/${namespace}/configmaps/absent`)).toBe(403)
      expect(await status('GET', `/api/v1/namespaces/${namespace}/configmaps?watch=true&timeoutSeconds=1`)).toBe(403)
      expect(await status('GET', '/api/v1/namespaces/default/configmaps')).toBe(403)
      expect(await status('GET', `/api/v1/namespaces/${namespace}/secrets/mine`)).toBe(404)
      expect(await status('GET', `/api/v1/namespaces/${namespace}/secrets/other`)).toBe(403)
    })

    test('health and version are open to all, discovery to all who are known, other paths to few', async () => {
      for (const path of ['/healthz', '/livez', '/readyz']) {
        expect(await call(connect(), 'GET', path, { token: '', accept: '*/*' })).toMatchObject({ status: 200, body: 'ok' })
      }
      expect(await call(connect(), 'GET', '/version', { token: '' })).toMatchObject({ status: 200, body: { major: '1' } })
      expect((await call(connect(), 'GET', '/apis', { token: '' })).status).toBe(403)
      expect(await call(connect(), 'GET', '/api', { token })).toMatchObject({
        status: 200,
        body: { kind: 'APIVersions', versions: ['v1'] },
      })
      const core = await call(connect(), 'GET', '/api/v1', { token })
      expect((at(core.body, 'resources') as { name: string }[]).map(({ name }) => name)).toEqual(
        expect.arrayContaining(['nodes', 'pods', 'pods/status']),
      )
      expect(failure(await call(connect(), 'GET', '/metrics', { token }))).toMatchObject({
        http: 403,
        message: `forbidden: User "${user()}" cannot get path "/metrics"`,
      })
      expect(failure(await call(connect(), 'GET', '/api/v1/nodes', { token: '' }))).toMatchObject({
        http: 403,
        message: 'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope',
      })
    })

    test('a user can ask what it may', async () => {
      const body = {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: { resourceAttributes: { namespace, verb: 'delete', resource: 'pods' } },
      }
      const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'
      expect(await call(connect(), 'POST', path, { body })).toMatchObject({ status: 201, body: { status: { allowed: true } } })
      expect(await call(connect(), 'POST', path, { body, token })).toMatchObject({ status: 201, body: { status: { allowed: false } } })
    })
  })
}
