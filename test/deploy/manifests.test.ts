/** The manifests agree with the code: rights, configuration, ports, mounts. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseConfiguration, parseWitnessConfiguration } from '../../src/config/load.ts'
import type { Configuration } from '../../src/config/schema.ts'
import { genesisName } from '../../src/agent/state/membership-source.ts'
import { rbacRules, type RbacRule } from '../../src/failover/run/rbac.ts'
import { allManifests, deployFolder, type Manifest, manifest, manifestFiles } from './manifests.ts'

interface NamedRule extends RbacRule {
  readonly resourceNames?: readonly string[]
}

interface Container {
  readonly image: string
  readonly args: readonly string[]
  readonly ports: readonly { readonly name: string; readonly containerPort: number; readonly protocol?: string }[]
  readonly env?: readonly { readonly name: string }[]
  readonly securityContext: { readonly [field: string]: unknown }
  readonly resources: { readonly requests?: object; readonly limits?: { readonly memory?: string; readonly cpu?: string } }
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string; readonly mountPropagation?: string }[]
}

interface PodSpec {
  readonly [field: string]: unknown
  readonly containers: readonly Container[]
  readonly volumes: readonly { readonly name: string; readonly secret?: { readonly defaultMode: number } }[]
}

/** One line for each single right, so that grouping and order do not matter. */
export const rightsOf = (rules: readonly NamedRule[]): readonly string[] =>
  rules
    .flatMap(({ apiGroups, resources, verbs, resourceNames = ['*'] }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => verbs.flatMap((verb) => resourceNames.map((name) => `${verb} ${resource}.${group} ${name}`))),
      ),
    )
    .toSorted()

const rulesOf = (role: Manifest): readonly NamedRule[] => role['rules'] as readonly NamedRule[]
const podOf = (workload: Manifest): PodSpec => (workload['spec'] as { template: { spec: PodSpec } }).template.spec
const containerOf = (workload: Manifest): Container => {
  const [container, ...others] = podOf(workload).containers
  if (container === undefined || others.length > 0) throw new Error('one container is expected')
  return container
}

const daemonSet = manifest('DaemonSet', 'roomfence')
const agent = containerOf(daemonSet)
const configText = (manifest('ConfigMap', 'roomfence')['data'] as Record<string, string>)['roomfence.yaml'] ?? ''
const environment = { NODE_NAME: 'a1', NODE_IP: '192.0.2.1' }
const configuration: Configuration = parseConfiguration(configText, environment)

describe('rights', () => {
  test('of the agents are those that the failover uses, each and no more', () => {
    expect(rightsOf(rulesOf(manifest('ClusterRole', 'roomfence')))).toEqual(rightsOf(rbacRules))
  })

  test('of the agents in their own namespace are those of reading genesis', () => {
    expect(rightsOf(rulesOf(manifest('Role', 'roomfence')))).toEqual([`get configmaps. ${genesisName}`])
  })

  test('name no wildcard anywhere, and no Secret', () => {
    const rules = allManifests().flatMap((one) => (Array.isArray(one['rules']) ? rulesOf(one) : []))
    expect(rules.length).toBeGreaterThan(10)
    expect(rules.filter((rule) => [rule.apiGroups, rule.resources, rule.verbs].some((names) => names.includes('*')))).toEqual([])
    expect(rules.filter((rule) => rule.resources.includes('secrets'))).toEqual([])
  })

  test('a right too many and a right too few are both seen', () => {
    const some = rightsOf([{ apiGroups: [''], resources: ['nodes', 'pods'], verbs: ['get'] }])
    expect(some).toEqual(
      rightsOf([
        { apiGroups: [''], resources: ['pods'], verbs: ['get'] },
        { apiGroups: [''], resources: ['nodes'], verbs: ['get'] },
      ]),
    )
    expect(some).not.toEqual(rightsOf([{ apiGroups: [''], resources: ['nodes', 'pods'], verbs: ['get', 'list'] }]))
    expect(some).not.toEqual(rightsOf([{ apiGroups: [''], resources: ['nodes'], verbs: ['get'] }]))
  })

  test('belong to the account that runs the workload', () => {
    for (const [workload, role] of [
      [daemonSet, 'roomfence'],
      [manifest('Job', 'roomfence-init'), 'roomfence-init'],
    ] as const) {
      const account = podOf(workload)['serviceAccountName']
      for (const kind of ['ClusterRoleBinding', 'RoleBinding'])
        expect(manifest(kind, role)).toMatchObject({
          roleRef: { name: role },
          subjects: [{ kind: 'ServiceAccount', name: account, namespace: 'roomfence' }],
        })
    }
  })
})

describe('the configuration', () => {
  test('is one that the agent takes, with the environment that the DaemonSet sets', () => {
    expect(agent.env?.map(({ name }) => name)).toEqual(Object.keys(environment))
    expect(configuration.node).toBe('a1')
    expect(configuration.paths).toEqual([{ name: 'node', listenHost: '0.0.0.0', listenPort: 9812, advertiseHost: '192.0.2.1' }])
  })

  test('is still one with the second path that is commented out', () => {
    const more = configText.replaceAll(/^( +)# (- name: storage| {2}(?:listenHost|listenPort|advertiseHost): )/gm, '$1$2')
    const { paths } = parseConfiguration(more, environment)
    expect(paths.map(({ name, advertiseHost }) => [name, advertiseHost])).toEqual([
      ['node', '192.0.2.1'],
      ['storage', 'a1.storage.example.com'],
    ])
  })

  test('with an unknown field would be refused', () => {
    expect(() => parseConfiguration(configText.replace('stateDirectory:', 'stateDirektory:'), environment)).toThrow('stateDirectory')
  })

  test('names the ports that the DaemonSet opens', () => {
    const port = (name: string) => agent.ports.find((one) => one.name === name)
    expect(port('metrics')?.containerPort).toBe(configuration.observe.port)
    expect(port('heartbeat')).toMatchObject({ containerPort: configuration.paths[0]?.listenPort, protocol: 'UDP' })
  })

  test('names only files that are mounted, or that a privileged container has anyway', () => {
    const { keys, witness, watchdog, containment, drbd, stateDirectory, bootIdFile } = configuration
    if (witness.kind !== 'http' || watchdog.kind !== 'device') throw new Error('expected a witness and a watchdog')
    const files = [
      keys.file,
      witness.caFile,
      witness.tokenFile,
      watchdog.device,
      containment.kubeletDirectory,
      containment.cgroupRoot,
      stateDirectory,
      agent.args[2] ?? '',
    ]
    const mounts = agent.volumeMounts.map(({ mountPath }) => mountPath)
    expect(files.filter((file) => !mounts.some((mount) => file === mount || file.startsWith(`${mount}/`)))).toEqual([])
    for (const file of [watchdog.timeoutFile, watchdog.nowayoutFile, drbd.procDrbd, drbd.usermodeHelperFile, bootIdFile])
      expect(file).toMatch(/^\/(?:proc|sys)\//)
  })

  test('of the witness is one that it takes, on the port that is opened', () => {
    const inCluster = (manifest('ConfigMap', 'roomfence-witness')['data'] as Record<string, string>)['witness.yaml'] ?? ''
    const onHost = readFileSync(join(deployFolder, 'witness/witness.yaml'), 'utf8')
    const witness = containerOf(manifest('Deployment', 'roomfence-witness'))
    for (const text of [inCluster, onHost]) expect(parseWitnessConfiguration(text).listen.port).toBe(witness.ports[0]?.containerPort)
  })
})

describe('the DaemonSet', () => {
  test('runs on every node of a room, also one that is fenced, and before all others', () => {
    expect(podOf(daemonSet)).toMatchObject({
      tolerations: [{ operator: 'Exists' }],
      priorityClassName: 'system-node-critical',
      hostNetwork: true,
      hostPID: false,
    })
  })

  test('keeps its keys from others, and its own files from itself', () => {
    for (const { secret } of podOf(daemonSet).volumes) if (secret) expect(secret.defaultMode).toBe(0o400)
    expect(agent.securityContext).toMatchObject({ readOnlyRootFilesystem: true, runAsUser: 0 })
  })

  test('has a place for the lock files that drbdsetup writes, of the pod alone and in memory', () => {
    const mount = agent.volumeMounts.find(({ mountPath }) => mountPath === '/run/lock')
    expect(mount).toEqual({ name: 'lock', mountPath: '/run/lock' })
    const volume = podOf(daemonSet).volumes.find(({ name }) => name === mount?.name)
    expect(volume).toMatchObject({ emptyDir: { medium: 'Memory' } })
  })

  test('lets volumes of pods that have gone go', () => {
    expect(agent.volumeMounts.find(({ name }) => name === 'kubelet')?.mountPropagation).toBe('HostToContainer')
  })

  test('and init have one network and one source of names, so that what init reaches is what the agents reach', () => {
    const network = ({ hostNetwork, dnsPolicy }: PodSpec): unknown => [hostNetwork, dnsPolicy]
    expect(network(podOf(manifest('Job', 'roomfence-init')))).toEqual(network(podOf(daemonSet)))
  })

  test('is not throttled', () => {
    expect(agent.resources.limits).toEqual({ memory: '256Mi' })
  })
})

describe('what needs no host', () => {
  test.each([
    ['Job', 'roomfence-init'],
    ['Deployment', 'roomfence-witness'],
  ])('%s %s runs without root, without capabilities and with a seccomp profile', (kind, name) => {
    const workload = manifest(kind, name)
    expect(podOf(workload)).toMatchObject({ securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } })
    expect(containerOf(workload).securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
  })
})

describe('the files', () => {
  test('all name one image, in the version of the package', () => {
    const { version } = JSON.parse(readFileSync(join(deployFolder, '../package.json'), 'utf8')) as { version: string }
    const workloads = allManifests().filter(({ kind }) => ['DaemonSet', 'Job', 'Deployment'].includes(kind))
    expect(workloads.map((one) => containerOf(one).image)).toEqual(workloads.map(() => `roomfence:${version}`))
  })

  test('that kubectl applies with deploy/ come in an order that works', () => {
    expect(manifestFiles('.')).toEqual([
      '00-namespace.yaml',
      '10-rbac.yaml',
      '12-roles.yaml',
      '15-admission.yaml',
      '20-config.yaml',
      '30-agent.yaml',
    ])
  })

  test('of the examples hold no secret', () => {
    for (const file of manifestFiles('examples')) {
      const values = [...readFileSync(join(deployFolder, file), 'utf8').matchAll(/^ {2}(?:key|token|ca\.crt): (.*)$/gm)].map(
        ([, value]) => value,
      )
      expect(values.every((value) => value === '""') && values.length > 0).toBe(true)
    }
  })
})
