/** `npm run render`: deploy/*.yaml and the schema of the chart's values, made from deploy/chart, so that what is applied by hand is what Helm installs. */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { valuesSchemaText, valuesTable } from './chart-values.ts'

const deploy = fileURLToPath(new URL('.', import.meta.url))
export const chartDirectory = `${deploy}chart`

/** The file of deploy/ that each template of the chart is, in the order in which kubectl takes them. What is not here is Helm's alone. */
const plainFiles: Readonly<Record<string, string>> = {
  '00-namespace.yaml': '00-namespace.yaml',
  '10-rbac.yaml': '10-rbac.yaml',
  '12-roles.yaml': '12-roles.yaml',
  '15-admission.yaml': '15-admission.yaml',
  '20-config.yaml': '20-config.yaml',
  '30-agent.yaml': '30-agent.yaml',
  'init.yaml': 'init/genesis.yaml',
}

/** CHANGE ME in the file: with Helm there is no such default. */
const plainValues = ['plainManifests=true', 'init.preferredRoom=room-a']

/** @throws with Helm's own words when it refuses */
export function helm(program: string, parameters: readonly string[]): string {
  const { error, status, stdout, stderr } = spawnSync(program, parameters, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })
  if (error) throw new Error(`${program}: ${error.message}; HELM names another one, and node test/cluster/build/helm.ts builds one`)
  if (status !== 0) throw new Error(`helm ${parameters.join(' ')}: ${stderr}`)
  return stdout
}

/** What `helm template` gives for these values, by template, with the comments that stand in it. */
export function rendered(program: string, values: readonly string[] = [], more: readonly string[] = []): ReadonlyMap<string, string> {
  const set = values.flatMap((value) => ['--set', value])
  const text = helm(program, ['template', 'roomfence', chartDirectory, '--namespace', 'roomfence', ...set, ...more])
  const files = new Map<string, string>()
  for (const part of text.split(/^---\n# Source: roomfence\/templates\//m).slice(1)) {
    const end = part.indexOf('\n')
    const name = part.slice(0, end)
    const body = part.slice(end + 1).trim()
    const before = files.get(name)
    files.set(name, before === undefined ? `${body}\n` : `${before}---\n${body}\n`)
  }
  return files
}

/** The files of deploy/ by name, as they shall be. */
export function plainManifests(program: string): ReadonlyMap<string, string> {
  const files = rendered(program, plainValues)
  return new Map(
    Object.entries(plainFiles).map(([template, file]) => {
      const text = files.get(template)
      if (text === undefined) throw new Error(`the chart gives no ${template}; it gives ${[...files.keys()].join(', ')}`)
      return [file, `# Rendered from deploy/chart/templates/${template} (npm run render): what is to last is changed there.\n${text}`]
    }),
  )
}

/** The page with the table of values as it shall be. */
const withTable = (page: string): string => {
  const table = valuesTable(parse(readFileSync(`${chartDirectory}/values.yaml`, 'utf8')))
  return page.replace(
    /(npm run render -->\n\n)[^]*?\n?(<!-- end of the table -->)/,
    (_all, before, after) => `${before}${table}\n\n${after}`,
  )
}

if (import.meta.main) {
  const page = `${deploy}../docs/install.md`
  writeFileSync(page, withTable(readFileSync(page, 'utf8')))
  writeFileSync(`${chartDirectory}/values.schema.json`, valuesSchemaText())
  for (const [file, text] of plainManifests(process.env['HELM'] || 'helm')) {
    writeFileSync(`${deploy}${file}`, text)
    process.stdout.write(`deploy/${file}\n`)
  }
}
