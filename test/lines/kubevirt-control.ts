/** KubeVirt's own programs in either world: to be lost with a room, to hang, to be away and to come back. */
import { hostname } from 'node:os'
import { isApiError } from '../support/api-client.ts'
import type { Program } from '../cluster/processes.ts'
import type { Bed } from './bed.ts'
import type { AnyObject } from './recording.ts'

const leasePath = '/apis/coordination.k8s.io/v1/namespaces/kubevirt/leases/virt-controller'

export interface KubeVirtControl {
  /** Who holds virt-controller's leader Lease; empty when nobody does. */
  holder(): Promise<string>
  /** One more virt-controller, which waits for the Lease. */
  standBy(name: string): Promise<void>
  /** The one that leads, and is not asked. */
  killController(): Promise<void>
  /** The usual one, when none is alive: as a restarted pod's container it need not wait for the Lease. */
  startController(): Promise<void>
  /** virt-api accepts calls and answers none: what a stale endpoint of a dead node does. */
  hangApi(): void
  killApi(): Promise<void>
  answerAgain(): void
  startApi(): void
}

const setHolder = async ({ api }: Bed, holderIdentity: string): Promise<void> => {
  await api.patch(leasePath, { spec: { holderIdentity } })
}
const usual = 'virt-controller'

export async function kubevirtControl(bed: Bed): Promise<KubeVirtControl> {
  const holder = async (): Promise<string> =>
    (await bed.api.get<{ spec: { holderIdentity?: string } }>(leasePath)).spec.holderIdentity ?? ''
  if (bed.world.real === undefined) await createLease(bed)
  return { holder, ...(bed.world.real === undefined ? embedded(bed, holder) : real(bed, holder)) }
}

type Programs = Omit<KubeVirtControl, 'holder'>

/** A virt-controller that stood by goes on leading when the stage is over: to start the usual one again would take time, and nobody misses it. */
function real(bed: Bed, holder: () => Promise<string>): Programs {
  const controlPlane = bed.world.real?.controlPlane
  const { kubevirt } = controlPlane ?? {}
  if (controlPlane === undefined || kubevirt === undefined) throw new Error(`the world ${bed.world.name} has no KubeVirt programs`)
  const program = (name: string): Program => controlPlane.program(name)
  /** Where no program may have a host name of its own, it leads under the machine's. */
  const leader = async (): Promise<Program> => {
    const name = await holder()
    return program(name === hostname() ? usual : name)
  }
  const signalApi = (signal: 'SIGSTOP' | 'SIGCONT'): void => {
    process.kill(-program('virt-api').pid, signal)
  }
  bed.onEnd(async () => {
    if (program('virt-api').isRunning()) signalApi('SIGCONT')
    else controlPlane.startAgain('virt-api')
    await bed.until('virt-api answers as ever', async () => bed.api.get('/apis/subresources.kubevirt.io/v1').then(() => true), 60_000)
    await bed.until('a virt-controller leads as ever', async () => (await leader()).isRunning(), 60_000)
  })
  return {
    standBy: async (name) => {
      await kubevirt.startController(name)
    },
    killController: async () => (await leader()).kill(),
    startController: async () => {
      await setHolder(bed, '')
      controlPlane.startAgain(usual)
    },
    hangApi: () => signalApi('SIGSTOP'),
    answerAgain: () => signalApi('SIGCONT'),
    killApi: async () => program('virt-api').kill(),
    startApi: () => {
      controlPlane.startAgain('virt-api')
    },
  }
}

async function createLease({ api }: Bed): Promise<void> {
  for (const [path, object] of [
    ['/api/v1/namespaces', { metadata: { name: 'kubevirt' } }],
    [
      leasePath.slice(0, leasePath.lastIndexOf('/')),
      { metadata: { name: 'virt-controller' }, spec: { holderIdentity: usual, leaseDurationSeconds: 15 } },
    ],
  ] as const)
    await api.create(path, object).catch((error: unknown) => {
      if (!isApiError(error, 409)) throw error
    })
}

/** The calls that KubeVirt's webhooks look at, and those that virt-api serves itself. A delete is none of them. */
const isOfVirtApi = ({ method, path }: { readonly method: string; readonly path: string }): boolean =>
  path.startsWith('/apis/subresources.kubevirt.io/') ||
  (['POST', 'PUT', 'PATCH'].includes(method) && /^\/apis\/kubevirt\.io\/v1\/.*virtualmachine(?:instance)?s/.test(path))

/**
 * The stand-ins write to the store themselves: without virt-api they are stopped, as the real ones' writes would be. A stand-in that starts sees at once
 * that an instance's pod is gone; the real one has given up asking by then, so here it starts when it is reminded of an instance.
 */
function embedded(bed: Bed, holder: () => Promise<string>): Programs {
  const inside = bed.world.embedded
  if (inside === undefined) throw new Error(`the world ${bed.world.name} has no stand-ins`)
  const { cluster, store } = inside.testbed
  const { faults } = inside.server
  const touched = (): boolean =>
    store.list('virtualmachineinstances').some(({ metadata }) => metadata.annotations?.['roomfence.io/touched'] !== undefined)
  let isAlive = true
  let isAnswered = true
  const run = (): void => {
    if (isAlive && isAnswered) cluster.startController('virt-controller')
    else cluster.stopController('virt-controller')
  }
  const answers = (yes: boolean): void => {
    isAnswered = yes
    run()
  }
  return {
    standBy: async (name) => {
      let isOver = false
      bed.onEnd(() => {
        isOver = true
      })
      const takeOver = async (): Promise<void> => {
        await bed.until('the Lease is free', async () => isOver || (await holder()) === '', 60_000)
        if (isOver) return
        await setHolder(bed, name)
        isAlive = true
        run()
      }
      takeOver().catch(() => undefined)
    },
    killController: async () => {
      isAlive = false
      run()
    },
    startController: async () => {
      isAlive = true
      run()
    },
    hangApi: () => {
      faults.set({ isHanging: true, appliesTo: isOfVirtApi })
      answers(false)
    },
    answerAgain: () => {
      faults.set()
      answers(true)
    },
    killApi: async () => {
      faults.set({ answer: { status: 500 }, appliesTo: isOfVirtApi })
      answers(false)
    },
    startApi: () => {
      faults.set()
      const reminded = bed.until('an instance was touched', touched, 60_000)
      reminded.then(() => answers(true)).catch(() => undefined)
    },
  }
}

/** A pod of KubeVirt's own in the room that will be lost, with its label. */
export async function createControlPod(bed: Bed, name: string, label: string, node: string): Promise<AnyObject> {
  const path = '/api/v1/namespaces/kubevirt/pods'
  await bed.api.create(path, {
    metadata: { name, labels: { 'kubevirt.io': label, app: name } },
    spec: { nodeName: node, terminationGracePeriodSeconds: 1, containers: [{ name: 'main', image: `registry.example/${label}:1` }] },
  })
  bed.onEnd(async () => {
    await bed.api.remove(`${path}/${name}`, { gracePeriodSeconds: 0 }).catch((error: unknown) => {
      if (!isApiError(error, 404)) throw error
    })
  })
  return bed.until(`${name} runs`, async () => {
    const pod = await bed.api.get<AnyObject>(`${path}/${name}`)
    return (pod.status as { phase?: string }).phase === 'Running' ? pod : undefined
  })
}
