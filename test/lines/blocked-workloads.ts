/** Workloads that must not start elsewhere yet, on dead nodes, for longer than Kubernetes itself leaves them alone. */
import { expect } from 'vitest'
import type { KubeClient } from '../../src/kubernetes/client.ts'
import { KubeError } from '../../src/kubernetes/errors.ts'
import type { ApiObject } from '../support/api-client.ts'
import { sleep } from '../support/timing.ts'
import type { Bed, FenceObject, PlayedFailover } from './bed.ts'
import { stage } from './lines.ts'
import { createStatefulSet, createVm } from './line-objects.ts'
import type { AnyObject } from './recording.ts'
import { deadRoom, livingRoom } from './world.ts'

/** StatefulSets with one pod each. `unlucky` is held as `held` is, for a time, and the write that would make it immune is refused. */
const sets = ['held', 'unproved', 'unlucky', 'ending'] as const

interface Held extends PlayedFailover {
  readonly nodes: { readonly inService: string; readonly outOfService: string }
  /** Pods and the VM's instance as they were before the fence, by name of the workload. */
  readonly before: ReadonlyMap<string, ApiObject>
  /** The fence, the pods and the taints when Kubernetes' own eviction was long over, before anything was released. */
  readonly fence: FenceObject
  readonly pods: readonly AnyObject[]
  readonly unlucky: { readonly told: FenceObject; readonly taints: ReadonlyMap<string, readonly string[]> }
  /** The taints when the one that could not be made immune had gone. */
  readonly taints: ReadonlyMap<string, readonly string[]>
  /** The same when the one without proof has got it and gone: then the terminating one alone is left to keep its node. */
  readonly last: { readonly fence: FenceObject; readonly taints: ReadonlyMap<string, readonly string[]>; readonly ending: AnyObject }
  /** Version of the API server then: what came later is the release. */
  readonly releasedAt: number
}

const preferring = (node: string): Readonly<Record<string, unknown>> => ({
  affinity: {
    nodeAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 100, preference: { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [node] }] } },
      ],
    },
  },
})

const withoutImmunityFor = (client: KubeClient, pod: string): KubeClient => ({
  ...client,
  patchMerge: async (path, body, options) => {
    if (path.endsWith(`/pods/${pod}`))
      throw new KubeError('forbidden', `PATCH ${path}: refused by the test`, { method: 'PATCH', path, status: 403, reason: 'Forbidden' })
    return client.patchMerge(path, body, options)
  },
})

async function play(bed: Bed): Promise<Held> {
  const { api, namespace } = bed
  const [outOfService = '', inService = ''] = bed.nodesOf()
  const on = { held: outOfService, unlucky: outOfService, unproved: inService, ending: inService }
  await createVm(api, namespace, { name: 'stale', spec: preferring(outOfService) })
  await createVm(api, namespace, { name: 'fresh', spec: preferring(outOfService) })
  for (const name of sets) await createStatefulSet(api, namespace, { name, accessMode: 'ReadWriteOnce', podSpec: preferring(on[name]) })
  const before = new Map<string, ApiObject>()
  for (const name of ['stale', 'fresh']) before.set(name, await bed.vmiRuns(name, deadRoom))
  for (const name of sets) for (const pod of await bed.podsRun(name, deadRoom)) before.set(name, pod)
  await bed.powerOff()
  const offAtMs = performance.now()
  await api.remove(`/api/v1/namespaces/${namespace}/pods/ending-0`)

  let isProved = false
  let isOver = false
  const good = ['fresh', 'unproved']
  const noProof = { isProved: false, reason: 'no watchdog, and nobody has said that it is dead' } as const
  const one = bed.failover({
    client: withoutImmunityFor(bed.client, 'unlucky-0'),
    proofs: {
      node: () => (isOver ? { isProved: true, proof: { kind: 'human', by: 'ada' } } : noProof),
      workload: (_, resources) =>
        isProved || !resources.some((name) => name.includes('unproved')) ? { isProved: true, proof: { kind: 'storage' } } : noProof,
    },
    dataGate: (volumes) =>
      isOver || volumes.every(({ handle }) => good.some((name) => handle.includes(name)))
        ? { open: true }
        : { open: false, reason: 'Outdated on every survivor' },
  })
  const told = await bed.until('the Fence says that it is not immune', async () => {
    const seen = await bed.fence(one.order.id)
    const { waitingFor = '' } = seen.status?.nodes.find(({ name }) => name === outOfService) ?? {}
    return waitingFor.includes('its tolerations cannot be changed') ? seen : undefined
  })
  await bed.vmiRuns('fresh', livingRoom)
  // The one that was not made immune shows when Kubernetes has done its work; then a quarter longer than it takes with all nodes.
  const unluckyPath = `/api/v1/namespaces/${namespace}/pods/unlucky-0`
  const isEvicted = async (): Promise<boolean> => (await api.get(unluckyPath)).metadata.deletionTimestamp !== undefined
  await bed.until('Kubernetes evicts it', isEvicted, bed.world.evictedAfterMs * 3)
  await sleep(Math.max(0, offAtMs + bed.world.evictedAfterMs * 1.25 - performance.now()))
  const fence = await bed.fence(one.order.id)
  const pods = await api.list<AnyObject>(`/api/v1/namespaces/${namespace}/pods`)
  const unlucky = { told, taints: await taintsOf(bed) }

  good.push('unlucky')
  one.failover.poke()
  await bed.podsRun('unlucky', livingRoom)
  const taints = await taintsOf(bed)
  await bed.log.settled()
  const releasedAt = Math.max(...bed.log.changes().map(({ version }) => version))

  isProved = true
  one.failover.poke()
  // Its volume stays attached, in the real world for six minutes, since its node is not out of service.
  await bed.until('the one without proof is cleared', async () => {
    const pod = await api.get(`/api/v1/namespaces/${namespace}/pods/unproved-0`).catch(() => undefined)
    return pod?.metadata.uid !== uidOf(before, 'unproved')
  })
  const lastFence = await bed.until('the terminating one alone keeps its node', async () => {
    const seen = await bed.fence(one.order.id)
    const { waitingFor = '' } = seen.status?.nodes.find(({ name }) => name === inService) ?? {}
    return waitingFor === '' || /unproved/.test(waitingFor) ? undefined : seen
  })
  // Long enough for another look and a taint.
  await sleep(3 * bed.world.config.lookEveryMs)
  const last = {
    fence: lastFence,
    taints: await taintsOf(bed),
    ending: await api.get<AnyObject>(`/api/v1/namespaces/${namespace}/pods/ending-0`),
  }

  isOver = true
  one.failover.poke()
  await bed.ended(one)
  await bed.log.settled()
  return { ...one, nodes: { inService, outOfService }, before, fence, pods, unlucky, taints, last, releasedAt }
}

async function taintsOf(bed: Bed): Promise<ReadonlyMap<string, readonly string[]>> {
  const taints = new Map<string, readonly string[]>()
  for (const node of bed.nodesOf()) {
    const { spec } = await bed.api.get<{ spec: { taints?: readonly { readonly key: string }[] } }>(`/api/v1/nodes/${node}`)
    taints.set(node, spec.taints?.map(({ key }) => key) ?? [])
  }
  return taints
}

const uidOf = (before: Held['before'], name: string): string => before.get(name)?.metadata.uid ?? ''

export const blockedWorkloads = stage({
  name: 'held',
  play,
  lines: [
    {
      id: 'held-immune-first',
      part: 'order/held-immune',
      says: 'what is held, or waits without an end for its proof, is made immune before its node is out of service and before anything there is deleted',
      check: ({ writes, nodes, pods }) => {
        const tolerated = writes.flatMap(({ verb, path, body }, index) =>
          verb === 'patch' && /\/pods\/[^/]+$/.test(path) && 'tolerations' in ((body as { readonly spec?: object }).spec ?? {})
            ? [{ path, index }]
            : [],
        )
        const indexOf = (pod: RegExp): number => tolerated.find(({ path }) => pod.test(path))?.index ?? Infinity
        const firstDelete = writes.findIndex(({ verb }) => verb === 'delete')
        const outOfService = writes.findIndex(
          ({ path, body }) => path.endsWith(nodes.outOfService) && JSON.stringify(body).includes('out-of'),
        )
        for (const pod of [/virt-launcher-stale-/, /\/held-0$/]) expect(indexOf(pod)).toBeLessThan(Math.min(firstDelete, outOfService))
        expect(indexOf(/\/unproved-0$/)).toBeLessThan(firstDelete)
        for (const { metadata, spec } of pods) {
          if (!/^(?:virt-launcher-stale-.*|held-0|unproved-0)$/.test(metadata.name)) continue
          const { tolerations } = spec as {
            readonly tolerations: readonly { readonly key?: string; readonly tolerationSeconds?: number }[]
          }
          for (const key of ['node.kubernetes.io/unreachable', 'node.kubernetes.io/not-ready'])
            expect(tolerations.filter((one) => one.key === key)).toEqual([{ key, operator: 'Exists', effect: 'NoExecute' }])
        }
      },
    },
    {
      id: 'held-outlasts-eviction',
      part: 'order/held-immune',
      says: 'long past Kubernetes’ own eviction a held VM, a held pod and one without proof are neither deleted nor started elsewhere, and the Fence says why',
      check: ({ fence, before, pods, releasedAt }, bed) => {
        for (const name of ['held', 'unproved']) {
          expect(pods.filter(({ metadata }) => metadata.name === `${name}-0`).map(({ metadata }) => metadata.uid)).toEqual([
            uidOf(before, name),
          ])
          expect(pods.find(({ metadata }) => metadata.name === `${name}-0`)?.metadata.deletionTimestamp).toBeUndefined()
        }
        const launchers = pods.filter(({ metadata }) => metadata.name.startsWith('virt-launcher-stale-'))
        expect(launchers.map(({ metadata }) => metadata.deletionTimestamp)).toEqual([undefined])
        const instances = bed.log
          .changes('virtualmachineinstances')
          .filter(({ object, version }) => object.metadata.name === 'stale' && version <= releasedAt)
        expect(new Set(instances.map(({ object }) => object.metadata.uid))).toEqual(new Set([uidOf(before, 'stale')]))
        expect(instances.at(-1)?.object.status).toMatchObject({ phase: 'Running' })
        const recorded = (uid: string) => fence.status?.workloads.find((one) => one.uid === uid)
        for (const name of ['stale', 'held'])
          expect(recorded(uidOf(before, name))).toMatchObject({ state: 'held', reason: 'Outdated on every survivor' })
        expect(recorded(uidOf(before, 'unproved'))).toMatchObject({
          state: 'waiting',
          reason: expect.stringContaining('no watchdog') as string,
        })
        expect(fence.status?.phase).toBe('Waiting')
      },
    },
    {
      id: 'held-without-immunity-keeps-its-node-in-service',
      part: 'order/held-immune',
      says: 'a held pod that cannot be made immune keeps its node in service, and the Fence says why: Kubernetes evicts it, and starts it nowhere; what may go there goes',
      check: ({ pods, before, unlucky, nodes }) => {
        expect(unlucky.told.status?.nodes.find(({ name }) => name === nodes.outOfService)).toMatchObject({
          outOfService: false,
          waitingFor: expect.stringMatching(
            /unlucky-0 is blocked and not immune .*\(its tolerations cannot be changed: .*\): Outdated on every survivor$/,
          ) as string,
        })
        const evicted = pods.filter(({ metadata }) => metadata.name === 'unlucky-0')
        expect(evicted.map(({ metadata }) => metadata)).toMatchObject([
          { uid: uidOf(before, 'unlucky'), deletionTimestamp: expect.stringMatching(/Z$/) as string },
        ])
        expect(unlucky.taints.get(nodes.outOfService)).not.toContain('node.kubernetes.io/out-of-service')
      },
    },
    {
      id: 'held-terminating-keeps-its-node-in-service',
      part: 'order/out-of-service-taint',
      says: 'a node on which a held pod is terminating already, or one has no proof, is not put out of service: Kubernetes would start it; the node beside it is',
      check: ({ taints, nodes, before, fence, last }) => {
        const out = 'node.kubernetes.io/out-of-service'
        expect(taints.get(nodes.outOfService)).toContain(out)
        expect(taints.get(nodes.inService)).not.toContain(out)
        expect(fence.status?.nodes.find(({ name }) => name === nodes.inService)).toMatchObject({ outOfService: false })
        expect(last.taints.get(nodes.inService)).not.toContain(out)
        expect(last.fence.status?.nodes.find(({ name }) => name === nodes.inService)).toMatchObject({
          outOfService: false,
          waitingFor: expect.stringContaining('ending-0 is blocked and terminating already') as string,
        })
        expect(last.ending.metadata).toMatchObject({
          uid: uidOf(before, 'ending'),
          deletionTimestamp: expect.stringMatching(/Z$/) as string,
        })
      },
    },
    {
      id: 'held-released-when-fresh',
      part: 'skips/held',
      says: 'what was held goes on as soon as its proof and its replicas are there, the terminating one as well, and the fence finishes',
      check: async ({ done, order }, bed) => {
        expect(await done).toMatchObject({ outcome: 'finished', blocked: [], failed: [] })
        await bed.vmiRuns('stale', livingRoom)
        for (const name of ['held', 'unproved', 'ending']) await bed.podsRun(name, livingRoom)
        expect((await bed.fence(order.id)).status?.phase).toBe('Finished')
      },
    },
  ],
})
