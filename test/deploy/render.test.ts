/** The chart agrees with the code and the docs: its values, their schema and their table. What Helm makes of it: test/cluster/chart.test.ts. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { describe, expect, test } from 'vitest'
import { chartSchema, valuesSchemaText, valuesTable } from '../../deploy/chart-values.ts'
import { deployFolder } from './manifests.ts'

const read = (file: string): string => readFileSync(join(deployFolder, file), 'utf8')
const values = parse(read('chart/values.yaml')) as Record<string, unknown>

/** Mappings whose keys are the user's own. */
const openMappings = ['resources.requests', 'resources.limits', 'podAnnotations', 'labels', 'global', 'config.peerAddresses']

describe('the values of the chart', () => {
  test('are those that the schema knows, each with a default', () => {
    const { config, ...own } = values
    expect(chartSchema.safeParse(own).error?.issues).toBeUndefined()
    expect(config).toMatchObject({ watchdog: { kind: 'device' } })
  })

  test('have the schema that is made from the code: npm run render', () => {
    expect(read('chart/values.schema.json')).toBe(valuesSchemaText())
  })

  test('are refused at every place where a name is not known', () => {
    const open: string[] = []
    const look = (schema: unknown, path: readonly string[]): void => {
      if (typeof schema !== 'object' || schema === null) return
      const { type, additionalProperties } = schema as Record<string, unknown>
      if (type === 'object' && additionalProperties !== false) open.push(path.filter((key) => key !== 'properties').join('.'))
      for (const [key, inside] of Object.entries(schema)) look(inside, [...path, key])
    }
    look(JSON.parse(valuesSchemaText()), [])
    expect(open.filter((path) => !openMappings.some((one) => path.endsWith(one)))).toEqual([])
    expect(open).toContain('global')
  })

  test('leave what the chart fills in from another value out of `config`', () => {
    const { properties } = JSON.parse(valuesSchemaText()) as { properties: { config: { properties: Record<string, object> } } }
    const fields = Object.keys(properties.config.properties)
    expect(fields).toContain('timings')
    for (const field of ['node', 'cluster', 'keys', 'witness', 'stateDirectory']) expect(fields).not.toContain(field)
    expect(JSON.stringify(properties.config.properties['containment'])).not.toMatch(/kubeletDirectory|cgroupRoot/)
  })

  test('stand in docs/install.md: npm run render', () => {
    expect(read('../docs/install.md')).toContain(`\n${valuesTable(values)}\n`)
  })
})

test('the chart has the version of the package', () => {
  const { version } = JSON.parse(read('../package.json')) as { version: string }
  expect(parse(read('chart/Chart.yaml'))).toMatchObject({ version, appVersion: version })
})

test.each(['alerts', 'crds', 'dashboards'])(
  'the chart holds all of deploy/%s, by links: ln -s ../../../FOLDER/FILE deploy/chart/files/FOLDER/',
  (folder) => {
    const files = readdirSync(join(deployFolder, folder))
    expect(readdirSync(join(deployFolder, 'chart/files', folder))).toEqual(files)
    for (const file of files) expect(read(`chart/files/${folder}/${file}`)).toBe(read(`${folder}/${file}`))
  },
)
