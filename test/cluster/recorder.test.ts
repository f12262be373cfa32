/** What the recorder is there to see, it sees: each of its checks goes red when that happens, and only then. No control plane: an API server is enough. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ApiServer, startApiServer } from '../../src/demo/apiserver/server.ts'
import { createStore } from '../../src/demo/apiserver/store.ts'
import { type ApiClient, apiClient } from '../support/api-client.ts'
import { nodesPath, podsPath, vmisPath } from './api/objects.ts'
import type { NodePlace } from './nodes/fake-nodes.ts'
import { type Recorder, startRecorder } from './recorder.ts'
import { until } from '../support/timing.ts'

const namespace = 'vms'
const place = (name: string, room: string): NodePlace => ({
  name,
  room,
  directory: '',
  kubeletDirectory: '',
  bootIdFile: '',
  bootId: '',
})

let server: ApiServer
let client: ApiClient
let recorder: Recorder
let twice: readonly string[]

beforeEach(async () => {
  server = await startApiServer({ store: createStore(), tokens: { admin: { name: 'admin', groups: ['system:masters'] } } })
  client = apiClient({ url: server.url, caPem: server.caPem, token: 'admin' })
  await client.create('/api/v1/namespaces', { metadata: { name: namespace } })
  for (const name of ['a1', 'b1']) await client.create(nodesPath(), { metadata: { name } })
  twice = []
  const nodes = [place('a1', 'room-a'), place('b1', 'room-b')]
  recorder = await startRecorder(client, { nodes, runningTwice: () => twice }, namespace)
})
afterEach(async () => {
  recorder.stop()
  client.close()
  await server.close()
})

const createPod = async (name: string, nodeName: string, metadata: object = {}): Promise<void> => {
  await client.create(podsPath(namespace), {
    metadata: { name, ...metadata },
    spec: { nodeName, terminationGracePeriodSeconds: 30, containers: [{ name: 'main', image: 'registry.example/pause:1' }] },
  })
}
const remove = async (name: string, gracePeriodSeconds: number): Promise<void> => {
  await client.remove(podsPath(namespace, name), { gracePeriodSeconds })
}
/** All that was written before is seen once the last of it is. */
const hasSeenAll = async (): Promise<void> => {
  const key = `example.com/${String(performance.now())}`
  await createPod('last', 'b1')
  await client.patch(nodesPath('a1'), { spec: { taints: [{ key, effect: 'NoSchedule' }] } })
  await until('the recorder has seen all', 10_000, () => recorder.taints().some((taint) => taint.startsWith(key)), 10)
  await until('and all pods', 10_000, () => recorder.putOnDeadNodes().includes('last on b1'), 10)
}

describe('the recorder', () => {
  test('tells of pods of living nodes that somebody deletes, also gracefully, and not of those of dead ones', async () => {
    for (const [name, node] of [
      ['lives', 'a1'],
      ['lives-too', 'a1'],
      ['stays', 'a1'],
      ['dead', 'b1'],
    ] as const)
      await createPod(name, node)
    await until('all are there', 10_000, async () => (await client.list(podsPath(namespace))).length === 4, 10)
    recorder.start('room-b')
    await remove('lives', 0)
    await remove('lives-too', 30)
    await remove('dead', 0)
    await hasSeenAll()
    expect(recorder.killed().map((told) => told.split(' after ')[0])).toEqual(['lives on a1', 'lives-too on a1'])
  })

  test('tells of pods that are put on a dead node, and not of a DaemonSet’s or of those that were there', async () => {
    recorder.start('room-b')
    await createPod('old', 'b1')
    await until('the recorder knows the old pod', 10_000, () => recorder.putOnDeadNodes().includes('old on b1'), 10)
    recorder.start('room-b')
    expect(recorder.putOnDeadNodes()).toEqual([])
    const owner = { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'agents', uid: 'd', controller: true }
    await createPod('agent', 'b1', { ownerReferences: [owner] })
    await createPod('here', 'a1')
    await client.patch(podsPath(namespace, 'old'), { metadata: { labels: { changed: 'yes' } } })
    await createPod('put-back', 'b1')
    await hasSeenAll()
    expect(recorder.putOnDeadNodes()).toEqual(['put-back on b1', 'last on b1'])
    expect(recorder.killed()).toEqual([])
  })

  test('tells of what runs on two nodes at once, also when it was for a moment only', async () => {
    recorder.start('room-b')
    expect(recorder.ranTwice()).toEqual([])
    twice = ['vm vms/split']
    await until('it is told', 10_000, () => recorder.ranTwice().length > 0, 10)
    twice = []
    expect(recorder.ranTwice()).toEqual(['vm vms/split'])
  })

  test('tells when each VM was ordered and when another instance of it ran', async () => {
    const instance = (name: string): object => ({
      apiVersion: 'kubevirt.io/v1',
      kind: 'VirtualMachineInstance',
      metadata: { name },
      spec: { domain: {} },
      status: { phase: 'Running', nodeName: 'a1' },
    })
    await createPod('launcher', 'b1', { labels: { 'vm.kubevirt.io/name': 'one' } })
    await until('the launcher is there', 10_000, async () => (await client.list(podsPath(namespace))).length === 1, 10)
    recorder.start('room-b')
    expect(recorder.times()).toEqual([])
    await remove('launcher', 0)
    server.store.create('virtualmachineinstances', { ...instance('one'), metadata: { name: 'one', namespace } })
    await until('both moments are known', 10_000, () => {
      const [one] = recorder.times()
      return one?.orderedMs !== undefined && one.runningMs !== undefined
    })
    expect(recorder.times().map(({ name }) => name)).toEqual(['one'])
    expect((await client.list(vmisPath(namespace))).length).toBe(1)
  })
})
