/** Adds up vitest's JSON reports of a folder and prints `roomfence: N passed, N failed, N skipped`; exits 1 unless all is well. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

interface Report {
  readonly success: boolean
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: readonly { readonly status: string; readonly assertionResults: readonly unknown[] }[]
}

const [folder = '.'] = process.argv.slice(2)
const reports = readdirSync(folder).map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Report)
const sum = (count: (report: Report) => number): number => reports.reduce((total, report) => total + count(report), 0)
const passed = sum(({ numPassedTests }) => numPassedTests)
// a file that could not even be read as tests has no test to count
const broken = sum(({ testResults }) => testResults.filter(({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0).length)
const failed = sum(({ numFailedTests }) => numFailedTests) + broken
const skipped = sum(({ numPendingTests, numTodoTests }) => numPendingTests + numTodoTests)
process.stdout.write(`roomfence: ${passed} passed, ${failed} failed, ${skipped} skipped\n`)
// both reports, or a run that ended before its report would pass
if (reports.length < 2 || failed > 0 || passed === 0 || !reports.every(({ success }) => success)) process.exitCode = 1
