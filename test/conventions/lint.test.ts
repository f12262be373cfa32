/** The linter's exceptions: lists of files and folders that may only shrink. */
import { describe, expect, test } from 'vitest'
import { breakersOf, configuration, exceptionsOf, idle } from './lint.ts'

const LONG = 'eslint/max-lines-per-function'
const CIRCLE = 'import/no-cycle'

/** Folders whose long functions and circles are being taken out on other branches. A name goes when its branch is merged, and does not come back. */
const notYet: readonly string[] = ['src/agent/', 'src/failover/', 'src/protocol/']

describe('the exceptions of the linter', () => {
  const exceptions = exceptionsOf(configuration())
  const inProduct = (rule: string, folders: readonly string[]): readonly string[] =>
    exceptions
      .filter((one) => one.rule === rule && one.files.startsWith('src/') && !folders.some((folder) => one.files.startsWith(folder)))
      .map(({ files }) => files)

  test('are all still needed', () => {
    const rules = [...new Set(exceptions.map(({ rule }) => rule))]
    expect(idle(exceptions, breakersOf(configuration(), rules))).toEqual([])
  })

  test('leave long functions in the stand-ins of the demo alone', () => {
    expect(inProduct(LONG, ['src/demo/', ...notYet])).toEqual([])
  })

  test('leave circles nowhere', () => {
    expect(inProduct(CIRCLE, notYet)).toEqual([])
  })

  test('do not weaken the rules: functions are counted whole, circles of types are circles', () => {
    expect(configuration().rules[LONG]).toEqual(['error', { max: 70, skipBlankLines: false, skipComments: false }])
    expect(configuration().rules[CIRCLE]).toEqual(['error', { ignoreTypes: false }])
  })
})

test('an exception that is needed no more is seen', () => {
  const exceptions = exceptionsOf({ overrides: [{ files: ['src/a/**', 'src/b.ts', 'src/c/x.ts'], rules: { rule: 'off' } }] })
  expect(
    idle(exceptions, [
      { rule: 'rule', files: 'src/a/deep/x.ts' },
      { rule: 'other', files: 'src/b.ts' },
    ]),
  ).toEqual([
    { rule: 'rule', files: 'src/b.ts' },
    { rule: 'rule', files: 'src/c/x.ts' },
  ])
})
