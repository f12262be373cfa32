/** For tests that run the shipped agent in this process: what a node has on disk, and the configuration that goes with it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { type OpenState, openState } from '../../src/agent/state/kept-state.ts'
import { freeTcpPort, freeUdpPort } from '../../src/demo/link/ports.ts'
import { bootId } from '../../src/protocol/ids.ts'
import type { Membership } from '../../src/protocol/membership.ts'

export interface NodeOnDisk {
  readonly directory: string
  readonly state: string
  /** The agent's YAML file. */
  readonly file: string
  readonly remove: () => void
}

export interface NodeOptions {
  readonly node: string
  /** Absent: a server that nobody reaches. */
  readonly server?: { readonly url: string; readonly caPem: string; readonly token: string }
  /** Further fields of the configuration. */
  readonly more?: Readonly<Record<string, unknown>>
  /** The membership that is on disk; absent: a state that was opened once and knows none. */
  readonly membership?: (own: OpenState['own'], port: number) => Membership | Promise<Membership>
}

export async function createNodeOnDisk({ node, server, more = {}, membership }: NodeOptions): Promise<NodeOnDisk> {
  const directory = mkdtempSync(join(tmpdir(), 'roomfence-node-'))
  const state = join(directory, 'state')
  const port = await freeUdpPort('127.0.0.1')
  const opened = await openState(state)
  if (membership) {
    const durable = {
      membership: await membership(opened.own, port),
      promised: null,
      accepted: null,
      round: 0,
      installedEpoch: -1,
      killedEpoch: -1,
      freedEpoch: -1,
      witnessSeen: null,
      bootId: bootId('boot-1'),
    }
    await opened.store.save({ incarnation: opened.own, durable })
  }
  await Promise.all([opened.store.close(), opened.replicaStore.close()])
  writeFileSync(join(directory, 'boot_id'), 'boot-1')
  writeFileSync(join(directory, 'key'), 'k3y-of-a-test-with-enough-different-bytes-0123456789', { mode: 0o600 })
  const cluster = server
    ? { server: server.url, 'certificate-authority-data': Buffer.from(server.caPem).toString('base64') }
    : { server: 'https://127.0.0.1:1' }
  writeFileSync(
    join(directory, 'kubeconfig'),
    stringify({
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user: { token: server?.token ?? 'none' } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    }),
  )
  const file = join(directory, 'agent.yaml')
  writeFileSync(
    file,
    stringify({
      node,
      cluster: { kubeconfig: join(directory, 'kubeconfig') },
      paths: [{ name: 'node', listenHost: '127.0.0.1', listenPort: port }],
      keys: { file: join(directory, 'key') },
      stateDirectory: state,
      containment: { form: 'processGroup', kubeletDirectory: join(directory, 'kubelet'), rebootMethod: 'none' },
      drbd: { procDrbd: join(directory, 'no-drbd') },
      bootIdFile: join(directory, 'boot_id'),
      observe: { host: '127.0.0.1', port: await freeTcpPort('127.0.0.1') },
      log: { level: 'fatal' },
      ...more,
    }),
  )
  return {
    directory,
    state,
    file,
    remove: () => {
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
