/** The agent's pod as deploy/ has it, on a played node whose folder stands for its disk, its devices and its kernel. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { type Manifest, manifest } from '../deploy/manifests.ts'
import { type PodOnNode, type PreparedPod, preparePod } from './container.ts'
import type { PodSpec } from './translate/manifest.ts'
import type { OciMount } from './translate/oci.ts'

type Tree = { readonly [field: string]: unknown }

export interface PlayedNode {
  readonly name: string
  /** Of 127.0.0.0/8, for this node alone: the nodes share one host, and its ports. */
  readonly address: string
  /** Its files stand for /dev (`watchdog`), and for what the kernel says (`boot_id`, `watchdog-timeout`, `proc-drbd`, `usermode_helper`). */
  readonly directory: string
  readonly kubeletDirectory: string
  readonly stateDirectory: string
}

export const podOf = (workload: Manifest): PodSpec => (workload['spec'] as { template: { spec: PodSpec } }).template.spec
export const agentPod = (): PodSpec => podOf(manifest('DaemonSet', 'roomfence'))

const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value)

/** The fields of `changes` over those of `tree`; lists as a whole. */
export function changed(tree: Tree, changes: Tree): Tree {
  const next: Record<string, unknown> = { ...tree }
  for (const [field, value] of Object.entries(changes)) {
    const before = next[field]
    next[field] = isTree(before) && isTree(value) ? changed(before, value) : value
  }
  return next
}

/** deploy/'s ConfigMap, with what an operator or a test changes. */
export function shippedConfiguration(changes: Tree): string {
  const { 'roomfence.yaml': text = '' } = manifest('ConfigMap', 'roomfence')['data'] as Record<string, string>
  return stringify(changed(parse(text) as Tree, changes))
}

/** Where a container finds the folder of its node. */
const playedFolder = '/played'

/**
 * What has to differ because the nodes are no machines: they share the host's network, and the kernel's files are played. Reset by sysrq would reset
 * the machine that the tests run on.
 */
export const onPlayedNodes: Tree = {
  paths: [{ name: 'node', listenHost: '${NODE_IP}', listenPort: 9812, advertiseHost: '${NODE_IP}' }],
  observe: { host: '${NODE_IP}' },
  watchdog: { timeoutFile: `${playedFolder}/watchdog-timeout`, nowayoutFile: `${playedFolder}/watchdog-nowayout` },
  drbd: { procDrbd: `${playedFolder}/proc-drbd`, usermodeHelperFile: `${playedFolder}/usermode_helper` },
  bootIdFile: `${playedFolder}/boot_id`,
  containment: { rebootMethod: 'none' },
}

export interface AgentOnNode extends Pick<PodOnNode, 'lab' | 'image' | 'uid' | 'apiServer' | 'directory' | 'command'> {
  readonly node: PlayedNode
  /** The ConfigMap's `roomfence.yaml`. */
  readonly configuration: string
  readonly secrets: PodOnNode['sources']['secrets']
  readonly token: string
  readonly caPem: string
  readonly pod?: PodSpec
  /** Besides the node's folder. */
  readonly played?: readonly OciMount[]
}

export function prepareAgent(options: AgentOnNode): PreparedPod {
  const { lab, node, configuration, secrets, token, caPem, pod = agentPod(), played = [] } = options
  mkdirSync(node.kubeletDirectory, { recursive: true })
  writeFileSync(join(node.directory, 'watchdog-nowayout'), '0\n')
  return preparePod({
    ...options,
    name: 'agent',
    namespace: 'roomfence',
    pod,
    sources: {
      configMaps: { roomfence: { 'roomfence.yaml': configuration } },
      secrets,
      hostPaths: {
        '/var/lib/roomfence': node.stateDirectory,
        '/var/lib/kubelet': node.kubeletDirectory,
        '/sys/fs/cgroup': lab.cgroupOf(node.name).folder,
        '/dev': node.directory,
      },
      token,
      caPem,
    },
    played: [{ destination: playedFolder, source: node.directory, options: ['rbind', 'ro', 'rslave'] }, ...played],
  })
}
