/** Persistent volumes made ahead with their claims: the tests have no provisioner. */
import { type ApiClient, isApiError } from '../../support/api-client.ts'
import { defaultDriver } from '../nodes/fake-nodes.ts'

export type AccessMode = 'ReadWriteMany' | 'ReadWriteOnce'

export interface VolumeRequest {
  readonly namespace: string
  /** Of the claim. */
  readonly name: string
  /** The volume is `pv-<volume>`, its handle (the DRBD resource) `vol-<volume>`; by default named like the claim. */
  readonly volume?: string
  readonly accessMode: AccessMode
  readonly volumeMode?: 'Block' | 'Filesystem'
}

const storageClassName = 'replicated'

const ensure = async (client: ApiClient, path: string, object: unknown): Promise<void> => {
  try {
    await client.create(path, object)
  } catch (error) {
    if (!isApiError(error, 409)) throw error
  }
}

/** The volume alone, bound ahead to a claim that something else makes (a StatefulSet, from its template). */
export const createVolume = async (
  client: ApiClient,
  { namespace, name, volume = name, accessMode, volumeMode = 'Block' }: VolumeRequest,
): Promise<void> => {
  await ensure(client, '/apis/storage.k8s.io/v1/storageclasses', {
    metadata: { name: storageClassName },
    provisioner: defaultDriver,
    volumeBindingMode: 'Immediate',
  })
  await client.create('/api/v1/persistentvolumes', {
    metadata: { name: `pv-${volume}` },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: [accessMode],
      storageClassName,
      persistentVolumeReclaimPolicy: 'Retain',
      claimRef: { namespace, name },
      volumeMode,
      csi: { driver: defaultDriver, volumeHandle: `vol-${volume}` },
    },
  })
}

export const claimSpec = (accessMode: AccessMode, volumeMode: 'Block' | 'Filesystem', volumeName?: string): object => ({
  accessModes: [accessMode],
  volumeMode,
  storageClassName,
  resources: { requests: { storage: '1Gi' } },
  ...(volumeName === undefined ? {} : { volumeName }),
})

export const createClaim = async (client: ApiClient, request: VolumeRequest): Promise<void> => {
  const { namespace, name, volume = name, accessMode, volumeMode = 'Block' } = request
  await createVolume(client, request)
  await client.create(`/api/v1/namespaces/${namespace}/persistentvolumeclaims`, {
    metadata: { name },
    spec: claimSpec(accessMode, volumeMode, `pv-${volume}`),
  })
}
