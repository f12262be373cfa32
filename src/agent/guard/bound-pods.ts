/** Whether what is alive on this node still belongs on it, by the API server: asked once after an un-fence, before it runs again. Adapter. */
import type { KubeClient } from '../../kubernetes/client.ts'
import { paths, podView } from '../../kubernetes/resources.ts'
import type { NodeId } from '../../protocol/ids.ts'

/** A static pod is known to its node by this hash, and in the API server, as its mirror, by another uid. */
const staticPodAnnotation = 'kubernetes.io/config.mirror'

/**
 * The pods among `alive` (uids) that the API server does not have on this node: they were deleted, and may have a replacement elsewhere.
 *
 * @throws KubeError while the API server does not answer: then nobody knows.
 */
export async function podsNotBound(
  client: KubeClient,
  node: NodeId,
  alive: readonly string[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (alive.length === 0) {
    // It must answer all the same: the kubelet may start again what was deleted here while it was away.
    await client.probe({ signal })
    return []
  }
  const { items } = await client.list(paths.pods, {
    project: (object) => {
      const { uid, annotations } = podView(object)
      return [uid, annotations[staticPodAnnotation] ?? uid]
    },
    fieldSelector: `spec.nodeName=${node}`,
    signal,
  })
  const bound = new Set(items.flat())
  return alive.filter((uid) => !bound.has(uid))
}
