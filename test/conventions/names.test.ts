/** One finds the test of a module beside it, one name is one thing, and what helps tests lies in one place. */
import { describe, expect, test } from 'vitest'
import { modulesIn, textOf } from './files.ts'
import { borrowed, namesakes, strays } from './names.ts'
import { suitesMayImport } from './table.ts'

const modules = ['src', 'test'].flatMap(modulesIn)

describe('tests and what helps them', () => {
  test('stand beside the module that they are called after, or in test', () => {
    expect(strays(modules)).toEqual([])
  })

  test('share no name with something else', () => {
    expect(namesakes(modules)).toEqual([])
  })

  test('borrow from test/support, and from another folder only what the table says', () => {
    expect(modulesIn('test').flatMap((file) => borrowed(file, textOf(file), suitesMayImport))).toEqual([])
  })
})

describe('what breaks this is seen', () => {
  test('a test that is called after no module', () => {
    const files = [
      'src/a/plan.ts',
      'src/a/plan.test.ts',
      'src/a/plan.of-learners.test.ts',
      'src/a/planning.test.ts',
      'test/a/story.test.ts',
    ]
    expect(strays(files)).toEqual(['src/a/planning.test.ts'])
  })

  test('two files of one name', () => {
    const files = ['src/a/x.ts', 'src/a/x.test.ts', 'src/b/x.ts', 'src/b/x.test.ts', 'test/a/bed.ts', 'test/b/bed.ts', 'src/c/bed.ts']
    expect(namesakes(files)).toEqual(['test/a/bed.ts, test/b/bed.ts'])
    expect(namesakes([...files, 'test/c/x.test.ts'])).toContain('src/a/x.test.ts, src/b/x.test.ts, test/c/x.test.ts')
  })

  test('a helper of another folder', () => {
    const text = `import { bed } from '../b/bed.ts'\nimport { pair } from '../support/pair.ts'\nimport { x } from '../../src/a/x.ts'\n`
    expect(borrowed('test/a/story.test.ts', text, {})).toHaveLength(1)
    expect(borrowed('test/a/story.test.ts', text, { 'test/a': ['test/b'] })).toEqual([])
  })
})
