import { describe, expect, test } from 'vitest'
import { examplePod } from '../../../test/support/failover-examples.ts'
import { leasesOfNodes } from './leases.ts'

const lease = (name: string, holder: string, namespace = 'kube-system') => ({
  uid: name,
  name,
  namespace,
  resourceVersion: '1',
  holder,
  renewTime: '',
})

describe('leader leases of a fenced node', () => {
  test('are known by host name or pod name, with or without a random part', () => {
    const leases = [
      lease('kcm', 'b1_5f'),
      lease('virt', 'virt-controller-x'),
      lease('csi', 'csi-0_77'),
      lease('alive', 'a1_9'),
      lease('none', ''),
      lease('longer', 'b10_5f'),
    ]
    const pods = [
      examplePod('virt-controller-x', { namespace: 'kubevirt', owner: { kind: 'ReplicaSet', name: 'virt-controller', uid: 'set' } }),
      examplePod('csi-0', { namespace: 'kube-system', nodeName: 'b2' }),
    ]
    expect(leasesOfNodes(['b1', 'b2'], pods, leases).map(({ name, node }) => `${name} ${node}`)).toEqual(['kcm b1', 'virt b1', 'csi b2'])
  })

  test('are not those of a living pod of the same name in another namespace, unless such a name is never given twice', () => {
    const leases = [lease('theirs', 'web-0_5f', 'theirs'), lease('ours', 'web-0_77', 'ours'), lease('random', 'web-7d9f-x2')]
    const pods = [
      examplePod('web-0', { namespace: 'ours', owner: { kind: 'StatefulSet', name: 'web', uid: 'web' } }),
      examplePod('web-7d9f-x2', { namespace: 'ours', owner: { kind: 'ReplicaSet', name: 'web-7d9f', uid: 'set' } }),
    ]
    expect(leasesOfNodes(['b1'], pods, leases).map(({ name }) => name)).toEqual(['ours', 'random'])
  })

  test('are never the kubelets own', () => {
    expect(leasesOfNodes(['b1'], [], [lease('b1', 'b1', 'kube-node-lease')])).toEqual([])
  })
})
