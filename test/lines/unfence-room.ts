/** A room comes back, is lost again and comes back again. */
import { expect } from 'vitest'
import type { UnfenceResult } from '../../src/failover/unfence/unfence.ts'
import { nodeId } from '../../src/protocol/ids.ts'
import { sleep } from '../support/timing.ts'
import type { Bed, FenceObject, PlayedFailover } from './bed.ts'
import { stage } from './lines.ts'
import { createDeployment, createVm } from './line-objects.ts'
import { nodesReady } from './readiness.ts'
import type { AnyObject } from './recording.ts'
import { deadRoom, livingRoom } from './world.ts'

type FencedStatus = NonNullable<FenceObject['status']> & {
  readonly unfenced?: readonly {
    readonly node: string
    readonly by: string
    readonly epoch: number
    readonly overridden?: readonly string[]
  }[]
  readonly flapping?: { readonly fencesBefore: number; readonly unfenceNotBefore: string }
}

interface Place {
  readonly uid: string
  readonly room: string | undefined
}

interface Played {
  readonly first: PlayedFailover
  readonly second: PlayedFailover
  readonly whileOff: UnfenceResult
  readonly answer: string
  readonly withoutKill: UnfenceResult
  readonly askedForAnEpoch: number
  readonly firstBack: UnfenceResult
  readonly nodesBack: readonly AnyObject[]
  readonly firstStatus: FencedStatus | undefined
  readonly placesBefore: readonly Place[]
  readonly placesAfter: readonly Place[]
  readonly flappingStatus: FencedStatus | undefined
  readonly tooEarly: UnfenceResult
  readonly earlyAnswer: string
  readonly refusalEvents: readonly string[]
  readonly flappingEvents: readonly string[]
  readonly inTime: UnfenceResult
  readonly forced: UnfenceResult
  readonly secondStatus: FencedStatus | undefined
}

const taintsOf = ({ spec }: AnyObject): readonly { readonly key: string; readonly value?: string }[] =>
  (spec as { taints?: readonly { key: string; value?: string }[] }).taints ?? []
const ours = ({ key }: { readonly key: string }): boolean => key.startsWith('roomfence.io/') || key === 'node.kubernetes.io/out-of-service'

async function places(bed: Bed): Promise<readonly Place[]> {
  const vmi = await bed.api.get<AnyObject>(`/apis/kubevirt.io/v1/namespaces/${bed.namespace}/virtualmachineinstances/moved`)
  const pods = await bed.podsOf('web')
  return [
    { uid: vmi.metadata.uid, room: bed.roomOf((vmi.status as { nodeName?: string }).nodeName) },
    ...pods.map(({ metadata, spec }) => ({ uid: metadata.uid, room: bed.roomOf((spec as { nodeName?: string }).nodeName) })),
  ]
}

async function play(bed: Bed): Promise<Played> {
  const { api, namespace } = bed
  const nodes = bed.nodesOf()
  const [first = '', second = ''] = nodes
  const node = async (name: string): Promise<AnyObject> => api.get<AnyObject>(`/api/v1/nodes/${name}`)
  const statusOf = async ({ order }: PlayedFailover): Promise<FencedStatus | undefined> => (await bed.fence(order.id)).status
  const answerOn = async (name: string): Promise<string> => (await node(name)).metadata.annotations?.['roomfence.io/unfence-answer'] ?? ''
  const eventsOf = async (wanted: string): Promise<readonly string[]> => {
    const all = await api.list<AnyObject & { reason?: string; note?: string }>('/apis/events.k8s.io/v1/namespaces/default/events')
    return all.flatMap(({ reason, note = '' }) => (reason === wanted ? [note] : []))
  }
  await api.patch(`/api/v1/nodes/${first}`, { spec: { taints: [{ key: 'team/own', value: 'x', effect: 'PreferNoSchedule' }] } })
  await createVm(api, namespace, { name: 'moved', room: deadRoom })
  await createDeployment(api, namespace, { name: 'web', room: deadRoom })
  await bed.vmiRuns('moved', deadRoom)
  await bed.podsRun('web', deadRoom)
  await bed.powerOff()
  const one = await bed.failedOver()
  await bed.podsRun('web', livingRoom)
  let askedForAnEpoch = 0
  const counted = async () => {
    askedForAnEpoch += 1
    return { chosen: false as const, reason: 'the test was asked' }
  }
  const whileOff = await bed.unfence(one.order, { freshnessMs: 100, agentReport: () => undefined, chooseEpoch: counted })
  const answer = await answerOn(first)
  await bed.powerOn()
  await nodesReady(bed, nodes)
  const withoutKill = await bed.unfence(one.order, {
    isForced: true,
    freshnessMs: 100,
    agentReport: () => ({ killedUnderEpoch: one.order.epoch - 1, resources: [] }),
    chooseEpoch: counted,
  })
  const placesBefore = await places(bed)
  const firstBack = await bed.unfence(one.order)
  const nodesBack = await Promise.all(nodes.map(node))
  await sleep(2_000)
  const placesAfter = await places(bed)
  const firstStatus = await statusOf(one)

  await bed.powerOff()
  const again = await bed.failedOver()
  await bed.powerOn()
  await nodesReady(bed, nodes)
  const flappingStatus = await statusOf(again)
  // The first node has to wait for hours, the other for no time: so one play sees both.
  const hours = { flapWindowMs: 3_600_000, unfenceBackoffMs: 3_600_000, unfenceBackoffMaxMs: 3_600_000 }
  const tooEarly = await bed.unfence(again.order, { nodes: [nodeId(first)], backoff: hours, freshnessMs: 100, chooseEpoch: counted })
  const earlyAnswer = await answerOn(first)
  const refusalEvents = await eventsOf('UnfenceRefused')
  const inTime = await bed.unfence(again.order, { nodes: [nodeId(second)], backoff: { ...hours, unfenceBackoffMs: 1 } })
  const forced = await bed.unfence(again.order, { nodes: [nodeId(first)], backoff: hours, isForced: true, freshnessMs: 100 })
  return {
    first: one,
    second: again,
    whileOff,
    answer,
    withoutKill,
    askedForAnEpoch,
    firstBack,
    nodesBack,
    firstStatus,
    placesBefore,
    placesAfter,
    flappingStatus,
    tooEarly,
    earlyAnswer,
    refusalEvents,
    flappingEvents: await eventsOf('Flapping'),
    inTime,
    forced,
    secondStatus: await statusOf(again),
  }
}

const checksOf = (result: UnfenceResult): readonly string[] =>
  result.outcome === 'refused' ? result.checks.map(({ node, check }) => `${node} ${check}`) : [result.outcome]

export const unfenceRoom = stage<Played>({
  name: 'unfence',
  play,
  lines: [
    {
      id: 'unfence-refused-while-off',
      part: 'unfence/checks',
      says: 'while the room is off its un-fence is refused: not Ready or not fresh, no word of a kill, no word of its replicas; the answer with its next step is on each node, and as an event',
      check: ({ whileOff, answer, refusalEvents }, bed) => {
        for (const name of bed.nodesOf())
          expect(checksOf(whileOff)).toEqual(expect.arrayContaining(['ready', 'killed', 'storage'].map((check) => `${name} ${check}`)))
        expect(answer).toMatch(/refused \(killed\): .*start its agent/)
        expect(refusalEvents.some((note) => note.includes('refused (killed)'))).toBe(true)
      },
    },
    {
      id: 'unfence-needs-the-kill',
      part: 'unfence/checks',
      says: 'a room that was booted anew is refused, by force, too, as long as its agents do not say that they killed under this fence; nobody is asked for an epoch before the checks hold',
      check: ({ withoutKill, askedForAnEpoch }, bed) => {
        expect(checksOf(withoutKill)).toEqual(bed.nodesOf().map((name) => `${name} killed`))
        expect(askedForAnEpoch).toBe(0)
      },
    },
    {
      id: 'unfence-of-a-room',
      part: 'unfence/room',
      says: 'un-fenced, every node of the room has lost our taints and kept all others, and who, when and under which epoch is in the Fence and on the node',
      check: ({ firstBack, nodesBack, firstStatus, first }, bed) => {
        expect(firstBack.outcome).toBe('unfenced')
        expect(nodesBack.flatMap(taintsOf).filter(ours)).toEqual([])
        expect(nodesBack.flatMap(taintsOf).some(({ key }) => key === 'team/own')).toBe(true)
        expect(firstStatus?.phase).toBe('Unfenced')
        expect(firstStatus?.unfenced).toMatchObject(bed.nodesOf().map((node) => ({ node, by: 'operator', epoch: first.order.epoch + 1 })))
        for (const { metadata } of nodesBack) {
          expect(metadata.annotations?.['roomfence.io/unfenced']).toContain('by operator')
          expect(metadata.annotations?.['roomfence.io/unfence-answer']).toBeUndefined()
        }
      },
    },
    {
      id: 'no-failback',
      part: 'unfence/no-failback',
      says: 'nothing is moved back: VM and pods that prefer the room that came back stay where they run',
      check: ({ placesBefore, placesAfter }) => {
        expect(placesAfter).toEqual(placesBefore)
        expect(placesAfter.map(({ room }) => room)).toEqual([livingRoom, livingRoom])
      },
    },
    {
      id: 'flapping-is-told',
      part: 'unfence/flapping',
      says: 'a room that is fenced again soon after its un-fence is told as flapping: in the Fence with the time from which its un-fence is accepted, as progress, and as an event on each node',
      check: ({ flappingStatus, second, firstStatus, flappingEvents }, bed) => {
        expect(firstStatus?.flapping).toBeUndefined()
        expect(flappingStatus?.flapping).toMatchObject({ fencesBefore: 1 })
        expect(Date.parse(flappingStatus?.flapping?.unfenceNotBefore ?? '')).toBeGreaterThan(0)
        expect(second.events.filter((event) => event.kind === 'flapping')).toHaveLength(1)
        expect(flappingEvents).toHaveLength(bed.nodesOf().length)
      },
    },
    {
      id: 'flapping-waits',
      part: 'unfence/flapping',
      says: 'its un-fence is refused until the back-off is over, with the time on the node and as an event, and accepted after it',
      check: ({ tooEarly, earlyAnswer, refusalEvents, inTime }, bed) => {
        expect(checksOf(tooEarly)).toContain(`${bed.nodesOf()[0] ?? ''} flapping`)
        expect(earlyAnswer).toMatch(/refused \(flapping\): fenced again after 1 fence .* accepted from \d{4}-/)
        expect(refusalEvents.some((note) => note.includes('refused (flapping)'))).toBe(true)
        expect(inTime).toMatchObject({ outcome: 'unfenced', overridden: [] })
      },
    },
    {
      id: 'flapping-forced',
      part: 'unfence/flapping',
      says: '“force” overrides the back-off, and the Fence records that it did',
      check: ({ forced, secondStatus }, bed) => {
        const [first = ''] = bed.nodesOf()
        expect(forced.outcome === 'unfenced' && forced.overridden.map(({ node, check }) => `${node} ${check}`)).toContain(
          `${first} flapping`,
        )
        const record = secondStatus?.unfenced?.find(({ node }) => node === first)
        expect(record?.overridden).toContainEqual(expect.stringMatching(/^flapping: fenced again after 1 fence/))
      },
    },
  ],
})
