import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createStore, type KubeObject, type Store, type StoreChange, StoreError } from './store.ts'

const keyOf = ({ metadata }: KubeObject): string => `${metadata.namespace}/${metadata.name}`

/** One random step on a few pods of one namespace; refusals are part of life. */
const step = fc.record({
  act: fc.constantFrom('create', 'update', 'status', 'stale', 'remove', 'remove-now', 'wrong-uid', 'release'),
  name: fc.constantFrom('a', 'b', 'c'),
  value: fc.integer({ min: 0, max: 3 }),
  isHeld: fc.boolean(),
})

function take(store: Store, { act, name, value, isHeld }: typeof step extends fc.Arbitrary<infer T> ? T : never): void {
  const pod = store.get('pods', 'ns', name)
  if (act === 'create') {
    store.create('pods', {
      metadata: { name, namespace: 'ns', ...(isHeld ? { finalizers: ['x.y/z'] } : {}) },
      spec: value === 0 ? {} : { nodeName: 'n' },
    })
  }
  if (act === 'remove') store.remove('pods', 'ns', name, { gracePeriodSeconds: value })
  if (act === 'remove-now') store.remove('pods', 'ns', name, { gracePeriodSeconds: 0 })
  if (act === 'wrong-uid') store.remove('pods', 'ns', name, { uid: 'another', gracePeriodSeconds: 0 })
  if (pod === undefined) return
  if (act === 'update') store.update('pods', { ...pod, metadata: { ...pod.metadata, labels: { value: String(value) } } })
  if (act === 'status') store.update('pods', { ...pod, status: { phase: 'Running', value } }, 'status')
  if (act === 'release') store.update('pods', { ...pod, metadata: { ...pod.metadata, finalizers: [] } })
  if (act === 'stale') store.update('pods', { ...pod, metadata: { ...pod.metadata, resourceVersion: '1' }, spec: { value } })
}

test('the changes after any version, applied to the state at that version, give the state now, with strictly growing versions', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.nat({ max: 40 }), (steps, watchFrom) => {
      const store = createStore(() => 0)
      let version = store.version()
      let state = new Map<string, KubeObject>()
      const told: StoreChange[] = []
      store.onChange((change) => told.push(change))
      for (const [index, next] of steps.entries()) {
        if (index === watchFrom) {
          version = store.version()
          state = new Map(store.list('pods').map((pod) => [keyOf(pod), pod]))
        }
        const before = store.get('pods', 'ns', next.name)
        try {
          take(store, next)
          expect(before !== undefined && next.act === 'wrong-uid').toBe(false)
        } catch (error) {
          expect(error).toBeInstanceOf(StoreError)
        }
        // Refused for another uid or an older version, the object is untouched.
        if (next.act === 'wrong-uid' || next.act === 'stale') expect(store.get('pods', 'ns', next.name)).toBe(before)
      }
      for (const { type, object } of store.history.since('pods', version)) {
        expect(state.has(keyOf(object))).toBe(type !== 'ADDED')
        if (type === 'DELETED') state.delete(keyOf(object))
        else state.set(keyOf(object), object)
      }
      expect([...state.values()].toSorted((a, b) => keyOf(a).localeCompare(keyOf(b)))).toEqual(store.list('pods'))
      const versions = told.map(({ object }) => Number(object.metadata.resourceVersion))
      expect(versions.every((later, index) => index === 0 || later > (versions[index - 1] ?? 0))).toBe(true)
      // A finalizer is never passed over, and nothing that is marked as gone stays.
      for (const { type, object } of told) if (type === 'DELETED') expect(object.metadata.finalizers ?? []).toEqual([])
      for (const pod of store.list('pods')) {
        const { deletionTimestamp, deletionGracePeriodSeconds, finalizers = [] } = pod.metadata
        if (deletionTimestamp !== undefined && deletionGracePeriodSeconds === 0) expect(finalizers).not.toEqual([])
      }
    }),
  )
})

test('what the store hands out cannot be changed', () => {
  const store = createStore()
  const given = { metadata: { name: 'a', labels: { x: '1' } } }
  const stored = store.create('configmaps', given)
  given.metadata.labels.x = '2'
  expect(stored.metadata.labels).toEqual({ x: '1' })
  expect(() => {
    stored.metadata.name = 'b'
  }).toThrow(TypeError)
})

test('a change made by a listener is told after all listeners know the one before', () => {
  const store = createStore()
  const seen: string[] = []
  store.onChange(({ plural, object }) => {
    if (plural === 'pods') store.create('configmaps', { metadata: { name: `of-${object.metadata.name}` } })
  })
  store.onChange(({ object }) => seen.push(object.metadata.name))
  store.create('pods', { metadata: { name: 'a' } })
  expect(seen).toEqual(['a', 'of-a'])
})

test('a rolled back store tells its listeners the differences', () => {
  const store = createStore()
  store.create('configmaps', { metadata: { name: 'kept' } })
  store.create('configmaps', { metadata: { name: 'lost' } })
  const snapshot = store.snapshot()
  store.update('configmaps', { metadata: { name: 'kept' }, data: { a: '1' } })
  store.remove('configmaps', 'default', 'lost')
  store.create('configmaps', { metadata: { name: 'new' } })
  const told: string[] = []
  store.onChange(({ type, object }) => told.push(`${type} ${object.metadata.name}`))
  store.rollback(snapshot)
  expect(told.toSorted((a, b) => a.localeCompare(b))).toEqual(['ADDED lost', 'DELETED new', 'MODIFIED kept'])
  expect(store.version()).toBe(snapshot.version)
})
