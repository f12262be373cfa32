/**
 * The contract, against any API server of a kubeconfig named by ROOMFENCE_CONTRACT_KUBECONFIG (a token of `system:masters`); it creates
 * and deletes namespaces, nodes and a CustomResourceDefinition there. Without the variable there is nothing to run: test/cluster
 * carries the same suites out against a control plane of its own.
 */
import { readFileSync } from 'node:fs'
import { describe } from 'vitest'
import { parse } from 'yaml'
import { at, type Connection, textAt } from '../../support/api-connection.ts'
import { apiContract } from './contract.ts'

const path = process.env['ROOMFENCE_CONTRACT_KUBECONFIG']

function connectionOf(file: string): Connection {
  const config: unknown = parse(readFileSync(file, 'utf8'))
  const caPem = Buffer.from(textAt(config, 'clusters.0.cluster.certificate-authority-data'), 'base64').toString()
  if (at(config, 'users.0.user.token') === undefined) throw new Error(`${file}: users[0].user.token is missing: the contract needs a token`)
  return { url: textAt(config, 'clusters.0.cluster.server'), caPem, token: textAt(config, 'users.0.user.token') }
}

describe.skipIf(path === undefined)('a real API server keeps the contract', () => {
  const connection = path === undefined ? undefined : connectionOf(path)
  apiContract(() => {
    if (connection === undefined) throw new Error('ROOMFENCE_CONTRACT_KUBECONFIG is not set')
    return connection
  })
})
