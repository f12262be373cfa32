/** Clocks, timers, chance and the network are used by adapters alone. */
import { describe, expect, test } from 'vitest'
import { ambientUses } from './ambient.ts'
import { modulesIn, textOf } from './files.ts'
import { adapters } from './table.ts'

const isAdapter = (file: string): boolean =>
  adapters.some((adapter) => file === adapter || (adapter.endsWith('/') && file.startsWith(adapter)))
const product = modulesIn('src').filter((file) => !file.endsWith('.test.ts'))

describe('what decides is given the time', () => {
  test('no module outside the adapters reads a clock, sets a timer, rolls dice or calls the network', async () => {
    const wrong: string[] = []
    for (const file of product) {
      if (isAdapter(file)) continue
      for (const use of await ambientUses(textOf(file)))
        wrong.push(`${file} uses ${use}: give it as an argument, or list the file as an adapter`)
    }
    expect(wrong).toEqual([])
  })

  test('every file that is listed as an adapter needs to be', async () => {
    const idle: string[] = []
    for (const adapter of adapters) {
      if (adapter.endsWith('/')) continue
      if (!product.includes(adapter) || (await ambientUses(textOf(adapter))).length === 0) idle.push(adapter)
    }
    expect(idle).toEqual([])
  })
})

describe('each of them is seen', () => {
  test.each([
    ['Date.now', 'export const at = () => Date.now()'],
    ['new Date()', 'export const at = new Date()'],
    ['new Date()', 'export const at = new Date'],
    ['performance', 'export const at: number = performance.now()'],
    ['Math.random', 'export const chance = Math.random'],
    ['crypto', 'export const id = crypto.randomUUID()'],
    ['setTimeout', 'export const later = (work: () => void) => setTimeout(work, 1)'],
    ['setInterval', 'setInterval(() => {}, 1)'],
    ['setImmediate', 'setImmediate(() => {})'],
    ['fetch', 'export const page = await fetch("https://example.com")'],
    ['globalThis', 'export const at = globalThis["Date"].now()'],
    ['process.hrtime', 'export const at = process.hrtime.bigint()'],
    ['AbortSignal.timeout', 'export const signal = AbortSignal.timeout(5)'],
    ['node:timers/promises', `import { setTimeout as sleep } from 'node:timers/promises'\nawait sleep(1)`],
    ['node-fetch', `import call from 'node-fetch'\nawait call('')`],
  ])('%s', async (name, text) => {
    expect(await ambientUses(text)).toContain(name)
  })

  test('a name of the same letters that is no global is not', async () => {
    const text = `// Date.now() in a comment
      export const said = 'performance.now() in a text'
      export const later = (setTimeout: (work: () => void) => void, fetch: () => void) => setTimeout(fetch)
      export const old = (atMs: number, clock: { performance: number }) => new Date(atMs + clock.performance)`
    expect(await ambientUses(text)).toEqual([])
  })
})
