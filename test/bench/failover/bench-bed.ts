/** The cluster that the rounds are played on: one real control plane, two rooms of fake nodes, the same workloads made anew for each round. */
import { isApiError } from '../../support/api-client.ts'
import { type Node, nodesPath, type Pod, podsPath, type VirtualMachineInstance, vmisPath } from '../../cluster/api/objects.ts'
import { type ControlPlane, ensureNamespace, startControlPlane } from '../../cluster/control-plane/start.ts'
import { type FakeNodes, startFakeNodes } from '../../cluster/nodes/fake-nodes.ts'
import { createVm } from '../../cluster/objects/virtual-machines.ts'
import { createDeployment, createStatefulSet } from '../../cluster/objects/workloads.ts'
import { until } from '../../support/timing.ts'

export const [living, dead] = ['room-a', 'room-b'] as const
export const nodesPerRoom = 2
export const statefulPods = 2
export const deploymentPods = 4
const madeAtOnce = 8

export interface Bed {
  readonly controlPlane: ControlPlane
  readonly nodes: FakeNodes
  readonly deadNodes: readonly string[]
  /** All of it runs in the room that will die; its names and its namespace begin with the prefix. */
  makeWorkloads(prefix: string, vms: number): Promise<string>
  /** Power back, foreign taints off, the namespace and all in it gone. */
  restore(namespace: string): Promise<void>
  stop(): Promise<void>
}

const isReady = ({ metadata, status }: Pod): boolean =>
  metadata.deletionTimestamp === undefined && status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true

export const startBed = async (say: (line: string) => void): Promise<Bed> => {
  const controlPlane = await startControlPlane({ kubevirt: true })
  const { client } = controlPlane
  let nodes: FakeNodes
  try {
    nodes = await startFakeNodes(controlPlane, { rooms: { [living]: nodesPerRoom, [dead]: nodesPerRoom }, hasKubeVirt: true })
  } catch (error) {
    await controlPlane.stop()
    throw error
  }
  const namesIn = (room: string): readonly string[] => nodes.nodes.flatMap((node) => (node.room === room ? [node.name] : []))
  const deadNodes = namesIn(dead)

  const setCordon = async (names: readonly string[], unschedulable: boolean | null): Promise<void> => {
    for (const name of names) await client.patch(nodesPath(name), { spec: { unschedulable } })
  }
  const untilPlain = async (): Promise<void> => {
    await until('all nodes are Ready without taints', 180_000, async () => {
      const wrong = (await client.list<Node>(nodesPath())).filter(
        ({ spec, status }) => spec.taints?.length || !status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
      )
      if (wrong.length > 0) throw new Error(wrong.map(({ metadata, spec }) => `${metadata.name} ${JSON.stringify(spec.taints)}`).join('; '))
      return true
    })
  }

  return {
    controlPlane,
    nodes,
    deadNodes,
    makeWorkloads: async (prefix, vms) => {
      const namespace = `bench-${prefix}`
      await ensureNamespace(client, namespace)
      // so that all of it is in the room that dies, however full that gets
      await setCordon(namesIn(living), true)
      const names = Array.from({ length: vms }, (_, index) => `${prefix}-vm-${String(index + 1).padStart(3, '0')}`)
      const make = async (): Promise<void> => {
        for (let name = names.shift(); name !== undefined; name = names.shift())
          await createVm(client, { namespace, name, runStrategy: 'Always', room: dead })
      }
      await Promise.all(Array.from({ length: madeAtOnce }, make))
      await createStatefulSet(client, {
        namespace,
        name: `${prefix}-db`,
        replicas: statefulPods,
        accessMode: 'ReadWriteOnce',
        isParallel: true,
      })
      await createDeployment(client, { namespace, name: `${prefix}-web`, replicas: deploymentPods })
      let toldMs = performance.now()
      await until(
        `${vms} VMs and their company run in ${dead}`,
        180_000 + 4_000 * vms,
        async () => {
          const vmis = await client.list<VirtualMachineInstance>(vmisPath(namespace))
          const pods = await client.list<Pod>(podsPath(namespace))
          const running = vmis.filter(({ status }) => status.phase === 'Running').length
          const ready = pods.filter(isReady).length
          if (performance.now() - toldMs > 10_000) {
            toldMs = performance.now()
            say(`  made: ${running} of ${vms} VMs run, ${ready} pods are Ready`)
          }
          return running === vms && ready === vms + statefulPods + deploymentPods
        },
        500,
      )
      await setCordon(namesIn(living), null)
      await untilPlain()
      return namespace
    },
    restore: async (namespace) => {
      await nodes.powerOn({ room: dead })
      for (const name of nodes.nodes.map((node) => node.name)) {
        const { spec, metadata } = await client.get<Node>(nodesPath(name))
        const ours = (key: string): boolean => key.startsWith('roomfence.io/') || key === 'node.kubernetes.io/out-of-service'
        if (spec.taints?.some(({ key }) => ours(key)))
          await client.patch(nodesPath(name), {
            metadata: { resourceVersion: metadata.resourceVersion },
            spec: { taints: spec.taints.filter(({ key }) => !ours(key)) },
          })
      }
      await client.remove(`/api/v1/namespaces/${namespace}`)
      await until(
        `namespace ${namespace} is gone`,
        600_000,
        async () => {
          try {
            await client.get(`/api/v1/namespaces/${namespace}`)
            return false
          } catch (error) {
            if (isApiError(error, 404)) return true
            throw error
          }
        },
        500,
      )
      await untilPlain()
    },
    stop: async () => {
      await nodes.stop()
      await controlPlane.stop()
    },
  }
}
