/**
 * A real control plane for a test: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and, if wanted, KubeVirt's
 * own virt-controller and virt-api, on free ports of 127.0.0.1, in a temporary directory, without containers.
 */
import { execFile } from 'node:child_process'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type ApiClient, apiClient, isApiError } from '../../support/api-client.ts'
import type { Lease } from '../api/objects.ts'
import { controlPlanePrograms } from '../build/programs.ts'
import { freePort } from '../ports.ts'
import { flags, keepProcesses, type ProcessKeeper, type Program, type ProgramStart } from '../processes.ts'
import { until } from '../../support/timing.ts'
import { authorityFiles, type CredentialFiles } from './certificates.ts'
import { type KubeVirt, type KubeVirtOptions, startKubeVirt } from './kubevirt.ts'

export interface ControlPlaneOptions {
  /** Real virt-controller and virt-api, with KubeVirt's CRDs, RBAC and webhooks; about 15 s more. False by default. */
  readonly kubevirt?: boolean | KubeVirtOptions
  /** A second, standby kube-controller-manager: the program `kube-controller-manager-standby`. */
  readonly standbyControllerManager?: boolean
  /** Further flags, as `--node-monitor-grace-period=20s`. */
  readonly flags?: {
    readonly apiServer?: readonly string[]
    readonly controllerManager?: readonly string[]
    readonly scheduler?: readonly string[]
  }
}

export interface ControlPlane {
  readonly url: string
  readonly caPem: string
  /** Member of system:masters. */
  readonly adminToken: string
  /** Path of the admin's kubeconfig. */
  readonly kubeconfigFile: string
  /** The admin's client. */
  readonly client: ApiClient
  /** For further programs of the test (agents, witnesses): they end with the control plane. */
  readonly keeper: ProcessKeeper
  readonly kubevirt: KubeVirt | undefined
  /** A running program by its name (`etcd`, `kube-apiserver`, `virt-controller`, ...), to be killed or paused by its pid. */
  program(name: string): Program
  /** Starts a program again, with its old flags, after it was killed. */
  startAgain(name: string): Program
  /** A token of an existing ServiceAccount, valid for a day. */
  tokenFor(namespace: string, serviceAccount: string): Promise<string>
  /** Writes a kubeconfig with the token and gives its path; `server` when the way there leads through a proxy. */
  kubeconfigWith(token: string, server?: string): string
  kubectl(...args: readonly string[]): Promise<string>
  /** Ends every program and removes the directory. Throws when anything is left running. */
  stop(): Promise<void>
}

const run = promisify(execFile)

/** JSON is YAML: no quoting of our own. */
const writeKubeconfig = (file: string, server: string, caPem: string, user: Readonly<Record<string, string>>): string => {
  const cluster = { server, 'certificate-authority-data': Buffer.from(caPem).toString('base64') }
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster }],
    users: [{ name: 'test', user }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  }
  writeFileSync(file, JSON.stringify(config, undefined, 2), { mode: 0o600 })
  return file
}

const withKey = ({ certificateFile, keyFile }: CredentialFiles): Record<string, string> => ({
  'client-certificate': certificateFile,
  'client-key': keyFile,
})

/** Resolves when all of it answers; stops what runs already when a part does not come up, and says which. */
export const startControlPlane = async (options: ControlPlaneOptions = {}): Promise<ControlPlane> => {
  const wantsKubeVirt = Boolean(options.kubevirt)
  const programs = await controlPlanePrograms(wantsKubeVirt)
  const keeper = keepProcesses('control-plane')
  try {
    return await start(options, programs, keeper)
  } catch (error) {
    await keeper.stop()
    throw error
  }
}

const start = async (options: ControlPlaneOptions, programs: (name: string) => string, keeper: ProcessKeeper): Promise<ControlPlane> => {
  const { directory } = keeper
  const pki = join(directory, 'pki')
  mkdirSync(pki)
  const [etcdPort, etcdPeerPort, apiPort] = [await freePort(), await freePort(), await freePort()]
  const url = `https://127.0.0.1:${apiPort}`
  const etcdUrl = `http://127.0.0.1:${etcdPort}`
  const etcdPeerUrl = `http://127.0.0.1:${etcdPeerPort}`
  const starts = new Map<string, ProgramStart>()
  const running = new Map<string, Program>()
  const startProgram = (program: ProgramStart): Program => {
    const started = keeper.start(program)
    starts.set(program.name, program)
    running.set(program.name, started)
    return started
  }

  startProgram({
    name: 'etcd',
    command: programs('etcd'),
    args: flags({
      name: 'test',
      'data-dir': join(directory, 'etcd'),
      'unsafe-no-fsync': true,
      'log-level': 'warn',
      'listen-client-urls': etcdUrl,
      'advertise-client-urls': etcdUrl,
      'listen-peer-urls': etcdPeerUrl,
      'initial-advertise-peer-urls': etcdPeerUrl,
      'initial-cluster': `test=${etcdPeerUrl}`,
    }),
  })

  const authority = authorityFiles(pki)
  const caPem = authority.pem
  const serving = authority.server('kube-apiserver', ['localhost', 'kubernetes.default.svc', '127.0.0.1', '10.96.0.1'])
  const frontProxy = authority.client('front-proxy-client')
  const serviceAccountKey = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signingKeyFile = join(pki, 'service-account.key')
  const verifyingKeyFile = join(pki, 'service-account.pub')
  writeFileSync(signingKeyFile, serviceAccountKey.privateKey.export({ type: 'sec1', format: 'pem' }), { mode: 0o600 })
  writeFileSync(verifyingKeyFile, serviceAccountKey.publicKey.export({ type: 'spki', format: 'pem' }))
  const adminToken = randomUUID()
  const tokensFile = join(pki, 'tokens.csv')
  writeFileSync(tokensFile, `${adminToken},test-admin,test-admin,"system:masters"\n`, { mode: 0o600 })
  const kubeconfigFile = writeKubeconfig(join(directory, 'admin.kubeconfig'), url, caPem, { token: adminToken })
  const client = apiClient({ url, caPem, token: adminToken })

  startProgram({
    name: 'kube-apiserver',
    command: programs('kube-apiserver'),
    args: [
      ...flags({
        'etcd-servers': etcdUrl,
        'bind-address': '127.0.0.1',
        'advertise-address': '127.0.0.1',
        'secure-port': apiPort,
        'endpoint-reconciler-type': 'none',
        'service-cluster-ip-range': '10.96.0.0/16',
        'allow-privileged': true,
        profiling: false,
        'tls-cert-file': serving.certificateFile,
        'tls-private-key-file': serving.keyFile,
        'client-ca-file': authority.certificateFile,
        'token-auth-file': tokensFile,
        'authorization-mode': 'RBAC',
        'service-account-issuer': 'https://kubernetes.default.svc',
        'service-account-key-file': verifyingKeyFile,
        'service-account-signing-key-file': signingKeyFile,
        // how virt-api learns on whose behalf the API server forwards a subresource call
        'proxy-client-cert-file': frontProxy.certificateFile,
        'proxy-client-key-file': frontProxy.keyFile,
        'requestheader-client-ca-file': authority.certificateFile,
        'requestheader-allowed-names': 'front-proxy-client',
        'requestheader-username-headers': 'X-Remote-User',
        'requestheader-group-headers': 'X-Remote-Group',
        'requestheader-extra-headers-prefix': 'X-Remote-Extra-',
      }),
      ...(options.flags?.apiServer ?? []),
    ],
  })
  const certificateConfig = (name: string): string =>
    writeKubeconfig(join(pki, `${name}.kubeconfig`), url, caPem, withKey(authority.client(`system:${name}`)))
  const controllerManagerConfig = certificateConfig('kube-controller-manager')
  const schedulerConfig = certificateConfig('kube-scheduler')
  const alive = (name: string): void => {
    const program = running.get(name)
    if (program !== undefined && !program.isRunning()) throw new Error(`${name} ended:\n${program.logTail()}`)
  }
  await until('kube-apiserver is ready', 60_000, async () => {
    alive('etcd')
    alive('kube-apiserver')
    return (await client.get<string>('/readyz')) === 'ok'
  })

  const startControllerManager = (name: string): Program =>
    startProgram({
      name,
      command: programs('kube-controller-manager'),
      args: [
        ...flags({
          kubeconfig: controllerManagerConfig,
          'secure-port': 0, // serves nothing
          'leader-elect': true,
          v: 2,
          'root-ca-file': authority.certificateFile,
          'service-account-private-key-file': signingKeyFile,
          'use-service-account-credentials': true,
          'service-cluster-ip-range': '10.96.0.0/16',
        }),
        ...(options.flags?.controllerManager ?? []),
      ],
    })
  startControllerManager('kube-controller-manager')
  startProgram({
    name: 'kube-scheduler',
    command: programs('kube-scheduler'),
    args: [...flags({ kubeconfig: schedulerConfig, 'secure-port': 0, 'leader-elect': true, v: 2 }), ...(options.flags?.scheduler ?? [])],
  })

  const tokenFor = async (namespace: string, serviceAccount: string): Promise<string> => {
    const answer = await client.create<{ status: { token: string } }>(
      `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`,
      { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 86_400 } },
    )
    return answer.status.token
  }
  const kubeconfigWith = (token: string, server = url): string =>
    writeKubeconfig(join(directory, `${randomUUID()}.kubeconfig`), server, caPem, { token })

  const kubevirt = options.kubevirt
    ? await startKubeVirt({
        client,
        programs,
        startProgram,
        pki,
        authority,
        kubeconfigFor: async (serviceAccount) => kubeconfigWith(await tokenFor('kubevirt', serviceAccount)),
        options: options.kubevirt === true ? {} : options.kubevirt,
      })
    : undefined
  await until('the controller manager and the scheduler lead', 60_000, async () => {
    alive('kube-controller-manager')
    alive('kube-scheduler')
    await client.get('/api/v1/namespaces/default/serviceaccounts/default')
    return (await client.get<Lease>('/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler')).spec.holderIdentity
  })
  // after the first leads: which of the two is the standby is then known
  if (options.standbyControllerManager) startControllerManager('kube-controller-manager-standby')

  return {
    url,
    caPem,
    adminToken,
    kubeconfigFile,
    client,
    keeper,
    kubevirt,
    tokenFor,
    kubeconfigWith,
    program: (name) => {
      const program = running.get(name)
      if (program === undefined) throw new Error(`no program ${name}; there are ${[...running.keys()].join(', ')}`)
      return program
    },
    startAgain: (name) => {
      const program = starts.get(name)
      if (program === undefined) throw new Error(`no program ${name}; there are ${[...starts.keys()].join(', ')}`)
      return startProgram(program)
    },
    kubectl: async (...args) =>
      (await run(programs('kubectl'), ['--kubeconfig', kubeconfigFile, ...args], { maxBuffer: 64 * 1024 * 1024 })).stdout,
    stop: async () => {
      client.close()
      await keeper.stop()
    },
  }
}

/** Creates the namespace, if need be, and waits for its default ServiceAccount, without which no pod can be made there. */
export const ensureNamespace = async (client: ApiClient, name: string): Promise<void> => {
  try {
    await client.create('/api/v1/namespaces', { metadata: { name } })
  } catch (error) {
    if (!isApiError(error, 409)) throw error
  }
  await until(`namespace ${name} has its default ServiceAccount`, 30_000, async () =>
    client.get(`/api/v1/namespaces/${name}/serviceaccounts/default`),
  )
}
