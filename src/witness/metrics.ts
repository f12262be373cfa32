/** The witness's few numbers, in Prometheus' text format. */
import type { KeptRegister } from './kept-register.ts'

const OUTCOMES = ['counted', 'uncounted', 'written', 'conflict', 'none', 'busy', 'failed', 'unauthorized', 'tls-failed'] as const
type WitnessOutcome = (typeof OUTCOMES)[number]

export interface WitnessMetrics {
  count(outcome: WitnessOutcome): void
  text(register: Pick<KeptRegister, 'current' | 'failure'>): string
}

export function witnessMetrics(): WitnessMetrics {
  const counts = new Map<WitnessOutcome, number>(OUTCOMES.map((outcome) => [outcome, 0]))
  return {
    count: (outcome) => void counts.set(outcome, (counts.get(outcome) ?? 0) + 1),
    text(register) {
      const current = register.current()
      return [
        '# HELP roomfence_witness_requests_total Requests by outcome: reads counted as an ack or not, writes, refusals.',
        '# TYPE roomfence_witness_requests_total counter',
        ...[...counts].map(([outcome, count]) => `roomfence_witness_requests_total{outcome="${outcome}"} ${count}`),
        '# HELP roomfence_witness_register_version Version of the register; 0 before genesis.',
        '# TYPE roomfence_witness_register_version gauge',
        `roomfence_witness_register_version ${current?.version ?? 0}`,
        '# HELP roomfence_witness_epoch Epoch of the membership in the register; -1 before genesis.',
        '# TYPE roomfence_witness_epoch gauge',
        `roomfence_witness_epoch ${current?.membership.epoch ?? -1}`,
        '# HELP roomfence_witness_healthy 1 while the register can be served, 0 after its disk failed.',
        '# TYPE roomfence_witness_healthy gauge',
        `roomfence_witness_healthy ${register.failure() ? 0 : 1}`,
        '',
      ].join('\n')
    },
  }
}
