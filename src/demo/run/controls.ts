/** What a scenario can do to the demo and wait for. Every wait ends: with what it waited for, or with a clear failure. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { confirmDeadAnnotation, unfenceAnnotation } from '../../failover/fence/names.ts'
import { monotonicMs } from '../storage/replica.ts'
import type { AgentStatus, Progress } from './progress.ts'
import type { Demo } from './setup.ts'

export interface Controls {
  readonly demo: Demo
  readonly progress: Progress
  /** Things that a user would call wrong. */
  readonly wrongs: string[]
  /** Named moments for the timeline, on the demo's clock. */
  readonly moments: Map<string, number>
  readonly say: (text: string) => void
  readonly pause: (ms: number) => Promise<void>
  readonly until: (what: string, condition: () => boolean, withinMs: number) => Promise<boolean>
  readonly powerOff: (room: string) => Promise<void>
  readonly powerOn: (room: string) => Promise<void>
  readonly unfence: (nodes: readonly string[]) => void
  readonly confirmDead: (nodes: readonly string[]) => void
  /** A command of roomfence as a person gives it on that node; what it prints is told, and it is wrong when it fails. */
  readonly command: (node: string, words: readonly string[]) => Promise<void>
  /** Nodes that a majority's newest epoch fences. */
  readonly fenced: () => ReadonlySet<string>
  readonly epoch: () => number
  readonly wrong: (text: string) => void
  /** VMs that write now: a record of each was acknowledged within the last second. */
  readonly writing: () => ReadonlySet<string>
  readonly instances: () => ReadonlyMap<string, string>
}

/** A VM that writes every 50 ms and had nothing acknowledged for so long does not write. */
const STILL_MS = 1_000

export function createControls(demo: Demo, progress: Progress): Controls {
  const wrongs: string[] = []
  const moments = new Map<string, number>()
  const newest = (): AgentStatus | undefined =>
    [...progress.statuses().values()].reduce<AgentStatus | undefined>(
      (best, one) => ((one.epoch ?? -1) > (best?.epoch ?? -1) ? one : best),
      undefined,
    )
  const annotate = (nodes: readonly string[], annotation: string, value: string): void => {
    for (const name of nodes) {
      const node = demo.store.get('nodes', undefined, name)
      if (!node) continue
      const copy = structuredClone(node)
      copy.metadata.annotations = { ...copy.metadata.annotations, [annotation]: value }
      demo.store.update('nodes', copy)
    }
  }
  const stage: Controls = {
    demo,
    progress,
    wrongs,
    moments,
    say: progress.say,
    pause: (ms) => sleep(ms),
    until: async (what, condition, withinMs) => {
      const untilMs = monotonicMs() + withinMs
      while (!condition()) {
        if (monotonicMs() > untilMs) {
          stage.wrong(`waited ${Math.round(withinMs / 1000)} s in vain for ${what}`)
          return false
        }
        await sleep(100)
      }
      return true
    },
    powerOff: async (room) => {
      stage.say(`*** room ${room} loses its power`)
      moments.set('power loss', monotonicMs())
      await Promise.all(demo.rooms.nodesOf(room).map((node) => node.powerOff()))
      for (const node of demo.rooms.nodesOf(room)) demo.cluster.hostChanged(node.name)
    },
    powerOn: async (room) => {
      stage.say(`*** room ${room} gets its power back`)
      await Promise.all(demo.rooms.nodesOf(room).map((node) => node.powerOn()))
      for (const node of demo.rooms.nodesOf(room)) demo.cluster.hostChanged(node.name)
    },
    unfence: (nodes) => {
      stage.say(`*** an operator un-fences ${nodes.join(', ')}: kubectl annotate node ${nodes.join(' ')} ${unfenceAnnotation}=true`)
      annotate(nodes, unfenceAnnotation, 'true')
    },
    confirmDead: (nodes) => {
      stage.say(
        `*** an operator went and looked: kubectl annotate node ${nodes.join(' ')} ${confirmDeadAnnotation}=fence-${stage.epoch()},ada`,
      )
      annotate(nodes, confirmDeadAnnotation, `fence-${stage.epoch()},ada`)
    },
    command: (node, words) => {
      const { program, directory } = demo.options
      const [file = '', ...before] = program
      const given = [...before, ...words, '--config', join(directory, `${node}.yaml`), '--by', 'ada']
      return new Promise((resolve) => {
        execFile(file, given, (error, stdout, stderr) => {
          for (const line of `${stdout}${stderr}`.split('\n')) if (line !== '') stage.say(`${node}$ ${line}`)
          if (error) stage.wrong(`roomfence ${words.join(' ')} on ${node}: exit code ${error.code ?? 'unknown'}`)
          resolve()
        })
      })
    },
    fenced: () => new Set((newest()?.members ?? []).filter(({ standing }) => standing === 'fenced').map(({ node }) => node)),
    epoch: () => newest()?.epoch ?? -1,
    wrong: (text) => {
      wrongs.push(text)
      stage.say(`WRONG: ${text}`)
    },
    writing: () => {
      const nowMs = monotonicMs()
      return new Set(
        [...demo.rooms.observer.progress().values()]
          .filter(({ acknowledgedAtMs }) => acknowledgedAtMs !== undefined && nowMs - acknowledgedAtMs < STILL_MS)
          .map(({ vm }) => vm),
      )
    },
    instances: () => new Map([...demo.rooms.observer.progress().values()].map(({ vm, instance }) => [vm, instance])),
  }
  return stage
}

/** VMs whose user expects them to run. */
export const expectedVms = ({ demo }: Controls): readonly string[] =>
  demo.vms.filter(({ runStrategy }) => runStrategy !== 'Halted').map(({ name }) => name)

/** What runs again after its node was fenced: a VM that may run only once is left as it ended. */
export const returningVms = ({ demo }: Controls, lost: ReadonlySet<string>): readonly string[] =>
  demo.vms.filter(({ name, runStrategy }) => lost.has(name) && runStrategy !== 'Halted' && runStrategy !== 'Once').map(({ name }) => name)
