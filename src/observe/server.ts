/** /metrics, /healthz, /readyz and /status over HTTP. Reads, never changes. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface ObserveOptions {
  readonly host: string
  readonly port: number
  readonly metrics: () => Promise<string>
  /** Why the agent is not alive (its loop is stuck, its disk is gone), or null. */
  readonly unhealthy: () => string | null
  /** Why it is not ready (no membership yet, no permit), or null. */
  readonly unready: () => string | null
  readonly status: () => unknown
}

export interface ObserveServer {
  readonly port: number
  stop(): Promise<void>
}

export async function startObserveServer(options: ObserveOptions): Promise<ObserveServer> {
  const server: Server = createServer((request, response) => {
    const answer = (status: number, body: string, type = 'text/plain; charset=utf-8'): void => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
      response.end(body)
    }
    const check = (reason: string | null): void => answer(reason === null ? 200 : 503, `${reason ?? 'ok'}\n`)
    const path = (request.url ?? '/').split('?')[0]
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, 'only GET\n')
    if (path === '/healthz') return check(options.unhealthy())
    if (path === '/readyz') return check(options.unready())
    if (path === '/status') return answer(200, `${JSON.stringify(options.status(), undefined, 2)}\n`, 'application/json')
    if (path === '/metrics') {
      options.metrics().then(
        (text) => answer(200, text, 'text/plain; version=0.0.4; charset=utf-8'),
        (error: unknown) => answer(500, `${error instanceof Error ? error.message : String(error)}\n`),
      )
      return
    }
    answer(404, 'GET /metrics, /healthz, /readyz or /status\n')
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
  return {
    port: (server.address() as AddressInfo).port,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
