/**
 * The bundled witness's API, shared by its client and its server (docs/wire-format.md, "The witness's API"). Pure.
 *
 *     GET /v1/register?node=&incarnation=&epoch=&digest=   200 {register, isCounted, memory}; 404 none yet
 *     PUT /v1/register   If-Match: "VERSION"               200 {version, memory}; 412 {register}; 404 none yet
 *     PUT /v1/register   If-None-Match: *                  201 {version}; 412 {register}
 *
 * All with `Authorization: Bearer TOKEN`; without either precondition a PUT is refused (428). `ETag` is the version in quotes.
 */
import * as z from 'zod/mini'
import { acceptedSchema, check, membershipSchema, registerSchema } from '../evidence/membership-schema.ts'
import type { Register } from '../protocol/messages.ts'
import type { WitnessMemory } from './register.ts'

export const REGISTER_PATH = '/v1/register'
/** Two memberships of two thousand nodes. */
export const LARGEST_BODY = 2_000_000

const name = z.string().check(z.minLength(1), z.maxLength(253))
const count = z.int().check(z.nonnegative(), z.maximum(2 ** 47 - 1))

const proposedSchema = z.strictObject({ incarnation: name, membership: membershipSchema, accepted: z.nullable(acceptedSchema) })

const memorySchema = z.strictObject({
  acks: z.array(z.strictObject({ node: name, incarnation: name, epoch: count, agoMs: z.number().check(z.nonnegative()) })),
  startedAgoMs: z.number().check(z.nonnegative()),
})

export interface ReadBody {
  readonly register: Register
  readonly isCounted: boolean
  readonly memory: WitnessMemory
}

export interface SwapBody {
  readonly version: number
  readonly memory: WitnessMemory
}

const readSchema = z.strictObject({ register: registerSchema, isCounted: z.boolean(), memory: memorySchema })
const swapSchema = z.strictObject({ version: count, memory: memorySchema })
const conflictSchema = z.strictObject({ register: registerSchema })

export function parseReadBody(value: unknown): ReadBody {
  check(readSchema, value, 'answer of the witness')
  return value as ReadBody
}

export function parseSwapBody(value: unknown): SwapBody {
  check(swapSchema, value, 'answer of the witness')
  return value as SwapBody
}

export function parseConflictBody(value: unknown): { readonly register: Register } {
  check(conflictSchema, value, 'answer of the witness')
  return value as { readonly register: Register }
}

export function parseProposed(value: unknown): Omit<Register, 'version'> {
  check(proposedSchema, value, 'register')
  return value as Omit<Register, 'version'>
}

export const etagOf = (version: number): string => `"${version}"`

export function versionOfEtag(etag: string): number | undefined {
  const match = /^"(\d{1,15})"$/.exec(etag)
  return match ? Number(match[1]) : undefined
}
