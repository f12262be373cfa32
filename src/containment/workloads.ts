/**
 * The pods of this node that must stand still with it, found in the kubelet's own directories: it works with the API server gone. Adapter.
 *
 * They are those whose second copy elsewhere may have waited for a proof of this *node* (src/failover/plan/classify.ts): with a volume on storage that other
 * nodes can write, and those that run at most once without any: virtual machines and the pods of StatefulSets (docs/protocol/containment.md).
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A pod to contain. Labels and namespace are not known here. */
export interface Workload {
  readonly podUid: string
  /** `<kubelet directory>/pods/<uid>` */
  readonly directory: string
  /** Names of the PersistentVolumes that other nodes may write, too (for one named in the pod itself: of the volume in the pod). */
  readonly persistentVolumes: readonly string[]
  /** One of them is mounted, not given as a device: what was written goes on from the page cache behind a paused process. */
  readonly isMounted: boolean
}

/**
 * Folders of volumes that no other node can write: the kubelet's own files, and disks of this node (which the failover, too, asks no proof for).
 * Whatever is not here counts as shared, FlexVolume drivers (`vendor~driver`) and what Kubernetes may bring among it.
 */
const localPlugins = new Set(
  ['configmap', 'downward-api', 'empty-dir', 'git-repo', 'host-path', 'image', 'local-volume', 'projected', 'secret'].map(
    (plugin) => `kubernetes.io~${plugin}`,
  ),
)

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
  const found = await Promise.all(uids.map((podUid) => workloadIn(join(pods, podUid), podUid)))
  return found.filter((workload) => workload !== undefined).toSorted((a, b) => (a.podUid < b.podUid ? -1 : 1))
}

async function workloadIn(directory: string, podUid: string): Promise<Workload | undefined> {
  const [mounted, devices] = await Promise.all([
    sharedVolumesIn(join(directory, 'volumes')),
    sharedVolumesIn(join(directory, 'volumeDevices')),
  ])
  const persistentVolumes = [...new Set([...mounted, ...devices])].toSorted()
  const runsAtMostOnce = persistentVolumes.length === 0 && ((await isLauncher(directory)) || (await isOfStatefulSet(directory, podUid)))
  return persistentVolumes.length > 0 || runsAtMostOnce
    ? { podUid, directory, persistentVolumes, isMounted: mounted.length > 0 }
    : undefined
}

async function sharedVolumesIn(directory: string): Promise<readonly string[]> {
  const plugins = (await namesIn(directory)).filter((plugin) => !localPlugins.has(plugin))
  return (await Promise.all(plugins.map((plugin) => namesIn(join(directory, plugin))))).flat()
}

/** KubeVirt gives each launcher, migration targets too, an emptyDir for libvirt's sockets. */
const isLauncher = async (directory: string): Promise<boolean> =>
  (await namesIn(join(directory, 'volumes', 'kubernetes.io~empty-dir'))).includes('libvirt-runtime')

/**
 * A StatefulSet gives each pod its own name for a host name, and the kubelet writes that into `etc-hosts` before the pod's first container. The random
 * ends of other names have five characters. A static pod's name ends with its node's; it has a hash for a uid, without hyphens. A pod in the network of
 * the host has the host's file, after another first line: it is not known by its name (docs/limits.md).
 */
async function isOfStatefulSet(directory: string, podUid: string): Promise<boolean> {
  if (!podUid.includes('-')) return false
  const [own = ''] = (await textOf(join(directory, 'etc-hosts'))).split('# Entries added by HostAliases.')
  return own.startsWith('# Kubernetes-managed hosts file.') && /^[^#\n]*[^\s#]-(?:0|[1-9]\d{0,3})$/m.test(own)
}

/** A uid names cgroups and files below: nothing else than a plain word may pass. Static pods have 32 hex digits, others a UUID. */
const isUid = (name: string): boolean => /^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/.test(name)

const namesIn = (path: string): Promise<readonly string[]> => unlessGone(readdir(path), [])

const textOf = (path: string): Promise<string> => unlessGone(readFile(path, 'utf8'), '')

/** Pods come and go while they are listed. */
async function unlessGone<T>(reading: Promise<T>, gone: T): Promise<T> {
  try {
    return await reading
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return gone
    throw error
  }
}
