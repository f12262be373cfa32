/** docs/configuration.md, made from the schemas, so that the page and the program cannot disagree. Pure. */
import type * as z from 'zod/mini'
import { variableOf } from './environment.ts'
import { meaningOf } from './fields.ts'
import { configurationSchema, witnessSchema } from './schema.ts'
import { childrenOf, elementOf, leavesOf, unwrap } from './shape.ts'

interface Row {
  readonly path: string
  readonly text: string
  readonly allowed: string
  readonly defaultText: string
}

const cell = (text: string): string => text.replaceAll('|', '\\|')

function defaultTextOf(schema: z.core.$ZodType): string {
  const { defaultValue, isOptional } = unwrap(schema)
  if (defaultValue === undefined) return isOptional ? 'left out' : 'required'
  return `\`${JSON.stringify(defaultValue)}\``
}

function rowsOf(schema: z.core.$ZodType, path: string): readonly Row[] {
  return childrenOf(schema).flatMap(({ key, schema: child }) => {
    const at = path === '' ? key : `${path}.${key}`
    const meaning = meaningOf(child)
    const element = elementOf(child)
    const inside = element ? rowsOf(element, `${at}[]`) : rowsOf(child, at)
    const isGroup = childrenOf(child).length > 0
    const text = meaning?.text ?? (key === 'kind' ? 'Which of the forms.' : '')
    const row: Row = {
      path: at,
      text,
      allowed: meaning?.allowed ?? '',
      defaultText: isGroup && !meaning?.allowed.includes('kind') ? '' : defaultTextOf(child),
    }
    return [row, ...inside]
  })
}

function table(schema: z.core.$ZodType): string {
  const lines = rowsOf(schema, '').map(
    ({ path, text, allowed, defaultText }) => `| \`${path}\` | ${cell(text)} | ${cell(allowed)} | ${cell(defaultText)} |`,
  )
  return ['| field | meaning | allowed | default |', '|---|---|---|---|', ...lines].join('\n')
}

const example = variableOf(['timings', 'permitMs'])

export function configurationPage(): string {
  return `# Configuration

<!-- Made from src/config/schema.ts. Change it there, then: UPDATE_DOCS=1 npx vitest run --project unit src/config -->

The agent (\`roomfence agent --config FILE\`) and the witness (\`roomfence witness --config FILE\`) each read one YAML
file.

- Every field with a single value can also be set by the environment, which wins. The variable is \`ROOMFENCE_\` and the
  path in capitals: \`timings.permitMs\` is \`${example}\`.
- \`\${NAME}\` inside a text of the file is replaced by that variable. One that is not set is an error.
- Unknown fields are errors, and all errors are reported at once.
- Files with secrets are named, never their contents.

## Agent

${table(configurationSchema)}

There are ${leavesOf(configurationSchema).length} single-valued fields. Rules between them are in \`src/config/rules.ts\`: four heartbeats to a permit,
detection before the permit ends, and so on. Each says in its error what it compares and why.

## Witness

${table(witnessSchema)}
`
}
