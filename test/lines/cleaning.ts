/** Between two stages of one world: every node on and without a trace of us, nothing left of the stage's workloads. */
import { type ApiClient, type ApiObject, isApiError } from '../support/api-client.ts'
import { until } from '../support/timing.ts'
import type { World } from './world.ts'

export async function healNodes(world: World, api: ApiClient): Promise<void> {
  await world.power(
    world.nodes.map(({ name }) => name),
    'on',
  )
  for (const { metadata } of await api.list('/api/v1/nodes')) {
    const ours = Object.keys(metadata.annotations ?? {}).filter((key) => key.startsWith('roomfence.io/'))
    await api.patch(`/api/v1/nodes/${metadata.name}`, {
      metadata: { annotations: Object.fromEntries(ours.map((key) => [key, null])) },
      spec: { taints: null, unschedulable: null },
    })
  }
  for (const { metadata } of await api.list('/apis/roomfence.io/v1/fences'))
    await api.remove(`/apis/roomfence.io/v1/fences/${metadata.name}`)
  await until('every node is Ready without taints', 60_000, async () =>
    (await api.list<NodeObject>('/api/v1/nodes')).every(
      ({ spec, status }) => !spec.taints?.length && status.conditions.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
    ),
  )
}

interface NodeObject extends ApiObject {
  readonly spec: { readonly taints?: readonly object[] }
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] }
}

/** Deletes what can make pods, then the pods, then their volumes; the namespace itself stays, since its end would take longer. */
export async function clearNamespace(api: ApiClient, namespace: string): Promise<void> {
  const inNamespace = (group: string, plural: string): string => `${group}/namespaces/${namespace}/${plural}`
  const makers = [
    ...['virtualmachinepools'].map((plural) => inNamespace('/apis/pool.kubevirt.io/v1beta1', plural)),
    ...['virtualmachineinstancereplicasets', 'virtualmachineinstancemigrations', 'virtualmachines', 'virtualmachineinstances'].map(
      (plural) => inNamespace('/apis/kubevirt.io/v1', plural),
    ),
    ...['deployments', 'replicasets', 'statefulsets', 'daemonsets'].map((plural) => inNamespace('/apis/apps/v1', plural)),
    inNamespace('/apis/batch/v1', 'jobs'),
  ]
  const collectionGone = async (path: string, options?: { readonly gracePeriodSeconds: number }): Promise<number> => {
    try {
      const left = await api.list(path)
      for (const { metadata } of left) await removeOne(api, `${path}/${metadata.name}`, metadata, options)
      return left.length
    } catch (error) {
      if (isApiError(error, 404)) return 0
      throw error
    }
  }
  const pods = inNamespace('/api/v1', 'pods')
  const allGone = async (what: string, collections: () => Promise<number>): Promise<void> => {
    await until(
      `no ${what} is left in ${namespace}`,
      90_000,
      async () => {
        const left = await collections()
        if (left > 0) throw new Error(`${String(left)} objects`)
        return true
      },
      300,
    )
  }
  await allGone('workload', async () => {
    let left = 0
    for (const path of makers) left += await collectionGone(path)
    return left + (await collectionGone(pods, { gracePeriodSeconds: 0 }))
  })
  // Waited for: a protected volume stays until its controller has seen its claim go, and the next stage may want the name.
  await allGone('claim', () => collectionGone(inNamespace('/api/v1', 'persistentvolumeclaims')))
  await allGone('volume', () => collectionGone('/api/v1/persistentvolumes'))
}

async function removeOne(
  api: ApiClient,
  path: string,
  metadata: ApiObject['metadata'],
  options: { readonly gracePeriodSeconds: number } | undefined,
): Promise<void> {
  // KubeVirt's own finalizers are its controllers' matter; what a stage put there itself would stay for ever.
  const foreign = (metadata.finalizers ?? []).some((finalizer) => finalizer.includes('example'))
  const isGone = (error: unknown): void => {
    if (!isApiError(error, 404, 409)) throw error
  }
  if (foreign) await api.patch(path, { metadata: { finalizers: null } }).catch(isGone)
  if (metadata.deletionTimestamp === undefined || options !== undefined) await api.remove(path, options).catch(isGone)
}
