import { holdOf } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Informer } from '../../../client/informer.ts';
import { keyOf } from '../../../machinery/object.ts';
import type { RevisionStore } from '../../sources/follow/known-revision.ts';
import { idOf, type ObjectId } from '../objects/object-id.ts';
import { deletesObjects, sourceKeyOf, targetKeyOf } from './app-spec.ts';
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

/**
 * Apps by the objects that they name at the newest revision of their source, applied or not. An object that moves from
 * one app to another in one commit changes hands by it; one that two apps name is an error.
 */
export interface Claims {
  /** Looks up who beside `app` names an object, one of the same source first. The tables are made once a revision. */
  othersThan(app: Kustomization, signal: AbortSignal): Promise<(id: ObjectId) => Claim | undefined>;
  /**
   * True when an object that an app of another source names as well belongs to this app. The app that has it in its
   * inventory owns it, or else the older app. Writers of one repository must not block the apps of another; within one
   * repository neither app is right.
   */
  isFirst(app: Kustomization, claim: Claim, id: ObjectId): boolean;
  /** Looks up which apps of the same cluster name an object, `app` among them, by key. */
  claimants(app: Kustomization, signal: AbortSignal): Promise<(id: ObjectId) => readonly string[]>;
  /**
   * Looks up if another app of the same cluster is about to delete an object that it has. It is when it prunes, its newest revision can be
   * built, and no app names the object.
   */
  lettingGo(app: Kustomization, signal: AbortSignal): Promise<(owner: string, id: ObjectId) => boolean>;
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

/** Objects that the apps of a source name at its newest revision. */
interface Table {
  readonly claims: ReadonlyMap<ObjectId, readonly Claim[]>;
  /** Apps all of whose manifests could be read. */
  readonly built: ReadonlySet<string>;
}

const noTable: Table = { claims: new Map(), built: new Set() };

export function createClaims({ apps, builder, revisions, bySource }: ClaimsOptions): Claims {
  let tables = new Map<string, { readonly sha: string; readonly table: Promise<Table> }>();

  /** Claims of all apps. */
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
        // The first caller may have given up, which is no reason for others.
        if (isOwn || signal.aborted) throw err;
      }
    }
  }

  async function makeTable(source: string, signal: AbortSignal): Promise<Table> {
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

  /** Gives the tables of all sources, that of the app first. */
  async function tablesFor(app: Kustomization, signal: AbortSignal): Promise<readonly Table[]> {
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
  }

  async function claimants(app: Kustomization, signal: AbortSignal): Promise<(id: ObjectId) => readonly string[]> {
    const found = await tablesFor(app, signal);
    const target = targetKeyOf(app);
    return (id) => found.flatMap(({ claims }) => (claims.get(id) ?? []).flatMap((each) => (each.target === target ? [each.app] : [])));
  }

  return {
    claimants,
    async lettingGo(app, signal) {
      const [found, claimantsOf] = await Promise.all([tablesFor(app, signal), claimants(app, signal)]);
      const inventories = new Map<string, ReadonlySet<ObjectId>>();
      const inventoryOf = (owner: string): ReadonlySet<ObjectId> => {
        const known = inventories.get(owner);
        if (known !== undefined) return known;
        const other = apps.getByKey(owner);
        const deletes =
          other !== undefined &&
          targetKeyOf(other) === targetKeyOf(app) &&
          (other.metadata.deletionTimestamp !== undefined
            ? deletesObjects(other)
            : other.spec.prune &&
              other.spec.suspend !== true &&
              holdOf(other) === undefined &&
              found.some(({ built }) => built.has(owner)));
        const ids = new Set(deletes ? other.status?.inventory?.entries.map(({ id }) => id) : []);
        inventories.set(owner, ids);
        return ids;
      };
      return (owner, id) => inventoryOf(owner).has(id) && claimantsOf(id).length === 0;
    },
    async othersThan(app, signal) {
      const found = await tablesFor(app, signal);
      const key = keyOf(app);
      const target = targetKeyOf(app);
      return (id) => {
        for (const table of found) {
          const claim = table.claims.get(id)?.find((each) => each.app !== key && each.target === target);
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
