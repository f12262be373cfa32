/** Pods' owners of the ordinary kinds, to see what a room's death does to each. */
import type { ApiClient, ApiObject } from '../../support/api-client.ts'
import { type AccessMode, claimSpec, createVolume } from './volumes.ts'

interface Wanted {
  readonly namespace: string
  readonly name: string
  readonly annotations?: Readonly<Record<string, string>>
  /** Merged into the pod's spec. */
  readonly podSpec?: Readonly<Record<string, unknown>>
}

const podTemplate = ({ name, annotations, podSpec }: Wanted, volumeMounts: readonly object[] = []): object => ({
  metadata: { labels: { app: name }, annotations: annotations ?? {} },
  spec: { terminationGracePeriodSeconds: 5, containers: [{ name: 'main', image: 'registry.example/pause:1', volumeMounts }], ...podSpec },
})

const create = async (client: ApiClient, plural: string, { namespace, name }: Wanted, spec: object): Promise<ApiObject> =>
  client.create(`/apis/apps/v1/namespaces/${namespace}/${plural}`, {
    metadata: { name },
    spec: { selector: { matchLabels: { app: name } }, ...spec },
  })

export const createDeployment = async (client: ApiClient, wanted: Wanted & { readonly replicas: number }): Promise<ApiObject> =>
  create(client, 'deployments', wanted, { replicas: wanted.replicas, template: podTemplate(wanted) })

export const createDaemonSet = async (client: ApiClient, wanted: Wanted): Promise<ApiObject> =>
  create(client, 'daemonsets', wanted, { template: podTemplate(wanted) })

/** Each pod with a volume of its own, made ahead: claim `disk-<name>-<ordinal>`. */
export const createStatefulSet = async (
  client: ApiClient,
  wanted: Wanted & { readonly replicas: number; readonly accessMode: AccessMode; readonly isParallel?: boolean },
): Promise<ApiObject> => {
  const { namespace, name, replicas, accessMode } = wanted
  for (let ordinal = 0; ordinal < replicas; ordinal++)
    await createVolume(client, { namespace, name: `disk-${name}-${ordinal}`, accessMode, volumeMode: 'Filesystem' })
  return create(client, 'statefulsets', wanted, {
    serviceName: name,
    replicas,
    podManagementPolicy: wanted.isParallel ? 'Parallel' : 'OrderedReady',
    template: podTemplate(wanted, [{ name: 'disk', mountPath: '/disk' }]),
    volumeClaimTemplates: [{ metadata: { name: 'disk' }, spec: claimSpec(accessMode, 'Filesystem') }],
  })
}
