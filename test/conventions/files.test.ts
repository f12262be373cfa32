/** What is committed: files of a size that one can read, and nothing that is true of one machine only. */
import { describe, expect, test } from 'vitest'
import { committedFiles, modulesIn, textOf } from './files.ts'
import { mostLines } from './table.ts'

const linesOf = (text: string): number => text.split('\n').length - 1

/** Put together here, so that this file does not hold what it looks for. */
const machinePaths = ['work', 'root'].map((folder) => `/${folder}/`)
const machinePath = new RegExp(`(?<![\\w.~}*/-])(?:${machinePaths.join('|')})`)

const isRegistryLine = (line: string): boolean => /"resolved":|registry\s*=|\b_auth\b|_authToken/.test(line)

const linesWith = (file: string, text: string, isWrong: (line: string) => boolean): readonly string[] =>
  text.split('\n').flatMap((line, index) => (isWrong(line) ? [`${file}:${index + 1}: ${line.trim().slice(0, 120)}`] : []))

const isText = (file: string): boolean => !/\.(?:png|gz|ico|woff2?)$/.test(file)

describe('committed files', () => {
  const files = committedFiles()

  test(`of TypeScript have at most ${mostLines} lines`, () => {
    const modules = ['src', 'test', 'deploy'].flatMap(modulesIn)
    expect(modules.length).toBeGreaterThan(100)
    expect(modules.map((file) => ({ file, lines: linesOf(textOf(file)) })).filter(({ lines }) => lines > mostLines)).toEqual([])
  })

  test('name no path of the machine that they were written on', () => {
    expect(files.filter(isText).flatMap((file) => linesWith(file, textOf(file), (line) => machinePath.test(line)))).toEqual([])
  })

  test('name no registry: packages come from whatever registry npm is set up with', () => {
    const found = ['package-lock.json', 'package.json', '.npmrc'].flatMap((file) => linesWith(file, textOf(file), isRegistryLine))
    expect(found).toEqual([])
  })

  test('are what git has, and no installed or built file is among them', () => {
    expect(files).toContain('package-lock.json')
    expect(files.filter((file) => /(?:^|\/)(?:node_modules|dist|coverage)\//.test(file))).toEqual([])
  })
})

describe('what is not allowed is seen', () => {
  test.each([
    [`const folder = '${machinePaths[0]}main'`, true],
    [`cd ${machinePaths[1]}.cache`, true],
    [`"file://${machinePaths[0]}x"`, false],
    [`a rest${machinePaths[0]}ratio`, false],
    [`https://example.com${machinePaths[1]}of`, false],
  ])('%s: %s', (line, isWrong) => {
    expect(machinePath.test(line)).toBe(isWrong)
  })

  test.each([
    ['      "resolved": "https://registry.example/x.tgz",', true],
    ['registry=https://registry.example/', true],
    ['omit-lockfile-registry-resolved=true', false],
  ])('%s: %s', (line, isWrong) => {
    expect(isRegistryLine(line)).toBe(isWrong)
  })

  test('a file that is too long', () => {
    expect(linesOf('x\n'.repeat(mostLines + 1))).toBeGreaterThan(mostLines)
  })
})
