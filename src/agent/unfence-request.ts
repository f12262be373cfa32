/** An un-fence that was asked for on the control socket: written on the Node, where the coordinator looks for it and answers. */
import { unfenceAnnotation } from '../failover/fence/names.ts'
import type { KubeClient } from '../kubernetes/client.ts'
import { nodeView, paths } from '../kubernetes/resources.ts'
import type { Log } from '../observe/log.ts'
import type { NodeId } from '../protocol/ids.ts'

/** Once: whoever asks says it again. What is there already stays, or each repetition would be another request. */
export async function askOnNode(
  node: NodeId,
  word: string,
  { client, signal, log }: { readonly client: KubeClient; readonly signal: AbortSignal; readonly log: Log },
): Promise<void> {
  try {
    const { annotations } = nodeView(await client.get(paths.node(node), { signal }))
    if (annotations[unfenceAnnotation] !== word)
      await client.patchMerge(paths.node(node), { metadata: { annotations: { [unfenceAnnotation]: word } } }, { signal })
  } catch (error) {
    log.warn({ error, node }, `the un-fence of ${node} is not on its Node yet: it needs the API server`)
  }
}
