/** What the API server refuses: by RBAC, each missing rule named, and through a webhook that gives no answer. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { expect } from 'vitest'
import type { FailoverEvent } from '../../src/failover/run/progress.ts'
import { type RbacRule, rbacRules } from '../../src/failover/run/rbac.ts'
import type { KubeClient } from '../../src/kubernetes/client.ts'
import { sleep } from '../support/timing.ts'
import type { Bed, FenceObject } from './bed.ts'
import { addDeadPods, countPods, patience } from './dead-pods.ts'
import type { Line } from './lines.ts'
import { createJob } from './line-objects.ts'

export interface RefusalsPlayed {
  /** What was told while these rights were missing. */
  readonly lacking: ReadonlyMap<string, readonly FailoverEvent[]>
  /** The nodes, as the Fence has them where no pod may be changed. */
  readonly unchanged: NonNullable<FenceObject['status']>['nodes']
  readonly withoutLeases: { readonly events: readonly FailoverEvent[]; readonly outcome: string; readonly left: number }
  readonly tainted: { readonly withoutTaints: number; readonly withoutPods: number }
  readonly webhook: {
    readonly events: readonly FailoverEvent[]
    /** Pods left while the webhook was silent. */
    readonly guarded: number
    readonly free: number
    readonly outcome: string
    readonly leftAfter: number
  }
}

/** The shipped rights, of these resources only these verbs. */
const rightsWith = (changes: Readonly<Record<string, readonly string[]>>): readonly RbacRule[] =>
  rbacRules.flatMap((rule) => {
    const [resource = ''] = rule.resources
    const verbs = changes[resource] ?? rule.verbs
    return verbs.length === 0 ? [] : [{ ...rule, verbs }]
  })

const look = ['get', 'list', 'watch'] as const
const unseen = ['nodes', 'pods', 'persistentvolumes', 'volumeattachments', 'virtualmachines', 'virtualmachineinstances', 'leases'] as const

/** Each play: the rights, and the rules that must be told of. */
const plays = {
  fence: { rights: { fences: [] }, told: ['"roomfence.io"], resources: ["fences"], verbs: [get]'] },
  record: { rights: { 'fences/status': [] }, told: ['"roomfence.io"], resources: ["fences/status"], verbs: [patch]'] },
  look: {
    rights: Object.fromEntries(unseen.map((resource) => [resource, []])),
    told: unseen.map((resource) => `resources: ["${resource}"], verbs: [list, watch]`),
  },
  clear: {
    rights: { pods: look, 'pods/status': [], leases: ['get', 'list'] },
    told: [
      '[""], resources: ["pods"], verbs: [patch]',
      '[""], resources: ["pods/status"], verbs: [patch]',
      '[""], resources: ["pods"], verbs: [delete]',
      '["coordination.k8s.io"], resources: ["leases"], verbs: [patch]',
    ],
  },
  // Last, for were anything deleted here, `clear` would have nothing to be refused.
  taint: { rights: { nodes: look }, told: ['[""], resources: ["nodes"], verbs: [patch]'] },
} as const satisfies Readonly<
  Record<string, { readonly rights: Readonly<Record<string, readonly string[]>>; readonly told: readonly string[] }>
>

/** What cannot be looked at is asked for again after 250 ms, and then after twice as long. */
const untilAskedAgainMs = 1_000

const reasonOf = (event: FailoverEvent): string =>
  event.kind === 'not-seen' || event.kind === 'step-failed' || event.kind === 'api-unavailable' ? event.reason : ''

const isTold = (events: readonly FailoverEvent[], rule: string): boolean =>
  events.some((event) => reasonOf(event).startsWith('the ServiceAccount lacks a rule') && reasonOf(event).includes(rule))

export async function playRefusals(bed: Bed): Promise<RefusalsPlayed> {
  const { api, namespace } = bed
  const [first = ''] = bed.nodesOf()
  await addDeadPods(bed, 'refused', 2)
  await addDeadPods(bed, 'refused-held', 1, { claim: 'refused' })
  // Its pod is bound by the template; once it has failed the Job makes no other.
  await createJob(api, namespace, { name: 'refused-job', podSpec: { nodeName: first, ...patience }, spec: { backoffLimit: 0 } })
  await bed.until('the Job has its pod', async () => (await countPods(bed, 'refused-job')) === 1)
  await api.create(`/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`, {
    metadata: { name: 'refused' },
    spec: { holderIdentity: `${first}_1a2b`, leaseDurationSeconds: 15 },
  })
  const lacking = new Map<string, readonly FailoverEvent[]>()
  let unchanged: RefusalsPlayed['unchanged'] = []
  for (const node of bed.nodesOf()) await backInService(bed, node)
  let isHeld = true
  const dataGate = () => (isHeld ? ({ open: false, reason: 'Outdated on every survivor' } as const) : ({ open: true } as const))
  for (const [name, { rights, told }] of Object.entries(plays)) {
    const client = await bed.clientWith('few-rights', rightsWith(rights))
    // Rights that go a moment later would let it see once more what it is told to lack.
    if (name === 'look') await bed.until('it sees nothing', async () => seesNothing(client))
    const one = bed.failover({ client, dataGate })
    await bed.until(`${name}: ${told.join('; ')}`, () => told.every((rule) => isTold(one.events, rule)))
    // What is told twice, and what is deleted all the same, comes after it.
    if (name === 'look' || name === 'taint') await sleep(untilAskedAgainMs)
    if (name === 'clear') unchanged = await nodesOnceOutOfService(bed, one.order.id)
    one.failover.stop()
    await one.done
    lacking.set(name, one.events)
  }
  const withoutPods = await countPods(bed, 'refused')
  isHeld = false
  const client = await bed.clientWith('few-rights', rightsWith({ leases: [], events: [] }))
  const one = await bed.failedOver({ client, dataGate })
  return {
    lacking,
    unchanged,
    tainted: { withoutTaints: clearedIn(lacking.get('taint')), withoutPods },
    withoutLeases: { events: one.events, outcome: one.result.outcome, left: await countPods(bed, 'refused') },
    webhook: await playWebhook(bed),
  }
}

const seesNothing = async (client: KubeClient): Promise<boolean> =>
  client.list('/api/v1/nodes', { project: () => undefined }).then(
    () => false,
    () => true,
  )

/** Without the taint that an earlier fence of this stage left. */
async function backInService({ api }: Bed, node: string): Promise<void> {
  const path = `/api/v1/nodes/${node}`
  const { spec } = await api.get<{ spec: { taints?: readonly { readonly key: string }[] } }>(path)
  await api.patch(path, { spec: { taints: (spec.taints ?? []).filter(({ key }) => key !== 'node.kubernetes.io/out-of-service') } })
}

/** When the node that has nothing to keep is out of service, as the other one would have been. */
const nodesOnceOutOfService = async (bed: Bed, fence: string): Promise<RefusalsPlayed['unchanged']> =>
  bed.until('the node without a held pod is out of service', async () => {
    const { status } = await bed.fence(fence)
    return status?.nodes.some(({ name, outOfService }) => name === bed.nodesOf()[1] && outOfService) === true && status.nodes
  })

const clearedIn = (events: readonly FailoverEvent[] = []): number => events.filter(({ kind }) => kind === 'pod-cleared').length

const webhooksPath = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations'

/** Takes connections, and says nothing. */
async function startSilentServer(): Promise<{ readonly url: string; close(): void }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    url: `https://127.0.0.1:${String(address.port)}/`,
    close: () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

async function playWebhook(bed: Bed): Promise<RefusalsPlayed['webhook']> {
  const { api, namespace, world } = bed
  // By name the guarded ones come first.
  await addDeadPods(bed, 'guarded', 10, { labels: { guarded: 'yes' } })
  await addDeadPods(bed, 'unguarded', 4)
  const { client, proxy } = await bed.throughProxy()
  let stop = async (): Promise<void> => proxy.set()
  if (world.name === 'real') {
    const server = await startSilentServer()
    const name = 'lines-silent.example.com'
    await api.create(webhooksPath, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name },
      webhooks: [
        {
          name,
          clientConfig: { url: server.url },
          rules: [{ operations: ['DELETE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], scope: 'Namespaced' }],
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
          objectSelector: { matchLabels: { guarded: 'yes' } },
          failurePolicy: 'Fail',
          timeoutSeconds: 1,
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
        },
      ],
    })
    let isOver = false
    stop = async () => {
      if (isOver) return
      isOver = true
      await api.remove(`${webhooksPath}/${name}`)
      server.close()
    }
    bed.onEnd(stop)
    await bed.until('the webhook is asked', async () =>
      api.remove(`/api/v1/namespaces/${namespace}/pods/guarded-00?dryRun=All`).then(
        () => false,
        () => true,
      ),
    )
  } else
    proxy.set({
      appliesTo: ({ method, path }) => method === 'DELETE' && path.includes('/guarded-'),
      latencyMs: 200,
      answer: { status: 500 },
    })
  const one = bed.failover({ client })
  await bed.until('the others are gone', async () => (await countPods(bed, 'unguarded')) === 0)
  const guarded = await countPods(bed, 'guarded')
  const free = await countPods(bed, 'unguarded')
  await stop()
  const { outcome } = await bed.ended(one)
  return { events: one.events, guarded, free, outcome, leftAfter: await countPods(bed, 'guarded') }
}

export const refusalLines: readonly Line<RefusalsPlayed>[] = [
  {
    id: 'control-plane-forbidden-names-the-rule',
    part: 'control-plane/forbidden',
    says: 'a 403 names the missing rule as a ClusterRole has it: of the Fence and its record, of every kind that is looked at, of taints, tolerations, phases, deletes and Leases',
    check: ({ lacking }) => {
      for (const [name, { told }] of Object.entries(plays))
        for (const rule of told) expect(isTold(lacking.get(name) ?? [], rule), `${name}: ${rule}`).toBe(true)
    },
  },
  {
    id: 'control-plane-forbidden-stops-in-order',
    part: 'control-plane/forbidden',
    says: 'without the right to taint nothing is deleted; without the right to delete, the taints are there and the pods stay',
    check: ({ tainted, lacking }) => {
      expect(tainted.withoutTaints).toBe(0)
      expect(lacking.get('clear')).toContainEqual(expect.objectContaining({ kind: 'node-tainted', taint: 'fenced' }))
      expect(tainted.withoutPods).toBe(2)
    },
  },
  {
    id: 'control-plane-forbidden-immunity',
    part: 'control-plane/forbidden',
    says: 'without the right to change pods nothing that is held becomes immune, so its node stays in service, and the Fence names the rule; the node beside it does not',
    check: ({ unchanged }, bed) => {
      const [keeping = '', other = ''] = bed.nodesOf()
      expect(unchanged.find(({ name }) => name === other)).toMatchObject({ outOfService: true })
      expect(unchanged.find(({ name }) => name === keeping)).toMatchObject({
        outOfService: false,
        waitingFor: expect.stringMatching(
          /refused-held-00 is blocked and not immune .* lacks a rule: .* resources: \["pods"\], verbs: \[patch\]/,
        ) as string,
      })
    },
  },
  {
    id: 'control-plane-forbidden-leases-and-events',
    part: 'control-plane/forbidden',
    says: 'without the right to see Leases or to write Events a fence is carried out all the same, and what is missing is told once',
    check: ({ withoutLeases, lacking }) => {
      expect(withoutLeases).toMatchObject({ outcome: 'finished', left: 0 })
      const told = withoutLeases.events.filter((event) => event.kind === 'not-seen')
      expect(told).toHaveLength(1)
      expect(told[0]).toMatchObject({ reason: expect.stringContaining('["leases"], verbs: [list, watch]') as string })
      expect(withoutLeases.events.some(({ kind }) => kind === 'event-dropped')).toBe(true)
      const paths = (lacking.get('look') ?? []).flatMap((event) => (event.kind === 'not-seen' ? [event.path] : []))
      expect(paths.toSorted()).toEqual([...new Set(paths)].toSorted())
    },
  },
  {
    id: 'control-plane-webhook-silent',
    part: 'control-plane/webhooks',
    says: 'deletes that wait for a webhook that never answers keep nothing else waiting, are told with its words, and are done when it is gone',
    check: ({ webhook }, bed) => {
      expect(webhook).toMatchObject({ guarded: 10, free: 0, outcome: 'finished', leftAfter: 0 })
      const failed = webhook.events.filter((event) => event.kind === 'step-failed')
      expect(failed.length).toBeGreaterThan(0)
      if (bed.world.name === 'real') expect(failed[0]?.reason).toContain('failed calling webhook')
    },
  },
]
