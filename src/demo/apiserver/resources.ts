/** The table of resources that the embedded API server serves, and how each behaves where Kubernetes' own strategies differ. */

export interface Resource {
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly singular: string
  readonly kind: string
  readonly shortNames: readonly string[]
  readonly isNamespaced: boolean
  /** Whether `status` is a subresource: then a write to the object leaves it alone, and the reverse. */
  readonly hasStatus: boolean
  /** Whether `metadata.generation` counts changes of anything but metadata and status. */
  readonly hasGeneration: boolean
  /** Whether a PUT without `metadata.resourceVersion` is accepted (Kubernetes' AllowUnconditionalUpdate). */
  readonly acceptsBlindUpdate: boolean
  /** Whether a PUT to a missing object creates it (Kubernetes' AllowCreateOnUpdate: leases, events). */
  readonly createsOnUpdate: boolean
  /** Custom resources: a write to `status` changes nothing but `status`. Built-in ones take labels and annotations too. */
  readonly isCustom: boolean
  /** The schema that a custom resource must keep (a CRD's `openAPIV3Schema`). */
  readonly schema?: unknown
}

interface Traits {
  readonly shortNames?: readonly string[]
  readonly isNamespaced?: boolean
  readonly hasStatus?: boolean
  readonly hasGeneration?: boolean
  readonly acceptsBlindUpdate?: boolean
  readonly createsOnUpdate?: boolean
  readonly isCustom?: boolean
  readonly singular?: string
}

function resource(groupVersion: string, plural: string, kind: string, traits: Traits = {}): Resource {
  const [group, version] = groupVersion.includes('/') ? groupVersion.split('/', 2) : ['', groupVersion]
  return {
    group: group ?? '',
    version: version ?? '',
    plural,
    singular: kind.toLowerCase(),
    kind,
    shortNames: [],
    isNamespaced: true,
    hasStatus: false,
    hasGeneration: false,
    acceptsBlindUpdate: true,
    createsOnUpdate: false,
    isCustom: false,
    ...traits,
  }
}

const cluster = { isNamespaced: false }
const workload = { hasStatus: true, hasGeneration: true }
const virtual = { hasStatus: true, hasGeneration: true, isCustom: true, acceptsBlindUpdate: false }
const strict = { acceptsBlindUpdate: false }

/** `events` stands here once: `v1` and `events.k8s.io/v1` show the same stored objects (see events.ts). */
export const builtInResources: readonly Resource[] = [
  resource('v1', 'nodes', 'Node', { ...cluster, hasStatus: true, shortNames: ['no'] }),
  resource('v1', 'pods', 'Pod', { ...workload, shortNames: ['po'] }),
  resource('v1', 'namespaces', 'Namespace', { ...cluster, hasStatus: true, shortNames: ['ns'] }),
  resource('v1', 'configmaps', 'ConfigMap', { shortNames: ['cm'] }),
  resource('v1', 'secrets', 'Secret'),
  resource('v1', 'events', 'Event', { shortNames: ['ev'], createsOnUpdate: true }),
  resource('v1', 'serviceaccounts', 'ServiceAccount', { shortNames: ['sa'] }),
  resource('v1', 'persistentvolumes', 'PersistentVolume', { ...cluster, hasStatus: true, shortNames: ['pv'] }),
  resource('v1', 'persistentvolumeclaims', 'PersistentVolumeClaim', { hasStatus: true, shortNames: ['pvc'] }),
  resource('v1', 'services', 'Service', { hasStatus: true, shortNames: ['svc'] }),
  resource('coordination.k8s.io/v1', 'leases', 'Lease', { ...strict, createsOnUpdate: true }),
  resource('storage.k8s.io/v1', 'volumeattachments', 'VolumeAttachment', { ...cluster, ...strict, hasStatus: true }),
  resource('storage.k8s.io/v1', 'csinodes', 'CSINode', { ...cluster, ...strict }),
  resource('storage.k8s.io/v1', 'csidrivers', 'CSIDriver', { ...cluster, ...strict }),
  resource('storage.k8s.io/v1', 'storageclasses', 'StorageClass', { ...cluster, shortNames: ['sc'] }),
  resource('apps/v1', 'deployments', 'Deployment', { ...workload, shortNames: ['deploy'] }),
  resource('apps/v1', 'replicasets', 'ReplicaSet', { ...workload, shortNames: ['rs'] }),
  resource('apps/v1', 'statefulsets', 'StatefulSet', { ...workload, shortNames: ['sts'] }),
  resource('apps/v1', 'daemonsets', 'DaemonSet', { ...workload, shortNames: ['ds'] }),
  resource('batch/v1', 'jobs', 'Job', workload),
  resource('scheduling.k8s.io/v1', 'priorityclasses', 'PriorityClass', { ...cluster, hasGeneration: true, shortNames: ['pc'] }),
  resource('discovery.k8s.io/v1', 'endpointslices', 'EndpointSlice', { hasGeneration: true }),
  resource('rbac.authorization.k8s.io/v1', 'roles', 'Role'),
  resource('rbac.authorization.k8s.io/v1', 'rolebindings', 'RoleBinding'),
  resource('rbac.authorization.k8s.io/v1', 'clusterroles', 'ClusterRole', cluster),
  resource('rbac.authorization.k8s.io/v1', 'clusterrolebindings', 'ClusterRoleBinding', cluster),
  // Stored and not enforced: their conditions are in CEL. test/cluster/admission.test.ts asks a real kube-apiserver.
  resource('admissionregistration.k8s.io/v1', 'validatingadmissionpolicies', 'ValidatingAdmissionPolicy', {
    ...cluster,
    ...strict,
    hasStatus: true,
    hasGeneration: true,
  }),
  resource('admissionregistration.k8s.io/v1', 'validatingadmissionpolicybindings', 'ValidatingAdmissionPolicyBinding', {
    ...cluster,
    ...strict,
    hasGeneration: true,
  }),
  resource('apiextensions.k8s.io/v1', 'customresourcedefinitions', 'CustomResourceDefinition', {
    ...cluster,
    ...strict,
    hasStatus: true,
    hasGeneration: true,
    shortNames: ['crd', 'crds'],
  }),
  resource('kubevirt.io/v1', 'virtualmachines', 'VirtualMachine', { ...virtual, shortNames: ['vm', 'vms'] }),
  // KubeVirt's own CRD has no status subresource for instances: a write to the object may carry status. Its webhook drops that of others.
  resource('kubevirt.io/v1', 'virtualmachineinstances', 'VirtualMachineInstance', {
    ...virtual,
    hasStatus: false,
    shortNames: ['vmi', 'vmis'],
  }),
  resource('kubevirt.io/v1', 'virtualmachineinstancemigrations', 'VirtualMachineInstanceMigration', {
    ...virtual,
    shortNames: ['vmim', 'vmims'],
  }),
  resource('kubevirt.io/v1', 'virtualmachineinstancereplicasets', 'VirtualMachineInstanceReplicaSet', {
    ...virtual,
    shortNames: ['vmirs', 'vmirss'],
  }),
  resource('pool.kubevirt.io/v1beta1', 'virtualmachinepools', 'VirtualMachinePool', { ...virtual, shortNames: ['vmpool', 'vmpools'] }),
]

export const apiVersionOf = ({ group, version }: Resource): string => (group === '' ? version : `${group}/${version}`)

/** As Kubernetes names a resource in messages: `pods`, `leases.coordination.k8s.io`. */
export const qualifiedPlural = ({ group, plural }: Resource): string => (group === '' ? plural : `${plural}.${group}`)

/** As Kubernetes names a kind in validation messages: `Pod`, `Lease.coordination.k8s.io`. */
export const qualifiedKind = ({ group, kind }: Resource): string => (group === '' ? kind : `${kind}.${group}`)
