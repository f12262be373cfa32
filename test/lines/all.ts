/** Every stage of lines, in the order in which they are played. A new file of lines is one import and one entry here. */
import type { Stage } from './lines.ts'
import { withoutKubeVirt } from './no-kubevirt.ts'
import { orderPressure } from './order-pressure.ts'
import { orderRoom } from './order-room.ts'
import { orderWaves } from './order-waves.ts'
import { resumption } from './resumption-relay.ts'

export const stages: readonly Stage[] = [orderRoom, orderWaves, orderPressure, resumption, withoutKubeVirt]
