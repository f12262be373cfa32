import { describe, expect, test } from 'vitest'
import { exampleInput, examplePod } from '../../../test/support/failover-examples.ts'
import type { NodeView } from '../../kubernetes/resources.ts'
import { capacityAfterLoss, type CountedPod } from './capacity.ts'

const gibi = 2 ** 30
const [exampleNode] = exampleInput().snapshot.nodes.values()
const nodeOf = (name: string, more: Partial<NodeView> = {}): NodeView => {
  if (exampleNode === undefined) throw new Error('the example has no node')
  return { ...exampleNode, name, allocatable: { cpu: '2', memory: '4Gi', pods: '10' }, ...more }
}
const podOf = (name: string, nodeName: string, memoryGibi: number, more: Partial<CountedPod> = {}): CountedPod => ({
  ...examplePod(name, { nodeName, requests: { cpuMilli: 100, memoryBytes: memoryGibi * gibi } }),
  staysBehind: false,
  ...more,
})
const nodes = [nodeOf('a1'), nodeOf('a2'), nodeOf('b1')]
const lost = new Set(['b1'])

describe('capacity after a loss', () => {
  test('counts what moves against what is free on the others, without what stays behind', () => {
    const pods = [podOf('moves', 'b1', 2), podOf('daemon', 'b1', 1, { staysBehind: true }), podOf('resident', 'a1', 3)]
    expect(capacityAfterLoss(nodes, pods, lost)).toEqual({
      moving: { cpuMilli: 100, memoryBytes: 2 * gibi, pods: 1 },
      free: { cpuMilli: 3_900, memoryBytes: 5 * gibi, pods: 19 },
      unplaced: [],
    })
  })

  test('places each pod on one node: what is free on two nodes together takes no pod that needs both', () => {
    const pods = [podOf('big', 'b1', 3), podOf('on-a1', 'a1', 2), podOf('on-a2', 'a2', 2)]
    expect(capacityAfterLoss(nodes, pods, lost)).toMatchObject({ free: { memoryBytes: 4 * gibi }, unplaced: ['apps/big'] })
  })

  test('gives room to the most important first', () => {
    const pods = [podOf('large', 'b1', 4), podOf('important', 'b1', 3, { priority: 10 }), podOf('second', 'b1', 3, { priority: 5 })]
    expect(capacityAfterLoss(nodes, pods, lost).unplaced).toEqual(['apps/large'])
  })

  test('counts the places for pods, not memory and processors alone', () => {
    const small = [nodeOf('a1', { allocatable: { cpu: '2', memory: '4Gi', pods: '1' } }), nodeOf('b1')]
    const pods = [podOf('one', 'b1', 0), podOf('two', 'b1', 0)]
    expect(capacityAfterLoss(small, pods, lost).unplaced).toHaveLength(1)
  })

  test('puts nothing on nodes that are not ready, fenced, or tainted for the pod', () => {
    const pods = [podOf('one', 'b1', 1)]
    const taints = [{ key: 'control-plane', effect: 'NoSchedule' }]
    for (const others of [[nodeOf('a1', { ready: false })], [nodeOf('a1', { taints })]])
      expect(capacityAfterLoss([...others, nodeOf('b1')], pods, lost).unplaced).toEqual(['apps/one'])
    expect(capacityAfterLoss(nodes, pods, lost, new Set(['a1', 'a2'])).unplaced).toEqual(['apps/one'])
    const tolerant = podOf('one', 'b1', 1, { tolerations: [{ key: 'control-plane', operator: 'Exists' }] })
    expect(capacityAfterLoss([nodeOf('a1', { taints }), nodeOf('b1')], [tolerant], lost).unplaced).toEqual([])
  })

  test('lets a pod that requests nothing onto an overcommitted node, as the scheduler does', () => {
    const pods = [podOf('resident', 'a1', 9), podOf('none', 'b1', 0, { requests: { cpuMilli: 0, memoryBytes: 0 } })]
    expect(capacityAfterLoss([nodeOf('a1'), nodeOf('b1')], pods, lost).unplaced).toEqual([])
  })
})
