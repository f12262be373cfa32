/** A person's word for the death of a fenced node, given to one agent: written on the Node, where every other survivor looks for it. */
import { confirmDeadAnnotation, fenceId } from '../../failover/fence/names.ts'
import type { KubeClient } from '../../kubernetes/client.ts'
import { isKubeError } from '../../kubernetes/errors.ts'
import { sleepUnless } from '../../kubernetes/watch.ts'
import { nodeView, paths } from '../../kubernetes/resources.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { memberOf } from '../../protocol/membership.ts'
import { confirmationValue, confirmedBy } from './annotations.ts'
import type { State } from '../../protocol/state.ts'
import type { Log } from '../../observe/log.ts'

const RETRY_MS = 2_000

/**
 * The replicas of each survivor wait for the proof as the coordinator does, so all must hear of it. Tried until it is written, while the fence lasts: an
 * API server may be away for as long as the room is. The un-fence takes it away.
 */
export async function writeConfirmation(
  node: NodeId,
  by: string,
  {
    client,
    state,
    signal,
    log,
  }: { readonly client: KubeClient; readonly state: () => State; readonly signal: AbortSignal; readonly log: Log },
): Promise<void> {
  const fencedIn = (): number | undefined => {
    const { membership } = state().durable
    const member = membership && memberOf(membership, node)
    return member?.standing === 'fenced' ? member.lastFence : undefined
  }
  const epoch = fencedIn()
  if (epoch === undefined) return
  while (fencedIn() === epoch && !signal.aborted) {
    try {
      const { annotations } = nodeView(await client.get(paths.node(node), { signal }))
      const word = confirmationValue(fenceId(epoch), by)
      const isThere = confirmedBy(annotations[confirmDeadAnnotation] ?? '', fenceId(epoch)) !== undefined
      if (!isThere) await client.patchMerge(paths.node(node), { metadata: { annotations: { [confirmDeadAnnotation]: word } } }, { signal })
      return
    } catch (error) {
      if (isKubeError(error, 'not-found')) return
      log.warn({ error, node }, `${by} confirmed ${node} dead, and that is not on its Node yet: other agents do not know it`)
    }
    await sleepUnless(RETRY_MS, signal)
  }
}
