/** More than one carrier, a later fence, and a fence that only looks. */
import { expect } from 'vitest'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import { nodeId } from '../../src/protocol/ids.ts'
import type { Bed, FenceObject, PlayedFailover } from './bed.ts'
import { addDeadPods, countPods } from './dead-pods.ts'
import type { Line } from './lines.ts'
import { createDeployment } from './line-objects.ts'
import type { Change } from './recording.ts'
import { livingRoom } from './world.ts'

type Ended = PlayedFailover & { readonly result: FailoverResult }

export interface ExecutorsPlayed {
  readonly dry: Ended & { readonly fence: FenceObject; readonly changed: readonly Change[] }
  readonly two: { readonly carriers: readonly Ended[]; readonly left: number; readonly fence: FenceObject }
  readonly older: Ended
  readonly later: Ended
  readonly taints: readonly (string | undefined)[]
  /** A fence of which one node says that it was un-fenced later. */
  readonly overtaken: Ended & {
    /** While it says so: the Fence, the epoch of that node's fenced taint, and what is left of four pods, two on each node. */
    readonly fence: FenceObject
    readonly taint: string | undefined
    readonly left: readonly string[]
    /** Pods left in the end, when the annotation was taken away. */
    readonly leftAfter: number
  }
}

export async function playExecutors(bed: Bed): Promise<ExecutorsPlayed> {
  await addDeadPods(bed, 'dry', 3)
  await bed.log.settled()
  const from = Math.max(0, ...bed.log.changes().map(({ version }) => version))
  const dry = await bed.failedOver({ order: { dryRun: true } })
  const ofUs = ({ kind, object }: Change): boolean => (kind === 'pods' ? object.metadata.namespace === bed.namespace : kind === 'nodes')
  const changed = bed.log.changes().filter((change) => change.version > from && ofUs(change) && isDoneByUs(change))
  return {
    dry: { ...dry, fence: await bed.fence(dry.order.id), changed },
    two: await playTwo(bed),
    ...(await playLater(bed)),
    overtaken: await playOvertaken(bed),
  }
}

/** The kubelets and controllers of this world write as well: what a fence would change of nodes and pods. */
const isDoneByUs = ({ type, object }: Change): boolean =>
  type === 'DELETED' || object.metadata.deletionTimestamp !== undefined || JSON.stringify(object.spec).includes('roomfence')

async function playTwo(bed: Bed): Promise<ExecutorsPlayed['two']> {
  // A Deployment that lives, so that a replacement deleted by the slower of the two would be seen.
  await createDeployment(bed.api, bed.namespace, { name: 'living', room: livingRoom, replicas: 2 })
  await addDeadPods(bed, 'two', 12)
  const [first = '', second = ''] = bed.nodesOf(livingRoom)
  const one = bed.failover({ order: { carriedOutBy: nodeId(first) } })
  const other = bed.failover({ order: { ...one.order, carriedOutBy: nodeId(second) } })
  const carriers = [
    { ...one, result: await bed.ended(one) },
    { ...other, result: await bed.ended(other) },
  ]
  return { carriers, left: await countPods(bed, 'two'), fence: await bed.fence(one.order.id) }
}

async function playOvertaken(bed: Bed): Promise<ExecutorsPlayed['overtaken']> {
  const { api, namespace } = bed
  const [first = ''] = bed.nodesOf()
  const names = await addDeadPods(bed, 'overtaken', 4)
  const podsLeft = async (): Promise<readonly string[]> =>
    (await api.list(`/api/v1/namespaces/${namespace}/pods?labelSelector=app%3Dovertaken`)).map(({ metadata }) => metadata.name)
  const annotate = async (unfencedIn: string | null): Promise<unknown> =>
    api.patch(`/api/v1/nodes/${first}`, { metadata: { annotations: { 'roomfence.io/unfenced-epoch': unfencedIn } } })
  await annotate('1000000')
  const one = bed.failover()
  const fence = await bed.until('it waits for the node that it leaves alone', async () => {
    const seen = await bed.fence(one.order.id)
    return seen.status?.phase === 'Waiting' && (await podsLeft()).length < names.length ? seen : undefined
  })
  const left = await podsLeft()
  const taint = await fencedBy(bed, first)
  await annotate(null)
  const result = await bed.ended(one)
  return { ...one, result, fence, left, taint, leftAfter: await countPods(bed, 'overtaken') }
}

const fencedBy = async ({ api }: Bed, node: string): Promise<string | undefined> => {
  const { spec } = await api.get<{ spec: { taints?: readonly { readonly key: string; readonly value?: string }[] } }>(
    `/api/v1/nodes/${node}`,
  )
  return spec.taints?.find(({ key }) => key === 'roomfence.io/fenced')?.value
}

async function playLater(bed: Bed): Promise<Pick<ExecutorsPlayed, 'older' | 'later' | 'taints'>> {
  await addDeadPods(bed, 'later', 2, { claim: 'later' })
  const one = bed.failover({ dataGate: () => ({ open: false, reason: 'Outdated on every survivor' }) })
  await bed.until('it holds its pods', () => one.events.some(({ kind }) => kind === 'blocked'))
  const other = bed.failover()
  const later = { ...other, result: await bed.ended(other) }
  const older = { ...one, result: await bed.ended(one) }
  return { older, later, taints: await Promise.all(bed.nodesOf().map(async (name) => fencedBy(bed, name))) }
}

export const executorLines: readonly Line<ExecutorsPlayed>[] = [
  {
    id: 'brakes-dry-run',
    part: 'brakes/brakes',
    says: 'a dry run writes the Fence with all that it would do, and changes no node and no pod',
    check: ({ dry }) => {
      expect(dry.result.outcome).toBe('finished')
      expect(dry.fence).toMatchObject({ spec: { dryRun: true }, status: { phase: 'Recorded' } })
      expect(dry.fence.status?.message).toContain('dry run')
      expect(dry.changed).toEqual([])
      expect(dry.writes.every(({ path }) => path.startsWith('/apis/roomfence.io/'))).toBe(true)
      const would = dry.events.filter((event) => event.kind === 'step-done')
      expect(new Set(would.map(({ outcome }) => outcome))).toEqual(new Set(['dry-run']))
      expect(would.filter(({ step }) => step === 'delete-pod')).toHaveLength(3)
    },
  },
  {
    id: 'transaction-two-executors',
    part: 'transaction/plan',
    says: 'two agents that carry out the same fence at once do not disturb each other: both finish, nothing is left and nothing is done to others',
    check: async ({ two }, bed) => {
      for (const { result, events } of two.carriers) {
        expect(result).toMatchObject({ outcome: 'finished', failed: [], blocked: [] })
        expect(events.filter(({ kind }) => kind === 'step-failed')).toEqual([])
      }
      expect(two.left).toBe(0)
      expect(two.fence.status?.phase).toBe('Finished')
      const pods = await bed.podsRun('living', livingRoom, 2)
      for (const { metadata } of pods) expect(bed.log.historyOf(metadata.uid)[0]?.type).toBe('ADDED')
      expect(
        new Set(
          bed.log.changes('pods').flatMap(({ object }) => (object.metadata.labels?.['app'] === 'living' ? [object.metadata.uid] : [])),
        ).size,
      ).toBe(2)
    },
  },
  {
    id: 'transaction-superseded',
    part: 'transaction/plan',
    says: 'a fence that finds the taint of a later one on a node does nothing more and says so; the later one goes through',
    check: ({ older, later, taints }) => {
      expect(older.result).toMatchObject({
        outcome: 'superseded',
        reason: expect.stringContaining(`epoch ${String(later.order.epoch)}`) as string,
      })
      expect(later.result).toMatchObject({ outcome: 'finished' })
      expect(taints).toEqual(later.order.nodes.map(() => String(later.order.epoch)))
      expect(older.writes.filter(({ verb }) => verb === 'delete')).toEqual([])
    },
  },
  {
    id: 'transaction-overtaken-by-unfence',
    part: 'transaction/plan',
    says: 'a node that says that it was un-fenced later is left alone, taint and pods, while the others go on; the Fence says why and what to do about an annotation that was left over',
    check: ({ overtaken }, bed) => {
      const [first = ''] = bed.nodesOf()
      expect(overtaken.left).toEqual(['overtaken-00', 'overtaken-02'])
      expect(overtaken.taint).not.toBe(String(overtaken.order.epoch))
      const said = new Map(overtaken.fence.status?.nodes.map((node) => [node.name, node]))
      expect(said.get(first)).toMatchObject({
        fenced: false,
        waitingFor: expect.stringMatching(
          /un-fenced in epoch 1000000, .* kubectl annotate node \S+ roomfence.io\/unfenced-epoch-$/,
        ) as string,
      })
      expect(overtaken.result.outcome).toBe('finished')
      expect(overtaken.leftAfter).toBe(0)
    },
  },
]
