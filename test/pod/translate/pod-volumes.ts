/** A pod's volumes laid out as the kubelet does it: below `pods/<uid>/volumes/kubernetes.io~<plugin>/<name>` of the node's kubelet directory. */
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bytesOf, type PodSpec, type Volume } from './manifest.ts'
import type { OciMount } from './oci.ts'
import { securityOf, type Translation } from './bundle-config.ts'

type Files = Readonly<Record<string, string>>

export interface VolumeSources {
  readonly configMaps: Readonly<Record<string, Files>>
  readonly secrets: Readonly<Record<string, Files>>
  /** The host's folders that a pod may ask for, and what stands for each. */
  readonly hostPaths: Readonly<Record<string, string>>
  readonly claims?: Readonly<Record<string, string>>
  /** Of the pod's service account. */
  readonly token: string
  readonly caPem: string
}

interface Place {
  /** `<kubelet directory>/pods/<uid>` */
  readonly directory: string
  readonly namespace: string
}

const accountFolder = '/var/run/secrets/kubernetes.io/serviceaccount'
const bind = ['rbind'] as const

/** Through a link, which the kubelet replaces when the content changes. */
function writeFiles(folder: string, files: Files, mode: number, group: number | undefined, owner = 0): void {
  const version = join(folder, '..version')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(version, { recursive: true })
  symlinkSync('..version', join(folder, '..data'))
  for (const [name, text] of Object.entries(files)) {
    const file = join(version, name)
    writeFileSync(file, text)
    chownSync(file, owner, group ?? 0)
    chmodSync(file, group === undefined ? mode : mode | 0o440)
    symlinkSync(join('..data', name), join(folder, name))
  }
}

function hostFolder({ hostPath }: Volume, { hostPaths }: VolumeSources): string {
  const { path = '', type } = hostPath ?? {}
  const folder = hostPaths[path]
  if (folder === undefined) throw new Error(`the pod asks for ${path} of its host, and nothing stands for that here`)
  if (type === 'DirectoryOrCreate' && !existsSync(folder)) mkdirSync(folder, { recursive: true, mode: 0o755 })
  if (type !== undefined && !statSync(folder).isDirectory()) throw new Error(`${folder}, which stands for ${path}, is no folder`)
  return folder
}

type Laid = readonly [string, Pick<OciMount, 'type' | 'source'> & { readonly options: readonly string[] }]

function layOut(volume: Volume, pod: PodSpec, sources: VolumeSources, { directory }: Place): Laid {
  const { name, configMap, secret, emptyDir, persistentVolumeClaim } = volume
  const { fsGroup } = securityOf(pod)
  const folder = (plugin: string): string => join(directory, 'volumes', `kubernetes.io~${plugin}`, name)
  const given = (files: Files | undefined, what: string): Files => {
    if (files === undefined) throw new Error(`the pod mounts ${what}, which is not there`)
    return files
  }
  if (configMap !== undefined) {
    const files = given(sources.configMaps[configMap.name], `the ConfigMap ${configMap.name}`)
    writeFiles(folder('configmap'), files, configMap.defaultMode ?? 0o644, fsGroup)
    return [name, { source: folder('configmap'), options: bind }]
  }
  if (secret !== undefined) {
    const files = given(sources.secrets[secret.secretName], `the Secret ${secret.secretName}`)
    writeFiles(folder('secret'), files, secret.defaultMode ?? 0o644, fsGroup)
    return [name, { source: folder('secret'), options: bind }]
  }
  if (emptyDir !== undefined) {
    mkdirSync(folder('empty-dir'), { recursive: true })
    chmodSync(folder('empty-dir'), 0o777)
    const size = emptyDir.sizeLimit === undefined ? [] : [`size=${bytesOf(emptyDir.sizeLimit)}`]
    if (emptyDir.medium === 'Memory') return [name, { type: 'tmpfs', source: 'tmpfs', options: ['mode=0777', ...size] }]
    return [name, { source: folder('empty-dir'), options: bind }]
  }
  if (persistentVolumeClaim !== undefined) {
    const claim = sources.claims?.[persistentVolumeClaim.claimName]
    if (claim === undefined) throw new Error(`the pod mounts the claim ${persistentVolumeClaim.claimName}, which is not there`)
    if (fsGroup !== undefined) {
      chownSync(claim, 0, fsGroup)
      chmodSync(claim, 0o2775)
    }
    return [name, { source: claim, options: bind }]
  }
  return [name, { source: hostFolder(volume, sources), options: bind }]
}

/** Everything that the kubelet makes for the pod before its container. */
export function layOutVolumes(pod: PodSpec, sources: VolumeSources, place: Place): Pick<Translation, 'volumes' | 'further'> {
  const { directory, namespace } = place
  mkdirSync(directory, { recursive: true })
  const file = (name: string, text: string): string => {
    const path = join(directory, name)
    writeFileSync(path, text)
    return path
  }
  const hosts = pod.hostNetwork === true ? '# Kubernetes-managed hosts file (host network).\n' : '# Kubernetes-managed hosts file.\n'
  const { runAsUser, fsGroup } = securityOf(pod)
  const account = join(directory, 'volumes', 'kubernetes.io~projected', 'kube-api-access')
  const isNamed = runAsUser !== undefined || fsGroup !== undefined
  const files = { token: sources.token, 'ca.crt': sources.caPem, namespace }
  const hasAccount = pod.automountServiceAccountToken !== false
  if (hasAccount) writeFiles(account, files, isNamed ? 0o600 : 0o644, fsGroup, runAsUser)
  const bound = (destination: string, source: string, mode: 'ro' | 'rw'): OciMount => ({
    destination,
    source,
    options: ['rbind', mode, 'rprivate'],
  })
  return {
    volumes: new Map((pod.volumes ?? []).map((volume) => layOut(volume, pod, sources, place))),
    further: [
      bound('/etc/hosts', file('etc-hosts', `${hosts}127.0.0.1\tlocalhost\n::1\tlocalhost\n`), 'rw'),
      bound('/etc/resolv.conf', file('resolv.conf', ''), 'ro'),
      bound('/dev/termination-log', file('termination-log', ''), 'rw'),
      ...(hasAccount ? [bound(accountFolder, account, 'ro')] : []),
    ],
  }
}
