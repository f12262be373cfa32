/** An un-fence that was asked for on the control socket: written on the Node, where the coordinator looks for it and answers. */
import { writeRequest } from '../../failover/unfence/annotations.ts'
import type { KubeClient } from '../../kubernetes/client.ts'
import type { Log } from '../../observe/log.ts'
import type { NodeId } from '../../protocol/ids.ts'

/** Once: whoever asks says it again. */
export async function writeUnfenceRequest(
  node: NodeId,
  word: string,
  { client, signal, log }: { readonly client: KubeClient; readonly signal: AbortSignal; readonly log: Log },
): Promise<void> {
  try {
    await writeRequest(client, node, word, signal)
  } catch (error) {
    log.warn({ error, node }, `the un-fence of ${node} is not on its Node yet: it needs the API server`)
  }
}
