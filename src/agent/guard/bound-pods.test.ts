import { afterEach, expect, test } from 'vitest'
import { podsNotBound } from './bound-pods.ts'
import { nodeId } from '../../protocol/ids.ts'
import { createFailoverBed, type FailoverBed } from '../../../test/support/failover-bed.ts'

let bed: FailoverBed
afterEach(async () => {
  await bed.close()
})

const b1 = nodeId('b1')
const { signal } = new AbortController()
const pod = (name: string, nodeName: string, annotations: Readonly<Record<string, string>> = {}): string =>
  bed.store.create('pods', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', annotations },
    spec: { nodeName, containers: [{ name: 'one', image: 'one' }] },
  }).metadata.uid

test('what the API server has on this node belongs here; what it has elsewhere or not at all does not', async () => {
  bed = await createFailoverBed()
  const here = pod('here', 'b1')
  const elsewhere = pod('elsewhere', 'a1')
  pod('static', 'b1', { 'kubernetes.io/config.mirror': 'hash-of-a-file' })
  expect(await podsNotBound(bed.client, b1, [here, 'hash-of-a-file'], signal)).toEqual([])
  expect(await podsNotBound(bed.client, b1, [here, elsewhere, 'deleted'], signal)).toEqual([elsewhere, 'deleted'])
})

test('while the API server is away nobody knows, also of a node on which nothing is alive', async () => {
  bed = await createFailoverBed()
  await bed.server.faults.refuse()
  await expect(podsNotBound(bed.client, b1, [], signal)).rejects.toMatchObject({ name: 'KubeError' })
  await expect(podsNotBound(bed.client, b1, ['one'], signal)).rejects.toMatchObject({ name: 'KubeError' })
})
