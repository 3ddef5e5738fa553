import { mergeLog } from './event-log.ts';
import { type HistoryRecord, recordsOf } from './history.ts';
import { checkLinearizable } from './linearizability.ts';
import { checkAgainstLog, checkRevisions } from './revision-checks.ts';
import { watchValidators } from './watch-validators.ts';

/** Everything that is wrong with a history, each line by the name of the broken promise; none for a right one. */
export function checkHistory(history: readonly HistoryRecord[]): readonly string[] {
  const errors: string[] = [];
  const log = mergeLog(history, errors);
  for (const validate of Object.values(watchValidators)) errors.push(...validate(log));
  return [
    ...errors,
    ...checkRevisions(history),
    ...checkAgainstLog(history, log),
    ...checkLinearizable(history),
    ...recordsOf(history, 'exit').map(({ server, output }) => `Exit: server ${server} ended by itself:\n${output}`),
  ];
}
