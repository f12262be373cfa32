/** The bundle at work: witness, two agents and init as processes, with the rights of deploy/ and no others, up to a permit for each agent. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildBundle } from '../../deploy/build.ts'
import { type ApiServer, startApiServer } from '../../src/demo/apiserver/server.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import { allManifests, applyManifests } from './manifests.ts'

interface Running {
  readonly name: string
  readonly child: ChildProcess
  output: string
}

const nodes = { a1: 'room-a', b1: 'room-b' } as const
type Node = keyof typeof nodes
const names: readonly Node[] = ['a1', 'b1']
const programs: Running[] = []
let folder = ''
let server: ApiServer
let witnessPort = 0
const heartbeatPorts = new Map<Node, number>()
const observePorts = new Map<Node, number>()

async function freeTcpPort(): Promise<number> {
  const listening = createServer().listen(0, '127.0.0.1')
  await once(listening, 'listening')
  const { port } = listening.address() as AddressInfo
  listening.close()
  await once(listening, 'close')
  return port
}

async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  await once(socket, 'close')
  return port
}

function start(name: string, parameters: readonly string[]): Running {
  const child = spawn(process.execPath, [join(folder, 'roomfence.mjs'), ...parameters], { env: { PATH: '/usr/bin:/bin' }, cwd: folder })
  const running: Running = { name, child, output: '' }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (running.output += chunk.toString()))
  programs.push(running)
  return running
}

const hasEnded = ({ child }: Running): boolean => child.exitCode !== null || child.signalCode !== null
async function exitCodeOf(running: Running): Promise<number | null> {
  if (!hasEnded(running)) await once(running.child, 'exit')
  return running.child.exitCode
}

async function eventually<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const untilMs = performance.now() + 45_000
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (performance.now() > untilMs)
      throw new Error(`not within 45 s: ${what}\n${programs.map(({ name, output }) => `${name}:\n${output.slice(-2_000)}`).join('\n')}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

const pageOf = (node: Node, path: string): Promise<{ readonly status: number; readonly text: string } | undefined> =>
  fetch(`http://127.0.0.1:${String(observePorts.get(node))}${path}`).then(
    async (answer) => ({ status: answer.status, text: await answer.text() }),
    () => undefined,
  )

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

const configurationOf = (node: Node, kubeconfig: string): string =>
  file(
    `${node}-${kubeconfig}.yaml`,
    `node: ${node}
cluster: { kubeconfig: ${join(folder, kubeconfig)} }
paths: [{ name: node, listenHost: 127.0.0.1, listenPort: ${String(heartbeatPorts.get(node))} }]
keys: { file: ${join(folder, 'key')} }
witness:
  kind: http
  url: https://127.0.0.1:${String(witnessPort)}
  caFile: ${join(folder, 'ca.crt')}
  tokenFile: ${join(folder, 'token')}
stateDirectory: ${join(folder, node)}
containment: { form: processGroup, kubeletDirectory: ${join(folder, 'kubelet')}, rebootMethod: none }
drbd: { procDrbd: ${join(folder, 'no-drbd')} }
observe: { host: 127.0.0.1, port: ${String(observePorts.get(node))} }
`,
  )

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'roomfence-bundle-'))
  await buildBundle(join(folder, 'roomfence.mjs'))
  server = await startApiServer({
    tokens: {
      admin: { name: 'admin', groups: ['system:masters'] },
      agent: { name: 'system:serviceaccount:roomfence:roomfence', groups: [] },
      init: { name: 'system:serviceaccount:roomfence:roomfence-init', groups: [] },
    },
  })
  await applyManifests({ url: server.url, caPem: server.caPem, token: 'admin' }, allManifests())
  for (const [name, room] of Object.entries(nodes))
    server.store.create('nodes', { metadata: { name, labels: { 'topology.kubernetes.io/zone': room } } })
  for (const who of ['agent', 'init']) file(who, server.kubeconfig(who))
  witnessPort = await freeTcpPort()
  for (const node of names) {
    heartbeatPorts.set(node, await freeUdpPort())
    observePorts.set(node, await freeTcpPort())
  }
  mkdirSync(join(folder, 'kubelet'))
  const authority = createAuthority()
  const { certificatePem, keyPem } = authority.server('witness', ['127.0.0.1'])
  file('ca.crt', authority.certificatePem)
  file('tls.crt', certificatePem)
  file('tls.key', keyPem)
  file('token', 'a-token-of-more-than-sixteen-characters')
  file('key', 'Zm9yIHRoZSB0ZXN0IG9mIHRoZSBidW5kbGUgYWxvbmUsIG5vIHNlY3JldA==')
  file(
    'witness.yaml',
    `listen: { host: 127.0.0.1, port: ${String(witnessPort)} }
tlsCertFile: ${join(folder, 'tls.crt')}
tlsKeyFile: ${join(folder, 'tls.key')}
tokenFile: ${join(folder, 'token')}
stateDirectory: ${join(folder, 'witness')}
`,
  )
})
afterAll(async () => {
  for (const running of programs) {
    if (!hasEnded(running)) running.child.kill('SIGKILL')
    await exitCodeOf(running)
  }
  await server.close()
  rmSync(folder, { recursive: true })
})

test('witness, agents and init come to epoch 0, every agent gets its permit, and all stop in good order', async () => {
  const witness = start('witness', ['witness', '--config', join(folder, 'witness.yaml')])
  const agents = names.map((node) => start(node, ['agent', '--config', configurationOf(node, 'agent')]))
  for (const node of names)
    await eventually(`${node} waits for genesis`, async () => {
      const page = await pageOf(node, '/readyz')
      const said = server.store.get('nodes', undefined, node)?.metadata.annotations?.['roomfence.io/agent']
      return page?.text.includes('roomfence init') === true && said !== undefined ? true : undefined
    })

  const init = start('init', ['init', '--config', configurationOf('a1', 'init'), '--preferred-room', 'room-a'])
  expect(await exitCodeOf(init), init.output).toBe(0)
  for (const node of names)
    await eventually(`${node} has a permit`, async () => ((await pageOf(node, '/readyz'))?.status === 200 ? true : undefined))

  const metrics = await eventually('a1 counts acks of the witness', async () => {
    const page = await pageOf('a1', '/metrics')
    return page?.text.includes('\nroomfence_witness_reachable 1') === true ? page.text : undefined
  })
  expect(metrics).toContain('\nroomfence_epoch 0')
  expect(metrics).toContain('\nroomfence_witness_voting 1')
  expect(metrics).toContain('roomfence_kubernetes_calls_total')
  expect((await pageOf('a1', '/healthz'))?.status).toBe(200)

  for (const running of [...agents, witness]) {
    running.child.kill('SIGTERM')
    expect(await exitCodeOf(running), running.output).toBe(0)
  }
  expect(agents.map(({ output }) => output.match(/ 403 |forbidden/gi))).toEqual([null, null])
})
