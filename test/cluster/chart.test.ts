/** What Helm makes of deploy/chart: the plain manifests to the letter, every option, and a refusal of what it does not know. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { beforeAll, describe, expect, test } from 'vitest'
import { chartDirectory, helm, plainManifests, rendered } from '../../deploy/render.ts'
import { parseConfiguration } from '../../src/config/load.ts'
import type { Configuration } from '../../src/config/schema.ts'
import { deployFolder, type Manifest } from '../deploy/manifests.ts'
import { helmProgram } from './build/programs.ts'
import { isClusterSkipped } from './presence.ts'

interface Mount {
  readonly name: string
  readonly mountPath: string
}
interface Pod {
  readonly hostPID: boolean
  readonly affinity: unknown
  readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[]
  readonly containers: readonly {
    readonly image: string
    readonly ports: readonly object[]
    readonly securityContext: object
    readonly volumeMounts: readonly Mount[]
  }[]
}

describe.skipIf(isClusterSkipped())('the chart', () => {
  let program = ''
  beforeAll(async () => {
    program = await helmProgram()
  })

  const manifestsOf = (...values: readonly string[]): readonly Manifest[] =>
    [...rendered(program, values).values()].flatMap((text) =>
      parseAllDocuments(text, { version: '1.1' }).flatMap((document) => (document.toJS() as Manifest | null) ?? []),
    )
  const one = (manifests: readonly Manifest[], kind: string, name = 'roomfence'): Manifest => {
    const found = manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name)
    if (found === undefined) throw new Error(`no ${kind} ${name}`)
    return found
  }
  const podOf = (manifests: readonly Manifest[]): Pod =>
    (one(manifests, 'DaemonSet') as unknown as { readonly spec: { readonly template: { readonly spec: Pod } } }).spec.template.spec
  const configurationOf = (manifests: readonly Manifest[]): Configuration =>
    parseConfiguration((one(manifests, 'ConfigMap')['data'] as Record<string, string>)['roomfence.yaml'] ?? '', {
      NODE_NAME: 'a1',
      NODE_IP: '192.0.2.1',
    })
  const kindsOf = (manifests: readonly Manifest[]): ReadonlySet<string> => new Set(manifests.map(({ kind }) => kind))

  test('passes helm lint', () => {
    expect(helm(program, ['lint', '--strict', chartDirectory])).toContain('0 chart(s) failed')
  })

  test('gives the plain manifests to the letter: npm run render', () => {
    for (const [file, text] of plainManifests(program)) expect(readFileSync(join(deployFolder, file), 'utf8'), file).toBe(text)
  })

  test.each([
    ['witnes.kind=none', 'witnes'],
    ['witness.adress=x', 'adress'],
    ['config.timings.permitMS=1', 'permitMS'],
    ['config.cluster.roomLabel=x', 'cluster'],
    ['config.containment.kubeletDirectory=/x', 'kubeletDirectory'],
    ['tolerations[0].opperator=Exists', 'opperator'],
    ['monitoring.podMonitor.enable=true', 'enable'],
  ])('refuses %s and names the field', (value, field) => {
    expect(() => rendered(program, [value])).toThrow(`'${field}' not allowed`)
  })

  test.each([
    ['config.timings.permitMs=1', '/config/timings/permitMs'],
    ['witness.kind=carrier-pigeon', '/witness/kind'],
    ['config.isDryRun=perhaps', '/config/isDryRun'],
    ['host.kubeletDirectory=var', '/host/kubeletDirectory'],
  ])('refuses %s and names the place', (value, place) => {
    expect(() => rendered(program, [value])).toThrow(place)
  })

  test('takes what an installation by Helm needs besides: no namespace, definitions that stay, init as a hook', () => {
    const manifests = manifestsOf('init.preferredRoom=room-a')
    expect(kindsOf(manifests)).not.toContain('Namespace')
    expect(one(manifests, 'CustomResourceDefinition', 'fences.roomfence.io').metadata).toMatchObject({
      annotations: { 'helm.sh/resource-policy': 'keep' },
    })
    const hooks = manifests.filter(({ metadata }) => metadata.name === 'roomfence-init' && 'annotations' in metadata)
    expect(hooks.map(({ kind }) => kind).toSorted()).toEqual([
      'ClusterRole',
      'ClusterRoleBinding',
      'Job',
      'Role',
      'RoleBinding',
      'ServiceAccount',
    ])
    expect(manifestsOf().filter(({ kind }) => kind === 'Job')).toEqual([])
    expect(kindsOf(manifestsOf('crds.enabled=false'))).not.toContain('CustomResourceDefinition')
  })

  test('has the room label in one place', () => {
    const manifests = manifestsOf('roomLabel=example.com/hall')
    expect(configurationOf(manifests).cluster.roomLabel).toBe('example.com/hall')
    expect(JSON.stringify(podOf(manifests).affinity)).toContain('"key":"example.com/hall"')
    expect(JSON.stringify(manifests)).not.toContain('topology.kubernetes.io/zone')
  })

  test('has the paths of the host in one place each', () => {
    const manifests = manifestsOf(
      'host.kubeletDirectory=/k/kubelet',
      'host.stateDirectory=/s',
      'host.cgroupDirectory=/c',
      'host.deviceDirectory=/d',
    )
    const { volumes, containers } = podOf(manifests)
    const hostPaths = Object.fromEntries(volumes.flatMap(({ name, hostPath }) => (hostPath ? [[name, hostPath.path]] : [])))
    expect(hostPaths).toEqual({ state: '/s', dev: '/d', cgroup: '/c', kubelet: '/k/kubelet' })
    expect(containers[0]?.volumeMounts.find(({ name }) => name === 'kubelet')?.mountPath).toBe('/k/kubelet')
    expect(configurationOf(manifests).containment.kubeletDirectory).toBe('/k/kubelet')
  })

  test('works without a witness', () => {
    const manifests = manifestsOf('witness.kind=none', 'init.preferredRoom=room-a')
    expect(configurationOf(manifests).witness).toEqual({ kind: 'none' })
    expect(JSON.stringify(manifests)).not.toContain('roomfence-witness-client')
  })

  test('opens a port for each path and for metrics, and configures what is named', () => {
    const manifests = manifestsOf(
      'config.paths[0].name=node',
      'config.paths[0].listenPort=9812',
      'config.paths[0].advertiseHost=192.0.2.7',
      'config.paths[1].name=storage',
      'config.paths[1].listenHost=::',
      'config.paths[1].listenPort=9813',
      'config.paths[1].advertiseHost=10.0.0.1',
      'config.observe.port=9910',
      'config.timings.permitMs=6000',
      'config.failover.waveSize=5',
      'config.watchdog.kind=none',
      'witness.timeoutMs=2000',
      'keys.hasPrevious=true',
      'image.tag=1.2.3',
    )
    expect(podOf(manifests).containers[0]).toMatchObject({
      image: 'roomfence:1.2.3',
      ports: [{ hostPort: 9910 }, { hostPort: 9812, name: 'heartbeat' }, { hostPort: 9813, name: 'heartbeat-1', protocol: 'UDP' }],
    })
    expect(configurationOf(manifests)).toMatchObject({
      paths: [{}, { name: 'storage', listenHost: '::', listenPort: 9813, advertiseHost: '10.0.0.1' }],
      timings: { permitMs: 6000 },
      failover: { waveSize: 5 },
      watchdog: { kind: 'none' },
      witness: { timeoutMs: 2000 },
      keys: { previousFile: '/etc/roomfence/keys/previous' },
      observe: { port: 9910 },
    })
  })

  test('can do without a privileged pod, where nothing needs one', () => {
    const manifests = manifestsOf(
      'isPrivileged=false',
      'config.containment.rebootMethod=none',
      'config.watchdog.device=/dev/watchdog',
      'resources.limits.example\\.com/watchdog=1',
    )
    const { containers, volumes } = podOf(manifests)
    expect(containers[0]?.securityContext).toEqual({
      runAsUser: 0,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      seccompProfile: { type: 'RuntimeDefault' },
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'SYS_ADMIN'] },
    })
    expect(volumes.map(({ name }) => name)).not.toContain('dev')
    expect(containers[0]?.volumeMounts.map(({ mountPath }) => mountPath)).toContain('/run/lock')
    expect(() => rendered(program, ['isPrivileged=false'])).toThrow('config.containment.rebootMethod')
    expect(podOf(manifestsOf('config.containment.form=processGroup')).hostPID).toBe(true)
  })

  test('has monitoring and a NetworkPolicy on demand alone', () => {
    const optional = ['PodMonitor', 'PrometheusRule', 'NetworkPolicy']
    expect(optional.filter((kind) => kindsOf(manifestsOf()).has(kind))).toEqual([])
    const manifests = manifestsOf(
      'monitoring.podMonitor.enabled=true',
      'monitoring.prometheusRule.enabled=true',
      'monitoring.prometheusRule.labels.release=p',
      'monitoring.dashboards.enabled=true',
      'networkPolicy.enabled=true',
    )
    expect(optional.filter((kind) => kindsOf(manifests).has(kind))).toEqual(optional)
    const [document] = parseAllDocuments(readFileSync(join(deployFolder, 'alerts/roomfence.rules.yaml'), 'utf8'))
    expect(one(manifests, 'PrometheusRule')).toMatchObject({ metadata: { labels: { release: 'p' } }, spec: document?.toJS() as object })
    const dashboard = one(manifests, 'ConfigMap', 'roomfence-dashboard-roomfence')
    const json = (dashboard['data'] as Record<string, string>)['roomfence.json'] ?? ''
    expect(JSON.parse(json)).toEqual(JSON.parse(readFileSync(join(deployFolder, 'dashboards/roomfence.json'), 'utf8')))
    expect(dashboard.metadata).toMatchObject({ labels: { grafana_dashboard: '1' } })
  })

  test('gives rights to read to viewers, and all rights of an operator to whom it is told', () => {
    const labelsOf = (manifests: readonly Manifest[], name: string): unknown =>
      (one(manifests, 'ClusterRole', name).metadata as { readonly labels?: unknown }).labels
    expect(labelsOf(manifestsOf(), 'roomfence-view')).toMatchObject({ 'rbac.authorization.k8s.io/aggregate-to-view': 'true' })
    expect(labelsOf(manifestsOf(), 'roomfence-operator')).toEqual({ 'app.kubernetes.io/name': 'roomfence' })
    const chosen = manifestsOf('rbac.aggregateToView=false', 'rbac.aggregateOperatorTo={admin}')
    expect(labelsOf(chosen, 'roomfence-view')).toEqual({ 'app.kubernetes.io/name': 'roomfence' })
    expect(labelsOf(chosen, 'roomfence-operator')).toMatchObject({ 'rbac.authorization.k8s.io/aggregate-to-admin': 'true' })
  })

  test('names its namespace everywhere', () => {
    const text = [...rendered(program, ['init.preferredRoom=room-a'], ['--namespace', 'fencing']).values()].join('\n')
    expect(text).not.toMatch(/namespace: roomfence$/m)
    expect(text).not.toContain('system:serviceaccount:roomfence:')
  })
})
