/** The faults that the demo and other tests rely on, seen from a client. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { at, call, type Connection, textAt, watch } from '../../../test/support/api-connection.ts'
import { type ApiServer, startApiServer } from './server.ts'

let server: ApiServer
let connection: Connection
beforeEach(async () => {
  server = await startApiServer({ tokens: { admin: { name: 'admin', groups: ['system:masters'] } } })
  connection = { url: server.url, caPem: server.caPem, token: 'admin' }
})
afterEach(() => server.close())

const configmaps = '/api/v1/namespaces/default/configmaps'
const create = (name: string): ReturnType<typeof call> => call(connection, 'POST', configmaps, { body: { metadata: { name } } })
const names = async (): Promise<unknown[]> =>
  (at((await call(connection, 'GET', configmaps)).body, 'items') as unknown[]).map((item) => at(item, 'metadata.name'))

test.each([[429], [503]] as const)('answers %d with a time to come back, and nothing happens', async (status) => {
  server.faults.set({ answer: { status, retryAfterSeconds: 2 } })
  const reply = await create('a')
  expect(reply).toMatchObject({
    status,
    headers: { 'retry-after': '2' },
    body: { kind: 'Status', code: status, details: { retryAfterSeconds: 2 } },
  })
  server.faults.set()
  expect(await names()).toEqual([])
})

test('a fault concerns the requests it names', async () => {
  server.faults.set({ answer: { status: 503 }, appliesTo: ({ method }) => method === 'POST' })
  expect((await create('a')).status).toBe(503)
  expect(await names()).toEqual([])
})

test('a hanging server accepts and never answers', async () => {
  server.faults.set({ isHanging: true })
  const hanging = create('a').then(
    () => 'answered',
    () => 'dropped',
  )
  expect(await Promise.race([hanging, new Promise((resolve) => setTimeout(resolve, 200, 'hangs'))])).toBe('hangs')
  server.faults.dropConnections()
  expect(await hanging).toBe('dropped')
  server.faults.set()
  expect(await names()).toEqual([])
})

test('a refusing server drops its watches and accepts again on the same address', async () => {
  const stream = await watch(connection, configmaps, {})
  await server.faults.refuse()
  await stream.ended
  await expect(create('a')).rejects.toThrow(/ECONNREFUSED/)
  await server.faults.accept()
  expect((await create('a')).status).toBe(201)
})

test('frozen reads and watches show the past while writes go on, and catch up when thawed', async () => {
  await create('a')
  server.faults.freeze()
  const stream = await watch(connection, configmaps, {})
  expect((await create('b')).status).toBe(201)
  expect(await names()).toEqual(['a'])
  expect((await call(connection, 'GET', `${configmaps}/b`)).status).toBe(404)
  expect((await create('b')).status).toBe(409)
  expect(stream.events.map(({ object }) => at(object, 'metadata.name'))).toEqual(['a'])
  server.faults.thaw()
  await stream.until(({ object }) => at(object, 'metadata.name') === 'b')
  stream.close()
  expect(await names()).toEqual(['a', 'b'])
})

test('a rolled back store has its old state and versions, and watchers are dropped', async () => {
  await create('a')
  const snapshot = server.faults.snapshot()
  const before = await call(connection, 'GET', configmaps)
  await create('b')
  await call(connection, 'DELETE', `${configmaps}/a`)
  const stream = await watch(connection, configmaps, {})
  server.faults.rollback(snapshot)
  await stream.ended
  const after = await call(connection, 'GET', configmaps)
  expect(after.body).toEqual(before.body)
  const future = await call(
    connection,
    'GET',
    `${configmaps}?resourceVersion=${Number(textAt(after.body, 'metadata.resourceVersion')) + 5}`,
  )
  expect(future).toMatchObject({ status: 504, body: { details: { causes: [{ reason: 'ResourceVersionTooLarge' }] } } })
})

test('a client certificate names its user and groups; one of another authority is Unauthorized', async () => {
  const { request } = await import('node:https')
  const { createAuthority } = await import('../certificates.ts')
  const authority = createAuthority()
  const certified = await startApiServer({ tokens: {}, authority })
  const status = (from: typeof authority, groups: readonly string[]): Promise<number | undefined> => {
    const { certificatePem, keyPem } = from.client('someone', groups)
    return new Promise((resolve, reject) => {
      const options = { ca: certified.caPem, cert: certificatePem, key: keyPem, agent: false }
      request(`${certified.url}/api/v1/nodes`, options, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
        .on('error', reject)
        .end()
    })
  }
  try {
    expect(await status(authority, ['system:masters'])).toBe(200)
    expect(await status(authority, ['nobodies'])).toBe(403)
    expect(await status(createAuthority(), ['system:masters'])).toBe(401)
  } finally {
    await certified.close()
  }
})
