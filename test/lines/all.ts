/** Every stage of lines, in the order in which they are played. A new file of lines is one import and one entry here. */
import { capacityRoom } from './capacity-room.ts'
import { controlPlane } from './control-plane.ts'
import { blockedWorkloads } from './blocked-workloads.ts'
import { kubevirtControlAway } from './kubevirt-control-away.ts'
import { kubevirtControlLost } from './kubevirt-control-lost.ts'
import { kubevirtInstances } from './kubevirt-instances.ts'
import type { Scene } from './lines.ts'
import { withoutKubeVirt } from './no-kubevirt.ts'
import { orderPressure } from './sequence-pressure.ts'
import { orderProofs } from './sequence-proofs.ts'
import { orderRoom } from './sequence-room.ts'
import { orderWaves } from './sequence-waves.ts'
import { resumption } from './resumption-relay.ts'
import { rolledBack } from './rolled-back.ts'
import { singleNode } from './single-node.ts'
import { unfenceRoom } from './unfence-room.ts'
import { volumesRoom } from './volumes-room.ts'

export const stages: readonly Scene[] = [
  orderRoom,
  orderWaves,
  orderProofs,
  orderPressure,
  resumption,
  blockedWorkloads,
  controlPlane,
  kubevirtInstances,
  kubevirtControlLost,
  kubevirtControlAway,
  capacityRoom,
  volumesRoom,
  unfenceRoom,
  singleNode,
  withoutKubeVirt,
  rolledBack,
]
