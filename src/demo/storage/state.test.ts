/** What two replicas of the stand-in that meet may conclude from what they told each other. */
import { describe, expect, test } from 'vitest'
import { type HandshakeSide, holdsHandshake } from './state.ts'

const replica: HandshakeSide = {
  generation: { current: 'first', bitmap: '', history: [] },
  role: 'Secondary',
  disk: 'UpToDate',
  suspended: false,
  crashedPrimary: false,
  outOfSyncWrites: 0,
  records: 3,
  digest: 'of three',
  discardMyData: false,
}
/** It went on alone, in a generation of its own. */
const writer: HandshakeSide = { ...replica, role: 'Primary', generation: { current: 'second', bitmap: 'first', history: [] } }
const oneMore = { records: 4, digest: 'of four', outOfSyncWrites: 1 }

describe('a handshake', () => {
  test('holds for a Primary whose data are copied, however many records it wrote meanwhile', () => {
    expect(holdsHandshake(writer, { ...writer, ...oneMore }, replica, false)).toBe(true)
  })

  test('does not hold when a record was written that nobody would copy', () => {
    const primary: HandshakeSide = { ...replica, role: 'Primary' }
    expect(holdsHandshake(primary, primary, replica, false)).toBe(true)
    expect(holdsHandshake(primary, { ...primary, ...oneMore }, { ...replica, ...oneMore }, false)).toBe(false)
    expect(holdsHandshake(primary, { ...primary, ...oneMore }, replica, false)).toBe(false)
  })

  test('does not hold for the side that is overwritten', () => {
    expect(holdsHandshake(replica, replica, writer, false)).toBe(true)
    expect(holdsHandshake(replica, { ...replica, ...oneMore }, writer, false)).toBe(false)
  })

  test('does not hold when another side would win', () => {
    expect(holdsHandshake(writer, { ...writer, discardMyData: true }, replica, false)).toBe(false)
  })
})
