/** A whole room is lost with everything in it: taints, order, preconditions, run strategies and what is left alone. */
import type { KubeClient } from '../../src/kubernetes/client.ts'
import { nodeId } from '../../src/protocol/ids.ts'
import type { ApiObject } from '../support/api-client.ts'
import { sleep } from '../support/timing.ts'
import type { Bed, PlayedFailover } from './bed.ts'
import { type Room, orderLines } from './sequence-checks.ts'
import { stage } from './lines.ts'
import {
  createDaemonSet,
  createDeployment,
  createJob,
  createPod,
  createPriorityClass,
  createStatefulSet,
  createVm,
} from './line-objects.ts'
import type { AnyObject } from './recording.ts'
import { skipLines } from './skips-checks.ts'
import { strategyLines } from './strategy-checks.ts'
import { transactionLines } from './transaction-checks.ts'
import { deadRoom, livingRoom } from './world.ts'

/** Longer than a plan takes. */
const instancesLateMs = 200
/** However busy the machine is: a start that is merely late is not taken for lost. */
const startSafetyNetMs = 60_000

const runningVms = ['always', 'rerun', 'manual', 'once', 'by-class', 'late', 'labelled', 'left-alone'] as const

async function fill(bed: Bed): Promise<void> {
  const { api, namespace } = bed
  const room = deadRoom
  const [first = ''] = bed.nodesOf()
  await createPriorityClass(api, 'lines-urgent', 5_000)
  await createVm(api, namespace, { name: 'always', room })
  await createVm(api, namespace, { name: 'rerun', room, runStrategy: 'RerunOnFailure' })
  await createVm(api, namespace, { name: 'manual', room, runStrategy: 'Manual', annotations: { 'roomfence.io/priority': '9000' } })
  await createVm(api, namespace, { name: 'once', room, runStrategy: 'Once' })
  await createVm(api, namespace, { name: 'halted', room, runStrategy: 'Halted' })
  await createVm(api, namespace, { name: 'receiver', room, runStrategy: 'WaitAsReceiver' })
  await createVm(api, namespace, { name: 'idle', room, runStrategy: 'Manual' })
  await createVm(api, namespace, { name: 'by-class', room, priorityClassName: 'lines-urgent' })
  await createVm(api, namespace, { name: 'late', room, annotations: { 'roomfence.io/priority': '-5' } })
  await createVm(api, namespace, { name: 'labelled', room, runStrategy: 'Manual', instanceLabels: { 'roomfence.io/control': 'yes' } })
  await createVm(api, namespace, { name: 'left-alone', room, annotations: { 'roomfence.io/opt-out': 'true' } })
  await createVm(api, namespace, { name: 'elsewhere', room: livingRoom })
  await createStatefulSet(api, namespace, { name: 'db', room, replicas: 2, accessMode: 'ReadWriteOnce' })
  await createStatefulSet(api, namespace, { name: 'taken', room })
  const podSpec = { tolerations: [{ operator: 'Exists', effect: 'NoSchedule' }] }
  await createStatefulSet(api, namespace, { name: 'returning', room, accessMode: 'ReadWriteOnce', podSpec })
  await createDeployment(api, namespace, { name: 'web', room, replicas: 2 })
  await createDeployment(api, namespace, { name: 'control', room, labels: { 'roomfence.io/control': 'yes' } })
  await createJob(api, namespace, { name: 'batch', room })
  const ignoring = { rules: [{ action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] }] }
  await createJob(api, namespace, { name: 'spared', room, spec: { backoffLimit: 0, podFailurePolicy: ignoring } })
  await createDaemonSet(api, namespace, { name: 'everywhere' })
  await createPod(api, namespace, { name: 'stays', room, podSpec: { tolerations: [{ operator: 'Exists' }] } })
  await createPod(api, namespace, { name: 'opted-out', room, annotations: { 'roomfence.io/opt-out': 'true' } })
  await createPod(api, namespace, { name: 'kept', room, finalizers: ['example.com/not-ours'] })
  await createPod(api, namespace, { name: 'removed', room })
  await createPod(api, namespace, {
    name: 'mirror',
    node: first,
    annotations: { 'kubernetes.io/config.mirror': 'lines', 'kubernetes.io/config.source': 'file' },
    podSpec: { tolerations: [{ operator: 'Exists', effect: 'NoExecute' }] },
  })
  for (const name of ['manual', 'labelled']) await bed.startVm(name)
  for (const name of runningVms) await bed.vmiRuns(name, deadRoom)
  await bed.vmiRuns('elsewhere', livingRoom)
  for (const [app, count] of [
    ['db', 2],
    ['taken', 1],
    ['returning', 1],
    ['web', 2],
    ['control', 1],
    ['batch', 1],
    ['spared', 1],
    ['everywhere', 2],
    ['stays', 1],
    ['opted-out', 1],
    ['kept', 1],
    ['removed', 1],
    ['mirror', 1],
  ] as const)
    await bed.podsRun(app, deadRoom, count)
}

/**
 * Somebody else is quicker three times: a taint beside ours, a pod that is gone, a pod that is another one by now. And word of two new instances comes a
 * moment late, as from a busy API server: until then a VM that comes back by itself looks like one that nobody starts.
 */
function withRivals(bed: Bed, client: KubeClient): KubeClient {
  const { api, namespace } = bed
  const [first = ''] = bed.nodesOf()
  const once = new Set<string>()
  const isFirst = (what: string): boolean => !once.has(what) && once.add(what).has(what)
  const podPath = (name: string): string => `/api/v1/namespaces/${namespace}/pods/${name}`
  const forced = async (name: string): Promise<ApiObject> => {
    const pod = await api.get(podPath(name))
    await api.remove(podPath(name), { gracePeriodSeconds: 0, preconditions: { uid: pod.metadata.uid } })
    return pod
  }
  return {
    ...client,
    patchMerge: async (path, body, options) => {
      if (path === `/api/v1/nodes/${first}` && isFirst('taint')) {
        const { spec } = await api.get<{ spec: { taints?: readonly object[] } }>(path)
        await api.patch(path, {
          spec: { taints: [...(spec.taints ?? []), { key: 'example.com/late', value: 'x', effect: 'PreferNoSchedule' }] },
        })
      }
      return client.patchMerge(path, body, options)
    },
    delete: async (path, options) => {
      if (path === podPath('removed') && isFirst('removed')) await forced('removed')
      if (path === podPath('taken-0') && isFirst('taken')) {
        const old = await forced('taken-0')
        await bed.until('another taken-0 is there', async () => (await api.get(podPath('taken-0'))).metadata.uid !== old.metadata.uid)
      }
      return client.delete(path, options)
    },
    lines: async function* (path, signal, openTimeoutMs) {
      for await (const line of client.lines(path, signal, openTimeoutMs)) {
        const late = path.startsWith('/apis/kubevirt.io/v1/virtualmachineinstances') ? lateInstance(line) : undefined
        if (late !== undefined && isFirst(late)) await sleep(instancesLateMs)
        yield line
      }
    },
  }
}

/** The name of the instance that a line of the watch tells of, when its news are to come late. */
function lateInstance(line: string): string | undefined {
  const { type, object } = JSON.parse(line) as {
    readonly type: string
    readonly object?: { readonly metadata?: { readonly name?: string } }
  }
  const name = object?.metadata?.name
  return type === 'ADDED' && (name === 'always' || name === 'rerun') ? name : undefined
}

async function play(bed: Bed): Promise<Room> {
  const { api, namespace } = bed
  await fill(bed)
  const [first = ''] = bed.nodesOf()
  const living = bed.nodesOf(livingRoom)[0] ?? ''
  await api.patch(`/api/v1/nodes/${first}`, { spec: { taints: [{ key: 'example.com/own', value: 'x', effect: 'PreferNoSchedule' }] } })
  const lease = async (name: string, holderIdentity: string): Promise<void> => {
    await api.create(`/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`, {
      metadata: { name },
      spec: { holderIdentity, leaseDurationSeconds: 15 },
    })
  }
  await lease('held-by-the-dead', `${first}_5f0d`)
  await lease('held-by-the-living', `${living}_77aa`)
  await bed.log.settled()
  const before = bed.log.changes('pods')
  const uids = new Map<string, string>()
  for (const { object, type } of [...before, ...bed.log.changes('virtualmachineinstances')])
    if (object.metadata.namespace === namespace && type !== 'DELETED') uids.set(object.metadata.name, object.metadata.uid)
  bed.withoutEviction()
  await bed.powerOff()
  const started = bed.failover({ client: withRivals(bed, bed.client), config: { waveSize: 2, startSafetyNetMs } })
  const settled = await bed
    .until(
      'everything but the kept pod has settled',
      async () => {
        const { status } = await bed.fence(started.order.id)
        const isMoved = await Promise.all([
          bed.podsOf('db', livingRoom),
          bed.podsOf('web', livingRoom),
          bed.podsOf('batch', livingRoom),
          bed.podsOf('control', livingRoom),
          leftEvictable(bed),
        ])
        const [db, web, batch, control, evictable] = isMoved
        const isOver = status?.workloads.every(({ state }) => ['running', 'stopped', 'failed', 'cleared', 'skipped'].includes(state))
        return status !== undefined &&
          isOver === true &&
          db.length === 2 &&
          web.length === 2 &&
          batch.length === 1 &&
          control.length === 1 &&
          evictable.length === 0 &&
          status.stuck.length > 0
          ? status
          : undefined
      },
      60_000,
    )
    .catch(async (error: unknown) => {
      const { status } = await bed.fence(started.order.id)
      throw new Error(
        `${String(error)}: ${JSON.stringify(status)} ${JSON.stringify(started.events.filter(({ kind }) => kind === 'step-failed' || kind === 'api-unavailable'))}`,
      )
    })
  const again = await executedAgain(bed, started)
  await bed.log.settled()
  return { ...started, uids, status: settled, again }
}

/** Pods of the lost room that are to stay and that Kubernetes would still evict: somebody else's write came in between, and ours is made again a moment later. */
async function leftEvictable(bed: Bed): Promise<readonly string[]> {
  const pods = await bed.api.list<AnyObject>(`/api/v1/namespaces/${bed.namespace}/pods`)
  return pods.flatMap(({ metadata: { name }, spec }) => {
    const { nodeName, tolerations = [] } = spec as {
      nodeName?: string
      tolerations?: readonly { readonly tolerationSeconds?: number }[]
    }
    const isToStay = name === 'opted-out' || name === 'returning-0' || name.startsWith('virt-launcher-left-alone-')
    return isToStay && bed.roomOf(nodeName) === deadRoom && tolerations.some(({ tolerationSeconds }) => tolerationSeconds !== undefined)
      ? [name]
      : []
  })
}

/** Another agent takes the same fence over when there is nothing left to do: it looks, plans, and is stopped. */
async function executedAgain(bed: Bed, { order, failover, done }: PlayedFailover): Promise<PlayedFailover> {
  failover.stop()
  await done
  const again = bed.failover({ order: { ...order, carriedOutBy: nodeId(bed.nodesOf(livingRoom)[1] ?? '') } })
  await bed.until(
    'the second agent has written its name',
    async () => (await bed.fence(order.id)).status?.carriedOutBy === again.order.carriedOutBy,
  )
  again.failover.poke()
  await bed.until('it has planned and told of what is left', () => again.events.some(({ kind }) => kind === 'blocked'))
  again.failover.stop()
  await again.done
  return again
}

export const orderRoom = stage({ name: 'room-lost', play, lines: [...orderLines, ...skipLines, ...strategyLines, ...transactionLines] })
