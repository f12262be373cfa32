/** What people ask for by annotations of Nodes, and how often the agents look for it. Pure. */
import type { NodeId } from '../../protocol/ids.ts'
import type { RequestOf } from './request.ts'

/**
 * @param value of the annotation: `true` or the fence's name, `force`, and who asks, in any order
 * @returns undefined when neither the fence nor `true` is named: it was meant for another fence
 */
export function unfenceRequest(value: string, fence: string): Pick<RequestOf<'unfence'>, 'isForced' | 'by'> | undefined {
  const words = value.split(/[\s,]+/).filter((word) => word !== '')
  const isMeant = (word: string): boolean => word === 'true' || word === 'force' || word === fence
  if (!words.some(isMeant)) return undefined
  return { isForced: words.includes('force'), by: words.filter((word) => !isMeant(word)).join(' ') || 'annotation' }
}

/** One word of an annotation's value: whoever reads it takes it apart at spaces and commas. */
const oneToken = (name: string): string => name.replaceAll(/[\s,]+/g, '-')

/** What `unfenceRequest` reads, as people write it by hand. */
export const unfenceValue = (by: string, isForced: boolean): string => `true${isForced ? ',force' : ''},${oneToken(by)}`

/** What `confirmedBy` reads. */
export const confirmationValue = (subject: string, by: string): string => `${subject},${oneToken(by)}`

/**
 * @param value of the annotation by which a person confirms a death: what it is about, and the person's name, in any order
 * @param subject the fence's name, or `epoch-N` where no fence is
 * @returns the name; undefined when the word is about something else
 */
export function confirmedBy(value: string, subject: string): string | undefined {
  const words = value.split(/[\s,]+/)
  return words.includes(subject) ? words.filter((word) => word !== subject).join(' ') || 'annotation' : undefined
}

/** The request that an annotation of this Node makes; undefined when it is about another fence. */
export function unfenceOnNode(node: NodeId, value: string, fence: string): RequestOf<'unfence'> | undefined {
  const asked = unfenceRequest(value, fence)
  return asked && { kind: 'unfence', rooms: [], nodes: [node], ...asked }
}

/** As `unfenceOnNode`, for a death that a person confirms. */
export function confirmationOnNode(node: NodeId, value: string, subject: string): RequestOf<'confirm-dead'> | undefined {
  const by = confirmedBy(value, subject)
  return by === undefined ? undefined : { kind: 'confirm-dead', rooms: [], nodes: [node], by }
}

/** Requests for single Nodes that differ in nothing but the Node, as one. */
export function together<Request extends RequestOf<'unfence' | 'confirm-dead'>>(requests: readonly Request[]): readonly Request[] {
  const groups = Map.groupBy(requests, (request) => JSON.stringify({ ...request, nodes: [] }))
  return [...groups.values()].flatMap(([first, ...others]) =>
    first ? [{ ...first, nodes: [first, ...others].flatMap(({ nodes }) => nodes) }] : [],
  )
}

const COORDINATOR_EVERY_MS = 1_000
const OTHERS_EVERY_MS = 3_000

/**
 * How long to wait between two looks, each of which reads every fenced node: a room may stay fenced for days, and then the coordinator asks ten times a
 * second at most, and the others together about a hundred times.
 */
export const lookEveryMs = (isCoordinator: boolean, fenced: number, survivors: number): number =>
  isCoordinator ? Math.max(COORDINATOR_EVERY_MS, 100 * fenced) : Math.max(OTHERS_EVERY_MS, 10 * fenced * survivors)
