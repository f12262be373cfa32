/** A pod of a manifest as the configuration of its one container for an OCI runtime, as kubelet and containerd would make it. Pure. */
import type { ImageConfig } from '../image/image.ts'
import { bytesOf, type Container, type PodSpec, type SecurityContext, unknownFields } from './manifest.ts'
import type { OciMount, OciSpec } from './oci.ts'
import { capabilitiesOf, closedPaths, type SeccompTemplate, seccompOf } from './rights.ts'

/** What the downward API, the kubelet and the scheduler know of the pod. */
export interface PodIdentity {
  readonly name: string
  readonly namespace: string
  readonly uid: string
  readonly node: string
  readonly hostIp: string
}

export interface Translation {
  readonly pod: PodSpec
  readonly image: ImageConfig
  readonly identity: PodIdentity
  /** Where the API server answers inside the cluster. */
  readonly apiServer: { readonly host: string; readonly port: number }
  /** Of each volume by name: what is mounted, without place and mode. */
  readonly volumes: ReadonlyMap<string, Pick<OciMount, 'type' | 'source'> & { readonly options: readonly string[] }>
  /** Mounted besides: the kubelet's files of the pod, and what a test plays of a node's kernel. */
  readonly further: readonly OciMount[]
  /** Below the root of each cgroup hierarchy. */
  readonly cgroupsPath: string
  readonly seccomp: SeccompTemplate
  readonly machine: { readonly architecture: string; readonly capabilities: readonly string[] }
  /** In place of the entry point, with nothing else changed. */
  readonly command?: readonly string[]
}

export function onlyContainer(pod: PodSpec): Container {
  const [container, ...others] = pod.containers
  if (container === undefined || others.length > 0) throw new Error('a pod of one container is expected')
  return container
}

export const securityOf = (pod: PodSpec): SecurityContext => ({ ...pod.securityContext, ...onlyContainer(pod).securityContext })

const fieldOf = (identity: PodIdentity, pod: PodSpec, path: string): string => {
  const fields: Readonly<Record<string, string | undefined>> = {
    'metadata.name': identity.name,
    'metadata.namespace': identity.namespace,
    'metadata.uid': identity.uid,
    'spec.nodeName': identity.node,
    'spec.serviceAccountName': pod.serviceAccountName ?? 'default',
    'status.hostIP': identity.hostIp,
    'status.podIP': pod.hostNetwork === true ? identity.hostIp : undefined,
  }
  const value = fields[path]
  if (value === undefined) throw new Error(`the downward API's field ${path} is not known here`)
  return value
}

function environmentOf({ pod, image, identity, apiServer }: Translation): readonly string[] {
  const given = (onlyContainer(pod).env ?? []).map(({ name, value, valueFrom }): readonly [string, string] => [
    name,
    valueFrom === undefined ? (value ?? '') : fieldOf(identity, pod, valueFrom.fieldRef.fieldPath),
  ])
  const all = new Map<string, string>([
    ...(image.Env ?? []).map((line): [string, string] => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    ['HOSTNAME', identity.node],
    ['KUBERNETES_SERVICE_HOST', apiServer.host],
    ['KUBERNETES_SERVICE_PORT', String(apiServer.port)],
    ...given,
  ])
  return [...all].map(([name, value]) => `${name}=${value}`)
}

function userOf(image: ImageConfig, { runAsUser, runAsGroup, runAsNonRoot, fsGroup }: SecurityContext): OciSpec['process']['user'] {
  const [uid = 0, gid = 0] = (image.User ?? '').split(':').flatMap((word) => (word === '' ? [] : [Number(word)]))
  const user = { uid: runAsUser ?? uid, gid: runAsGroup ?? (runAsUser === undefined ? gid : 0) }
  if (!Number.isInteger(user.uid) || !Number.isInteger(user.gid))
    throw new Error(`the image's user is ${image.User ?? ''}, but must be numbers`)
  if (runAsNonRoot === true && user.uid === 0) throw new Error('the pod must not run as root, and does')
  return { ...user, ...(fsGroup === undefined ? {} : { additionalGids: [fsGroup] }) }
}

/** Of a container's own, before its volumes. */
const ownMounts = (isPrivileged: boolean): readonly OciMount[] => {
  const mode = isPrivileged ? 'rw' : 'ro'
  const closed = ['nosuid', 'noexec', 'nodev']
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: closed },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: closed },
    { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...closed, 'mode=1777', 'size=65536k'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...closed, mode] },
    { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: [...closed, 'relatime', mode] },
  ]
}

const propagation: Readonly<Record<string, string>> = { None: 'rprivate', HostToContainer: 'rslave', Bidirectional: 'rshared' }

function volumeMounts({ pod, volumes }: Translation): readonly OciMount[] {
  return (onlyContainer(pod).volumeMounts ?? []).map(({ name, mountPath, readOnly, mountPropagation = 'None' }) => {
    const volume = volumes.get(name)
    if (volume === undefined) throw new Error(`the volume ${name} is mounted, but is not one of the pod's`)
    const mode = readOnly === true ? 'ro' : 'rw'
    return { destination: mountPath, ...volume, options: [...volume.options, mode, propagation[mountPropagation] ?? 'rprivate'] }
  })
}

/** A mount below another one comes after it. */
const inOrder = (mounts: readonly OciMount[]): readonly OciMount[] =>
  mounts.toSorted((a, b) => a.destination.split('/').length - b.destination.split('/').length)

function resourcesOf({ resources = {}, securityContext }: Container): OciSpec['linux']['resources'] {
  const { limits = {}, requests = {} } = resources
  const cores = (quantity: string | number | undefined): number | undefined =>
    quantity === undefined ? undefined : String(quantity).endsWith('m') ? Number(String(quantity).slice(0, -1)) / 1000 : Number(quantity)
  const asked = cores(requests['cpu'] ?? limits['cpu'])
  const limit = cores(limits['cpu'])
  return {
    devices: [{ allow: securityContext?.privileged === true, access: 'rwm' }],
    ...(limits['memory'] === undefined ? {} : { memory: { limit: bytesOf(limits['memory']) } }),
    cpu: {
      ...(asked === undefined ? {} : { shares: Math.max(2, Math.floor(asked * 1024)) }),
      ...(limit === undefined ? {} : { quota: Math.floor(limit * 100_000), period: 100_000 }),
    },
  }
}

/** @throws where the manifest says something that is not translated. */
export function translate(given: Translation): OciSpec {
  const { pod, image, identity, further, cgroupsPath, seccomp, machine, command } = given
  const unknown = unknownFields(pod)
  if (unknown.length > 0) throw new Error(`not translated, and so not tested: ${unknown.join(', ')} (test/pod/translate)`)
  const container = onlyContainer(pod)
  const security = securityOf(pod)
  const isPrivileged = security.privileged === true
  const capabilities = capabilitiesOf(security, machine.capabilities)
  const closed = closedPaths(isPrivileged)
  const filtersCalls = !isPrivileged && security.seccompProfile?.type === 'RuntimeDefault'
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: userOf(image, security),
      args: command ?? [...(image.Entrypoint ?? []), ...(container.args ?? image.Cmd ?? [])],
      env: environmentOf(given),
      cwd: image.WorkingDir ?? '/',
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: security.allowPrivilegeEscalation === false,
      oomScoreAdj: 0,
    },
    root: { path: 'rootfs', readonly: security.readOnlyRootFilesystem === true },
    hostname: identity.node,
    mounts: [...ownMounts(isPrivileged), ...inOrder([...volumeMounts(given), ...further])],
    linux: {
      namespaces: ['mount', 'ipc', 'uts', ...(pod.hostPID === true ? [] : ['pid']), ...(pod.hostNetwork === true ? [] : ['network'])].map(
        (type) => ({ type }),
      ),
      cgroupsPath,
      resources: resourcesOf(container),
      maskedPaths: closed.masked,
      readonlyPaths: closed.readonly,
      ...(filtersCalls ? { seccomp: seccompOf(seccomp, capabilities, machine.architecture) } : {}),
    },
  }
}
