import type { Pod } from '../api/core/v1/pod.ts';
import { systemClock } from '../base/clock.ts';
import { plain } from '../base/plain-text.ts';
import type { HttpClient } from '../client/http-client.ts';
import { createObjectContext, type ObjectContext } from '../gitops/verbs/object-context.ts';
import { explainObject, findObject, type ObjectQuestion, type ObjectWhy } from '../gitops/verbs/why.ts';
import type { NodeVerdict } from './compose/node-verdicts.ts';
import { findApp, noControllerTextAt } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';
import { ageText, facts, wrapText, writeResult } from './output.ts';
import { throwUnsupported } from './unsupported-kind.ts';
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
  const question = {
    ...target,
    namespace: options.namespace,
    appRef: target.app === undefined ? undefined : (await findApp(client, target.app)).metadata,
  };
  const found = await explainObject(context, question);
  if (found === 'unknown-kind') {
    throwUnsupported(target.kind);
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
  const nodes = await verdictsOf(context, question);
  await writeResult(options, { ...found, ...(nodes === undefined ? {} : { nodes }) }, (why) => objectText(why, options.now));
  return found.health.status === 'Healthy' && differencesOf(found).length === 0 ? 0 : 1;
}

/** Undefined for all but a pod that waits for a node, and for a user who may not see what the scheduler sees. */
async function verdictsOf(context: ObjectContext, question: ObjectQuestion): Promise<readonly NodeVerdict[] | undefined> {
  const resource = await context.lookup.kind(question.kind);
  if (resource === undefined || resource.kind !== 'Pod' || resource.group !== '') return undefined;
  const pod = await findObject(context, resource, question);
  if (pod === undefined) return undefined;
  // The scheduler's plugins come with this part.
  const { readNodeVerdicts } = await import('./compose/node-verdicts.ts');
  return readNodeVerdicts(context.client, pod as unknown as Pod);
}

/** Nodes that are shown; those come first that lack least. */
const maxNodes = 12;

function nodeRows(verdicts: readonly NodeVerdict[]): readonly [string, string][] {
  const sorted = [...verdicts].sort((a, b) => a.reasons.length - b.reasons.length);
  const rows = sorted
    .slice(0, maxNodes)
    .map(({ node, reasons, fixes }): [string, string] => [
      `  node ${node}`,
      reasons.length === 0 ? 'fits' : `${reasons.join('; ')}. It would fit: ${fixes.join('; and ')}`,
    ]);
  const left = verdicts.length - rows.length;
  return left > 0 ? [...rows, ['  nodes', `${left} more, which lack as much or more`]] : rows;
}

/** Lines of the app about this object. */
const differencesOf = ({ object, app }: ObjectWhy): readonly string[] =>
  (app?.differences ?? []).filter((line) => line.startsWith(`${object}: `));

function objectText(why: ObjectWhy & { readonly nodes?: readonly NodeVerdict[] }, now: number): string {
  const { object, health, conditions, events, trace, app, nodes = [] } = why;
  const { commit } = trace.app ?? {};
  const differences = differencesOf(why);
  const head = `${object}: ${health.status}${health.reason === '' ? '' : `. ${health.reason}`}`;
  const rows: [string, string][] = [
    ...trace.owners.map((owner): [string, string] => ['  owner', owner]),
    ...conditions.map(({ type, status, reason, message }): [string, string] => [
      `  ${type}`,
      `${status}${reason === '' ? '' : ` ${reason}`}${message === '' ? '' : `: ${message}`}`,
    ]),
    ...nodeRows(nodes),
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
