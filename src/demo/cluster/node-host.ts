/** What a kubelet stand-in needs of the machine it stands on, as the demo's nodes give it; tests have small hosts of their own (test/support/cluster-testbed.ts). */
export type { NodeHost } from '../nodes/node.ts'
