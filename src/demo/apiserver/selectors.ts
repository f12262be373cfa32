/** Label and field selectors of list and watch requests: parsed to one question per object. */
import { isJsonObject } from './freeze.ts'
import type { Resource } from './resources.ts'
import { badRequest } from './status.ts'
import type { KubeObject } from './objects.ts'

export type Selects = (object: KubeObject) => boolean

const LABEL_KEY = /^([a-z0-9A-Z]([-a-z0-9A-Z_.]*[a-z0-9A-Z])?\/)?[a-z0-9A-Z]([-a-z0-9A-Z_.]*[a-z0-9A-Z])?$/
const EXPRESSION = /^(!?)\s*([^\s=!,()]+)\s*(?:(==|=|!=)\s*([^\s,()]*)|\s(in|notin)\s*\(([^)]*)\))?$/

type Requirement = (labels: Readonly<Record<string, string>>) => boolean

function requirement(text: string): Requirement {
  const match = EXPRESSION.exec(text.trim())
  const [, not, key = '', sign, value = '', set, values = ''] = match ?? []
  if (match === null || !LABEL_KEY.test(key) || (not === '!' && (sign ?? set) !== undefined)) {
    throw badRequest(`unable to parse requirement: found '${text.trim()}', expected: a label selector`)
  }
  if (sign === '!=') return (labels) => labels[key] !== value
  if (sign !== undefined) return (labels) => labels[key] === value
  const wanted = new Set(values.split(',').map((item) => item.trim()))
  if (set === 'in') return (labels) => labels[key] !== undefined && wanted.has(labels[key])
  if (set === 'notin') return (labels) => labels[key] === undefined || !wanted.has(labels[key])
  return (labels) => (labels[key] !== undefined) === (not !== '!')
}

/** Splits at the commas outside of parentheses. */
const terms = (selector: string): string[] => selector.split(/,(?![^(]*\))/).filter((term) => term.trim() !== '')

function labelSelector(selector: string): Selects {
  const requirements = terms(selector).map(requirement)
  return ({ metadata }) => requirements.every((holds) => holds(metadata.labels ?? {}))
}

const everywhere = ['metadata.name', 'metadata.namespace']
const selectableFields: Readonly<Record<string, readonly string[]>> = {
  pods: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.nominatedNodeName',
  ],
  nodes: ['spec.unschedulable'],
  namespaces: ['status.phase'],
  secrets: ['type'],
  events: [
    'involvedObject.kind',
    'involvedObject.namespace',
    'involvedObject.name',
    'involvedObject.uid',
    'involvedObject.apiVersion',
    'involvedObject.resourceVersion',
    'involvedObject.fieldPath',
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
  jobs: ['status.successful'],
}

function fieldOf(object: KubeObject, path: string): string {
  let value: unknown = object
  for (const step of path.split('.')) value = isJsonObject(value) ? value[step] : undefined
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : ''
}

function fieldSelector(resource: Resource, selector: string): Selects {
  const own = selectableFields[resource.plural] ?? []
  const parts = terms(selector).map((term) => {
    const [, field = '', sign, value = ''] = /^([^=!]+)(==|=|!=)(.*)$/.exec(term.trim()) ?? []
    if (sign === undefined) throw badRequest(`invalid selector: '${selector}'; can't understand '${term}'`)
    if (!everywhere.includes(field) && !own.includes(field)) {
      throw badRequest(
        own.length > 0
          ? `field label not supported: ${field}`
          : `"${field}" is not a known field selector: only "metadata.name", "metadata.namespace"`,
      )
    }
    return { field, value, isWanted: sign !== '!=' }
  })
  return (object) => parts.every(({ field, value, isWanted }) => (fieldOf(object, field) === value) === isWanted)
}

/** The selectors of a list or watch request's query. */
export function selectorOf(resource: Resource, query: URLSearchParams): Selects {
  const labels = query.get('labelSelector')
  const fields = query.get('fieldSelector')
  const byLabels = labels ? labelSelector(labels) : undefined
  const byFields = fields ? fieldSelector(resource, fields) : undefined
  return (object) => (byLabels?.(object) ?? true) && (byFields?.(object) ?? true)
}
