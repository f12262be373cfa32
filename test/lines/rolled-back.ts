/**
 * The API server comes back older than the fence, as after etcd was restored from a backup: in the middle of it, with one workload held, and all others
 * done. A control plane of its own: its other programs go on from versions that are no more, and are started again.
 */
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { Snapshot } from '../../src/demo/apiserver/store.ts'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import { apiClient, type ApiObject, isApiError } from '../support/api-client.ts'
import type { ControlPlane } from '../cluster/control-plane/start.ts'
import { until } from '../support/timing.ts'
import type { Bed, FenceObject, PlayedFailover } from './bed.ts'
import { stage } from './lines.ts'
import { createDeployment, createStatefulSet } from './line-objects.ts'
import type { AnyObject } from './recording.ts'
import { deadRoom, livingRoom, type World } from './world.ts'

interface TimeMachine {
  mark(): Promise<void>
  goBack(): Promise<void>
}

function timeMachine(world: World): TimeMachine {
  if (world.real !== undefined) return realTimeMachine(world, world.real.controlPlane)
  const faults = world.embedded?.server.faults
  if (faults === undefined) throw new Error('neither an embedded nor a real API server')
  let snapshot: Snapshot | undefined
  return {
    mark: async () => {
      snapshot = faults.snapshot()
    },
    goBack: async () => {
      if (snapshot !== undefined) faults.rollback(snapshot)
    },
  }
}

/** etcd's directory, copied while etcd stands still, is what etcd finds after a crash at that moment. */
function realTimeMachine(world: World, controlPlane: ControlPlane): TimeMachine {
  const data = join(controlPlane.keeper.directory, 'etcd')
  const copy = `${data}-before`
  return {
    mark: async () => {
      const { pid } = controlPlane.program('etcd')
      process.kill(pid, 'SIGSTOP')
      cpSync(data, copy, { recursive: true })
      process.kill(pid, 'SIGCONT')
    },
    // All API servers are stopped first, and what watches is started again: https://kubernetes.io/docs/tasks/administer-cluster/configure-upgrade-etcd
    goBack: async () => {
      const controllers = ['kube-controller-manager', 'kube-scheduler']
      for (const name of ['kube-apiserver', ...controllers, 'etcd']) await controlPlane.program(name).kill()
      rmSync(data, { recursive: true })
      cpSync(copy, data, { recursive: true })
      controlPlane.startAgain('etcd')
      controlPlane.startAgain('kube-apiserver')
      const api = apiClient(world.access)
      await until('the API server is ready', 60_000, async () => (await api.get<string>('/readyz')) === 'ok')
      // Their old holders are no more.
      for (const name of controllers)
        await api.remove(`/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/${name}`).catch((error: unknown) => {
          if (!isApiError(error, 404)) throw error
        })
      api.close()
      for (const name of controllers) controlPlane.startAgain(name)
    },
  }
}

interface RolledBack extends PlayedFailover {
  readonly result: FailoverResult
  readonly held: ApiObject
  readonly fences: { readonly before: FenceObject; readonly after: FenceObject }
  readonly taints: readonly (readonly string[])[]
  /** The held pod of after the rollback, with the tolerations of the restored one made good again. */
  readonly heldAfter: AnyObject
}

const isMoved = async (bed: Bed): Promise<boolean> => {
  const [db, web] = await Promise.all([bed.podsOf('db'), bed.podsOf('web')])
  return (
    [...db, ...web].every(({ spec }) => bed.roomOf((spec as { nodeName?: string }).nodeName) === livingRoom) &&
    db.length === 1 &&
    web.length === 2
  )
}

async function play(bed: Bed): Promise<RolledBack> {
  const { api, namespace } = bed
  const machine = timeMachine(bed.world)
  await createStatefulSet(api, namespace, { name: 'stale', room: deadRoom, accessMode: 'ReadWriteOnce' })
  await createStatefulSet(api, namespace, { name: 'db', room: deadRoom, accessMode: 'ReadWriteOnce' })
  await createDeployment(api, namespace, { name: 'web', room: deadRoom, replicas: 2 })
  const [held] = await bed.podsRun('stale', deadRoom)
  await bed.podsRun('db', deadRoom)
  await bed.podsRun('web', deadRoom, 2)
  if (held === undefined) throw new Error('no pod of stale')
  await machine.mark()

  await bed.powerOff()
  let isHeld = true
  const one = bed.failover({
    dataGate: (volumes) =>
      isHeld && volumes.some(({ handle }) => handle.includes('stale'))
        ? { open: false, reason: 'Outdated on every survivor' }
        : { open: true },
  })
  const heldPath = `/api/v1/namespaces/${namespace}/pods/stale-0`
  const isWaiting = async (): Promise<FenceObject | undefined> => {
    const fence = await bed.fence(one.order.id)
    return fence.status?.workloads.some(({ name, state }) => name === 'stale-0' && state === 'held') === true ? fence : undefined
  }
  const immune = async (): Promise<AnyObject | undefined> => {
    const pod = await api.get<AnyObject>(heldPath)
    const { tolerations } = pod.spec as { readonly tolerations: readonly { readonly key?: string; readonly tolerationSeconds?: number }[] }
    return tolerations.every(({ tolerationSeconds }) => tolerationSeconds === undefined) ? pod : undefined
  }
  await bed.until('all but the held one run elsewhere', async () => isMoved(bed), 60_000)
  await bed.until('the held one is immune', immune)
  const before = await bed.until('it is recorded', isWaiting)
  await machine.goBack()

  const after = await bed.until(
    'the fence is written again',
    async () => {
      const fence = await isWaiting()
      return fence !== undefined && fence.metadata.uid !== before.metadata.uid ? fence : undefined
    },
    60_000,
  )
  const heldAfter = await bed.until('the held one is immune again', immune)
  await bed.until('all but the held one run elsewhere again', async () => isMoved(bed), 60_000)
  const nodes = await Promise.all(
    bed.nodesOf().map(async (name) => api.get<{ spec: { taints?: readonly { key: string; value?: string }[] } }>(`/api/v1/nodes/${name}`)),
  )
  isHeld = false
  one.failover.poke()
  const result = await bed.ended(one)
  return {
    ...one,
    result,
    held,
    heldAfter,
    fences: { before, after },
    taints: nodes.map(({ spec }) => spec.taints?.map(({ key, value }) => `${key}=${value ?? ''}`) ?? []),
  }
}

export const rolledBack = stage({
  name: 'rolled-back',
  cluster: 'without-kubevirt',
  play,
  lines: [
    {
      id: 'control-plane-rolled-back-fence',
      part: 'control-plane/rolled-back',
      says: 'the API server comes back from a backup of before the fence: the carrier notices, the Fence is written again with what it knew, and so are the taints',
      check: ({ fences: { before, after }, taints, order }) => {
        expect(after.metadata.uid).not.toBe(before.metadata.uid)
        expect(after.spec).toEqual(before.spec)
        const uids = (fence: FenceObject): readonly string[] => fence.status?.workloads.map(({ uid }) => uid).toSorted() ?? []
        expect(uids(after)).toEqual(expect.arrayContaining([...uids(before)]))
        for (const of of taints)
          expect(of).toEqual(
            expect.arrayContaining([`roomfence.io/fenced=${String(order.epoch)}`, 'node.kubernetes.io/out-of-service=roomfence']),
          )
      },
    },
    {
      id: 'control-plane-rolled-back-workloads',
      part: 'control-plane/rolled-back',
      says: 'what the backup shows on the dead nodes again is cleared again, what was held is made immune again, and in the end all of it runs elsewhere',
      check: async ({ result, held, heldAfter }, bed) => {
        expect(heldAfter.metadata).toMatchObject({ uid: held.metadata.uid })
        expect(heldAfter.metadata.deletionTimestamp).toBeUndefined()
        expect(result).toMatchObject({ outcome: 'finished', failed: [], blocked: [] })
        await bed.podsRun('db', livingRoom)
        await bed.podsRun('web', livingRoom, 2)
        await bed.podsRun('stale', livingRoom)
      },
    },
  ],
})
