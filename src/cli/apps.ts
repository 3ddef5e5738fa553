import pc from 'picocolors';
import { parseDuration } from '../api/flux.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../api/source/v1/git-repository.ts';
import { annotations } from '../api/well-known.ts';
import type { Client } from '../client/client.ts';
import { createHttpClient } from '../client/http-client.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { conditionOf } from '../machinery/conditions.ts';
import type { KubeObject, ObjectRef } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { isNotFound } from '../machinery/status-error.ts';
import { readEndpoints } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';
import { plain } from './terminal.ts';

/** The commands about apps: each talks to the running cluster through its public API, as kubectl would. */

export interface AppCommand {
  readonly dataDirectory: string;
  readonly output: NodeJS.WritableStream;
  readonly version: string;
}

/** Where apps live that `up` creates, and where the examples put theirs. */
const defaultNamespace = 'flux-system';
const manager = 'midship-cli';

async function connect({ dataDirectory, version }: AppCommand): Promise<Client> {
  const { kubeconfig } = await readEndpoints(dataDirectory);
  return createHttpClient({ ...(await loadKubeconfig(kubeconfig)), userAgent: `midship/${version}` });
}

/** `APP` or `NAMESPACE/APP`. */
function refOfApp(app: string): { readonly namespace: string; readonly name: string } {
  const [first = '', second] = app.split('/');
  return second === undefined ? { namespace: defaultNamespace, name: first } : { namespace: first, name: second };
}

async function findApp(client: Client, app: string): Promise<Kustomization> {
  const ref = refOfApp(app);
  try {
    return await client.get(kustomizations, ref);
  } catch (err) {
    if (!isNotFound(err)) throw err;
    const { items } = await client.list(kustomizations, { namespace: ref.namespace });
    const names = items.map(({ metadata }) => metadata.name);
    throw new Failure(`no app ${ref.name} in namespace ${ref.namespace}`, {
      why: names.length === 0 ? 'There are no apps there.' : `Apps there: ${names.join(', ')}.`,
      fix: 'See: midship get apps',
      cause: err,
    });
  }
}

const shaOf = (revision: string | undefined): string => (revision ?? '').slice((revision ?? '').lastIndexOf(':') + 1).slice(0, 7);

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => (column === row.length - 1 ? plain(cell) : plain(cell).padEnd(widths[column] ?? 0)))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

/** First line of a message: tables have one line a row. */
const firstLine = (text = ''): string => text.split('\n')[0] ?? '';

export async function getApps(command: AppCommand): Promise<ExitCode> {
  const { items } = await (await connect(command)).list(kustomizations);
  const rows = items.map(({ metadata, status, spec }) => {
    const ready = conditionOf(status?.conditions, 'Ready');
    return [
      metadata.namespace ?? '',
      metadata.name,
      spec.suspend === true ? 'Suspended' : (ready?.status ?? 'Unknown'),
      conditionOf(status?.conditions, 'Healthy')?.reason ?? 'Unknown',
      shaOf(status?.lastAppliedRevision),
      firstLine(ready?.message),
    ];
  });
  command.output.write(table([['NAMESPACE', 'NAME', 'READY', 'HEALTH', 'REVISION', 'MESSAGE'], ...rows]));
  return 0;
}

export async function getSources(command: AppCommand): Promise<ExitCode> {
  const { items } = await (await connect(command)).list(gitRepositories);
  const rows = items.map(({ metadata, status, spec }) => {
    const ready = conditionOf(status?.conditions, 'Ready');
    return [
      metadata.namespace ?? '',
      metadata.name,
      ready?.status ?? 'Unknown',
      shaOf(status?.artifact?.revision),
      spec.url,
      firstLine(ready?.message),
    ];
  });
  command.output.write(table([['NAMESPACE', 'NAME', 'READY', 'REVISION', 'URL', 'MESSAGE'], ...rows]));
  return 0;
}

export interface SyncOptions extends AppCommand {
  readonly app: string;
  readonly wait: boolean;
  readonly timeout: string;
  /** Milliseconds since the epoch; makes the request's token unique. */
  readonly now: number;
}

/** Asks for a look at the repository and a pass over the app now; Flux's `reconcile --with-source`. */
export async function syncApp(options: SyncOptions): Promise<ExitCode> {
  const client = await connect(options);
  const app = await findApp(client, options.app);
  const token = new Date(options.now).toISOString();
  const request = { type: 'merge' as const, body: { metadata: { annotations: { [annotations.reconcileRequestedAt]: token } } } };
  const source = { namespace: app.spec.sourceRef.namespace ?? app.metadata.namespace, name: app.spec.sourceRef.name };
  await client.patch(gitRepositories, source, request, { fieldManager: manager });
  if (options.wait) {
    await waitFor(client, gitRepositories, source, options.timeout, ({ status }) => status?.lastHandledReconcileAt === token);
  }
  await client.patch(kustomizations, app.metadata, request, { fieldManager: manager });
  if (!options.wait) {
    options.output.write(`asked for a sync of ${app.metadata.name}\n`);
    return 0;
  }
  const done = await waitFor(
    client,
    kustomizations,
    app.metadata,
    options.timeout,
    ({ status }) => status?.lastHandledReconcileAt === token,
  );
  return tell(done, options.output);
}

export interface WaitOptions extends AppCommand {
  readonly app: string;
  /** SHA, or the beginning of one, that has to be in force. */
  readonly revision: string | undefined;
  readonly timeout: string;
}

/** Waits until an app is applied and healthy, at a revision when one is named. 1 when it is not by then. */
export async function waitForApp(options: WaitOptions): Promise<ExitCode> {
  const client = await connect(options);
  const app = await findApp(client, options.app);
  const { revision } = options;
  try {
    const done = await waitFor(client, kustomizations, app.metadata, options.timeout, ({ status, metadata }) => {
      const sha = (status?.lastAppliedRevision ?? '').split('sha1:')[1] ?? '';
      return (
        status?.observedGeneration === metadata.generation &&
        conditionOf(status?.conditions, 'Ready')?.status === 'True' &&
        conditionOf(status?.conditions, 'Healthy')?.status === 'True' &&
        (revision === undefined || sha.startsWith(revision))
      );
    });
    return tell(done, options.output);
  } catch (err) {
    if (!(err instanceof Failure)) throw err;
    await tell(await findApp(client, options.app), options.output);
    return 1;
  }
}

function tell(app: Kustomization, output: NodeJS.WritableStream): ExitCode {
  const ready = conditionOf(app.status?.conditions, 'Ready');
  const isReady = ready?.status === 'True';
  output.write(`${isReady ? pc.green('●') : pc.red('▲')} ${app.metadata.name}  ${plain(ready?.message ?? 'not looked at yet')}\n`);
  const health = conditionOf(app.status?.conditions, 'Healthy');
  if (health !== undefined && health.status !== 'True') output.write(`  ${health.reason}: ${plain(health.message)}\n`);
  return isReady ? 0 : 1;
}

/** The first version of an object that fits, from now on; a Failure when there is none in time. */
async function waitFor<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  ref: ObjectRef,
  timeout: string,
  fits: (object: T) => boolean,
): Promise<T> {
  const limit = AbortSignal.timeout(parseDuration(timeout));
  const found = new AbortController();
  const { namespace, name } = ref;
  const selected = { namespace, fieldSelector: `metadata.name=${name}` };
  let result: T | undefined;
  const look = (object: T): void => {
    if (result !== undefined || !fits(object)) return;
    result = object;
    found.abort();
  };
  while (result === undefined && !limit.aborted) {
    const { items, metadata } = await client.list(resource, selected);
    for (const item of items) look(item);
    if (result !== undefined) break;
    await client.watch(resource, {
      ...selected,
      resourceVersion: metadata.resourceVersion ?? '0',
      signal: AbortSignal.any([limit, found.signal]),
      onEvents(events) {
        for (const { type, object } of events) if (type === 'ADDED' || type === 'MODIFIED') look(object);
      },
    });
  }
  if (result !== undefined) return result;
  throw new Failure(`${name} is not there after ${timeout}`, {
    why: 'The time given by --timeout is over.',
    fix: `See: midship status, or midship get apps`,
    exitCode: 1,
  });
}

export interface SuspendOptions extends AppCommand {
  readonly app: string;
  readonly reason: string | undefined;
}

/** Stops syncing and healing an app; its objects stay as they are. */
export async function suspendApp(options: SuspendOptions): Promise<ExitCode> {
  const client = await connect(options);
  const app = await findApp(client, options.app);
  const note = options.reason === undefined ? {} : { annotations: { [annotations.suspendReason]: options.reason } };
  await client.patch(
    kustomizations,
    app.metadata,
    { type: 'merge', body: { metadata: note, spec: { suspend: true } } },
    { fieldManager: manager },
  );
  options.output.write(`suspended ${app.metadata.name}\n`);
  return 0;
}

/** Takes up a suspended app again; what drifted meanwhile is put back. */
export async function resumeApp(options: AppCommand & { readonly app: string }): Promise<ExitCode> {
  const client = await connect(options);
  const app = await findApp(client, options.app);
  const body = { metadata: { annotations: { [annotations.suspendReason]: null } }, spec: { suspend: null } };
  await client.patch(kustomizations, app.metadata, { type: 'merge', body }, { fieldManager: manager });
  options.output.write(`resumed ${app.metadata.name}\n`);
  return 0;
}
