/** The manifests in deploy/, read as kubectl reads them, and applied to an API server. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import { call, type Connection, eventually, type Reply } from '../support/api-connection.ts'

export const deployFolder = fileURLToPath(new URL('../../deploy/', import.meta.url))

export interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string }
  readonly [field: string]: unknown
}

/** In the order in which they are applied: `kubectl apply -f deploy/crds/ -f deploy/`, then what stands apart. */
const manifestFolders = ['crds', '.', 'init', 'witness'] as const

/** Never applied as they are: their values are empty. */
const exampleFolder = 'examples'

/** Kubernetes reads YAML 1.1, where 0400 is octal. */
function manifestsIn(text: string): readonly Manifest[] {
  return parseAllDocuments(text, { version: '1.1', uniqueKeys: true }).map((document) => {
    const [error] = [...document.errors, ...document.warnings]
    if (error) throw error
    return document.toJS() as Manifest
  })
}

export const manifestFiles = (folder: string): readonly string[] =>
  readdirSync(join(deployFolder, folder))
    .filter((name) => name.endsWith('.yaml'))
    .toSorted()
    .map((name) => join(folder, name))

const readManifests = (folder: string): readonly Manifest[] =>
  manifestFiles(folder)
    .flatMap((file) => manifestsIn(readFileSync(join(deployFolder, file), 'utf8')))
    .filter((manifest) => 'kind' in manifest)

export const allManifests = (): readonly Manifest[] => manifestFolders.flatMap(readManifests)
export const exampleManifests = (): readonly Manifest[] => readManifests(exampleFolder)

export function manifest(kind: string, name: string): Manifest {
  const found = allManifests().find((one) => one.kind === kind && one.metadata.name === name)
  if (found === undefined) throw new Error(`deploy/ has no ${kind} ${name}`)
  return found
}

function collectionOf({ apiVersion, kind, metadata }: Manifest): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  const space = metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`
  return `${root}${space}/${kind.toLowerCase().replace(/y$/, 'ie')}s`
}

export interface Applied {
  readonly manifest: Manifest
  readonly reply: Reply
}

/** Creates everything with strict field validation, so that a misspelt field is refused and not dropped. `isDryRun` leaves nothing behind. */
export async function applyManifests(
  connection: Connection,
  manifests: readonly Manifest[],
  isDryRun = false,
): Promise<readonly Applied[]> {
  const applied: Applied[] = []
  for (const manifest of manifests) {
    const query = `?fieldValidation=Strict${isDryRun ? '&dryRun=All' : ''}`
    applied.push({ manifest, reply: await call(connection, 'POST', `${collectionOf(manifest)}${query}`, { body: manifest }) })
  }
  return applied
}

/** Takes away what `applyManifests` made, the last first, and waits for the namespaces and definitions to be gone. */
export async function removeManifests(connection: Connection, manifests: readonly Manifest[]): Promise<void> {
  for (const manifest of manifests.toReversed()) {
    const path = `${collectionOf(manifest)}/${manifest.metadata.name}`
    await call(connection, 'DELETE', path, { body: { propagationPolicy: 'Background' } })
  }
  for (const manifest of manifests.filter(({ kind }) => kind === 'CustomResourceDefinition'))
    await eventually(
      () => call(connection, 'GET', `${collectionOf(manifest)}/${manifest.metadata.name}`),
      ({ status }) => status === 404,
    )
}
