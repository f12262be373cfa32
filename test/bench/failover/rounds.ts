/** The three rounds: the same power loss, answered by roomfence, by a person's taint, by nobody. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildBundle } from '../../../deploy/build.ts'
import type { ApiObject } from '../../support/api-client.ts'
import { nodesPath } from '../../cluster/api/objects.ts'
import { kubeVirtVersion } from '../../cluster/control-plane/kubevirt.ts'
import { startRecorder } from '../../cluster/recorder.ts'
import { type Roomfence, startRoomfence } from '../../cluster/roomfence.ts'
import { sleep, stretched, until } from '../../support/timing.ts'
import { callsBetween, kubernetesCalls, processCost } from './agent-cost.ts'
import { type Bed, dead, living, nodesPerRoom } from './bench-bed.ts'
import type { FailoverBenchOptions, Round } from './options.ts'
import { startRecording } from './recoveries.ts'
import type { RoundResult } from './bench-table.ts'

export interface PlayedRound extends RoundResult {
  readonly ranTwice: readonly string[]
  /** Why roomfence is not done, undefined when it is or was not asked. */
  readonly unfinished: string | undefined
  /** Lines that explain this round. */
  readonly notes: readonly string[]
}

interface Fence extends ApiObject {
  readonly status?: {
    readonly phase: string
    readonly message: string
    readonly carriedOutBy: string
    readonly nodes: readonly { readonly name: string; readonly proof: string }[]
  }
}

/** What a round does about the dead room; the bench measures. */
interface Answer {
  readonly notes: () => Promise<readonly string[]>
  /** Looked at after the workloads are back, too: undefined when nothing is left to do. */
  readonly unfinished: (sinceMs: number) => Promise<string | undefined>
  /** Called over and over. */
  readonly act: (notReady: ReadonlyMap<string, number>, sinceMs: number) => Promise<void>
  readonly stop: () => Promise<void>
}

const tellEveryMs = 10_000
const lookEveryMs = 250
/** Node's flags in the image's entry point: `["/app/node", "--a", "--b", "/app/roomfence.mjs"]`. */
const imageFlags = (): readonly string[] => {
  const entry = /^ENTRYPOINT (\[.*\])$/m.exec(readFileSync('Dockerfile', 'utf8'))?.[1] ?? '[]'
  return (JSON.parse(entry) as readonly string[]).filter((word) => word.startsWith('--'))
}
const settledMs = 15_000
const outOfService = 'node.kubernetes.io/out-of-service=nodeshutdown:NoExecute'
const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`

const nothing: Answer = {
  notes: async () => ['nothing was done; the default tolerations (300 s) and controller-manager flags are in force'],
  unfinished: async () => undefined,
  act: async () => {},
  stop: async () => {},
}

/** As the documentation of Kubernetes has a person do it, with kubectl; but with no minute of thought and no look at the machine. */
const taintByHand = (bed: Bed): Answer => {
  const tainted = new Map<string, number>()
  return {
    ...nothing,
    act: async (notReady, sinceMs) => {
      const wanted = [...notReady.keys()].filter((name) => !tainted.has(name))
      if (wanted.length === 0) return
      for (const name of wanted) tainted.set(name, sinceMs)
      await bed.controlPlane.kubectl('taint', 'nodes', ...wanted, outOfService)
    },
    notes: async () => [
      `kubectl taint nodes NODE ${outOfService}, put on by a script the moment Kubernetes called the node NotReady:`,
      ...[...tainted].map(([name, atMs]) => `${name} after ${seconds(atMs)}`),
      'by hand: a person has to see it and be sure that the node is off; nothing here proved it. After a cut link the same taint starts everything twice.',
    ],
  }
}

const byRoomfence = async (bed: Bed): Promise<Answer> => {
  const bundle = join(bed.controlPlane.keeper.directory, 'bundle', 'roomfence.mjs')
  await buildBundle(bundle)
  const roomfence: Roomfence = await startRoomfence(bed.controlPlane, bed.nodes, living, [process.execPath, ...imageFlags(), bundle])
  // a fence's timed proof needs every node's watchdog to have been told of and acked: moments, but not none
  await sleep(stretched(settledMs))
  const survivors = bed.nodes.nodes.flatMap(({ name, room }) => (room === living ? [name] : []))
  const callsOf = async (name: string): Promise<ReadonlyMap<string, number>> => kubernetesCalls((await roomfence.metrics(name)) ?? '')
  const costOf = (name: string) => processCost(roomfence.agents.program(name)?.pid ?? 0)
  const before = new Map<
    string,
    { readonly calls: ReadonlyMap<string, number>; readonly cpuSeconds: number; readonly residentMb: number }
  >()
  for (const name of survivors) before.set(name, { calls: await callsOf(name), ...costOf(name) })
  const fence = async (): Promise<Fence | undefined> => (await bed.controlPlane.client.list<Fence>('/apis/roomfence.io/v1/fences')).at(-1)
  // its definition is a minute old at most: the API server answers 429 until it is ready to keep them
  await until('the API server keeps Fence objects', 60_000, async () => fence().then(() => true))
  let finishedMs: number | undefined
  return {
    act: async () => {},
    unfinished: async (sinceMs) => {
      const ends = roomfence.agents.unexpectedEnds()
      if (ends.length > 0) return `an agent ended: ${ends.map(({ node, ended }) => `${node} ${ended}`).join(', ')}`
      const status = (await fence())?.status
      if (status?.phase === 'Finished') finishedMs ??= sinceMs
      return status?.phase === 'Finished' ? undefined : `its fence is ${status?.phase ?? 'not there'}: ${status?.message ?? ''}`
    },
    notes: async () => {
      const status = (await fence())?.status
      const proofs = [...new Set(status?.nodes.map(({ proof }) => proof))].join(', ')
      const lines = [
        `proof: ${proofs}; finished after ${finishedMs === undefined ? '-' : seconds(finishedMs)}; carried out by ${status?.carriedOutBy ?? '-'}`,
      ]
      for (const name of survivors) {
        const known = before.get(name)
        const now = costOf(name)
        const calls = callsBetween(known?.calls ?? new Map(), await callsOf(name))
        lines.push(
          `agent of ${name}: ${known?.residentMb ?? 0} MB before, ${now.residentMb} MB after, ${now.peakMb} MB at most;` +
            ` ${(now.cpuSeconds - (known?.cpuSeconds ?? 0)).toFixed(1)} s of processor; API calls ${calls}`,
        )
      }
      return lines
    },
    stop: async () => roomfence.stop(),
  }
}

const answers: Readonly<Record<Round, (bed: Bed) => Answer | Promise<Answer>>> = {
  roomfence: byRoomfence,
  taint: taintByHand,
  kubernetes: () => nothing,
}

/** Leaves the cluster as it found it. */
export const playRound = async (
  bed: Bed,
  round: Round,
  { vms, capMinutes }: FailoverBenchOptions,
  say: (line: string) => void,
): Promise<PlayedRound> => {
  const { client } = bed.controlPlane
  const namespace = await bed.makeWorkloads(round, vms)
  const answer = await answers[round](bed)
  const recorder = await startRecorder(client, bed.nodes, namespace)
  const recording = await startRecording(client, namespace, new Set(bed.deadNodes))
  try {
    const cpuOf = (): number => processCost(bed.controlPlane.program('kube-apiserver').pid).cpuSeconds
    const cpuBefore = cpuOf()
    recorder.start(dead)
    const lost = recording.start()
    await bed.nodes.powerOff({ room: dead })
    say(`  power off: ${dead}, ${nodesPerRoom} nodes, ${lost} workloads`)
    const capMs = capMinutes * 60_000
    let toldMs = 0
    let unfinished: string | undefined
    for (;;) {
      const nowMs = recording.sinceMs()
      await answer
        .act(recording.notReady(), nowMs)
        .catch((error: unknown) => say(`  ${error instanceof Error ? error.message : String(error)}`))
      const recoveries = recording.recoveries()
      const running = recoveries.filter(({ runningMs }) => runningMs !== undefined).length
      const isBack = running === lost
      unfinished = isBack || nowMs > capMs ? await answer.unfinished(nowMs) : 'not all workloads are back'
      if ((isBack && unfinished === undefined) || nowMs > capMs) break
      if (nowMs - toldMs > tellEveryMs) {
        toldMs = nowMs
        const ordered = recoveries.filter(({ orderedMs }) => orderedMs !== undefined).length
        say(
          `  ${seconds(nowMs)}: old pods gone ${ordered}/${lost}, running again ${running}/${lost}, nodes NotReady ${recording.notReady().size}/${nodesPerRoom}`,
        )
      }
      await sleep(lookEveryMs)
    }
    const watchedMs = recording.sinceMs()
    const notReady = [...recording.notReady()].map(([name, atMs]) => `${name} ${seconds(atMs)}`)
    const killed = recorder.killed()
    const putBack = recorder.putOnDeadNodes()
    return {
      round,
      recoveries: recording.recoveries(),
      watchedMs,
      ranTwice: recorder.ranTwice(),
      unfinished,
      notes: [
        ...(await answer.notes()),
        `Kubernetes called the nodes NotReady after: ${notReady.join(', ') || 'not yet'}`,
        ...(killed.length === 0 ? [] : [`pods on living nodes deleted meanwhile: ${killed.join(', ')}`]),
        ...(putBack.length === 0 ? [] : [`pods put on dead nodes: ${putBack.join(', ')}`]),
        `kube-apiserver: ${(cpuOf() - cpuBefore).toFixed(1)} s of processor in ${seconds(watchedMs)}`,
      ],
    }
  } finally {
    recorder.stop()
    recording.stop()
    await answer.stop()
  }
}

export const versionsOf = async (bed: Bed): Promise<string> => {
  const { client } = bed.controlPlane
  const kubernetes = await client.get<{ gitVersion: string }>('/version')
  return `Kubernetes ${kubernetes.gitVersion}, KubeVirt ${kubeVirtVersion} (${(await client.list(nodesPath())).length} played nodes)`
}
