/** The room of this node: from the membership, else from the label of its Node. Adapter. */
import pRetry from 'p-retry'
import type { KubeClient } from '../../kubernetes/client.ts'
import type { Log } from '../../observe/log.ts'
import type { NodeId, Room } from '../../protocol/ids.ts'
import { memberOf } from '../../protocol/membership.ts'
import type { Durable } from '../../protocol/state.ts'
import { readRoom } from './membership-source.ts'

const FIRST_RETRY_MS = 250
const LONGEST_RETRY_MS = 5_000
const LOG_EVERY_TRIES = 10

/** Without its room an agent can say nothing: it asks for as long as it takes. */
export async function learnOwnRoom(
  durable: Durable | null,
  { client, node, roomLabel, log }: { readonly client: KubeClient; readonly node: NodeId; readonly roomLabel: string; readonly log: Log },
): Promise<Room> {
  const known = durable?.membership && memberOf(durable.membership, node)
  if (known) return known.room
  return pRetry(() => readRoom(client, node, roomLabel), {
    retries: Infinity,
    factor: 1.5,
    minTimeout: FIRST_RETRY_MS,
    maxTimeout: LONGEST_RETRY_MS,
    shouldRetry: () => true,
    onFailedAttempt: ({ attemptNumber, error }) => {
      if (attemptNumber % LOG_EVERY_TRIES === 1) log.warn(`waiting to learn this node's room: ${error.message}`)
    },
  })
}
