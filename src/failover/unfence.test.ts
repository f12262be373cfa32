import { describe, expect, test } from 'vitest'
import { nodeId } from '../protocol/ids.ts'
import { checkUnfence, type UnfenceFacts } from './unfence.ts'

const good: UnfenceFacts = {
  node: nodeId('b1'),
  exists: true,
  isReady: true,
  isFresh: true,
  fencedBootId: 'boot-1',
  fencedByEpoch: 7,
  apiBootId: 'boot-2',
  report: {
    bootId: 'boot-2',
    killedUnderEpoch: undefined,
    resources: [{ name: 'r1', role: 'Secondary', disk: 'UpToDate', isSyncTarget: false }],
  },
  oldPods: [],
  volumeAttachments: [],
}
const report = (more: Partial<NonNullable<UnfenceFacts['report']>>) => ({
  bootId: 'boot-2',
  killedUnderEpoch: undefined,
  resources: [],
  ...more,
})
const failing = (more: Partial<UnfenceFacts>, force = false) =>
  checkUnfence([{ ...good, ...more }], force).refusedBy.map(({ check }) => check)

describe('an un-fence', () => {
  test('is allowed when everything is as it should be', () => {
    expect(checkUnfence([good], false)).toEqual({ isAllowed: true, refusedBy: [], overridden: [] })
  })

  test.each([
    ['exists', { exists: false }],
    ['ready', { isReady: false }],
    ['ready', { isFresh: false }],
    ['booted-or-killed', { report: report({ bootId: 'boot-1' }) }],
    ['booted-or-killed', { report: report({ bootId: 'boot-1', killedUnderEpoch: 6 }) }],
    ['booted-or-killed', { fencedBootId: '' }],
    ['old-pods', { oldPods: ['pod apps/db-0'] }],
    ['volume-attachments', { volumeAttachments: ['VolumeAttachment va'] }],
    ['storage', { report: report({ resources: [{ name: 'r1', role: 'Primary', disk: 'UpToDate', isSyncTarget: false }] }) }],
    ['storage', { report: report({ resources: [{ name: 'r1', role: 'Secondary', disk: 'Outdated', isSyncTarget: false }] }) }],
  ] as const)('is refused by the check "%s" for %j', (check, more) => {
    expect(failing(more)).toEqual([check])
    expect(checkUnfence([{ ...good, ...more }], false).refusedBy[0]).toMatchObject({
      reason: expect.stringMatching(/./) as string,
      nextStep: expect.stringMatching(/./) as string,
    })
  })

  test('accepts a kill under the fence, or a later one, in place of a reboot', () => {
    expect(failing({ report: report({ bootId: 'boot-1', killedUnderEpoch: 7 }) })).toEqual([])
  })

  test('accepts a replica that resyncs as target', () => {
    expect(
      failing({ report: report({ resources: [{ name: 'r1', role: 'Secondary', disk: 'Inconsistent', isSyncTarget: true }] }) }),
    ).toEqual([])
  })

  test('by force overrides and records all but boot-or-killed', () => {
    const verdict = checkUnfence([{ ...good, isReady: false, oldPods: ['pod x'] }], true)
    expect(verdict.isAllowed).toBe(true)
    expect(verdict.overridden.map(({ check }) => check)).toEqual(['ready', 'old-pods'])
    expect(failing({ isReady: false, report: report({ bootId: 'boot-1' }) }, true)).toEqual(['booted-or-killed'])
  })

  test('of a room needs every node of it', () => {
    expect(checkUnfence([good, { ...good, node: nodeId('b2'), isReady: false }], false).refusedBy.map(({ node }) => node)).toEqual(['b2'])
  })
})
