/** Addresses for servers whose peers must know them beforehand: agents are configured with ports, not told of them. */
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'

/** An address of 127.0.0.0/8 for one run of the demo: ports on it meet nobody else's. */
export function loopbackAddress(): string {
  const pick = (low: number, high: number): number => low + Math.floor(Math.random() * (high - low + 1))
  return `127.${pick(1, 254)}.${pick(0, 255)}.${pick(2, 254)}`
}

/** What was given away: the kernel knows only of ports that are open, and gave the same one twice in about one of three hundred demos. */
const given = new Set<string>()

async function onlyOnce(protocol: string, host: string, pick: () => Promise<number>): Promise<number> {
  for (;;) {
    const port = await pick()
    const name = `${protocol} ${host} ${port}`
    if (given.has(name)) continue
    given.add(name)
    return port
  }
}

/** A UDP port that was free a moment ago, another one each time. */
export const freeUdpPort = (host: string): Promise<number> => onlyOnce('udp', host, () => pickUdpPort(host))

/** A TCP port that was free a moment ago, another one each time. */
export const freeTcpPort = (host: string): Promise<number> => onlyOnce('tcp', host, () => pickTcpPort(host))

function pickUdpPort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4')
    socket.once('error', reject)
    socket.bind(0, host, () => {
      const { port } = socket.address()
      socket.close(() => resolve(port))
    })
  })
}

function pickTcpPort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, host, () => {
      const address = server.address()
      server.close(() => {
        if (address === null || typeof address === 'string') reject(new Error(`no port on ${host}`))
        else resolve(address.port)
      })
    })
  })
}
