/** Blocks that V8 counted: told by file and line, and added up where V8 left some out. */
import { describe, expect, it } from 'vitest'
import { addCoverage, countBlocks, coverageOf, describeCoverage } from './coverage.ts'

const text = 'const f = (x) => {\n  if (x) {\n    return 1\n  }\n  return 2\n}\n'
const file = 'src/protocol/step.ts'
const range = (startOffset: number, endOffset: number, count: number) => ({ startOffset, endOffset, count })
const script = (...ranges: ReturnType<typeof range>[]) => ({
  url: `file:///somewhere/${file}`,
  functions: [
    { functionName: '', ranges: [range(0, text.length, 1)] },
    { functionName: 'f', ranges: [range(10, 59, 5), ...ranges] },
  ],
})

describe('coverage of the protocol', () => {
  it('counts function bodies and the blocks in them, not modules and not other files', () => {
    const other = { ...script(), url: 'file:///somewhere/src/sim/world/world.ts' }
    const coverage = coverageOf([script(range(28, 46, 0), range(46, 58, 5)), other])
    expect(coverage).toEqual({ [file]: { covered: ['10-59', '46-58'], uncovered: ['28-46'] } })
    expect(countBlocks(coverage)).toEqual({ covered: 2, total: 3 })
  })

  it('takes a block that one run left out as run as often as what is around it', () => {
    const once = coverageOf([script(range(28, 46, 0), range(46, 58, 5))])
    const always = coverageOf([script(range(46, 58, 0))])
    const never = coverageOf([{ ...script(), functions: [{ functionName: 'f', ranges: [range(10, 59, 0)] }] }])
    expect(addCoverage(once, always)).toEqual({ [file]: { covered: ['10-59', '28-46', '46-58'], uncovered: [] } })
    expect(addCoverage(once, never)).toEqual(once)
    expect(addCoverage(never, always)).toEqual(addCoverage(always, never))
    expect(addCoverage({}, once)).toEqual(once)
  })

  it('takes nothing in a block that never ran as run', () => {
    const never = coverageOf([script(range(28, 46, 0))])
    const inside = coverageOf([script(range(28, 46, 2), range(34, 44, 0))])
    expect(addCoverage(never, inside)).toEqual({ [file]: { covered: ['10-59', '28-46'], uncovered: ['34-44'] } })
  })

  it('names each block that never ran by its line and its first words', () => {
    const coverage = coverageOf([script(range(28, 46, 0))])
    expect(describeCoverage(coverage, () => text)).toEqual([
      'coverage of protocol branches: 1 of 2 (50.0 %)',
      '  src/protocol/step.ts: 1 of 2',
      '    src/protocol/step.ts:3-4  return 1',
    ])
  })
})
