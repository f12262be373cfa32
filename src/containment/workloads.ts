/** The pods of this node that can write shared storage, found in the kubelet's own directories: it works with the API server gone. Adapter. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

/** A pod with at least one CSI volume, mounted or as a block device. Labels and namespace are not known here. */
export interface Workload {
  readonly podUid: string
  /** `<kubelet directory>/pods/<uid>` */
  readonly directory: string
  /** Names of the PersistentVolumes (for an inline CSI volume: of the volume in the pod). */
  readonly persistentVolumes: readonly string[]
}

const csiFolders = [join('volumeDevices', 'kubernetes.io~csi'), join('volumes', 'kubernetes.io~csi')]

/**
 * Ordered by uid. The kubelet makes these directories before it starts the containers, and removes them after they are gone.
 *
 * @throws where the kubelet's pod directory cannot be read: then nobody knows what runs here, and nothing may be called contained. A node on which
 *   the kubelet never ran has none: `ENOENT` of the `pods` directory inside an existing kubelet directory reads as no pods.
 */
export async function findWorkloads(kubeletDirectory: string): Promise<readonly Workload[]> {
  await readdir(kubeletDirectory)
  const pods = join(kubeletDirectory, 'pods')
  const uids = (await namesIn(pods)).filter(isUid)
  const found = await Promise.all(
    uids.map(async (podUid): Promise<Workload> => {
      const directory = join(pods, podUid)
      const volumes = await Promise.all(csiFolders.map((folder) => namesIn(join(directory, folder))))
      return { podUid, directory, persistentVolumes: [...new Set(volumes.flat())].toSorted() }
    }),
  )
  return found.filter(({ persistentVolumes }) => persistentVolumes.length > 0).toSorted((a, b) => (a.podUid < b.podUid ? -1 : 1))
}

/** A uid names cgroups and files below: nothing else than a plain word may pass. Static pods have 32 hex digits, others a UUID. */
const isUid = (name: string): boolean => /^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/.test(name)

async function namesIn(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // Pods come and go while they are listed.
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw error
  }
}
