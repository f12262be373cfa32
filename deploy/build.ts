/** `npm run build`: one minified bundle of the commands that run on a cluster, dist/roomfence.mjs. Why a bundle: docs/decisions. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** The demo starts its programs from files beside it and the simulator is for developers: both stay in the checkout. */
const leftOut: Plugin = {
  name: 'left-out',
  setup(builder) {
    builder.onResolve({ filter: /^\.\.\/(?:demo|sim)\// }, ({ path }) => ({ path, namespace: 'left-out' }))
    builder.onLoad({ filter: /.*/, namespace: 'left-out' }, () => ({
      contents: `const absent = async () => { throw new Error('this command is not in the bundle: run it from a checkout, npm ci && npm run demo') }
        export { absent as demo, absent as simulate }`,
    }))
  },
}

const packageOf = (file: string): string | undefined => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]

/** What the licences of the bundled packages ask for: their texts, beside the bundle. */
function licencesOf(files: readonly string[]): string {
  const packages = [...new Set(files.flatMap((file) => packageOf(file) ?? []))].toSorted()
  return packages
    .map((name) => {
      const folder = join(root, 'node_modules', name)
      const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string; license?: string }
      const texts = readdirSync(folder).filter((file) => /^(?:licen[cs]e|copying|notice)/i.test(file))
      const shown = texts.map((file) => readFileSync(join(folder, file), 'utf8').trim())
      return `${name} ${version} (${license ?? 'no licence named'})\n\n${shown.join('\n\n')}\n`
    })
    .join(`\n${'-'.repeat(80)}\n\n`)
}

const versionOfPackage = (): string => (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version

/** Writes the bundle, and the licences of what is in it beside it; returns the names of the files that went into the bundle. */
export async function buildBundle(outfile: string): Promise<readonly string[]> {
  mkdirSync(dirname(outfile), { recursive: true })
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: ['src/cli/main.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    minify: true,
    keepNames: true,
    legalComments: 'none',
    define: { BUNDLE_VERSION: JSON.stringify(versionOfPackage()) },
    metafile: true,
    // CommonJS packages inside an ES module still ask for `require`.
    banner: { js: `import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);` },
    plugins: [leftOut],
    logLevel: 'warning',
  })
  const files = Object.keys(metafile.inputs)
  writeFileSync(join(dirname(outfile), 'licences.txt'), licencesOf(files))
  return files
}

if (import.meta.main) {
  const outfile = `${root}dist/roomfence.mjs`
  await buildBundle(outfile)
  process.stdout.write(`${outfile}\n`)
}
