/** A pod of deploy/ on a played node: translated, laid out, and how to run it. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { PodImage } from './image/image.ts'
import type { PodLab } from './lab.ts'
import type { PodSpec } from './translate/manifest.ts'
import type { OciMount } from './translate/oci.ts'
import { capabilitiesIn, type SeccompTemplate } from './translate/rights.ts'
import { onlyContainer, translate, type Translation } from './translate/bundle-config.ts'
import { layOutVolumes, type VolumeSources } from './translate/pod-volumes.ts'

export interface PodOnNode {
  readonly lab: PodLab
  readonly image: PodImage
  readonly name: string
  readonly namespace: string
  readonly uid: string
  readonly pod: PodSpec
  readonly node: { readonly name: string; readonly address: string; readonly kubeletDirectory: string }
  readonly sources: VolumeSources
  readonly apiServer: Translation['apiServer']
  /** For the bundle. */
  readonly directory: string
  readonly played?: readonly OciMount[]
  readonly command?: readonly string[]
}

export interface PreparedPod {
  /** Runs the container in the foreground. */
  readonly command: readonly [string, ...string[]]
  /** A program inside, while it runs. */
  inside(...command: readonly string[]): readonly [string, ...string[]]
}

const script = join(import.meta.dirname, 'run-container.sh')
const seccompFile = '/usr/share/containers/seccomp.json'

/** To be called before each start: the kubelet's files of the pod are made anew. */
export function preparePod(options: PodOnNode): PreparedPod {
  const { lab, pod, image, uid, node, sources, directory, played = [], command } = options
  const container = onlyContainer(pod).name
  const cgroup = lab.cgroupOf(node.name)
  const laidOut = layOutVolumes(pod, sources, { directory: join(node.kubeletDirectory, 'pods', uid), namespace: options.namespace })
  const spec = translate({
    pod,
    image: image.config,
    identity: { name: options.name, namespace: options.namespace, uid, node: node.name, hostIp: node.address },
    apiServer: options.apiServer,
    volumes: laidOut.volumes,
    further: [...laidOut.further, ...played],
    cgroupsPath: cgroup.containerPath(uid, container),
    seccomp: JSON.parse(readFileSync(seccompFile, 'utf8')) as SeccompTemplate,
    machine: { architecture: process.arch, capabilities: capabilitiesIn(readFileSync('/proc/self/status', 'utf8')) },
    ...(command === undefined ? {} : { command }),
  })
  const id = `${node.name}-${options.name}`
  const bundle = join(directory, id)
  mkdirSync(bundle, { recursive: true })
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec, undefined, 2))
  return {
    command: [script, lab.state, id, bundle, image.rootfs, ...cgroup.podFolders(uid)],
    inside: (...inner) => ['runc', '--root', lab.state, 'exec', id, ...inner],
  }
}
