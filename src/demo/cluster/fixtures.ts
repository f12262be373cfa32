/** The objects of the demo's cluster: VMs of every runStrategy on replicated volumes, and ordinary workloads beside them. */
import type { Store } from '../apiserver/store.ts'
import type { RunStrategy } from './objects.ts'

export const CSI_DRIVER = 'linstor.csi.linbit.com'
export const demoNamespace = 'vms'
const STORAGE_CLASS = 'replicated'
const HOSTNAME_LABEL = 'kubernetes.io/hostname'
const ROOM_LABEL = 'topology.kubernetes.io/zone'

/** Creates it unless it is there: fixtures can be laid down twice. */
interface Manifest {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown }
  readonly [field: string]: unknown
}

function ensure(store: Store, plural: string, object: Manifest): void {
  if (store.get(plural, object.metadata.namespace, object.metadata.name) === undefined) store.create(plural, object)
}

export interface ReplicatedVolume {
  /** Also the name of its DRBD resource (`volumeHandle`), of its PersistentVolume and of its claim. */
  readonly name: string
  /** The nodes that hold a replica; only they may run what uses it. */
  readonly replicaNodes: readonly string[]
  readonly namespace?: string
  readonly accessMode?: 'ReadWriteMany' | 'ReadWriteOnce'
}

export function createVolume(
  store: Store,
  { name, replicaNodes, namespace = demoNamespace, accessMode = 'ReadWriteMany' }: ReplicatedVolume,
): void {
  const storage = { storage: '1Gi' }
  const spec = { accessModes: [accessMode], volumeMode: 'Block', storageClassName: STORAGE_CLASS }
  ensure(store, 'persistentvolumes', {
    metadata: { name },
    spec: {
      ...spec,
      capacity: storage,
      persistentVolumeReclaimPolicy: 'Retain',
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name },
      csi: { driver: CSI_DRIVER, volumeHandle: name },
      nodeAffinity: {
        required: { nodeSelectorTerms: [{ matchExpressions: [{ key: HOSTNAME_LABEL, operator: 'In', values: [...replicaNodes] }] }] },
      },
    },
    status: { phase: 'Bound' },
  })
  ensure(store, 'persistentvolumeclaims', {
    metadata: { name, namespace },
    spec: { ...spec, resources: { requests: storage }, volumeName: name },
    status: { phase: 'Bound', accessModes: [accessMode], capacity: storage },
  })
}

export interface DemoVm {
  readonly name: string
  readonly runStrategy: RunStrategy
  /** The two nodes, one a room, that hold its disk. */
  readonly replicaNodes: readonly string[]
  readonly preferredRoom?: string
  readonly priorityClassName?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  /** On the instance's template, e.g. `bootAnnotation` of virt-handler.ts. */
  readonly instanceAnnotations?: Readonly<Record<string, string>>
  readonly namespace?: string
}

/** A VM with its volume. Manual VMs are not started: that takes the start subresource, or {@link requestStart}. */
export function createVm(store: Store, vm: DemoVm): void {
  const { name, runStrategy, replicaNodes, preferredRoom, priorityClassName, namespace = demoNamespace } = vm
  createVolume(store, { name, replicaNodes, namespace })
  const preference = preferredRoom === undefined ? [] : [{ key: ROOM_LABEL, operator: 'In', values: [preferredRoom] }]
  ensure(store, 'virtualmachines', {
    metadata: { name, namespace, labels: { app: 'vm', ...vm.labels }, annotations: { ...vm.annotations } },
    spec: {
      runStrategy,
      template: {
        metadata: { labels: { app: 'vm', 'demo.roomfence.io/vm': name }, annotations: { ...vm.instanceAnnotations } },
        spec: {
          architecture: 'amd64',
          evictionStrategy: 'LiveMigrate',
          terminationGracePeriodSeconds: 30,
          ...(priorityClassName === undefined ? {} : { priorityClassName }),
          ...(preference.length === 0
            ? {}
            : {
                affinity: {
                  nodeAffinity: {
                    preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, preference: { matchExpressions: preference } }],
                  },
                },
              }),
          domain: {
            cpu: { cores: 1 },
            memory: { guest: '128Mi' },
            devices: { disks: [{ name: 'root', disk: { bus: 'virtio' } }], interfaces: [{ name: 'default', masquerade: {} }] },
          },
          networks: [{ name: 'default', pod: {} }],
          volumes: [{ name: 'root', persistentVolumeClaim: { claimName: name } }],
        },
      },
    },
  })
}

/** What virt-api's start subresource writes for a VM of strategy Manual that is not running. */
export function requestStart(store: Store, name: string, namespace = demoNamespace): void {
  const vm = store.get('virtualmachines', namespace, name)
  if (vm === undefined) throw new Error(`VirtualMachine ${namespace}/${name}: not found; create it before asking for its start`)
  const status = { ...(vm['status'] as object | undefined), stateChangeRequests: [{ action: 'Start' }] }
  store.update('virtualmachines', { ...structuredClone(vm), status }, 'status')
}

const priorityClasses = [
  { name: 'room-critical', value: 100_000 },
  { name: 'room-normal', value: 1_000 },
  { name: 'room-later', value: 10 },
] as const

const preferring = (room: string): object => ({
  nodeAffinity: {
    preferredDuringSchedulingIgnoredDuringExecution: [
      { weight: 100, preference: { matchExpressions: [{ key: ROOM_LABEL, operator: 'In', values: [room] }] } },
    ],
  },
})

const podTemplate = (app: string, tolerations: readonly object[] = [], affinity?: object): object => ({
  metadata: { labels: { app } },
  spec: {
    tolerations,
    ...(affinity === undefined ? {} : { affinity }),
    containers: [{ name: app, image: `registry.example/${app}:1`, resources: { requests: { cpu: '50m', memory: '32Mi' } } }],
  },
})

export interface DemoOptions {
  /** Node names by room, e.g. `{ 'room-a': ['a1', 'a2'], 'room-b': ['b1', 'b2'] }`; exactly two rooms. */
  readonly rooms: Readonly<Record<string, readonly string[]>>
  /** VMs that prefer the second room (the one the demo kills), cycling through the run strategies; 12 by default. */
  readonly vmCount?: number
}

const strategies: readonly RunStrategy[] = ['Always', 'RerunOnFailure', 'Manual', 'Once', 'Always', 'RerunOnFailure']

/** The demo's VMs: strategies and priorities in turn, each on one node of either room; one Halted VM at the end. */
export function demoVms({ rooms, vmCount = 12 }: DemoOptions): DemoVm[] {
  const [first, second, ...others] = Object.entries(rooms)
  if (first === undefined || second === undefined || others.length > 0) {
    throw new RangeError(`rooms: seen ${Object.keys(rooms).length}, allowed are exactly 2`)
  }
  const nodeOf = ([room, nodes]: readonly [string, readonly string[]], index: number): string => {
    const node = nodes[index % nodes.length]
    if (node === undefined) throw new RangeError(`rooms.${room}: seen no node, at least one is needed`)
    return node
  }
  return Array.from({ length: vmCount }, (_, index): DemoVm => {
    const runStrategy = index === vmCount - 1 && vmCount > 4 ? 'Halted' : (strategies[index % strategies.length] ?? 'Always')
    const priority = priorityClasses[index % priorityClasses.length]
    return {
      name: `vm-${String(index + 1).padStart(2, '0')}`,
      runStrategy,
      replicaNodes: [nodeOf(first, index), nodeOf(second, index)],
      preferredRoom: index % 4 === 3 ? first[0] : second[0],
      ...(priority === undefined ? {} : { priorityClassName: priority.name }),
    }
  })
}

/** Lays down the demo's objects; the Manual VMs among them are asked to start. */
export function createDemoObjects(store: Store, options: DemoOptions): readonly DemoVm[] {
  for (const name of [demoNamespace, 'kubevirt', 'roomfence']) ensure(store, 'namespaces', { metadata: { name } })
  ensure(store, 'storageclasses', { metadata: { name: STORAGE_CLASS }, provisioner: CSI_DRIVER, volumeBindingMode: 'Immediate' })
  ensure(store, 'csidrivers', { metadata: { name: CSI_DRIVER }, spec: { attachRequired: true, podInfoOnMount: false } })
  for (const { name, value } of priorityClasses) ensure(store, 'priorityclasses', { metadata: { name }, value, globalDefault: false })
  const vms = demoVms(options)
  for (const vm of vms) {
    createVm(store, vm)
    if (vm.runStrategy === 'Manual') requestStart(store, vm.name)
  }
  createWorkloads(store, options)
  return vms
}

function createWorkloads(store: Store, { rooms }: DemoOptions): void {
  const nodes = Object.values(rooms).map(([node]) => node ?? '')
  const workload = (name: string, spec: object) => ({ metadata: { name, namespace: demoNamespace, labels: { app: name } }, spec })
  const selector = (app: string) => ({ selector: { matchLabels: { app } } })
  for (const ordinal of [0, 1]) {
    createVolume(store, { name: `database-database-${ordinal}`, replicaNodes: nodes, accessMode: 'ReadWriteOnce' })
  }
  ensure(store, 'deployments', workload('web', { replicas: 4, ...selector('web'), template: podTemplate('web') }))
  ensure(
    store,
    'statefulsets',
    workload('database', {
      replicas: 2,
      serviceName: 'database',
      ...selector('database'),
      template: podTemplate('database', [], preferring(Object.keys(rooms)[1] ?? '')),
      volumeClaimTemplates: [{ metadata: { name: 'database' } }],
    }),
  )
  const everywhere = [{ operator: 'Exists' }]
  ensure(store, 'daemonsets', workload('node-agent', { ...selector('node-agent'), template: podTemplate('node-agent', everywhere) }))
}
