/** Certificates of the test's control plane, made with the openssl program. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface KeyPair {
  readonly certificateFile: string
  readonly keyFile: string
}

export interface Authority extends KeyPair {
  readonly pem: string
  issue(wanted: {
    readonly file: string
    /** As openssl writes it: `/O=system:masters/CN=admin`. */
    readonly subject: string
    /** `DNS:localhost`, `IP:127.0.0.1` */
    readonly alternativeNames?: readonly string[]
    readonly usages: readonly ('serverAuth' | 'clientAuth')[]
  }): KeyPair
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

const openssl = (args: readonly string[]): void => {
  try {
    execFileSync('openssl', [...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  } catch (error) {
    throw new Error('the cluster tests need the openssl program to make certificates', { cause: error })
  }
}

/** Writes everything into `directory`. */
export const certificateAuthority = (directory: string): Authority => {
  const at = (file: string): string => join(directory, file)
  const pair = (file: string): KeyPair => ({ certificateFile: at(`${file}.crt`), keyFile: at(`${file}.key`) })
  const ca = pair('ca')
  openssl(['req', '-x509', ...newKey, '-days', '30', '-subj', '/CN=roomfence-test', '-keyout', ca.keyFile, '-out', ca.certificateFile])
  return {
    ...ca,
    pem: readFileSync(ca.certificateFile, 'utf8'),
    issue: ({ file, subject, alternativeNames = [], usages }) => {
      const issued = pair(file)
      const extensions = at(`${file}.ext`)
      const names = alternativeNames.length === 0 ? '' : `subjectAltName=${alternativeNames.join(',')}\n`
      writeFileSync(extensions, `${names}extendedKeyUsage=${usages.join(',')}\n`)
      openssl(['req', ...newKey, '-subj', subject, '-keyout', issued.keyFile, '-out', at(`${file}.csr`)])
      openssl([
        ...['x509', '-req', '-in', at(`${file}.csr`), '-CA', ca.certificateFile, '-CAkey', ca.keyFile, '-CAcreateserial'],
        ...['-days', '30', '-extfile', extensions, '-out', issued.certificateFile],
      ])
      return issued
    },
  }
}
