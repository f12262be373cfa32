/**
 * Structural schemas of custom resources (a CRD's `openAPIV3Schema`): defaults, pruning of unknown fields and checks, in
 * kube-apiserver's words. Of CEL rules (`x-kubernetes-validations`) only `self == oldSelf` is carried out here.
 */
import { isJsonObject, isSame } from './freeze.ts'
import type { FieldError } from './status.ts'

type Schema = Readonly<Record<string, unknown>>

const schemaAt = (schema: Schema, field: string): Schema | undefined => {
  const inner = schema[field]
  return isJsonObject(inner) ? inner : undefined
}
const propertiesOf = (schema: Schema): Readonly<Record<string, unknown>> => schemaAt(schema, 'properties') ?? {}

/** The schema of one field: its own, or that of additional properties. */
function schemaOf(schema: Schema, field: string): Schema | undefined {
  const own = propertiesOf(schema)[field]
  return isJsonObject(own) ? own : schemaAt(schema, 'additionalProperties')
}

/** @returns the value with its schema's defaults filled in and without fields that the schema does not know */
export function conformed(schema: Schema, value: unknown, isRoot = false): unknown {
  if (Array.isArray(value)) {
    const items = schemaAt(schema, 'items')
    return items === undefined ? value : value.map((item: unknown) => conformed(items, item))
  }
  if (!isJsonObject(value)) return value
  const keepsUnknown = schema['x-kubernetes-preserve-unknown-fields'] === true || schema['additionalProperties'] === true
  const outcome: Record<string, unknown> = {}
  for (const [field, inner] of Object.entries(value)) {
    const known = schemaOf(schema, field)
    if (isRoot && ['apiVersion', 'kind', 'metadata'].includes(field)) outcome[field] = inner
    // A null where none is allowed and a default is given counts as absent.
    else if (inner === null && known?.['nullable'] !== true && known?.['default'] !== undefined) continue
    else if (known !== undefined) outcome[field] = conformed(known, inner)
    else if (keepsUnknown) outcome[field] = inner
  }
  for (const [field, inner] of Object.entries(propertiesOf(schema))) {
    if (isJsonObject(inner) && inner['default'] !== undefined && outcome[field] === undefined)
      outcome[field] = conformed(inner, inner['default'])
  }
  return outcome
}

const typeOf = (value: unknown): string =>
  value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value === 'number' && Number.isInteger(value) ? 'integer' : typeof value

const isType = (value: unknown, type: unknown): boolean => typeOf(value) === type || (type === 'number' && typeof value === 'number')

/** As Go prints a value in a validation message. */
const shown = (value: unknown): string => (typeof value === 'object' && value !== null ? typeOf(value) : JSON.stringify(value))

const at = (path: string, field: string): string => (path === '' ? field : `${path}.${field}`)

/** @returns all violations, in the order of the schema */
export function violations(schema: Schema, value: unknown, path = '', isRoot = true): FieldError[] {
  const wrong = (message: string): FieldError => ({
    reason: 'FieldValueInvalid',
    field: path,
    message: `Invalid value: ${shown(value)}: ${message}`,
  })
  const inBody = `${path} in body`
  if (value === null && schema['nullable'] === true) return []
  const { type } = schema
  const isIntOrString = schema['x-kubernetes-int-or-string'] === true && (typeOf(value) === 'integer' || typeof value === 'string')
  if (typeof type === 'string' && !isIntOrString && !isType(value, type)) {
    return [
      {
        reason: 'FieldValueTypeInvalid',
        field: path,
        message: `Invalid value: ${JSON.stringify(typeOf(value))}: ${inBody} must be of type ${type}: ${JSON.stringify(typeOf(value))}`,
      },
    ]
  }
  const errors: FieldError[] = []
  const allowed = schema['enum']
  if (Array.isArray(allowed) && !allowed.includes(value)) {
    const supported = allowed.map((item) => JSON.stringify(item)).join(', ')
    errors.push({
      reason: 'FieldValueNotSupported',
      field: path,
      message: `Unsupported value: ${shown(value)}: supported values: ${supported}`,
    })
  }
  const limit = (keyword: string): number | undefined => (typeof schema[keyword] === 'number' ? schema[keyword] : undefined)
  if (typeof value === 'number') {
    const minimum = limit('minimum')
    const maximum = limit('maximum')
    if (minimum !== undefined && value < minimum) errors.push(wrong(`${inBody} should be greater than or equal to ${minimum}`))
    if (maximum !== undefined && value > maximum) errors.push(wrong(`${inBody} should be less than or equal to ${maximum}`))
  }
  if (typeof value === 'string') {
    const minimum = limit('minLength')
    const maximum = limit('maxLength')
    const { pattern } = schema
    if (minimum !== undefined && value.length < minimum) errors.push(wrong(`${inBody} should be at least ${minimum} chars long`))
    if (maximum !== undefined && value.length > maximum) {
      errors.push({ reason: 'FieldValueTooLong', field: path, message: `Too long: may not be more than ${maximum} bytes` })
    }
    if (typeof pattern === 'string' && !new RegExp(pattern, 'u').test(value)) errors.push(wrong(`${inBody} should match '${pattern}'`))
    if (schema['format'] === 'date-time' && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.test(value)) {
      errors.push({ ...wrong(`${inBody} must be of type date-time: ${JSON.stringify(value)}`), reason: 'FieldValueTypeInvalid' })
    }
  }
  if (Array.isArray(value)) {
    const minimum = limit('minItems')
    const maximum = limit('maxItems')
    if (minimum !== undefined && value.length < minimum) {
      errors.push({
        reason: 'FieldValueInvalid',
        field: path,
        message: `Invalid value: ${value.length}: ${inBody} should have at least ${minimum} items`,
      })
    }
    if (maximum !== undefined && value.length > maximum) {
      errors.push({ reason: 'FieldValueTooMany', field: path, message: `Too many: ${value.length}: must have at most ${maximum} items` })
    }
    const items = schemaAt(schema, 'items')
    if (items !== undefined)
      for (const [index, item] of value.entries()) errors.push(...violations(items, item, `${path}[${index}]`, false))
  }
  if (isJsonObject(value)) {
    const required = Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : []
    for (const field of required) {
      if (typeof field !== 'string' || value[field] !== undefined) continue
      errors.push({ reason: 'FieldValueRequired', field: at(path, field), message: 'Required value' })
    }
    for (const [field, inner] of Object.entries(value)) {
      const known = isRoot && ['apiVersion', 'kind', 'metadata'].includes(field) ? undefined : schemaOf(schema, field)
      if (known !== undefined) errors.push(...violations(known, inner, at(path, field), false))
    }
  }
  return errors
}

const rulesOf = (schema: Schema): unknown[] => {
  const rules = schema['x-kubernetes-validations']
  return Array.isArray(rules) ? rules : []
}

const hasRules = (schema: Schema): boolean =>
  rulesOf(schema).length > 0 ||
  [...Object.values(propertiesOf(schema)), schema['items'], schema['additionalProperties']].some(
    (inner) => isJsonObject(inner) && hasRules(inner),
  )

const blocking = ['FieldValueNotSupported', 'FieldValueRequired', 'FieldValueTooLong', 'FieldValueTooMany', 'FieldValueTypeInvalid']

/** What kube-apiserver adds when rules exist that it did not come to. */
export function uncheckedRules(schema: Schema, errors: readonly FieldError[]): FieldError[] {
  if (!hasRules(schema) || !errors.some(({ reason }) => blocking.includes(reason))) return []
  const message =
    'Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation'
  return [{ reason: 'FieldValueInvalid', field: '<nil>', message }]
}

/** What may not change (`self == oldSelf`) and did. */
export function forbiddenChanges(schema: Schema, next: unknown, previous: unknown, path = ''): FieldError[] {
  if (next === undefined || previous === undefined) return []
  const errors: FieldError[] = []
  for (const entry of rulesOf(schema)) {
    if (!isJsonObject(entry) || entry['rule'] !== 'self == oldSelf' || isSame(next, previous)) continue
    const { message = 'failed rule: self == oldSelf' } = entry
    errors.push({ reason: 'FieldValueInvalid', field: path, message: `Invalid value: ${message as string}` })
  }
  if (isJsonObject(next) && isJsonObject(previous)) {
    for (const [field, inner] of Object.entries(propertiesOf(schema))) {
      if (isJsonObject(inner)) errors.push(...forbiddenChanges(inner, next[field], previous[field], at(path, field)))
    }
  }
  return errors
}
