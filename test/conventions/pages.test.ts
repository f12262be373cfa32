/** The pages that code and pages refer to are there, with the headings that they name. */
import { existsSync } from 'node:fs'
import { posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { committedFiles, modulesIn, textOf } from './files.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

interface Reference {
  readonly page: string
  readonly heading: string
}

/** Headings named after a page, as in `docs/x.md, "Permit", "Containment"`. */
export const headingsNamed = (text: string): readonly Reference[] =>
  [...text.matchAll(/\b(docs\/[\w/-]+\.md)((?:,?\s*(?:and\s*)?(?:\*\s*)?"[^"\n]+")+)/g)].flatMap(([, page = '', list = '']) =>
    [...list.matchAll(/"([^"]+)"/g)].map(([, heading = '']) => ({ page, heading })),
  )

const headingsOf = (page: string): readonly string[] =>
  [...page.matchAll(/^#{1,4} (.+)$|^\s*(?:\d\.|-) \*\*([^*]+?)\.?\*\*/gm)].map(([, a, b]) => a ?? b ?? '')

/** A reference may shorten a heading: "Proof" for "Proof that the other side has stopped". */
const isThere = (heading: string, headings: readonly string[]): boolean =>
  headings.some((one) => one === heading || one.startsWith(`${heading} `))

/** Links of a page to other files, without those to the web. */
export const linksOf = (page: string): readonly string[] =>
  [...page.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, to = '']) => to).filter((to) => !/^[a-z]+:/.test(to))

describe('pages', () => {
  const modules = ['src', 'test', 'deploy'].flatMap(modulesIn).filter((file) => !file.startsWith('test/conventions/'))
  const references = modules.flatMap((file) => headingsNamed(textOf(file)).map((reference) => ({ file, ...reference })))

  test('the headings that modules name are there', () => {
    const missing = references.filter(({ page, heading }) => !isThere(heading, headingsOf(textOf(page))))
    expect(missing).toEqual([])
    expect(references.length).toBeGreaterThan(20)
  })

  test('modules name the protocol by its pages', () => {
    const named = new Set(modules.flatMap((file) => textOf(file).match(/\bdocs\/protocol\/[\w-]+\.md\b/g) ?? []))
    const pages = committedFiles().filter((file) => file.startsWith('docs/protocol/'))
    expect(pages.length).toBeGreaterThan(7)
    expect(pages.filter((page) => !named.has(page))).toEqual([])
  })

  test('every page that a committed file names is there', () => {
    const files = committedFiles().filter((file) => /\.(?:ts|md|yaml|json)$|Dockerfile$/.test(file) && file !== 'package-lock.json')
    const missing = files.flatMap((file) =>
      [...new Set(textOf(file).match(/\bdocs\/[\w/-]+\.md\b/g))]
        .filter((page) => !existsSync(`${root}${page}`) && !file.startsWith('test/conventions/'))
        .map((page) => `${file}: ${page}`),
    )
    expect(missing).toEqual([])
  })

  test('links between pages lead somewhere', () => {
    const pages = committedFiles().filter((file) => file.endsWith('.md'))
    const broken = pages.flatMap((page) =>
      linksOf(textOf(page))
        .filter((to) => !existsSync(`${root}${posix.join(posix.dirname(page), to)}`))
        .map((to) => `${page}: ${to}`),
    )
    expect(broken).toEqual([])
  })
})

describe('what is missing is seen', () => {
  test('a heading that a comment names', () => {
    const text = `/** What a door is (docs/x/permit.md, "Quarantine", "After a restart"; docs/y.md, "Proof"). Pure. */`
    expect(headingsNamed(text)).toEqual([
      { page: 'docs/x/permit.md', heading: 'Quarantine' },
      { page: 'docs/x/permit.md', heading: 'After a restart' },
      { page: 'docs/y.md', heading: 'Proof' },
    ])
    expect(isThere('Permit', ['Permits'])).toBe(false)
    expect(isThere('Proof', ['Proof that it stopped'])).toBe(true)
  })

  test('a link', () => {
    expect(linksOf('see [this](other.md#part), [that](https://example.com)')).toEqual(['other.md'])
  })
})
