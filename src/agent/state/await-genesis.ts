/** An agent with an empty disk waits for `roomfence init`, and says who it is meanwhile. Adapter shell. */
import type { KubeClient } from '../../kubernetes/client.ts'
import type { Log } from '../../observe/log.ts'
import type { NodeId } from '../../protocol/ids.ts'
import type { Membership } from '../../protocol/membership.ts'
import { type AgentIdentity, publishIdentity, readGenesis } from './membership-source.ts'

export interface AwaitGenesisOptions {
  readonly client: KubeClient
  readonly node: NodeId
  readonly namespace: string
  readonly word: AgentIdentity
  readonly isKnown: () => boolean
  readonly onGenesis: (membership: Membership) => void
  readonly sleep: (ms: number) => Promise<void>
  readonly signal: AbortSignal
  readonly log: Log
}

const RETRY_MS = 1_000
const LOG_EVERY_TRIES = 30

export async function awaitGenesis(options: AwaitGenesisOptions): Promise<void> {
  const { client, node, word, namespace, log, signal } = options
  let isPublished = false
  for (let tries = 0; !signal.aborted; tries++) {
    const mayLog = tries % LOG_EVERY_TRIES === 0
    try {
      if (!isPublished) await publishIdentity(client, node, word)
      isPublished = true
      if (options.isKnown()) return
      const membership = await readGenesis(client, namespace)
      if (membership) options.onGenesis(membership)
      else if (mayLog) log.warn('waiting for genesis: run "roomfence init" once every agent runs')
    } catch (error) {
      if (mayLog) log.warn(`waiting for the API server: ${error instanceof Error ? error.message : String(error)}`)
    }
    await options.sleep(RETRY_MS)
  }
}
