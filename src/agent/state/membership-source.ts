/** Where an agent with an empty disk learns what there is: its room from its Node, genesis from the cluster, and its own word to `roomfence init`. */
import { parseMembership } from '../../evidence/membership-schema.ts'
import type { KubeClient } from '../../kubernetes/client.ts'
import { isKubeError } from '../../kubernetes/errors.ts'
import { nodeView, paths } from '../../kubernetes/resources.ts'
import { type Incarnation, type NodeId, type Room, room } from '../../protocol/ids.ts'
import type { Address, Membership } from '../../protocol/membership.ts'

/** What an agent says of itself on its Node, for `roomfence init` and for people. */
export const agentAnnotation = 'roomfence.io/agent'
export const genesisName = 'roomfence-genesis'
export const genesisPath = (namespace: string): string => `/api/v1/namespaces/${namespace}/configmaps/${genesisName}`

export interface AgentIdentity {
  readonly incarnation: Incarnation
  readonly addresses: readonly Address[]
}

/** The value of the room label of this Node. Rejects with `KubeError`, or an Error that names the label. */
export async function readRoom(client: KubeClient, node: NodeId, roomLabel: string): Promise<Room> {
  const view = nodeView(await client.get(paths.node(node)))
  const value = view.labels[roomLabel]
  if (value === undefined || value === '')
    throw new Error(`node ${node} has no label ${roomLabel}: label it with its room, kubectl label node ${node} ${roomLabel}=ROOM`)
  return room(value)
}

export async function publishIdentity(client: KubeClient, node: NodeId, word: AgentIdentity): Promise<void> {
  const text = JSON.stringify(word)
  const view = nodeView(await client.get(paths.node(node)))
  if (view.annotations[agentAnnotation] === text) return
  await client.patchMerge(paths.node(node), { metadata: { annotations: { [agentAnnotation]: text } } })
}

/** Genesis as `roomfence init` wrote it, or null before that. */
export async function readGenesis(client: KubeClient, namespace: string): Promise<Membership | null> {
  try {
    const object = (await client.get(genesisPath(namespace))) as { readonly data?: { readonly membership?: unknown } }
    const text = object.data?.membership
    if (typeof text !== 'string')
      throw new Error(`ConfigMap ${namespace}/${genesisName} has no field data.membership: it was not made by roomfence init`)
    return parseMembership(JSON.parse(text))
  } catch (error) {
    if (isKubeError(error, 'not-found')) return null
    throw error
  }
}

/** An agent's word, or why it cannot be used. */
export function parseIdentity(value: string | undefined): AgentIdentity | string {
  if (value === undefined) return 'its agent has not started yet (no annotation roomfence.io/agent)'
  try {
    const { incarnation, addresses } = JSON.parse(value) as Partial<AgentIdentity>
    if (typeof incarnation !== 'string' || !Array.isArray(addresses)) return `its annotation ${agentAnnotation} is not what an agent writes`
    return {
      incarnation,
      addresses: addresses.map(({ path, host, port }) => ({ path: String(path), host: String(host), port: Number(port) })),
    }
  } catch {
    return `its annotation ${agentAnnotation} is not JSON`
  }
}
