/** A membership, and what else travels as JSON, checked strictly: what comes from a peer, a witness or a disk is a value of the type or refused. Pure. */
import * as z from 'zod/mini'
import type { Member, Membership } from '../protocol/membership.ts'
import type { Accepted, Register } from '../protocol/messages.ts'

const LONGEST_TEXT = 2000
const MOST_MEMBERS = 2000

const name = z.string().check(z.minLength(1), z.maxLength(253))
const text = z.string().check(z.maxLength(LONGEST_TEXT))
const count = z.int().check(z.nonnegative(), z.maximum(2 ** 47 - 1))
const names = z.array(name).check(z.maxLength(MOST_MEMBERS))

export const addressSchema = z.strictObject({
  path: z.string().check(z.minLength(1), z.maxLength(32)),
  host: name,
  port: z.int().check(z.minimum(1), z.maximum(65_535)),
})

/** A field that the type has and this has not, or the other way round, does not compile. */
type ShapeOf<T> = { readonly [K in keyof T]-?: z.ZodMiniType }

const memberSchema = z.strictObject({
  node: name,
  room: name,
  incarnation: name,
  addresses: z.array(addressSchema).check(z.maxLength(8)),
  standing: z.enum(['voting', 'observing', 'fenced']),
  lastFence: count,
  isInMaintenance: z.boolean(),
} satisfies ShapeOf<Member>)

const causeSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('genesis') }),
  z.strictObject({ kind: z.literal('fence'), nodes: names, by: name, reason: text }),
  z.strictObject({ kind: z.literal('unfence'), nodes: names, by: text }),
  z.strictObject({ kind: z.literal('votes-back'), nodes: names }),
  z.strictObject({ kind: z.literal('vote-shift'), witness: z.enum(['in', 'out']) }),
  z.strictObject({ kind: z.literal('join'), nodes: names }),
  z.strictObject({ kind: z.literal('no-op') }),
  z.strictObject({ kind: z.enum(['pause-fencing', 'resume-fencing']), by: text }),
  z.strictObject({ kind: z.literal('maintenance'), nodes: names, isOn: z.boolean(), by: text }),
  z.strictObject({ kind: z.literal('forced'), nodes: names, by: text }),
])

const membersSchema = z.array(memberSchema).check(
  z.maxLength(MOST_MEMBERS),
  z.refine(
    (members) => members.every(({ node }, index) => index === 0 || (members[index - 1]?.node ?? '') < node),
    'sorted by node, each once',
  ),
)

const votes = z.array(z.tuple([z.string().check(z.minLength(1), z.maxLength(520)), count])).check(z.maxLength(MOST_MEMBERS))

const confirmed = z.strictObject({ by: text, nodes: names })

const membershipShape = {
  clusterId: name,
  epoch: count,
  members: membersSchema,
  witness: z.nullable(z.strictObject({ incarnation: name, isVoting: z.boolean() })),
  preferredRoom: name,
  fencingPausedBy: z.nullable(text),
  votesBefore: votes,
  fenceVotes: z.array(z.strictObject({ epoch: count, votes, confirmed: z.optional(confirmed) })).check(z.maxLength(MOST_MEMBERS)),
  cause: causeSchema,
} satisfies ShapeOf<Membership>

export const membershipSchema = z.strictObject(membershipShape)

export const ballotSchema = z.strictObject({ round: count, node: name, incarnation: name })
export const acceptedSchema = z.strictObject({ ballot: ballotSchema, membership: membershipSchema })

export const registerSchema = z.strictObject({
  incarnation: name,
  version: count,
  membership: membershipSchema,
  accepted: z.nullable(acceptedSchema),
})

/**
 * Whether `value` passes. Take the value itself then, not the schema's copy: the digest of a membership depends on the order of its fields,
 * and that is the sender's.
 *
 * @throws Error with the first wrong field's path.
 */
export function check(schema: z.ZodMiniType, value: unknown, what: string): void {
  const result = schema.safeParse(value)
  if (result.success) return
  const [issue] = result.error.issues
  throw new Error(`${what}: ${issue?.path.join('.') ?? ''}: ${issue?.code ?? 'wrong'}`)
}

export function parseMembership(value: unknown): Membership {
  check(membershipSchema, value, 'membership')
  return value as Membership
}

export function parseAccepted(value: unknown): Accepted {
  check(acceptedSchema, value, 'accepted value')
  return value as Accepted
}

export function parseRegister(value: unknown): Register {
  check(registerSchema, value, 'register')
  return value as Register
}
