/** How many calls may be under way at once: fewer when the API server asks for it, fails or is slow, and slowly more when it is not. */
import { isKubeError } from '../../kubernetes/errors.ts'

export interface Concurrency {
  /** One at least. */
  now(): number
  /** After each call: what came of it, and how long that took. */
  adapt(error: unknown, durationMs: number): void
}

const slowMs = 1_000
/** Deletes are little beside what controllers make of them: slowness alone brings no fewer at once, or an overloaded API server would get one a second. */
const leastWhenSlow = 8

export function createConcurrency(most: number): Concurrency {
  const least = Math.min(leastWhenSlow, most)
  let limit = least
  return {
    now: () => Math.max(1, Math.floor(limit)),
    adapt: (error, durationMs) => {
      if (isKubeError(error, 'too-many-requests')) limit = Math.max(1, Math.floor(limit / 2))
      // A webhook that is away is slow for what it looks at, and says nothing of the API server.
      else if (isWebhookFailure(error)) return
      else if (error !== undefined) limit = Math.max(1, limit - 1)
      else if (durationMs > slowMs) limit = Math.max(Math.min(least, limit), limit - 1)
      else limit = Math.min(most, limit + 0.25)
    },
  }
}

/** k8s.io/apiserver answers 500 with this text when a webhook with failurePolicy Fail gives no answer. */
export const isWebhookFailure = (error: unknown): boolean =>
  isKubeError(error, 'server-error', 'timeout') && /failed calling webhook/.test(error.message)
