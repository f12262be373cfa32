/** Events as the stand-ins record them (core v1 form; the API server shows them under events.k8s.io too). */
import type { KubeObject } from '../apiserver/store.ts'
import { type ClusterContext, timestamp } from './work-queue.ts'

export interface NewEvent {
  readonly about: KubeObject
  readonly type: 'Normal' | 'Warning'
  readonly reason: string
  readonly message: string
  readonly component: string
}

export function writeEvent(context: ClusterContext, { about, type, reason, message, component }: NewEvent): void {
  const now = timestamp(context)
  const { name, namespace, uid, resourceVersion } = about.metadata
  try {
    context.store.create('events', {
      metadata: { generateName: `${name}.`, namespace: namespace ?? 'default' },
      involvedObject: {
        apiVersion: about.apiVersion,
        kind: about.kind,
        name,
        ...(namespace === undefined ? {} : { namespace }),
        uid,
        resourceVersion,
      },
      type,
      reason,
      message,
      source: { component },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
      reportingComponent: component,
      reportingInstance: component,
    })
  } catch (error) {
    // An event is never worth failing for.
    context.report(component, `event ${reason}: ${error instanceof Error ? error.message : String(error)}`)
  }
}
