/** Where a line of the failover is played: a cluster of two rooms with an API server, embedded or real. What differs between the two, and nothing else. */
import type { Testbed } from '../support/cluster-testbed.ts'
import type { ApiServer } from '../../src/demo/apiserver/server.ts'
import type { FailoverConfig } from '../../src/failover/plan/config.ts'
import type { Access } from '../support/api-client.ts'
import type { ControlPlane } from '../cluster/control-plane/start.ts'
import type { FakeNodes } from '../cluster/nodes/fake-nodes.ts'

export type WorldName = 'embedded' | 'real'

/** A cluster of a kind that stages cannot share: it is started for one stage. */
export type ClusterKind = 'without-kubevirt'

/** The rooms of both worlds, with two nodes each. Lines lose `room-b`, or one node of it. */
export const livingRoom = 'room-a'
export const deadRoom = 'room-b'

export interface WorldNode {
  readonly name: string
  readonly room: string
}

export interface World {
  readonly name: WorldName
  readonly cluster: ClusterKind | undefined
  /** The API server, as a member of system:masters. */
  readonly access: Access
  readonly nodes: readonly WorldNode[]
  /** Timings that suit this world's speed. */
  readonly config: FailoverConfig
  /** How often a condition is looked at. */
  readonly lookEveryMs: number
  /**
   * How long after a power loss Kubernetes itself has deleted every pod of the dead nodes that does not tolerate it: NotReady, then one node after the
   * other is tainted, then the pods' toleration of it runs out.
   */
  readonly evictedAfterMs: number
  /** A token of ServiceAccount `roomfence/<name>`, which need not exist. */
  tokenOf(serviceAccount: string): Promise<string>
  /** All at one moment. */
  power(nodes: readonly string[], to: 'on' | 'off'): Promise<void>
  bootId(node: string): string
  /** The embedded world's inside, for faults: `undefined` in the real one. */
  readonly embedded?: { readonly testbed: Testbed; readonly server: ApiServer }
  /** The real one's programs and fake nodes. */
  readonly real?: { readonly controlPlane: ControlPlane; readonly fakeNodes: FakeNodes }
  close(): Promise<void>
}
