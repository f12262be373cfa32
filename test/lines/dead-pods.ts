/** Pods on nodes that are off: bound there by hand, so that a fence has something to clear at once and nothing need run first. */
import type { Bed } from './bed.ts'
import { createPod } from './line-objects.ts'
import { createClaim } from '../cluster/objects/volumes.ts'

/** Kubernetes' own eviction, which is quick in both worlds, leaves them to the fence. */
export const patience = {
  tolerations: ['node.kubernetes.io/unreachable', 'node.kubernetes.io/not-ready'].map((key) => ({
    key,
    operator: 'Exists',
    effect: 'NoExecute',
    tolerationSeconds: 36_000,
  })),
}

/** Names of the pods `<group>-<number>`, with label `app=<group>`. */
export async function addDeadPods(
  bed: Bed,
  group: string,
  count: number,
  options: {
    readonly labels?: Readonly<Record<string, string>>
    readonly claim?: string
  } = {},
): Promise<readonly string[]> {
  const { api, namespace } = bed
  const nodes = bed.nodesOf()
  if (options.claim !== undefined)
    await createClaim(api, { namespace, name: options.claim, accessMode: 'ReadWriteMany', volumeMode: 'Filesystem' })
  const names = Array.from({ length: count }, (_, number) => `${group}-${String(number).padStart(2, '0')}`)
  for (const [number, name] of names.entries())
    await createPod(api, namespace, {
      name,
      node: nodes[number % nodes.length] ?? '',
      labels: { app: group, ...options.labels },
      podSpec: {
        ...patience,
        ...(options.claim === undefined ? {} : { volumes: [{ name: 'disk', persistentVolumeClaim: { claimName: options.claim } }] }),
      },
    })
  return names
}

/** How many pods of the group the API server has. */
export const countPods = async (bed: Bed, group: string): Promise<number> =>
  (await bed.api.list(`/api/v1/namespaces/${bed.namespace}/pods?labelSelector=app%3D${group}`)).length
