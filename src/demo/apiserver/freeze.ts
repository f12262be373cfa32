/** Immutable JSON values: copied and frozen once when stored, then shared by everyone without copies. */

/** @returns a deeply frozen copy without undefined fields; what is frozen already is shared, not copied */
export function frozenCopy<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  if (Array.isArray(value)) return Object.freeze(value.map((item: unknown) => frozenCopy(item))) as T
  const copy: Record<string, unknown> = {}
  for (const [field, item] of Object.entries(value)) if (item !== undefined) copy[field] = frozenCopy(item)
  return Object.freeze(copy) as T
}

export const isJsonObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Whether two JSON values are equal; a field that is undefined equals one that is absent. */
export function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, index) => isSame(item, b[index]))
  if (!isJsonObject(a) || !isJsonObject(b)) return false
  return Object.keys({ ...a, ...b }).every((field) => isSame(a[field], b[field]))
}

const isEmpty = (value: unknown): boolean =>
  Array.isArray(value) ? value.length === 0 : isJsonObject(value) && Object.keys(value).length === 0

/** @returns the record without those of the fields that are empty, as Go leaves them out (`omitempty`) */
export function withoutEmpty<T extends object>(record: T, fields: readonly (keyof T)[]): T {
  if (!fields.some((field) => isEmpty(record[field]))) return record
  return Object.fromEntries(Object.entries(record).filter(([field, value]) => !(isEmpty(value) && fields.includes(field as keyof T)))) as T
}
