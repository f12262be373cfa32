/** What can go wrong with a call to the API server, as one typed error (Kubernetes API conventions, "Response Status Kind"). */

export type KubeErrorCode =
  | 'not-found'
  | 'conflict'
  | 'already-exists'
  | 'invalid'
  | 'forbidden'
  | 'unauthorized'
  | 'too-many-requests'
  | 'unavailable'
  | 'timeout'
  | 'gone'
  | 'bad-request'
  | 'server-error'
  | 'aborted'
  | 'bad-answer'

export interface KubeErrorDetail {
  readonly method: string
  readonly path: string
  /** HTTP status; 0 when there was no answer. */
  readonly status: number
  /** `reason` of the Status object, or the network error's code (`ECONNREFUSED`). */
  readonly reason: string
  /** How long the server asks to wait (Retry-After header or `details.retryAfterSeconds`). */
  readonly retryAfterMs?: number
  readonly cause?: unknown
}

export class KubeError extends Error {
  readonly code: KubeErrorCode
  readonly method: string
  readonly path: string
  readonly status: number
  readonly reason: string
  readonly retryAfterMs: number | undefined

  constructor(code: KubeErrorCode, message: string, detail: KubeErrorDetail) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.name = 'KubeError'
    this.code = code
    this.method = detail.method
    this.path = detail.path
    this.status = detail.status
    this.reason = detail.reason
    this.retryAfterMs = detail.retryAfterMs
  }
}

export const isKubeError = (error: unknown, ...codes: readonly KubeErrorCode[]): error is KubeError =>
  error instanceof KubeError && (codes.length === 0 || codes.includes(error.code))

/** Nothing was decided by the server: the same call may succeed later. */
export const isTransient = (error: unknown): boolean => isKubeError(error, 'unavailable', 'timeout', 'too-many-requests', 'server-error')

interface StatusBody {
  readonly reason?: string
  readonly message?: string
  readonly details?: { readonly retryAfterSeconds?: number }
}

/** The error of an answer with a status of 400 and above. `body` is the text of the answer; a Status object when the server made it. */
export function errorOfAnswer(
  call: { readonly method: string; readonly path: string },
  status: number,
  body: string,
  retryAfter: string | undefined,
): KubeError {
  const parsed = statusOf(body)
  const reason = parsed.reason ?? ''
  const seconds =
    retryAfter === null || retryAfter === undefined || retryAfter === '' ? parsed.details?.retryAfterSeconds : Number(retryAfter)
  const message = parsed.message ?? (body.slice(0, 300).trim() || `HTTP ${status}`)
  return new KubeError(codeOf(status, reason), `${call.method} ${call.path}: ${message}`, {
    ...call,
    status,
    reason,
    ...(seconds !== undefined && Number.isFinite(seconds) && seconds >= 0 ? { retryAfterMs: seconds * 1_000 } : {}),
  })
}

function statusOf(body: string): StatusBody {
  try {
    const parsed: unknown = JSON.parse(body)
    return typeof parsed === 'object' && parsed !== null ? parsed : {}
  } catch {
    return {}
  }
}

function codeOf(status: number, reason: string): KubeErrorCode {
  if (reason === 'AlreadyExists') return 'already-exists'
  switch (status) {
    case 400:
    case 405:
    case 406:
    case 415:
      return 'bad-request'
    case 401:
      return 'unauthorized'
    case 403:
      return 'forbidden'
    case 404:
      return 'not-found'
    case 409:
      return 'conflict'
    case 410:
      return 'gone'
    case 422:
      return 'invalid'
    case 429:
      return 'too-many-requests'
    case 502:
    case 503:
      return 'unavailable'
    case 504:
      return 'timeout'
    default:
      return status >= 500 ? 'server-error' : 'bad-request'
  }
}
