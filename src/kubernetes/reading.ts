/** Reading of JSON as the API server gives it: every field may be missing, and then there is an empty text or list in its place. Pure. */

/** Loose view of JSON: every step may be missing. */
interface Loose {
  readonly [key: string]: Loose | undefined
}

export const at = (object: unknown, ...path: readonly string[]): unknown => {
  let here: unknown = object
  for (const key of path) {
    if (typeof here !== 'object' || here === null) return undefined
    here = (here as Loose)[key]
  }
  return here
}
export const textAt = (object: unknown, ...path: readonly string[]): string => {
  const value = at(object, ...path)
  return typeof value === 'string' ? value : ''
}
export const listAt = (object: unknown, ...path: readonly string[]): readonly unknown[] => {
  const value = at(object, ...path)
  return Array.isArray(value) ? value : []
}
export const mapAt = (object: unknown, ...path: readonly string[]): { readonly [key: string]: string } => {
  const value = at(object, ...path)
  return typeof value === 'object' && value !== null ? (value as { readonly [key: string]: string }) : {}
}
export const numberAt = (object: unknown, ...path: readonly string[]): number | undefined => {
  const value = at(object, ...path)
  return typeof value === 'number' ? value : undefined
}
export const texts = (values: readonly unknown[]): readonly string[] => values.filter((value) => typeof value === 'string')
