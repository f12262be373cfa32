/**
 * A relay of carriers of one fence: each is killed at the first write at which none was killed before, once just before it and once just after it, when
 * the API server has done it and the carrier has not seen the answer. The next one has the cluster and the Fence object and nothing else.
 */
import { expect } from 'vitest'
import type { KubeClient } from '../../src/kubernetes/client.ts'
import { nodeId } from '../../src/protocol/ids.ts'
import type { Bed, FenceObject, PlayedFailover } from './bed.ts'
import { patience } from './dead-pods.ts'
import { stage } from './lines.ts'
import { createDeployment, createJob, createStatefulSet, createVm } from './line-objects.ts'
import { deadRoom, livingRoom } from './world.ts'

interface Death {
  readonly when: 'before' | 'after'
  readonly write: string
}

interface Relay {
  readonly carriers: readonly PlayedFailover[]
  readonly deaths: readonly Death[]
  /** Uids of before the fence, by name. */
  readonly uids: ReadonlyMap<string, string>
  readonly fence: FenceObject
  /** When the first carrier wrote that it began. */
  readonly startedAt: string
}

class KilledError extends Error {}

/** Far more than there are writes: a relay that does not get on is a failure. */
const mostExecutors = 300
/** The relay goes on without that write then, and its line says that it is missing. */
const longestHoldMs = 60_000

/** The write in words that stay the same for the carrier who does it again. Writes of the record are told apart by what was done last. */
function nameOf(verb: string, path: string, body: unknown, lastDone: string): string {
  if (path.includes('/roomfence.io/')) return verb === 'create' ? 'make the Fence' : `record, after: ${lastDone}`
  const [name = '', kind = ''] = path
    .replace(/\/(?:status|start)$/, '')
    .split('/')
    .toReversed()
  if (kind === 'nodes') {
    const { taints = [] } = (body as { readonly spec?: { readonly taints?: readonly { readonly key: string }[] } }).spec ?? {}
    return `taint ${name} ${taints.some(({ key }) => key === 'node.kubernetes.io/out-of-service') ? 'out of service' : 'fenced'}`
  }
  if (path.endsWith('/status')) return `fail ${name}`
  if (kind === 'pods' && verb === 'patch') return `tolerate ${name}`
  return `${verb} ${kind} ${name}`
}

/** The carrier's client: its writes go on until the one at which it is killed, and nothing of it after that. */
function mortal(client: KubeClient, deaths: Death[], done: { last: string }): KubeClient {
  let isDead = false
  const die = (death: Death): never => {
    isDead = true
    deaths.push(death)
    throw new KilledError(`killed ${death.when} "${death.write}"`)
  }
  const written = async <T>(verb: string, path: string, body: unknown, call: () => Promise<T>): Promise<T> => {
    if (isDead) throw new KilledError('dead')
    const write = nameOf(verb, path, body, done.last)
    const diedAt = (when: Death['when']): boolean => deaths.some((death) => death.when === when && death.write === write)
    if (!diedAt('before')) return die({ when: 'before', write })
    const answer = await call()
    if (!write.startsWith('record')) done.last = write
    if (!diedAt('after')) return die({ when: 'after', write })
    return answer
  }
  return {
    ...client,
    create: async (path, body, options) => written('create', path, body, async () => client.create(path, body, options)),
    patchMerge: async (path, body, options) =>
      options?.dryRun === true
        ? client.patchMerge(path, body, options)
        : written('patch', path, body, async () => client.patchMerge(path, body, options)),
    patchStrategic: async (path, body, options) => written('patch', path, body, async () => client.patchStrategic(path, body, options)),
    patchJson: async (path, body, options) => written('json-patch', path, body, async () => client.patchJson(path, body, options)),
    putSubresource: async (path, body, options) => written('start', path, body, async () => client.putSubresource(path, body, options)),
    delete: async (path, options) => written('delete', path, undefined, async () => client.delete(path, options)),
  }
}

async function play(bed: Bed): Promise<Relay> {
  const { api, namespace } = bed
  const room = deadRoom
  const [first = ''] = bed.nodesOf()
  // They boot for a while, so that carriers meet the new instances before those run. The embedded world lets a hundredth of it pass.
  const bootMs = bed.world.name === 'embedded' ? 50_000 : 1_000
  await createVm(api, namespace, { name: 'always', room, bootMs, spec: patience })
  await createVm(api, namespace, { name: 'manual', room, runStrategy: 'Manual', bootMs, spec: patience })
  await createStatefulSet(api, namespace, { name: 'db', room, accessMode: 'ReadWriteOnce', podSpec: patience })
  await createStatefulSet(api, namespace, { name: 'stale', room, accessMode: 'ReadWriteOnce' })
  await createJob(api, namespace, { name: 'batch', room, podSpec: patience })
  await createDeployment(api, namespace, { name: 'control', room, labels: { 'roomfence.io/control': '' }, podSpec: patience })
  await createDeployment(api, namespace, { name: 'web', room, podSpec: patience })
  await bed.startVm('manual')
  for (const name of ['always', 'manual']) await bed.vmiRuns(name, room)
  for (const app of ['db', 'stale', 'batch', 'control', 'web']) await bed.podsRun(app, room)
  await api.create(`/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`, {
    metadata: { name: 'election' },
    spec: { holderIdentity: `${first}_5f0d`, leaseDurationSeconds: 15 },
  })
  await bed.log.settled()
  const uids = new Map(
    [...bed.log.changes('pods'), ...bed.log.changes('virtualmachineinstances')]
      .filter(({ object, type }) => object.metadata.namespace === namespace && type !== 'DELETED')
      .map(({ object }) => [object.metadata.name, object.metadata.uid]),
  )
  // dozens of carriers die before the held pod is immune: longer than the embedded world takes to evict it
  bed.withoutEviction()
  await bed.powerOff()
  const offAtMs = performance.now()

  const survivors = bed.nodesOf(livingRoom)
  const carriers: PlayedFailover[] = []
  const deaths: Death[] = []
  const done = { last: 'nothing' }
  let startedAt = ''
  for (let number = 0; ; number++) {
    if (number > mostExecutors) throw new Error(`the relay does not get on: ${JSON.stringify(deaths.slice(-5))}`)
    const before = carriers[0]?.order
    const carrier = bed.failover({
      client: mortal(bed.client, deaths, done),
      order: { ...before, carriedOutBy: nodeId(survivors[number % survivors.length] ?? '') },
      // One after the other: what was written when it died is then known. Events are no part of the transaction.
      config: { maxConcurrency: 1, events: false },
      // Held until its pod is immune, so that this write is one of them; then its replica is up to date.
      dataGate: (volumes) =>
        volumes.some(({ handle }) => handle.includes('stale')) &&
        !done.last.startsWith('tolerate') &&
        !deaths.some(isAfterTolerate) &&
        performance.now() - offAtMs < longestHoldMs
          ? { open: false, reason: 'stale: Outdated on every survivor' }
          : { open: true },
    })
    carriers.push(carrier)
    const outcome = await carrier.done.then(
      (result) => result.outcome,
      (error: unknown) => {
        if (error instanceof KilledError) return 'killed'
        throw error
      },
    )
    if (startedAt === '' && before !== undefined) startedAt = (await startOf(bed, before.id)) ?? ''
    if (outcome === 'killed') continue
    if (outcome !== 'finished') throw new Error(`the fence is ${outcome}`)
    await bed.log.settled()
    return { carriers, deaths, uids, fence: await bed.fence(carrier.order.id), startedAt }
  }
}

const isAfterTolerate = ({ when, write }: Death): boolean => when === 'after' && write.startsWith('tolerate')

const startOf = async (bed: Bed, id: string): Promise<string | undefined> =>
  bed.fence(id).then(
    ({ status }) => (status as { readonly startedAt?: string } | undefined)?.startedAt,
    () => undefined,
  )

const everyWrite = (bed: Bed): readonly RegExp[] => [
  /^make the Fence$/,
  /^record, after: make the Fence$/,
  ...bed.nodesOf().flatMap((node) => [new RegExp(`^taint ${node} fenced$`), new RegExp(`^taint ${node} out of service$`)]),
  /^tolerate stale-0$/,
  /^json-patch leases election$/,
  /^delete pods control-/,
  /^delete pods virt-launcher-always-/,
  /^delete pods virt-launcher-manual-/,
  /^delete pods db-0$/,
  /^delete pods stale-0$/,
  /^fail batch-/,
  /^delete pods batch-/,
  /^delete pods web-/,
  /^start virtualmachines manual$/,
]

export const resumption = stage({
  name: 'resumption',
  play,
  lines: [
    {
      id: 'resumed-at-every-write',
      part: 'transaction/resumed',
      says: 'the carrier is killed just before and just after every single write, those of its record among them, and each time another one goes on to the end',
      check: async ({ deaths, fence }, bed) => {
        for (const write of everyWrite(bed))
          expect(
            deaths.filter((death) => write.test(death.write)).map(({ when }) => when),
            String(write),
          ).toEqual(['before', 'after'])
        // after every step there is something to record, and there it dies as well
        const steps = deaths.filter(({ write, when }) => when === 'after' && !write.startsWith('record') && !write.startsWith('make'))
        const records = deaths.filter(({ write, when }) => when === 'after' && write.startsWith('record'))
        expect(records.length).toBeGreaterThan(steps.length / 2)
        expect(fence.status).toMatchObject({ phase: 'Finished', stuck: [] })
        for (const name of ['always', 'manual']) await bed.vmiRuns(name, livingRoom)
        for (const app of ['db', 'stale', 'batch', 'control', 'web']) await bed.podsRun(app, livingRoom)
      },
    },
    {
      id: 'resumed-knows-what-was',
      part: 'transaction/resumed',
      says: 'what was true before the fence, and when it began, stands in the record until the end, whoever went on: uid, node, runStrategy, whether it ran',
      check: ({ fence, uids, startedAt }, bed) => {
        const recorded = (name: string) => fence.status?.workloads.find((one) => one.name === name && one.namespace === bed.namespace)
        for (const name of ['always', 'manual'])
          expect(recorded(name)).toMatchObject({ uid: uids.get(name), phaseBefore: 'Running', proof: 'storage', state: 'running' })
        expect(recorded('manual')).toMatchObject({ runStrategy: 'Manual' })
        for (const name of ['db-0', 'stale-0']) expect(recorded(name)).toMatchObject({ uid: uids.get(name), state: 'cleared' })
        expect(bed.roomOf(recorded('always')?.node)).toBe(deadRoom)
        expect(startedAt).not.toBe('')
        expect((fence.status as { readonly startedAt?: string }).startedAt).toBe(startedAt)
      },
    },
    {
      id: 'resumed-does-nothing-twice',
      part: 'transaction/resumed',
      says: 'however often it was taken over, each VM and pod was started once again and no more, and each node has each taint once',
      check: async ({ uids, carriers }, bed) => {
        const { log, namespace, api } = bed
        expect(carriers.length).toBeGreaterThan(40)
        const madeAgain = (kind: 'pods' | 'virtualmachineinstances', name: RegExp): number =>
          new Set(
            log
              .changes(kind)
              .filter(({ object }) => object.metadata.namespace === namespace && name.test(object.metadata.name))
              .map(({ object }) => object.metadata.uid)
              .filter((uid) => ![...uids.values()].includes(uid)),
          ).size
        for (const name of [/^always$/, /^manual$/]) expect(madeAgain('virtualmachineinstances', name), String(name)).toBe(1)
        for (const name of [/^virt-launcher-/, /^db-0$/, /^stale-0$/, /^batch-/, /^control-/, /^web-/])
          expect(madeAgain('pods', name), String(name)).toBe(name.source.includes('launcher') ? 2 : 1)
        for (const node of bed.nodesOf()) {
          const { spec } = await api.get<{ spec: { taints: readonly { readonly key: string }[] } }>(`/api/v1/nodes/${node}`)
          for (const key of ['roomfence.io/fenced', 'node.kubernetes.io/out-of-service'])
            expect(spec.taints.filter((taint) => taint.key === key)).toHaveLength(1)
        }
      },
    },
  ],
})
