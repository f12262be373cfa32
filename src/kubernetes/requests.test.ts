import { describe, expect, test } from 'vitest'
import { quantity, requestsOf } from './requests.ts'

const asking = (memory: string, more: object = {}) => ({ resources: { requests: { memory, cpu: '100m' } }, ...more })
const gibi = 2 ** 30

describe('requests of a pod', () => {
  test('are the sum of its containers, of side-cars too, and the overhead of its runtime class', () => {
    const spec = {
      containers: [asking('1Gi'), asking('1Gi')],
      initContainers: [asking('1Gi', { restartPolicy: 'Always' })],
      overhead: { memory: '512Mi', cpu: '50m' },
    }
    expect(requestsOf({ spec })).toEqual({ cpuMilli: 350, memoryBytes: 3.5 * gibi })
  })

  test('are those of an init container that needs more than all that runs later', () => {
    const spec = { containers: [asking('1Gi')], initContainers: [asking('3Gi'), asking('2Gi')] }
    expect(requestsOf({ spec }).memoryBytes).toBe(3 * gibi)
    const beside = { containers: [asking('1Gi')], initContainers: [asking('1Gi', { restartPolicy: 'Always' }), asking('3Gi')] }
    expect(requestsOf({ spec: beside }).memoryBytes).toBe(4 * gibi)
  })

  test('given for the pod as a whole stand in for those of its containers', () => {
    expect(requestsOf({ spec: { containers: [asking('1Gi')], resources: { requests: { memory: '2Gi' } } } })).toEqual({
      cpuMilli: 100,
      memoryBytes: 2 * gibi,
    })
  })

  test('are nothing where nothing is asked for', () => {
    expect(requestsOf({ spec: { containers: [{ name: 'main' }] } })).toEqual({ cpuMilli: 0, memoryBytes: 0 })
  })
})

test.each([
  ['250m', 0.25],
  ['2', 2],
  ['1.5Gi', 1.5 * gibi],
  ['1e3', 1_000],
  ['12k', 12_000],
  ['', 0],
  ['much', 0],
])('the quantity %j is %d', (text, value) => {
  expect(quantity(text)).toBe(value)
})
