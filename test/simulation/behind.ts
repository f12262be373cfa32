/** The simulation computes all the time and knows no real clock: it stands behind the plays of the demo, which run beside it and do. */
import { constants, setPriority } from 'node:os'

setPriority(constants.priority.PRIORITY_LOW)
