/** Imports point one way. */
import { describe, expect, test } from 'vitest'
import { modulesIn, textOf } from './files.ts'
import { circles, importsOf, wrongImports } from './imports.ts'
import { mayImport } from './table.ts'

describe('the direction of imports', () => {
  test('no module imports against it', () => {
    expect(modulesIn('src').flatMap((file) => wrongImports(file, textOf(file)))).toEqual([])
  })

  test('has no circles', () => {
    expect(circles(mayImport)).toEqual([])
    expect(circles({ a: ['b'], b: ['c'], c: ['a'], d: ['a'] })).toEqual(['a', 'b', 'c'])
  })

  test('names only folders that there are', () => {
    const modules = modulesIn('src')
    const isThere = (folder: string) => modules.some((file) => file === folder || file.startsWith(`${folder}/`))
    expect(Object.keys(mayImport).filter((folder) => !isThere(folder))).toEqual([])
    expect(
      Object.values(mayImport)
        .flat()
        .filter((folder) => !(folder in mayImport)),
    ).toEqual([])
  })
})

describe('a module that leaves the direction is seen', () => {
  const broken: readonly (readonly [string, string, string, string])[] = [
    ['the protocol that imports an adapter', 'src/protocol/step.ts', `import { x } from '../kubernetes/client.ts'`, 'src/kubernetes'],
    ['a type alone', 'src/protocol/step.ts', `import type { X } from '../drbd/model.ts'`, 'src/drbd'],
    ['the protocol that imports Node', 'src/protocol/step.ts', `import { readFileSync } from 'node:fs'`, 'node:fs'],
    ['an adapter that imports the agent', 'src/evidence/transport.ts', `import {\n  x,\n  y,\n} from '../agent/loop.ts'`, 'src/agent'],
    ['the product that imports the demo', 'src/agent/agent.ts', `export { x } from '../demo/link/tcp.ts'`, 'src/demo'],
    ['the product that imports the simulator', 'src/failover/plan/plan.ts', `const x = await import('../../sim/world.ts')`, 'src/sim'],
    ['anyone who imports the commands', 'src/agent/agent.ts', `import '../cli/main.ts'`, 'src/cli'],
    ['the observer that asks an agent', 'src/demo/observer/judge.ts', `import { step } from '../../protocol/step.ts'`, 'src/protocol'],
    ['a module that imports a test', 'src/witness/server.ts', `import { suite } from '../../test/contract/witness.ts'`, 'test/contract'],
    ['a new folder', 'src/helpers/x.ts', '', 'not in the table'],
  ]
  test.each(broken)('%s', (_name, file, text, part) => {
    const wrong = wrongImports(file, text)
    expect(wrong).toHaveLength(1)
    expect(wrong[0]).toContain(part)
  })

  test('what the direction allows is left alone', () => {
    expect(wrongImports('src/agent/agent.ts', `import { step } from '../protocol/step.ts'\nimport { z } from 'zod'`)).toEqual([])
    expect(wrongImports('src/drbd/survivor.takeover.test.ts', `import { x } from '../demo/storage/testbed.ts'`)).toEqual([])
    expect(importsOf(`// from 'here'\nconst text = "import x from 'y'"\n`)).toEqual([])
  })
})
