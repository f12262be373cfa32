/** Finds the uses of clocks, timers, chance and the network in a module. */
import { transform } from 'esbuild'
import { importsOf } from './imports.ts'

/** Globals that make a module depend on when and where it runs. */
const ambient = [
  'Date.now',
  'performance',
  'Math.random',
  'crypto',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'fetch',
  'globalThis',
  'process.hrtime',
  'AbortSignal.timeout',
] as const

const ambientModules = new Set([
  'node:timers',
  'node:timers/promises',
  'timers',
  'timers/promises',
  'node:perf_hooks',
  'perf_hooks',
  'node-fetch',
])

const markOf = (name: string): string => `AMBIENT_${name.replaceAll('.', '_')}`

/**
 * Names of what is used. esbuild's `define` replaces a global only where it is one: a parameter or a field of the same name, a comment or a
 * text is left alone.
 */
export async function ambientUses(text: string): Promise<readonly string[]> {
  const { code } = await transform(text, {
    loader: 'ts',
    target: 'esnext',
    minifyWhitespace: true,
    legalComments: 'none',
    define: Object.fromEntries(ambient.map((name) => [name, markOf(name)])),
  })
  const globals = ambient.filter((name) => new RegExp(`\\b${markOf(name)}\\b`).test(code))
  const now = /\bnew Date(?:\(\)|(?!\s*\())/.test(code) ? ['new Date()'] : []
  return [...globals, ...now, ...importsOf(text).filter((specifier) => ambientModules.has(specifier))]
}
