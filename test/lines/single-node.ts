/** One node of a room that lives is lost, and comes back. */
import { expect } from 'vitest'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import type { UnfenceResult } from '../../src/failover/unfence/unfence.ts'
import { nodeId } from '../../src/protocol/ids.ts'
import type { Bed, FenceObject, PlayedFailover } from './bed.ts'
import { type LineElsewhere, stage } from './lines.ts'
import { createDeployment, createStatefulSet, createVm } from './line-objects.ts'
import { nodesReady } from './readiness.ts'
import type { AnyObject } from './recording.ts'
import { deadRoom } from './world.ts'

interface Played extends PlayedFailover {
  readonly result: FailoverResult
  readonly lost: string
  readonly mate: string
  readonly fence: FenceObject
  readonly nodes: ReadonlyMap<string, AnyObject>
  readonly matesBefore: ReadonlyMap<string, string>
  readonly matesAfter: ReadonlyMap<string, string>
  readonly movedTo: readonly string[]
  readonly back: UnfenceResult
  readonly nodeBack: AnyObject
}

const preferring = (name: string): Readonly<Record<string, unknown>> => ({
  affinity: {
    nodeAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 100, preference: { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [name] }] } },
      ],
    },
  },
})

const ourKeys = ({ spec }: AnyObject): readonly string[] =>
  ((spec as { taints?: readonly { key: string }[] }).taints ?? [])
    .map(({ key }) => key)
    .filter((key) => key.startsWith('roomfence.io/') || key === 'node.kubernetes.io/out-of-service')

const nodeOf = ({ spec }: AnyObject): string => (spec as { nodeName?: string }).nodeName ?? ''

async function play(bed: Bed): Promise<Played> {
  const { api, namespace } = bed
  const [lost = '', mate = ''] = bed.nodesOf()
  await createVm(api, namespace, { name: 'lost-vm', spec: preferring(lost) })
  await createVm(api, namespace, { name: 'mate-vm', spec: preferring(mate) })
  await createStatefulSet(api, namespace, { name: 'lost-db', accessMode: 'ReadWriteOnce', podSpec: preferring(lost) })
  await createDeployment(api, namespace, { name: 'lost-web', podSpec: preferring(lost) })
  await createDeployment(api, namespace, { name: 'mate-web', podSpec: preferring(mate) })
  for (const name of ['lost-vm', 'mate-vm']) await bed.vmiRuns(name, deadRoom)
  for (const app of ['lost-db', 'lost-web', 'mate-web']) await bed.podsRun(app, deadRoom)
  const onNode = async (name: string): Promise<ReadonlyMap<string, string>> =>
    new Map(
      (await api.list<AnyObject>(`/api/v1/namespaces/${namespace}/pods`))
        .filter((pod) => nodeOf(pod) === name && pod.metadata.deletionTimestamp === undefined)
        .map(({ metadata }) => [metadata.name, metadata.uid]),
    )
  const matesBefore = await onNode(mate)
  await bed.powerOff([lost])
  const started = await bed.failedOver({ order: { nodes: [nodeId(lost)], rooms: [], reason: `${lost} silent on every path` } })
  const movedTo: string[] = []
  const vmi = await bed.until('lost-vm runs elsewhere', async () => {
    const found = await api.get<AnyObject>(`/apis/kubevirt.io/v1/namespaces/${namespace}/virtualmachineinstances/lost-vm`)
    const { phase, nodeName = '' } = (found.status ?? {}) as { phase?: string; nodeName?: string }
    return phase === 'Running' && nodeName !== lost ? nodeName : undefined
  })
  movedTo.push(vmi)
  for (const app of ['lost-db', 'lost-web'])
    movedTo.push(
      await bed.until(`${app} runs elsewhere`, async () => {
        const pod = (await bed.podsOf(app)).find((found) => nodeOf(found) !== lost)
        return pod === undefined ? undefined : nodeOf(pod)
      }),
    )
  const nodes = new Map<string, AnyObject>()
  for (const { name } of bed.world.nodes) nodes.set(name, await api.get<AnyObject>(`/api/v1/nodes/${name}`))
  const fence = await bed.fence(started.order.id)
  const matesAfter = await onNode(mate)
  await bed.powerOn([lost])
  await nodesReady(bed, [lost])
  const back = await bed.unfence(started.order)
  const nodeBack = await api.get<AnyObject>(`/api/v1/nodes/${lost}`)
  await bed.log.settled()
  return { ...started, lost, mate, fence, nodes, matesBefore, matesAfter, movedTo, back, nodeBack }
}

export const singleNode = stage<Played>({
  name: 'single-node',
  play,
  lines: [
    {
      id: 'single-node-same-path',
      part: 'single-node/same-path',
      says: 'a node of a room that lives goes the same way: fenced, out of service, cleared, its VM and pods run on other nodes, its Fence finishes',
      check: ({ result, fence, lost, movedTo, nodes }, bed) => {
        expect(result).toMatchObject({ outcome: 'finished', running: [`${bed.namespace}/lost-vm`] })
        expect(fence.spec.nodes).toEqual([lost])
        expect(fence.status).toMatchObject({ phase: 'Finished', nodes: [{ name: lost, fenced: true, outOfService: true }] })
        expect(movedTo).not.toContain(lost)
        const node = nodes.get(lost)
        expect(node && ourKeys(node).toSorted()).toEqual(['node.kubernetes.io/out-of-service', 'roomfence.io/fenced'])
      },
    },
    {
      id: 'single-node-room-mates-untouched',
      part: 'single-node/same-path',
      says: 'the other nodes of its room are not touched: no taint, no pod deleted, and they may take what moves',
      check: ({ nodes, lost, mate, matesBefore, matesAfter, writes }) => {
        for (const [name, node] of nodes) if (name !== lost) expect(ourKeys(node)).toEqual([])
        for (const [name, uid] of matesBefore) expect(matesAfter.get(name)).toBe(uid)
        expect(matesBefore.size).toBeGreaterThan(1)
        expect(writes.filter(({ path }) => path === `/api/v1/nodes/${mate}`)).toEqual([])
      },
    },
    {
      id: 'unfence-of-one-node',
      part: 'unfence/node',
      says: 'one node alone is un-fenced by the same checks, and has no taint of ours then',
      check: ({ back, nodeBack }) => {
        expect(back.outcome).toBe('unfenced')
        expect(ourKeys(nodeBack)).toEqual([])
      },
    },
  ],
})

/** Decided by the agents' votes, before an API server is asked for anything. */
const voted = (test: string, file = 'src/protocol/proposal.brakes.test.ts'): Pick<LineElsewhere, 'embedded' | 'real'> => ({
  embedded: { file, test },
  real: { cannot: 'no API server has a part in it: the agents decide it by their votes' },
})

export const brakeLines = [
  {
    id: 'single-node-brake',
    part: 'single-node/own-brake',
    says: 'nodes of a room that lives are fenced one by one up to a share of their room, and no further',
    ...voted('are fenced one by one up to the share of their room, and no further'),
  },
  {
    id: 'single-node-brake-is-told',
    part: 'single-node/own-brake',
    says: 'what the brake holds back is told',
    ...voted('are not asked for beyond it, which is told'),
  },
  {
    id: 'brake-share-of-nodes',
    part: 'brakes/brakes',
    says: 'all fences together take no more than the share of the cluster that is allowed, a whole room included',
    ...voted('take no more than the share of the cluster that is allowed, a whole room included'),
  },
  {
    id: 'brake-never-both-rooms',
    part: 'brakes/brakes',
    says: 'both rooms are never fenced',
    ...voted('never take both rooms: whoever is left to vote is alive itself'),
  },
  {
    id: 'brake-api-away',
    part: 'brakes/brakes',
    says: 'an API server that is away while the nodes are heard is no loss of a room',
    ...voted('are not begun because an API server is away while the nodes are heard'),
  },
  {
    id: 'brake-paused',
    part: 'brakes/brakes',
    says: 'while a person has paused fencing nothing is fenced but by a person’s word',
    ...voted('while it is paused is vetoed, with who paused it, but for a forced epoch', 'src/protocol/step.operator-requests.test.ts'),
  },
  {
    id: 'brake-maintenance',
    part: 'brakes/brakes',
    says: 'nodes in maintenance count as neither dead nor alive: they are not suspected, and a room is lost when all its others are',
    ...voted(
      'is not suspected when it is silent, and a room is lost when all others of it are',
      'src/protocol/step.operator-requests.test.ts',
    ),
  },
  {
    id: 'brake-without-majority',
    part: 'brakes/brakes',
    says: 'a survivor without a majority fences nobody: it has no permit, and without one nothing is proposed',
    ...voted('not without a permit', 'src/protocol/proposal.test.ts'),
  },
] as const satisfies readonly LineElsewhere[]
