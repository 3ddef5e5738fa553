import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf } from '../../machinery/object.ts';
import { sourceKeyOf, targetKeyOf } from './app-spec.ts';
import { idOf, type ObjectId } from './object-id.ts';
import type { AppBuilder } from './post-build.ts';
import type { RevisionStore } from './repository-controller.ts';

export interface Claim {
  readonly app: string;
  /** Empty for what the app has while its source cannot be read. */
  readonly file: string;
  /** `namespace/name` of the GitRepository that the file is in. */
  readonly source: string;
  /** The cluster it is for. */
  readonly target: string;
}

/**
 * Which app names which object at the newest revision of its source, whether it was applied yet or not. An object that moves from one app
 * to another in one commit changes hands by it; one that two apps name is an error.
 */
export interface Claims {
  /** Looks up who beside `app` names an object, one of the same source first. The tables are made once a revision. */
  othersThan(app: Kustomization, signal: AbortSignal): Promise<(id: ObjectId) => Claim | undefined>;
  /**
   * Whether an object that an app of another source names as well is this app's: the one's that has it in its inventory, or else the older
   * one's. Whoever writes to one repository must not hold up the apps of another; within one repository neither is right.
   */
  isFirst(app: Kustomization, claim: Claim, id: ObjectId): boolean;
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

type Table = ReadonlyMap<ObjectId, readonly Claim[]>;

const noTable: Table = new Map();

export function createClaims({ apps, builder, revisions, bySource }: ClaimsOptions): Claims {
  let tables = new Map<string, { readonly sha: string; readonly table: Promise<Table> }>();

  /** Of all apps. */
  let sources: ReadonlySet<string> | undefined;

  async function tableOf(source: string, signal: AbortSignal): Promise<Table> {
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
        // Whoever began it may have given it up, which is no reason for others.
        if (isOwn || signal.aborted) throw err;
      }
    }
  }

  async function makeTable(source: string, signal: AbortSignal): Promise<Table> {
    const table = new Map<ObjectId, readonly Claim[]>();
    const revision = revisions.get(source);
    for (const app of apps.byIndex(bySource, source)) {
      if (app.metadata.deletionTimestamp !== undefined) continue;
      const own = { app: keyOf(app), source, target: targetKeyOf(app) };
      if (revision === undefined) {
        // Of a source that cannot be read, not yet after a start, its apps keep what they have.
        for (const { id } of app.status?.inventory?.entries ?? []) table.set(id, [...(table.get(id) ?? []), { ...own, file: '' }]);
        continue;
      }
      const { manifests } = await builder.build(app, revision, signal);
      for (const { object, file } of manifests) {
        const claim: readonly Claim[] = [{ ...own, file }];
        // Whether a kind has a namespace is the server's to say; both spellings cost less than asking.
        const namespace = app.spec.targetNamespace ?? object.metadata.namespace ?? 'default';
        const { namespace: _, ...clusterScoped } = object.metadata;
        for (const id of [idOf({ ...object, metadata: clusterScoped }), idOf({ ...object, metadata: { ...object.metadata, namespace } })]) {
          const others = table.get(id);
          table.set(id, others === undefined ? claim : [...others, ...claim]);
        }
      }
    }
    return table;
  }

  return {
    async othersThan(app, signal) {
      const own = sourceKeyOf(app);
      sources ??= new Set([...apps.list()].map(sourceKeyOf));
      const others = [...sources].filter((source) => source !== own);
      const found = await Promise.all([
        tableOf(own, signal),
        ...others.map((source) =>
          tableOf(source, signal).catch((err: unknown) => {
            if (signal.aborted) throw err;
            // A repository that cannot be read holds up its own apps only.
            return noTable;
          }),
        ),
      ]);
      const key = keyOf(app);
      const target = targetKeyOf(app);
      return (id) => {
        for (const table of found) {
          const claim = table.get(id)?.find((each) => each.app !== key && each.target === target);
          if (claim !== undefined) return claim;
        }
        return undefined;
      };
    },
    isFirst(app, claim, id) {
      if (claim.source === sourceKeyOf(app)) return false;
      const other = apps.getByKey(claim.app);
      if (other === undefined) return true;
      const [mine, theirs] = [app, other].map(({ status }) => status?.inventory?.entries.some((entry) => entry.id === id) === true);
      if (mine !== theirs) return mine === true;
      const [own, others] = [app, other].map(({ metadata }) => `${metadata.creationTimestamp} ${metadata.namespace}/${metadata.name}`);
      return own !== undefined && others !== undefined && own < others;
    },
    invalidate() {
      tables = new Map();
      sources = undefined;
    },
  };
}
