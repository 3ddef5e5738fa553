import pc from 'picocolors';
import { type Condition, parseDuration } from '../api/flux.ts';
import { nameOfApp } from '../api/kustomize/v1/app-name.ts';
import { resumeRequest, suspendRequest, syncRequest } from '../api/kustomize/v1/app-requests.ts';
import { holdOf } from '../api/kustomize/v1/hold.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { type GitRepository, type GitRepositoryRef, gitRepositories } from '../api/source/v1/git-repository.ts';
import { timestampOf } from '../base/clock.ts';
import { plain } from '../base/plain-text.ts';
import { redactUrl } from '../base/redact-url.ts';
import type { Client } from '../client/client.ts';
import { historyOf } from '../gitops/verbs/history.ts';
import { explainApp } from '../gitops/verbs/why-app.ts';
import { healthOf } from '../lifecycle/verdict.ts';
import { conditionOf } from '../machinery/conditions.ts';
import { type KubeObject, keyOf, type List, type ObjectRef } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { type AppCommand, fieldManager, findApp, refOfSource, whoAmI, withClient } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';
import type { ListFormat } from './format.ts';
import { ageText, firstLine, shortSha, table, withoutManagedFields, writeResult } from './output.ts';

/** The commands about apps: each talks to the running cluster through its public API, as kubectl would. */

export interface ListOptions extends Omit<AppCommand, 'format'> {
  readonly format: ListFormat;
  /** One of them; all when undefined. */
  readonly name: string | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export function getApps(options: ListOptions): Promise<ExitCode> {
  return list(options, kustomizations, {
    one: (client, name) => findApp(client, name, options.namespace),
    columns: appColumns,
  });
}

export function getSources(options: ListOptions): Promise<ExitCode> {
  return list(options, gitRepositories, {
    one: (client, name) => client.get(gitRepositories, refOfSource(name, options.namespace)),
    columns: sourceColumns,
  });
}

const blockerOf = async (client: Client, app: Kustomization): Promise<string> => (await explainApp(client, app)).blocking;

interface Column<T> {
  readonly name: string;
  readonly isWide?: boolean;
  cell(object: T, now: number): string;
}

interface Listing<T> {
  one(client: Client, name: string): Promise<T>;
  readonly columns: readonly Column<T>[];
}

async function list<T extends KubeObject>(options: ListOptions, resource: Resource<T>, { one, columns }: Listing<T>): Promise<ExitCode> {
  const { output, format, name, namespace, now } = options;
  const found = await withClient(
    options,
    async (client): Promise<T | List<T>> =>
      name === undefined ? client.list(resource, namespace === undefined ? {} : { namespace }) : one(client, name),
  );
  const items = 'items' in found ? found.items : [found];
  if (format === 'name') {
    for (const { metadata } of items) output.write(`${resource.kind.toLowerCase()}.${resource.group}/${plain(metadata.name)}\n`);
  } else if (format === 'json' || format === 'yaml') {
    const shown = 'items' in found ? { ...found, items: items.map(withoutManagedFields) } : withoutManagedFields(found);
    await writeResult({ output, format }, shown, () => '');
  } else {
    const shown = columns.filter(({ isWide }) => isWide !== true || format === 'wide');
    output.write(table([shown.map((column) => column.name), ...items.map((item) => shown.map(({ cell }) => cell(item, now)))]));
  }
  return 0;
}

const readyOf = ({ status }: { readonly status?: { readonly conditions?: readonly Condition[] } }): Condition | undefined =>
  conditionOf(status?.conditions, 'Ready');

const appColumns: readonly Column<Kustomization>[] = [
  { name: 'NAMESPACE', cell: ({ metadata }) => metadata.namespace ?? '' },
  { name: 'NAME', cell: ({ metadata }) => metadata.name },
  {
    name: 'READY',
    cell: (app) => (app.spec.suspend === true ? 'Suspended' : holdOf(app) === undefined ? (readyOf(app)?.status ?? 'Unknown') : 'Pinned'),
  },
  { name: 'HEALTH', cell: healthOf },
  { name: 'REVISION', cell: ({ status }) => shortSha(status?.lastAppliedRevision) },
  { name: 'AGE', isWide: true, cell: ({ metadata }, now) => ageText(metadata.creationTimestamp ?? '', now) },
  { name: 'SOURCE', isWide: true, cell: ({ spec }) => `${spec.sourceRef.kind}/${spec.sourceRef.name}` },
  { name: 'PATH', isWide: true, cell: ({ spec }) => spec.path ?? './' },
  { name: 'MESSAGE', cell: (app) => firstLine(readyOf(app)?.message) },
];

const sourceColumns: readonly Column<GitRepository>[] = [
  { name: 'NAMESPACE', cell: ({ metadata }) => metadata.namespace ?? '' },
  { name: 'NAME', cell: ({ metadata }) => metadata.name },
  { name: 'READY', cell: (source) => (source.spec.suspend === true ? 'Suspended' : (readyOf(source)?.status ?? 'Unknown')) },
  { name: 'REVISION', cell: ({ status }) => shortSha(status?.artifact?.revision) },
  { name: 'AGE', isWide: true, cell: ({ metadata }, now) => ageText(metadata.creationTimestamp ?? '', now) },
  { name: 'REF', isWide: true, cell: ({ spec }) => refText(spec.ref) },
  { name: 'INTERVAL', isWide: true, cell: ({ spec }) => spec.interval },
  { name: 'URL', cell: ({ spec }) => redactUrl(spec.url) },
  { name: 'MESSAGE', cell: (source) => firstLine(readyOf(source)?.message) },
];

/** The field that counts, in Flux's order. */
function refText({ commit, name, semver, tag, branch }: GitRepositoryRef = {}): string {
  return commit?.slice(0, 7) || name || semver || tag || branch || 'master';
}

export interface SyncOptions extends AppCommand {
  readonly app: string;
  readonly wait: boolean;
  readonly timeout: string;
  /** Milliseconds since the epoch; makes the request's token unique. */
  readonly now: number;
}

/** Asks for a look at the repository and a pass over the app now; Flux's `reconcile --with-source`. */
export function syncApp(options: SyncOptions): Promise<ExitCode> {
  return withClient(options, (client) => sync(client, options));
}

async function sync(client: Client, options: SyncOptions): Promise<ExitCode> {
  const { timeout } = options;
  const app = await findApp(client, options.app, options.namespace);
  if (app.spec.suspend === true) throw suspended(app, await blockerOf(client, app));
  const token = new Date(options.now).toISOString();
  const request = { type: 'merge' as const, body: syncRequest(token) };
  const isHandled = ({ status }: Kustomization | GitRepository): boolean => status?.lastHandledReconcileAt === token;
  const source = await client.patch(gitRepositories, sourceOf(app), request, { fieldManager });
  // It does not answer, and what it has already is in force or will be.
  if (options.wait && source.spec.suspend !== true) {
    const looked = await waitFor(client, gitRepositories, { ref: source.metadata, timeout, judge: async (now) => isHandled(now) });
    const ready = readyOf(looked.object);
    if (!looked.isDone) throw late(`GitRepository ${keyOf(source)} was not looked at after ${timeout}`);
    if (ready?.status === 'False') {
      throw new Failure(`GitRepository ${keyOf(source)}: ${firstLine(ready.message)}`, {
        why: `${app.metadata.name} stays as it is: its repository cannot be read.`,
        fix: 'See: midship get sources',
        exitCode: 1,
      });
    }
  }
  const asked = await client.patch(kustomizations, app.metadata, request, { fieldManager });
  if (!options.wait) {
    await writeResult(options, withoutManagedFields(asked), () => `asked for a sync of ${nameOfApp(app.metadata)}\n`);
    return 0;
  }
  const { object, isDone } = await waitFor(client, kustomizations, { ref: app.metadata, timeout, judge: async (now) => isHandled(now) });
  if (!isDone) throw late(`${nameOfApp(app.metadata)} is still being synced after ${timeout}`);
  return tell(options, object, readyOf(object)?.status === 'True' ? undefined : '');
}

const sourceOf = ({ spec, metadata }: Kustomization): ObjectRef => ({
  namespace: spec.sourceRef.namespace ?? metadata.namespace,
  name: spec.sourceRef.name,
});

const suspended = (app: Kustomization, why: string): Failure =>
  new Failure(`${nameOfApp(app.metadata)} is suspended`, {
    why,
    fix: `Resume it first: midship resume ${nameOfApp(app.metadata)}`,
    exitCode: 1,
  });

const late = (what: string): Failure =>
  new Failure(what, { why: 'The time given by --timeout is over; the sync goes on.', fix: 'See: midship get apps', exitCode: 1 });

export interface WaitOptions extends AppCommand {
  readonly app: string;
  /** SHA, or the beginning of one, that has to be in force. */
  readonly revision: string | undefined;
  readonly timeout: string;
}

/**
 * Waits until an app is applied and healthy, at a revision when one is named. 1 when it is not by then. It ends at once when it cannot
 * become so: the app is suspended, or a later commit took the place of the named one.
 */
export function waitForApp(options: WaitOptions): Promise<ExitCode> {
  return withClient(options, (client) => waitUntilHealthy(client, options));
}

async function waitUntilHealthy(client: Client, options: WaitOptions): Promise<ExitCode> {
  const { timeout } = options;
  const app = await findApp(client, options.app, options.namespace);
  const sha = options.revision === undefined ? undefined : shaIn(options.revision);
  const { object, isDone } = await waitFor(client, kustomizations, {
    ref: app.metadata,
    timeout,
    judge: async (now) => isInForce(now, sha) || now.spec.suspend === true || (await isSuperseded(client, now, sha)),
  });
  if (isInForce(object, sha)) return tell(options, object, undefined);
  if (object.spec.suspend === true) return tell(options, object, await blockerOf(client, object));
  const at = shortSha(object.status?.lastAppliedRevision);
  if (isDone) return tell(options, object, `${sha?.slice(0, 7)} was superseded by ${at}`);
  return tell(
    options,
    object,
    sha === undefined || isAt(object, sha) ? `not healthy after ${timeout}` : `not at ${sha.slice(0, 7)} after ${timeout}`,
  );
}

function isInForce(app: Kustomization, sha: string | undefined): boolean {
  const { status, metadata } = app;
  return (
    status?.observedGeneration === metadata.generation &&
    conditionOf(status?.conditions, 'Ready')?.status === 'True' &&
    conditionOf(status?.conditions, 'Healthy')?.status === 'True' &&
    (sha === undefined || isAt(app, sha))
  );
}

const shaOf = (revision = ''): string => revision.slice(revision.lastIndexOf(':') + 1);
const isAt = ({ status }: Kustomization, sha: string): boolean => shaOf(status?.lastAppliedRevision).startsWith(sha);

/** `3f2a9c1`, all 40 digits, or a revision as the app shows it. */
function shaIn(revision: string): string {
  const sha = shaOf(revision).toLowerCase();
  if (/^[0-9a-f]{4,64}$/.test(sha)) return sha;
  throw new Failure(`${JSON.stringify(revision)} is not the id of a commit`, {
    why: 'Name a revision by the SHA of a commit, or the beginning of one.',
    fix: 'Name it by its SHA: midship wait APP --revision "$(git rev-parse HEAD)"',
  });
}

/** A later commit is in force, and none that is on its way is the one that is waited for. */
async function isSuperseded(client: Client, app: Kustomization, sha: string | undefined): Promise<boolean> {
  if (sha === undefined || isAt(app, sha) || shaOf(app.status?.lastAttemptedRevision).startsWith(sha)) return false;
  const revisions = (await historyOf(client, app)).map(({ revision }) => shaOf(revision));
  return revisions.findIndex((revision) => revision.startsWith(sha)) > 0;
}

/** @param problem  what is not as it was asked for; undefined when all is */
async function tell(command: AppCommand, app: Kustomization, problem: string | undefined): Promise<ExitCode> {
  await writeResult(command, withoutManagedFields(app), () => {
    const health = conditionOf(app.status?.conditions, 'Healthy');
    const lines = [
      `${problem === undefined ? pc.green('●') : pc.red('▲')} ${nameOfApp(app.metadata)}  ${plain(problem || (readyOf(app)?.message ?? 'not looked at yet'))}\n`,
      problem === undefined || problem === '' ? '' : `  ${plain(readyOf(app)?.message ?? 'not looked at yet')}\n`,
      health === undefined || health.status === 'True' ? '' : `  ${health.reason}: ${plain(health.message)}\n`,
    ];
    return lines.join('');
  });
  return problem === undefined ? 0 : 1;
}

interface Wait<T> {
  readonly ref: ObjectRef;
  readonly timeout: string;
  /** Ends the wait with true. */
  judge(object: T): Promise<boolean>;
}

/** Looks at an object now and whenever it changes, until it is judged to be what is waited for or the time is over. */
async function waitFor<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  { ref, timeout, judge }: Wait<T>,
): Promise<{ readonly object: T; readonly isDone: boolean }> {
  const limit = AbortSignal.timeout(parseDuration(timeout));
  const { namespace, name } = ref;
  const selected = { namespace, fieldSelector: `metadata.name=${name}` };
  for (;;) {
    const { items, metadata } = await client.list(resource, selected);
    const [object] = items;
    if (object === undefined) {
      throw new Failure(`${resource.kind} ${namespace}/${name} was deleted meanwhile`, {
        why: 'There is nothing left to wait for.',
        fix: 'See: midship get apps',
        exitCode: 1,
      });
    }
    if (await judge(object)) return { object, isDone: true };
    if (limit.aborted) return { object, isDone: false };
    const changed = new AbortController();
    await client.watch(resource, {
      ...selected,
      resourceVersion: metadata.resourceVersion ?? '0',
      signal: AbortSignal.any([limit, changed.signal]),
      onEvents: (events) => {
        if (events.some(({ type }) => type !== 'BOOKMARK')) changed.abort();
      },
    });
  }
}

export interface SuspendOptions extends AppCommand {
  readonly app: string;
  readonly reason: string | undefined;
  /** Length of the suspension; until `resume` when undefined. */
  readonly duration: string | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Stops syncing and healing an app; its objects stay as they are. The app's annotations record the user, the reason and the end. */
export function suspendApp(options: SuspendOptions): Promise<ExitCode> {
  return withClient(options, async (client): Promise<ExitCode> => {
    const app = await findApp(client, options.app, options.namespace);
    const until = options.duration === undefined ? undefined : timestampOf(options.now + parseDuration(options.duration));
    const body = suspendRequest({ by: await whoAmI(client), reason: options.reason, until });
    const after = await client.patch(kustomizations, app.metadata, { type: 'merge', body }, { fieldManager });
    await writeResult(
      options,
      withoutManagedFields(after),
      () => `suspended ${nameOfApp(app.metadata)}${until === undefined ? '' : ` until ${until}`}\n`,
    );
    return 0;
  });
}

/** Takes up a suspended or pinned app again; what drifted meanwhile is put back. */
export function resumeApp(options: AppCommand & { readonly app: string }): Promise<ExitCode> {
  return withClient(options, async (client): Promise<ExitCode> => {
    const app = await findApp(client, options.app, options.namespace);
    const resumed = await client.patch(kustomizations, app.metadata, { type: 'merge', body: resumeRequest() }, { fieldManager });
    await writeResult(options, withoutManagedFields(resumed), () => `resumed ${nameOfApp(app.metadata)}\n`);
    return 0;
  });
}
