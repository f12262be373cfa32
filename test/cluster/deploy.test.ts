/** deploy/ on a real API server: every manifest is accepted, field by field; and Helm installs, changes and removes the same. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { chartDirectory, helm, rendered } from '../../deploy/render.ts'
import { deployContract } from '../deploy/deploy-contract.ts'
import { applyManifests, type Manifest } from '../deploy/manifests.ts'
import type { ApiObject } from '../support/api-client.ts'
import { helmProgram } from './build/programs.ts'
import { type ControlPlane, ensureNamespace, startControlPlane } from './control-plane/start.ts'
import { isClusterSkipped } from './presence.ts'

const everyOption = [
  'init.preferredRoom=room-a',
  'monitoring.dashboards.enabled=true',
  'networkPolicy.enabled=true',
  'isPrivileged=false',
  'config.containment.rebootMethod=none',
  'rbac.aggregateOperatorTo={admin}',
  'image.pullSecrets={registry}',
  'updateStrategy.type=OnDelete',
]

describe.skipIf(isClusterSkipped())('a real API server', () => {
  let controlPlane: ControlPlane | undefined
  beforeAll(async () => {
    controlPlane = await startControlPlane()
  })
  afterAll(async () => controlPlane?.stop())

  deployContract(() => {
    if (controlPlane === undefined) throw new Error('the control plane is not up yet')
    return { url: controlPlane.url, caPem: controlPlane.caPem, token: controlPlane.adminToken }
  })

  describe('the chart', () => {
    const namespace = 'fencing'
    let program = ''
    const running = (): ControlPlane => {
      if (controlPlane === undefined) throw new Error('the control plane is not up yet')
      return controlPlane
    }
    const release = (command: string, ...parameters: readonly string[]): string =>
      helm(program, [command, 'roomfence', ...parameters, '--namespace', namespace, '--kubeconfig', running().kubeconfigFile])
    beforeAll(async () => {
      program = await helmProgram()
      await ensureNamespace(running().client, namespace)
    })

    test('gives with every option what the server takes, with no field that it does not know', async () => {
      const manifests = [...rendered(program, everyOption, ['--namespace', namespace]).values()].flatMap((text) =>
        parseAllDocuments(text, { version: '1.1' }).flatMap((document) => (document.toJS() as Manifest | null) ?? []),
      )
      const { url, caPem, adminToken } = running()
      const applied = await applyManifests({ url, caPem, token: adminToken }, manifests, true)
      expect(applied.filter(({ reply }) => reply.status !== 201).map(({ reply }) => reply.body)).toEqual([])
      expect(applied.map(({ manifest }) => manifest.kind)).toContain('NetworkPolicy')
    })

    test('is installed, changed and removed, and its definitions stay', async () => {
      const { client } = running()
      const configuration = async (): Promise<string> =>
        (await client.get<{ readonly data: Record<string, string> } & ApiObject>(`/api/v1/namespaces/${namespace}/configmaps/roomfence`))
          .data['roomfence.yaml'] ?? ''
      const policies = '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies'
      release('install', chartDirectory)
      expect(await configuration()).toContain('isDryRun: false')
      expect(await client.list(policies)).toHaveLength(8)
      release('upgrade', chartDirectory, '--set', 'config.isDryRun=true,admissionPolicies.enabled=false')
      expect(await configuration()).toContain('isDryRun: true')
      expect(await client.list(policies)).toEqual([])
      release('uninstall')
      await expect(configuration()).rejects.toThrow('404')
      const definition = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/fences.roomfence.io'
      expect((await client.get(definition)).metadata.deletionTimestamp).toBeUndefined()
      await client.remove(definition)
    })
  })
})
