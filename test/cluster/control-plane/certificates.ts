/** The certificates of a test's control plane, as the files its programs read. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAuthority, type Credentials } from '../../../src/demo/certificates.ts'

export interface CredentialFiles {
  readonly certificateFile: string
  readonly keyFile: string
}

export interface AuthorityFiles {
  readonly pem: string
  readonly certificateFile: string
  server(name: string, hosts: readonly string[]): CredentialFiles
  client(name: string, groups?: readonly string[]): CredentialFiles
}

/** One authority for servers, clients and the API server's front proxy; its key stays in memory. */
export const authorityFiles = (directory: string): AuthorityFiles => {
  const authority = createAuthority('roomfence-test')
  const write = (file: string, text: string): string => {
    const path = join(directory, file)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const writePair = (file: string, { certificatePem, keyPem }: Credentials): CredentialFiles => ({
    certificateFile: write(`${file}.crt`, certificatePem),
    keyFile: write(`${file}.key`, keyPem),
  })
  return {
    pem: authority.certificatePem,
    certificateFile: write('ca.crt', authority.certificatePem),
    server: (name, hosts) => writePair(`server-${name}`, authority.server(name, hosts)),
    client: (name, groups) => writePair(`client-${name.replaceAll(':', '-')}`, authority.client(name, groups)),
  }
}
