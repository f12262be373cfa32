/** One stored event, two faces: `v1` and `events.k8s.io/v1` name the same fields differently (k8s.io/kubernetes/pkg/apis/events/v1). */
import type { KubeObject } from './objects.ts'

const renamed = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['reportingComponent', 'reportingController'],
  ['count', 'deprecatedCount'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['source', 'deprecatedSource'],
] as const

function translated(object: Readonly<Record<string, unknown>>, names: ReadonlyMap<string, string>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).map(([field, value]) => [names.get(field) ?? field, value]))
}

const toNew: ReadonlyMap<string, string> = new Map(renamed)
const toCore: ReadonlyMap<string, string> = new Map(renamed.map(([core, recent]) => [recent, core]))

/** As `events.k8s.io/v1` shows it. */
export const asNewEvent = (event: KubeObject): KubeObject => ({ ...translated(event, toNew), apiVersion: 'events.k8s.io/v1' }) as KubeObject

/** As it is stored and as `v1` shows it. */
export const asCoreEvent = (event: Record<string, unknown>): Record<string, unknown> => ({ ...translated(event, toCore), apiVersion: 'v1' })
