/** `roomfence init` from the command line. */
import { initialise } from '../agent/init.ts'
import { loadConfiguration } from '../config/load.ts'
import { createKubeClient } from '../kubernetes/client.ts'
import { kubeconfigCredentials, serviceAccountCredentials } from '../kubernetes/credentials.ts'
import { incarnation, nodeId } from '../protocol/ids.ts'
import { createHttpWitness } from '../witness/http-client.ts'

export async function runInit(configFile: string, preferredRoom: string, nodes: readonly string[] | undefined): Promise<void> {
  const configuration = loadConfiguration(configFile, process.env)
  const { namespace, roomLabel, kubeconfig } = configuration.cluster
  const client = createKubeClient({ credentials: kubeconfig === '' ? serviceAccountCredentials() : kubeconfigCredentials(kubeconfig) })
  const witness =
    configuration.witness.kind === 'http'
      ? createHttpWitness({ ...configuration.witness, reader: { node: nodeId(configuration.node), incarnation: incarnation('init') } })
      : null
  try {
    await initialise({
      client,
      witness,
      namespace,
      roomLabel,
      preferredRoom,
      ...(nodes ? { nodes } : {}),
      say: (line) => process.stdout.write(`${line}\n`),
    })
  } finally {
    witness?.close()
    client.close()
  }
}
