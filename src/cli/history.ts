import pc from 'picocolors';
import { plain } from '../base/plain-text.ts';
import { historyOf, type JudgedEntry } from '../gitops/verbs/history.ts';
import { keyOf } from '../machinery/object.ts';
import { type AppCommand, findApp, withClient } from './connect.ts';
import type { ExitCode } from './failure.ts';
import { ageText, durationText, shortSha, table, writeResult } from './output.ts';

export interface HistoryOptions extends AppCommand {
  readonly app: string;
  /** Show what each revision did to which object. */
  readonly changes: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Revisions of an app, newest first: what came of each, who made it, and what it changed. */
export function showHistory(options: HistoryOptions): Promise<ExitCode> {
  return withClient(options, async (client): Promise<ExitCode> => {
    const app = await findApp(client, options.app, options.namespace);
    const history = await historyOf(client, app);
    await writeResult(options, { app: keyOf(app), revisions: history }, () => textOf(history, options));
    return 0;
  });
}

function textOf(history: readonly JudgedEntry[], { app, changes, now }: HistoryOptions): string {
  if (history.length === 0) return `${app} has no history yet\n`;
  if (!changes) {
    const rows = history.map((entry) => [
      shortSha(entry.revision),
      ageText(entry.at, now),
      outcomeOf(entry),
      durationText(entry.durationMs),
      entry.digest.slice(0, 12),
      countOf(entry),
      entry.author,
      entry.subject,
    ]);
    return table([['REVISION', 'AGE', 'RESULT', 'TOOK', 'DIGEST', 'OBJECTS', 'AUTHOR', 'SUBJECT'], ...rows]);
  }
  return history
    .map((entry) => {
      const head = `${pc.yellow(shortSha(entry.revision))}  ${ageText(entry.at, now)} ago  ${outcomeOf(entry)}  ${plain(entry.author)}: ${plain(entry.subject)}\n`;
      const lines = entry.changes.map(
        ({ action, object, fields }) =>
          `    ${action.padEnd(10)} ${plain(object)}${fields.length === 0 ? '' : `  ${plain(fields.join(', '))}`}\n`,
      );
      const more = entry.moreChanges === undefined ? '' : `    … and ${entry.moreChanges} more\n`;
      return head + lines.join('') + more;
    })
    .join('');
}

/** `revert of 3f2a9c1, works`, `back to an earlier state, works`, `works` */
function outcomeOf({ outcome, rollback, revertOf }: JudgedEntry): string {
  if (!rollback) return outcome;
  return `${revertOf === undefined ? 'back to an earlier state' : `revert of ${revertOf.slice(0, 7)}`}, ${outcome}`;
}

const countOf = ({ changes, moreChanges = 0 }: JudgedEntry): string => String(changes.length + moreChanges);
