/** The bundle that ships, built once for all plays: what is tested is what a cluster runs, and it starts in a third of the time of the sources. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { buildBundle } from '../../deploy/build.ts'

declare module 'vitest' {
  interface ProvidedContext {
    readonly bundle: { readonly program: string; readonly compileCache: string }
  }
}

export default async function setUp({ provide }: TestProject): Promise<() => void> {
  const directory = mkdtempSync(join(tmpdir(), 'roomfence-bundle-'))
  const [program, compileCache] = [join(directory, 'roomfence.mjs'), join(directory, 'compile-cache')]
  await buildBundle(program)
  // Agents of the demo are killed, and only a program that ends by itself leaves its compiled code behind.
  execFileSync(process.execPath, [program, '--version'], { env: { ...process.env, NODE_COMPILE_CACHE: compileCache } })
  provide('bundle', { program, compileCache })
  return () => rmSync(directory, { recursive: true, force: true })
}
