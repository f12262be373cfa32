import { expect, test } from 'vitest'
import { capacityAfterLoss } from './capacity.ts'
import { exampleInput, examplePod } from './examples.ts'

test('capacity after a loss counts what moves against what is free on the others, without what stays or has ended', () => {
  const nodes = [...exampleInput().snapshot.nodes.values()]
  const requests = (cpuMilli: number) => ({ cpuMilli, memoryBytes: 2 ** 20 })
  const pods = [
    examplePod('moves', { requests: requests(700) }),
    examplePod('daemon', { requests: requests(100) }),
    examplePod('ended', { requests: requests(900), phase: 'Succeeded' }),
    examplePod('resident', { nodeName: 'b2', requests: requests(400) }),
  ]
  const capacity = capacityAfterLoss(nodes, pods, new Set(['b1']), (pod) => pod.name === 'daemon')
  expect(capacity.moving.cpuMilli).toBe(700)
  expect(capacity.free.cpuMilli).toBe(600)
  expect(capacity.left).toEqual({ cpuMilli: -100, memoryBytes: 2 ** 30 - 2 * 2 ** 20 })
})
