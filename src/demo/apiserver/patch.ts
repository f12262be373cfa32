/** The three kinds of patch: JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch. Pure. */
import { isJsonObject, isSame } from './freeze.ts'
import { badRequest, StoreError } from './status.ts'

type Json = Record<string, unknown>

export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isJsonObject(patch)) return patch
  const outcome: Json = isJsonObject(target) ? { ...target } : {}
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete outcome[field]
    else outcome[field] = mergePatch(outcome[field], value)
  }
  return outcome
}

/** What kube-apiserver answers to a JSON patch that cannot be applied: an unhelpful text, with 422. */
const cannotApply = (): StoreError => new StoreError(422, 'Invalid', 'the server rejected our request due to an error in our request', {})

function steps(pointer: unknown): string[] {
  if (typeof pointer !== 'string' || (pointer !== '' && !pointer.startsWith('/'))) throw cannotApply()
  return pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function valueAt(document: unknown, path: readonly string[]): unknown {
  let value = document
  for (const step of path) {
    if (Array.isArray(value) && /^(0|[1-9]\d*)$/.test(step) && Number(step) < value.length) value = value[Number(step)]
    else if (isJsonObject(value) && step in value) value = value[step]
    else throw cannotApply()
  }
  return value
}

/** A copy of the document in which the container at `path` is changed; what is not on the path is shared. */
function changed(document: unknown, path: readonly string[], change: (container: unknown, last: string) => unknown): unknown {
  const [step = '', ...rest] = path
  if (rest.length === 0) return change(document, step)
  const inner = changed(valueAt(document, [step]), rest, change)
  if (Array.isArray(document)) return document.map((item: unknown, index) => (String(index) === step ? inner : item))
  return { ...(document as Json), [step]: inner }
}

function add(document: unknown, path: readonly string[], value: unknown): unknown {
  if (path.length === 0) return value
  return changed(document, path, (container, last) => {
    if (isJsonObject(container)) return { ...container, [last]: value }
    if (!Array.isArray(container)) throw cannotApply()
    const index = last === '-' ? container.length : Number(last)
    if (!Number.isInteger(index) || index < 0 || index > container.length) throw cannotApply()
    return container.toSpliced(index, 0, value)
  })
}

function remove(document: unknown, path: readonly string[]): unknown {
  valueAt(document, path)
  return changed(document, path, (container, last) => {
    if (Array.isArray(container)) return container.toSpliced(Number(last), 1)
    const { [last]: _removed, ...rest } = container as Json
    return rest
  })
}

export function jsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw badRequest('error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch')
  let outcome = document
  for (const operation of patch as unknown[]) {
    if (!isJsonObject(operation)) throw badRequest('error decoding patch: every operation must be an object')
    const path = steps(operation['path'])
    switch (operation['op']) {
      case 'test': {
        // A missing path equals null, as in the library of kube-apiserver.
        const { value } = operation
        if (!isSame(valueOrNull(outcome, path), value ?? null)) throw cannotApply()
        break
      }
      case 'add':
        outcome = add(outcome, path, operation['value'])
        break
      case 'replace':
        // Of a field that is absent, kube-apiserver makes it.
        valueOrNull(outcome, path)
        outcome =
          path.length === 0
            ? operation['value']
            : add(Array.isArray(valueAt(outcome, path.slice(0, -1))) ? remove(outcome, path) : outcome, path, operation['value'])
        break
      case 'remove':
        outcome = remove(outcome, path)
        break
      case 'move': {
        const from = steps(operation['from'])
        const value = valueAt(outcome, from)
        outcome = add(remove(outcome, from), path, value)
        break
      }
      case 'copy':
        outcome = add(outcome, path, valueAt(outcome, steps(operation['from'])))
        break
      default:
        throw cannotApply()
    }
  }
  return outcome
}

function valueOrNull(document: unknown, path: readonly string[]): unknown {
  const parent = path.length === 0 ? document : valueAt(document, path.slice(0, -1))
  const last = path.at(-1)
  if (last === undefined) return document
  if (isJsonObject(parent)) return parent[last] ?? null
  return valueAt(document, path)
}

/**
 * Lists that a strategic merge patch merges item by item, with the field that tells items apart ('' for lists of plain values).
 * Every other list is replaced whole - among them a node's `spec.taints`. From the patchStrategy tags of k8s.io/api.
 */
const mergedLists: ReadonlyArray<readonly [path: RegExp, key: string]> = [
  [/^metadata\.finalizers$/, ''],
  [/^metadata\.ownerReferences$/, 'uid'],
  [/^status\.(conditions|addresses)$/, 'type'],
  [/^status\.(podIPs|hostIPs)$/, 'ip'],
  [/^spec\.podCIDRs$/, ''],
  [/(^|\.)spec\.(containers|initContainers|ephemeralContainers|volumes|imagePullSecrets)$/, 'name'],
  [/\.(containers|initContainers)\.env$/, 'name'],
  [/\.(containers|initContainers)\.(volumeMounts)$/, 'mountPath'],
  [/\.(containers|initContainers)\.(volumeDevices)$/, 'devicePath'],
  [/\.(containers|initContainers)\.ports$/, 'containerPort'],
  [/^spec\.ports$/, 'port'],
  [/^(secrets|imagePullSecrets)$/, 'name'],
]

export function strategicMergePatch(target: unknown, patch: unknown, path = ''): unknown {
  if (!isJsonObject(patch)) return patch
  const { $patch: directive, ...fields } = patch
  if (directive === 'delete') return {}
  const outcome: Json = isJsonObject(target) && directive !== 'replace' ? { ...target } : {}
  for (const [field, value] of Object.entries(fields)) {
    if (field.startsWith('$deleteFromPrimitiveList/')) {
      const list = field.slice('$deleteFromPrimitiveList/'.length)
      const gone = Array.isArray(value) ? (value as unknown[]) : []
      if (Array.isArray(outcome[list])) outcome[list] = (outcome[list] as unknown[]).filter((item) => !gone.includes(item))
    } else if (field.startsWith('$')) continue
    else if (value === null) delete outcome[field]
    else {
      const inner = path === '' ? field : `${path}.${field}`
      const key = mergedLists.find(([pattern]) => pattern.test(inner))?.[1]
      outcome[field] =
        Array.isArray(value) && key !== undefined
          ? mergeLists(Array.isArray(outcome[field]) ? (outcome[field] as unknown[]) : [], value, key, inner)
          : strategicMergePatch(outcome[field], value, inner)
    }
  }
  return outcome
}

function mergeLists(was: readonly unknown[], patch: readonly unknown[], key: string, path: string): unknown[] {
  if (key === '') return [...was, ...patch.filter((item) => !was.includes(item))]
  const keyOf = (item: unknown): unknown => (isJsonObject(item) ? item[key] : undefined)
  if (patch.some((item) => isJsonObject(item) && item['$patch'] === 'replace'))
    return patch.filter((item) => !(isJsonObject(item) && '$patch' in item))
  let outcome = [...was]
  for (const item of patch) {
    const index = outcome.findIndex((known) => keyOf(known) === keyOf(item))
    if (isJsonObject(item) && item['$patch'] === 'delete') outcome = outcome.filter((known) => keyOf(known) !== keyOf(item))
    else if (index < 0) outcome.push(item)
    else outcome[index] = strategicMergePatch(outcome[index], item, path)
  }
  return outcome
}
