/** CustomResourceDefinitions: checked, marked as established, and turned into served resources. */
import { isJsonObject, isSame } from './freeze.ts'
import { builtInResources, type Resource } from './resources.ts'
import type { FieldError } from './status.ts'
import type { KubeObject, Store } from './store.ts'

const record = (value: unknown): Record<string, unknown> => (isJsonObject(value) ? value : {})
const records = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.filter(isJsonObject) : [])
const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const required = (field: string, why = ''): FieldError => ({
  reason: 'FieldValueRequired',
  field,
  message: `Required value${why === '' ? '' : `: ${why}`}`,
})

const columnTypes = ['integer', 'number', 'string', 'boolean', 'date']

export function checkDefinition(definition: KubeObject): FieldError[] {
  const spec = record(definition['spec'])
  const names = record(spec['names'])
  const group = text(spec['group'])
  const errors: FieldError[] = []
  if (definition.metadata.name !== `${text(names['plural'])}.${group}`) {
    errors.push({
      reason: 'FieldValueInvalid',
      field: 'metadata.name',
      message: `Invalid value: ${JSON.stringify(definition.metadata.name)}: must be spec.names.plural+"."+spec.group`,
    })
  }
  if (group === '') errors.push(required('spec.group'))
  for (const name of ['plural', 'kind'] as const) if (text(names[name]) === '') errors.push(required(`spec.names.${name}`))
  if (spec['scope'] !== 'Namespaced' && spec['scope'] !== 'Cluster') {
    errors.push({
      reason: 'FieldValueNotSupported',
      field: 'spec.scope',
      message: `Unsupported value: ${JSON.stringify(text(spec['scope']))}: supported values: "Cluster", "Namespaced"`,
    })
  }
  for (const [index, version] of records(spec['versions']).entries()) {
    const field = `spec.versions[${index}]`
    if (!isJsonObject(record(version['schema'])['openAPIV3Schema']))
      errors.push(required(`${field}.schema.openAPIV3Schema`, 'schemas are required'))
    for (const [column, printed] of records(version['additionalPrinterColumns']).entries()) {
      // Of a definition with one version, kube-apiserver has moved the columns up before it checks them.
      const at = `${records(spec['versions']).length === 1 ? 'spec' : field}.additionalPrinterColumns[${column}]`
      if (text(printed['jsonPath']) === '') errors.push(required(`${at}.JSONPath`))
      if (text(printed['name']) === '') errors.push(required(`${at}.name`))
      if (columnTypes.includes(text(printed['type']))) continue
      errors.push({
        reason: 'FieldValueInvalid',
        field: `${at}.type`,
        message: `Invalid value: ${JSON.stringify(text(printed['type']))}: must be one of boolean,date,integer,number,string`,
      })
    }
  }
  if (!records(spec['versions']).some((version) => version['storage'] === true)) {
    errors.push({
      reason: 'FieldValueInvalid',
      field: 'spec.versions',
      message: `Invalid value: ${JSON.stringify(spec['versions'] ?? [])}: must have exactly one version marked as storage version`,
    })
  }
  return errors
}

function resourceOfDefinition(definition: KubeObject): Resource {
  const spec = record(definition['spec'])
  const names = record(spec['names'])
  const versions = records(spec['versions'])
  const version = versions.find((candidate) => candidate['storage'] === true) ?? versions[0] ?? {}
  return {
    group: text(spec['group']),
    version: text(version['name']),
    plural: text(names['plural']),
    singular: text(names['singular']) || text(names['kind']).toLowerCase(),
    kind: text(names['kind']),
    shortNames: Array.isArray(names['shortNames']) ? names['shortNames'].filter((name) => typeof name === 'string') : [],
    isNamespaced: spec['scope'] === 'Namespaced',
    hasStatus: isJsonObject(record(version['subresources'])['status']),
    hasGeneration: true,
    acceptsBlindUpdate: false,
    createsOnUpdate: false,
    isCustom: true,
    schema: record(version['schema'])['openAPIV3Schema'],
  }
}

function establishedStatus(definition: KubeObject): Record<string, unknown> {
  const spec = record(definition['spec'])
  const names = record(spec['names'])
  const kind = text(names['kind'])
  const since = definition.metadata.creationTimestamp
  return {
    conditions: [
      { type: 'NamesAccepted', status: 'True', lastTransitionTime: since, reason: 'NoConflicts', message: 'no conflicts found' },
      {
        type: 'Established',
        status: 'True',
        lastTransitionTime: since,
        reason: 'InitialNamesAccepted',
        message: 'the initial names have been accepted',
      },
    ],
    acceptedNames: { listKind: `${kind}List`, singular: kind.toLowerCase(), ...names },
    storedVersions: records(spec['versions'])
      .filter((version) => version['storage'] === true)
      .map((version) => version['name']),
  }
}

const isBuiltIn = (plural: string): boolean => builtInResources.some((resource) => resource.plural === plural)

/** Serves what the store's definitions define, from now on. @returns a function that ends it */
export function serveDefinitions(store: Store): () => void {
  const serve = (definition: KubeObject): void => {
    const resource = resourceOfDefinition(definition)
    // KubeVirt's kinds are in the table already: their definitions may be stored, and change nothing.
    if (!isBuiltIn(resource.plural)) store.defineResource(resource)
    const status = establishedStatus(definition)
    if (!isSame(definition['status'], status)) store.update('customresourcedefinitions', { ...definition, status }, 'status')
  }
  for (const definition of store.list('customresourcedefinitions')) serve(definition)
  return store.onChange(({ type, plural, object }) => {
    if (plural !== 'customresourcedefinitions') return
    const defined = resourceOfDefinition(object)
    if (type !== 'DELETED') serve(store.get(plural, undefined, object.metadata.name) ?? object)
    else if (!isBuiltIn(defined.plural)) store.dropResource(defined.plural)
  })
}
