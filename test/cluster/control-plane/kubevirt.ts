/** KubeVirt's own virt-controller and virt-api beside the control plane, set up as virt-operator would. */
import { execFile, spawnSync } from 'node:child_process'
import { request } from 'node:https'
import { hostname } from 'node:os'
import { promisify } from 'node:util'
import { type ApiClient, type ApiObject, isApiError } from '../../support/api-client.ts'
import type { Lease } from '../api/objects.ts'
import { freePort } from '../ports.ts'
import { flags, type Program, type ProgramStart } from '../processes.ts'
import { sleep, until } from '../../support/timing.ts'
import type { AuthorityFiles } from './certificates.ts'

export interface KubeVirtOptions {
  /** Merged into the KubeVirt object's `spec.configuration`. */
  readonly configuration?: Readonly<Record<string, unknown>>
  /** Further flags of virt-controller. */
  readonly controllerFlags?: readonly string[]
}

export interface KubeVirt {
  /**
   * Starts a further virt-controller under this name: its host name, so its identity in the leader Lease `kubevirt/virt-controller`.
   * Throws where this user may not have a host name of its own (no `unshare --uts`).
   */
  startController(name: string): Promise<Program>
}

export interface KubeVirtSetting {
  readonly client: ApiClient
  readonly programs: (name: string) => string
  readonly startProgram: (program: ProgramStart) => Program
  readonly pki: string
  readonly authority: AuthorityFiles
  readonly kubeconfigFor: (serviceAccount: string) => Promise<string>
  readonly options: KubeVirtOptions
}

interface Installable extends ApiObject {
  readonly apiVersion: string
  readonly kind: string
  status?: unknown
}

interface CustomResourceDefinition extends Installable {
  readonly spec: {
    readonly group: string
    readonly versions: readonly { name: string; storage: boolean }[]
    readonly names: { readonly plural: string }
  }
}

interface WebhookConfiguration extends Installable {
  readonly webhooks: { clientConfig: { service: { port?: number }; caBundle?: string } }[]
}

interface ApiService extends Installable {
  readonly spec: { service: { port?: number }; caBundle?: string }
}

export const kubeVirtVersion = 'v1.8.2'
const namespace = 'kubevirt'
const run = promisify(execFile)

/** The resource's path segment; English plurals are enough for what KubeVirt installs. */
const pluralOf = (kind: string): string => {
  const name = kind.toLowerCase()
  return name.endsWith('s') ? `${name}es` : name.endsWith('y') ? `${name.slice(0, -1)}ies` : `${name}s`
}

/** Creates the object, or merges it into the one that is there; waits out what the API server cannot do yet. */
const apply = async (client: ApiClient, object: Installable): Promise<void> => {
  const group = object.apiVersion.includes('/') ? `/apis/${object.apiVersion}` : '/api/v1'
  const scope = object.metadata.namespace === undefined ? '' : `/namespaces/${object.metadata.namespace}`
  const path = `${group}${scope}/${pluralOf(object.kind)}`
  const { status: _status, ...wanted } = object
  for (let attempt = 0; ; attempt++) {
    try {
      await client.create(path, wanted)
      return
    } catch (error) {
      if (isApiError(error, 409)) {
        await client.patch(`${path}/${object.metadata.name}`, wanted)
        return
      }
      if (attempt === 100 || !isApiError(error, 403, 404, 429, 500, 503)) throw error
      await sleep(200)
    }
  }
}

const object = (apiVersion: string, kind: string, metadata: { name: string; namespace?: string }, rest: object = {}): Installable => ({
  apiVersion,
  kind,
  metadata: { ...metadata, uid: '' },
  ...rest,
})

const virtHandler = object(
  'apps/v1',
  'DaemonSet',
  { name: 'virt-handler', namespace },
  {
    spec: {
      selector: { matchLabels: { 'kubevirt.io': 'virt-handler' } },
      template: {
        metadata: { labels: { 'kubevirt.io': 'virt-handler' } },
        spec: {
          serviceAccountName: 'kubevirt-handler',
          hostPID: true,
          tolerations: [{ key: 'CriticalAddonsOnly', operator: 'Exists' }],
          containers: [{ name: 'virt-handler', image: `registry.example/kubevirt/virt-handler:${kubeVirtVersion}` }],
        },
      },
    },
  },
)

/** `unshare` with what this user needs for a UTS namespace (a host name of its own), or undefined where none may be had. */
const ownHostName = (): readonly string[] | undefined =>
  [['--uts'], ['--user', '--map-root-user', '--uts']].find((flags) => spawnSync('unshare', [...flags, 'hostname', 'probe']).status === 0)

/** True when an HTTPS server answers 200; its certificate is not looked at. */
const answers = async (url: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = request(url, { rejectUnauthorized: false, timeout: 2000 }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    probe.on('timeout', () => probe.destroy())
    probe.on('error', () => resolve(false))
    probe.end()
  })

const installBase = async ({ client, options, authority }: KubeVirtSetting, objects: readonly Installable[]): Promise<void> => {
  await apply(client, object('v1', 'Namespace', { name: namespace }))
  const definitions = objects.filter((one): one is CustomResourceDefinition => one.kind === 'CustomResourceDefinition')
  const rest = objects.filter(({ kind }) => !/CustomResourceDefinition|Webhook|APIService|^Service$/.test(kind))
  await Promise.all([
    ...definitions.map(async (definition) => apply(client, definition)),
    ...rest.map(async (one) =>
      apply(client, one.kind === 'ConfigMap' ? ({ ...one, data: { 'ca-bundle': authority.pem } } as Installable) : one),
    ),
  ])
  await apply(client, virtHandler)
  await Promise.all(
    definitions.map(async ({ spec }) => {
      const served = `/apis/${spec.group}/${spec.versions.find(({ storage }) => storage)?.name}/${spec.names.plural}`
      return until(`${served} is served`, 60_000, async () => client.get(`${served}?limit=1`), 200)
    }),
  )
  const configuration = {
    developerConfiguration: { featureGates: ['HotplugVolumes'] },
    migrations: { parallelMigrationsPerCluster: 5 },
    ...options.configuration,
  }
  await apply(client, object('kubevirt.io/v1', 'KubeVirt', { name: 'kubevirt', namespace }, { spec: { configuration } }))
  await client.patch(`/apis/kubevirt.io/v1/namespaces/${namespace}/kubevirts/kubevirt/status`, {
    // what virt-operator reports when it is done
    status: {
      phase: 'Deployed',
      defaultArchitecture: 'amd64',
      observedKubeVirtVersion: kubeVirtVersion,
      targetKubeVirtVersion: kubeVirtVersion,
    },
  })
}

/** virt-api behind an ExternalName service: the API server goes to localhost by itself, no cluster network needed. */
const installWebhooks = async ({ client, authority }: KubeVirtSetting, objects: readonly Installable[], port: number): Promise<void> => {
  const caBundle = Buffer.from(authority.pem).toString('base64')
  const service = object('v1', 'Service', { name: 'virt-api', namespace }, { spec: { type: 'ExternalName', externalName: 'localhost' } })
  await apply(client, service)
  for (const one of objects) {
    if (one.kind.includes('Webhook')) {
      for (const webhook of (one as WebhookConfiguration).webhooks) {
        webhook.clientConfig.service.port = port
        webhook.clientConfig.caBundle = caBundle
      }
      await apply(client, one)
    }
    if (one.kind === 'APIService') {
      const { spec } = one as ApiService
      spec.service.port = port
      spec.caBundle = caBundle
      await apply(client, one)
    }
  }
  await until('the API server reaches virt-api', 60_000, async () => client.get('/apis/subresources.kubevirt.io/v1'), 200)
}

const startApi = async ({ programs, startProgram, kubeconfigFor, authority }: KubeVirtSetting, port: number): Promise<void> => {
  const serving = authority.server('virt-api', ['virt-api.kubevirt.svc', 'virt-api.kubevirt.pod.cluster.local', 'localhost', '127.0.0.1'])
  const forHandlers = authority.client('kubevirt.io:system:client:virt-handler')
  const virtApi = startProgram({
    name: 'virt-api',
    command: programs('virt-api'),
    args: flags({
      kubeconfig: await kubeconfigFor('kubevirt-apiserver'),
      listen: '127.0.0.1',
      port,
      v: 2,
      'tls-cert-file': serving.certificateFile,
      'tls-key-file': serving.keyFile,
      'handler-cert-file': forHandlers.certificateFile,
      'handler-key-file': forHandlers.keyFile,
    }),
  })
  await until('virt-api answers', 60_000, async () => {
    if (!virtApi.isRunning()) throw new Error(`virt-api ended:\n${virtApi.logTail()}`)
    return answers(`https://127.0.0.1:${port}/apis/subresources.kubevirt.io/v1/healthz`)
  })
}

export const startKubeVirt = async (setting: KubeVirtSetting): Promise<KubeVirt> => {
  const { client, programs, startProgram, authority, kubeconfigFor, options } = setting
  const printed = await run(programs('kubevirt-objects'), [], { maxBuffer: 64 * 1024 * 1024 })
  const objects = printed.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Installable)
  const serving = authority.server('virt-controller', ['localhost', '127.0.0.1'])
  await installBase(setting, objects)

  const unshare = ownHostName()
  const startController = async (name: string): Promise<Program> => {
    const args = [
      ...flags({
        kubeconfig: await kubeconfigFor('kubevirt-controller'),
        listen: '127.0.0.1',
        port: await freePort(),
        v: 2,
        'launcher-image': `registry.example/kubevirt/virt-launcher:${kubeVirtVersion}`,
        'exporter-image': `registry.example/kubevirt/virt-exportserver:${kubeVirtVersion}`,
        'prom-cert-file': serving.certificateFile,
        'prom-key-file': serving.keyFile,
      }),
      ...(options.controllerFlags ?? []),
    ]
    const program = programs('virt-controller')
    if (unshare === undefined) {
      if (name !== 'virt-controller') throw new Error(`virt-controller ${name}: this user may not unshare a host name (try as root)`)
      return startProgram({ name, command: program, args })
    }
    return startProgram({ name, command: 'unshare', args: [...unshare, 'sh', '-c', 'hostname "$0"; exec "$@"', name, program, ...args] })
  }
  const apiPort = await freePort()
  const controller = await startController('virt-controller')
  await startApi(setting, apiPort)
  await installWebhooks(setting, objects, apiPort)
  await until('virt-controller leads', 60_000, async () => {
    if (!controller.isRunning()) throw new Error(`virt-controller ended:\n${controller.logTail()}`)
    const lease = await client.get<Lease>(`/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/virt-controller`)
    return lease.spec.holderIdentity === (unshare === undefined ? hostname() : 'virt-controller')
  })
  return { startController }
}
