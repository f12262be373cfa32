/** Lines about run strategies and leader Leases in the failover of a whole room. */
import { expect } from 'vitest'
import type { Bed } from './bed.ts'
import type { Line } from './lines.ts'
import type { Room } from './sequence-checks.ts'
import { livingRoom } from './world.ts'

async function expectMoved({ uids, status }: Room, bed: Bed, name: string): Promise<void> {
  const vmi = await bed.vmiRuns(name, livingRoom)
  expect(vmi.metadata.uid).not.toBe(uids.get(name))
  expect(status.workloads.find((workload) => workload.name === name)).toMatchObject({ uid: uids.get(name), state: 'running' })
}

/** The calls of a VM that people could make, too. */
const starts = ({ writes }: Room, name: string): number =>
  writes.filter(({ verb, path }) => verb === 'subresource' && path.endsWith(`/virtualmachines/${name}/start`)).length

export const strategyLines: readonly Line<Room>[] = [
  {
    id: 'kubevirt-always',
    part: 'kubevirt/always',
    says: 'a VM of strategy Always comes back by itself in another instance, and no start is asked for',
    check: async (played, bed) => {
      await expectMoved(played, bed, 'always')
      expect(starts(played, 'always')).toBe(0)
    },
  },
  {
    id: 'kubevirt-rerun-on-failure',
    part: 'kubevirt/rerun-on-failure',
    says: 'a VM of strategy RerunOnFailure comes back by itself in another instance, and no start is asked for',
    check: async (played, bed) => {
      await expectMoved(played, bed, 'rerun')
      expect(starts(played, 'rerun')).toBe(0)
    },
  },
  {
    id: 'kubevirt-manual-started-once',
    part: 'kubevirt/manual',
    says: 'a VM of strategy Manual that ran is started once, by its start call',
    check: async (played, bed) => {
      await expectMoved(played, bed, 'manual')
      expect(starts(played, 'manual')).toBe(1)
      expect(played.status.workloads.find(({ name }) => name === 'manual')?.startAsked).toBe(true)
    },
  },
  {
    id: 'kubevirt-manual-idle-stays',
    part: 'kubevirt/manual',
    says: 'a VM of strategy Manual that did not run is not started',
    check: async (played, bed) => {
      expect(starts(played, 'idle')).toBe(0)
      expect(
        (await bed.api.list(`/apis/kubevirt.io/v1/namespaces/${bed.namespace}/virtualmachineinstances`)).map(
          ({ metadata }) => metadata.name,
        ),
      ).not.toContain('idle')
    },
  },
  {
    id: 'kubevirt-control-label',
    part: 'kubevirt/manual',
    says: 'a VM whose template has a control label, and so its launcher, is a VM all the same: it has its turn, is followed, and being Manual is started',
    check: async (played, bed) => {
      await expectMoved(played, bed, 'labelled')
      expect(starts(played, 'labelled')).toBe(1)
    },
  },
  {
    id: 'kubevirt-once-left',
    part: 'kubevirt/once',
    says: 'a VM of strategy Once is not started again unless the policy says so, and the record says why',
    check: async (played, bed) => {
      const once = played.status.workloads.find(({ name }) => name === 'once')
      expect(once).toMatchObject({ state: 'stopped', reason: expect.stringContaining('onceVms') as string })
      expect(starts(played, 'once')).toBe(0)
      const vmis = await bed.api.list<{ metadata: { name: string; uid: string }; status?: { phase?: string } }>(
        `/apis/kubevirt.io/v1/namespaces/${bed.namespace}/virtualmachineinstances`,
      )
      expect(vmis.filter(({ metadata }) => metadata.name === 'once').map(({ metadata, status }) => [metadata.uid, status?.phase])).toEqual([
        [played.uids.get('once'), 'Failed'],
      ])
    },
  },
  {
    id: 'kubevirt-halted-stays',
    part: 'kubevirt/halted',
    says: 'a Halted VM stays halted: it has no instance, and its strategy is as before',
    check: async (played, bed) => {
      expect(starts(played, 'halted')).toBe(0)
      const vm = await bed.api.get<{ spec: { runStrategy: string } }>(
        `/apis/kubevirt.io/v1/namespaces/${bed.namespace}/virtualmachines/halted`,
      )
      expect(vm.spec.runStrategy).toBe('Halted')
      expect(
        bed.log
          .changes('virtualmachineinstances')
          .filter(({ object }) => object.metadata.name === 'halted' && object.metadata.namespace === bed.namespace),
      ).toEqual([])
    },
  },
  {
    id: 'kubevirt-receiver-stays',
    part: 'kubevirt/wait-as-receiver',
    says: 'a VM of strategy WaitAsReceiver that waits for a migration from another cluster is left as it is: no call, no record, its waiting instance untouched',
    check: async (played, bed) => {
      expect(starts(played, 'receiver')).toBe(0)
      const vm = await bed.api.get<{ spec: { runStrategy: string } }>(
        `/apis/kubevirt.io/v1/namespaces/${bed.namespace}/virtualmachines/receiver`,
      )
      expect(vm.spec.runStrategy).toBe('WaitAsReceiver')
      expect(played.status.workloads.filter(({ name }) => name === 'receiver')).toEqual([])
      const instances = bed.log
        .changes('virtualmachineinstances')
        .filter(({ object }) => object.metadata.name === 'receiver' && object.metadata.namespace === bed.namespace)
      expect(instances.filter(({ type }) => type === 'DELETED')).toEqual([])
      expect([...new Set(instances.map(({ object }) => object.metadata.uid))]).toHaveLength(1)
    },
  },
  {
    id: 'kubevirt-followed-until-running',
    part: 'kubevirt/followed',
    says: 'each VM of the room is followed by the uid of its lost instance until another one runs on a survivor, whose name is recorded, or a reason why not',
    check: async ({ status, uids, events }, bed) => {
      const vms = status.workloads.filter(({ kind }) => kind !== 'Pod')
      expect(vms.map(({ name }) => name).toSorted()).toEqual([
        'always',
        'by-class',
        'labelled',
        'late',
        'left-alone',
        'manual',
        'once',
        'rerun',
      ])
      for (const { name, uid, state, reason, newNode } of vms) {
        expect(uid).toBe(uids.get(name))
        if (state !== 'running') {
          expect(reason, name).not.toBe('')
          continue
        }
        const vmi = await bed.vmiRuns(name, livingRoom)
        expect((vmi.status as { nodeName?: string }).nodeName).toBe(newNode)
        expect(events).toContainEqual(expect.objectContaining({ kind: 'vm-running', vm: `${bed.namespace}/${name}`, node: newNode }))
      }
    },
  },
  {
    id: 'kubevirt-nothing-is-stopped',
    part: 'kubevirt/followed',
    says: 'no VM is ever asked to stop or to restart, and a VM that ran elsewhere keeps its instance',
    check: async ({ writes, uids }, bed) => {
      expect(writes.filter(({ path }) => /\/virtualmachines\/[^/]+\/(?:stop|restart)$/.test(path))).toEqual([])
      expect((await bed.vmiRuns('elsewhere', livingRoom)).metadata.uid).toBe(uids.get('elsewhere'))
    },
  },
  {
    id: 'kubevirt-leader-leases-released',
    part: 'kubevirt/leases',
    says: 'a leader Lease whose holder died with the room is released; one of a living holder is not',
    check: async ({ events, status }, bed) => {
      const holder = async (name: string): Promise<string | undefined> =>
        (
          await bed.api.get<{ spec: { holderIdentity?: string } }>(
            `/apis/coordination.k8s.io/v1/namespaces/${bed.namespace}/leases/${name}`,
          )
        ).spec.holderIdentity
      expect(await holder('held-by-the-dead')).toBe('')
      expect(await holder('held-by-the-living')).toMatch(/_77aa$/)
      expect(events).toContainEqual(expect.objectContaining({ kind: 'lease-released', lease: `${bed.namespace}/held-by-the-dead` }))
      expect(status.leases.find(({ name }) => name === 'held-by-the-dead')).toMatchObject({ released: true })
    },
  },
]
