/** The answers of virt-api v1.9.0 that were seen on a real control plane, state by state and call by call. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { at, call, type Connection, failure, jsonPatch, mergePatch, type Reply } from '../../../test/support/api-connection.ts'
import { type ApiServer, startApiServer } from './server.ts'
import { isJsonObject } from './freeze.ts'

let server: ApiServer
let connection: Connection
beforeAll(async () => {
  server = await startApiServer({ tokens: { admin: { name: 'admin', groups: ['system:masters'] } } })
  connection = { url: server.url, caPem: server.caPem, token: 'admin' }
})
afterAll(() => server.close())

let made = 0
/** @param phase of its instance; undefined: there is none */
function machine(runStrategy: string, phase: string | undefined): { name: string; uid: string | undefined } {
  made += 1
  const name = `vm-${made}`
  server.store.create('virtualmachines', { metadata: { name, namespace: 'default' }, spec: { runStrategy, template: {} } })
  if (phase === undefined) return { name, uid: undefined }
  const instance = server.store.create('virtualmachineinstances', { metadata: { name, namespace: 'default' }, spec: {}, status: { phase } })
  return { name, uid: instance.metadata.uid }
}
const send = (name: string, action: string, body: unknown = {}, accept = '*/*'): Promise<Reply> =>
  call(connection, 'PUT', `/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/${name}/${action}`, { body, accept })
const requestsOf = (name: string): unknown => at(server.store.get('virtualmachines', 'default', name), 'status.stateChangeRequests')
const strategyOf = (name: string): unknown => at(server.store.get('virtualmachines', 'default', name), 'spec.runStrategy')

describe('start, stop and restart of a virtual machine', () => {
  test('start of a Manual machine whose instance failed is accepted without a body, and queues Stop and Start', async () => {
    const { name, uid } = machine('Manual', 'Failed')
    const reply = await send(name, 'start')
    expect([reply.status, reply.body]).toEqual([202, ''])
    expect(requestsOf(name)).toEqual([{ action: 'Stop', uid }, { action: 'Start' }])
    expect(failure(await send(name, 'start'))).toMatchObject({
      http: 500,
      reason: 'InternalError',
      message: 'Internal error occurred: unable to complete request: stop/start already underway',
    })
  })

  test('start of a machine without instance queues a Start', async () => {
    const { name } = machine('Manual', undefined)
    expect((await send(name, 'start')).status).toBe(202)
    expect(requestsOf(name)).toEqual([{ action: 'Start' }])
  })

  test.each([
    ['Always', 'Running', 'start', 409, 'VM is already running'],
    ['RerunOnFailure', 'Running', 'start', 409, 'VM is already running'],
    ['Manual', 'Running', 'start', 409, 'VM is already running'],
    ['Once', 'Running', 'start', 409, 'VM is already running'],
    ['Once', 'Failed', 'start', 409, 'Once does not support manual start requests'],
    ['Always', undefined, 'start', 409, 'Always does not support manual start requests'],
    ['Once', 'Failed', 'restart', 409, 'RunStategy Once does not support manual restart requests'],
    ['Halted', undefined, 'restart', 409, 'RunStategy Halted does not support manual restart requests'],
    ['Manual', undefined, 'restart', 409, 'VM is not running: Halted'],
    ['Always', undefined, 'restart', 409, 'VM is not running: Halted'],
  ])('of a %s machine whose instance is %s, %s is refused', async (strategy, phase, action, status, why) => {
    const { name } = machine(strategy, phase)
    const reply = await send(name, action)
    expect(failure(reply)).toMatchObject({
      http: status,
      reason: 'Conflict',
      message: `Operation cannot be fulfilled on virtualmachine.kubevirt.io "${name}": ${why}`,
    })
    expect(requestsOf(name)).toBeUndefined()
  })

  test.each([['Always'], ['RerunOnFailure'], ['Manual']])('restart of a running %s machine queues Stop and Start', async (strategy) => {
    const { name, uid } = machine(strategy, 'Running')
    expect((await send(name, 'restart')).status).toBe(202)
    expect(requestsOf(name)).toEqual([{ action: 'Stop', uid }, { action: 'Start' }])
  })

  test('restart with another grace than 0 is refused', async () => {
    const { name } = machine('Always', 'Running')
    const reply = await send(name, 'restart', { gracePeriodSeconds: 10 })
    expect(failure(reply)).toMatchObject({ http: 400, message: 'For force restart, only gracePeriod=0 is supported for now' })
  })

  test('start of a Halted machine would turn it to Always; a dry run does not', async () => {
    const { name } = machine('Halted', undefined)
    expect((await send(name, 'start', { dryRun: ['All'] })).status).toBe(202)
    expect(strategyOf(name)).toBe('Halted')
    expect((await send(name, 'start')).status).toBe(202)
    expect(strategyOf(name)).toBe('Always')
  })

  test('a client that accepts JSON only is not served; one that takes anything else too is', async () => {
    const { name } = machine('Manual', 'Failed')
    expect((await send(name, 'start', {}, 'application/json')).status).toBe(406)
    expect(requestsOf(name)).toBeUndefined()
    expect((await send(name, 'start', {}, 'application/json, */*')).status).toBe(202)
  })

  test('a machine that does not exist is 404, another method 405', async () => {
    expect((await send('absent', 'restart')).status).toBe(404)
    const path = '/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/absent/start'
    expect((await call(connection, 'POST', path, { body: {}, accept: '*/*' })).status).toBe(405)
  })

  test('the backoff of a failed start is skipped by removing startFailure, once', async () => {
    const { name } = machine('Always', undefined)
    const vm = server.store.get('virtualmachines', 'default', name)
    server.store.update('virtualmachines', { ...vm, status: { startFailure: { consecutiveFailCount: 1 } } }, 'status')
    const path = `/apis/kubevirt.io/v1/namespaces/default/virtualmachines/${name}/status`
    const body = [{ op: 'remove', path: '/status/startFailure' }]
    expect((await call(connection, 'PATCH', path, { body, contentType: jsonPatch })).status).toBe(200)
    expect((await call(connection, 'PATCH', path, { body, contentType: jsonPatch })).status).toBe(422)
  })
})

describe('virtual machine instances, as KubeVirt guards them', () => {
  const patch = (name: string, body: unknown): Promise<Reply> =>
    call(connection, 'PATCH', `/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/${name}`, { body, contentType: mergePatch })

  test('another writer may annotate them; its status is dropped in silence, its spec refused', async () => {
    const { name } = machine('Always', 'Running')
    const reply = await patch(name, { metadata: { annotations: { a: '1' } }, status: { phase: 'Failed' } })
    expect(reply).toMatchObject({ status: 200, body: { metadata: { annotations: { a: '1' } }, status: { phase: 'Running' } } })
    expect((await patch(name, { spec: { other: 1 } })).status).toBe(422)
    expect((await call(connection, 'GET', `/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/${name}/status`)).status).toBe(
      404,
    )
  })

  test('an eviction of a launcher pod is refused with 429', async () => {
    const labels = { 'kubevirt.io': 'virt-launcher', 'vm.kubevirt.io/name': 'some' }
    const pod = server.store.create('pods', { metadata: { name: 'launcher', namespace: 'default', labels }, spec: { nodeName: 'a' } })
    const body = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'launcher' } }
    const reply = await call(connection, 'POST', '/api/v1/namespaces/default/pods/launcher/eviction', { body })
    expect(reply).toMatchObject({ status: 429, body: { reason: 'TooManyRequests' } })
    expect(isJsonObject(server.store.get('pods', 'default', 'launcher')) && pod.metadata.deletionTimestamp).toBeUndefined()
  })
})
