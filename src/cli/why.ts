import pc from 'picocolors';
import { isMatch } from '../base/app-states.ts';
import { systemClock } from '../base/clock.ts';
import { plain } from '../base/plain-text.ts';
import type { Client } from '../client/client.ts';
import { createVerbContext, type VerbContext } from '../gitops/verbs/context.ts';
import { explainApp, explainObject, type ObjectWhy, type Why } from '../gitops/verbs/why.ts';
import { keyOf } from '../machinery/object.ts';
import { type AppCommand, findApp, noControllerTextAt, tryApp, withClient } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';
import { ageText, durationText, facts, writeResult } from './output.ts';

export interface WhyOptions extends AppCommand {
  /** `APP`, `NAMESPACE/APP`, `KIND/NAME` or `APP/KIND/NAME`. */
  readonly target: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Why an app, or one object of it, is as it is: every step from the commit on, the one thing that blocks, and what to do. */
export function showWhy(options: WhyOptions): Promise<ExitCode> {
  return withClient(options, async (client) => {
    const context = createVerbContext({
      client,
      clock: systemClock,
      noControllerText: await noControllerTextAt(client),
      readLastLine: client.readLastLine,
    });
    const parts = options.target.split('/');
    if (parts[0] === 'app' && parts.length === 2) return showApp(client, parts[1] ?? '', options);
    if (parts.length === 1 || (parts.length === 2 && (await tryApp(client, options.target)) !== undefined))
      return showApp(client, options.target, options);
    const [kind = '', name = ''] = parts.slice(-2);
    return showObject(context, { kind, name, app: parts.length > 2 ? parts.slice(0, -2).join('/') : undefined }, options);
  });
}

async function showApp(client: Client, target: string, options: WhyOptions): Promise<ExitCode> {
  const app = await findApp(client, target, options.namespace);
  const why = await explainApp(client, app);
  writeResult(options, { app: keyOf(app), ...why }, () => appText(why, options.now));
  return isMatch(why.state) ? 0 : 1;
}

const glyphs: Readonly<Record<Why['phases'][number]['result'], string>> = {
  done: pc.green('✓'),
  failed: pc.red('✗'),
  running: pc.blue('◔'),
  waiting: '·',
  skipped: pc.dim('–'),
};

function appText(why: Why, now: number): string {
  const lines = why.phases.map(({ name, result, durationMs, detail }) => {
    const took = durationMs === undefined ? '' : durationText(durationMs);
    return `  ${glyphs[result]} ${name.padEnd(7)} ${took.padStart(7)}  ${plain(detail)}`.trimEnd();
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
  return `${plain(why.verdict)}\n\n${lines.join('\n')}\n${rest === '' ? '' : `\n${rest}`}`;
}

function retryText(at: string, now: number): string {
  const left = Date.parse(at) - now;
  return left <= 0 ? 'now' : `in ${durationText(left)}`;
}

interface Target {
  readonly kind: string;
  readonly name: string;
  readonly app: string | undefined;
}

async function showObject(context: VerbContext, target: Target, options: WhyOptions): Promise<ExitCode> {
  const found = await explainObject(context, {
    ...target,
    namespace: options.namespace,
    appRef: target.app === undefined ? undefined : (await findApp(context.client, target.app)).metadata,
  });
  if (found === 'unknown-kind') {
    throw new Failure(`the cluster has no kind ${target.kind}`, {
      why: `Neither is there an app ${options.target}.`,
      fix: 'See: midship get apps, or kubectl api-resources',
    });
  }
  if (found === undefined) {
    throw new Failure(`there is no ${target.kind} ${target.name}`, {
      why:
        options.namespace === undefined
          ? 'It was looked for in the namespaces of the apps’ objects.'
          : `It was looked for in namespace ${options.namespace}.`,
      fix: 'Give its namespace: -n NAMESPACE',
    });
  }
  writeResult(options, found, (why) => objectText(why, options.now));
  return found.health.status === 'Healthy' && differencesOf(found).length === 0 ? 0 : 1;
}

/** Lines of the app about this object. */
const differencesOf = ({ object, app }: ObjectWhy): readonly string[] =>
  (app?.differences ?? []).filter((line) => line.startsWith(`${object}: `));

function objectText(why: ObjectWhy, now: number): string {
  const { object, health, conditions, events, trace, app } = why;
  const { commit } = trace.app ?? {};
  const differences = differencesOf(why);
  const head = `${object}: ${health.status}${health.reason === '' ? '' : `. ${health.reason}`}`;
  const rows: [string, string][] = [
    ...trace.owners.map((owner): [string, string] => ['  owner', owner]),
    ...conditions.map(({ type, status, reason, message }): [string, string] => [
      `  ${type}`,
      `${status}${reason === '' ? '' : ` ${reason}`}${message === '' ? '' : `: ${message}`}`,
    ]),
    ...events.map(({ at, reason, message, count }): [string, string] => [
      '  event',
      `${reason}: ${message.trim()}${count > 1 ? ` (${count} times)` : ''}   ${ageText(at, now)} ago`,
    ]),
    ['  app', trace.app === undefined ? 'none: no app applied it' : `${trace.app.namespace}/${trace.app.name}`],
    [
      '  commit',
      commit === undefined ? '' : `${commit.sha.slice(0, 7)} by ${commit.author}: ${commit.subject}   (${ageText(commit.at, now)} ago)`,
    ],
    ...differences.map((line): [string, string] => ['  differs', line.slice(object.length + 2)]),
    ['  blocked', app?.blocking === health.reason || differences.length > 0 ? '' : (app?.blocking ?? '')],
    ['  fix', health.status === 'Healthy' && differences.length === 0 ? '' : (health.fix ?? app?.fix ?? '')],
  ];
  return `${plain(head)}\n${facts(rows)}`;
}
