/** roomfence on the fake nodes, as it is installed: deploy/'s rights and CRD, a witness process, an agent process a node, genesis by `roomfence init`. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { createAuthority } from '../../src/demo/certificates.ts'
import { freeTcpPort, freeUdpPort, loopbackAddress } from '../../src/demo/link/ports.ts'
import { allManifests, applyManifests } from '../deploy/manifests.ts'
import { type Agents, startAgents } from './agents.ts'
import type { ControlPlane } from './control-plane/start.ts'
import type { FakeNodes, NodePlace } from './nodes/fake-nodes.ts'
import { stretched, until } from '../support/timing.ts'
import { startWatchdogs, type Watchdogs } from './watchdogs.ts'

/** What an agent's /status says, as far as the tests look. */
export interface AgentStatus {
  readonly node: string
  readonly epoch: number | null
  readonly members: readonly { readonly node: string; readonly standing: string; readonly lastFence: number }[]
  readonly permitRemainingSeconds: number
  readonly coordinator: string | null
  readonly killedEpoch: number
  readonly watchdog: { readonly isArmed: boolean }
  readonly failovers: readonly string[]
  readonly lastVeto: string | null
}

export interface Roomfence {
  readonly agents: Agents
  readonly watchdogs: Watchdogs
  /** Undefined when this node's agent does not answer. */
  status(node: string): Promise<AgentStatus | undefined>
  /** Its /metrics; undefined when it does not answer. */
  metrics(node: string): Promise<string | undefined>
  stop(): Promise<void>
}

const namespace = 'roomfence'
/** Run from the sources; the image runs a bundle of them. */
const fromSource = [process.execPath, 'src/cli/main.ts'] as const
export const watchdogSeconds = Math.ceil(stretched(6_000) / 1_000)
/** Of the preferred room: longer than it takes to see whether another agent finishes what a killed one began. Nothing waits for a living node's watchdog. */
const preferredWatchdogSeconds = Math.ceil(stretched(180_000) / 1_000)

/** The shipped defaults, but for the clocks, which are one and the same here: all of it stretched alike. */
const timings = (): Record<string, number> => ({
  ...Object.fromEntries(
    Object.entries({
      heartbeatMs: 500,
      permitMs: 5_000,
      detectMs: 3_000,
      detectNodeMs: 20_000,
      arbitrationDelayMs: 1_500,
      killMs: 2_000,
      lingerMs: 3_000,
      attemptMs: 2_000,
      witnessReadMs: 1_000,
      witnessShiftMs: 60_000,
      witnessRecentMs: 30_000,
      witnessReturnMs: 10_000,
      settleMs: 5_000,
      ioResidueMs: 1_000,
      restartGraceMs: 2_000,
      lateMs: 1_000,
    }).map(([name, ms]) => [name, Math.round(stretched(ms))]),
  ),
  clockRateError: 0.001,
})

const getText = async (host: string, port: number, path: string): Promise<string | undefined> =>
  new Promise((resolve) => {
    const asked = request({ host, port, path, timeout: 5_000 }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('error', () => resolve(undefined))
      response.on('end', () => resolve(response.statusCode === 200 ? text : undefined))
    })
    asked.on('error', () => resolve(undefined))
    asked.on('timeout', () => asked.destroy(new Error('no answer')))
    asked.end()
  })

/** Everything of deploy/ but its workloads, which the fake kubelets could not run: the processes here stand for them. */
const installRights = async ({ url, caPem, adminToken }: ControlPlane): Promise<void> => {
  const workloads = ['DaemonSet', 'Deployment', 'Job', 'Service', 'ConfigMap', 'PersistentVolumeClaim']
  const manifests = allManifests().filter(({ kind }) => !workloads.includes(kind))
  for (const { manifest, reply } of await applyManifests({ url, caPem, token: adminToken }, manifests))
    if (reply.status !== 201)
      throw new Error(`${manifest.kind} ${manifest.metadata.name}: ${reply.status} ${JSON.stringify(reply.body).slice(0, 500)}`)
}

/** Resolves when genesis is made, every agent has a permit and its watchdog is armed. */
export const startRoomfence = async (
  controlPlane: ControlPlane,
  fakeNodes: FakeNodes,
  preferredRoom: string,
  run: readonly [string, ...string[]] = fromSource,
): Promise<Roomfence> => {
  const { keeper } = controlPlane
  const host = loopbackAddress()
  const directory = join(keeper.directory, 'roomfence')
  mkdirSync(directory, { recursive: true })
  const file = (name: string, text: string): string => {
    const path = join(directory, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  await installRights(controlPlane)
  const agentKubeconfig = controlPlane.kubeconfigWith(await controlPlane.tokenFor(namespace, 'roomfence'))
  const initKubeconfig = controlPlane.kubeconfigWith(await controlPlane.tokenFor(namespace, 'roomfence-init'))

  const authority = createAuthority('roomfence witness of a test')
  const certificate = authority.server('roomfence-witness', [host])
  const tokenFile = file('witness.token', randomBytes(32).toString('hex'))
  const caFile = file('witness-ca.crt', authority.certificatePem)
  const keyFile = file('heartbeat.key', randomBytes(48).toString('base64'))
  const witnessPort = await freeTcpPort(host)
  const witnessConfiguration = {
    listen: { host, port: witnessPort },
    tlsCertFile: file('witness.crt', certificate.certificatePem),
    tlsKeyFile: file('witness.key', certificate.keyPem),
    tokenFile,
    stateDirectory: join(directory, 'witness'),
  }
  const started = (name: string, args: readonly string[]) =>
    keeper.start({ name, command: run[0], args: [...run.slice(1), ...args], directory: process.cwd() })
  const witness = started('witness', ['witness', '--config', file('witness.yaml', stringify(witnessConfiguration))])

  const udpPorts = new Map<string, number>()
  const observePorts = new Map<string, number>()
  for (const { name } of fakeNodes.nodes) {
    udpPorts.set(name, await freeUdpPort(host))
    observePorts.set(name, await freeTcpPort(host))
  }
  const watchdogs = startWatchdogs(fakeNodes, ({ room }) => (room === preferredRoom ? preferredWatchdogSeconds : watchdogSeconds))
  const configuration = (node: NodePlace, kubeconfig: string): object => ({
    node: node.name,
    cluster: { namespace, kubeconfig },
    paths: [{ name: 'node', listenHost: host, listenPort: udpPorts.get(node.name), advertiseHost: host }],
    keys: { file: keyFile },
    timings: timings(),
    witness: { kind: 'http', url: `https://${host}:${witnessPort}`, caFile, tokenFile, timeoutMs: Math.round(stretched(1_000)) },
    stateDirectory: join(node.directory, 'roomfence'),
    watchdog: watchdogs.configurationOf(node),
    containment: { form: 'processGroup', kubeletDirectory: node.kubeletDirectory, rebootMethod: 'none' },
    drbd: { procDrbd: join(node.directory, 'no-drbd') },
    bootIdFile: node.bootIdFile,
    // these volumes are not DRBD's, whatever their driver is called: no replica to wait for
    failover: { drbdDrivers: [] },
    observe: { host, port: observePorts.get(node.name) },
  })
  const agents = await startAgents(keeper, fakeNodes, {
    configure: (node) => {
      mkdirSync(join(node.directory, 'roomfence'), { recursive: true })
      const path = join(node.directory, 'roomfence.yaml')
      writeFileSync(path, stringify(configuration(node, agentKubeconfig)))
      return { command: [...run, 'agent', '--config', path] }
    },
  })
  const ask = async (node: string, path: string): Promise<string | undefined> => getText(host, observePorts.get(node) ?? 0, path)
  const status = async (node: string): Promise<AgentStatus | undefined> => {
    const text = await ask(node, '/status')
    return text === undefined ? undefined : (JSON.parse(text) as AgentStatus)
  }

  const [first] = fakeNodes.nodes
  if (first === undefined) throw new Error('there are no nodes')
  const initFile = file('init.yaml', stringify(configuration(first, initKubeconfig)))
  await until(
    'roomfence init makes epoch 0',
    120_000,
    async () => {
      const init = started('init', ['init', '--config', initFile, '--preferred-room', preferredRoom])
      const ended = await init.ended
      if (ended === 'code 0') return true
      throw new Error(`roomfence init: ${ended}\n${init.logTail(20)}`)
    },
    2_000,
  )
  await until('every agent has a permit and an armed watchdog', 60_000, async () => {
    const all = await Promise.all(fakeNodes.nodes.map(async ({ name }) => status(name)))
    return all.every((one) => one !== undefined && one.epoch !== null && one.permitRemainingSeconds > 0 && one.watchdog.isArmed)
  })
  return {
    agents,
    watchdogs,
    status,
    metrics: async (node) => ask(node, '/metrics'),
    stop: async () => {
      watchdogs.stop()
      // killed: half of the agents may have lost their majority, and would keep their watchdogs armed for as long as they may
      await Promise.all(fakeNodes.nodes.map(async ({ name }) => agents.kill(name)))
      await agents.stop()
      await witness.stop()
    },
  }
}
