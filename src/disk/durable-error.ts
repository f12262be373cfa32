/** What can be wrong with state on disk; each error names the file and the next step. */

/**
 * `locked`: another live program holds the directory. `lost`: there was a file and it is gone. `corrupt`: its bytes are not what was written.
 * `invalid`: the bytes are right, their content is not allowed. `no-space`, `denied`, `io`: the operating system refused.
 */
export type DurableErrorCode = 'locked' | 'lost' | 'corrupt' | 'invalid' | 'no-space' | 'denied' | 'io'

export class DurableError extends Error {
  override readonly name = 'DurableError'
  readonly code: DurableErrorCode
  readonly file: string

  constructor(code: DurableErrorCode, file: string, seen: string, nextStep: string, cause?: unknown) {
    super(`${file}: ${seen}. Next step: ${nextStep}`, { cause })
    this.code = code
    this.file = file
  }
}

export const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined

const NO_SPACE = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE'])
const DENIED = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EISDIR'])

/** A typed error for what the operating system said about `file`. */
export function refusedBySystem(file: string, doing: string, cause: unknown): DurableError {
  const errno = errnoOf(cause) ?? String(cause)
  if (NO_SPACE.has(errno))
    return new DurableError('no-space', file, `${doing} failed: ${errno}`, 'free space on its file system; it is tried again', cause)
  if (DENIED.has(errno)) return new DurableError('denied', file, `${doing} failed: ${errno}`, 'let this user write there', cause)
  return new DurableError(
    'io',
    file,
    `${doing} failed: ${errno}`,
    'check the disk (kernel log, SMART); a node without a sound disk must not vote',
    cause,
  )
}
