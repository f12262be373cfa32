import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { storageEntry } from '../../test/support/storage-entry.ts'
import { epoch, incarnation, nodeId } from '../protocol/ids.ts'
import { ENTRIES_A_PAGE, NO_REPORTS, pagesOf, reportOf, type StorageEntry, type StorageReports, withPage } from './storage-report.ts'

const a1 = nodeId('a1')
const sender = { node: a1, incarnation: incarnation('i1'), life: 'x' }

const entryOf = (index: number, hasFreezeMode = true): StorageEntry =>
  storageEntry('b1', { resource: `pvc-${index}`, hasFreezeMode: hasFreezeMode })
const entries = (count: number, hasFreezeMode = true) => Array.from({ length: count }, (_, index) => entryOf(index, hasFreezeMode))

const entriesNow = (reports: StorageReports, nowMs = 0, maxAgeMs = 1000) =>
  reportOf(reports, a1, incarnation('i1'), epoch(4), nowMs, maxAgeMs)?.entries

function withReport(
  reports: StorageReports,
  sequence: number,
  content: readonly StorageEntry[],
  of = sender,
  atEpoch = 4,
  nowMs = 0,
): StorageReports {
  return pagesOf(epoch(atEpoch), sequence, content).reduce((now, page) => withPage(now, of, page, nowMs), reports)
}

describe('a storage report', () => {
  test('counts only when all of its pages came, in any order and any number of times', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5 * ENTRIES_A_PAGE }), fc.array(fc.nat(), { maxLength: 20 }), (count, order) => {
        const pages = pagesOf(epoch(4), 1, entries(count))
        let reports = NO_REPORTS
        const came = new Set<number>()
        for (const pick of [...order, ...pages.keys()]) {
          const page = pages[pick % pages.length]
          if (page) reports = withPage(reports, sender, page, 0)
          came.add(pick % pages.length)
          expect(entriesNow(reports)?.length).toBe(came.size === pages.length ? count : undefined)
        }
      }),
      { numRuns: 50 },
    )
  })

  test('of no volumes at all is a report', () => {
    expect(entriesNow(withReport(NO_REPORTS, 1, []))).toEqual([])
  })

  test('that was taken back does not come again with a late page', () => {
    const withdrawn = withReport(withReport(NO_REPORTS, 1, entries(1)), 2, entries(1, false))
    expect(entriesNow(withReport(withdrawn, 1, entries(1)))?.[0]?.hasFreezeMode).toBe(false)
  })

  test('stays while the next is still coming in', () => {
    const first = withReport(NO_REPORTS, 1, entries(1))
    const [page] = pagesOf(epoch(4), 2, entries(500, false))
    expect(page && entriesNow(withPage(first, sender, page, 0))?.length).toBe(1)
  })

  test('of an epoch, incarnation or process before is void with the first page of the new one', () => {
    const first = withReport(NO_REPORTS, 9, entries(1))
    const [page] = pagesOf(epoch(5), 10, entries(500))
    expect(page && entriesNow(withPage(first, sender, page, 0))).toBeUndefined()
    expect(entriesNow(withReport(first, 1, [], { ...sender, incarnation: incarnation('i2') }))).toBeUndefined()
    expect(entriesNow(withReport(first, 1, entries(3), { ...sender, life: 'y' }))?.length).toBe(3)
    expect(entriesNow(withReport(withReport(NO_REPORTS, 9, [], sender, 5), 10, entries(1)))).toBeUndefined()
  })

  test('is as old as the first of its pages', () => {
    const pages = pagesOf(epoch(4), 1, entries(ENTRIES_A_PAGE + 1))
    let reports = NO_REPORTS
    pages.forEach((page, index) => {
      reports = withPage(reports, sender, page, index * 700)
    })
    expect(entriesNow(reports, 1000)?.length).toBe(ENTRIES_A_PAGE + 1)
    expect(entriesNow(reports, 1001)).toBeUndefined()
  })
})
