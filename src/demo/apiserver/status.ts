/** Errors of the embedded API server, in the words, reasons and codes of kube-apiserver (k8s.io/apimachinery/pkg/api/errors). */
import { qualifiedKind, qualifiedPlural, type Resource } from './resources.ts'

export type Reason =
  | 'Unauthorized'
  | 'Forbidden'
  | 'NotFound'
  | 'AlreadyExists'
  | 'Conflict'
  | 'Invalid'
  | 'BadRequest'
  | 'MethodNotAllowed'
  | 'NotAcceptable'
  | 'UnsupportedMediaType'
  | 'Expired'
  | 'TooManyRequests'
  | 'Timeout'
  | 'ServiceUnavailable'
  | 'InternalError'
  /** A few answers of kube-apiserver have none. */
  | ''

interface Cause {
  readonly reason?: string
  readonly message: string
  readonly field?: string
}

export interface StatusDetails {
  readonly name?: string
  readonly group?: string
  readonly kind?: string
  readonly uid?: string
  readonly causes?: readonly Cause[]
  readonly retryAfterSeconds?: number
}

/** What a call to the store or the API failed with. `status` is the HTTP code. */
export class StoreError extends Error {
  override readonly name = 'StoreError'
  readonly status: number
  readonly reason: Reason
  readonly details: StatusDetails | undefined
  /** Only for an expired list: the token with which the rest can be read all the same. */
  readonly continueToken: string | undefined

  constructor(status: number, reason: Reason, message: string, details?: StatusDetails, continueToken?: string) {
    super(message)
    this.status = status
    this.reason = reason
    this.details = details
    this.continueToken = continueToken
  }
}

/** What was thrown, as an answer: anything that is none of ours is a fault of this server. */
export function storeErrorOf(error: unknown): StoreError {
  if (error instanceof StoreError) return error
  const text = String(error)
  return new StoreError(500, 'InternalError', `Internal error occurred: ${text}`)
}

/** The `Status` object that answers a failed call. */
export function statusOf(error: StoreError): Record<string, unknown> {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: error.continueToken === undefined ? {} : { continue: error.continueToken },
    status: 'Failure',
    message: error.message,
    ...(error.reason === '' ? {} : { reason: error.reason }),
    ...(error.details === undefined ? {} : { details: error.details }),
    code: error.status,
  }
}

const about = (resource: Resource, name: string): StatusDetails => ({
  name,
  ...(resource.group === '' ? {} : { group: resource.group }),
  kind: resource.plural,
})

export const notFound = (resource: Resource, name: string): StoreError =>
  new StoreError(404, 'NotFound', `${qualifiedPlural(resource)} "${name}" not found`, about(resource, name))

export const alreadyExists = (resource: Resource, name: string): StoreError =>
  new StoreError(409, 'AlreadyExists', `${qualifiedPlural(resource)} "${name}" already exists`, about(resource, name))

export const conflict = (resource: Resource, name: string, why: string): StoreError =>
  new StoreError(409, 'Conflict', `Operation cannot be fulfilled on ${qualifiedPlural(resource)} "${name}": ${why}`, about(resource, name))

export const staleVersion = (resource: Resource, name: string): StoreError =>
  conflict(resource, name, 'the object has been modified; please apply your changes to the latest version and try again')

/** One failed check of a field. `reason` is Kubernetes' cause type, e.g. `FieldValueInvalid`. */
export interface FieldError {
  readonly reason:
    | 'FieldValueInvalid'
    | 'FieldValueRequired'
    | 'FieldValueNotSupported'
    | 'FieldValueForbidden'
    | 'FieldValueTypeInvalid'
    | 'FieldValueTooMany'
    | 'FieldValueTooLong'
    | 'FieldValueDuplicate'
  readonly field: string
  readonly message: string
}

export function invalid(resource: Resource, name: string, errors: readonly FieldError[]): StoreError {
  const texts = errors.map(({ field, message }) => `${field}: ${message}`)
  const text = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`
  return new StoreError(422, 'Invalid', `${qualifiedKind(resource)} "${name}" is invalid: ${text}`, {
    name,
    ...(resource.group === '' ? {} : { group: resource.group }),
    kind: resource.kind,
    causes: errors,
  })
}

export const badRequest = (message: string): StoreError => new StoreError(400, 'BadRequest', message)

/** What kube-apiserver says of a path that it does not serve. */
export const noSuchResource = (): StoreError => new StoreError(404, 'NotFound', 'the server could not find the requested resource', {})

/** Given up before it had any effect, because the caller allowed no more time. */
export const timedOut = (): StoreError => new StoreError(504, 'Timeout', 'request did not complete within the allotted timeout')
