import { systemClock } from '../base/clock.ts';
import { plain } from '../base/plain-text.ts';
import type { HttpClient } from '../client/http-client.ts';
import { createObjectContext } from '../gitops/verbs/object-context.ts';
import { explainObject, type ObjectWhy } from '../gitops/verbs/why.ts';
import { findApp, noControllerTextAt } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';
import { ageText, facts, wrapText, writeResult } from './output.ts';
import type { WhyOptions } from './why.ts';

/** The object of the question. */
export interface Target {
  readonly kind: string;
  readonly name: string;
  readonly app: string | undefined;
}

/** Shows why one object is as it is: its health, conditions, last warnings, app and commit. 1 when it is not well. */
export async function showObject(client: HttpClient, target: Target, options: WhyOptions): Promise<ExitCode> {
  const context = createObjectContext({
    client,
    clock: systemClock,
    noControllerText: await noControllerTextAt(client),
    readLastLine: client.readLastLine,
  });
  const found = await explainObject(context, {
    ...target,
    namespace: options.namespace,
    appRef: target.app === undefined ? undefined : (await findApp(client, target.app)).metadata,
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
  await writeResult(options, found, (why) => objectText(why, options.now));
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
  return `${wrapText(plain(head))}\n${facts(rows)}`;
}
