/** Plain words: sentences that one can read, lines that fit, and stories in place of seed numbers (CONTRIBUTING.md, "Conventions"). */
import { describe, expect, test } from 'vitest'
import { committedFiles, modulesIn, textOf } from './files.ts'

const LONGEST_SENTENCE = 30
/** One sentence in so many may be longer. */
const ONE_LONG_IN = 20
const WIDEST_LINE = 120
/** Fewer words are a heading or a label, not a sentence. */
const SHORTEST_SENTENCE = 4

const isDecision = (file: string): boolean => file.startsWith('docs/decisions/')
const isPage = (file: string): boolean => /^(?:docs\/.+|README|CONTRIBUTING|SECURITY)\.md$/.test(file)

/** As a reader takes them: code blocks and tables are none, and each item of a list begins anew. */
export function sentencesOf(page: string): readonly string[] {
  const paragraphs = page.replaceAll(/```[\s\S]*?```/g, '').split(/\n\s*\n|\n(?=[-|*\d])/)
  return paragraphs
    .filter((paragraph) => !paragraph.trimStart().startsWith('|'))
    .flatMap((paragraph) => paragraph.split(/(?<=[.!?])\s/))
    .filter((sentence) => wordsIn(sentence) >= SHORTEST_SENTENCE)
}

const wordsIn = (sentence: string): number => sentence.split(/\s+/).filter((word) => word !== '').length

export const isTooLong = (sentence: string): boolean => wordsIn(sentence) > LONGEST_SENTENCE

/** Rows of tables cannot be broken. */
export const tooWide = (page: string): readonly string[] =>
  page.split('\n').filter((line) => line.length > WIDEST_LINE && !line.startsWith('|'))

/** Not the option `--seeds 1000`, which counts them. */
const seedNumber = /(?<!-)\bseeds? (?:number )?\d/i

/** Lines of a module whose comment names a seed: under another generator it has another schedule, so the comment tells the story instead. */
export const commentsWithSeeds = (module: string): readonly string[] =>
  module.split('\n').filter((line) => {
    const comment = /^\s*(?:\/?\*|\/\/).*|(?<=\s)\/\/ .*/.exec(line)?.[0]
    return comment !== undefined && seedNumber.test(comment)
  })

const pages = committedFiles().filter(isPage)

describe('pages', () => {
  test(`have at most one sentence in ${ONE_LONG_IN} of more than ${LONGEST_SENTENCE} words`, () => {
    const sentences = pages.filter((page) => !isDecision(page)).flatMap((page) => sentencesOf(textOf(page)))
    const long = sentences.filter(isTooLong).toSorted((a, b) => wordsIn(b) - wordsIn(a))
    expect(sentences.length).toBeGreaterThan(500)
    expect(long.length, long.slice(0, 4).join('\n\n')).toBeLessThanOrEqual(sentences.length / ONE_LONG_IN)
  })

  test(`have lines of at most ${WIDEST_LINE} columns`, () => {
    expect(pages.flatMap((page) => tooWide(textOf(page)).map((line) => `${page}: ${line}`))).toEqual([])
  })

  test('name no seed: the list of seeds is src/sim/schedule/seeds.ts', () => {
    const named = committedFiles()
      .filter((file) => file.endsWith('.md'))
      .flatMap((page) => (textOf(page).match(new RegExp(seedNumber, 'gi')) ?? []).map((text) => `${page}: ${text}`))
    expect(named).toEqual([])
  })

  test('state the conventions of commits', () => {
    expect(textOf('CONTRIBUTING.md')).toMatch(/## Commits[^#]*at most 72 characters/)
  })
})

test('comments of the product name no seed', () => {
  const modules = modulesIn('src').filter((file) => file !== 'src/sim/schedule/seeds.ts')
  expect(modules.flatMap((file) => commentsWithSeeds(textOf(file)).map((line) => `${file}: ${line.trim()}`))).toEqual([])
})

describe('what is hard to read is seen', () => {
  const long = `${'word '.repeat(LONGEST_SENTENCE)}end.`

  test('a sentence that is too long, in a paragraph and in a list', () => {
    expect(sentencesOf(`Short is good, is it not? ${long}`).filter(isTooLong)).toHaveLength(1)
    expect(sentencesOf(`- One item of a list\n- ${long}`).filter(isTooLong)).toHaveLength(1)
  })

  test('but no table and no code', () => {
    expect(sentencesOf(`| ${long} |\n\n\`\`\`\n${long}\n\`\`\`\n`).filter(isTooLong)).toEqual([])
  })

  test('a line that is too wide', () => {
    expect(tooWide(`${'x'.repeat(WIDEST_LINE + 1)}\n| ${'x'.repeat(WIDEST_LINE)} |`)).toHaveLength(1)
  })

  test.each([
    ['// P1 (hostile seed 241)', 1],
    ['  * found by seeds 12 and 13', 1],
    ['const a = 1 // seed 4', 1],
    ["const text = 'from seed 1'", 0],
    ['/** Any seed will do. */', 0],
  ])('%s', (line, count) => {
    expect(commentsWithSeeds(line)).toHaveLength(count)
  })
})
