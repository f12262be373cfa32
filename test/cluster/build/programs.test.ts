/** Where the control plane's programs are looked for, and what is said when they cannot be had. */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isClusterSkipped } from '../presence.ts'

const kube = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubectl']
const kubevirt = ['virt-controller', 'virt-api', 'kubevirt-objects']

describe('the programs of the control plane', () => {
  let directory = ''
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'roomfence-programs-'))
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  const folderWith = (name: string, programs: readonly string[]): string => {
    const folder = join(directory, name)
    mkdirSync(folder)
    for (const program of programs) {
      writeFileSync(join(folder, program), '#!/bin/sh\n')
      chmodSync(join(folder, program), 0o755)
    }
    return folder
  }
  /** On a machine without Go. */
  const find = (env: Readonly<Record<string, string>>): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, [join(import.meta.dirname, 'main.ts')], {
      encoding: 'utf8',
      env: { PATH: directory, HOME: directory, ...env },
    })

  it('are those of KUBEBUILDER_ASSETS when it names a folder that has them all', () => {
    const folder = folderWith('all', [...kube, ...kubevirt])
    expect(find({ KUBEBUILDER_ASSETS: folder })).toMatchObject({ status: 0, stdout: `${folder}\n` })
  })

  it('are an error that says how to get them, where there is neither Go nor a folder', () => {
    const { status, stderr } = find({ ROOMFENCE_LAB_CACHE: join(directory, 'empty') })
    expect(status).toBe(1)
    expect(stderr).toContain('need etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl: put Go 1.26 or newer on PATH')
    expect(stderr).toContain('KUBEBUILDER_ASSETS')
    expect(stderr).toContain('ROOMFENCE_SKIP_CLUSTER=1')
  })

  it('are named when a folder of KUBEBUILDER_ASSETS lacks them, as envtest’s own does', () => {
    const folder = folderWith('envtest', ['etcd', 'kube-apiserver', 'kubectl'])
    const { status, stderr } = find({ KUBEBUILDER_ASSETS: folder })
    expect(status).toBe(1)
    expect(stderr).toContain(`KUBEBUILDER_ASSETS: ${folder} has no kube-controller-manager, kube-scheduler; not used`)
  })
})

describe('the cluster tests', () => {
  it('are skipped by ROOMFENCE_SKIP_CLUSTER=1 only, and never in CI', () => {
    expect(isClusterSkipped({})).toBe(false)
    expect(isClusterSkipped({ CI: 'true' })).toBe(false)
    expect(isClusterSkipped({ ROOMFENCE_SKIP_CLUSTER: 'yes' })).toBe(false)
    expect(isClusterSkipped({ ROOMFENCE_SKIP_CLUSTER: '1' })).toBe(true)
    expect(() => isClusterSkipped({ ROOMFENCE_SKIP_CLUSTER: '1', CI: 'true' })).toThrow('in CI the cluster tests must run')
  })
})
