/** What the values of the Helm chart mean and allow: values.schema.json and the table in docs/install.md are made from it. Pure. */
import * as z from 'zod/mini'
import { field, type Meaning, meaningOf } from '../src/config/fields.ts'
import { configurationSchema } from '../src/config/schema.ts'
import { childrenOf, elementOf, unwrap } from '../src/config/shape.ts'

const text = (meaning: string, pattern: RegExp, allowed: string) => field(z.string().check(z.regex(pattern)), meaning, allowed)
const name = (meaning: string) => text(meaning, /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, 'a name of Kubernetes')
const directory = (meaning: string) => text(meaning, /^\/[A-Za-z0-9._/-]*$/, 'an absolute path')
const flag = (meaning: string) => field(z.boolean(), meaning, 'true or false')
const choice = <const T extends readonly [string, ...string[]]>(values: T, meaning: string) =>
  field(z.enum(values), meaning, `one of ${values.join(', ')}`)
const labels = (meaning: string) => field(z.record(z.string(), z.string()), meaning, 'a mapping of texts')
const group = <S extends z.core.$ZodShape>(shape: S, meaning: string) => field(z.strictObject(shape), meaning, '')

const quantities = (meaning: string) =>
  field(
    z.record(z.string(), z.union([z.string().check(z.minLength(1)), z.number().check(z.positive())])),
    meaning,
    'a mapping of resource to quantity',
  )

const toleration = group(
  {
    key: z.exactOptional(z.string()),
    operator: z.exactOptional(z.enum(['Exists', 'Equal'])),
    value: z.exactOptional(z.string()),
    effect: z.exactOptional(z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute'])),
    tolerationSeconds: z.exactOptional(z.int()),
  },
  'A toleration.',
)

/** All of it is required, as the defaults stand in values.yaml alone. `config` is the agent's own schema, see `configSchema`. */
export const chartSchema = z.strictObject({
  image: group(
    {
      repository: text('Where the image is.', /^[^\s]+$/, 'an image without its tag'),
      tag: text('Empty: the version of the chart.', /^[A-Za-z0-9_.-]{0,128}(@sha256:[0-9a-f]{64})?$/, 'a tag, a digest may follow'),
      pullPolicy: choice(['IfNotPresent', 'Always', 'Never'], 'When it is pulled.'),
      pullSecrets: field(z.array(name('A Secret.')), 'Secrets for pulling it.', 'a list of names'),
    },
    'The one image of agents and init.',
  ),
  roomLabel: text(
    'The node label whose value is the room. Nodes without it get no agent.',
    /^([a-z0-9]([a-z0-9.-]*[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/,
    'a label key',
  ),
  host: group(
    {
      kubeletDirectory: directory('The kubelet’s root directory. Some distributions have another one.'),
      stateDirectory: directory('Where agents remember what they promised. On a disk that outlives a reboot.'),
      cgroupDirectory: directory('Where cgroup v2 is mounted.'),
      deviceDirectory: directory('Where the watchdog’s device is.'),
    },
    'Where things are on every host. Configuration and mounts follow.',
  ),
  keys: group(
    {
      secretName: name('The Secret with the key of the heartbeats, as `key`.'),
      hasPrevious: flag('The Secret has the key before, too, as `previous`.'),
    },
    'Authentication of heartbeats.',
  ),
  witness: group(
    {
      kind: choice(['http', 'none'], 'With `none`, the preferred room survives a cut, and its loss needs an operator.'),
      url: text('Address of the witness.', /^https:\/\/[^/@\s]+(\/[^?#\s]*)?$/, 'an https:// address'),
      secretName: name('The Secret with `ca.crt` and `token`.'),
      timeoutMs: field(
        z.exactOptional(z.int().check(z.minimum(50), z.maximum(60_000))),
        'How long one call may take. Left out: the agent’s default.',
        'milliseconds from 50 to 60000',
      ),
    },
    'The third vote, outside both rooms.',
  ),
  init: group(
    {
      preferredRoom: text(
        'The room that goes on when no vote decides. Empty: no `roomfence init`.',
        /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/,
        'a value of the room label, or empty',
      ),
    },
    'Genesis, once, as a hook after `helm install`.',
  ),
  priorityClassName: name('Priority of the agents.'),
  tolerations: field(z.array(toleration), 'A fenced, unreachable or cordoned node needs its agent most.', 'a list of tolerations'),
  resources: group(
    {
      requests: quantities('What an agent is sure to get.'),
      limits: quantities('No limit of the CPU: an agent that is throttled pets its watchdog late.'),
    },
    'Of the agent’s container.',
  ),
  updateStrategy: group(
    {
      type: choice(['RollingUpdate', 'OnDelete'], '`OnDelete` where the watchdog has `nowayout`.'),
      maxUnavailable: field(z.int().check(z.minimum(1)), 'Voters that are updated at once.', 'a whole number from 1'),
    },
    'Of the DaemonSet.',
  ),
  podAnnotations: labels('More annotations of the agents’ pods.'),
  isPrivileged: flag('False: root with two capabilities, where a device plugin hands out the watchdog.'),
  crds: group({ enabled: flag('Install and upgrade the CRDs. They stay when the release goes.') }, 'The kinds of roomfence.'),
  rbac: group(
    {
      aggregateToView: flag('Whoever has the role `view` in the whole cluster reads fences.'),
      aggregateOperatorTo: field(
        z.array(choice(['edit', 'admin'], 'A role of Kubernetes.')),
        'Roles of Kubernetes that get all rights of `roomfence-operator`.',
        'a list of edit, admin',
      ),
    },
    'Rights of human beings.',
  ),
  admissionPolicies: group(
    {
      enabled: flag('Who may write roomfence’s annotations on Nodes, and what agents may change.'),
      action: choice(['Deny', 'Warn', 'Audit'], 'What happens to a write that breaks them.'),
    },
    'ValidatingAdmissionPolicies.',
  ),
  monitoring: group(
    {
      scrapeAnnotations: flag('`prometheus.io/scrape` on the agents’ pods.'),
      podMonitor: group(
        {
          enabled: flag('Needs the CRDs of the Prometheus operator.'),
          interval: text('How often.', /^[0-9]+(ms|s|m)$/, 'a time, as `10s`'),
          labels: labels('By which your Prometheus finds it.'),
        },
        'A PodMonitor.',
      ),
      prometheusRule: group(
        { enabled: flag('Needs the CRDs of the Prometheus operator.'), labels: labels('By which your Prometheus finds it.') },
        'The alerts of deploy/alerts.',
      ),
      dashboards: group(
        { enabled: flag('One ConfigMap for each of deploy/dashboards.'), labels: labels('By which Grafana’s sidecar finds them.') },
        'Dashboards for Grafana.',
      ),
    },
    'For Prometheus and Grafana.',
  ),
  networkPolicy: group(
    { enabled: flag('Nothing reaches the pod of init. Agents are in the host’s network: see below.') },
    'NetworkPolicy.',
  ),
  plainManifests: flag('For deploy/render.ts alone: with the namespace, without what only Helm reads.'),
})

type Json = z.core.JSONSchema.BaseSchema

/** Go's regular expressions, by which Helm checks, know no looking ahead: the agent checks these itself. */
const isForGo = (pattern: string | undefined): boolean => pattern === undefined || !pattern.includes('(?=')

function described({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodType; jsonSchema: Json }): void {
  const meaning = meaningOf(zodSchema)
  if (meaning !== undefined) jsonSchema.description = meaning.text
  if (!isForGo(jsonSchema.pattern)) delete jsonSchema.pattern
}

const without = (schema: Json | undefined, ...fields: readonly string[]): Json => ({
  ...schema,
  properties: Object.fromEntries(Object.entries(schema?.properties ?? {}).filter(([key]) => !fields.includes(key))),
})

/** Values are laid over defaults field by field, so a choice of mappings becomes one mapping: what its kind does not have is left out. */
function flat(schema: Json): Json {
  const forms = (schema.oneOf ?? schema.anyOf ?? []) as readonly Json[]
  const properties: Record<string, Json> = Object.assign({}, ...forms.map((form) => form.properties))
  const kinds = forms.map((form) => (form.properties?.['kind'] as Json | undefined)?.const as string)
  return { type: 'object', properties: { ...properties, kind: { enum: kinds } }, required: ['kind'], additionalProperties: false }
}

/** The agent's configuration without what the chart itself fills in from another value. */
function configSchema(): Json {
  const agent = z.toJSONSchema(configurationSchema, { io: 'input', override: described }) as Json
  const config = without(agent, 'node', 'cluster', 'keys', 'witness', 'stateDirectory')
  const { watchdog, containment, ...others } = config.properties as Record<string, Json>
  return {
    type: 'object',
    description: 'The agent’s own configuration: docs/configuration.md.',
    properties: { ...others, watchdog: flat(watchdog ?? {}), containment: without(containment, 'kubeletDirectory', 'cgroupRoot') },
    required: ['paths', 'watchdog', 'containment', 'drbd', 'observe', 'log', 'isDryRun'],
    additionalProperties: false,
  }
}

export function valuesSchemaText(): string {
  const chart = z.toJSONSchema(chartSchema, { io: 'input', target: 'draft-2020-12', override: described }) as Json
  const schema = {
    ...chart,
    // Helm hands `global` to every chart that is a part of another.
    properties: { ...chart.properties, config: configSchema(), global: { type: 'object' } },
    required: [...(chart.required ?? []), 'config'],
  }
  return `${JSON.stringify(schema, undefined, 2)}\n`
}

const cell = (words: string): string => words.replaceAll('|', '\\|')

/** @param values what values.yaml says */
export function valuesTable(values: unknown): string {
  const rows = (schema: z.core.$ZodType, path: string, value: unknown): readonly string[] =>
    childrenOf(schema).flatMap(({ key, schema: child }) => {
      const at = path === '' ? key : `${path}.${key}`
      const { text: means, allowed } = meaningOf(child) as Meaning
      const standard = (value as Record<string, unknown> | undefined)?.[key]
      if (childrenOf(child).length > 0 && elementOf(child) === undefined) return rows(child, at, standard)
      const shown = standard === undefined && unwrap(child).isOptional ? 'left out' : `\`${JSON.stringify(standard)}\``
      return [`| \`${at}\` | ${cell(means)} | ${cell(allowed)} | ${cell(shown)} |`]
    })
  return ['| value | meaning | allowed | default |', '|---|---|---|---|', ...rows(chartSchema, '', values)].join('\n')
}
