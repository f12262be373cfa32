import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Taint } from '../../kubernetes/resources.ts'
import {
  fencedTaint,
  immuneTolerations,
  isFenceLost,
  isOurs,
  isUnfencedSince,
  outOfServiceTaint,
  withoutOurs,
  withTaint,
} from './taints.ts'

const anyTaint = fc.record({
  key: fc.constantFrom('node.kubernetes.io/unreachable', 'node.kubernetes.io/out-of-service', 'roomfence.io/fenced', 'team/own'),
  value: fc.constantFrom('', 'roomfence', '7', 'nodeshutdown'),
  effect: fc.constantFrom('NoSchedule', 'NoExecute'),
})

describe('a node that was un-fenced', () => {
  test('is left alone by every fence that is not later', () => {
    const annotations = { 'roomfence.io/unfenced-epoch': '8' }
    expect(isUnfencedSince(annotations, 7)).toBe(true)
    expect(isUnfencedSince(annotations, 8)).toBe(false)
    expect(isUnfencedSince(annotations, 9)).toBe(false)
    expect(isUnfencedSince({}, 7)).toBe(false)
    expect(isUnfencedSince({ 'roomfence.io/unfenced-epoch': 'soon' }, 7)).toBe(false)
  })
})

describe('our taints on a node', () => {
  test('are added and removed without losing one of others, and no two have the same key and effect', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(anyTaint, { selector: ({ key, effect }) => `${key} ${effect}` }),
        fc.constantFrom<Taint>(fencedTaint(7), outOfServiceTaint),
        (taints, added) => {
          const foreign = taints.filter((taint) => !isOurs(taint))
          const more = withTaint(taints, added)
          expect(more).toEqual(expect.arrayContaining(foreign))
          expect(new Set(more.map(({ key, effect }) => `${key} ${effect}`)).size).toBe(more.length)
          expect(withoutOurs(more)).toEqual(foreign)
          expect(withTaint(more, added)).toBe(more)
        },
      ),
    )
  })

  test('leave an out-of-service taint of someone else as it is', () => {
    const theirs = { key: outOfServiceTaint.key, value: 'nodeshutdown', effect: 'NoSchedule' }
    expect(withTaint([theirs], outOfServiceTaint)).toEqual([theirs])
    expect(withoutOurs([theirs])).toEqual([theirs])
  })

  test('carry the effect NoSchedule only: with NoExecute Kubernetes deletes by name, replacements included', () => {
    expect([fencedTaint(7).effect, outOfServiceTaint.effect]).toEqual(['NoSchedule', 'NoSchedule'])
  })
})

describe('a fence that was carried out', () => {
  const node = (taints: readonly Taint[], unfencedIn?: number) => ({
    taints,
    annotations: unfencedIn === undefined ? {} : { 'roomfence.io/unfenced-epoch': String(unfencedIn) },
  })

  test('is lost on a node without its taint, or with that of an earlier one', () => {
    expect(isFenceLost(node([]), 7)).toBe(true)
    expect(isFenceLost(node([outOfServiceTaint]), 7)).toBe(true)
    expect(isFenceLost(node([fencedTaint(6)]), 7)).toBe(true)
    expect(isFenceLost(node([], 6), 7)).toBe(true)
  })

  test('is not lost where its taint is, or that of a later one, or where the node was un-fenced since', () => {
    expect(isFenceLost(node([fencedTaint(7)]), 7)).toBe(false)
    expect(isFenceLost(node([fencedTaint(9)]), 7)).toBe(false)
    expect(isFenceLost(node([], 8), 7)).toBe(false)
  })
})

describe('immunity to eviction', () => {
  const unlimited = (key: string) => ({ key, operator: 'Exists', effect: 'NoExecute' })
  const both = [unlimited('node.kubernetes.io/unreachable'), unlimited('node.kubernetes.io/not-ready')]

  test('takes the time limit off the defaults, because the shortest matching toleration counts', () => {
    const defaults = both.map((toleration) => ({ ...toleration, tolerationSeconds: 300 }))
    expect(immuneTolerations([{ key: 'other', operator: 'Exists', tolerationSeconds: 5 }, ...defaults])).toEqual([
      { key: 'other', operator: 'Exists', tolerationSeconds: 5 },
      ...both,
    ])
    expect(immuneTolerations([{ operator: 'Exists', tolerationSeconds: 5 }])).toEqual([{ operator: 'Exists' }])
  })

  test('adds what is missing and changes nothing twice', () => {
    expect(immuneTolerations([])).toEqual(both)
    expect(immuneTolerations(both)).toBeUndefined()
    expect(immuneTolerations([{ operator: 'Exists' }])).toBeUndefined()
  })
})
