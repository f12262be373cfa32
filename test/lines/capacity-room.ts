/** A room is lost that the other one has no place for: counted before, listed after; and what a dry run writes. */
import { expect } from 'vitest'
import { createCapacityCount } from '../../src/agent/fences/capacity.ts'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import { createLog } from '../../src/observe/log.ts'
import { createMetrics } from '../../src/observe/metrics.ts'
import { clusterId, type Incarnation, nodeId, room } from '../../src/protocol/ids.ts'
import { genesis } from '../../src/protocol/membership.ts'
import type { Bed, FenceObject, PlayedFailover } from './bed.ts'
import { stage } from './lines.ts'
import { createDeployment, createVm } from './line-objects.ts'
import { type AnyObject, recordingClient, type Write } from './recording.ts'
import { deadRoom, livingRoom } from './world.ts'

interface Unplaced {
  readonly kind: string
  readonly namespace: string
  readonly name: string
  readonly owner: string
  readonly reason: string
}

interface Played extends PlayedFailover {
  readonly counted: (name: string) => number | undefined
  readonly countWrites: readonly Write[]
  readonly dry: {
    readonly result: FailoverResult
    readonly writes: readonly Write[]
    readonly uids: readonly string[]
    readonly fence: FenceObject
  }
  readonly uidsBefore: readonly string[]
  readonly unplaced: readonly Unplaced[]
  readonly countUnplaced: number | undefined
}

/** The count as the agent ships it, at once instead of after its turns. */
async function count(bed: Bed, writes: Write[]): Promise<(name: string) => number | undefined> {
  const metrics = createMetrics()
  const members = bed.world.nodes.map((node) => ({
    node: nodeId(node.name),
    room: room(node.room),
    incarnation: 'i1' as Incarnation,
    addresses: [],
  }))
  const membership = genesis(clusterId('lines'), members, room(livingRoom), null)
  let nowMs = 0
  const one = createCapacityCount({
    client: recordingClient(bed.client, writes),
    nowMs: () => nowMs,
    everyMs: 1_000,
    membership: () => membership,
    isMine: () => true,
    log: createLog('fatal', 'lines'),
    metrics,
  })
  one.review()
  nowMs = 1_000
  one.review()
  await bed.until('the count is over', async () => {
    const { values } = await metrics.capacityCounts.get()
    const failed = values.find(({ labels }) => labels.outcome === 'failed')
    if (failed !== undefined) throw new Error('the count failed')
    return values.length > 0
  })
  one.stop()
  const all = await metrics.registry.getMetricsAsJSON()
  return (name) => {
    const metric = all.find((found) => found.name === `roomfence_capacity_${name}`)
    const values = (metric as unknown as { values?: readonly { labels: { room?: string }; value: number }[] } | undefined)?.values
    return values?.find(({ labels }) => labels.room === deadRoom)?.value
  }
}

async function play(bed: Bed): Promise<Played> {
  const { api, namespace } = bed
  // Nodes of 32 processors: two such pods find no place on one.
  const large = { containers: [{ name: 'main', image: 'registry.example/pause:1', resources: { requests: { cpu: '20', memory: '8Mi' } } }] }
  await createDeployment(api, namespace, { name: 'resident', room: livingRoom, replicas: 2, podSpec: large })
  await bed.podsRun('resident', livingRoom, 2)
  await createDeployment(api, namespace, { name: 'large', room: deadRoom, replicas: 2, podSpec: large })
  await createDeployment(api, namespace, { name: 'small', room: deadRoom })
  await createVm(api, namespace, { name: 'bound', spec: { nodeSelector: { 'topology.kubernetes.io/zone': deadRoom } } })
  await bed.vmiRuns('bound', deadRoom)
  await bed.podsRun('large', deadRoom, 2)
  await bed.podsRun('small', deadRoom)
  const countWrites: Write[] = []
  const counted = await count(bed, countWrites)

  const uids = async (): Promise<readonly string[]> =>
    (await api.list(`/api/v1/namespaces/${namespace}/pods`)).map(({ metadata }) => metadata.uid).toSorted()
  const uidsBefore = await uids()
  await bed.powerOff()
  const dry = await bed.failedOver({ order: { dryRun: true } })
  const afterDry = { result: dry.result, writes: [...dry.writes], uids: await uids(), fence: await bed.fence(dry.order.id) }

  const started = bed.failover()
  const status = await bed.until('what found no place is listed', async () => {
    const found = (await bed.fence(started.order.id)).status
    return Array.isArray(found?.unplaced) && found.unplaced.length === 3 ? found : undefined
  })
  await bed.podsRun('small', livingRoom)
  await bed.log.settled()
  return {
    ...started,
    counted,
    countWrites,
    dry: afterDry,
    uidsBefore,
    unplaced: status.unplaced as readonly Unplaced[],
    countUnplaced: (status as unknown as { counts?: { unplaced?: number } }).counts?.unplaced,
  }
}

const outcomeOf = ({ verb, path }: Write): string => `${verb} ${path.replace(/\/fence-\d+/, '/ID')}`

export const capacityRoom = stage<Played>({
  name: 'capacity',
  play,
  lines: [
    {
      id: 'capacity-counted-before',
      part: 'brakes/capacity-before',
      says: 'before anything happens, metrics show what the loss of a room would move, what is free elsewhere, and how many pods would find no node',
      check: ({ counted }) => {
        expect(counted('moving_pods')).toBeGreaterThanOrEqual(4)
        expect(counted('moving_cpu_cores')).toBeGreaterThanOrEqual(40)
        expect(counted('free_cpu_cores')).toBeLessThanOrEqual(24)
        expect(counted('moving_memory_bytes')).toBeGreaterThan(0)
        expect(counted('free_memory_bytes')).toBeGreaterThan(0)
        expect(counted('unplaced_pods')).toBe(2)
      },
    },
    {
      id: 'capacity-count-changes-nothing',
      part: 'brakes/capacity-before',
      says: 'the count reads, with the shipped rights, and writes nothing',
      check: ({ countWrites }) => {
        expect(countWrites).toEqual([])
      },
    },
    {
      id: 'unplaced-in-the-scheduler-s-words',
      part: 'brakes/unplaced-after',
      says: 'afterwards the Fence lists the VM and the pods that no node takes, each with the scheduler’s own reason, and leaves out what found a place',
      check: ({ unplaced, countUnplaced }, bed) => {
        const own = unplaced.filter(({ namespace }) => namespace === bed.namespace)
        expect(own.map(({ kind, name, owner }) => [kind, name.replace(/-[^-]+-[^-]+$/, ''), owner.split(' ')[0]])).toEqual([
          ['VirtualMachine', 'bound', 'VirtualMachineInstance'],
          ['Pod', 'large', 'ReplicaSet'],
          ['Pod', 'large', 'ReplicaSet'],
        ])
        for (const { kind, reason } of own) {
          expect(reason).toMatch(/nodes are available/)
          if (kind === 'Pod') expect(reason).toMatch(/Insufficient cpu/)
        }
        expect(countUnplaced).toBe(3)
      },
    },
    {
      id: 'unplaced-is-told',
      part: 'brakes/unplaced-after',
      says: 'what no node takes is told as it is found, and as a Kubernetes Event on the pod',
      check: async ({ events }, bed) => {
        expect(events).toContainEqual(expect.objectContaining({ kind: 'vm-unplaced', vm: `${bed.namespace}/bound` }))
        expect(events.filter((event) => event.kind === 'pod-unplaced')).toHaveLength(2)
        const told = await bed.until('three events are written', async () => {
          const all = await bed.api.list<AnyObject & { reason?: string; note?: string }>(
            `/apis/events.k8s.io/v1/namespaces/${bed.namespace}/events`,
          )
          const ours = all.filter(({ reason }) => reason === 'FenceUnplaced')
          return ours.length >= 3 ? ours : undefined
        })
        for (const { note } of told) expect(note).toMatch(/nodes are available/)
      },
    },
    {
      id: 'dry-run-touches-nothing',
      part: 'brakes/brakes',
      says: 'in a dry run the fence is decided and recorded with all its workloads, and nothing but its Fence object is written',
      check: ({ dry, uidsBefore }) => {
        expect(dry.result.outcome).toBe('finished')
        expect(new Set(dry.writes.map(outcomeOf))).toEqual(
          new Set(['create /apis/roomfence.io/v1/fences', 'patch /apis/roomfence.io/v1/fences/ID/status']),
        )
        expect(dry.uids).toEqual(uidsBefore)
        expect(dry.fence.status?.workloads.map(({ name }) => name)).toContain('bound')
      },
    },
  ],
})
