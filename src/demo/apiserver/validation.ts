/** The checks of built-in kinds that a client of this project can fail, in kube-apiserver's words; and those of custom resources. */
import { checkDefinition } from './crd.ts'
import { isJsonObject } from './freeze.ts'
import type { Resource } from './resources.ts'
import { uncheckedRules, violations } from './schema.ts'
import { badRequest, type FieldError } from './status.ts'
import type { KubeObject } from './objects.ts'

const record = (value: unknown): Record<string, unknown> => (isJsonObject(value) ? value : {})
const records = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.filter(isJsonObject) : [])
const required = (field: string): FieldError => ({ reason: 'FieldValueRequired', field, message: 'Required value' })
const wrong = (field: string, value: unknown, why: string): FieldError => ({
  reason: 'FieldValueInvalid',
  field,
  message: `Invalid value: ${JSON.stringify(value)}: ${why}`,
})
const unsupported = (field: string, value: unknown, supported: readonly string[]): FieldError => ({
  reason: 'FieldValueNotSupported',
  field,
  message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((item) => JSON.stringify(item)).join(', ')}`,
})

const SUBDOMAIN = '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'
const LABEL = '[a-z0-9]([-a-z0-9]*[a-z0-9])?'

function checkName(resource: Resource, name: string): FieldError[] {
  if (resource.group === 'rbac.authorization.k8s.io') return []
  if (resource.plural === 'namespaces' || resource.plural === 'services') {
    if (new RegExp(`^${LABEL}$`, 'u').test(name) && name.length <= 63) return []
    return [
      wrong(
        'metadata.name',
        name,
        `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '${LABEL}')`,
      ),
    ]
  }
  if (new RegExp(`^${SUBDOMAIN}$`, 'u').test(name) && name.length <= 253) return []
  return [
    wrong(
      'metadata.name',
      name,
      `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '${SUBDOMAIN}')`,
    ),
  ]
}

const taintEffects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute']

/** kube-apiserver names the field `metadata.taints`, though it is `spec.taints`. */
function checkNode(node: KubeObject): FieldError[] {
  const taints = records(record(node['spec'])['taints'])
  return taints.flatMap((taint, index) => {
    const field = `metadata.taints[${index}]`
    const errors: FieldError[] = []
    if (!taint['key']) errors.push(wrong(`${field}.key`, '', 'name part must be non-empty'))
    if (!taint['effect']) errors.push(required(`${field}.effect`))
    else if (!taintEffects.some((effect) => effect === taint['effect']))
      errors.push(unsupported(`${field}.effect`, taint['effect'], taintEffects))
    const isTwice = taints.slice(0, index).some(({ key, effect }) => key === taint['key'] && effect === taint['effect'])
    if (isTwice) {
      const shown = { Key: taint['key'], Value: taint['value'] ?? '', Effect: taint['effect'], TimeAdded: null }
      const message = `Duplicate value: ${JSON.stringify(shown)}: taints must be unique by key and effect pair`
      errors.push({ reason: 'FieldValueDuplicate', field, message })
    }
    return errors
  })
}

function checkLease(lease: KubeObject): FieldError[] {
  const { leaseDurationSeconds, leaseTransitions } = record(lease['spec'])
  const errors: FieldError[] = []
  if (typeof leaseDurationSeconds === 'number' && leaseDurationSeconds <= 0) {
    errors.push(wrong('spec.leaseDurationSeconds', leaseDurationSeconds, 'must be greater than 0'))
  }
  if (typeof leaseTransitions === 'number' && leaseTransitions < 0) {
    errors.push(wrong('spec.leaseTransitions', leaseTransitions, 'must be greater than or equal to 0'))
  }
  return errors
}

/** Old-style events (`v1` without eventTime) are hardly checked; new ones name who reports what. The event is in its stored form. */
function checkEvent(event: KubeObject, isNewGroup: boolean): FieldError[] {
  const about = record(event['involvedObject'])
  const namespace = typeof about['namespace'] === 'string' ? about['namespace'] : ''
  // What has no namespace, as a node, is reported in one of these.
  const expected = namespace === '' ? ['default', 'kube-system'] : [namespace]
  if (!expected.includes(event.metadata.namespace ?? '')) {
    return [wrong('involvedObject.namespace', namespace, 'does not match event.namespace')]
  }
  if (!isNewGroup && !event['eventTime']) return []
  const errors: FieldError[] = []
  const text = (field: string): string => (typeof event[field] === 'string' ? event[field] : '')
  if (!event['eventTime']) errors.push(required('eventTime'))
  if (text('reportingComponent') === '') errors.push(required('reportingController'))
  for (const field of ['reportingInstance', 'action', 'reason']) {
    if (text(field) === '') errors.push(required(field))
    else if (text(field).length > 128) errors.push(wrong(field, '', 'can have at most 128 characters'))
  }
  if (text('message').length > 1024) errors.push(wrong('message', '', 'can have at most 1024 characters'))
  if (!['Normal', 'Warning'].includes(text('type'))) errors.push(wrong('type', '', "has invalid value: must be 'Normal' or 'Warning'"))
  return errors
}

const microTimes: Readonly<Record<string, readonly string[]>> = { leases: ['acquireTime', 'renewTime'], events: ['eventTime'] }
const MICRO_LAYOUT = '2006-01-02T15:04:05.000000Z07:00'

/** Go reads a MicroTime only with exactly six digits after the second: what `toISOString()` gives is refused. */
function checkMicroTimes(resource: Resource, object: KubeObject): void {
  const fields = microTimes[resource.plural]
  const holder = resource.plural === 'leases' ? record(object['spec']) : object
  for (const field of fields ?? []) {
    const value = holder[field]
    if (typeof value !== 'string' || /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$/.test(value)) continue
    const rest = value.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/, '')
    const wanted = rest === value ? '2006' : '.000000'
    throw badRequest(
      `${resource.kind} in version "${resource.version}" cannot be handled as a ${resource.kind}: parsing time ${JSON.stringify(value)} as "${MICRO_LAYOUT}": cannot parse ${JSON.stringify(rest)} as "${wanted}"`,
    )
  }
}

/**
 * @param group the API group the object was sent to (events have two)
 * @returns what is wrong with an object that is to be written
 * @throws 400 for what cannot be read at all
 */
export function check(resource: Resource, object: KubeObject, group: string): FieldError[] {
  checkMicroTimes(resource, object)
  const errors = object.metadata.name ? checkName(resource, object.metadata.name) : []
  switch (resource.plural) {
    case 'nodes':
      return [...errors, ...checkNode(object)]
    case 'leases':
      return [...errors, ...checkLease(object)]
    case 'events':
      return [...errors, ...checkEvent(object, group === 'events.k8s.io')]
    case 'customresourcedefinitions':
      return [...errors, ...checkDefinition(object)]
    default:
      if (isJsonObject(resource.schema)) errors.push(...violations(resource.schema, object))
      return isJsonObject(resource.schema) ? [...errors, ...uncheckedRules(resource.schema, errors)] : errors
  }
}
