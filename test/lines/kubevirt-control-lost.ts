/** virt-controller, which leads, and a virt-api are lost with the room. */
import { expect } from 'vitest'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import { isApiError } from '../support/api-client.ts'
import type { Bed, PlayedFailover } from './bed.ts'
import { createControlPod, kubevirtControl } from './kubevirt-control.ts'
import { stage } from './lines.ts'
import { createVm } from './line-objects.ts'
import { deadRoom, livingRoom } from './world.ts'

const vms = { first: 'Always', second: 'RerunOnFailure', third: 'Manual' } as const
const [lostApi, spareController] = ['virt-api-lost', 'virt-controller-spare']

interface ControlLost extends PlayedFailover {
  readonly result: FailoverResult
  /** Addresses that the Service of virt-api's pods leads to: before the room was lost, after the pod was cleared. */
  readonly endpoints: readonly [readonly string[], readonly string[]] | undefined
  /** When every launcher of the lost room was gone, virt-api still hung; what the engine had told by then. */
  readonly eventWhileHanging: readonly string[]
  readonly lostController: string
  readonly leader: string
}

interface EndpointSlice {
  readonly metadata: { readonly name: string; readonly uid: string }
  readonly endpoints?: readonly { readonly addresses: readonly string[] }[]
}

const slicesPath = '/apis/discovery.k8s.io/v1/namespaces/kubevirt/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dvirt-api-pods'
const addresses = async ({ api }: Bed): Promise<readonly string[]> =>
  (await api.list<EndpointSlice>(slicesPath)).flatMap(({ endpoints }) => (endpoints ?? []).flatMap((endpoint) => endpoint.addresses))

async function createService(bed: Bed): Promise<void> {
  const path = '/api/v1/namespaces/kubevirt/services'
  await bed.api.create(path, {
    metadata: { name: 'virt-api-pods' },
    spec: { selector: { 'kubevirt.io': 'virt-api' }, ports: [{ port: 443 }] },
  })
  bed.onEnd(async () => {
    await bed.api.remove(`${path}/virt-api-pods`)
  })
}

async function play(bed: Bed): Promise<ControlLost> {
  const { api, namespace } = bed
  const control = await kubevirtControl(bed)
  const lostController = await control.holder()
  const isReal = bed.world.real !== undefined
  const [node = ''] = bed.nodesOf()
  for (const [name, runStrategy] of Object.entries(vms)) await createVm(api, namespace, { name, room: deadRoom, runStrategy })
  await bed.startVm('third')
  for (const name of Object.keys(vms)) await bed.vmiRuns(name, deadRoom)
  if (isReal) await createService(bed)
  await createControlPod(bed, lostController, 'virt-controller', node)
  await createControlPod(bed, lostApi, 'virt-api', node)
  const before = isReal ? await bed.until('virt-api’s pod is an endpoint', async () => nonEmpty(await addresses(bed))) : []
  await control.killController()
  control.hangApi()
  await control.standBy(spareController)
  await bed.powerOff()
  const played = bed.failover()
  const launchersLeft = async (): Promise<number> =>
    (
      await api.list<{ metadata: { name: string; uid: string }; spec: { nodeName?: string } }>(`/api/v1/namespaces/${namespace}/pods`)
    ).filter(({ metadata, spec }) => metadata.name.startsWith('virt-launcher') && bed.roomOf(spec.nodeName) === deadRoom).length
  await bed.until('the launchers are cleared though virt-api hangs', async () => (await launchersLeft()) === 0)
  await bed.until('virt-api’s pod is cleared', async () =>
    api.get(`/api/v1/namespaces/kubevirt/pods/${lostApi}`).then(
      () => false,
      (error: unknown) => isApiError(error, 404),
    ),
  )
  const after = isReal ? await bed.until('the endpoint is gone', async () => ((await addresses(bed)).length === 0 ? [] : undefined)) : []
  const eventWhileHanging = played.events.map(({ kind }) => kind)
  // What a cluster network does when the endpoint is gone: calls reach the virt-api that lives.
  control.answerAgain()
  const result = await bed.ended(played)
  await bed.log.settled()
  return {
    ...played,
    result,
    endpoints: isReal ? [before, after] : undefined,
    eventWhileHanging: eventWhileHanging,
    lostController,
    leader: await control.holder(),
  }
}

const nonEmpty = <T>(items: readonly T[]): readonly T[] | undefined => (items.length > 0 ? items : undefined)

export const kubevirtControlLost = stage<ControlLost>({
  name: 'kubevirt-control-lost',
  play,
  lines: [
    {
      id: 'kubevirt-control-pods-first',
      part: 'kubevirt/controllers-lost',
      says: 'virt-api’s and virt-controller’s pods in the lost room are cleared before any VM',
      check: async ({ writes, lostController }) => {
        const cleared = writes.flatMap(({ verb, path }) =>
          verb === 'delete' && path.includes('/pods/') ? [path.slice(path.lastIndexOf('/') + 1)] : [],
        )
        expect(cleared.slice(0, 2)).toEqual([lostApi, lostController])
        expect(cleared.slice(2).every((name) => name.startsWith('virt-launcher'))).toBe(true)
        expect(cleared.length).toBeGreaterThanOrEqual(5)
      },
    },
    {
      id: 'kubevirt-virt-controller-lost',
      part: 'kubevirt/controllers-lost',
      says: 'the Lease of a virt-controller that was lost with the room is released, its standby leads, and the VMs come back',
      check: async ({ events, lostController, leader, result }, bed) => {
        expect(events).toContainEqual(
          expect.objectContaining({ kind: 'lease-released', lease: 'kubevirt/virt-controller', holder: lostController }),
        )
        expect(leader).toBe(spareController)
        expect(result).toMatchObject({ outcome: 'finished', failed: [], blocked: [] })
        expect(result.running.toSorted()).toEqual(Object.keys(vms).map((name) => `${bed.namespace}/${name}`))
        for (const name of Object.keys(vms)) await bed.vmiRuns(name, livingRoom)
      },
    },
    {
      id: 'kubevirt-virt-api-hangs',
      part: 'kubevirt/virt-api-stale',
      says: 'while calls still go to the virt-api that was lost and hang, VMs are cleared all the same, and then waited for',
      check: async ({ eventWhileHanging }) => {
        expect(eventWhileHanging.filter((kind) => kind === 'pod-cleared').length).toBeGreaterThanOrEqual(5)
        expect(eventWhileHanging).not.toContain('finished')
      },
    },
    {
      id: 'kubevirt-virt-api-endpoint-goes',
      part: 'kubevirt/virt-api-stale',
      says: 'clearing virt-api’s dead pod takes its address from the Service’s endpoints, before Kubernetes calls the node not ready',
      embedded: { cannot: 'it has no controller of EndpointSlices' },
      check: async ({ endpoints }) => {
        expect(endpoints?.[0]).toHaveLength(1)
        expect(endpoints?.[1]).toEqual([])
      },
    },
  ],
})
