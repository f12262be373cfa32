/** An API server out of reach, dropped in the middle, slow, silent, or back with words from before an outage. */
import { expect } from 'vitest'
import type { FailoverEvent } from '../../src/failover/run/progress.ts'
import type { UnfenceResult } from '../../src/failover/unfence/unfence.ts'
import { epoch } from '../../src/protocol/ids.ts'
import { sleep } from '../support/timing.ts'
import type { Bed, PlayedFailover } from './bed.ts'
import { addDeadPods, countPods } from './dead-pods.ts'
import type { Line } from './lines.ts'
import { createPod } from './line-objects.ts'
import type { ProxiedRequest } from '../support/proxy.ts'
import type { Write } from './recording.ts'
import { livingRoom } from './world.ts'

interface NodeObject {
  readonly spec: { readonly taints?: readonly { readonly key: string }[] }
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] }
}

interface StaleUnfence {
  readonly result: UnfenceResult
  /** Of the API server, after it. */
  readonly ready: readonly (string | undefined)[]
}

/** Where reads can be frozen: the embedded API server. */
interface StaleReads {
  readonly outcome: string
  readonly events: readonly FailoverEvent[]
  /** Uid of the pod that took another's name behind the frozen reads, and of the pod of that name in the end. */
  readonly replacement: string
  readonly found: string
  readonly left: number
}

export interface OutagePlayed {
  readonly stale: StaleUnfence
  readonly away: {
    readonly told: readonly FailoverEvent[]
    readonly left: number
    readonly outcome: string
    readonly again: PlayedFailover
  }
  readonly dropped: { readonly events: readonly FailoverEvent[]; readonly left: number; readonly outcome: string }
  readonly slow: { readonly deletes: readonly ProxiedRequest[]; readonly left: number; readonly outcome: string }
  readonly silent: {
    readonly events: readonly FailoverEvent[]
    readonly writes: readonly Write[]
    readonly left: number
    readonly outcome: string
    readonly hung: readonly string[]
  }
  readonly frozen: StaleReads | undefined
}

const nodePath = (name: string): string => `/api/v1/nodes/${name}`

export async function playStaleUnfence(bed: Bed): Promise<StaleUnfence> {
  const dead = bed.nodesOf()
  // Its stand-in is so quick that the nodes would be found dead meanwhile.
  bed.world.embedded?.testbed.cluster.stopController('node-lifecycle')
  await bed.powerOff()
  const before = bed.failover({ order: { dryRun: true } })
  before.failover.stop()
  await before.done
  const result = await bed.unfence(before.order, {
    agentReport: () => ({ killedUnderEpoch: epoch(before.order.epoch), resources: [] }),
    // Longer than a kubelet of this world takes to renew its Lease, shorter than the API server takes to miss it.
    freshnessMs: bed.world.name === 'real' ? 4_000 : 150,
  })
  const nodes = await Promise.all(dead.map(async (name) => bed.api.get<NodeObject>(nodePath(name))))
  bed.world.embedded?.testbed.cluster.startController('node-lifecycle')
  return { result, ready: nodes.map(({ status }) => status.conditions.find(({ type }) => type === 'Ready')?.status) }
}

export async function playOutage(bed: Bed): Promise<Omit<OutagePlayed, 'stale'>> {
  const frozen = await playFrozen(bed)
  return { away: await playAway(bed), dropped: await playDropped(bed), slow: await playSlow(bed), silent: await playSilent(bed), frozen }
}

/** Reads show the cluster as it was before a pod made room for another of its name on a living node; writes go through. */
async function playFrozen(bed: Bed): Promise<StaleReads | undefined> {
  const faults = bed.world.embedded?.server.faults
  if (faults === undefined) return undefined
  const { api, namespace } = bed
  const [name = ''] = await addDeadPods(bed, 'frozen', 2)
  const path = `/api/v1/namespaces/${namespace}/pods/${name}`
  const old = await api.get(path)
  faults.freeze()
  await api.remove(path, { gracePeriodSeconds: 0, preconditions: { uid: old.metadata.uid } })
  const replacement = await createPod(api, namespace, { name, node: bed.nodesOf(livingRoom)[0] ?? '', labels: { app: 'frozen' } })
  const one = bed.failover()
  await bed.until('it has tried to do something about pods or taints', () =>
    one.events.some((event) => event.kind === 'step-failed' || (event.kind === 'step-done' && event.step === 'delete-pod')),
  )
  await sleep(2 * bed.world.config.lookEveryMs)
  faults.thaw()
  const { outcome } = await bed.ended(one)
  return {
    outcome,
    events: one.events,
    replacement: replacement.metadata.uid,
    found: await api.get(path).then(
      ({ metadata }) => metadata.uid,
      (error: unknown) => String(error),
    ),
    left: await countPods(bed, 'frozen'),
  }
}

async function playAway(bed: Bed): Promise<OutagePlayed['away']> {
  await addDeadPods(bed, 'away', 3)
  const { client, proxy } = await bed.throughProxy()
  await proxy.refuse()
  const one = bed.failover({ client })
  const isAway = (event: FailoverEvent): boolean => event.kind === 'api-unavailable'
  await bed.until('it has tried four times', () => one.events.filter(isAway).length >= 4)
  const told = one.events.filter(isAway)
  await proxy.accept()
  const { outcome } = await bed.ended(one)
  return { told, outcome, left: await countPods(bed, 'away'), again: one }
}

async function playDropped(bed: Bed): Promise<OutagePlayed['dropped']> {
  await addDeadPods(bed, 'dropped', 6)
  const { client, proxy } = await bed.throughProxy()
  let deletes = 0
  // The connection ends with the second delete, and nothing can be reached for a while.
  proxy.set({
    appliesTo: ({ method }) => {
      if (method !== 'DELETE' || ++deletes !== 2) return false
      void proxy.refuse()
      return true
    },
    isHanging: true,
  })
  const one = bed.failover({ client, config: { maxConcurrency: 2 } })
  await bed.until('it has been told of the outage', () => one.events.some(({ kind }) => kind === 'api-unavailable'))
  await proxy.accept()
  const { outcome } = await bed.ended(one)
  return { events: one.events, outcome, left: await countPods(bed, 'dropped') }
}

/** Answered at once before the API server slows down: calls under way grow more. */
const untilSlow = 24
const slowPods = 30

async function playSlow(bed: Bed): Promise<OutagePlayed['slow']> {
  await addDeadPods(bed, 'slow', untilSlow + slowPods)
  const { client, proxy } = await bed.throughProxy()
  let deletes = 0
  proxy.set({ appliesTo: ({ method }) => method === 'DELETE' && ++deletes > untilSlow, latencyMs: 1_100 })
  const { result } = await bed.failedOver({ client })
  const all = proxy.requests.filter(({ method }) => method === 'DELETE')
  return { deletes: all.slice(untilSlow), outcome: result.outcome, left: await countPods(bed, 'slow') }
}

async function playSilent(bed: Bed): Promise<OutagePlayed['silent']> {
  await addDeadPods(bed, 'silent', 3)
  const { client, proxy } = await bed.throughProxy()
  const hung: string[] = []
  const isFirst = (what: string, is: boolean): boolean => is && !hung.includes(what) && hung.push(what) > 0
  proxy.set({
    appliesTo: ({ method, path }) =>
      isFirst('record', method === 'PATCH' && path.endsWith('/status')) ||
      isFirst('taint', method === 'PATCH' && path.includes('/nodes/')) ||
      isFirst('delete', method === 'DELETE'),
    isHanging: true,
  })
  const { result, events, writes } = await bed.failedOver({ client, config: { apiCallMs: 1_000 } })
  return { events, writes, outcome: result.outcome, left: await countPods(bed, 'silent'), hung }
}

export const outageLines: readonly Line<OutagePlayed>[] = [
  {
    id: 'control-plane-unreachable',
    part: 'control-plane/unreachable',
    says: 'an API server that cannot be reached is tried for ever, each time after twice as long up to 10 s; the fence is kept and carried out when it is there',
    check: async ({ away }, bed) => {
      expect(away.told.slice(0, 4).map((event) => (event.kind === 'api-unavailable' ? event.retryInMs : 0))).toEqual([
        250, 500, 1_000, 2_000,
      ])
      expect(away).toMatchObject({ outcome: 'finished', left: 0 })
      expect((await bed.fence(away.again.order.id)).status?.phase).toBe('Finished')
    },
  },
  {
    id: 'control-plane-dropped-in-the-middle',
    part: 'control-plane/unreachable',
    says: 'out of reach in the middle of the deletes, told, and finished from there when it is back',
    check: ({ dropped }) => {
      expect(dropped).toMatchObject({ outcome: 'finished', left: 0 })
      expect(dropped.events).toContainEqual(expect.objectContaining({ kind: 'step-failed', code: 'unavailable' }))
    },
  },
  {
    id: 'control-plane-slow',
    part: 'control-plane/slow',
    says: 'answers that take more than a second lower the number of calls under way, and the fence finishes',
    check: ({ slow }) => {
      expect(slow).toMatchObject({ outcome: 'finished', left: 0 })
      const [first] = slow.deletes
      const early = slow.deletes.filter(({ atMs }) => atMs < (first?.atMs ?? 0) + 900)
      const late = slow.deletes.filter(({ atMs }) => atMs >= (first?.atMs ?? 0) + 900)
      expect(late.length).toBeGreaterThan(0)
      expect(Math.max(...late.map(({ together }) => together))).toBeLessThan(Math.max(...early.map(({ together }) => together)))
    },
  },
  {
    id: 'control-plane-silent-calls',
    part: 'control-plane/slow',
    says: 'a call that gets no answer is given up after the time-out and made again: of the record, of a taint, and of a delete; no pod is deleted before the taint is there',
    check: ({ silent }, bed) => {
      expect(silent.hung).toEqual(['record', 'taint', 'delete'])
      expect(silent).toMatchObject({ outcome: 'finished', left: 0 })
      expect(silent.events).toContainEqual(
        expect.objectContaining({ kind: 'api-unavailable', reason: expect.stringContaining('no answer within') as string }),
      )
      const failed = silent.events.filter((event) => event.kind === 'step-failed')
      expect(failed.map(({ step, code }) => [step, code])).toEqual(
        expect.arrayContaining([
          ['taint', 'timeout'],
          ['delete-pod', 'timeout'],
        ]),
      )
      const firstDelete = silent.writes.findIndex(({ verb }) => verb === 'delete')
      for (const node of bed.nodesOf()) {
        const tainted = silent.writes.findIndex(({ path, outcome }) => path === nodePath(node) && outcome === 'ok')
        expect(tainted).toBeGreaterThan(-1)
        expect(tainted).toBeLessThan(firstDelete)
      }
    },
  },
  {
    id: 'control-plane-stale-reads',
    part: 'control-plane/stale',
    says: 'while reads show an older state than writes meet, every write carries the uid or version that was read: a pod that took a lost one’s name is left alone',
    real: { cannot: 'one kube-apiserver on one etcd answers reads as of now' },
    check: ({ frozen }) => {
      expect(frozen).toMatchObject({ outcome: 'finished', left: 1 })
      expect(frozen?.found).toBe(frozen?.replacement)
    },
  },
  {
    id: 'control-plane-stale-ready',
    part: 'control-plane/stale',
    says: 'an API server that still says Ready of a dead node is not believed: an un-fence is refused unless the kubelet renews its Lease while we look',
    check: ({ stale }, bed) => {
      expect(stale.ready).toEqual(bed.nodesOf().map(() => 'True'))
      expect(stale.result).toMatchObject({ outcome: 'refused' })
      const checks = stale.result.outcome === 'refused' ? stale.result.checks : []
      for (const node of bed.nodesOf())
        expect(checks).toContainEqual(
          expect.objectContaining({ node, check: 'ready', reason: expect.stringContaining('has not renewed its Lease') as string }),
        )
    },
  },
]
