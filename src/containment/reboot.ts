/** The last resort of containment: this node is reset, without a sync and without a goodbye. Adapter. */
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'

export interface RebootConfiguration {
  /** `sysrq`: the kernel resets at once, nothing is flushed. `none` leaves it to the watchdog, which must then not be petted. */
  readonly rebootMethod: 'sysrq' | 'command' | 'none'
  /** Program and its arguments, for `command`. */
  readonly rebootCommand: readonly string[]
  /** `/proc/sysrq-trigger`; written by root regardless of `kernel.sysrq`. */
  readonly sysrqFile: string
}

export type Reboot = { readonly kind: 'ordered' } | { readonly kind: 'not-ordered'; readonly reason: string }

/**
 * Returns when the reset is ordered, if at all: whatever it says, the caller goes on without petting the watchdog.
 *
 * @param shout gets one line before and one after a failure; it must write at once, for there is no later.
 */
export async function reboot(configuration: RebootConfiguration, reason: string, shout: (line: string) => void): Promise<Reboot> {
  const { rebootMethod, rebootCommand, sysrqFile } = configuration
  shout(`REBOOTING THIS NODE NOW (${rebootMethod}): ${reason}`)
  const failed = (why: string): Reboot => {
    shout(`REBOOT FAILED, the watchdog has to do it: ${why}`)
    return { kind: 'not-ordered', reason: why }
  }
  if (rebootMethod === 'none') return failed('containment.rebootMethod is none')
  if (rebootMethod === 'sysrq') {
    try {
      writeFileSync(sysrqFile, 'b', { flag: 'r+' })
      return { kind: 'ordered' }
    } catch (error) {
      return failed(`cannot write b to ${sysrqFile} (${(error as NodeJS.ErrnoException).code}): the agent needs root and the host's /proc`)
    }
  }
  const [program, ...parameters] = rebootCommand
  if (program === undefined) return failed('containment.rebootCommand is empty')
  return new Promise((resolve) => {
    const child = spawn(program, parameters, { stdio: 'ignore', detached: true })
    child.once('error', (error) => resolve(failed(`cannot run ${program}: ${error.message}`)))
    child.once('exit', (code, signal) =>
      resolve(code === 0 ? { kind: 'ordered' } : failed(`${program} ended with ${code ?? signal ?? 'no exit code'}`)),
    )
  })
}
