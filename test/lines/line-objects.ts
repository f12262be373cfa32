/** Workloads for both worlds, through the API alone: what prefers the room that will be lost runs there first. */
import { bootAnnotation } from '../../src/demo/cluster/virt-handler.ts'
import { type ApiClient, type ApiObject, isApiError } from '../support/api-client.ts'
import { defaultDriver } from '../cluster/nodes/fake-nodes.ts'
import { bootTimeAnnotation } from '../cluster/nodes/virt-handler.ts'
import { type AccessMode, createClaim } from '../cluster/objects/volumes.ts'

export interface PodRequest {
  readonly name: string
  /** Where the scheduler puts it while that room has a node for it; undefined: anywhere. */
  readonly room?: string | undefined
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  /** Merged into the pod's spec. */
  readonly podSpec?: Readonly<Record<string, unknown>>
}

const zoneLabel = 'topology.kubernetes.io/zone'

const preferring = (room: string | undefined): object =>
  room === undefined
    ? {}
    : {
        affinity: {
          nodeAffinity: {
            preferredDuringSchedulingIgnoredDuringExecution: [
              { weight: 100, preference: { matchExpressions: [{ key: zoneLabel, operator: 'In', values: [room] }] } },
            ],
          },
        },
      }

const podTemplate = ({ name, room, labels, annotations, podSpec }: PodRequest): { metadata: object; spec: object } => ({
  metadata: { labels: { app: name, ...labels }, annotations: annotations ?? {} },
  spec: {
    terminationGracePeriodSeconds: 1,
    containers: [{ name: 'main', image: 'registry.example/pause:1', resources: { requests: { cpu: '10m', memory: '8Mi' } } }],
    ...preferring(room),
    ...podSpec,
  },
})

const ensure = async (api: ApiClient, path: string, object: unknown): Promise<void> => {
  await api.create(path, object).catch((error: unknown) => {
    if (!isApiError(error, 409)) throw error
  })
}

const appsPath = (namespace: string, plural: string): string => `/apis/apps/v1/namespaces/${namespace}/${plural}`

const createApp = async (api: ApiClient, namespace: string, plural: string, wanted: PodRequest, spec: object): Promise<ApiObject> =>
  api.create(appsPath(namespace, plural), {
    metadata: { name: wanted.name },
    spec: { selector: { matchLabels: { app: wanted.name } }, template: podTemplate(wanted), ...spec },
  })

export const createDeployment = async (api: ApiClient, namespace: string, wanted: PodRequest & { readonly replicas?: number }) =>
  createApp(api, namespace, 'deployments', wanted, { replicas: wanted.replicas ?? 1 })

export const createDaemonSet = async (api: ApiClient, namespace: string, wanted: PodRequest) =>
  createApp(api, namespace, 'daemonsets', wanted, {})

/** With `accessMode` each pod has a claim `disk-<name>-<ordinal>`, made ahead. */
export async function createStatefulSet(
  api: ApiClient,
  namespace: string,
  wanted: PodRequest & { readonly replicas?: number; readonly accessMode?: AccessMode },
): Promise<ApiObject> {
  const { name, replicas = 1, accessMode } = wanted
  if (accessMode !== undefined)
    for (let ordinal = 0; ordinal < replicas; ordinal++)
      await createClaim(api, { namespace, name: `disk-${name}-${ordinal}`, accessMode, volumeMode: 'Filesystem' })
  const claim = { accessModes: [accessMode], storageClassName: 'replicated', resources: { requests: { storage: '1Gi' } } }
  return createApp(api, namespace, 'statefulsets', wanted, {
    serviceName: name,
    replicas,
    podManagementPolicy: 'Parallel',
    ...(accessMode === undefined ? {} : { volumeClaimTemplates: [{ metadata: { name: 'disk' }, spec: claim }] }),
  })
}

export const createJob = async (api: ApiClient, namespace: string, wanted: PodRequest & { readonly spec?: object }): Promise<ApiObject> => {
  const template = podTemplate({ ...wanted, podSpec: { restartPolicy: 'Never', ...wanted.podSpec } })
  return api.create(`/apis/batch/v1/namespaces/${namespace}/jobs`, {
    metadata: { name: wanted.name },
    spec: { completions: 1, parallelism: 1, backoffLimit: 10, podReplacementPolicy: 'Failed', template, ...wanted.spec },
  })
}

/** A pod without an owner. */
export const createPod = async (
  api: ApiClient,
  namespace: string,
  wanted: PodRequest & { readonly node?: string; readonly finalizers?: readonly string[] },
): Promise<ApiObject> => {
  const { metadata, spec } = podTemplate(wanted)
  return api.create(`/api/v1/namespaces/${namespace}/pods`, {
    metadata: { ...metadata, name: wanted.name, ...(wanted.finalizers === undefined ? {} : { finalizers: wanted.finalizers }) },
    spec: { ...spec, ...(wanted.node === undefined ? {} : { nodeName: wanted.node }) },
  })
}

export interface VmRequest {
  readonly name: string
  readonly room?: string | undefined
  readonly runStrategy?: 'Always' | 'RerunOnFailure' | 'Manual' | 'Once' | 'Halted' | 'WaitAsReceiver'
  /** Of its disk `<name>`; `none`: it has no disk. ReadWriteMany by default. */
  readonly disk?: AccessMode | 'none'
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  /** On the instance. */
  readonly instanceAnnotations?: Readonly<Record<string, string>>
  readonly instanceLabels?: Readonly<Record<string, string>>
  readonly priorityClassName?: string
  /** The guest boots so long; `never`: it hangs in Scheduled. */
  readonly bootMs?: number | 'never'
  /** Merged into the instance's spec. */
  readonly spec?: Readonly<Record<string, unknown>>
}

const bootAnnotations = (bootMs: VmRequest['bootMs']): Record<string, string> =>
  bootMs === undefined ? {} : { [bootAnnotation]: String(bootMs), [bootTimeAnnotation]: bootMs === 'never' ? '3600000' : String(bootMs) }

export const instanceSpec = ({ name, room, disk = 'ReadWriteMany', priorityClassName, spec }: VmRequest): object => ({
  evictionStrategy: disk === 'ReadWriteMany' ? 'LiveMigrate' : 'None',
  terminationGracePeriodSeconds: 30,
  ...(priorityClassName === undefined ? {} : { priorityClassName }),
  ...preferring(room),
  domain: {
    cpu: { cores: 1 },
    memory: { guest: '128Mi' },
    devices: {
      disks: disk === 'none' ? [] : [{ name: 'root', disk: { bus: 'virtio' } }],
      interfaces: [{ name: 'default', masquerade: {} }],
    },
  },
  networks: [{ name: 'default', pod: {} }],
  volumes: disk === 'none' ? [] : [{ name: 'root', persistentVolumeClaim: { claimName: name } }],
  ...spec,
})

const ensureDisk = async (api: ApiClient, namespace: string, { name, disk = 'ReadWriteMany' }: VmRequest): Promise<void> => {
  if (disk !== 'none') await createClaim(api, { namespace, name, accessMode: disk })
}

export const kubevirtPath = (namespace: string, plural: string): string => `/apis/kubevirt.io/v1/namespaces/${namespace}/${plural}`

/** With its disk. A Manual VM needs its start asked for. */
export async function createVm(api: ApiClient, namespace: string, wanted: VmRequest): Promise<ApiObject> {
  await ensureDisk(api, namespace, wanted)
  const { name, runStrategy = 'Always', labels, annotations, instanceAnnotations, instanceLabels, bootMs } = wanted
  return api.create(kubevirtPath(namespace, 'virtualmachines'), {
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachine',
    metadata: { name, labels: labels ?? {}, annotations: annotations ?? {} },
    spec: {
      runStrategy,
      template: {
        metadata: {
          labels: { 'test.roomfence.io/vm': name, ...instanceLabels },
          annotations: { ...bootAnnotations(bootMs), ...instanceAnnotations },
        },
        spec: instanceSpec(wanted),
      },
    },
  })
}

/** An instance that no VirtualMachine made. */
export async function createVmi(
  api: ApiClient,
  namespace: string,
  wanted: Omit<VmRequest, 'runStrategy' | 'annotations'>,
): Promise<ApiObject> {
  await ensureDisk(api, namespace, wanted)
  return api.create(kubevirtPath(namespace, 'virtualmachineinstances'), {
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachineInstance',
    metadata: {
      name: wanted.name,
      labels: wanted.labels ?? {},
      annotations: { ...bootAnnotations(wanted.bootMs), ...wanted.instanceAnnotations },
    },
    spec: instanceSpec(wanted),
  })
}

export const createPriorityClass = async (api: ApiClient, name: string, value: number): Promise<void> =>
  ensure(api, '/apis/scheduling.k8s.io/v1/priorityclasses', {
    apiVersion: 'scheduling.k8s.io/v1',
    kind: 'PriorityClass',
    metadata: { name },
    value,
  })

/** What both worlds' storage needs before the first volume. */
export const ensureCsiDriver = async (api: ApiClient): Promise<void> =>
  ensure(api, '/apis/storage.k8s.io/v1/csidrivers', {
    metadata: { name: defaultDriver },
    spec: { attachRequired: true, podInfoOnMount: false },
  })
