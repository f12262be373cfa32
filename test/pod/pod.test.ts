/** The agent's pod of deploy/, from the image of the Dockerfile, under runc: from the start to a permit, and what it must do without one. */
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { until } from '../support/timing.ts'
import { agentPod } from './agent.ts'
import { isFrozen } from './cgroups.ts'
import { probeOnce, type ProbePlace, started, type Watching, watchLiveness } from './probes.ts'
import { onlyContainer } from './translate/bundle-config.ts'
import { type NodeName, nodeNames, openTwoNodes, type Running, type TwoNodes } from './two-nodes.ts'

let nodes: TwoNodes
let witness: Running
const agents = new Map<NodeName, Running>()
const watched = new Map<NodeName, Watching>()
const kills: string[] = []
const container = onlyContainer(agentPod())

const place = (name: NodeName): ProbePlace => ({ address: nodes.node(name).address, container })
const ready = async (name: NodeName): Promise<string> => {
  const { isSuccess, said } = await probeOnce(container.readinessProbe ?? { httpGet: { path: '', port: '' } }, place(name))
  return isSuccess ? 'ready' : said
}
const metric = async (name: NodeName, line: string): Promise<boolean> => {
  const response = await fetch(`http://${nodes.node(name).address}:9810/metrics`)
  return (await response.text()).includes(`\n${line}\n`)
}

const start = async (name: NodeName): Promise<void> => {
  const agent = nodes.startAgent(name)
  agents.set(name, agent)
  const { program } = agent
  const early = program.ended.then((ended) => {
    throw new Error(`${name}: ${ended}\n${program.logTail(20)}`)
  })
  await Promise.race([started(place(name)), early])
  watched.set(
    name,
    watchLiveness(place(name), (said) => kills.push(`${name}: ${said}`)),
  )
}
const powerOff = async (name: NodeName): Promise<void> => {
  watched.get(name)?.stop()
  const agent = agents.get(name)
  if (agent !== undefined) await nodes.powerOff(agent, name)
}

beforeAll(async () => {
  nodes = await openTwoNodes()
})
afterAll(async () => {
  for (const one of watched.values()) one.stop()
  await nodes?.close()
})

test('agents start, and are not ready before genesis', async () => {
  witness = nodes.startWitness()
  await Promise.all(nodeNames.map(start))
  for (const name of nodeNames) expect(await ready(name)).toContain('run roomfence init')
  expect(witness.program.isRunning()).toBe(true)
})

test('init, as its Job runs it, makes genesis, and every agent becomes ready', async () => {
  await until('init says that it has made genesis', 60_000, async () => {
    const init = nodes.startInit()
    const ended = await init.program.ended
    if (ended !== 'code 0') throw new Error(`${ended}\n${init.program.logTail(20)}`)
    return true
  })
  for (const name of nodeNames) await until(`${name} is ready`, 30_000, async () => (await ready(name)) === 'ready')
})

test('an agent that loses its permit pauses the pods of its node, verifies it, and resumes them with the next permit', async () => {
  const uid = '0d0d0d0d-0000-4000-8000-000000000001'
  const directory = join(nodes.node('b1').kubeletDirectory, 'pods', uid)
  mkdirSync(join(directory, 'volumeDevices', 'kubernetes.io~csi', 'pv-1'), { recursive: true })
  const folder = nodes.lab.cgroupOf('b1').workloadFolder(uid)
  const workload = spawn('sh', ['-c', `echo $$ > ${folder}/cgroup.procs && exec sleep infinity`], { stdio: 'ignore' })
  try {
    await witness.program.kill()
    await powerOff('a1')
    await until('b1 is without a permit', 60_000, async () => (await ready('b1')).includes('no permit'))
    await until('its pod stands still', 10_000, () => isFrozen(folder))
    await until('the agent has verified that', 10_000, async () => metric('b1', 'roomfence_containment_verified 1'))

    witness = nodes.startWitness()
    await start('a1')
    await until('b1 is ready again', 60_000, async () => (await ready('b1')) === 'ready')
    await until('its pod runs on', 10_000, () => !isFrozen(folder))
  } finally {
    workload.kill('SIGKILL')
  }
})

test('an agent stops in good order; no probe would have killed one, and no watchdog has reset a node', async () => {
  for (const one of watched.values()) one.stop()
  const program = agents.get('b1')?.program
  await program?.stop('SIGTERM', (agentPod().terminationGracePeriodSeconds ?? 30) * 1000)
  expect(await program?.ended).toBe('code 0')
  expect({ kills, resets: nodes.resets }).toEqual({ kills: [], resets: [] })
})
