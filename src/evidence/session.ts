/**
 * Replay protection towards one peer (docs/wire-format.md, "Replay"). A packet counts only when it echoes our present boot nonce, so it was
 * made in our life and for us; within it each counter counts once; a peer's life that ended is never believed again. Pure.
 */
import { NO_NONCE, type Nonce, type Packet } from './wire.ts'

/** Counters this far behind the newest still count: packets overtake each other on several paths. */
export const WINDOW = 1024
/** When a peer had more lives than this in one of ours, we take a new nonce ourselves, which makes all packets before it void. */
export const MOST_RETIRED = 256

export interface Session {
  /** The peer's boot nonce; NO_NONCE before the first packet that counted. */
  readonly peerNonce: Nonce
  readonly newest: number
  /** Bit n: counter `newest - n` was seen. */
  readonly seen: bigint
  readonly retired: readonly Nonce[]
}

/** The latest that a peer said of itself in one life: sequence of its newest heartbeat, and the counter of its goodbye. */
export interface LatestStatements {
  readonly life: Nonce
  readonly sequence: number
  readonly consentCounter: number
}

/**
 * What is known of a peer's words with one packet more; undefined where a later one came before it. On its way for long, a heartbeat would take back what
 * was said since: that the watchdog is closed, say (docs/protocol/proofs.md).
 */
export function withStatement(
  latest: LatestStatements | undefined,
  { senderNonce: life, counter, message }: Pick<Packet, 'senderNonce' | 'counter' | 'message'>,
): LatestStatements | undefined {
  const known = latest?.life === life ? latest : { life, sequence: 0, consentCounter: 0 }
  if (message.kind === 'consent') return { ...known, consentCounter: Math.max(known.consentCounter, counter) }
  if (message.kind !== 'heartbeat') return known
  if (message.sequence < known.sequence || counter < known.consentCounter) return undefined
  return { ...known, sequence: message.sequence }
}

export const NEW_SESSION: Session = { peerNonce: NO_NONCE, newest: 0, seen: 0n, retired: [] }

const MASK = (1n << BigInt(WINDOW)) - 1n

/**
 * `taken`: counts as evidence. `unverified`: does not echo our nonce; worth an answer that teaches it, nothing else. `replayed`, `retired`:
 * seen before, or from a life that is over.
 */
export type Verdict =
  | { readonly kind: 'taken'; readonly session: Session; readonly isNewLife: boolean; readonly isNonceUsedUp: boolean }
  | { readonly kind: 'unverified' | 'replayed' | 'retired' }

export function judge(session: Session, packet: Pick<Packet, 'senderNonce' | 'receiverNonce' | 'counter'>, ownNonce: Nonce): Verdict {
  const { senderNonce, receiverNonce, counter } = packet
  if (senderNonce === NO_NONCE || session.retired.includes(senderNonce)) return { kind: 'retired' }
  if (receiverNonce !== ownNonce) return { kind: 'unverified' }
  if (senderNonce !== session.peerNonce) {
    const retired = session.peerNonce === NO_NONCE ? session.retired : [...session.retired, session.peerNonce]
    return {
      kind: 'taken',
      session: { peerNonce: senderNonce, newest: counter, seen: 1n, retired: retired.slice(-MOST_RETIRED) },
      isNewLife: true,
      isNonceUsedUp: retired.length > MOST_RETIRED,
    }
  }
  if (counter > session.newest) {
    const ahead = counter - session.newest
    const seen = ahead >= WINDOW ? 1n : ((session.seen << BigInt(ahead)) | 1n) & MASK
    return { kind: 'taken', session: { ...session, newest: counter, seen }, isNewLife: false, isNonceUsedUp: false }
  }
  const behind = session.newest - counter
  if (behind >= WINDOW) return { kind: 'replayed' }
  const bit = 1n << BigInt(behind)
  if ((session.seen & bit) !== 0n) return { kind: 'replayed' }
  return { kind: 'taken', session: { ...session, seen: session.seen | bit }, isNewLife: false, isNonceUsedUp: false }
}
