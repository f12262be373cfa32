/** Builds Helm before the tests, and says where it is: `HELM=$(node test/cluster/build/helm.ts) npm run render`. */
import { helmProgram } from './programs.ts'

try {
  process.stdout.write(`${await helmProgram()}\n`)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
