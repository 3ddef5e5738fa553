import pc from 'picocolors';
import { parseDuration } from '../api/flux.ts';
import { holdOf } from '../api/kustomize/v1/hold.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../api/source/v1/git-repository.ts';
import { annotations } from '../api/well-known.ts';
import { timestampOf } from '../base/clock.ts';
import type { Client } from '../client/client.ts';
import { conditionOf } from '../machinery/conditions.ts';
import type { KubeObject, ObjectRef } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { type AppCommand, fieldManager, findApp, whoAmI, withClient } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';
import { firstLine, shortSha, table, writeResult } from './output.ts';
import { plain } from './terminal.ts';

/** The commands about apps: each talks to the running cluster through its public API, as kubectl would. */

export async function getApps(command: AppCommand): Promise<ExitCode> {
  const list = await withClient(command, (client) => client.list(kustomizations));
  writeResult(command, list, ({ items }) => appsText(items));
  return 0;
}

function appsText(items: readonly Kustomization[]): string {
  const rows = items.map(({ metadata, status, spec }) => {
    const ready = conditionOf(status?.conditions, 'Ready');
    return [
      metadata.namespace ?? '',
      metadata.name,
      spec.suspend === true ? 'Suspended' : holdOf({ metadata }) === undefined ? (ready?.status ?? 'Unknown') : 'Pinned',
      conditionOf(status?.conditions, 'Healthy')?.reason ?? 'Unknown',
      shortSha(status?.lastAppliedRevision),
      firstLine(ready?.message),
    ];
  });
  return table([['NAMESPACE', 'NAME', 'READY', 'HEALTH', 'REVISION', 'MESSAGE'], ...rows]);
}

export async function getSources(command: AppCommand): Promise<ExitCode> {
  const list = await withClient(command, (client) => client.list(gitRepositories));
  writeResult(command, list, ({ items }) => sourcesText(items));
  return 0;
}

function sourcesText(items: readonly GitRepository[]): string {
  const rows = items.map(({ metadata, status, spec }) => {
    const ready = conditionOf(status?.conditions, 'Ready');
    return [
      metadata.namespace ?? '',
      metadata.name,
      ready?.status ?? 'Unknown',
      shortSha(status?.artifact?.revision),
      spec.url,
      firstLine(ready?.message),
    ];
  });
  return table([['NAMESPACE', 'NAME', 'READY', 'REVISION', 'URL', 'MESSAGE'], ...rows]);
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
  const app = await findApp(client, options.app);
  const token = new Date(options.now).toISOString();
  const request = { type: 'merge' as const, body: { metadata: { annotations: { [annotations.reconcileRequestedAt]: token } } } };
  const source = { namespace: app.spec.sourceRef.namespace ?? app.metadata.namespace, name: app.spec.sourceRef.name };
  await client.patch(gitRepositories, source, request, { fieldManager });
  if (options.wait) {
    await waitFor(client, gitRepositories, source, options.timeout, ({ status }) => status?.lastHandledReconcileAt === token);
  }
  await client.patch(kustomizations, app.metadata, request, { fieldManager });
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
export function waitForApp(options: WaitOptions): Promise<ExitCode> {
  return withClient(options, (client) => waitUntilHealthy(client, options));
}

async function waitUntilHealthy(client: Client, options: WaitOptions): Promise<ExitCode> {
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
  /** How long; until `resume` when undefined. */
  readonly duration: string | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Stops syncing and healing an app; its objects stay as they are. Who did it, why and until when stands on the app. */
export function suspendApp(options: SuspendOptions): Promise<ExitCode> {
  return withClient(options, async (client): Promise<ExitCode> => {
    const app = await findApp(client, options.app);
    const until = options.duration === undefined ? undefined : timestampOf(options.now + parseDuration(options.duration));
    const notes = {
      [annotations.suspendedBy]: await whoAmI(client),
      [annotations.suspendReason]: options.reason ?? null,
      [annotations.suspendUntil]: until ?? null,
    };
    const body = { metadata: { annotations: notes }, spec: { suspend: true } };
    const suspended = await client.patch(kustomizations, app.metadata, { type: 'merge', body }, { fieldManager });
    writeResult(options, suspended, () => `suspended ${app.metadata.name}${until === undefined ? '' : ` until ${until}`}\n`);
    return 0;
  });
}

/** Takes up a suspended or pinned app again; what drifted meanwhile is put back. */
export function resumeApp(options: AppCommand & { readonly app: string }): Promise<ExitCode> {
  return withClient(options, async (client): Promise<ExitCode> => {
    const app = await findApp(client, options.app);
    const { suspendReason, suspendUntil, suspendedBy, hold, pin, heldBy, heldAt } = annotations;
    const notes = Object.fromEntries([suspendReason, suspendUntil, suspendedBy, hold, pin, heldBy, heldAt].map((name) => [name, null]));
    const body = { metadata: { annotations: notes }, spec: { suspend: null } };
    const resumed = await client.patch(kustomizations, app.metadata, { type: 'merge', body }, { fieldManager });
    writeResult(options, resumed, () => `resumed ${app.metadata.name}\n`);
    return 0;
  });
}
