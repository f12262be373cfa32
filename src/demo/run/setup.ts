/** Lays out the embedded two-room cluster: API server, witness, links, nodes with the real agents, controllers, VMs, and genesis. */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parse, stringify } from 'yaml'
import { initialise } from '../../agent/init.ts'
import { rbacRules } from '../../failover/run/rbac.ts'
import { createKubeClient } from '../../kubernetes/client.ts'
import { kubeconfigCredentials } from '../../kubernetes/credentials.ts'
import { incarnation, nodeId } from '../../protocol/ids.ts'
import { createHttpWitness } from '../../witness/http-client.ts'
import { type RunningWitness, runWitness } from '../../witness/server.ts'
import { type ApiServer, startApiServer } from '../apiserver/server.ts'
import { createStore, type Store } from '../apiserver/store.ts'
import { createAuthority } from '../certificates.ts'
import { type Cluster, startCluster } from '../cluster/controllers.ts'
import { createDemoObjects, demoNamespace, type DemoVm, demoVms } from '../cluster/fixtures.ts'
import { type Address, createNetwork, type Network } from '../link/network.ts'
import { freeTcpPort, freeUdpPort, loopbackAddress } from '../link/ports.ts'
import { nodePaths } from '../nodes/paths.ts'
import { API_SITE, createRooms, type Rooms } from '../nodes/rooms.ts'

export type BrokenRule = 'permits' | 'unlock' | 'uid'

export interface SetupOptions {
  readonly directory: string
  readonly nodesARoom: number
  readonly vmCount: number
  readonly hasWitness: boolean
  readonly hasWatchdog: boolean
  /** Whole seconds until it fires, 2 unless given. */
  readonly watchdogSeconds?: number | undefined
  readonly freeze: boolean
  readonly broken: BrokenRule | undefined
  /** How the agent is run, without its arguments. */
  readonly program: readonly string[]
  readonly say: (line: string) => void
}

export interface Demo {
  readonly network: Network
  readonly api: ApiServer
  readonly store: Store
  readonly rooms: Rooms
  readonly cluster: Cluster
  readonly vms: readonly DemoVm[]
  readonly observePorts: ReadonlyMap<string, { readonly host: string; readonly port: number }>
  readonly options: SetupOptions
  readonly roomNames: readonly [string, string]
  stopWitness(): Promise<void>
  startWitness(): Promise<void>
  stop(): Promise<void>
}

export const WITNESS_SITE = 'witness'
const AGENT_TOKEN = 'demo-agent-token'
const ADMIN_TOKEN = 'demo-admin-token'
const WITNESS_TOKEN = 'demo-witness-token-of-this-run'
const NAMESPACE = 'roomfence'
/** The stand-ins of Kubernetes run at this share of the real components' periods. */
const CLUSTER_TIME_FACTOR = 0.2
/** The networks between the nodes; replication takes the second one. */
export const PATHS = ['node', 'storage'] as const

/** Half of the production defaults and less: the demo shows the order of things, on one machine with one clock. */
const demoTimings = {
  heartbeatMs: 300,
  permitMs: 3_000,
  detectMs: 2_000,
  detectNodeMs: 8_000,
  arbitrationDelayMs: 700,
  killMs: 2_000,
  lingerMs: 2_000,
  attemptMs: 1_500,
  witnessReadMs: 500,
  witnessShiftMs: 8_000,
  witnessRecentMs: 4_000,
  witnessReturnMs: 2_000,
  settleMs: 1_500,
  clockRateError: 0.001,
  ioResidueMs: 200,
  // A node that is let back waits twice as long beside its permit.
  apiCallMs: 3_000,
  restartGraceMs: 2_000,
  lateMs: 800,
}
const WATCHDOG_SECONDS = 2

export async function setUp(options: SetupOptions): Promise<Demo> {
  const { directory, say } = options
  const roomNames = ['room-a', 'room-b'] as const
  const rooms: { [room: string]: readonly string[] } = Object.fromEntries(
    roomNames.map((name) => [name, Array.from({ length: options.nodesARoom }, (_, i) => `${name.slice(-1)}${i + 1}`)]),
  )
  const authority = createAuthority('roomfence demo')
  const host = loopbackAddress()
  const store = createStore()
  const api = await startApiServer({
    host,
    authority,
    names: ['127.0.0.1'],
    tokens: {
      [ADMIN_TOKEN]: { name: 'admin', groups: ['system:masters'] },
      [AGENT_TOKEN]: { name: `system:serviceaccount:${NAMESPACE}:roomfence`, groups: [`system:serviceaccounts:${NAMESPACE}`] },
    },
    store: options.broken === 'uid' ? withoutUidPreconditions(store) : store,
    collectsGarbage: false,
  })
  layOut(store)
  say(`API server on ${api.url}`)

  const file = (name: string, text: string): string => {
    const path = join(directory, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const witnessPort = await freeTcpPort(host)
  const certificate = authority.server('roomfence-witness', [host, '127.0.0.1'])
  const witnessFiles = {
    tlsCertFile: file('witness.crt', certificate.certificatePem),
    tlsKeyFile: file('witness.key', certificate.keyPem),
    tokenFile: file('witness.token', WITNESS_TOKEN),
  }
  const keyFile = file('heartbeat.key', randomBytes(48).toString('base64'))
  const caFile = file('ca.crt', authority.certificatePem)
  let witness: RunningWitness | undefined
  const startWitness = async (): Promise<void> => {
    witness ??= await runWitness({
      listen: { host, port: witnessPort },
      ...witnessFiles,
      stateDirectory: join(directory, 'witness'),
      log: { level: 'info' },
    })
  }
  if (options.hasWitness) await startWitness()

  const network = createNetwork()
  const names = Object.entries(rooms).flatMap(([room, nodes]) => nodes.map((name) => ({ room, name })))
  const listen = new Map<string, Map<string, Address>>()
  for (const { name } of names)
    listen.set(name, new Map(await Promise.all(PATHS.map(async (path) => [path, { host, port: await freeUdpPort(host) }] as const))))
  const observePorts = new Map<string, { host: string; port: number }>()
  for (const { room, name } of names) {
    const paths = nodePaths(join(directory, name))
    mkdirSync(paths.directory, { recursive: true })
    const observe = { host, port: await freeTcpPort(host) }
    observePorts.set(name, observe)
    const here = { site: room, node: name }
    const peerAddresses: { [peer: string]: { path: string; host: string; port: number }[] } = {}
    for (const peer of names) {
      if (peer.name === name) continue
      peerAddresses[peer.name] = await Promise.all(
        PATHS.map(async (path) => {
          const target = listen.get(peer.name)?.get(path)
          if (!target) throw new Error(`${peer.name} has no path ${path}`)
          return { path, ...(await network.udp({ from: { ...here, path }, to: { site: peer.room, node: peer.name, path }, target })) }
        }),
      )
    }
    const { hostname, port } = new URL(api.url)
    const apiAddress = await network.tcp({ from: here, to: API_SITE, target: { host: hostname, port: Number(port) } })
    const witnessAddress = await network.tcp({ from: here, to: WITNESS_SITE, target: { host, port: witnessPort } })
    const configuration = {
      node: name,
      cluster: {
        namespace: NAMESPACE,
        kubeconfig: file(`${name}.kubeconfig`, api.kubeconfig(AGENT_TOKEN, `https://${apiAddress.host}:${apiAddress.port}`)),
      },
      paths: PATHS.map((path) => ({ name: path, listenHost: host, listenPort: listen.get(name)?.get(path)?.port })),
      peerAddresses,
      keys: { file: keyFile },
      timings: demoTimings,
      witness: options.hasWitness
        ? {
            kind: 'http',
            url: `https://${witnessAddress.host}:${witnessAddress.port}`,
            caFile,
            tokenFile: witnessFiles.tokenFile,
            timeoutMs: 1_000,
          }
        : { kind: 'none' },
      stateDirectory: paths.agentState,
      watchdog:
        options.broken === 'permits'
          ? deafWatchdog(paths.directory)
          : options.hasWatchdog
            ? { kind: 'device', device: paths.watchdog, timeoutFile: paths.watchdogTimeout }
            : { kind: 'none' },
      containment: {
        form: 'processGroup',
        // A containment that is blind for pods: the permit runs out and nothing is paused, for the observer to report.
        kubeletDirectory: options.broken === 'permits' || options.broken === 'unlock' ? blindDirectory(directory) : paths.kubelet,
        rebootMethod: 'none',
      },
      drbd: { program: paths.drbdsetup, procDrbd: paths.procDrbd, usermodeHelperFile: paths.usermodeHelper, readEveryMs: 500 },
      bootIdFile: paths.bootId,
      failover: { lookEveryMs: 1_000, touchAfterMs: 2_000, startSafetyNetMs: 4_000 },
      observe,
    }
    writeFileSync(join(directory, `${name}.yaml`), stringify(configuration))
  }
  const vms = demoVms({ rooms, vmCount: options.vmCount })
  const nodeRooms = await createRooms({
    directory,
    network,
    rooms,
    volumes: [
      ...vms.flatMap((vm) => volumeOf(vm.name, vm.name, vm.replicaNodes)),
      ...[0, 1].flatMap((ordinal) =>
        volumeOf(
          `database-database-${ordinal}`,
          `${demoNamespace}/database-${ordinal}`,
          Object.values(rooms).map(([first]) => first ?? ''),
        ),
      ),
    ],
    freeze: options.freeze,
    agentCommand: ({ name }) => [...options.program, 'agent', '--config', join(directory, `${name}.yaml`)],
    node: {
      watchdogTimeoutSeconds: options.hasWatchdog ? (options.watchdogSeconds ?? WATCHDOG_SECONDS) : 'none',
      agentRestartMs: 500,
      bootDelayMs: 2_000,
    },
    storage: { pingIntMs: 500, pingTimeoutMs: 300, connectIntMs: 500 },
  })
  const cluster = startCluster({ store, hosts: nodeRooms.nodesOf(), timeFactor: CLUSTER_TIME_FACTOR })
  const stop = async (): Promise<void> => {
    cluster.stop()
    await nodeRooms.stop()
    await network.close()
    await witness?.stop()
    await api.close()
  }
  try {
    await Promise.all(nodeRooms.nodesOf().map((node) => node.powerOn()))
    for (const node of nodeRooms.nodesOf()) cluster.hostChanged(node.name)
    say(`${names.length} nodes have power; waiting for their agents`)
    await makeGenesis(
      api,
      directory,
      { host, witnessPort, caFile, tokenFile: witnessFiles.tokenFile, hasWitness: options.hasWitness },
      names.map(({ name }) => name),
      say,
    )
    createDemoObjects(store, { rooms, vmCount: options.vmCount })
  } catch (error) {
    await stop()
    throw error
  }
  return {
    network,
    api,
    store,
    rooms: nodeRooms,
    cluster,
    vms,
    observePorts,
    options,
    roomNames,
    startWitness,
    stopWitness: async () => {
      await witness?.stop()
      witness = undefined
    },
    stop,
  }
}

function volumeOf(resource: string, writer: string, nodes: readonly string[]) {
  const [first, second] = nodes
  return first === undefined || second === undefined ? [] : [{ resource, writer, nodes: [first, second] as const }]
}

/** A file in place of a device: it takes every pet, and never fires. */
function deafWatchdog(directory: string): object {
  const device = join(directory, 'deaf-watchdog')
  writeFileSync(device, '')
  writeFileSync(`${device}-timeout`, String(WATCHDOG_SECONDS))
  return { kind: 'device', device, timeoutFile: `${device}-timeout` }
}

function blindDirectory(directory: string): string {
  const blind = join(directory, 'blind')
  mkdirSync(join(blind, 'pods'), { recursive: true })
  return blind
}

/** What an administrator applies before the agents: the CRD and the rights, the same as in deploy/. */
function layOut(store: Store): void {
  store.create('namespaces', { metadata: { name: NAMESPACE } })
  store.create(
    'customresourcedefinitions',
    parse(readFileSync(new URL('../../../deploy/crds/fences.roomfence.io.yaml', import.meta.url), 'utf8')),
  )
  store.create('clusterroles', { metadata: { name: 'roomfence' }, rules: rbacRules })
  store.create('clusterrolebindings', {
    metadata: { name: 'roomfence' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'roomfence' },
    subjects: [{ kind: 'ServiceAccount', name: 'roomfence', namespace: NAMESPACE }],
  })
  store.create('roles', {
    metadata: { name: 'roomfence', namespace: NAMESPACE },
    rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get'] }],
  })
  store.create('rolebindings', {
    metadata: { name: 'roomfence', namespace: NAMESPACE },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'roomfence' },
    subjects: [{ kind: 'ServiceAccount', name: 'roomfence', namespace: NAMESPACE }],
  })
}

/** The end of each agent's log: what a demo that does not come up has to say. */
function lastWords(directory: string, agents: readonly string[]): string {
  return agents
    .map((name) => {
      const { agentLog } = nodePaths(join(directory, name))
      const text = existsSync(agentLog) ? readFileSync(agentLog, 'utf8').trim() : '(no log)'
      return `${name}: ${text.split('\n').slice(-3).join('\n    ').slice(-1_500)}`
    })
    .join('\n')
}

async function makeGenesis(
  api: ApiServer,
  directory: string,
  witness: { host: string; witnessPort: number; caFile: string; tokenFile: string; hasWitness: boolean },
  agents: readonly string[],
  say: (line: string) => void,
): Promise<void> {
  const kubeconfig = join(directory, 'admin.kubeconfig')
  writeFileSync(kubeconfig, api.kubeconfig(ADMIN_TOKEN), { mode: 0o600 })
  const client = createKubeClient({ credentials: kubeconfigCredentials(kubeconfig) })
  const register = witness.hasWitness
    ? createHttpWitness({
        url: `https://${witness.host}:${witness.witnessPort}`,
        caFile: witness.caFile,
        tokenFile: witness.tokenFile,
        timeoutMs: 1_000,
        reader: { node: nodeId('init'), incarnation: incarnation('init') },
      })
    : null
  try {
    for (let tries = 0; ; tries++) {
      const isLast = tries >= 300
      try {
        await initialise({
          client,
          witness: register,
          namespace: NAMESPACE,
          roomLabel: 'topology.kubernetes.io/zone',
          preferredRoom: 'room-a',
          say,
        })
        return
      } catch (error) {
        if (isLast)
          throw new Error(
            `the agents did not come up: ${error instanceof Error ? error.message : String(error)}\n${lastWords(directory, agents)}`,
            {
              cause: error,
            },
          )
        await sleep(200)
      }
    }
  } finally {
    register?.close()
    client.close()
  }
}

/** An API server without uid preconditions, behind a proxy that repeats a force delete: what protects a replacement of the same name. */
function withoutUidPreconditions(store: Store): Store {
  return {
    ...store,
    remove: (plural, namespaceName, name, options = {}) => {
      const { uid: _, ...careless } = options
      if (plural === 'pods' && options.gracePeriodSeconds === 0)
        setTimeout(() => {
          try {
            store.remove(plural, namespaceName, name, careless)
          } catch {
            // Gone already.
          }
        }, 6_000).unref()
      return store.remove(plural, namespaceName, name, careless)
    },
  }
}
