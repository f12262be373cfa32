/** What the persistent volume controller does with claims and the volumes that were made for them. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createVolume, demoNamespace } from './fixtures.ts'
import { read } from './objects.ts'
import { createTestbed, eventually, type Testbed } from '../../../test/support/cluster-testbed.ts'

let bed: Testbed
beforeEach(() => {
  bed = createTestbed()
})
afterEach(() => bed.cluster.stop())

const volumeOf = (name: string) => read(bed.store, 'persistentvolumes', undefined, name)
const phaseOf = (name: string) => volumeOf(name)?.status?.phase

test('a volume is bound to the claim that it names, is released when that is gone, and stays so when another one has its name', async () => {
  const claim = { metadata: { name: 'disk', namespace: demoNamespace }, spec: {} }
  bed.store.create('persistentvolumes', {
    metadata: { name: 'first' },
    spec: { claimRef: { namespace: demoNamespace, name: 'disk' }, csi: { driver: 'd', volumeHandle: 'h' } },
  })
  await eventually('it waits for its claim', () => phaseOf('first') === 'Available')
  const { uid } = bed.store.create('persistentvolumeclaims', claim).metadata
  await eventually('it is bound', () => phaseOf('first') === 'Bound')
  expect(volumeOf('first')?.spec.claimRef?.uid).toBe(uid)
  expect(read(bed.store, 'persistentvolumeclaims', demoNamespace, 'disk')).toMatchObject({
    spec: { volumeName: 'first' },
    status: { phase: 'Bound' },
  })
  bed.store.remove('persistentvolumeclaims', demoNamespace, 'disk', {})
  await eventually('it is released', () => phaseOf('first') === 'Released')
  createVolume(bed.store, { name: 'disk', replicaNodes: ['a1'] })
  await eventually('the other one is bound', () => volumeOf('disk')?.spec.claimRef?.uid !== undefined)
  expect([phaseOf('first'), phaseOf('disk')]).toEqual(['Released', 'Bound'])
})
