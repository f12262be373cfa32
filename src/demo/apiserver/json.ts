/** JSON of stored objects: they never change, so each is written out once however many readers and watchers it has. */
import type { KubeObject } from './objects.ts'

const texts = new WeakMap<KubeObject, string>()

export function serialized(object: KubeObject): string {
  const known = texts.get(object)
  if (known !== undefined) return known
  const text = JSON.stringify(object)
  if (Object.isFrozen(object)) texts.set(object, text)
  return text
}
