/**
 * The words of version 0.1.0 in traces and what took their place. Applied to the old traces they give the new ones, byte by byte:
 *   node test/simulation/traces.main.ts NEW, in the tree of before: ... OLD; then node test/simulation/traces.main.ts NEW --compare OLD
 */
export const renamed: readonly (readonly [string, string])[] = [
  ['let-back: waits ', 'quarantine: in quarantine for '],
  [
    ' s until whatever is still done for its fence has certainly ended',
    ' s, until whatever is still done for its fence has certainly ended',
  ],
  ['let-back: the wait is over;', 'quarantine: the quarantine is over;'],
  ['told-fenced:', 'own-fence:'],
  ['"kind":"brake","isPaused":', '"kind":"suspension","isSuspended":'],
  ['fencing is paused by', 'fencing is suspended by'],
  ['that a person named', 'that an operator named'],
  ['until a person picks one', 'until an operator picks one'],
  ['the witness holds ', 'the witness has '],
  ['that the witness holds', 'that the witness has'],
  ['or a person: kubectl', 'or an operator: kubectl'],
  ['(freeze mode, power off, its own word, or', '(freeze mode, its own statement that it killed, or'],
]
