/** Free ports for programs that cannot be asked to choose one themselves. */
import { once } from 'node:events'
import { createServer } from 'node:net'

const handedOut = new Set<number>()

const isFree = async (port: number): Promise<boolean> => {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

/** Below the kernel's ephemeral range, so that no outgoing connection takes it between the look and the program's start. */
export const freePort = async (): Promise<number> => {
  for (let attempt = 0; attempt < 1000; attempt++) {
    const port = 12_000 + Math.floor(Math.random() * 20_000)
    if (!handedOut.has(port) && (await isFree(port))) {
      handedOut.add(port)
      return port
    }
  }
  throw new Error('no free port between 12000 and 31999 on 127.0.0.1 in 1000 attempts')
}
