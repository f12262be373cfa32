/** Ports that are given away before anybody opens them. */
import { expect, test } from 'vitest'
import { freeTcpPort, freeUdpPort, loopbackAddress } from './ports.ts'

test('no port is given away twice, though none is open yet', async () => {
  const host = loopbackAddress()
  const ports = await Promise.all(Array.from({ length: 1_000 }, () => freeUdpPort(host)))
  expect(new Set(ports).size).toBe(ports.length)
  const streams = await Promise.all(Array.from({ length: 300 }, () => freeTcpPort(host)))
  expect(new Set(streams).size).toBe(streams.length)
})
