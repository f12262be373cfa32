/** The pages that code and pages refer to are there, with the headings that they name. */
import { existsSync } from 'node:fs'
import { posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { committedFiles, modulesIn, textOf } from './files.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Headings named after a page, as in `docs/x.md, "Permit", "Containment"`. */
export const headingsNamed = (text: string, page: string): readonly string[] =>
  [...text.matchAll(new RegExp(`${page.replaceAll('.', '\\.')}((?:,?\\s*(?:and\\s*)?(?:\\*\\s*)?"[^"\\n]+")+)`, 'g'))].flatMap(
    ([, list = '']) => [...list.matchAll(/"([^"]+)"/g)].map(([, heading = '']) => heading),
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
  const protocol = headingsOf(textOf('docs/protocol.md'))
  const modules = ['src', 'test', 'deploy'].flatMap(modulesIn).filter((file) => !file.startsWith('test/house/'))

  test('the headings of docs/protocol.md that modules name are there', () => {
    const missing = modules.flatMap((file) =>
      headingsNamed(textOf(file), 'docs/protocol.md')
        .filter((heading) => !isThere(heading, protocol))
        .map((heading) => `${file}: "${heading}"`),
    )
    expect(missing).toEqual([])
    expect(modules.flatMap((file) => headingsNamed(textOf(file), 'docs/protocol.md')).length).toBeGreaterThan(20)
  })

  test('every page that a committed file names is there', () => {
    const files = committedFiles().filter((file) => /\.(?:ts|md|yaml|json)$|Dockerfile$/.test(file) && file !== 'package-lock.json')
    const missing = files.flatMap((file) =>
      [...new Set(textOf(file).match(/\bdocs\/[\w/-]+\.md\b/g))]
        .filter((page) => !existsSync(`${root}${page}`) && !file.startsWith('test/house/'))
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
    const text = `/** What a door is (docs/protocol.md, "Permit", "Proof"). Pure. */`
    expect(headingsNamed(text, 'docs/protocol.md')).toEqual(['Permit', 'Proof'])
    expect(isThere('Permit', ['Permits'])).toBe(false)
    expect(isThere('Proof', ['Proof that it stopped'])).toBe(true)
  })

  test('a link', () => {
    expect(linksOf('see [this](other.md#part), [that](https://example.com)')).toEqual(['other.md'])
  })
})
