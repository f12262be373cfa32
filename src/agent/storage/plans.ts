/** Carries on with the plan of each resource: one command at a time, for the state is read again after each. Adapter shell. */
import type { DrbdCommand, NextStep } from '../../drbd/commands.ts'
import type { Drbd, KnownDrbd } from '../../drbd/drbdsetup.ts'
import type { Resource } from '../../drbd/model.ts'
import type { Log } from '../../observe/log.ts'
import type { Memory } from './memory.ts'

export interface PlansOptions {
  readonly drbd: Pick<Drbd, 'execute'>
  /** Read a moment ago; undefined while nobody knows. */
  readonly known: () => KnownDrbd | undefined
  readonly nextStep: (snapshot: KnownDrbd, resource: Resource) => NextStep
  readonly memory: Pick<Memory, 'markTouched' | 'markReleased'>
  /** A plan came to another kind of step. */
  readonly onChange: () => void
  readonly isDryRun: boolean
  readonly log: Log
}

export interface Plans {
  /** Those that are under way go on by themselves. */
  readonly runPlan: () => void
  /** Whether nothing is left to do for a resource. */
  readonly isDone: (resource: string) => boolean
  /** Another membership: what was planned under the one before says nothing any more. */
  readonly forget: () => void
}

/** A plan that takes more commands goes on at the next review. */
const MOST_COMMANDS = 12

export function createPlans({ drbd, known, nextStep, memory, onChange, isDryRun, log }: PlansOptions): Plans {
  const busy = new Set<string>()
  const steps = new Map<string, NextStep>()

  const planOne = (snapshot: KnownDrbd, resource: Resource): NextStep => {
    const { name } = resource
    const step = nextStep(snapshot, resource)
    const before = steps.get(name)
    steps.set(name, step)
    if (before?.kind !== step.kind) onChange()
    if (step.kind === 'blocked' && before?.kind !== 'blocked')
      log.warn({ resource: name, nextStep: step.nextStep }, `${name} is blocked: ${step.reason}`)
    return step
  }

  const runOne = async (name: string, command: DrbdCommand, why: string): Promise<{ readonly isReadAgain: boolean }> => {
    if (command.kind === 'disconnect-force' || command.kind === 'unlock') await memory.markTouched(name, command.peer)
    const { exitCode, message, snapshot: after } = await drbd.execute(command)
    log.info(
      { resource: name, command: command.kind, exitCode },
      `${name}: ${command.kind}, ${why}${message === '' ? '' : ` (${message})`}`,
    )
    if (command.kind === 'relock' && exitCode === 0) await memory.markReleased(name, command.peer)
    return { isReadAgain: after.kind === 'known' }
  }

  const runPlan = async (name: string): Promise<void> => {
    for (let commands = 0; commands < MOST_COMMANDS; commands++) {
      const snapshot = known()
      const resource = snapshot?.resources.find((one) => one.name === name)
      if (!snapshot || !resource) return
      const step = planOne(snapshot, resource)
      if (step.kind !== 'run' || isDryRun) return
      const { isReadAgain } = await runOne(name, step.command, step.why)
      if (!isReadAgain) return
    }
  }

  return {
    runPlan: () => {
      for (const { name } of known()?.resources ?? []) {
        if (busy.has(name)) continue
        busy.add(name)
        runPlan(name)
          .catch((error: unknown) => log.error({ error }, `${name}: the plan failed`))
          .finally(() => busy.delete(name))
      }
    },
    isDone: (resource) => steps.get(resource)?.kind === 'done',
    forget: () => steps.clear(),
  }
}
