/** How a kubelet stand-in makes its Node known: registration, the lease in kube-node-lease, and the status when it changed. */
import { amend, isReady, read, type Condition } from './objects.ts'
import type { NodeHost } from './node-host.ts'
import { type ClusterContext, every, microTimestamp, stopAll, timestamp } from './work-queue.ts'

const LEASE_PERIOD_MS = 10_000
const LEASE_DURATION_SECONDS = 40
const STATUS_PERIOD_MS = 10_000
/** An unchanged status is written all the same after so long. */
const STATUS_REPORT_MS = 300_000
const LEASE_NAMESPACE = 'kube-node-lease'

const ROOM_LABEL = 'topology.kubernetes.io/zone'

const capacity = {
  cpu: '32',
  memory: '256Gi',
  pods: '250',
  'ephemeral-storage': '500Gi',
  'devices.kubevirt.io/kvm': '1k',
  'devices.kubevirt.io/tun': '1k',
  'devices.kubevirt.io/vhost-net': '1k',
}

export interface NodeReporter {
  readonly address: string
  register(): void
  reportIfChanged(): void
  stop(): void
}

export function createNodeReporter(
  context: ClusterContext,
  host: NodeHost,
  ordinal: number,
  hasApi: () => boolean,
  volumesInUse: () => string[],
): NodeReporter {
  const { store, clock } = context
  const address = `127.0.${ordinal}.1`
  let reported = ''
  let reportedAtMs = 0

  const report = (isForced: boolean): void => {
    if (!hasApi()) return
    const node = read(store, 'nodes', undefined, host.name)
    if (node === undefined) return
    const inUse = volumesInUse()
    const state = JSON.stringify([inUse, host.bootId])
    const isDue = clock.nowMs() - reportedAtMs >= STATUS_REPORT_MS * context.timeFactor
    if (!isForced && !isDue && state === reported && isReady(node)) return
    reported = state
    reportedAtMs = clock.nowMs()
    const now = timestamp(context)
    const conditions: Condition[] = [
      { type: 'MemoryPressure', status: 'False', reason: 'KubeletHasSufficientMemory' },
      { type: 'DiskPressure', status: 'False', reason: 'KubeletHasNoDiskPressure' },
      { type: 'PIDPressure', status: 'False', reason: 'KubeletHasSufficientPID' },
      { type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'kubelet is posting ready status' },
    ]
    amend(store, 'nodes', { name: host.name }, (changed) => {
      const before = changed.status?.conditions ?? []
      const own = conditions.map((condition) => {
        const known = before.find(({ type }) => type === condition.type)
        const since = known?.status === condition.status ? known.lastTransitionTime : now
        return { ...condition, lastHeartbeatTime: now, lastTransitionTime: since ?? now }
      })
      const foreign = before.filter(({ type }) => !conditions.some((condition) => condition.type === type))
      const { volumesInUse: _before, ...status } = changed.status ?? {}
      changed.status = {
        ...status,
        capacity,
        allocatable: capacity,
        addresses: [
          { type: 'InternalIP', address },
          { type: 'Hostname', address: host.name },
        ],
        nodeInfo: {
          machineID: host.name,
          systemUUID: host.name,
          bootID: host.bootId,
          kernelVersion: '6.1.0',
          osImage: 'roomfence demo',
          containerRuntimeVersion: 'demo://1',
          kubeletVersion: 'v1.36.2',
          kubeProxyVersion: '',
          operatingSystem: 'linux',
          architecture: 'amd64',
        },
        ...(inUse.length === 0 ? {} : { volumesInUse: inUse }),
        conditions: [...own, ...foreign],
      }
    })
  }

  const renewLease = (): void => {
    const node = read(store, 'nodes', undefined, host.name)
    if (!hasApi() || node === undefined) return
    const spec = { holderIdentity: host.name, leaseDurationSeconds: LEASE_DURATION_SECONDS, renewTime: microTimestamp(context) }
    const renewed = amend(store, 'leases', { namespace: LEASE_NAMESPACE, name: host.name }, (lease) => {
      lease.spec = spec
    })
    if (renewed !== undefined) return
    const owner = { apiVersion: 'v1', kind: 'Node', name: host.name, uid: node.metadata.uid }
    store.create('leases', { metadata: { name: host.name, namespace: LEASE_NAMESPACE, ownerReferences: [owner] }, spec })
  }

  const register = (): void => {
    const labels = {
      'kubernetes.io/hostname': host.name,
      'kubernetes.io/os': 'linux',
      'kubernetes.io/arch': 'amd64',
      [ROOM_LABEL]: host.room,
      'machine-type.node.kubevirt.io/q35': 'true',
      'cpu-vendor.node.kubevirt.io/Intel': 'true',
    }
    // Without the first, attach-detach ignores the node.
    const annotations = { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true', 'node.alpha.kubernetes.io/ttl': '0' }
    const known = amend(store, 'nodes', { name: host.name }, (node) => {
      node.metadata.labels = { ...node.metadata.labels, ...labels }
      node.metadata.annotations = { ...node.metadata.annotations, ...annotations }
    })
    if (known === undefined) store.create('nodes', { metadata: { name: host.name, labels, annotations }, spec: {} })
    report(true)
    renewLease()
  }

  const stop = stopAll(
    every(context, LEASE_PERIOD_MS, renewLease, 25),
    every(context, STATUS_PERIOD_MS, () => report(false), 25),
  )
  return { address, register, reportIfChanged: () => report(false), stop }
}
