/** Objects for the tests of the failover, as small as can be. */
import type { PersistentVolumeView, PodView, VirtualMachineInstanceView, VirtualMachineView } from '../../src/kubernetes/resources.ts'
import { clusterId, epoch, nodeId, room } from '../../src/protocol/ids.ts'
import { emptyFenceStatus, type RecordedWorkload } from '../../src/failover/fence/fence.ts'
import type { CommittedFence } from '../../src/failover/fence/committed-fence.ts'
import type { FailoverConfig } from '../../src/failover/plan/config.ts'
import type { PlanInput } from '../../src/failover/plan/plan-input.ts'
import type { Snapshot } from '../../src/failover/plan/snapshot.ts'

/** What the configuration makes of nothing: test/configuration.test.ts compares the two. */
export const defaultFailoverConfig: FailoverConfig = {
  controlPods: [
    { labels: { 'kubevirt.io': 'virt-api' } },
    { labels: { 'kubevirt.io': 'virt-controller' } },
    { labels: { 'app.kubernetes.io/component': 'linstor-csi-controller' } },
    { labels: { 'app.kubernetes.io/component': 'linstor-controller' } },
    { labels: { app: 'csi-controller' } },
    { namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
    { labels: { 'roomfence.io/control': '' } },
  ],
  drbdDrivers: ['linstor.csi.linbit.com'],
  waveSize: 20,
  waveReadinessGate: false,
  waveReadyMs: 120_000,
  onceVms: 'leave',
  skipStartBackoff: true,
  touchAfterMs: 5_000,
  startSafetyNetMs: 15_000,
  vmDeadlineMs: 600_000,
  volumeAttachmentDeadlineMs: 60_000,
  flapWindowMs: 21_600_000,
  unfenceBackoffMs: 300_000,
  unfenceBackoffMaxMs: 3_600_000,
  maxConcurrency: 24,
  apiCallMs: 15_000,
  lookEveryMs: 5_000,
  events: true,
}

export const exampleFence: CommittedFence = {
  id: 'fence-7',
  epoch: epoch(7),
  clusterId: clusterId('test'),
  nodes: [nodeId('b1'), nodeId('b2')],
  rooms: [room('room-b')],
  reason: 'silent',
  carriedOutBy: nodeId('a1'),
  dryRun: false,
}

export const examplePod = (name: string, more: Partial<PodView> = {}): PodView => ({
  uid: `uid-${name}`,
  name,
  namespace: 'apps',
  resourceVersion: '1',
  nodeName: 'b1',
  phase: 'Running',
  labels: {},
  annotations: {},
  owner: undefined,
  finalizers: [],
  isTerminating: false,
  deletionGracePeriodSeconds: undefined,
  tolerations: [],
  priority: 0,
  volumes: [],
  requests: { cpuMilli: 0, memoryBytes: 0 },
  ...more,
})

export const exampleVm = (name: string, more: Partial<VirtualMachineView> = {}): VirtualMachineView => ({
  uid: `vm-${name}`,
  name,
  namespace: 'apps',
  resourceVersion: '1',
  runStrategy: 'Always',
  annotations: {},
  isTerminating: false,
  printableStatus: 'Running',
  stateChanges: [],
  startFailure: undefined,
  needsManualRecovery: false,
  ...more,
})

export const exampleVmi = (name: string, more: Partial<VirtualMachineInstanceView> = {}): VirtualMachineInstanceView => ({
  uid: `vmi-${name}`,
  name,
  namespace: 'apps',
  resourceVersion: '1',
  annotations: {},
  owner: { kind: 'VirtualMachine', name, uid: `vm-${name}` },
  createdAt: '2025-12-31T00:00:00Z',
  phase: 'Running',
  nodeName: 'b1',
  isTerminating: false,
  claims: [name],
  unschedulable: undefined,
  ...more,
})

export const exampleVolume = (claim: string, more: Partial<PersistentVolumeView> = {}): PersistentVolumeView => ({
  uid: `pv-${claim}`,
  name: `pv-${claim}`,
  resourceVersion: '1',
  claim: { namespace: 'apps', name: claim },
  accessModes: ['ReadWriteMany'],
  driver: 'linstor.csi.linbit.com',
  handle: `drbd-${claim}`,
  isNodeLocal: false,
  ...more,
})

export const exampleVolumes = (...claims: readonly string[]): ReadonlyMap<string, PersistentVolumeView> =>
  new Map(claims.map((claim) => [`pv-${claim}`, exampleVolume(claim)]))

export const exampleLauncher = (vm: string, more: Partial<PodView> = {}): PodView =>
  examplePod(`launcher-${vm}`, {
    owner: { kind: 'VirtualMachineInstance', name: vm, uid: `vmi-${vm}` },
    volumes: [{ kind: 'claim', claim: vm, readOnly: false }],
    ...more,
  })

export const exampleRecord = (name: string, more: Partial<RecordedWorkload> = {}): RecordedWorkload => ({
  kind: 'VirtualMachine',
  namespace: 'apps',
  name,
  uid: `vmi-${name}`,
  node: 'b1',
  priority: 0,
  runStrategy: 'Always',
  phaseBefore: 'Running',
  state: 'ordered',
  proof: 'storage',
  reason: '',
  newNode: '',
  startAsked: false,
  at: '',
  ...more,
})

const emptySnapshot: Snapshot = {
  nodes: new Map(
    ['b1', 'b2'].map((name) => [
      name,
      {
        name,
        uid: `node-${name}`,
        resourceVersion: '1',
        labels: {},
        annotations: {},
        taints: [],
        bootId: `boot-${name}`,
        ready: true,
        allocatable: { cpu: '1', memory: '1Gi', pods: '110' },
      },
    ]),
  ),
  pods: [],
  unbound: [],
  volumes: new Map(),
  vms: new Map(),
  vmis: new Map(),
  volumeAttachments: [],
  since: '2026-01-01T00:00:00Z',
  leases: [],
  recorded: emptyFenceStatus,
}

/** A plan's input with VMs named here (VM, instance, launcher and volume each), and everything proved and open. */
export function exampleInput(
  more: Partial<Omit<PlanInput, 'snapshot'>> & { readonly vms?: readonly string[]; readonly snapshot?: Partial<Snapshot> } = {},
): PlanInput {
  const { vms = [], snapshot = {}, ...rest } = more
  const byName = <T extends { readonly name: string }>(items: readonly T[]): ReadonlyMap<string, T> =>
    new Map(items.map((item) => [`apps/${item.name}`, item]))
  return {
    order: exampleFence,
    proofs: {
      node: () => ({ isProved: true, proof: { kind: 'killed' } }),
      workload: () => ({ isProved: true, proof: { kind: 'storage' } }),
    },
    dataGate: () => ({ open: true }),
    config: defaultFailoverConfig,
    nowMs: 0,
    sinceMs: new Map(),
    isoTime: '2026-01-01T00:00:00Z',
    ...rest,
    snapshot: {
      ...emptySnapshot,
      pods: vms.map((name) => exampleLauncher(name)),
      vms: byName(vms.map((name) => exampleVm(name))),
      vmis: byName(vms.map((name) => exampleVmi(name))),
      volumes: exampleVolumes(...vms),
      ...snapshot,
    },
  }
}
