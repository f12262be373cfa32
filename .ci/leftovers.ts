/** Looks for processes that the cluster tests started and did not end; kills none, names all, exits 1 if there is any. */
import { markedProcesses } from '../test/cluster/processes.ts'

const left = markedProcesses()
for (const { pid, command, directory } of left) process.stdout.write(`left running by ${directory}: ${pid} ${command}\n`)
process.exitCode = left.length === 0 ? 0 : 1
