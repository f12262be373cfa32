import { describe, expect, it } from 'vitest'
import { agent, fencing, first, heartbeat } from '../../../test/support/protocol-states.ts'
import { answerConfirmation, answerMaintenance, answerPause } from './replies.ts'

const LATER = 10_000
const ofRoomA = { rooms: ['a'], nodes: [], by: 'ada' }

describe("a person's word of a room", () => {
  it('is taken where votes are missing and nothing was heard, with what comes of it', () => {
    expect(answerConfirmation(agent('b1').state, ofRoomA, LATER)).toEqual({
      isTaken: true,
      nodes: ['a1', 'a2'],
      text: 'a forced epoch is requested, by the confirmation of ada: it fences a1, a2',
    })
  })

  it('is the proof where the room is fenced already', () => {
    const made = agent('b1', { durable: { membership: fencing(first, 'a1', 'a2') } })
    expect(answerConfirmation(made.state, ofRoomA, LATER)).toMatchObject({
      isTaken: true,
      text: 'the confirmation of ada is the proof of the fence of a1, a2',
    })
  })

  it.each([
    [
      'one of them was heard',
      (made: ReturnType<typeof agent>) => void made.hear('a2', heartbeat(first), LATER - 200),
      'a2 was heard 200 ms ago: refused; switch it off first',
    ],
    [
      'a DRBD connection is up',
      (made: ReturnType<typeof agent>) =>
        void made.give({ kind: 'storage', connected: [...first.members].slice(0, 1).map(({ node }) => node), isInSync: false }, LATER),
      'a DRBD connection to a1 is up: refused; switch it off first',
    ],
    [
      'a majority is here',
      (made: ReturnType<typeof agent>) => {
        made.state.epoch.carriedUntilMs = LATER + 1_000
      },
      'b1 has a permit: a majority is here, and silent nodes are fenced without a confirmation; wait for the fence of a1, a2, and confirm again if that waits for a proof',
    ],
  ])('is refused while %s', (_, prepare, text) => {
    const made = agent('b1')
    prepare(made)
    expect(answerConfirmation(made.state, ofRoomA, LATER)).toEqual({ isTaken: false, text })
  })

  it.each([
    [{ rooms: ['c'], nodes: [], by: 'ada' }, 'room c is not known here, only a, b'],
    [{ rooms: [], nodes: ['a9'], by: 'ada' }, 'node a9 is not a member: a1, a2, b1, b2'],
    [{ rooms: [], nodes: [], by: 'ada' }, 'no room and no node is named'],
    [{ rooms: ['b'], nodes: [], by: 'ada' }, 'b1 is alive: it answers you'],
    [{ rooms: ['a'], nodes: [], by: ' ' }, 'by is empty: say who confirms it'],
  ])('%j is refused: %s', (confirmation, text) => {
    expect(answerConfirmation(agent('b1').state, confirmation, LATER)).toEqual({ isTaken: false, text })
  })

  it('is refused by who has learned its own fence, which points to the other side', () => {
    const made = agent('b1', { durable: { membership: fencing(first, 'b1', 'b2') } })
    expect(answerConfirmation(made.state, ofRoomA, LATER)).toEqual({
      isTaken: false,
      text: 'b1 has learned its own fence in epoch 1: the other side goes on, ask there',
    })
  })
})

const permitted = (membership = first) => {
  const made = agent('b1', { durable: { membership } })
  made.state.epoch.carriedUntilMs = LATER + 1_000
  return made.state
}

describe('pausing and maintenance', () => {
  it('need a majority here, and somebody who asks', () => {
    expect(answerPause(agent('b1').state, { isSuspended: true, by: 'ada' }, LATER)).toEqual({
      isTaken: false,
      text: 'b1 has no permit: there is no majority here that could choose it',
    })
    expect(answerPause(permitted(), { isSuspended: true, by: '' }, LATER)).toEqual({
      isTaken: false,
      text: 'by is empty: say who asks for it',
    })
    expect(answerMaintenance(permitted(fencing(first, 'b1', 'b2')), { ...ofRoomA, isOn: true }, LATER)).toMatchObject({ isTaken: false })
  })

  it('are taken, with what comes of it', () => {
    expect(answerPause(permitted(), { isSuspended: true, by: 'ada' }, LATER)).toMatchObject({
      isTaken: true,
      text: 'an epoch is requested in which fencing is paused',
    })
    expect(answerPause(permitted(), { isSuspended: false, by: 'ada' }, LATER)).toMatchObject({
      isTaken: true,
      text: 'fencing is not suspended',
    })
    expect(answerMaintenance(permitted(), { rooms: ['a'], nodes: [], by: 'ada', isOn: true }, LATER)).toMatchObject({
      isTaken: true,
      nodes: ['a1', 'a2'],
    })
  })

  it('of everybody is refused: nobody would be left to vote', () => {
    expect(answerMaintenance(permitted(), { rooms: ['a', 'b'], nodes: [], by: 'ada', isOn: true }, LATER)).toEqual({
      isTaken: false,
      text: 'nobody would be left to vote: leave one room out',
    })
  })
})
