/**
 * A pod of a manifest, as far as a container runtime and this translation know it. What they do not know is an error: a field that is passed over would
 * be a field that is not tested.
 */
export interface HttpProbe {
  readonly httpGet: { readonly path: string; readonly port: string | number; readonly scheme?: 'HTTP' | 'HTTPS' }
  readonly initialDelaySeconds?: number
  readonly periodSeconds?: number
  readonly timeoutSeconds?: number
  readonly failureThreshold?: number
}

export interface SecurityContext {
  readonly runAsUser?: number
  readonly runAsGroup?: number
  readonly runAsNonRoot?: boolean
  readonly fsGroup?: number
  readonly privileged?: boolean
  readonly allowPrivilegeEscalation?: boolean
  readonly readOnlyRootFilesystem?: boolean
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] }
  readonly seccompProfile?: { readonly type: 'RuntimeDefault' | 'Unconfined' }
}

interface EnvironmentVariable {
  readonly name: string
  readonly value?: string
  readonly valueFrom?: { readonly fieldRef: { readonly fieldPath: string } }
}

export interface VolumeMount {
  readonly name: string
  readonly mountPath: string
  readonly readOnly?: boolean
  readonly mountPropagation?: 'None' | 'HostToContainer' | 'Bidirectional'
}

export interface Volume {
  readonly name: string
  readonly configMap?: { readonly name: string; readonly defaultMode?: number }
  readonly secret?: { readonly secretName: string; readonly defaultMode?: number }
  readonly emptyDir?: { readonly medium?: 'Memory'; readonly sizeLimit?: string }
  readonly hostPath?: { readonly path: string; readonly type?: 'Directory' | 'DirectoryOrCreate' }
  readonly persistentVolumeClaim?: { readonly claimName: string }
}

export interface Container {
  readonly name: string
  readonly image: string
  readonly args?: readonly string[]
  readonly env?: readonly EnvironmentVariable[]
  readonly ports?: readonly { readonly name: string; readonly containerPort: number; readonly protocol?: 'TCP' | 'UDP' }[]
  readonly startupProbe?: HttpProbe
  readonly livenessProbe?: HttpProbe
  readonly readinessProbe?: HttpProbe
  readonly resources?: { readonly requests?: Quantities; readonly limits?: Quantities }
  readonly securityContext?: SecurityContext
  readonly volumeMounts?: readonly VolumeMount[]
}

type Quantities = Readonly<Record<string, string | number>>

export interface PodSpec {
  readonly serviceAccountName?: string
  readonly automountServiceAccountToken?: boolean
  readonly hostNetwork?: boolean
  readonly hostPID?: boolean
  readonly dnsPolicy?: string
  readonly terminationGracePeriodSeconds?: number
  readonly securityContext?: SecurityContext
  readonly containers: readonly Container[]
  readonly volumes?: readonly Volume[]
}

/** Fields by place: those that are translated or played, and then those that mean nothing to a runtime (where and when a pod is placed). */
const known: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries({
    pod: `serviceAccountName automountServiceAccountToken hostNetwork hostPID terminationGracePeriodSeconds securityContext containers volumes
      dnsPolicy priorityClassName affinity tolerations enableServiceLinks restartPolicy`,
    container: `name args env ports startupProbe livenessProbe readinessProbe resources securityContext volumeMounts
      image imagePullPolicy`,
    securityContext: `runAsUser runAsGroup runAsNonRoot fsGroup privileged allowPrivilegeEscalation readOnlyRootFilesystem capabilities
      seccompProfile`,
    probe: 'httpGet initialDelaySeconds periodSeconds timeoutSeconds failureThreshold',
    volume: 'name configMap secret emptyDir hostPath persistentVolumeClaim',
    volumeMount: 'name mountPath readOnly mountPropagation',
  }).map(([kind, fields]) => [kind, fields.split(/\s+/)]),
)

function unknownIn(place: string, kind: string, value: object | undefined): readonly string[] {
  return Object.keys(value ?? {}).flatMap((field) => (known[kind]?.includes(field) ? [] : [`${place}.${field}`]))
}

/** @returns the places of fields that the translation does not know. */
export function unknownFields(pod: PodSpec): readonly string[] {
  const ofContainer = (container: Container): readonly string[] => {
    const at = `containers.${container.name}`
    return [
      ...unknownIn(at, 'container', container),
      ...unknownIn(`${at}.securityContext`, 'securityContext', container.securityContext),
      ...(['startupProbe', 'livenessProbe', 'readinessProbe'] as const).flatMap((name) =>
        unknownIn(`${at}.${name}`, 'probe', container[name]),
      ),
      ...(container.volumeMounts ?? []).flatMap((mount) => unknownIn(`${at}.volumeMounts.${mount.name}`, 'volumeMount', mount)),
    ]
  }
  return [
    ...unknownIn('spec', 'pod', pod),
    ...unknownIn('spec.securityContext', 'securityContext', pod.securityContext),
    ...pod.containers.flatMap(ofContainer),
    ...(pod.volumes ?? []).flatMap((volume) => unknownIn(`volumes.${volume.name}`, 'volume', volume)),
  ]
}

/** Kubernetes' whole numbers of bytes: `256Mi`. */
export function bytesOf(quantity: string | number): number {
  const [, number, unit = ''] = /^(\d+)(Ki|Mi|Gi|k|M|G)?$/.exec(String(quantity)) ?? []
  const factors: Readonly<Record<string, number>> = { '': 1, Ki: 1024, Mi: 1024 ** 2, Gi: 1024 ** 3, k: 1e3, M: 1e6, G: 1e9 }
  if (number === undefined)
    throw new Error(`a quantity of bytes is ${quantity}, but only whole numbers with Ki, Mi, Gi, k, M and G are known`)
  return Number(number) * (factors[unit] ?? 1)
}
