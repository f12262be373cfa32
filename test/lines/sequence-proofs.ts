/** The proof of one node comes later than that of the other. */
import { expect } from 'vitest'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import type { ProofAnswer, Proofs } from '../../src/failover/fence/proofs.ts'
import type { Bed, FenceObject, PlayedFailover } from './bed.ts'
import { stage } from './lines.ts'
import { createDeployment, createStatefulSet, createVm } from './line-objects.ts'
import type { AnyObject } from './recording.ts'
import { deadRoom, livingRoom } from './world.ts'

const preferringNode = (name: string): Readonly<Record<string, unknown>> => ({
  affinity: {
    nodeAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 100, preference: { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [name] }] } },
      ],
    },
  },
})

const outOfServiceKey = 'node.kubernetes.io/out-of-service'
const taintKeys = ({ spec }: AnyObject): readonly string[] =>
  ((spec as { taints?: readonly { key: string }[] }).taints ?? []).map(({ key }) => key)

interface Played extends PlayedFailover {
  readonly result: FailoverResult
  readonly soon: string
  readonly late: string
  /** While the late node had no proof. */
  readonly waiting: NonNullable<FenceObject['status']>
  readonly keysWhileWaiting: readonly string[]
  /** Of the late node's leader Lease: without the proof, and at the end. */
  readonly holders: readonly (string | undefined)[]
  readonly lateUids: ReadonlyMap<string, string>
  readonly lateUidsWhileWaiting: ReadonlyMap<string, string | undefined>
}

async function play(bed: Bed): Promise<Played> {
  const { api, namespace } = bed
  const [soon = '', late = ''] = bed.nodesOf()
  await createVm(api, namespace, { name: 'soon', spec: preferringNode(soon) })
  await createVm(api, namespace, { name: 'late', spec: preferringNode(late) })
  await createStatefulSet(api, namespace, { name: 'late-db', podSpec: preferringNode(late) })
  await createDeployment(api, namespace, { name: 'late-web', podSpec: preferringNode(late) })
  const uidsNow = async (): Promise<ReadonlyMap<string, string>> => {
    const vmis = await api.list<AnyObject>(`/apis/kubevirt.io/v1/namespaces/${namespace}/virtualmachineinstances`)
    const pods = [...(await bed.podsOf('late-db')), ...(await bed.podsOf('late-web'))]
    return new Map([
      ...vmis.map(({ metadata }) => [metadata.name, metadata.uid] as const),
      ...pods.map(({ metadata }) => [metadata.labels?.['app'] ?? '', metadata.uid] as const),
    ])
  }
  const leasePath = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`
  await api.create(leasePath, { metadata: { name: 'of-the-late' }, spec: { holderIdentity: `${late}_1`, leaseDurationSeconds: 15 } })
  const holder = async (): Promise<string | undefined> =>
    (await api.get<{ spec: { holderIdentity?: string } }>(`${leasePath}/of-the-late`)).spec.holderIdentity
  for (const name of ['soon', 'late']) await bed.vmiRuns(name, deadRoom)
  for (const app of ['late-db', 'late-web']) await bed.podsRun(app, deadRoom)
  const lateUids = await uidsNow()
  let isProved = false
  const answer = (node: string): ProofAnswer =>
    node === soon || isProved
      ? { isProved: true, proof: { kind: 'killed' } }
      : { isProved: false, reason: 'it has not said that it killed' }
  const proofs: Proofs = { node: answer, workload: answer }
  bed.withoutEviction()
  await bed.powerOff()
  const started = bed.failover({ proofs })
  await bed.vmiRuns('soon', livingRoom)
  await bed.podsRun('late-web', livingRoom)
  const waiting = await bed.until('the fence waits', async () => {
    const { status } = await bed.fence(started.order.id)
    return status?.phase === 'Waiting' ? status : undefined
  })
  const lateNode = await api.get<AnyObject>(`/api/v1/nodes/${late}`)
  const lateUidsWhileWaiting = await uidsNow()
  const holderWhileWaiting = await holder()
  isProved = true
  started.failover.poke()
  const result = await bed.ended(started)
  await bed.podsRun('late-db', livingRoom)
  await bed.log.settled()
  return {
    ...started,
    result,
    soon,
    late,
    waiting,
    keysWhileWaiting: taintKeys(lateNode),
    lateUids,
    lateUidsWhileWaiting,
    holders: [holderWhileWaiting, await holder()],
  }
}

export const orderProofs = stage({
  name: 'node-by-node',
  play,
  lines: [
    {
      id: 'order-out-of-service-node-by-node',
      part: 'order/out-of-service-taint',
      says: 'each node gets the out-of-service taint for itself when its storage workloads have their proof: a node that waits does not keep the other one',
      check: ({ soon, late, waiting, keysWhileWaiting }, bed) => {
        expect(keysWhileWaiting).toContain('roomfence.io/fenced')
        expect(keysWhileWaiting).not.toContain(outOfServiceKey)
        expect(waiting.nodes.map(({ name, outOfService }) => [name, outOfService])).toEqual([
          [soon, true],
          [late, false],
        ])
        const firstWith = (node: string): number =>
          bed.log.changes('nodes').find(({ object }) => object.metadata.name === node && taintKeys(object).includes(outOfServiceKey))
            ?.version ?? -1
        expect(firstWith(soon)).toBeGreaterThan(-1)
        expect(firstWith(soon)).toBeLessThan(firstWith(late))
      },
    },
    {
      id: 'order-nothing-with-storage-goes-unproved',
      part: 'order/out-of-service-taint',
      says: 'a VM and a StatefulSet pod stay where they are without a proof, the Fence says what each node and workload waits for, and they go when it comes',
      check: async ({ late, waiting, lateUids, lateUidsWhileWaiting, result }, bed) => {
        for (const name of ['late', 'late-db']) expect(lateUidsWhileWaiting.get(name)).toBe(lateUids.get(name))
        for (const name of ['late', 'late-db-0'])
          expect(waiting.workloads.find((workload) => workload.name === name)).toMatchObject({
            state: 'waiting',
            proof: '',
            reason: expect.stringContaining('it has not said that it killed') as string,
          })
        expect(waiting.nodes.find(({ name }) => name === late)?.waitingFor).toMatch(
          /^[^:]*\/(?:virt-launcher-late-|late-db-0)[^:]*: .*it has not said that it killed/,
        )
        expect(result).toMatchObject({ outcome: 'finished', failed: [], blocked: [] })
        expect((await bed.vmiRuns('late', livingRoom)).metadata.uid).not.toBe(lateUids.get('late'))
      },
    },
    {
      id: 'order-without-storage-no-wait',
      part: 'order/out-of-service-taint',
      says: 'a pod that has no storage and may run twice needs no proof: it is replaced while others on its node still wait',
      check: ({ lateUids, lateUidsWhileWaiting }) => {
        expect(lateUidsWhileWaiting.get('late-web')).toBeDefined()
        expect(lateUidsWhileWaiting.get('late-web')).not.toBe(lateUids.get('late-web'))
      },
    },
    {
      id: 'kubevirt-leases-need-the-proof',
      part: 'kubevirt/leases',
      says: 'a leader Lease is released only with the proof that its holder’s node has stopped',
      check: ({ holders, late }) => {
        expect(holders).toEqual([`${late}_1`, ''])
      },
    },
  ],
})
