import { describe, expect, test } from 'vitest'
import { examplePod } from './examples.ts'
import { leasesHeldOn } from './leases.ts'

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
    const pods = [examplePod('virt-controller-x'), examplePod('csi-0', { nodeName: 'b2' })]
    expect(leasesHeldOn(['b1', 'b2'], pods, leases).map(({ name, node }) => `${name} ${node}`)).toEqual(['kcm b1', 'virt b1', 'csi b2'])
  })

  test('are never the kubelets own', () => {
    expect(leasesHeldOn(['b1'], [], [lease('b1', 'b1', 'kube-node-lease')])).toEqual([])
  })
})
