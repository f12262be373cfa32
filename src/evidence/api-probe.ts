/** Whether the Kubernetes API server can be reached, and since when: evidence, never a reason by itself. */

export interface ApiReachability {
  /** Undefined before the first probe ended. */
  readonly isReachable: boolean | undefined
  /** Since when it is so, monotonic ms. */
  readonly sinceMs: number
  /** Probes in a row with this outcome. */
  readonly count: number
  /** The last failure in words; empty while reachable. */
  readonly failure: string
}

export const notProbed = (nowMs: number): ApiReachability => ({ isReachable: undefined, sinceMs: nowMs, count: 0, failure: '' })

/** What one more probe tells. Pure. */
export function afterProbe(before: ApiReachability, failure: string | undefined, nowMs: number): ApiReachability {
  const isReachable = failure === undefined
  const isSame = before.isReachable === isReachable
  return { isReachable, sinceMs: isSame ? before.sinceMs : nowMs, count: isSame ? before.count + 1 : 1, failure: failure ?? '' }
}

export interface ApiProbe {
  current(): ApiReachability
  stop(): void
}

export interface ApiProbeOptions {
  /** One cheap call (`/readyz`); rejects when the API server did not answer or said that it is not ready. */
  readonly probe: (signal: AbortSignal) => Promise<void>
  readonly everyMs: number
  readonly timeoutMs: number
  readonly clock: () => number
  readonly onChange?: (now: ApiReachability) => void
}

/** One probe at a time, the next `everyMs` after the one before ended. */
export function startApiProbe({ probe, everyMs, timeoutMs, clock, onChange }: ApiProbeOptions): ApiProbe {
  let reachability = notProbed(clock())
  let timer: NodeJS.Timeout | undefined
  const stopping = new AbortController()

  async function failureOfOneProbe(): Promise<string | undefined> {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(timeoutMs)])
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error(`no answer within ${timeoutMs} ms`)), { once: true })
    })
    try {
      // A probe that ignores its signal must not hold up the next one for ever.
      await Promise.race([probe(signal), aborted])
      return undefined
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    }
  }

  async function loop(): Promise<void> {
    const failure = await failureOfOneProbe()
    if (stopping.signal.aborted) return
    const before = reachability
    reachability = afterProbe(before, failure, clock())
    if (before.isReachable !== reachability.isReachable) onChange?.(reachability)
    timer = setTimeout(() => void loop(), everyMs)
    timer.unref()
  }
  void loop()

  return {
    current: () => reachability,
    stop() {
      stopping.abort()
      clearTimeout(timer)
    },
  }
}
