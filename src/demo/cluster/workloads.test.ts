/** The workload controllers' rules that matter for a failover. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { demoNamespace } from './fixtures.ts'
import { isReady, type Pod, read, readAll } from './objects.ts'
import { createTestbed, eventually, type Testbed } from '../../../test/support/cluster-testbed.ts'

let bed: Testbed
beforeEach(() => {
  bed = createTestbed()
})
afterEach(() => bed.cluster.stop())

const template = { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'main' }] } }
const create = (plural: string, name: string, spec: object): void =>
  void bed.store.create(plural, { metadata: { name, namespace: demoNamespace }, spec: { template, ...spec } })
const podNamed = (name: string): Pod | undefined => read(bed.store, 'pods', demoNamespace, name)
const ready = (name: string) => () => isReady(podNamed(name) ?? {}) && podNamed(name)
const pods = () => readAll(bed.store, 'pods', demoNamespace)

describe('a StatefulSet', () => {
  test('starts its pods in order, and none while an object of that name is there', async () => {
    const created: string[] = []
    bed.store.onChange(({ plural, type, object }) => {
      if (plural !== 'pods' || type !== 'ADDED') return
      created.push(`${object.metadata.name} after ${pods().filter(isReady).length} ready`)
    })
    create('statefulsets', 'db', { replicas: 2 })
    const second = await eventually('db-1', ready('db-1'))
    expect(created).toEqual(['db-0 after 0 ready', 'db-1 after 1 ready'])
    const host = bed.host(second.spec.nodeName ?? '')
    host.setPower(false)
    bed.store.remove('pods', demoNamespace, 'db-1')
    bed.taint(host.name, 'NoSchedule')
    create('deployments', 'marker', { replicas: 1 })
    await eventually('the controllers have moved on', () => pods().some((pod) => pod.metadata.name.startsWith('marker') && isReady(pod)))
    expect(podNamed('db-1')?.metadata.uid).toBe(second.metadata.uid)
    bed.forceDelete(second)
    expect(
      (await eventually('db-1 anew', () => podNamed('db-1')?.metadata.uid !== second.metadata.uid && ready('db-1')())).metadata.uid,
    ).not.toBe(second.metadata.uid)
  })
})

describe('a Deployment', () => {
  test('replaces a pod as soon as that is Terminating', async () => {
    create('deployments', 'web', { replicas: 1 })
    const first = await eventually('web', () => pods().find(isReady))
    bed.host(first.spec.nodeName ?? '').setPower(false)
    bed.taint(first.spec.nodeName ?? '', 'NoSchedule')
    bed.store.remove('pods', demoNamespace, first.metadata.name)
    await eventually('a second one', () => pods().some((pod) => pod.metadata.uid !== first.metadata.uid && isReady(pod)))
    expect(podNamed(first.metadata.name)?.metadata.deletionTimestamp).toBeDefined()
  })
})

describe('a DaemonSet', () => {
  test('has one pod a node, and makes none anew on a node that is out of service', async () => {
    create('daemonsets', 'agent', {})
    await eventually('four', () => pods().filter(isReady).length === 4)
    bed.taint('b1', 'NoSchedule')
    const [pod] = bed.podsOf('b1')
    if (pod !== undefined) bed.forceDelete(pod)
    const [other] = bed.podsOf('a1')
    if (other !== undefined) bed.forceDelete(other)
    await eventually('that of a1 is back', () => bed.podsOf('a1').some((pod) => pod.metadata.uid !== other?.metadata.uid && isReady(pod)))
    expect(bed.podsOf('b1')).toEqual([])
    expect(pods()).toHaveLength(3)
  })
})

describe('a Job', () => {
  const isTracked = (pod: Pod) => pod.metadata.finalizers?.includes('batch.kubernetes.io/job-tracking') === true

  test('lets go of a force-deleted pod, and starts another', async () => {
    create('jobs', 'backup', {})
    const first = await eventually('backup', () => pods().find((pod) => isReady(pod) && isTracked(pod)))
    bed.forceDelete(first)
    await eventually('another', () => pods().some((pod) => pod.metadata.uid !== first.metadata.uid && isReady(pod)))
    await eventually('the first is gone', () => podNamed(first.metadata.name) === undefined)
  })

  test('with podReplacementPolicy Failed keeps a force-deleted pod until its phase is Failed', async () => {
    create('jobs', 'backup', { podReplacementPolicy: 'Failed' })
    const first = await eventually('backup', () => pods().find((pod) => isReady(pod) && isTracked(pod)))
    for (const host of bed.hosts.values()) if (host.name === first.spec.nodeName) host.setPower(false)
    bed.forceDelete(first)
    create('deployments', 'marker', { replicas: 1 })
    bed.taint(first.spec.nodeName ?? '', 'NoSchedule')
    await eventually('the controllers have moved on', () => pods().some((pod) => pod.metadata.name.startsWith('marker') && isReady(pod)))
    expect(podNamed(first.metadata.name)?.metadata.finalizers).toHaveLength(1)
    const pod = structuredClone(podNamed(first.metadata.name))
    bed.store.update('pods', { ...pod, status: { ...pod?.status, phase: 'Failed' } }, 'status')
    await eventually('the first is gone', () => podNamed(first.metadata.name) === undefined)
  })
})
