/** A client for work that only some may do, at times: whether they may is asked in the moment in which each write is sent. */
import type { KubeClient, PatchOptions } from './client.ts'

/** Reads stay as they are; a write is refused as `unavailable` while `may` answers no, so that it is tried again or given up like any other. */
export function guardedWrites(client: KubeClient, may: () => boolean): KubeClient {
  const guarded = (options: PatchOptions | undefined): PatchOptions => ({ ...options, may })
  return {
    ...client,
    create: (path, body, options) => client.create(path, body, guarded(options)),
    patchMerge: (path, body, options) => client.patchMerge(path, body, guarded(options)),
    patchJson: (path, operations, options) => client.patchJson(path, operations, guarded(options)),
    patchStrategic: (path, body, options) => client.patchStrategic(path, body, guarded(options)),
    put: (path, body, options) => client.put(path, body, guarded(options)),
    delete: (path, options) => client.delete(path, { ...options, may }),
    putSubresource: (path, body, options) => client.putSubresource(path, body, guarded(options)),
  }
}
