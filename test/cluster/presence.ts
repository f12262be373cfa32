/** Whether the cluster tests run here: everywhere, unless `ROOMFENCE_SKIP_CLUSTER=1` says otherwise, which CI may not. */

/** For `describe.skipIf`. What is missing on the machine is an error of the test, never a skip. */
export const isClusterSkipped = (env: NodeJS.ProcessEnv = process.env): boolean => {
  const isAsked = env['ROOMFENCE_SKIP_CLUSTER'] === '1'
  if (isAsked && env['CI'] === 'true') throw new Error('ROOMFENCE_SKIP_CLUSTER=1 with CI=true: in CI the cluster tests must run')
  if (isAsked) process.stderr.write('SKIPPED: cluster tests, by ROOMFENCE_SKIP_CLUSTER=1\n')
  return isAsked
}
