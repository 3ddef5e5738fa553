import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf } from '../../machinery/object.ts';
import { sourceKeyOf, targetKeyOf } from './app-spec.ts';
import { idOf, type ObjectId } from './object-id.ts';
import type { AppBuilder } from './post-build.ts';
import type { RevisionStore } from './repository-controller.ts';

export interface Claim {
  readonly app: string;
  readonly file: string;
  /** The cluster it is for. */
  readonly target: string;
}

/**
 * Which app names which object at a source's newest revision, whether it was applied yet or not. An object that moves from one app to
 * another in one commit changes hands by it; one that two apps name is an error.
 */
export interface Claims {
  /** Looks up who beside `app` names an object. The table is made once a revision. */
  othersThan(app: Kustomization, signal: AbortSignal): Promise<(id: ObjectId) => Claim | undefined>;
  /** The set of apps, or what one of them follows, changed. */
  invalidate(): void;
}

export interface ClaimsOptions {
  readonly apps: Informer<Kustomization>;
  readonly builder: AppBuilder;
  readonly revisions: RevisionStore;
  /** Name of an index of `apps` by source key. */
  readonly bySource: string;
}

export function createClaims({ apps, builder, revisions, bySource }: ClaimsOptions): Claims {
  let tables = new Map<string, { readonly sha: string; readonly table: Promise<ReadonlyMap<ObjectId, readonly Claim[]>> }>();

  async function tableOf(source: string, signal: AbortSignal): Promise<ReadonlyMap<ObjectId, readonly Claim[]>> {
    const revision = revisions.get(source);
    if (revision === undefined) return new Map();
    const known = tables.get(source);
    if (known?.sha === revision.commit.sha) return known.table;
    const table = makeTable(source, signal);
    tables.set(source, { sha: revision.commit.sha, table });
    table.catch(() => tables.delete(source));
    return table;
  }

  async function makeTable(source: string, signal: AbortSignal): Promise<ReadonlyMap<ObjectId, readonly Claim[]>> {
    const table = new Map<ObjectId, Claim[]>();
    const revision = revisions.get(source);
    if (revision === undefined) return table;
    for (const app of apps.byIndex(bySource, source)) {
      if (app.metadata.deletionTimestamp !== undefined) continue;
      const { manifests } = await builder.build(app, revision, signal);
      for (const { object, file } of manifests) {
        const claim = { app: keyOf(app), file, target: targetKeyOf(app) };
        // Whether a kind has a namespace is the server's to say; both spellings cost less than asking.
        const namespace = app.spec.targetNamespace ?? object.metadata.namespace ?? 'default';
        const { namespace: _, ...clusterScoped } = object.metadata;
        for (const id of [idOf({ ...object, metadata: clusterScoped }), idOf({ ...object, metadata: { ...object.metadata, namespace } })]) {
          const claims = table.get(id);
          if (claims === undefined) table.set(id, [claim]);
          else claims.push(claim);
        }
      }
    }
    return table;
  }

  return {
    async othersThan(app, signal) {
      const table = await tableOf(sourceKeyOf(app), signal);
      const key = keyOf(app);
      const target = targetKeyOf(app);
      return (id) => table.get(id)?.find((claim) => claim.app !== key && claim.target === target);
    },
    invalidate() {
      tables = new Map();
    },
  };
}
