/** deploy/ on the embedded API server: accepted, and its rights are enough for what the agent and init ask for, and for no more. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { initialise } from '../../src/agent/init.ts'
import { agentAnnotation, publishIdentity, readGenesis, readRoom } from '../../src/agent/state/membership-source.ts'
import { type ApiServer, startApiServer } from '../../src/demo/apiserver/server.ts'
import { createKubeClient, type KubeClient } from '../../src/kubernetes/client.ts'
import type { Credentials } from '../../src/kubernetes/credentials.ts'
import { incarnation, nodeId } from '../../src/protocol/ids.ts'
import { deployContract } from './deploy-contract.ts'
import { allManifests, applyManifests } from './manifests.ts'

const admin = 'deploy-admin'

describe('the embedded API server', () => {
  let server: ApiServer | undefined
  beforeAll(async () => {
    server = await startApiServer({ tokens: { [admin]: { name: 'admin', groups: ['system:masters'] } } })
  })
  afterAll(() => server?.close())
  deployContract(() => {
    if (server === undefined) throw new Error('the server is not up yet')
    return { url: server.url, caPem: server.caPem, token: admin }
  })
})

describe('the rights in deploy/', () => {
  let server: ApiServer
  const clients: KubeClient[] = []
  beforeAll(async () => {
    server = await startApiServer({
      tokens: {
        [admin]: { name: 'admin', groups: ['system:masters'] },
        agent: { name: 'system:serviceaccount:roomfence:roomfence', groups: [] },
        init: { name: 'system:serviceaccount:roomfence:roomfence-init', groups: [] },
      },
    })
    await applyManifests({ url: server.url, caPem: server.caPem, token: admin }, allManifests())
    for (const [name, room] of [
      ['a1', 'room-a'],
      ['b1', 'room-b'],
    ] as const)
      server.store.create('nodes', { metadata: { name, labels: { 'topology.kubernetes.io/zone': room } } })
  })
  afterAll(async () => {
    for (const client of clients) client.close()
    await server.close()
  })
  const clientOf = (token: string): KubeClient => {
    const credentials: Credentials = {
      server: server.url,
      ca: Buffer.from(server.caPem),
      skipTlsVerify: false,
      authorization: () => Promise.resolve(`Bearer ${token}`),
    }
    const client = createKubeClient({ credentials })
    clients.push(client)
    return client
  }

  test('let agents say who they are, init make genesis, and agents read it', async () => {
    const agent = clientOf('agent')
    await agent.probe()
    expect(await readRoom(agent, nodeId('a1'), 'topology.kubernetes.io/zone')).toBe('room-a')
    for (const name of ['a1', 'b1'])
      await publishIdentity(agent, nodeId(name), {
        incarnation: incarnation(`i-${name}`),
        addresses: [{ path: 'node', host: '127.0.0.1', port: 1 }],
      })
    expect(server.store.get('nodes', undefined, 'a1')?.metadata.annotations?.[agentAnnotation]).toContain('i-a1')
    expect(await readGenesis(agent, 'roomfence')).toBeNull()
    const made = await initialise({
      client: clientOf('init'),
      witness: null,
      namespace: 'roomfence',
      roomLabel: 'topology.kubernetes.io/zone',
      preferredRoom: 'room-a',
      say: () => undefined,
    })
    expect(await readGenesis(agent, 'roomfence')).toEqual(made)
  })

  test.each([
    ['agent', 'make genesis', '/api/v1/namespaces/roomfence/configmaps', 'POST'],
    ['agent', 'read the key', '/api/v1/namespaces/roomfence/secrets/roomfence-key', 'GET'],
    ['agent', 'read another ConfigMap', '/api/v1/namespaces/roomfence/configmaps/roomfence', 'GET'],
    ['init', 'touch a node', '/api/v1/nodes/a1', 'GET'],
    ['init', 'see pods', '/api/v1/pods', 'GET'],
  ])('do not let %s %s', async (who, _what, path, method) => {
    const client = clientOf(who)
    const asked =
      method === 'POST' ? client.create(path, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' } }) : client.get(path)
    await expect(asked).rejects.toMatchObject({ status: 403 })
  })
})
