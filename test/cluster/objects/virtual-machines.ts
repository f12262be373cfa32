/** Virtual machines that the fake nodes run: one replicated block disk each, preferring one room. */
import type { ApiClient } from '../../support/api-client.ts'
import { type VirtualMachine, vmsPath } from '../api/objects.ts'
import { defaultRoomLabel } from '../nodes/fake-nodes.ts'
import { bootTimeAnnotation } from '../nodes/virt-handler.ts'
import { type AccessMode, createClaim } from './volumes.ts'

type RunStrategy = 'Always' | 'RerunOnFailure' | 'Manual' | 'Once' | 'Halted' | 'WaitAsReceiver'

export interface VmRequest {
  readonly namespace: string
  readonly name: string
  readonly runStrategy: RunStrategy
  /** Where the scheduler puts it while that room has a node for it. */
  readonly room: string
  readonly accessMode?: AccessMode
  readonly evictionStrategy?: 'LiveMigrate' | 'None'
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly priorityClassName?: string
  /** How long the fake guest takes from Scheduled to Running. */
  readonly bootMs?: number
}

const virtualMachine = (wanted: VmRequest): object => ({
  apiVersion: 'kubevirt.io/v1',
  kind: 'VirtualMachine',
  metadata: { name: wanted.name, namespace: wanted.namespace, labels: wanted.labels ?? {}, annotations: wanted.annotations ?? {} },
  spec: {
    runStrategy: wanted.runStrategy,
    template: {
      metadata: {
        labels: { 'kubevirt.io/domain': wanted.name, ...wanted.labels },
        annotations: wanted.bootMs === undefined ? {} : { [bootTimeAnnotation]: String(wanted.bootMs) },
      },
      spec: {
        ...(wanted.evictionStrategy === undefined ? {} : { evictionStrategy: wanted.evictionStrategy }),
        ...(wanted.priorityClassName === undefined ? {} : { priorityClassName: wanted.priorityClassName }),
        terminationGracePeriodSeconds: 30,
        affinity: {
          nodeAffinity: {
            preferredDuringSchedulingIgnoredDuringExecution: [
              { weight: 100, preference: { matchExpressions: [{ key: defaultRoomLabel, operator: 'In', values: [wanted.room] }] } },
            ],
          },
        },
        domain: {
          cpu: { cores: 1 },
          memory: { guest: '128Mi' },
          devices: { disks: [{ name: 'root', disk: { bus: 'virtio' } }], interfaces: [{ name: 'default', masquerade: {} }] },
        },
        networks: [{ name: 'default', pod: {} }],
        volumes: [{ name: 'root', persistentVolumeClaim: { claimName: wanted.name } }],
      },
    },
  },
})

/** With its disk. A Manual VM needs a `start` afterwards. */
export const createVm = async (client: ApiClient, wanted: VmRequest): Promise<VirtualMachine> => {
  const { namespace, name, accessMode = 'ReadWriteMany' } = wanted
  await createClaim(client, { namespace, name, accessMode })
  return client.create<VirtualMachine>(vmsPath(namespace), virtualMachine(wanted))
}
