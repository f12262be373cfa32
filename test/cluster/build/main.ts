/** Builds the control plane's programs before the tests, and says where they are: `node test/cluster/build/main.ts`. */
import { dirname } from 'node:path'
import { controlPlanePrograms } from './programs.ts'

try {
  const programs = await controlPlanePrograms(true)
  process.stdout.write(`${[...new Set(['kube-apiserver', 'virt-controller'].map((name) => dirname(programs(name))))].join('\n')}\n`)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
