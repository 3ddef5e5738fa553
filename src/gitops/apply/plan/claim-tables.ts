import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Informer } from '../../../client/informer.ts';
import { keyOf } from '../../../machinery/object.ts';
import type { RevisionStore } from '../../sources/follow/known-revision.ts';
import { idOf, type ObjectId } from '../objects/object-id.ts';
import { sourceKeyOf, targetKeyOf } from './app-spec.ts';
import type { AppBuilder } from './post-build.ts';

export interface Claim {
  readonly app: string;
  /** Empty for what the app has while its source cannot be read. */
  readonly file: string;
  /** `namespace/name` of the GitRepository that the file is in. */
  readonly source: string;
  /** The cluster it is for. */
  readonly target: string;
}

/** Objects that the apps of a source name at its newest revision. */
export interface ClaimTable {
  readonly claims: ReadonlyMap<ObjectId, readonly Claim[]>;
  /** Apps all of whose manifests could be read. */
  readonly built: ReadonlySet<string>;
}

/** A table for each source, made once for each newest revision and shared by all who ask. */
export interface ClaimTables {
  /** Gives the tables of all sources, that of the app first. A source that cannot be read has an empty one. */
  read(app: Kustomization, signal: AbortSignal): Promise<readonly ClaimTable[]>;
  /** The set of apps, or what one of them follows, changed. */
  invalidate(): void;
}

export interface ClaimTablesOptions {
  readonly apps: Informer<Kustomization>;
  readonly builder: AppBuilder;
  readonly revisions: RevisionStore;
  /** Name of an index of `apps` by source key. */
  readonly bySource: string;
}

const noTable: ClaimTable = { claims: new Map(), built: new Set() };

export function createClaimTables({ apps, builder, revisions, bySource }: ClaimTablesOptions): ClaimTables {
  let tables = new Map<string, { readonly sha: string; readonly table: Promise<ClaimTable> }>();
  /** Sources that the apps follow. */
  let sources: ReadonlySet<string> | undefined;

  async function tableOf(source: string, signal: AbortSignal): Promise<ClaimTable> {
    for (;;) {
      const sha = revisions.get(source)?.commit.sha ?? '';
      let known = tables.get(source);
      const isOwn = known?.sha !== sha;
      if (known === undefined || isOwn) {
        known = { sha, table: makeTable(source, signal) };
        tables.set(source, known);
      }
      const { table } = known;
      try {
        return await table;
      } catch (err) {
        if (tables.get(source)?.table === table) tables.delete(source);
        // The first caller may have given up, which is no reason for others.
        if (isOwn || signal.aborted) throw err;
      }
    }
  }

  async function makeTable(source: string, signal: AbortSignal): Promise<ClaimTable> {
    const table = new Map<ObjectId, readonly Claim[]>();
    const built = new Set<string>();
    const revision = revisions.get(source);
    for (const app of apps.byIndex(bySource, source)) {
      if (app.metadata.deletionTimestamp !== undefined) continue;
      const own = { app: keyOf(app), source, target: targetKeyOf(app) };
      if (revision === undefined) {
        // If a source cannot be read, or not yet after a start, its apps keep their claims.
        for (const { id } of app.status?.inventory?.entries ?? []) table.set(id, [...(table.get(id) ?? []), { ...own, file: '' }]);
        continue;
      }
      const { manifests, errors } = await builder.build(app, revision, signal);
      if (errors.length === 0 && manifests.length > 0) built.add(own.app);
      for (const { object, file } of manifests) {
        const claim: readonly Claim[] = [{ ...own, file }];
        // The server decides if a kind has a namespace; both spellings cost less than asking.
        const namespace = app.spec.targetNamespace ?? object.metadata.namespace ?? 'default';
        const { namespace: _, ...clusterScoped } = object.metadata;
        for (const id of [idOf({ ...object, metadata: clusterScoped }), idOf({ ...object, metadata: { ...object.metadata, namespace } })]) {
          const others = table.get(id);
          table.set(id, others === undefined ? claim : [...others, ...claim]);
        }
      }
    }
    return { claims: table, built };
  }

  return {
    async read(app, signal) {
      const own = sourceKeyOf(app);
      sources ??= new Set([...apps.list()].map(sourceKeyOf));
      const others = [...sources].filter((source) => source !== own);
      return Promise.all([
        tableOf(own, signal),
        ...others.map((source) =>
          tableOf(source, signal).catch((err: unknown) => {
            if (signal.aborted) throw err;
            // A repository that cannot be read holds up its own apps only.
            return noTable;
          }),
        ),
      ]);
    },
    invalidate() {
      tables = new Map();
      sources = undefined;
    },
  };
}
