/** Names that are written into the cluster: of the Fence object, of taints and of annotations. */

/** The name of a fence: its Fence object's, and the one that people write. */
export const fenceId = (epoch: number): string => `fence-${epoch}`

export const fullName = (object: { readonly namespace: string; readonly name: string }): string => `${object.namespace}/${object.name}`

/** The same order on every machine, whatever its locale. */
export const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

export const fencedTaintKey = 'roomfence.io/fenced'
export const outOfServiceTaintKey = 'node.kubernetes.io/out-of-service'
/** The value that makes an out-of-service taint ours; one with another value is never touched. */
export const outOfServiceTaintValue = 'roomfence'
export const optOutAnnotation = 'roomfence.io/opt-out'
export const priorityAnnotation = 'roomfence.io/priority'
export const unfenceAnnotation = 'roomfence.io/unfence'
/** A person's word that a fenced node is dead; the value names the fence and who says so: `fence-7,ada`. */
export const confirmDeadAnnotation = 'roomfence.io/confirm-dead'
/** The epoch that un-fenced a node last, written with the removal of our taints: a fence that is not later taints it no more. */
export const unfencedEpochAnnotation = 'roomfence.io/unfenced-epoch'
export const touchAnnotation = 'roomfence.io/touched'
