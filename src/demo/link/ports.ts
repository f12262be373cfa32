/** Addresses for servers whose peers must know them beforehand: agents are configured with ports, not told of them. */
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'

/** An address of 127.0.0.0/8 for one run of the demo: ports on it meet nobody else's. */
export function loopbackAddress(): string {
  const pick = (low: number, high: number): number => low + Math.floor(Math.random() * (high - low + 1))
  return `127.${pick(1, 254)}.${pick(0, 255)}.${pick(2, 254)}`
}

/** A UDP port that was free a moment ago. */
export function freeUdpPort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4')
    socket.once('error', reject)
    socket.bind(0, host, () => {
      const { port } = socket.address()
      socket.close(() => resolve(port))
    })
  })
}

/** A TCP port that was free a moment ago. */
export function freeTcpPort(host: string): Promise<number> {
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
