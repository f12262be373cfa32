/** When the coordinator looks for taints of ours that no fence has any more: what an un-fence that was not finished left to do. Adapter shell. */
import type { Configuration } from '../../config/schema.ts'
import { fenceId } from '../../failover/fence/names.ts'
import type { FailoverClock } from '../../failover/run/clock.ts'
import { type LeftOver, takeAwayLeftovers } from '../../failover/unfence/leftovers.ts'
import type { KubeClient } from '../../kubernetes/client.ts'
import type { Log } from '../../observe/log.ts'
import type { NodeId } from '../../protocol/ids.ts'
import type { State } from '../../protocol/state.ts'

export interface Leftovers {
  /** Asked often: looks now and then, and soon after `expect`. */
  readonly review: (mine: boolean) => void
  readonly expect: () => void
}

/** The agent that asked has a head start. */
const SOON_MS = 5_000
const EVERY_MS = 300_000

export function createLeftovers(options: {
  readonly configuration: Configuration
  readonly client: KubeClient
  readonly clock: FailoverClock
  readonly state: () => State
  readonly isUnderWay: (node: NodeId) => boolean
  readonly signal: AbortSignal
  readonly log: Log
}): Leftovers {
  const { client, clock, isUnderWay, signal, log } = options
  let wasMine = false
  let isLooking = false
  let lookAtMs = Infinity
  const expect = (): void => {
    lookAtMs = Math.min(lookAtMs, clock.nowMs() + SOON_MS)
  }
  return {
    expect,
    review: (mine) => {
      if (mine && !wasMine) expect()
      wasMine = mine
      const { membership } = options.state().durable
      if (!mine || !membership || options.configuration.isDryRun || isLooking || clock.nowMs() < lookAtMs) return
      isLooking = true
      lookAtMs = clock.nowMs() + EVERY_MS
      takeAwayLeftovers({ client, clock, membership, isUnderWay, onFound: (found) => logFound(found, log), signal })
        .catch((error: unknown) => {
          log.debug({ error }, 'taints that were left over could not be looked for')
          expect()
        })
        .finally(() => (isLooking = false))
    },
  }
}

function logFound({ node, fencedIn, isKnown }: LeftOver, log: Log): void {
  if (!isKnown) {
    log.warn({ node, fencedIn }, `${node} has a taint of roomfence whose fence is not known here: it is left alone`)
    return
  }
  const fence = fenceId(fencedIn)
  log.warn({ node, fence }, `${node} still has the taint of ${fence}, which is over: it is taken away`)
}
