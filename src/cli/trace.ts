import { createLookup } from '../gitops/verbs/lookup.ts';
import { type Trace, traceObject } from '../gitops/verbs/trace.ts';
import { type AppCommand, withClient } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';
import { ageText, facts, writeResult } from './output.ts';
import { throwUnsupported } from './unsupported-kind.ts';

export interface TraceOptions extends AppCommand {
  /** `KIND/NAME` */
  readonly object: string;
  readonly namespace: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Shows the origin of an object: its owners, its app, the repository, and the commit that changed it last. 1 when no app applied it. */
export function showTrace(options: TraceOptions): Promise<ExitCode> {
  return withClient(options, async (client): Promise<ExitCode> => {
    const lookup = createLookup(client);
    const [kind = '', name = ''] = options.object.split('/');
    const resource = await lookup.kind(kind);
    if (resource === undefined) throwUnsupported(kind);
    if (resource === undefined || name === '') {
      throw new Failure(resource === undefined ? `the cluster has no kind ${kind}` : `${options.object} names no object`, {
        why: 'An object is named KIND/NAME, for example pod/web-7c9f5d-x2k.',
        fix: 'See: kubectl api-resources',
      });
    }
    const object = await lookup.get(resource, { namespace: options.namespace, name });
    if (object === undefined) {
      throw new Failure(`there is no ${resource.kind} ${name}${resource.namespaced ? ` in namespace ${options.namespace}` : ''}`, {
        why: 'It was deleted, or it lies elsewhere.',
        fix: 'Give its namespace: -n NAMESPACE',
      });
    }
    const trace = await traceObject(client, lookup, object);
    await writeResult(options, trace, (result) => textOf(result, options.now));
    return trace.app === undefined ? 1 : 0;
  });
}

function textOf({ object, owners, app }: Trace, now: number): string {
  const rows: [string, string][] = [['Object', object], ...owners.map((owner): [string, string] => ['Owned by', owner])];
  if (app === undefined) return `${facts([...rows, ['App', 'none: no app applied it']])}`;
  const { source, commit } = app;
  return facts([
    ...rows,
    ['App', `${app.namespace}/${app.name}   path ${app.path}`],
    ['Source', source === undefined ? '' : `${source.kind} ${source.namespace}/${source.name}   ${source.url}`],
    ['Revision', app.revision],
    [
      'Commit',
      commit === undefined ? '' : `${commit.sha.slice(0, 7)} by ${commit.author}: ${commit.subject}   (${ageText(commit.at, now)} ago)`,
    ],
    ['', commit === undefined || commit.changedObject ? '' : 'the app’s newest; the object is older than its history'],
    ['Status', app.status],
  ]);
}
