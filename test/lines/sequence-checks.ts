/** Lines about taints, order and preconditions in the failover of a whole room. */
import { expect } from 'vitest'
import type { Bed, FenceObject, PlayedFailover } from './bed.ts'
import type { Line } from './lines.ts'
import type { AnyObject, Write } from './recording.ts'
import { livingRoom } from './world.ts'

/** What the stage `room-lost` hands to its lines. */
export interface Room extends PlayedFailover {
  /** Of pods and instances before the loss, by name: the last of a name. */
  readonly uids: ReadonlyMap<string, string>
  /** Of the Fence object, when all had settled. */
  readonly status: NonNullable<FenceObject['status']>
  /** The same fence by another agent, when there was nothing left to do. */
  readonly again: PlayedFailover
}

interface TaintBody {
  readonly metadata?: { readonly resourceVersion?: string }
  readonly spec?: { readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[] }
}

const isNodeWrite = ({ verb, path }: Write): boolean => verb === 'patch' && /^\/api\/v1\/nodes\/[^/]+$/.test(path)
const taintsIn = ({ body }: Write): NonNullable<NonNullable<TaintBody['spec']>['taints']> => (body as TaintBody).spec?.taints ?? []
const bodyOf = ({ body }: Write): TaintBody => body as TaintBody
const isPodDelete = ({ verb, path }: Write): boolean => verb === 'delete' && path.includes('/pods/')
const podName = ({ path }: Write): string => path.slice(path.lastIndexOf('/') + 1)
const hasKey = (write: Write, key: string): boolean => taintsIn(write).some((taint) => taint.key === key)

const fencedKey = 'roomfence.io/fenced'
const outOfServiceKey = 'node.kubernetes.io/out-of-service'

/** Where a write stands among all; the first of those that match, succeeded. */
const firstAt = (writes: readonly Write[], matches: (write: Write) => boolean): number =>
  writes.findIndex((write) => write.outcome === 'ok' && matches(write))

const nodeTaints = async (
  bed: Bed,
  name: string,
): Promise<readonly { readonly key: string; readonly value?: string; readonly effect: string }[]> =>
  ((await bed.api.get<AnyObject>(`/api/v1/nodes/${name}`)).spec as { taints?: { key: string; value?: string; effect: string }[] }).taints ??
  []

/** The VM's name of a launcher pod, as the order of deletes shows it. */
const vmOf = (write: Write): string | undefined => /\/pods\/virt-launcher-(.+)-[a-z0-9]{5}$/.exec(write.path)?.[1]

/** The first place at which a pod of that owner was deleted, -1 if none was. */
const deletedAt = (writes: readonly Write[], prefix: string): number =>
  writes.findIndex((write) => isPodDelete(write) && podName(write).startsWith(prefix))

export const orderLines: readonly Line<Room>[] = [
  {
    id: 'order-fenced-on-all-nodes-first',
    part: 'order/fenced-taint',
    says: 'every node of the fence is tainted roomfence.io/fenced with the epoch, NoSchedule, before anything else is done in the cluster',
    check: async ({ writes, order }, bed) => {
      const fenced = order.nodes.map((node) =>
        firstAt(writes, (write) => write.path === `/api/v1/nodes/${node}` && hasKey(write, fencedKey)),
      )
      expect(fenced).not.toContain(-1)
      const others = writes.flatMap((write, index) =>
        write.path.includes('/fences') || (isNodeWrite(write) && !hasKey(write, outOfServiceKey)) ? [] : [index],
      )
      expect(Math.max(...fenced)).toBeLessThan(Math.min(...others))
      for (const node of order.nodes)
        expect(await nodeTaints(bed, node)).toContainEqual(
          expect.objectContaining({ key: fencedKey, value: String(order.epoch), effect: 'NoSchedule' }),
        )
    },
  },
  {
    id: 'order-out-of-service-before-any-delete-there',
    part: 'order/before-any-delete',
    says: 'a node has both taints before any pod of it is deleted',
    check: ({ writes, order }, bed) => {
      for (const node of order.nodes) {
        const outOfService = firstAt(writes, (write) => write.path === `/api/v1/nodes/${node}` && hasKey(write, outOfServiceKey))
        expect(outOfService).toBeGreaterThan(-1)
        const there = new Set(
          bed.log
            .changes('pods')
            .flatMap(({ object }) => ((object.spec as { nodeName?: string }).nodeName === node ? [object.metadata.uid] : [])),
        )
        const deletes = writes.flatMap((write, index) =>
          isPodDelete(write) && there.has((write.body as { uid: string }).uid) ? [index] : [],
        )
        expect(deletes.length).toBeGreaterThan(0)
        expect(outOfService).toBeLessThan(Math.min(...deletes))
      }
    },
  },
  {
    id: 'order-out-of-service-is-no-schedule',
    part: 'order/out-of-service-taint',
    says: 'the out-of-service taint is ours by its value and NoSchedule: Kubernetes deletes no replacement by name because of it',
    check: async ({ order }, bed) => {
      for (const node of order.nodes)
        expect((await nodeTaints(bed, node)).filter(({ key }) => key === outOfServiceKey)).toEqual([
          expect.objectContaining({ value: 'roomfence', effect: 'NoSchedule' }),
        ])
    },
  },
  {
    id: 'order-taints-carry-the-version',
    part: 'order/foreign-taints',
    says: 'each taint is written with the version of the node that was read, and again after somebody else wrote the list in between',
    check: ({ writes, order }) => {
      const taints = writes.filter(isNodeWrite)
      expect(taints.length).toBeGreaterThanOrEqual(2 * order.nodes.length + 1)
      for (const write of taints) expect(bodyOf(write).metadata?.resourceVersion).toMatch(/^\d+$/)
      expect(taints.map(({ outcome }) => outcome)).toContain('conflict')
    },
  },
  {
    id: 'order-foreign-taints-kept',
    part: 'order/foreign-taints',
    says: 'taints of others stay on the node, those that came meanwhile among them',
    check: async ({ order }, bed) => {
      const keys = (await nodeTaints(bed, order.nodes[0] ?? '')).map(({ key }) => key)
      expect(keys).toEqual(expect.arrayContaining(['example.com/own', 'example.com/late', fencedKey, outOfServiceKey]))
    },
  },
  {
    id: 'order-control-pods-first',
    part: 'order/control-pods-first',
    says: 'pods that others need to come back (control pods) are deleted before any VM',
    check: ({ writes }) => {
      const control = deletedAt(writes, 'control-')
      expect(control).toBeGreaterThan(-1)
      expect(control).toBeLessThan(deletedAt(writes, 'virt-launcher-'))
    },
  },
  {
    id: 'order-vms-by-annotation-and-class',
    part: 'order/vm-waves',
    says: 'VMs are deleted by priority, wave by wave: the annotation, else the value of the PriorityClass',
    check: ({ writes, status }) => {
      const vms = writes.filter(isPodDelete).flatMap((write) => vmOf(write) ?? [])
      // waves of two; within one the order is open
      expect(vms.slice(0, 2).toSorted()).toEqual(['by-class', 'manual'])
      expect(vms.at(-1)).toBe('late')
      const priority = new Map(status.workloads.map((workload) => [workload.name, workload.priority]))
      expect([priority.get('manual'), priority.get('by-class'), priority.get('always'), priority.get('late')]).toEqual([
        9_000, 5_000, 0, -5,
      ])
    },
  },
  {
    id: 'order-stateful-after-vms-then-the-rest',
    part: 'order/stateful-then-rest',
    says: 'after the VMs come other stateful pods, then Jobs, then everything else',
    check: ({ writes }) => {
      const lastVm = writes.findLastIndex((write) => isPodDelete(write) && vmOf(write) !== undefined)
      const [database, taken, batch, web] = ['db-', 'taken-', 'batch-', 'web-'].map((prefix) => deletedAt(writes, prefix))
      expect(database).toBeGreaterThan(lastVm)
      expect(taken).toBeGreaterThan(lastVm)
      const lastStateful = writes.findLastIndex((write) => isPodDelete(write) && /^(?:db|taken)-\d$/.test(podName(write)))
      expect(batch).toBeGreaterThan(lastStateful)
      expect(web).toBeGreaterThan(batch ?? -1)
    },
  },
  {
    id: 'order-deletes-name-the-uid',
    part: 'order/uid-preconditions',
    says: 'every pod is deleted with grace 0 under the uid that was seen, and nothing that runs in the other room is deleted',
    check: ({ writes, uids }, bed) => {
      const deletes = writes.filter(isPodDelete)
      for (const { body } of deletes)
        expect(body).toMatchObject({ uid: expect.stringMatching(/^[0-9a-f-]{36}$/) as string, gracePeriodSeconds: 0 })
      const deleted = new Set(deletes.map(({ body }) => (body as { uid: string }).uid))
      const inLivingRoom = bed.log
        .changes('pods')
        .filter(({ object }) => bed.roomOf((object.spec as { nodeName?: string }).nodeName) === livingRoom)
        .map(({ object }) => object.metadata)
      expect(inLivingRoom.filter(({ uid }) => deleted.has(uid))).toEqual([])
      expect(inLivingRoom.filter(({ deletionTimestamp }) => deletionTimestamp !== undefined).map(({ name }) => name)).toEqual([])
      expect(uids.size).toBeGreaterThan(20)
    },
  },
  {
    id: 'order-gone-is-done',
    part: 'order/gone-or-replaced',
    says: 'a pod that somebody else deleted first (404) counts as done',
    check: ({ writes, events }, { namespace }) => {
      expect(writes.filter((write) => isPodDelete(write) && podName(write) === 'removed').map(({ outcome }) => outcome)).toEqual([
        'not-found',
      ])
      expect(events).toContainEqual(expect.objectContaining({ kind: 'step-done', subject: `${namespace}/removed`, outcome: 'gone' }))
    },
  },
  {
    id: 'order-replacement-left-alone',
    part: 'order/gone-or-replaced',
    says: 'a pod of that name with another uid (409) is left alone: it is the replacement',
    check: async ({ writes, events, uids }, bed) => {
      expect(writes.filter((write) => isPodDelete(write) && podName(write) === 'taken-0').map(({ outcome }) => outcome)).toEqual([
        'conflict',
      ])
      expect(events).toContainEqual(
        expect.objectContaining({ kind: 'step-done', subject: `${bed.namespace}/taken-0`, outcome: 'replaced' }),
      )
      const [pod] = await bed.podsRun('taken', livingRoom)
      expect(pod?.metadata.uid).not.toBe(uids.get('taken-0'))
    },
  },
]
