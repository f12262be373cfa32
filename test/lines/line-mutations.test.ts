/** The list of mutations follows the code and the lines; line-mutations.main.ts plays them, by hand. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { stages } from './all.ts'
import { elsewhere } from './lines.ts'
import { mutations } from './line-mutations.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

test('every line of the embedded world has a mutation, and each mutation such a line', () => {
  const played = stages.flatMap((stage) =>
    stage.lines.flatMap((line) => (elsewhere(stage, line, 'embedded') === undefined ? [line.id] : [])),
  )
  expect([...new Set(mutations.map(({ line }) => line))].toSorted()).toEqual(played.toSorted())
})

test('each mutation finds its place in the code once, and changes it', () => {
  const lost = mutations.filter(({ file, find, replace }) => {
    const places = readFileSync(join(root, file), 'utf8').split(find).length - 1
    return places !== 1 || replace === find
  })
  expect(lost).toEqual([])
})
