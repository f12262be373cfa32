/** The kubelet's probes of a container, played from the test's own process. */
import { type IncomingMessage, request as plain } from 'node:http'
import { request as encrypted } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Container, HttpProbe } from './translate/manifest.ts'

export interface Probed {
  readonly isSuccess: boolean
  /** The answer's status and first line, or why there was none. */
  readonly said: string
}

export interface ProbePlace {
  readonly address: string
  readonly container: Container
}

const portOf = ({ container }: ProbePlace, port: string | number): number => {
  if (typeof port === 'number') return port
  const found = container.ports?.find(({ name }) => name === port)
  if (found === undefined) throw new Error(`a probe asks for port ${port}, which the container ${container.name} does not have`)
  return found.containerPort
}

export function probeOnce(probe: HttpProbe, place: ProbePlace): Promise<Probed> {
  const { path, port, scheme } = probe.httpGet
  const options = { host: place.address, port: portOf(place, port), path, timeout: (probe.timeoutSeconds ?? 1) * 1000 }
  return new Promise((resolve) => {
    const failed = (said: string): void => resolve({ isSuccess: false, said })
    const read = (response: IncomingMessage): void => {
      const status = response.statusCode ?? 0
      let text = ''
      response.on('data', (chunk) => (text += String(chunk)))
      response.on('error', ({ message }) => failed(message))
      // as the kubelet judges
      response.on('end', () => resolve({ isSuccess: status >= 200 && status < 400, said: `${status} ${text.split('\n')[0]}` }))
    }
    const asked = scheme === 'HTTPS' ? encrypted({ ...options, rejectUnauthorized: false }, read) : plain(options, read)
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${options.timeout} ms`)))
    asked.on('error', ({ message }) => failed(message))
    asked.end()
  })
}

/**
 * The startup probe: resolves with how often it failed before it succeeded.
 *
 * @throws where the kubelet would kill the container.
 */
export async function started(place: ProbePlace): Promise<number> {
  const { startupProbe: probe, name } = place.container
  if (probe === undefined) return 0
  await sleep((probe.initialDelaySeconds ?? 0) * 1000)
  for (let failures = 0; ; ) {
    const { isSuccess, said } = await probeOnce(probe, place)
    if (isSuccess) return failures
    if (++failures >= (probe.failureThreshold ?? 3)) throw new Error(`${name} did not start: ${failures} failed probes, the last: ${said}`)
    await sleep((probe.periodSeconds ?? 10) * 1000)
  }
}

export interface Watching {
  stop(): void
}

/** The liveness probe. @param onKill called each time that the kubelet would kill the container, with the last answer */
export function watchLiveness(place: ProbePlace, onKill: (said: string) => void): Watching {
  const { livenessProbe: probe } = place.container
  const ending = new AbortController()
  const watch = async (): Promise<void> => {
    if (probe === undefined) return
    for (let failures = 0; ; ) {
      await sleep((probe.periodSeconds ?? 10) * 1000, undefined, { signal: ending.signal })
      const { isSuccess, said } = await probeOnce(probe, place)
      failures = isSuccess ? 0 : failures + 1
      if (failures < (probe.failureThreshold ?? 3) || ending.signal.aborted) continue
      onKill(said)
      failures = 0
    }
  }
  watch().catch(() => undefined)
  return { stop: () => ending.abort() }
}
