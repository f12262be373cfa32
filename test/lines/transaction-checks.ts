/** Lines about the Fence object and what is written when, in the failover of a whole room. */
import { expect } from 'vitest'
import type { FenceWorkload } from './bed.ts'
import type { Line } from './lines.ts'
import type { Room } from './sequence-checks.ts'
import type { Write } from './recording.ts'

interface Definition {
  readonly spec: {
    readonly scope: string
    readonly versions: readonly {
      readonly subresources?: object
      readonly additionalPrinterColumns?: readonly { readonly name: string }[]
      readonly schema: { readonly openAPIV3Schema: { readonly properties: { readonly status?: object } } }
    }[]
  }
}

const isStatusWrite = ({ verb, path, outcome }: Write): boolean =>
  verb === 'patch' && /\/fences\/[^/]+\/status$/.test(path) && outcome === 'ok'
const workloadsIn = ({ body }: Write): readonly FenceWorkload[] =>
  (body as { readonly status?: { readonly workloads?: readonly FenceWorkload[] } }).status?.workloads ?? []

export const transactionLines: readonly Line<Room>[] = [
  {
    id: 'transaction-fence-object',
    part: 'transaction/fence-object',
    says: 'the Fence is cluster-scoped, with a schema, a status subresource and printer columns',
    check: async (_, { api }) => {
      const { spec } = await api.get<Definition>('/apis/apiextensions.k8s.io/v1/customresourcedefinitions/fences.roomfence.io')
      expect(spec.scope).toBe('Cluster')
      const [version] = spec.versions
      expect(version?.subresources).toEqual({ status: {} })
      expect(version?.schema.openAPIV3Schema.properties.status).toBeDefined()
      expect(version?.additionalPrinterColumns?.map(({ name }) => name)).toEqual(
        expect.arrayContaining(['Phase', 'Rooms', 'VMs', 'Running', 'Held', 'Age']),
      )
    },
  },
  {
    id: 'transaction-fence-shows-all',
    part: 'transaction/fence-object',
    says: 'the Fence shows every node with its proof and taints, every workload with its state, proof, reason and time, released Leases and what is stuck',
    check: async ({ order, writes }, bed) => {
      const { status, spec } = await bed.fence(order.id)
      expect(spec).toMatchObject({ epoch: order.epoch, nodes: order.nodes, rooms: order.rooms, reason: order.reason })
      expect(status?.nodes.map(({ name, fenced, outOfService }) => [name, fenced, outOfService])).toEqual(
        order.nodes.map((name) => [name, true, true]),
      )
      for (const node of status?.nodes ?? [])
        expect(node).toMatchObject({
          proof: 'killed',
          bootId: expect.stringMatching(/./) as string,
          uid: expect.stringMatching(/./) as string,
        })
      const states = new Map(status?.workloads.map(({ name, state }) => [name, state]))
      expect([states.get('always'), states.get('once'), states.get('db-0'), states.get('opted-out')]).toEqual([
        'running',
        'stopped',
        'cleared',
        'skipped',
      ])
      for (const workload of status?.workloads ?? []) {
        expect(workload).toMatchObject({ at: expect.stringMatching(/^\d{4}-.*Z$/) as string, node: expect.stringMatching(/./) as string })
        if (workload.state === 'running' || workload.state === 'cleared') expect(workload.proof).toMatch(/^(?:storage|killed)$/)
        else expect(workload.reason).not.toBe('')
      }
      expect(status).toMatchObject({ startedAt: expect.stringMatching(/Z$/) as string, leases: [{ released: true }] })
      expect(status?.stuck).toHaveLength(1)
      // what the schema does not know would have been dropped in silence
      const written = writes.findLast(isStatusWrite)?.body as { status: object } | undefined
      expect(Object.keys(status ?? {})).toEqual(expect.arrayContaining(Object.keys(written?.status ?? {})))
    },
  },
  {
    id: 'transaction-written-before-acting',
    part: 'transaction/written-first',
    says: 'the Fence object is there before the first taint, and a workload stands in it as ordered, with its proof, before its pod is deleted',
    check: ({ writes, uids }) => {
      expect(writes[0]).toMatchObject({ verb: 'create', path: '/apis/roomfence.io/v1/fences', outcome: 'ok' })
      const names = ['always', 'rerun', 'manual', 'once', 'by-class', 'late']
      for (const name of names) {
        const deleted = writes.findIndex(({ verb, path }) => verb === 'delete' && path.includes(`/pods/virt-launcher-${name}-`))
        expect(deleted).toBeGreaterThan(-1)
        const known = writes.slice(0, deleted).findLast(isStatusWrite)
        expect(known && workloadsIn(known).find((workload) => workload.name === name)).toMatchObject({
          uid: uids.get(name),
          state: 'ordered',
          proof: 'storage',
        })
      }
    },
  },
  {
    id: 'transaction-idempotent',
    part: 'transaction/plan',
    says: 'carried out again by another agent, a fence of which everything is done changes nothing in the cluster but its own record',
    check: ({ again, order }) => {
      expect(again.order.id).toBe(order.id)
      expect(again.events).toContainEqual(expect.objectContaining({ kind: 'fence-recorded', resumed: true }))
      expect(again.writes.length).toBeGreaterThan(0)
      expect(again.writes.filter((write) => !isStatusWrite(write))).toEqual([])
    },
  },
]
