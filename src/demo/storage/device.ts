/** A replica as others use it: the block device that a virtual machine opens, and the state that drbdsetup reads and changes. */
import type { PeerConnection } from './peer-connection.ts'
import type { Fencing, Refusal, ResourceConfig, ResourceState } from './state.ts'

export type WriteResult = 'ok' | 'EIO'

export interface Opener {
  readonly command: string
  readonly pid: number
  readonly openedAt: Date
}

export interface Resource {
  readonly config: ResourceConfig
  readonly session: PeerConnection
  state(): ResourceState
  openers(): readonly Opener[]
  /** Opens the device for writing, promoting it if need be. Resolves to what forbids it, if anything does. */
  open(opener: Opener): Promise<Refusal | undefined>
  close(opener: Opener): void
  /** Writes one record; the answer may never come (a frozen device hangs). */
  write(line: string, answer: (result: WriteResult) => void): void
  read(): string
  promote(force: boolean): Promise<Refusal | undefined>
  demote(force: boolean): Refusal | undefined
  resumeIo(): void
  outdate(): Refusal | undefined
  setFencing(fencing: Fencing): void
  connect(discardMyData: boolean): Refusal | undefined
  disconnect(force: boolean): Promise<void>
}
