import { describe, expect, test } from 'vitest'
import { hierarchiesIn } from '../cgroups.ts'
import { bytesOf, type Container, type PodSpec } from './manifest.ts'
import { capabilitiesIn, capabilitiesOf, neverOpen, seccompOf } from './rights.ts'
import { translate, type Translation } from './bundle-config.ts'

const machine = { architecture: 'x64', capabilities: capabilitiesIn('CapBnd:\t000001ffffffffff\n') }
const container: Container = { name: 'agent', image: 'roomfence:0' }
const given = (pod: Partial<PodSpec> = {}, changes: Partial<Container> = {}): Translation => ({
  pod: { ...pod, containers: [{ ...container, ...changes }] },
  image: { Entrypoint: ['/app/node', 'main'], Cmd: ['--help'], Env: ['PATH=/bin', 'A=image'], User: '65532:65532', WorkingDir: '/app' },
  identity: { name: 'agent', namespace: 'roomfence', uid: 'u1', node: 'a1', hostIp: '127.0.0.9' },
  apiServer: { host: '127.0.0.1', port: 6443 },
  volumes: new Map([['state', { source: '/disk', options: ['rbind'] }]]),
  further: [{ destination: '/var/lib', source: '/other', options: ['rbind'] }],
  cgroupsPath: '/lab/a1/pod',
  seccomp: { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }] },
  machine,
})
const allowed = (names: readonly string[]) => names.map((name) => `CAP_${name}`)

describe('a container', () => {
  test('runs the image’s entry point with the manifest’s arguments, or with its own', () => {
    expect(translate(given({}, { args: ['agent'] })).process.args).toEqual(['/app/node', 'main', 'agent'])
    expect(translate(given()).process.args).toEqual(['/app/node', 'main', '--help'])
  })

  test('has the image’s environment, then the manifest’s, with what the downward API knows', () => {
    const env = [
      { name: 'A', value: 'manifest' },
      { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
    ]
    expect(translate(given({}, { env })).process.env).toEqual(expect.arrayContaining(['PATH=/bin', 'A=manifest', 'IP=127.0.0.9']))
    const unknown = [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.labels' } } }]
    expect(() => translate(given({}, { env: unknown }))).toThrow('metadata.labels is not known')
  })

  test('runs as the image’s user, or as the manifest’s, and never as root where that is refused', () => {
    expect(translate(given()).process.user).toEqual({ uid: 65532, gid: 65532 })
    expect(translate(given({ securityContext: { fsGroup: 7 } }, { securityContext: { runAsUser: 0 } })).process.user).toEqual({
      uid: 0,
      gid: 0,
      additionalGids: [7],
    })
    expect(() => translate(given({ securityContext: { runAsNonRoot: true } }, { securityContext: { runAsUser: 0 } }))).toThrow('as root')
  })

  test('mounts its volumes after what they lie below, with their modes', () => {
    const volumeMounts = [{ name: 'state', mountPath: '/var/lib/roomfence', readOnly: true, mountPropagation: 'HostToContainer' as const }]
    expect(translate(given({}, { volumeMounts })).mounts.slice(-2)).toEqual([
      { destination: '/var/lib', source: '/other', options: ['rbind'] },
      { destination: '/var/lib/roomfence', source: '/disk', options: ['rbind', 'ro', 'rslave'] },
    ])
    expect(() => translate(given({}, { volumeMounts: [{ name: 'lock', mountPath: '/run/lock' }] }))).toThrow('the volume lock is mounted')
  })

  test('has the host’s network and processes only where the manifest says so', () => {
    const types = (pod: Partial<PodSpec>) => translate(given(pod)).linux.namespaces.map(({ type }) => type)
    expect(types({})).toEqual(['mount', 'ipc', 'uts', 'pid', 'network'])
    expect(types({ hostNetwork: true, hostPID: true })).toEqual(['mount', 'ipc', 'uts'])
  })

  test('has its limits', () => {
    const { resources } = translate(given({}, { resources: { requests: { cpu: '50m' }, limits: { memory: '256Mi' } } })).linux
    expect(resources).toMatchObject({ memory: { limit: 268_435_456 }, cpu: { shares: 51 } })
    expect(() => bytesOf('1.5Gi')).toThrow('whole numbers')
  })

  test('with a field that is not translated is refused', () => {
    const odd = { readOnlyRootFilesystem: true, procMount: 'Unmasked' }
    expect(() => translate(given({ shareProcessNamespace: true } as object, { securityContext: odd }))).toThrow(
      'not tested: spec.shareProcessNamespace, containers.agent.securityContext.procMount',
    )
  })
})

describe('rights', () => {
  test('of a privileged container are all that the machine has', () => {
    const weak = capabilitiesIn('CapBnd:\t000001fffeffffff\n')
    expect(machine.capabilities.filter((name) => !weak.includes(name))).toEqual(['SYS_RESOURCE'])
    expect(capabilitiesOf({ privileged: true }, weak)).toHaveLength(40)
  })

  test('are those that are added to none, where all are dropped', () => {
    const narrow = { capabilities: { drop: ['ALL'], add: ['SYS_ADMIN', 'NET_ADMIN'] } }
    expect(capabilitiesOf(narrow, machine.capabilities)).toEqual(allowed(['NET_ADMIN', 'SYS_ADMIN']))
    expect(() => capabilitiesOf(narrow, ['NET_ADMIN'])).toThrow('SYS_ADMIN, which this machine')
    expect(capabilitiesOf({}, machine.capabilities)).toContain('CAP_CHOWN')
    expect(capabilitiesOf({}, machine.capabilities)).not.toContain('CAP_SYS_ADMIN')
  })

  test('never reach the reset of the machine that tests run on, privileged or not', () => {
    for (const privileged of [true, false])
      expect(translate(given({}, { securityContext: { privileged } })).linux.maskedPaths).toEqual(expect.arrayContaining([...neverOpen]))
  })

  test('to system calls go by the profile, which goes by capabilities and machine', () => {
    const template = {
      defaultAction: 'SCMP_ACT_ERRNO',
      archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }],
      syscalls: [
        { names: ['read'], action: 'SCMP_ACT_ALLOW', includes: {}, excludes: {} },
        { names: ['mount'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN'] } },
        { names: ['mount'], action: 'SCMP_ACT_ERRNO', errnoRet: 1, excludes: { caps: ['CAP_SYS_ADMIN'] } },
        { names: ['sync_file_range2'], action: 'SCMP_ACT_ALLOW', includes: { arches: ['arm64'] } },
      ],
    }
    const calls = (capabilities: readonly string[]) =>
      seccompOf(template, capabilities, 'x64').syscalls.map(({ names: [name], action }) => `${name} ${action}`)
    expect(calls(['CAP_SYS_ADMIN'])).toEqual(['read SCMP_ACT_ALLOW', 'mount SCMP_ACT_ALLOW'])
    expect(calls([])).toEqual(['read SCMP_ACT_ALLOW', 'mount SCMP_ACT_ERRNO'])
    const profile = { seccompProfile: { type: 'RuntimeDefault' as const } }
    expect(translate(given({}, { securityContext: profile })).linux.seccomp).toBeDefined()
    expect(translate(given({}, { securityContext: { ...profile, privileged: true } })).linux.seccomp).toBeUndefined()
  })
})

test('the hierarchies of cgroups are found where they are mounted', () => {
  const mountinfo = `30 23 0:26 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory`
  expect(hierarchiesIn(mountinfo)).toEqual([
    { folder: '/sys/fs/cgroup/unified', isVersion2: true },
    { folder: '/sys/fs/cgroup/memory', isVersion2: false },
  ])
})
