/** A watchdog for every fake node: a FIFO that the agent pets as it would /dev/watchdog; starved, it resets the node for real. */
import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startWatchdog, type Watchdog } from '../../src/demo/nodes/watchdog.ts'
import type { FakeNodes, NodePlace } from './nodes/fake-nodes.ts'

export interface Watchdogs {
  /** For the agent's configuration. */
  readonly configurationOf: (node: NodePlace) => { readonly kind: 'device'; readonly device: string; readonly timeoutFile: string }
  /** Names of the nodes that were reset, in order. */
  readonly resets: () => readonly string[]
  stop(): void
}

const LOOK_EVERY_MS = 100

/** To be called before `startAgents`: at a power change the device forgets before the agent opens it. */
export const startWatchdogs = (fakeNodes: FakeNodes, timeoutSecondsOf: (node: NodePlace) => number): Watchdogs => {
  const resets: string[] = []
  const watchdogs = new Map<string, Watchdog>()
  let isStopped = false
  const deviceOf = ({ directory }: NodePlace): string => join(directory, 'watchdog')
  const timeoutFileOf = ({ directory }: NodePlace): string => join(directory, 'watchdog-timeout')

  const reset = async (node: NodePlace): Promise<void> => {
    const isOn = fakeNodes.state().some(({ name, power }) => name === node.name && power !== 'off')
    if (!isOn || isStopped) return
    resets.push(node.name)
    await fakeNodes.powerOff({ nodes: [node.name] })
    if (!isStopped) await fakeNodes.powerOn({ nodes: [node.name] })
  }
  for (const node of fakeNodes.nodes) {
    const device = deviceOf(node)
    const timeoutFile = timeoutFileOf(node)
    if (!existsSync(device)) execFileSync('mkfifo', ['-m', '600', device])
    writeFileSync(timeoutFile, `${timeoutSecondsOf(node)}\n`)
    watchdogs.set(node.name, startWatchdog({ device, timeoutFile, pollMs: LOOK_EVERY_MS, onStarved: () => void reset(node) }))
  }
  const forget = ({ name }: NodePlace): void => {
    if (!isStopped) watchdogs.get(name)?.reset()
  }
  fakeNodes.addHooks({ onPowerOff: forget, onPowerOn: forget })
  return {
    configurationOf: (node) => ({ kind: 'device', device: deviceOf(node), timeoutFile: timeoutFileOf(node) }),
    resets: () => resets,
    stop: () => {
      isStopped = true
      for (const watchdog of watchdogs.values()) watchdog.close()
    },
  }
}
