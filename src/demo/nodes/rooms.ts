/** All nodes and volumes of the demo at once: two rooms, replicas across them, everything over the faulty link, and the observer beside it. */
import { join } from 'node:path'
import type { Network } from '../link/network.ts'
import { createObserver, type Observer, type Volume } from '../observer/observer.ts'
import { pairReplicas } from '../storage/pair.ts'
import type { ResourceConfig } from '../storage/state.ts'
import { createNode, type DemoNode, type NodeOptions } from './node.ts'
import { type NodePaths, nodePaths } from './paths.ts'
import { preparePrograms } from './programs.ts'

/** The site at which the API server stands in the network. */
export const API_SITE = 'api'

export interface RoomsOptions {
  /** Short: unix sockets live below it. */
  readonly directory: string
  readonly network: Network
  /** Node names by room. */
  readonly rooms: Readonly<Record<string, readonly string[]>>
  /** A volume by its DRBD resource, who writes to it (a VM's name, or `namespace/name` of another pod), and its two nodes, one a room. */
  readonly volumes: readonly { readonly resource: string; readonly writer: string; readonly nodes: readonly [string, string] }[]
  /** Freeze mode for all volumes. */
  readonly freeze: boolean
  readonly agentCommand?: (node: { readonly name: string; readonly room: string; readonly paths: NodePaths }) => readonly string[]
  readonly node?: Partial<
    Pick<NodeOptions, 'agentEnvironment' | 'agentRestartMs' | 'bootDelayMs' | 'watchdogTimeoutSeconds' | 'vmIntervalMs'>
  >
  readonly storage?: Partial<Pick<ResourceConfig, 'pingIntMs' | 'pingTimeoutMs' | 'connectIntMs' | 'resyncMs' | 'allowTwoPrimaries'>>
}

export interface Rooms {
  readonly nodes: ReadonlyMap<string, DemoNode>
  readonly volumes: readonly Volume[]
  readonly observer: Observer
  /** All nodes of one room, or of all. */
  nodesOf(room?: string): readonly DemoNode[]
  /** Ends all nodes; the network stays open. */
  stop(): Promise<void>
}

/** Makes all nodes, without power. */
export async function createRooms(options: RoomsOptions): Promise<Rooms> {
  const { directory, network } = options
  const programs = await preparePrograms(join(directory, 'programs'))
  const log = join(directory, 'observer.log')
  const places = Object.entries(options.rooms).flatMap(([room, names]) =>
    names.map((name) => ({ room, name, paths: nodePaths(join(directory, name)) })),
  )
  const placeOf = (name: string): (typeof places)[number] => {
    const place = places.find((candidate) => candidate.name === name)
    if (place === undefined) throw new Error(`a volume names node ${name}, but the nodes are ${places.map((one) => one.name).join(', ')}`)
    return place
  }
  const resources = new Map<string, ResourceConfig[]>(places.map(({ name }) => [name, []]))
  const volumes: Volume[] = []
  for (const [index, { resource, writer, nodes }] of options.volumes.entries()) {
    const [first, second] = [placeOf(nodes[0]), placeOf(nodes[1])]
    const end = ({ room, name, paths }: typeof first) => ({ room, node: name, peerSocket: paths.kernelPeerSocket })
    const pair = await pairReplicas(network, {
      name: resource,
      minor: 1000 + index,
      first: end(first),
      second: end(second),
      freeze: options.freeze,
      ...options.storage,
    })
    resources.get(first.name)?.push(pair.first)
    resources.get(second.name)?.push(pair.second)
    volumes.push({
      vm: writer,
      resource,
      replicas: [first, second].map(({ name, paths }) => ({ node: name, directory: paths.replicas })),
    })
  }
  const nodes = new Map<string, DemoNode>()
  for (const { room, name, paths } of places) {
    const { agentCommand } = options
    const node = createNode({
      name,
      room,
      directory: paths.directory,
      programs,
      network,
      resources: resources.get(name) ?? [],
      observerLog: log,
      reachesApi: () => network.reaches({ site: room, node: name }, API_SITE),
      ...(agentCommand === undefined ? {} : { agentCommand: () => agentCommand({ name, room, paths }) }),
      ...options.node,
    })
    nodes.set(name, node)
  }
  return {
    nodes,
    volumes,
    observer: createObserver({ log, volumes: () => volumes }),
    nodesOf: (room) => [...nodes.values()].filter((node) => room === undefined || node.room === room),
    async stop() {
      await Promise.all([...nodes.values()].map((node) => node.stop()))
    },
  }
}
