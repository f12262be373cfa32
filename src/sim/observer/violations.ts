/** Where a broken property is written down. */
import type { Property } from '../world/observations.ts'
import type { World } from '../world/world.ts'

export function violate(world: World, property: Property, text: string): void {
  const { violations } = world.observer
  if (violations.length > 20) return
  violations.push({ property, text, atMs: world.timeline.nowMs })
  world.note(`VIOLATION ${property}: ${text}`)
}
