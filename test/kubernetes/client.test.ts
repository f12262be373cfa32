/** The Kubernetes edge on the embedded API server: errors, paging, watch and its endings, credentials. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ApiServer, startApiServer } from '../../src/demo/apiserver/server.ts'
import { eventually } from '../support/cluster-testbed.ts'
import { createKubeClient, type KubeClient } from '../../src/kubernetes/client.ts'
import { CredentialsError, kubeconfigCredentials, serviceAccountCredentials } from '../../src/kubernetes/credentials.ts'
import { KubeError } from '../../src/kubernetes/errors.ts'
import { guardedWrites } from '../../src/kubernetes/guarded.ts'
import { nodeView, paths } from '../../src/kubernetes/resources.ts'
import { quantity } from '../../src/kubernetes/requests.ts'
import { type Collection, startCollection, type WatchEnding } from '../../src/kubernetes/watch.ts'

let folder: string
let server: ApiServer
let client: KubeClient
const open: { stop(): void }[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'roomfence-'))
  server = await startApiServer({ tokens: { secret: { name: 'admin', groups: ['system:masters'] }, weak: { name: 'weak', groups: [] } } })
  writeFileSync(join(folder, 'config'), server.kubeconfig('secret'))
  client = createKubeClient({ credentials: kubeconfigCredentials(join(folder, 'config')) })
})
afterEach(async () => {
  for (const one of open.splice(0)) one.stop()
  client.close()
  await server.close()
  rmSync(folder, { recursive: true })
})

const node = (name: string): object => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } })
/** A client of a server that answers so; both are closed after the test. */
async function clientOf(answer: RequestListener, options: { readonly timeoutMs?: number } = {}): Promise<KubeClient> {
  const plain = createServer(answer)
  await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve))
  const plainClient = createKubeClient({
    credentials: {
      server: `http://127.0.0.1:${String((plain.address() as AddressInfo).port)}`,
      skipTlsVerify: false,
      authorization: async () => undefined,
    },
    ...options,
  })
  open.push({
    stop: () => {
      plainClient.close()
      plain.closeAllConnections()
      plain.close()
    },
  })
  return plainClient
}
const failure = (call: Promise<unknown>): Promise<KubeError> =>
  call.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => {
      if (error instanceof KubeError) return error
      throw error
    },
  )

describe('a call', () => {
  test('fails with a code that says what to do', async () => {
    await client.create(paths.nodes, node('n1'))
    expect((await failure(client.create(paths.nodes, node('n1')))).code).toBe('already-exists')
    expect((await failure(client.get(paths.node('n2')))).code).toBe('not-found')
    expect((await failure(client.patchMerge(paths.node('n1'), { metadata: { resourceVersion: '1' } }))).code).toBe('conflict')
    expect((await failure(client.delete(paths.node('n1'), { uid: 'another' }))).code).toBe('conflict')
    expect((await failure(client.patchJson(paths.node('n1'), [{ op: 'test', path: '/metadata/name', value: 'x' }]))).code).toBe('invalid')
    server.faults.set({ answer: { status: 429, retryAfterSeconds: 3 } })
    expect(await failure(client.get(paths.node('n1')))).toMatchObject({ code: 'too-many-requests', retryAfterMs: 3_000 })
    server.faults.set({ isHanging: true })
    expect((await failure(client.get(paths.node('n1'), { timeoutMs: 50 }))).code).toBe('timeout')
    server.faults.set()
    const weak = createKubeClient({
      credentials: { ...kubeconfigCredentials(join(folder, 'config')), authorization: async () => 'Bearer weak' },
    })
    expect((await failure(weak.get(paths.node('n1')))).code).toBe('forbidden')
    weak.close()
    await server.faults.refuse()
    expect(await failure(client.get(paths.node('n1')))).toMatchObject({ code: 'unavailable', status: 0 })
    expect((await failure(client.probe())).code).toBe('unavailable')
    await server.faults.accept()
    await client.probe()
  })

  test('that writes tells the server to give up when this client does', async () => {
    const asked: string[] = []
    const telling = await clientOf(
      (request, response) => {
        asked.push(`${request.method ?? ''} ${request.url ?? ''}`)
        response.end('{}')
      },
      { timeoutMs: 7_000 },
    )
    await telling.get(paths.node('n1'))
    await telling.create(paths.nodes, node('n1'))
    await telling.patchMerge(paths.node('n1'), {}, { dryRun: true })
    await telling.delete(paths.node('n1'), { uid: 'u', timeoutMs: 500 })
    expect(asked).toEqual([
      'GET /api/v1/nodes/n1',
      'POST /api/v1/nodes?timeout=7000ms',
      'PATCH /api/v1/nodes/n1?dryRun=All&timeout=7000ms',
      'DELETE /api/v1/nodes/n1?timeout=500ms',
    ])
  })

  test('that may not write any more sends no write, whatever was asked before, and reads all the same', async () => {
    const asked: string[] = []
    let mayWrite = true
    const inner = await clientOf((request, answer) => {
      asked.push(request.method ?? '')
      answer.end('{}')
    })
    const guarded = guardedWrites(inner, () => mayWrite)
    const writes = [
      () => guarded.create('/a', {}),
      () => guarded.put('/a', {}),
      () => guarded.patchMerge('/a', {}),
      () => guarded.patchJson('/a', []),
      () => guarded.patchStrategic('/a', {}),
      () => guarded.delete('/a', { uid: 'u' }),
      () => guarded.putSubresource('/a', {}),
    ]
    for (const write of writes) await write()
    expect(asked).toEqual(['POST', 'PUT', 'PATCH', 'PATCH', 'PATCH', 'DELETE', 'PUT'])
    mayWrite = false
    for (const write of writes) expect(await failure(write())).toMatchObject({ code: 'unavailable', reason: 'NoPermit' })
    await guarded.get('/a')
    expect(asked.slice(writes.length)).toEqual(['GET'])
  })

  test('survives that its kept-alive connection was closed', async () => {
    await client.create(paths.nodes, node('n1'))
    server.faults.dropConnections()
    await expect(client.get(paths.node('n1'))).resolves.toMatchObject({ metadata: { name: 'n1' } })
  })

  test('reads the token again after a 401', async () => {
    const credentials = kubeconfigCredentials(join(folder, 'config'))
    const asked: boolean[] = []
    const renewed = createKubeClient({
      credentials: {
        ...credentials,
        authorization: async (reread) => {
          asked.push(reread)
          return reread ? 'Bearer secret' : 'Bearer old'
        },
      },
    })
    await renewed.list(paths.nodes, { project: nodeView })
    renewed.close()
    expect(asked).toEqual([false, true])
  })

  test('lists page by page and keeps what is projected', async () => {
    for (let index = 0; index < 7; index++) await client.create(paths.nodes, node(`n${String(index)}`))
    const listed = await client.list(paths.nodes, {
      project: (object) => (nodeView(object).name === 'n3' ? undefined : nodeView(object).name),
      limit: 2,
    })
    expect([...listed.items].sort()).toEqual(['n0', 'n1', 'n2', 'n4', 'n5', 'n6'])
  })
})

describe('a collection', () => {
  const endings: WatchEnding[] = []
  const collect = (more: object = {}): Collection<string> => {
    endings.length = 0
    const collection = startCollection({
      client,
      path: paths.nodes,
      project: (object) => nodeView(object).name,
      keyOf: (name) => name,
      onEnding: (ending) => endings.push(ending),
      ...more,
    })
    open.push(collection)
    return collection
  }

  test('follows what is added and deleted, across dropped connections and expired versions', async () => {
    await client.create(paths.nodes, node('n1'))
    const nodes = collect()
    await nodes.whenFresh
    expect([...nodes.items().keys()]).toEqual(['n1'])
    const created = await client.create(paths.nodes, node('n2'))
    await eventually('n2 seen', () => nodes.items().has('n2'))
    server.faults.dropConnections()
    server.store.create('nodes', node('n3'))
    await eventually('n3 seen after the drop', () => nodes.items().has('n3'))
    server.faults.compact()
    server.faults.dropConnections()
    server.store.remove('nodes', undefined, nodeView(created).name)
    await eventually('n2 gone', () => !nodes.items().has('n2'))
    server.store.create('nodes', node('n4'))
    await eventually('n4 seen', () => nodes.items().has('n4'))
  })

  test('sees that the API server was set back in time, and lists anew', async () => {
    await client.create(paths.nodes, node('kept'))
    const snapshot = server.faults.snapshot()
    const collection = collect()
    await collection.whenFresh
    await client.create(paths.nodes, node('lost'))
    await eventually('both are known', () => collection.items().size === 2)
    server.faults.rollback(snapshot)
    await eventually('only one is left', () => [...collection.items().keys()].join() === 'kept')
    await client.create(paths.nodes, node('new'))
    await eventually('it hears of what comes after', () => [...collection.items().keys()].join() === 'kept,new')
  })

  test('lists anew when told to', async () => {
    let lists = 0
    const collection = collect({ onChange: (change: { readonly type: string }) => (lists += change.type === 'listed' ? 1 : 0) })
    await collection.whenFresh
    collection.relist()
    await eventually('listed twice', () => lists === 2)
    await client.create(paths.nodes, node('n1'))
    await eventually('and watched again', () => collection.items().size === 1)
    collection.relist()
    await eventually('listed once more', () => lists === 3)
  })

  test('notices silence, and a kind that is not served', async () => {
    const nodes = collect({ silenceMs: 100 })
    await nodes.whenFresh
    await eventually('silence noticed', () => endings.includes('silent'))
    const missing = collect({ path: '/apis/example.org/v1/things' })
    await missing.whenFresh
    expect(missing.isServed()).toBe(false)
    expect(endings).toContain('absent')
  })

  test('asks again after a line that is no event', async () => {
    let isFirst = true
    const garbled = await clientOf((request, response) => {
      if (!(request.url ?? '').includes('watch=true')) {
        response.end(JSON.stringify({ metadata: { resourceVersion: '5' }, items: [node('n1')] }))
        return
      }
      if (isFirst) response.end('{"type":"ADD\n')
      else response.write(`${JSON.stringify({ type: 'ADDED', object: { ...node('n2') } })}\n`)
      isFirst = false
    })
    const nodes = collect({ client: garbled })
    await eventually('n2 seen', () => nodes.items().has('n2'))
    expect(endings).toContain('garbled')
    nodes.stop()
  })
})

describe('credentials', () => {
  test('name what is wrong with a kubeconfig', () => {
    const write = (text: string): string => {
      const file = join(folder, 'wrong')
      writeFileSync(file, text)
      return file
    }
    const message = (read: () => unknown): string => {
      try {
        read()
      } catch (error) {
        if (error instanceof CredentialsError) return error.message
        throw error
      }
      throw new Error('it did not fail')
    }
    expect(message(() => kubeconfigCredentials(join(folder, 'none')))).toContain('cannot read')
    expect(message(() => kubeconfigCredentials(write('clusters: [')))).toContain('not YAML')
    expect(message(() => kubeconfigCredentials(write('current-context: a\ncontexts: []\nclusters: []\nusers: []')))).toContain(
      'no context named "a"; there are: none',
    )
    expect(message(() => serviceAccountCredentials(folder, {}))).toContain('KUBERNETES_SERVICE_HOST')
  })

  test('of a kubeconfig user with a tokenFile are read from that file', async () => {
    writeFileSync(join(folder, 'token'), 'one\n')
    const file = join(folder, 'with-token-file')
    writeFileSync(
      file,
      'current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: "https://127.0.0.1:6443"}}]\nusers: [{name: u, user: {tokenFile: token}}]',
    )
    expect(await kubeconfigCredentials(file).authorization(false)).toBe('Bearer one')
  })

  test('of a service account are read from its folder, the token anew when asked', async () => {
    writeFileSync(join(folder, 'ca.crt'), 'ca')
    writeFileSync(join(folder, 'token'), 'one\n')
    const credentials = serviceAccountCredentials(folder, { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' })
    expect(credentials.server).toBe('https://[fd00::1]:443')
    expect(await credentials.authorization(false)).toBe('Bearer one')
    writeFileSync(join(folder, 'token'), 'two\n')
    expect(await credentials.authorization(false)).toBe('Bearer one')
    expect(await credentials.authorization(true)).toBe('Bearer two')
  })
})

test('quantities are numbers', () => {
  expect(['250m', '2', '1Gi', '1k', '1e3', 'x', ''].map(quantity)).toEqual([0.25, 2, 2 ** 30, 1_000, 1_000, 0, 0])
})
