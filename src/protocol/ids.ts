/** The ids, branded so that one is never passed for another. */

export type NodeId = string & { readonly __brand: 'NodeId' }
/** One value of the room label (`topology.kubernetes.io/zone` by default). */
export type Room = string & { readonly __brand: 'Room' }
export type ClusterId = string & { readonly __brand: 'ClusterId' }
/** Number of a membership; each fence, un-fence or vote shift is the next one. */
export type Epoch = number & { readonly __brand: 'Epoch' }
/** One life of a node's state directory: lost with its disk, and never reused. */
export type Incarnation = string & { readonly __brand: 'Incarnation' }
/** The kernel's `/proc/sys/kernel/random/boot_id`: another one means that nothing of the boot before still runs. */
export type BootId = string & { readonly __brand: 'BootId' }

export const nodeId = (name: string): NodeId => name as NodeId
export const room = (name: string): Room => name as Room
export const clusterId = (id: string): ClusterId => id as ClusterId
export const epoch = (number: number): Epoch => number as Epoch
export const incarnation = (id: string): Incarnation => id as Incarnation
export const bootId = (id: string): BootId => id as BootId
