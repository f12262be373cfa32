/** What the answer to a step's call means. */
import { isKubeError } from '../../kubernetes/errors.ts'

/** `replaced`: another object has the name by now; of a taint: its node was un-fenced since; of others: somebody wrote the object in between. */
export type StepOutcome = 'done' | 'gone' | 'replaced' | 'dry-run'

export type CallLimits = { readonly signal: AbortSignal; readonly timeoutMs: number }

/** 404: it is gone, which is what was wanted. 409 to a uid precondition: another object has its name, and that one is not ours to touch. */
export async function unlessReplaced(call: Promise<unknown>): Promise<StepOutcome> {
  try {
    await call
    return 'done'
  } catch (error) {
    if (isKubeError(error, 'not-found')) return 'gone'
    if (isKubeError(error, 'conflict')) return 'replaced'
    throw error
  }
}
