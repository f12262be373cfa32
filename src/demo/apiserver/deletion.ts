/** The rules of deletion: preconditions, finalizers, and the grace that pods get (k8s.io/apiserver/pkg/registry/rest/delete.go). Pure. */
import { isJsonObject } from './freeze.ts'
import type { KubeObject } from './objects.ts'
import { qualifiedKind, type Resource } from './resources.ts'
import { StoreError } from './status.ts'

/** What a DELETE asks for. */
export interface RemovalRules {
  readonly uid?: string
  readonly resourceVersion?: string
  readonly gracePeriodSeconds?: number
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan'
}

/** RFC 3339 with whole seconds, as `metadata` times are written. */
export const timestamp = (epochMs: number): string => new Date(epochMs).toISOString().replace(/\.\d+Z$/, 'Z')

/** Deleted, and nothing holds it any longer: neither finalizers (a namespace has its own) nor a grace period. */
export function isDone(object: KubeObject): boolean {
  const own = object.kind === 'Namespace' && isJsonObject(object['spec']) ? object['spec']['finalizers'] : undefined
  const isKept = Boolean(object.metadata.finalizers?.length) || (Array.isArray(own) && own.length > 0)
  return !isKept && (object.metadata.deletionGracePeriodSeconds ?? 0) === 0
}

export function checkPreconditions(resource: Resource, object: KubeObject, options: RemovalRules): void {
  const { name, uid, resourceVersion } = object.metadata
  if (options.uid !== undefined && options.uid !== uid) {
    throw failedPrecondition(resource, name, 'UID', options.uid, uid, 'deleted and then recreated')
  }
  if (options.resourceVersion !== undefined && options.resourceVersion !== resourceVersion) {
    throw failedPrecondition(resource, name, 'ResourceVersion', options.resourceVersion, resourceVersion, 'modified')
  }
}

/** Here kube-apiserver names the kind where it names the resource elsewhere. */
function failedPrecondition(resource: Resource, name: string, what: string, asked: string, stored: string, guess: string): StoreError {
  const { group, kind } = resource
  const why = `the ${what} in the precondition (${asked}) does not match the ${what} in record (${stored}). The object might have been ${guess}`
  return new StoreError(409, 'Conflict', `Operation cannot be fulfilled on ${qualifiedKind(resource)} "${name}": ${why}`, {
    name,
    ...(group === '' ? {} : { group }),
    kind,
  })
}

export function finalizersAfter(resource: Resource, object: KubeObject, { propagationPolicy }: RemovalRules): readonly string[] {
  const others = (object.metadata.finalizers ?? []).filter((name) => name !== 'orphan' && name !== 'foregroundDeletion')
  if (resource.plural === 'events' || propagationPolicy === undefined) return object.metadata.finalizers ?? []
  if (propagationPolicy === 'Orphan') return [...others, 'orphan']
  return propagationPolicy === 'Foreground' ? [...others, 'foregroundDeletion'] : others
}

/** The object with deletion time and grace as kube-apiserver's BeforeDelete sets them; unchanged if its deletion already runs. */
export function withDeletion(
  resource: Resource,
  object: KubeObject,
  finalizers: readonly string[],
  options: RemovalRules,
  nowMs: number,
): KubeObject {
  const { metadata } = object
  const graceful = resource.plural === 'pods' ? podGraceSeconds(object, options.gracePeriodSeconds) : 0
  const withFinalizers = finalizers.length === 0 ? {} : { finalizers: [...finalizers] }
  const { finalizers: _finalizers, ...bare } = metadata
  if (metadata.deletionTimestamp !== undefined) {
    const running = metadata.deletionGracePeriodSeconds ?? 0
    // The grace that runs can only be shortened, and only by asking for it.
    const shortened = options.gracePeriodSeconds === undefined ? running : Math.min(graceful, running)
    if (shortened === running) return { ...object, metadata: { ...bare, ...withFinalizers } }
    const deletionTimestamp = timestamp(Date.parse(metadata.deletionTimestamp) - (running - shortened) * 1000)
    return { ...object, metadata: { ...bare, ...withFinalizers, deletionTimestamp, deletionGracePeriodSeconds: shortened } }
  }
  return {
    ...object,
    ...(resource.plural === 'namespaces' ? { status: { phase: 'Terminating' } } : {}),
    metadata: {
      ...bare,
      ...withFinalizers,
      ...(metadata.generation === undefined ? {} : { generation: metadata.generation + 1 }),
      deletionTimestamp: timestamp(nowMs + graceful * 1000),
      deletionGracePeriodSeconds: graceful,
    },
  }
}

/** A pod that no kubelet holds (unscheduled, or ended) goes at once. */
function podGraceSeconds(pod: KubeObject, asked: number | undefined): number {
  const spec = isJsonObject(pod['spec']) ? pod['spec'] : {}
  const status = isJsonObject(pod['status']) ? pod['status'] : {}
  if (!spec['nodeName'] || status['phase'] === 'Succeeded' || status['phase'] === 'Failed') return 0
  if (asked !== undefined) return asked < 0 ? 1 : asked
  return typeof spec['terminationGracePeriodSeconds'] === 'number' ? spec['terminationGracePeriodSeconds'] : 30
}
