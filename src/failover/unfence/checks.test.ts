import { describe, expect, test } from 'vitest'
import { nodeId } from '../../protocol/ids.ts'
import { checkUnfence, type UnfenceFacts } from './checks.ts'

const good: UnfenceFacts = {
  node: nodeId('b1'),
  exists: true,
  isReady: true,
  isFresh: true,
  fencedByEpoch: 7,
  report: {
    killedUnderEpoch: 7,
    resources: [{ name: 'r1', role: 'Secondary', disk: 'UpToDate', isSyncTarget: false }],
  },
  oldPods: [],
  volumeAttachments: [],
  flapping: undefined,
}
const report = (more: Partial<NonNullable<UnfenceFacts['report']>>) => ({
  killedUnderEpoch: 7,
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
    ['killed', { report: report({ killedUnderEpoch: undefined }) }],
    ['killed', { report: report({ killedUnderEpoch: 6 }) }],
    ['old-pods', { oldPods: ['pod apps/db-0'] }],
    ['volume-attachments', { volumeAttachments: ['VolumeAttachment va'] }],
    ['flapping', { flapping: { fencesBefore: 1, unfenceNotBefore: '2026-01-01T00:00:00Z' } }],
    ['storage', { report: report({ resources: [{ name: 'r1', role: 'Primary', disk: 'UpToDate', isSyncTarget: false }] }) }],
    ['storage', { report: report({ resources: [{ name: 'r1', role: 'Secondary', disk: 'Outdated', isSyncTarget: false }] }) }],
    ['storage', { report: report({ resources: undefined }) }],
  ] as const)('is refused by the check "%s" for %j', (check, more) => {
    expect(failing(more)).toEqual([check])
    expect(checkUnfence([{ ...good, ...more }], false).refusedBy[0]).toMatchObject({
      reason: expect.stringMatching(/./) as string,
      nextStep: expect.stringMatching(/./) as string,
    })
  })

  test('accepts a kill under the fence, or under a later one', () => {
    for (const killedUnderEpoch of [7, 8]) expect(failing({ report: report({ killedUnderEpoch }) })).toEqual([])
  })

  test('is refused while the agent does not report, whatever the API shows of the node, by force, too', () => {
    expect(failing({ report: undefined })).toEqual(['killed', 'storage'])
    expect(failing({ report: undefined }, true)).toEqual(['killed'])
  })

  test('accepts a replica that resyncs as target', () => {
    expect(
      failing({ report: report({ resources: [{ name: 'r1', role: 'Secondary', disk: 'Inconsistent', isSyncTarget: true }] }) }),
    ).toEqual([])
  })

  test('by force overrides and records all but the kill', () => {
    const verdict = checkUnfence(
      [{ ...good, isReady: false, oldPods: ['pod x'], flapping: { fencesBefore: 1, unfenceNotBefore: '2026-01-01T00:00:00Z' } }],
      true,
    )
    expect(verdict.isAllowed).toBe(true)
    expect(verdict.overridden.map(({ check }) => check)).toEqual(['ready', 'old-pods', 'flapping'])
    expect(failing({ isReady: false, report: report({ killedUnderEpoch: undefined }) }, true)).toEqual(['killed'])
  })

  test('of a room needs every node of it', () => {
    expect(checkUnfence([good, { ...good, node: nodeId('b2'), isReady: false }], false).refusedBy.map(({ node }) => node)).toEqual(['b2'])
  })
})
