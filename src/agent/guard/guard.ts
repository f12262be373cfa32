/** Keeps this node harmless when the protocol says so: containment, the watchdog, and the reboot where neither can be verified. Adapter shell. */
import type { Configuration } from '../../config/schema.ts'
import { reboot } from '../../containment/reboot.ts'
import type { Log } from '../../observe/log.ts'
import type { ContainmentLevel } from '../../protocol/process.ts'
import { type ContainingOptions, createContaining } from './containing.ts'
import { createPetting } from './petting.ts'

export interface Guard {
  readonly contain: (level: ContainmentLevel) => void
  readonly reboot: (reason: string) => void
  /** Asked at every tick: opens the watchdog as soon as it may be petted, and lets go what an earlier life of this agent had paused. */
  readonly review: () => void
  readonly isArmed: () => boolean
  /** What could write and is alive here, by pod uid. */
  readonly alive: () => Promise<readonly string[]>
  /** Gives up the watchdog in good order, which takes a majority; true when it was disarmed, or there is none. */
  readonly leave: (withinMs: number) => Promise<boolean>
  readonly stop: () => void
}

const REBOOT_AGAIN_MS = 5_000

export function createGuard(options: ContainingOptions): Guard {
  const containing = createContaining(options)
  const petting = createPetting(options)
  return {
    contain: containing.contain,
    reboot: createReboot(options.configuration, options.log),
    review: () => {
      petting.review()
      containing.review()
    },
    isArmed: petting.isArmed,
    alive: containing.alive,
    leave: async (withinMs) => petting.leave(withinMs, containing.pauseAll),
    stop: () => {
      petting.stop()
      containing.stop()
    },
  }
}

/** One at a time, and again where the node is still there. */
function createReboot({ isDryRun, containment }: Configuration, log: Log): (reason: string) => void {
  const { rebootMethod, rebootCommand } = containment
  let isRebooting = false
  return (reason) => {
    if (isDryRun || isRebooting) return
    isRebooting = true
    const order = reboot({ rebootMethod, rebootCommand, sysrqFile: '/proc/sysrq-trigger' }, reason, (line) => log.fatal(line))
    void order.finally(() => setTimeout(() => (isRebooting = false), REBOOT_AGAIN_MS).unref())
  }
}
