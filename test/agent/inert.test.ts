import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fetch from 'node-fetch'
import { afterEach, expect, test } from 'vitest'
import { runAgent } from '../../src/agent/agent.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { createNodeOnDisk } from './node-on-disk.ts'

const endings: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end()
})

async function nodeWithDamagedState() {
  const { directory, state, file, remove } = await createNodeOnDisk({ node: 'a1' })
  endings.push(remove)
  const pod = join(directory, 'kubelet', 'pods', '11111111-2222-3333-4444-555555555555')
  mkdirSync(join(pod, 'volumeDevices', 'kubernetes.io~csi', 'pv-1'), { recursive: true })
  const workload = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' })
  endings.push(() => void process.kill(-(workload.pid ?? 0), 'SIGKILL'))
  writeFileSync(join(pod, 'pgid'), String(workload.pid))
  return { configuration: loadConfiguration(file, {}), state, pid: workload.pid ?? 0 }
}

const stateOf = (pid: number): string => /^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '?'

test('an agent whose durable state is torn stays up, pauses what runs, and says which file and what to do', async () => {
  const { configuration, state, pid } = await nodeWithDamagedState()
  const file = readdirSync(join(state, 'protocol')).find((name) => name.endsWith('.state')) ?? ''
  truncateSync(join(state, 'protocol', file), 20)
  const agent = await runAgent(configuration)
  endings.push(() => agent.stop())
  expect(stateOf(pid)).toBe('T')
  const ready = await fetch(`http://127.0.0.1:${agent.observePort}/readyz`)
  expect(ready.status).toBe(503)
  const text = await ready.text()
  expect(text).toContain(file)
  expect(text).toContain('comes back as a new incarnation')
})

test('an agent whose durable state is gone though it was there is no fresh agent: it is inert as well', async () => {
  const { configuration, state, pid } = await nodeWithDamagedState()
  const file = readdirSync(join(state, 'protocol')).find((name) => name.endsWith('.state')) ?? ''
  rmSync(join(state, 'protocol', file))
  const agent = await runAgent(configuration)
  endings.push(() => agent.stop())
  expect(stateOf(pid)).toBe('T')
  expect((await fetch(`http://127.0.0.1:${agent.observePort}/readyz`)).status).toBe(503)
})
