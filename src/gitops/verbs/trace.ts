import { type Kustomization, kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../api/source/v1/git-repository.ts';
import { labels } from '../../api/well-known.ts';
import { redactUrl } from '../../base/redact-url.ts';
import type { Client } from '../../client/client.ts';
import { tryGet } from '../../client/try-get.ts';
import { whyOf } from '../../lifecycle/why.ts';
import { conditionOf } from '../../machinery/conditions.ts';
import type { KubeObject, ObjectRef } from '../../machinery/object.ts';
import { describeObject } from '../apply/objects/object-id.ts';
import { type HistoryEntry, readHistory } from '../apply/records/history.ts';
import type { Lookup } from './lookup.ts';

/** Origin of an object: up its owners to the app, and from there to the repository and the commit. */
export interface Trace {
  readonly object: string;
  /** From the object's own owner to the topmost: `Deployment web/storefront`. */
  readonly owners: readonly string[];
  /** Undefined for what no app applied. */
  readonly app: TracedApp | undefined;
}

export interface TracedApp {
  readonly namespace: string;
  readonly name: string;
  readonly path: string;
  readonly revision: string;
  /** Message of the condition Ready. */
  readonly status: string;
  readonly source: { readonly kind: string; readonly namespace: string; readonly name: string; readonly url: string } | undefined;
  /** The commit that changed the object last; the app's newest when its history does not reach back so far. */
  readonly commit: TracedCommit | undefined;
}

export interface TracedCommit {
  readonly sha: string;
  readonly author: string;
  readonly subject: string;
  /** When it was applied; RFC 3339. */
  readonly at: string;
  /** False when the object is older than the history. */
  readonly changedObject: boolean;
}

export async function traceObject(client: Client, lookup: Lookup, object: KubeObject): Promise<Trace> {
  const owners = await lookup.ownersOf(object);
  const top = [...owners].reverse().find(isApplied) ?? (isApplied(object) ? object : undefined);
  const trace = { object: describeObject(object), owners: owners.map(describeObject) };
  const ref = top === undefined ? undefined : appRefOf(top);
  const app = ref === undefined ? undefined : await tryGet(client, kustomizations, ref);
  return { ...trace, app: app === undefined || top === undefined ? undefined : await tracedApp(client, app, top) };
}

/** The app that an object says it belongs to. */
function appRefOf({ metadata }: KubeObject): ObjectRef | undefined {
  const { [labels.fluxKustomizeName]: name, [labels.fluxKustomizeNamespace]: namespace } = metadata.labels ?? {};
  return name === undefined ? undefined : { namespace, name };
}

const isApplied = (object: KubeObject): boolean => appRefOf(object) !== undefined;

async function tracedApp(client: Client, app: Kustomization, object: KubeObject): Promise<TracedApp> {
  const { sourceRef, path = './' } = app.spec;
  const namespace = sourceRef.namespace ?? app.metadata.namespace ?? '';
  const source = await tryGet(client, gitRepositories, { namespace, name: sourceRef.name });
  const changed = lastChangeOf(await readHistory(client, app), describeObject(object));
  const newest = whyOf(app, source).commit;
  return {
    namespace: app.metadata.namespace ?? '',
    name: app.metadata.name,
    path,
    revision: app.status?.lastAppliedRevision ?? '',
    status: conditionOf(app.status?.conditions, 'Ready')?.message ?? 'not looked at yet',
    source: { kind: sourceRef.kind, namespace, name: sourceRef.name, url: redactUrl(source?.spec.url ?? '') },
    commit:
      changed ??
      (newest === undefined
        ? undefined
        : { sha: newest.sha, author: newest.author, subject: newest.subject, at: newest.seenAt, changedObject: false }),
  };
}

/** The newest revision that wrote the object, as `Kind namespace/name`. */
function lastChangeOf(history: readonly HistoryEntry[], object: string): TracedCommit | undefined {
  const entry = history.findLast(({ result, changes }) => result === 'applied' && changes.some((change) => change.object === object));
  if (entry === undefined) return undefined;
  const { revision, author, subject, at } = entry;
  return { sha: revision.slice(revision.lastIndexOf(':') + 1), author, subject, at, changedObject: true };
}
