import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fetch from 'node-fetch'
import { afterEach, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { openState } from '../../src/agent/kept-state.ts'
import { runAgent } from '../../src/agent/agent.ts'
import { parseConfiguration } from '../../src/config/load.ts'
import { freeTcpPort, freeUdpPort } from '../../src/demo/link/ports.ts'

const endings: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end()
})

async function nodeWithDamagedState() {
  const directory = mkdtempSync(join(tmpdir(), 'roomfence-inert-'))
  endings.push(() => rmSync(directory, { recursive: true, force: true }))
  const pod = join(directory, 'kubelet', 'pods', '11111111-2222-3333-4444-555555555555')
  mkdirSync(join(pod, 'volumeDevices', 'kubernetes.io~csi', 'pv-1'), { recursive: true })
  const workload = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' })
  endings.push(() => void process.kill(-(workload.pid ?? 0), 'SIGKILL'))
  writeFileSync(join(pod, 'pgid'), String(workload.pid))
  writeFileSync(join(directory, 'boot_id'), 'boot-1')
  writeFileSync(join(directory, 'key'), 'k3y-of-a-test-with-enough-different-bytes-0123456789', { mode: 0o600 })
  writeFileSync(
    join(directory, 'kubeconfig'),
    stringify({
      clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:1' } }],
      users: [{ name: 'u', user: { token: 'none' } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    }),
  )
  const state = join(directory, 'state')
  const opened = await openState(state)
  await Promise.all([opened.store.close(), opened.replicaStore.close()])
  const configuration = parseConfiguration(
    stringify({
      node: 'a1',
      cluster: { kubeconfig: join(directory, 'kubeconfig') },
      paths: [{ name: 'node', listenHost: '127.0.0.1', listenPort: await freeUdpPort('127.0.0.1') }],
      keys: { file: join(directory, 'key') },
      stateDirectory: state,
      containment: { form: 'processGroup', kubeletDirectory: join(directory, 'kubelet'), rebootMethod: 'none' },
      drbd: { procDrbd: join(directory, 'no-drbd') },
      bootIdFile: join(directory, 'boot_id'),
      observe: { host: '127.0.0.1', port: await freeTcpPort('127.0.0.1') },
      log: { level: 'fatal' },
    }),
  )
  return { configuration, state, pid: workload.pid ?? 0 }
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
