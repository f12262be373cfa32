/** The failover of what is no virtual machine, on the embedded API server: StatefulSets, Deployments, Jobs, Leases, a cluster without KubeVirt. */
import { afterEach, describe, expect, test } from 'vitest'
import { createVolume, demoNamespace } from '../../src/demo/cluster/fixtures.ts'
import { allProved, createFailoverBed, eventually, type FailoverBed, testConfig } from '../support/failover-bed.ts'

let bed: FailoverBed
afterEach(async () => {
  await bed.close()
})

describe('other workloads', () => {
  test('StatefulSet pods with their volume, Deployment pods and Job pods come back, each replacement left alone', async () => {
    bed = await createFailoverBed()
    createVolume(bed.store, { name: 'disk-db-0', replicaNodes: ['a1', 'b1'], accessMode: 'ReadWriteOnce' })
    const template = (app: string) => ({
      metadata: { labels: { app } },
      spec: { containers: [{ name: app, image: 'x' }], nodeSelector: {} },
    })
    for (const node of ['a1', 'a2']) bed.taint(node, 'NoSchedule', 'closed')
    bed.store.create('statefulsets', {
      metadata: { name: 'db', namespace: demoNamespace },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: 'db' } },
        template: template('db'),
        volumeClaimTemplates: [{ metadata: { name: 'disk' } }],
      },
    })
    bed.store.create('deployments', {
      metadata: { name: 'web', namespace: demoNamespace },
      spec: { replicas: 2, selector: { matchLabels: { app: 'web' } }, template: template('web') },
    })
    bed.store.create('jobs', {
      metadata: { name: 'batch', namespace: demoNamespace },
      spec: {
        completions: 1,
        parallelism: 1,
        podReplacementPolicy: 'Failed',
        selector: { matchLabels: { app: 'batch' } },
        template: template('batch'),
      },
    })
    const running = (app: string, room: string) =>
      bed
        .room(room)
        .flatMap(({ name }) => bed.podsOf(name))
        .filter(
          ({ metadata, status }) =>
            metadata.labels?.['app'] === app && status?.phase === 'Running' && metadata.deletionTimestamp === undefined,
        )
    await eventually(
      'all run in room-b',
      () => running('db', 'room-b').length === 1 && running('web', 'room-b').length === 2 && running('batch', 'room-b').length === 1,
    )
    for (const name of ['a1', 'a2']) {
      const node = structuredClone(bed.store.get('nodes', undefined, name))
      if (node !== undefined) bed.store.update('nodes', { ...node, spec: { taints: [] } })
    }
    bed.powerOff('room-b')
    const deleted: string[] = []
    bed.store.onChange(({ type, plural, object }) => {
      if (type === 'DELETED' && plural === 'pods') deleted.push(object.metadata.uid)
    })
    const old = bed
      .room('room-b')
      .flatMap(({ name }) => bed.podsOf(name))
      .map(({ metadata }) => metadata.uid)
    const result = await bed.start().done
    expect(result.outcome).toBe('finished')
    await eventually(
      'all run in room-a',
      () => running('db', 'room-a').length === 1 && running('web', 'room-a').length === 2 && running('batch', 'room-a').length === 1,
    )
    expect(deleted.every((uid) => old.includes(uid))).toBe(true)
  })

  test('a leader Lease of a dead holder is released, one of a living holder is not', async () => {
    bed = await createFailoverBed()
    const lease = (name: string, holderIdentity: string) =>
      bed.store.create('leases', {
        metadata: { name, namespace: 'kube-system' },
        spec: { holderIdentity, leaseDurationSeconds: 15, renewTime: '2026-01-01T00:00:00.000000Z' },
      })
    lease('scheduler', 'b1_5f0d')
    lease('manager', 'a1_77aa')
    bed.powerOff('room-b')
    await bed.start().done
    const holder = (name: string) =>
      (bed.store.get('leases', 'kube-system', name)?.['spec'] as { holderIdentity: string } | undefined)?.holderIdentity
    expect([holder('scheduler'), holder('manager')]).toEqual(['', 'a1_77aa'])
  })

  test('a cluster without KubeVirt is served all the same', async () => {
    bed = await createFailoverBed()
    const { KubeError } = await import('../../src/kubernetes/errors.ts')
    const missing = (path: string) =>
      new KubeError('not-found', `${path}: not found`, { method: 'GET', path, status: 404, reason: 'NotFound' })
    const client: typeof bed.client = {
      ...bed.client,
      list: async (path, options) => {
        if (path.startsWith('/apis/kubevirt.io')) throw missing(path)
        return bed.client.list(path, options)
      },
    }
    bed.powerOff('room-b')
    expect((await bed.start({ client, config: testConfig, proofs: allProved }).done).outcome).toBe('finished')
  })
})
