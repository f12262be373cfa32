/** Programs of a build: their output line by line, and what they said last where they fail. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export type Tell = (line: string) => void

interface RunOptions {
  readonly directory?: string
  readonly onLine?: Tell
  readonly limitMs?: number
}

/** Its standard output, trimmed. @throws with the end of all that it said. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { directory, onLine, limitMs } = options
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(directory === undefined ? {} : { cwd: directory }),
    ...(limitMs === undefined ? {} : { timeout: limitMs }),
  })
  const recent: string[] = []
  let output = ''
  child.stdout.on('data', (chunk) => (output += String(chunk)))
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on('line', (line) => {
      recent.push(line)
      if (recent.length > 40) recent.shift()
      onLine?.(line)
    })
  const stop = (): boolean => child.kill()
  process.once('exit', stop)
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  process.removeListener('exit', stop)
  if (code !== 0) throw new Error(`${program} ${args[0] ?? ''}: ended with ${code ?? signal ?? 'an error'}:\n${recent.join('\n')}`)
  return output.trim()
}

export type Buildah = (args: readonly string[], options?: RunOptions) => Promise<string>

/** With a storage of its own below the folder, so that nothing of the machine's is used or changed. */
export const buildahIn =
  (folder: string): Buildah =>
  (args, options) =>
    run('buildah', ['--root', join(folder, 'storage'), '--runroot', join(folder, 'run'), '--storage-driver', 'overlay', ...args], options)
