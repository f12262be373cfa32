/** A name that a module of the product exports means one thing. */
import { expect, test } from 'vitest'
import { modulesIn, textOf } from './files.ts'

const EXPORTED = /^export (?:abstract |async )?(?:function\*?|const|let|class|interface|type|enum) (\w+)/gm

/** What ships: the simulator, the scenario files and the demo are a world of their own each. */
const product = modulesIn('src').filter((file) => !/\.test\.ts$|^src\/(?:sim|demo|scenario)\//.test(file))

/** Not yet: twice until the branches that join or rename them are merged. A name goes, and does not come back. */
const notYet: readonly string[] = ['Carrying', 'DiskState', 'Join', 'Step', 'Surroundings']

const exportedBy = (text: string): ReadonlySet<string> => new Set([...text.matchAll(EXPORTED)].map(([, name = '']) => name))

/** Names with the files that export each, where they are more than one. */
function exportedTwice(files: readonly { readonly file: string; readonly text: string }[]): ReadonlyMap<string, readonly string[]> {
  const filesOf = Map.groupBy(
    files.flatMap(({ file, text }) => [...exportedBy(text)].map((name) => ({ file, name }))),
    ({ name }) => name,
  )
  return new Map([...filesOf].filter(([, found]) => found.length > 1).map(([name, found]) => [name, found.map(({ file }) => file)]))
}

test('no name is exported by two modules of the product', () => {
  const twice = exportedTwice(product.map((file) => ({ file, text: textOf(file) })))
  expect([...twice].filter(([name]) => !notYet.includes(name))).toEqual([])
  expect(notYet.filter((name) => !twice.has(name))).toEqual([])
})

test('a name in two modules is seen, whatever it is', () => {
  const files = [
    { file: 'a.ts', text: 'export function step() {}\nexport interface Step {}\n' },
    { file: 'b.ts', text: 'export async function step() {}\nexport type Step = 1\nexport function step(x: 1) {}\nconst other = 1' },
    { file: 'c.ts', text: 'export { step } from "./a.ts"\nconst Step = 1' },
  ]
  expect([...exportedTwice(files)]).toEqual([
    ['step', ['a.ts', 'b.ts']],
    ['Step', ['a.ts', 'b.ts']],
  ])
})
