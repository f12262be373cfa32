/** One room is lost for good, and fence after fence of it meets an API server that misbehaves: out of reach, slow, silent, refusing, or shared with others. */
import { type ExecutorsPlayed, executorLines, playExecutors } from './control-plane-executors.ts'
import { type OutagePlayed, outageLines, playOutage, playStaleUnfence } from './control-plane-outage.ts'
import { playRefusals, type RefusalsPlayed, refusalLines } from './control-plane-refusals.ts'
import { stage } from './lines.ts'

export type ControlPlanePlayed = OutagePlayed & ExecutorsPlayed & RefusalsPlayed

export const controlPlane = stage<ControlPlanePlayed>({
  name: 'control-plane',
  play: async (bed) => {
    // First, while the API server still says that the nodes are Ready.
    const stale = await playStaleUnfence(bed)
    const carriers = await playExecutors(bed)
    const outage = await playOutage(bed)
    return { ...carriers, ...outage, stale, ...(await playRefusals(bed)) }
  },
  lines: [...outageLines, ...executorLines, ...refusalLines],
})
