/** Which pods are contained, read from directories as a kubelet makes them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { findWorkloads } from './workloads.ts'

const uid = '0e5f9c1a-7d3b-4f6e-9a2c-1b8d7e6f5a40'
let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'roomfence-workloads-'))
  mkdirSync(join(folder, 'kubelet/pods'), { recursive: true })
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})
const podDirectory = (podUid: string) => join(folder, 'kubelet/pods', podUid)

describe('workloads', () => {
  const webHosts = (name: string) =>
    `# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\nfe00::2\tip6-allrouters\n10.1.2.3\t${name}.web.shop.svc.cluster.local\t${name}\n`
  const make = (podUid: string, ...folders: string[]) => {
    for (const path of ['', ...folders]) mkdirSync(join(podDirectory(podUid), path), { recursive: true })
  }
  const makeHosts = (podUid: string, text: string) => {
    make(podUid, 'volumes/kubernetes.io~projected/kube-api-access')
    writeFileSync(join(podDirectory(podUid), 'etc-hosts'), text)
  }
  const found = async () => (await findWorkloads(join(folder, 'kubelet'))).map(({ podUid }) => podUid)

  test('are the pods with a CSI volume, mounted or as a device, found in the directory of the kubelet', async () => {
    make('b-mounted', 'volumes/kubernetes.io~csi/pvc-b')
    make(uid, 'volumeDevices/kubernetes.io~csi/pvc-a')
    make(uid, 'volumes/kubernetes.io~csi/pvc-c')
    make('no-storage', 'volumes/kubernetes.io~projected/token')
    make('..data')
    const workloads = await findWorkloads(join(folder, 'kubelet'))
    expect(workloads.map(({ podUid, persistentVolumes }) => [podUid, ...persistentVolumes])).toEqual([
      [uid, 'pvc-a', 'pvc-c'],
      ['b-mounted', 'pvc-b'],
    ])
  })

  test('are those on any other storage that is not this node’s own, too: the failover believes this node’s end for all of it', async () => {
    const shared = ['nfs', 'iscsi', 'rbd', 'cephfs', 'glusterfs', 'fc', 'azure-file', 'not-invented-yet']
    for (const plugin of shared) make(`on-${plugin}`, `volumes/kubernetes.io~${plugin}/data`)
    make('on-flex', 'volumes/vendor~driver/data')
    make('on-block', 'volumeDevices/kubernetes.io~rbd/pv-1')
    const local = ['empty-dir', 'configmap', 'secret', 'projected', 'downward-api', 'host-path', 'local-volume', 'git-repo', 'image']
    make('on-its-own', ...local.map((plugin) => `volumes/kubernetes.io~${plugin}/data`), 'volumeDevices/kubernetes.io~local-volume/pv-2')
    make('unmounted', 'volumes/kubernetes.io~nfs')
    expect(await found()).toEqual([...shared.map((plugin) => `on-${plugin}`), 'on-block', 'on-flex'].toSorted())
    const mounted = (await findWorkloads(join(folder, 'kubelet'))).filter(({ isMounted }) => isMounted)
    expect(mounted.map(({ podUid }) => podUid)).not.toContain('on-block')
    expect(mounted).toHaveLength(shared.length + 1)
  })

  test('are virtual machines without any storage', async () => {
    make(uid, 'volumes/kubernetes.io~empty-dir/private', 'volumes/kubernetes.io~empty-dir/libvirt-runtime')
    make('other', 'volumes/kubernetes.io~empty-dir/private')
    expect(await found()).toEqual([uid])
  })

  test('are pods of StatefulSets without any storage, known by their host names', async () => {
    for (const name of ['web-0', 'web-12', 'shop-7-1234']) makeHosts(`in-${name}`, webHosts(name))
    makeHosts('in-alone', '# Kubernetes-managed hosts file.\n10.1.2.3\talone-1\n')
    expect(await found()).toEqual(['in-alone', 'in-shop-7-1234', 'in-web-0', 'in-web-12'])
  })

  test('are not the pods that a node cannot be without: of DaemonSets, static, or in the network of the host', async () => {
    // The kubelet's random ends may be digits, five of them; a static pod bears its node's name.
    for (const name of ['csi-node-x7k2p', 'csi-node-24758', 'coredns-5d78c9869d-24758']) makeHosts(`in-${name}`, webHosts(name))
    makeHosts('3f0a5c1de27b4c6f8a9b0c1d2e3f4a5b', webHosts('haproxy-node-1'))
    makeHosts('in-host', '# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n10.0.0.1 node-1\n')
    makeHosts('in-aliased', `${webHosts('agent-x7k2p')}\n# Entries added by HostAliases.\n10.1.1.1\tdb-0\n`)
    makeHosts('in-empty', '')
    expect(await found()).toEqual([])
  })

  test('are unknown, not none, where there is no kubelet directory', async () => {
    await expect(findWorkloads(join(folder, 'elsewhere'))).rejects.toThrow(/ENOENT/)
  })
})
