/** `roomfence init`: makes epoch 0 once, create-only in the cluster and in the witness (docs/protocol/membership.md, "Genesis"). */
import { randomUUID } from 'node:crypto'
import type { KubeClient } from '../kubernetes/client.ts'
import { isKubeError } from '../kubernetes/errors.ts'
import { nodeView, paths } from '../kubernetes/resources.ts'
import { clusterId, nodeId, room } from '../protocol/ids.ts'
import { genesis, type GenesisNode, type Membership } from '../protocol/membership.ts'
import type { WitnessClient } from '../witness/register.ts'
import { agentAnnotation, genesisName, genesisPath, parseIdentity, readGenesis } from './state/membership-source.ts'

export interface InitOptions {
  readonly client: KubeClient
  readonly witness: WitnessClient | null
  readonly namespace: string
  readonly roomLabel: string
  readonly preferredRoom: string
  /** Only these; undefined: every node that has the room label. */
  readonly nodes?: readonly string[]
  readonly say: (line: string) => void
}

class InitError extends Error {
  readonly code: 'nodes' | 'rooms' | 'exists' | 'witness'
  constructor(code: InitError['code'], message: string) {
    super(message)
    this.name = 'InitError'
    this.code = code
  }
}

const WITNESS_INCARNATION = 'w0'

/** @throws InitError with every node that is not ready, KubeError where the API refuses. */
export async function initialise(options: InitOptions): Promise<Membership> {
  const { client, namespace, say } = options
  const before = await readGenesis(client, namespace)
  if (before) {
    say(`genesis of cluster ${before.clusterId} exists already with ${before.members.length} nodes: nothing is made again`)
    await giveToWitness(options, before)
    return before
  }
  const nodes = await readyNodes(options)
  const rooms = [...new Set(nodes.map((node) => String(node.room)))].sort()
  if (rooms.length < 2)
    throw new InitError('rooms', `all nodes are in room ${rooms.join()}: label ${options.roomLabel} must tell at least two rooms apart`)
  if (!rooms.includes(options.preferredRoom))
    throw new InitError('rooms', `--preferred-room: saw "${options.preferredRoom}"; allowed: ${rooms.join(', ')}`)
  const made = genesis(clusterId(randomUUID()), nodes, room(options.preferredRoom), options.witness ? WITNESS_INCARNATION : null)
  // The witness first: without it the cluster's own object would name a voter that does not exist.
  await giveToWitness(options, made)
  try {
    await client.create(genesisPath(namespace).replace(`/${genesisName}`, ''), {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: genesisName, namespace },
      immutable: true,
      data: { membership: JSON.stringify(made) },
    })
  } catch (error) {
    if (isKubeError(error, 'already-exists') || isKubeError(error, 'conflict'))
      throw new InitError(
        'exists',
        `ConfigMap ${namespace}/${genesisName} was made by somebody else at the same moment: run init again to see it`,
      )
    throw error
  }
  for (const line of rooms)
    say(
      `room ${line}: ${nodes
        .filter((node) => node.room === line)
        .map(({ node }) => node)
        .join(', ')}`,
    )
  say(
    `epoch 0 of cluster ${made.clusterId} is made; preferred room ${options.preferredRoom}, ${options.witness ? 'with' : 'without'} a witness`,
  )
  return made
}

async function readyNodes({ client, roomLabel, nodes: only }: InitOptions): Promise<readonly GenesisNode[]> {
  const { items } = await client.list(paths.nodes, { project: nodeView })
  const wanted = items.filter(({ name, labels }) => (only ? only.includes(name) : labels[roomLabel] !== undefined))
  const problems: string[] = []
  for (const name of only ?? []) if (!wanted.some((node) => node.name === name)) problems.push(`${name}: there is no such node`)
  if (wanted.length === 0) problems.push(`no node has the label ${roomLabel}`)
  const ready: GenesisNode[] = []
  for (const { name, labels, annotations } of wanted) {
    const inRoom = labels[roomLabel]
    const word = parseIdentity(annotations[agentAnnotation])
    if (inRoom === undefined) problems.push(`${name}: it has no label ${roomLabel}`)
    else if (typeof word === 'string') problems.push(`${name}: ${word}`)
    else ready.push({ node: nodeId(name), room: room(inRoom), ...word })
  }
  if (problems.length > 0)
    throw new InitError(
      'nodes',
      `init needs an agent on every node:\n${problems.map((problem) => `  ${problem}`).join('\n')}\nwait for them, or name the nodes with --nodes`,
    )
  return ready
}

async function giveToWitness({ witness, say }: InitOptions, membership: Membership): Promise<void> {
  if (!witness) return
  const answer = await witness.create({ incarnation: membership.witness?.incarnation ?? WITNESS_INCARNATION, membership, accepted: null })
  if (answer.kind === 'created') return say('the witness has its register')
  if (answer.kind === 'failed') throw new InitError('witness', `the witness did not take its register: ${answer.reason}`)
  const { clusterId: theirs } = answer.register.membership
  if (theirs !== membership.clusterId)
    throw new InitError(
      'witness',
      `the witness already serves cluster ${theirs}: give this cluster a witness of its own, with an empty state directory`,
    )
  say('the witness has its register already')
}
