/** What stands on a Node about its un-fence: that it is asked for, our answer, and, once it is back, that it was un-fenced. */
import type { KubeClient } from '../../kubernetes/client.ts'
import { isKubeError } from '../../kubernetes/errors.ts'
import { type NodeView, nodeView, paths } from '../../kubernetes/resources.ts'
import type { Epoch, NodeId } from '../../protocol/ids.ts'
import { confirmDeadAnnotation, unfenceAnnotation, unfencedEpochAnnotation } from '../fence/names.ts'
import { fencedEpoch, isOurs, isUnfencedSince, withoutOurs } from '../fence/taints.ts'

const unfenceAnswerAnnotation = 'roomfence.io/unfence-answer'
const unfencedAnnotation = 'roomfence.io/unfenced'

/** Once: whoever asks says it again. What is there already stays, or each repetition would be another request. */
export async function writeRequest(client: KubeClient, node: NodeId, word: string, signal: AbortSignal): Promise<void> {
  const { annotations } = nodeView(await client.get(paths.node(node), { signal }))
  if (annotations[unfenceAnnotation] !== word) await client.patchMerge(paths.node(node), annotated(unfenceAnnotation, word), { signal })
}

/** @param onNew called before it is written, when it is another answer than before */
export async function writeAnswer(client: KubeClient, node: NodeId, answer: string, onNew: (node: NodeView) => void): Promise<void> {
  const view = nodeView(await client.get(paths.node(node)))
  if (view.annotations[unfenceAnswerAnnotation] === answer) return
  onNew(view)
  await client.patchMerge(paths.node(node), annotated(unfenceAnswerAnnotation, answer))
}

const annotated = (annotation: string, text: string): object => ({ metadata: { annotations: { [annotation]: text } } })

/** Our taints and annotations go, all others stay. */
export async function releaseNode(client: KubeClient, name: NodeId, epoch: Epoch, note: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      const node = nodeView(await client.get(paths.node(name)))
      // Fenced anew meanwhile: what is there now is the later fence's.
      if ((fencedEpoch(node.taints) ?? -1) > epoch) return
      const asked = [unfenceAnnotation, unfenceAnswerAnnotation, confirmDeadAnnotation].filter(
        (annotation) => node.annotations[annotation] !== undefined,
      )
      if (!node.taints.some(isOurs) && asked.length === 0 && isUnfencedSince(node.annotations, epoch - 1)) return
      await client.patchMerge(paths.node(name), {
        metadata: {
          resourceVersion: node.resourceVersion,
          annotations: {
            ...Object.fromEntries(asked.map((annotation) => [annotation, null])),
            [unfencedAnnotation]: note,
            [unfencedEpochAnnotation]: String(epoch),
          },
        },
        spec: { taints: withoutOurs(node.taints) },
      })
      return
    } catch (error) {
      if (isKubeError(error, 'not-found')) return
      if (!isKubeError(error, 'conflict') || attempt >= 10) throw error
    }
  }
}
