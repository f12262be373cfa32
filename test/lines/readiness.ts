/** Waiting for nodes that were switched on. */
import type { Bed } from './bed.ts'
import type { AnyObject } from './recording.ts'

export const nodesReady = async (bed: Bed, names: readonly string[]): Promise<unknown> =>
  bed.until(
    `${names.join(', ')} are Ready`,
    async () => {
      const nodes = await Promise.all(names.map(async (name) => bed.api.get<AnyObject>(`/api/v1/nodes/${name}`)))
      return nodes.every(({ status }) =>
        (status as { conditions: readonly { type: string; status: string }[] }).conditions.some(
          (condition) => condition.type === 'Ready' && condition.status === 'True',
        ),
      )
    },
    60_000,
  )
