/** Two played nodes, one a room, with everything of deploy/ on them in containers: witness, agents, init; and the embedded API server. */
import { randomBytes, randomUUID } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ApiServer, startApiServer } from '../../src/demo/apiserver/server.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import { loopbackAddress } from '../../src/demo/link/ports.ts'
import { startWatchdog } from '../../src/demo/nodes/watchdog.ts'
import { keepProcesses, type ProcessKeeper, type Program } from '../cluster/processes.ts'
import { allManifests, applyManifests, manifest } from '../deploy/manifests.ts'
import { agentPod, changed, onPlayedNodes, type PlayedNode, podOf, prepareAgent, shippedConfiguration } from './agent.ts'
import { type PreparedPod, preparePod } from './container.ts'
import { type PodImage, podImage } from './image/image.ts'
import { openPodLab, type PodLab } from './lab.ts'
import type { PodSpec } from './translate/manifest.ts'

const rooms = { a1: 'room-a', b1: 'room-b' } as const
export type NodeName = keyof typeof rooms
export const nodeNames: readonly NodeName[] = ['a1', 'b1']

export interface Running {
  readonly program: Program
  readonly prepared: PreparedPod
}

export interface TwoNodes {
  readonly lab: PodLab
  readonly keeper: ProcessKeeper
  readonly image: PodImage
  readonly server: ApiServer
  /** Nodes whose watchdog was starved. */
  readonly resets: readonly string[]
  node(name: NodeName): PlayedNode
  startWitness(): Running
  startAgent(name: NodeName, changes?: AgentChanges): Running
  startInit(): Running
  /** Its agent is killed, and nothing on it has ever been armed. Pods stay, for a test to look at. */
  powerOff(agent: Running, name: NodeName): Promise<void>
  close(): Promise<void>
}

export interface AgentChanges {
  readonly pod?: PodSpec
  readonly configuration?: { readonly [field: string]: unknown }
  readonly command?: readonly string[]
}

const WATCHDOG_SECONDS = 5
const namespace = 'roomfence'
const accounts = { agent: 'roomfence', init: 'roomfence-init' } as const

async function startServer(): Promise<ApiServer> {
  const users = Object.entries(accounts).map(([token, account]) => [
    token,
    { name: `system:serviceaccount:${namespace}:${account}`, groups: [] },
  ])
  const server = await startApiServer({ tokens: { admin: { name: 'admin', groups: ['system:masters'] }, ...Object.fromEntries(users) } })
  await applyManifests({ url: server.url, caPem: server.caPem, token: 'admin' }, allManifests())
  for (const [name, room] of Object.entries(rooms))
    server.store.create('nodes', { metadata: { name, labels: { 'topology.kubernetes.io/zone': room } } })
  return server
}

function makeNode(keeper: ProcessKeeper, name: NodeName): PlayedNode {
  const directory = join(keeper.directory, name)
  mkdirSync(directory)
  for (const [file, text] of [
    ['boot_id', randomUUID()],
    ['watchdog-timeout', WATCHDOG_SECONDS],
  ] as const)
    writeFileSync(join(directory, file), `${text}\n`)
  execFileSync('mkfifo', ['-m', '600', join(directory, 'watchdog')])
  return {
    name,
    address: loopbackAddress(),
    directory,
    kubeletDirectory: join(directory, 'kubelet'),
    stateDirectory: join(directory, 'state'),
  }
}

export async function openTwoNodes(): Promise<TwoNodes> {
  const image = await podImage()
  const lab = openPodLab()
  const keeper = keepProcesses('pod')
  const server = await startServer()
  const { hostname, port } = new URL(server.url)
  const apiServer = { host: hostname, port: Number(port) }
  const nodes = new Map(nodeNames.map((name) => [name, makeNode(keeper, name)]))
  const resets: string[] = []
  const watchdogs = new Map(
    [...nodes.values()].map(({ name, directory }) => {
      const [device, timeoutFile] = [join(directory, 'watchdog'), join(directory, 'watchdog-timeout')]
      return [name, startWatchdog({ device, timeoutFile, pollMs: 100, onStarved: () => resets.push(name) })]
    }),
  )
  const witnessAddress = loopbackAddress()
  const authority = createAuthority('roomfence witness of a test')
  const serving = authority.server('witness', [witnessAddress])
  const token = randomBytes(32).toString('hex')
  const secrets = {
    'roomfence-key': { key: randomBytes(48).toString('base64') },
    'roomfence-witness-client': { 'ca.crt': authority.certificatePem, token },
  }
  const configurationWith = (changes: AgentChanges['configuration'] = {}): string =>
    shippedConfiguration(changed(changed(onPlayedNodes, { witness: { url: `https://${witnessAddress}:9811` } }), changes))
  const directory = join(keeper.directory, 'bundles')
  const uids = new Map<string, string>()
  const uidOf = (name: string): string => {
    const uid = uids.get(name) ?? randomUUID()
    uids.set(name, uid)
    return uid
  }
  const node = (name: NodeName): PlayedNode => {
    const found = nodes.get(name)
    if (found === undefined) throw new Error(`no node ${name}`)
    return found
  }
  const start = (name: string, prepared: PreparedPod): Running => {
    const [command, ...args] = prepared.command
    return { prepared, program: keeper.start({ name, command, args }) }
  }
  const common = { lab, image, apiServer, directory, caPem: server.caPem }
  const hostPaths = {}
  return {
    lab,
    keeper,
    image,
    server,
    resets,
    node,
    startWitness: () => {
      const pod = podOf(manifest('Deployment', 'roomfence-witness'))
      const claim = join(keeper.directory, 'witness')
      mkdirSync(claim, { recursive: true })
      const secret = { 'tls.crt': serving.certificatePem, 'tls.key': serving.keyPem, token }
      const text = (manifest('ConfigMap', 'roomfence-witness')['data'] as Record<string, string>)['witness.yaml'] ?? ''
      const prepared = preparePod({
        ...common,
        name: 'witness',
        namespace: 'roomfence-witness',
        uid: uidOf('witness'),
        // In a cluster of its own, of which only this much matters here: a host where its address leads to.
        pod: { ...pod, hostNetwork: true },
        node: { name: 'third', address: witnessAddress, kubeletDirectory: join(keeper.directory, 'third') },
        sources: {
          configMaps: { 'roomfence-witness': { 'witness.yaml': text.replace('host: 0.0.0.0', `host: ${witnessAddress}`) } },
          secrets: { 'roomfence-witness': secret },
          claims: { 'roomfence-witness': claim },
          hostPaths,
          token: '',
          caPem: '',
        },
      })
      return start('witness', prepared)
    },
    startAgent: (name, { pod = agentPod(), configuration, command } = {}) => {
      const prepared = prepareAgent({
        ...common,
        node: node(name),
        uid: uidOf(name),
        pod,
        configuration: configurationWith(configuration),
        secrets,
        token: 'agent',
        ...(command === undefined ? {} : { command }),
      })
      return start(name, prepared)
    },
    startInit: () => {
      const prepared = preparePod({
        ...common,
        name: 'init',
        namespace,
        uid: uidOf('init'),
        pod: podOf(manifest('Job', 'roomfence-init')),
        node: node('a1'),
        sources: {
          configMaps: { roomfence: { 'roomfence.yaml': configurationWith() } },
          secrets,
          hostPaths,
          token: 'init',
          caPem: server.caPem,
        },
      })
      return start('init', prepared)
    },
    powerOff: async ({ program }, name) => {
      await program.kill()
      watchdogs.get(name)?.reset()
    },
    close: async () => {
      for (const watchdog of watchdogs.values()) watchdog.close()
      await lab.close()
      await keeper.stop()
      await server.close()
    },
  }
}
