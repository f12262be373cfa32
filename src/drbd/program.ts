/** Running drbdsetup once: with a time limit, an output limit and typed failures. Adapter; decides nothing. */
import { spawn } from 'node:child_process'

export interface ProgramLimits {
  /** After it the program is killed and the call fails, even if the kernel keeps the process (a command that hangs in the kernel cannot be killed). */
  readonly timeoutMs: number
  readonly outputLimitBytes: number
}

export interface ProgramResult {
  /** 0 proves nothing by itself: `secondary --force` says so with no module loaded. */
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export type DrbdsetupErrorCode = 'not-found' | 'not-startable' | 'timeout' | 'output-limit' | 'killed'

class DrbdsetupError extends Error {
  readonly code: DrbdsetupErrorCode

  constructor(code: DrbdsetupErrorCode, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'DrbdsetupError'
    this.code = code
  }
}

/** @throws DrbdsetupError where the program did not come to an exit code of its own. */
export function runProgram(program: string, parameters: readonly string[], limits: ProgramLimits): Promise<ProgramResult> {
  const shown = [program, ...parameters].join(' ')
  return new Promise((resolve, reject) => {
    const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, LC_ALL: 'C' } })
    const chunks: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] }
    let size = 0
    const giveUp = (error: DrbdsetupError) => {
      clearTimeout(timer)
      child.kill('SIGKILL')
      // Nobody waits for a process that the kernel does not let go.
      child.stdout.destroy()
      child.stderr.destroy()
      child.unref()
      reject(error)
    }
    const timer = setTimeout(
      () => giveUp(new DrbdsetupError('timeout', `"${shown}" took longer than ${limits.timeoutMs} ms`)),
      limits.timeoutMs,
    )
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > limits.outputLimitBytes)
          giveUp(new DrbdsetupError('output-limit', `"${shown}" printed more than ${limits.outputLimitBytes} bytes`))
        else chunks[stream].push(chunk)
      })
    }
    child.once('error', (cause: NodeJS.ErrnoException) => {
      const isMissing = cause.code === 'ENOENT'
      const next = isMissing ? 'is it installed, and is drbd.program its path?' : 'may it be executed?'
      giveUp(
        new DrbdsetupError(
          isMissing ? 'not-found' : 'not-startable',
          `cannot run ${program} (${cause.code ?? cause.message}): ${next}`,
          cause,
        ),
      )
    })
    child.once('close', (exitCode, signal) => {
      clearTimeout(timer)
      if (exitCode === null) reject(new DrbdsetupError('killed', `"${shown}" was ended by ${signal ?? 'a signal'}`))
      else resolve({ exitCode, stdout: text(chunks.stdout), stderr: text(chunks.stderr) })
    })
  })
}

const text = (chunks: readonly Buffer[]): string => Buffer.concat(chunks).toString('utf8')
