/** Every dependency has its reason, and its exact version. */
import { expect, test } from 'vitest'
import { textOf } from './files.ts'

interface Package {
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
}

const namesIn = (page: string): readonly string[] => [...page.matchAll(/^\| `([^`]+)` \| .{4,} \|$/gm)].map(([, name = '']) => name)
const { dependencies, devDependencies } = JSON.parse(textOf('package.json')) as Package

test('docs/dependencies.md has one line for each', () => {
  const [, program = '', development = ''] = textOf('docs/dependencies.md').split(/^## /m)
  expect(namesIn(program)).toEqual(Object.keys(dependencies).toSorted())
  expect(namesIn(development)).toEqual(Object.keys(devDependencies).toSorted())
})

test('a line without a reason is none', () => {
  expect(namesIn('| `left-pad` |  |\n| `zod` | one schema for what comes in |')).toEqual(['zod'])
})

test('versions are exact', () => {
  const versions = { ...dependencies, ...devDependencies }
  expect(Object.entries(versions).filter(([, version]) => !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version))).toEqual([])
})
