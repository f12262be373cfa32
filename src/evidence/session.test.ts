import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { judge, MOST_RETIRED, NEW_SESSION, type Session, withStatement, WINDOW } from './session.ts'
import { NO_NONCE, type Nonce } from './wire.ts'

const nonce = (number: number) => (number + 1).toString(16).padStart(16, '0') as Nonce
const own = 'ffffffffffffffff' as Nonce
const from = (life: number, counter: number, receiverNonce = own) => ({ senderNonce: nonce(life), receiverNonce, counter })

function after(session: Session, ...packets: readonly ReturnType<typeof from>[]): Session {
  return packets.reduce((now, packet) => {
    const verdict = judge(now, packet, own)
    return verdict.kind === 'taken' ? verdict.session : now
  }, session)
}

describe('a session', () => {
  test('takes each counter once, in whatever order they come', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3000 }), { maxLength: 200 }), (counters) => {
        let session = NEW_SESSION
        const taken: number[] = []
        for (const counter of counters) {
          const verdict = judge(session, from(1, counter), own)
          const newest = Math.max(0, ...taken)
          const isFresh = !taken.includes(counter) && (taken.length === 0 || counter > newest - WINDOW)
          expect(verdict.kind).toBe(isFresh ? 'taken' : 'replayed')
          if (verdict.kind !== 'taken') continue
          session = verdict.session
          taken.push(counter)
        }
      }),
    )
  })

  test('takes nothing that does not echo our nonce, and learns nothing from it', () => {
    const session = after(NEW_SESSION, from(1, 5))
    expect(judge(session, from(1, 6, NO_NONCE), own).kind).toBe('unverified')
    expect(judge(session, from(2, 1, nonce(9)), own).kind).toBe('unverified')
    expect(judge(session, from(1, 6), own).kind).toBe('taken')
  })

  test('never goes back to a life that was replaced', () => {
    const session = after(NEW_SESSION, from(1, 5), from(2, 1))
    expect(judge(session, from(1, 6), own).kind).toBe('retired')
    expect(judge(session, from(1, 6, NO_NONCE), own).kind).toBe('retired')
  })

  test('says when a life is new', () => {
    expect(judge(NEW_SESSION, from(1, 5), own)).toMatchObject({ isNewLife: true })
    expect(judge(after(NEW_SESSION, from(1, 5)), from(1, 6), own)).toMatchObject({ isNewLife: false })
  })

  test('asks for a nonce of our own before it would have to forget a life', () => {
    let session = NEW_SESSION
    for (let life = 1; life <= MOST_RETIRED + 1; life++) {
      const verdict = judge(session, from(life, 1), own)
      expect(verdict).toMatchObject({ kind: 'taken', isNonceUsedUp: false })
      if (verdict.kind === 'taken') session = verdict.session
    }
    expect(judge(session, from(MOST_RETIRED + 2, 1), own)).toMatchObject({ kind: 'taken', isNonceUsedUp: true })
  })

  test('takes a packet without a nonce for nobody’s', () => {
    expect(judge(NEW_SESSION, { senderNonce: NO_NONCE, receiverNonce: own, counter: 1 }, own).kind).toBe('retired')
  })
})

describe('what a peer says of itself', () => {
  const says = (counter: number, message: unknown, life = 1) =>
    ({ senderNonce: nonce(life), counter, message }) as Parameters<typeof withStatement>[1]
  const heartbeat = (counter: number, sequence: number, life = 1) => says(counter, { kind: 'heartbeat', sequence }, life)

  test('is not taken back by a heartbeat that was longer on its way, nor by one from before a goodbye', () => {
    const first = withStatement(undefined, heartbeat(7, 3))
    expect(withStatement(first, heartbeat(5, 2))).toBeUndefined()
    const said = withStatement(first, says(9, { kind: 'consent' }))
    expect(withStatement(said, heartbeat(8, 4))).toBeUndefined()
    expect(withStatement(said, heartbeat(10, 4))).toBeDefined()
  })

  test('comes on every path, and anew in another life', () => {
    const said = withStatement(undefined, heartbeat(7, 3))
    expect(withStatement(said, heartbeat(6, 3))).toBeDefined()
    expect(withStatement(said, heartbeat(1, 1, 2))).toBeDefined()
    expect(withStatement(said, says(2, { kind: 'ack' }))).toBeDefined()
  })
})
