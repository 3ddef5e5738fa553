import pc from 'picocolors';
import { isMatch } from '../base/contracts/app-states.ts';
import type { WhyOverview } from '../base/contracts/overview.ts';
import { plain } from '../base/plain-text.ts';
import type { Client } from '../client/client.ts';
import { explainApp } from '../gitops/verbs/why-app.ts';
import { keyOf } from '../machinery/object.ts';
import { type AppCommand, findApp, tryApp, withClient } from './connect.ts';
import type { ExitCode } from './failure.ts';
import { ageText, durationText, facts, wrapText, writeResult } from './output.ts';

export interface WhyOptions extends AppCommand {
  /** `APP`, `NAMESPACE/APP`, `KIND/NAME` or `APP/KIND/NAME`. */
  readonly target: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Explains an app, or one object of it: every step from the commit on, the one thing that blocks, and what to do. */
export function showWhy(options: WhyOptions): Promise<ExitCode> {
  return withClient(options, async (client) => {
    const parts = options.target.split('/');
    if (parts[0] === 'app' && parts.length === 2) return showApp(client, parts[1] ?? '', options);
    if (parts.length === 1 || (parts.length === 2 && (await tryApp(client, options.target)) !== undefined))
      return showApp(client, options.target, options);
    const [kind = '', name = ''] = parts.slice(-2);
    // Rules of health and the builder come with this part: most of what the program can load.
    const { showObject } = await import('./why-object.ts');
    return showObject(client, { kind, name, app: parts.length > 2 ? parts.slice(0, -2).join('/') : undefined }, options);
  });
}

async function showApp(client: Client, target: string, options: WhyOptions): Promise<ExitCode> {
  const app = await findApp(client, target, options.namespace);
  const why = await explainApp(client, app);
  await writeResult(options, { app: keyOf(app), ...why }, () => appText(why, options.now));
  return isMatch(why.state) ? 0 : 1;
}

const glyphs: Readonly<Record<WhyOverview['phases'][number]['result'], string>> = {
  done: pc.green('✓'),
  failed: pc.red('✗'),
  running: pc.blue('◔'),
  waiting: '·',
  skipped: pc.dim('–'),
};

/** Columns before the detail of a phase: glyph, name and time. */
const detailColumn = 21;

function appText(why: WhyOverview, now: number): string {
  const lines = why.phases.map(({ name, result, durationMs, detail }) => {
    const took = durationMs === undefined ? '' : durationText(durationMs);
    return `  ${glyphs[result]} ${name.padEnd(7)} ${took.padStart(7)}  ${wrapText(plain(detail), detailColumn)}`.trimEnd();
  });
  const { commit, cause } = why;
  const rest = facts([
    // A commit is blamed only for what came with it.
    [
      cause === undefined ? '  commit' : '  since',
      commit === undefined
        ? ''
        : `${cause === undefined ? '' : 'commit '}${commit.sha.slice(0, 7)} by ${commit.author}: ${commit.subject}   (${ageText(commit.seenAt, now)} ago)`,
    ],
    ['  blocked', why.blocking],
    ...why.differences.filter((line) => !why.blocking.startsWith(line)).map((line): [string, string] => ['  differs', line]),
    ...why.notes.map((line): [string, string] => ['  note', line]),
    [
      '  retry',
      why.nextRetryAt === undefined ? '' : `${retryText(why.nextRetryAt, now)}, tried ${why.tries === 1 ? 'once' : `${why.tries} times`}`,
    ],
    ['  fix', why.fix],
  ]);
  return `${wrapText(plain(why.verdict))}\n\n${lines.join('\n')}\n${rest === '' ? '' : `\n${rest}`}`;
}

function retryText(at: string, now: number): string {
  const left = Date.parse(at) - now;
  return left <= 0 ? 'now' : `in ${durationText(left)}`;
}
