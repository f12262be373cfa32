/**
 * The bundled witness: the register over HTTPS, for agents that show the token. It has no opinion: what it counts and keeps is in
 * kept-register.ts, what it answers in answers.ts. A register restored from a backup is told by its version, by the agents, not here.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { WitnessConfiguration } from '../config/schema.ts'
import { answersOf, refuse, type WitnessLog } from './answers.ts'
import { openKeptRegister } from './kept-register.ts'
import { witnessMetrics } from './metrics.ts'

const SILENT: WitnessLog = { info: () => undefined, warn: () => undefined, error: () => undefined }

export interface RunningWitness {
  readonly port: number
  /** Answers what is under way, then closes. */
  stop(): Promise<void>
}

const LEAST_TOKEN = 16
const RELOAD_EVERY_MS = 10_000
const STOP_MS = 3000

class WitnessStartError extends Error {
  override readonly name = 'WitnessStartError'
}

function readSecretFile(field: string, file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (cause) {
    throw new WitnessStartError(
      `${field}: saw ${(cause as NodeJS.ErrnoException).code ?? 'an error'} at ${file}; allowed: a file that this user may read`,
      { cause },
    )
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

function readToken(file: string): Buffer {
  const token = readSecretFile('tokenFile', file).toString('utf8').trim()
  if (token.length < LEAST_TOKEN)
    throw new WitnessStartError(
      `tokenFile: saw ${token.length} characters in ${file}; allowed: at least ${LEAST_TOKEN}: openssl rand -hex 32`,
    )
  return digest(token)
}

const stampOf = (files: readonly string[]): string =>
  files.map((file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? '-').join(' ')

/**
 * Starts the witness and serves until it is stopped.
 *
 * @throws WitnessStartError for files of the configuration, DurableError for the state, the system's error for the port.
 */
export async function runWitness(configuration: WitnessConfiguration, log: WitnessLog = SILENT): Promise<RunningWitness> {
  const { listen, tlsCertFile, tlsKeyFile, tokenFile, stateDirectory } = configuration
  const tls = () => ({
    cert: readSecretFile('tlsCertFile', tlsCertFile),
    key: readSecretFile('tlsKeyFile', tlsKeyFile),
    minVersion: 'TLSv1.2' as const,
  })
  let token = readToken(tokenFile)
  const firstTls = tls()
  const register = await openKeptRegister(stateDirectory, () => performance.now())
  const metrics = witnessMetrics()
  // Digests have one length, so the comparison's time tells nothing of the token.
  const isToken = (shown: string): boolean => timingSafeEqual(digest(shown), token)
  const serve = answersOf({ register, metrics, isToken, log })
  const server = createServer({ ...firstTls, maxHeaderSize: 16_384 }, (request, response) => {
    serve(request, response).catch((error: unknown) => {
      log.error({ err: error }, 'a request failed')
      if (!response.headersSent) refuse(response, 500, 'internal error: see the witness’s log')
      else response.destroy()
    })
  })
  server.maxConnections = 2000
  server.headersTimeout = 10_000
  server.requestTimeout = 20_000
  server.keepAliveTimeout = 60_000
  server.on('tlsClientError', () => metrics.count('tls-failed'))
  try {
    await listening(server, listen.host, listen.port)
  } catch (error) {
    await register.close()
    throw error
  }
  const stopReloading = whenChanged([tlsCertFile, tlsKeyFile, tokenFile], () => {
    try {
      token = readToken(tokenFile)
      server.setSecureContext(tls())
      log.info({}, 'certificate and token were read again')
    } catch (error) {
      log.warn({ err: error }, 'certificate or token changed and could not be read: the ones before stay in use')
    }
  })
  const { port } = server.address() as AddressInfo
  log.info({ host: listen.host, port, version: register.current()?.version ?? 0 }, 'witness serves')
  return {
    port,
    async stop() {
      stopReloading()
      await closed(server)
      await register.close()
    },
  }
}

/** @returns what ends it. */
function whenChanged(files: readonly string[], read: () => void): () => void {
  let stamp = stampOf(files)
  const timer = setInterval(() => {
    const now = stampOf(files)
    if (now === stamp) return
    stamp = now
    read()
  }, RELOAD_EVERY_MS)
  timer.unref()
  return () => clearInterval(timer)
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    // A kept connection may be between two requests only a moment from now, or never end its own.
    const idle = setInterval(() => server.closeIdleConnections(), 50)
    const rest = setTimeout(() => server.closeAllConnections(), STOP_MS)
    server.once('close', () => {
      clearInterval(idle)
      clearTimeout(rest)
    })
  })
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
}
