import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../api/well-known.ts';
import type { ObjectChange } from '../../base/activity.ts';
import { mapBounded } from '../../base/concurrency.ts';
import type { Client } from '../../client/client.ts';
import { type DynamicObject, refOf } from '../../machinery/object.ts';
import { isConflict, isInvalid, isNotFound, isStatusError, type StatusError } from '../../machinery/status-error.ts';
import { locate } from '../../machinery/yaml.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import { maxFileBytes } from '../build/documents.ts';
import type { BuildError } from '../build/manifest.ts';
import { type AppState, touchInventory } from './app-state.ts';
import type { AttemptRecord } from './attempt.ts';
import type { Claim, Claims } from './claims.ts';
import { changesBetween, fieldManager, ownFieldsOf } from './fields.ts';
import type { Inventory } from './inventory.ts';
import { describeObject, type ObjectId } from './object-id.ts';
import { stagesOf } from './order.ts';
import type { OwnedObjects } from './owned-objects.ts';
import { type DesiredObject, planObjects } from './plan.ts';
import type { AppBuilder } from './post-build.ts';
import type { KnownRevision } from './repository-controller.ts';
import type { ResourceMapper } from './resource-mapper.ts';
import { Superseded, SyncFailure } from './sync-failure.ts';

export interface SyncerOptions {
  readonly client: Client;
  readonly builder: AppBuilder;
  readonly mapper: ResourceMapper;
  readonly owned: OwnedObjects;
  readonly inventory: Inventory;
  readonly recorder: EventRecorder;
  /** Resolves when the caches of all kinds that are followed can be read. */
  waitForCaches(signal: AbortSignal): Promise<void>;
  readonly claims: Claims;
  /** Looks for drift again once our own write is known. */
  recheck(state: AppState, id: ObjectId): void;
}

export interface SyncOutcome {
  readonly changes: readonly ObjectChange[];
  readonly digest: string;
  readonly unchanged: number;
}

/** Puts a revision of an app in force, or nothing of it. */
export interface Syncer {
  /**
   * Steps: build, plan, dry run of all that changed, write-ahead inventory, apply in stages. Objects that are in force already cost
   * nothing.
   *
   * @throws SyncFailure with every error that was found; before the apply step nothing was written
   * @throws Superseded when `signal` is aborted between two objects
   */
  sync(app: Kustomization, state: AppState, attempt: AttemptRecord, signal: AbortSignal): Promise<SyncOutcome>;
  /** Applies one object again and takes its fields back, whoever has them. */
  heal(app: Kustomization, state: AppState, desired: DesiredObject, signal: AbortSignal): Promise<void>;
}

/** Requests of one app under way at the same time. */
const concurrency = 32;

export function createSyncer(options: SyncerOptions): Syncer {
  const { client, builder, mapper, owned, inventory, recorder, waitForCaches, claims, recheck } = options;

  return {
    async sync(app, state, attempt, signal) {
      const { revision } = attempt;
      // 1. Build: the tree, read through caches.
      attempt.begin('render');
      const build = await builder.build(app, revision, signal);
      if (build.errors.length > 0) throw new SyncFailure('BuildFailed', build.errors);
      if (build.manifests.length === 0 && (state.applied.size > 0 || state.doomed.size > 0)) {
        throw new SyncFailure('BuildFailed', [
          {
            file: app.spec.path ?? '.',
            message: 'holds no manifest, though the app has objects; nothing was pruned',
            hint: 'To remove an app, delete its Kustomization.',
          },
        ]);
      }
      const isInForce = build === state.build && state.generation === app.metadata.generation && state.attempted === undefined;
      if (isInForce && state.drifts.size === 0 && state.doomed.size === 0) {
        return { changes: [], digest: build.digest, unchanged: state.applied.size };
      }

      // 2. Plan: kinds, names, and who owns what.
      attempt.begin('plan');
      const before = new Map([...state.applied].map(([id, { desired }]) => [id, desired]));
      const plan = await planObjects({
        app: refOf(state.key),
        manifests: build.manifests,
        targetNamespace: app.spec.targetNamespace,
        mapper,
        before,
      });
      const errors = [...plan.errors, ...claimErrors(plan.objects, await claims.othersThan(app, signal))];
      if (errors.length > 0) throw new SyncFailure('BuildFailed', errors);
      const changed = [...plan.objects.values()].filter(
        (desired) => state.applied.get(desired.id)?.desired !== desired || state.drifts.has(desired.id),
      );
      for (const [id, { desired, uid }] of state.applied) {
        if (!plan.objects.has(id))
          state.doomed.set(id, { version: desired.resource.version, uid, resource: desired.resource, ref: desired.ref });
      }
      for (const id of plan.objects.keys()) state.doomed.delete(id);
      if (changed.length === 0 && state.doomed.size === 0) {
        state.build = build;
        return { changes: [], digest: build.digest, unchanged: plan.objects.size };
      }

      touchInventory(state);

      // 3. Dry run: every object that changed, so that a revision is refused as a whole.
      for (const { resource, ref, id } of changed) owned.own(state.key, id, resource, ref);
      await waitForCaches(signal);
      const modes = await dryRun({ app, state, changed, plan: plan.objects, revision, signal });

      // 4. Write-ahead inventory: whatever happens from here on, every object is known to be ours.
      attempt.begin('apply');
      await inventory.write(app, state, { revision: revision.commit.revision, intended: plan.objects });

      // 5. Apply, stage by stage.
      const changes: ObjectChange[] = [];
      const failures: BuildError[] = [];
      for (const stage of stagesOf(changed, ({ object }) => object.kind, 1)) {
        await mapBounded(stage, concurrency, async (desired) => {
          if (signal.aborted) throw new Superseded();
          try {
            const change = await applyOne({ app, state, desired, mode: modes.get(desired.id) ?? 'apply' });
            if (change !== undefined) changes.push(change);
          } catch (err) {
            if (!isStatusError(err)) throw err;
            failures.push(...(await errorsOf(desired, err, revision)));
          }
        });
        if (failures.length > 0) throw new SyncFailure('ReconciliationFailed', failures);
      }
      for (const id of state.doomed.keys()) state.applied.delete(id);
      // A manifest that only moved to another line or file is in force as it is.
      for (const [id, desired] of plan.objects) {
        const known = state.applied.get(id);
        if (known !== undefined && known.desired !== desired) state.applied.set(id, { ...known, desired });
      }
      state.build = build;
      return { changes, digest: build.digest, unchanged: plan.objects.size - changes.length };
    },
    async heal(app, state, desired) {
      await applyOne({ app, state, desired, mode: 'force' });
    },
  };

  function claimErrors(objects: ReadonlyMap<ObjectId, DesiredObject>, claimOf: (id: ObjectId) => Claim | undefined): readonly BuildError[] {
    const errors: BuildError[] = [];
    for (const [id, { object, manifest }] of objects) {
      const other = claimOf(id);
      if (other === undefined) continue;
      errors.push({
        file: manifest.file,
        line: manifest.line,
        message: `defines ${describeObject(object)}, which app ${other.app} defines in ${other.file}`,
        hint: 'An object belongs to one app: remove it from the other one first.',
      });
    }
    return errors;
  }

  async function dryRun(run: {
    readonly app: Kustomization;
    readonly state: AppState;
    readonly changed: readonly DesiredObject[];
    readonly plan: ReadonlyMap<ObjectId, DesiredObject>;
    readonly revision: KnownRevision;
    readonly signal: AbortSignal;
  }): Promise<ReadonlyMap<ObjectId, ApplyMode>> {
    const { app, changed, plan, revision, signal } = run;
    const modes = new Map<ObjectId, ApplyMode>();
    const errors: BuildError[] = [];
    const newNamespaces = new Set([...plan.values()].filter(({ object }) => object.kind === 'Namespace').map(({ ref }) => ref.name));
    await mapBounded(changed, concurrency, async (desired) => {
      if (signal.aborted) throw new Superseded();
      try {
        await send(desired, { dryRun: true, force: false });
      } catch (err) {
        if (!isStatusError(err)) throw err;
        if (isNotFound(err) && err.details?.kind === 'namespaces' && newNamespaces.has(err.details.name ?? '')) return;
        if (isFieldConflict(err)) {
          const mode = judgeConflict(app, desired, err);
          if (mode === 'force') {
            modes.set(desired.id, mode);
            return;
          }
        }
        if (isInvalid(err) && isImmutable(err) && mayRecreate(app, desired)) {
          modes.set(desired.id, 'recreate');
          return;
        }
        errors.push(...(await errorsOf(desired, err, revision)));
      }
    });
    if (errors.length > 0) throw new SyncFailure('ReconciliationFailed', errors);
    return modes;
  }

  /** Fields that a person set with kubectl are taken silently, those of other programs with a warning. */
  function judgeConflict(app: Kustomization, desired: DesiredObject, err: StatusError): ApplyMode | undefined {
    const causes = err.details?.causes ?? [];
    const managers = [...new Set(causes.map(({ message = '' }) => /conflict with "([^"]*)"/.exec(message)?.[1] ?? '?'))];
    if (managers.every((manager) => manager.startsWith('kubectl') || manager === 'before-first-apply')) return 'force';
    const policy = app.metadata.annotations?.[annotations.onConflict];
    if (policy === 'fail') return undefined;
    recorder.record(app, {
      type: 'Warning',
      reason: 'FieldConflict',
      message: `${describeObject(desired.object)}: took ${causes.map(({ field = '' }) => field).join(', ')} from ${managers.join(', ')}`,
    });
    return 'force';
  }

  async function applyOne(one: {
    readonly app: Kustomization;
    readonly state: AppState;
    readonly desired: DesiredObject;
    readonly mode: ApplyMode;
  }): Promise<ObjectChange | undefined> {
    const { app, state, desired, mode } = one;
    const before = owned.live(desired.resource, desired.ref);
    state.writing.add(desired.id);
    try {
      if (mode === 'recreate') await remove(desired, before);
      const result = await send(desired, { dryRun: false, force: mode === 'force' }).catch((err: unknown) => {
        // Someone took a field between dry run and apply.
        if (!isStatusError(err) || !isFieldConflict(err) || judgeConflict(app, desired, err) !== 'force') throw err;
        return send(desired, { dryRun: false, force: true });
      });
      const { uid, resourceVersion } = result.metadata;
      state.applied.set(desired.id, { desired, ownFields: ownFieldsOf(result), uid, resourceVersion: Number(resourceVersion ?? 0) });
      state.drifts.delete(desired.id);
      state.healthDirty.add(desired.id);
      if (before?.metadata.uid === result.metadata.uid && before?.metadata.resourceVersion === result.metadata.resourceVersion)
        return undefined;
      const object = describeObject(desired.object);
      return before === undefined || before.metadata.uid !== result.metadata.uid
        ? { action: 'created', object, fields: [] }
        : { action: 'configured', object, fields: changesBetween(before, desired.object) };
    } finally {
      state.writing.delete(desired.id);
      recheck(state, desired.id);
    }
  }

  function send(
    { resource, ref, object }: DesiredObject,
    { dryRun, force }: { readonly dryRun: boolean; readonly force: boolean },
  ): Promise<DynamicObject> {
    return client.patch<DynamicObject>(
      resource,
      ref,
      { type: 'apply', body: object },
      { fieldManager, force, dryRun, fieldValidation: 'Strict' },
    );
  }

  async function remove({ resource, ref }: DesiredObject, before: DynamicObject | undefined): Promise<void> {
    const uid = before?.metadata.uid;
    try {
      await client.delete(resource, ref, { propagationPolicy: 'Background', ...(uid === undefined ? {} : { preconditions: { uid } }) });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

type ApplyMode = 'apply' | 'force' | 'recreate';

const isFieldConflict = (err: StatusError): boolean =>
  isConflict(err) && (err.details?.causes ?? []).some(({ reason }) => reason === 'FieldManagerConflict');

const isImmutable = (err: StatusError): boolean => /immutable|may not change|updates to .* forbidden/i.test(err.message);

function mayRecreate(app: Kustomization, { object }: DesiredObject): boolean {
  return app.spec.force === true || object.metadata.annotations?.[annotations.fluxForce]?.toLowerCase() === 'enabled';
}

/** One error for each field the server named, with the line and column of the field in its file. */
export async function errorsOf(
  { manifest, object }: DesiredObject,
  err: StatusError,
  revision: Pick<KnownRevision, 'source'>,
): Promise<readonly BuildError[]> {
  const hint = isImmutable(err)
    ? `It cannot be changed in place: give the object a new name, or annotate it with ${annotations.fluxForce}: enabled to have it deleted and created again`
    : undefined;
  const unknown = [...err.message.matchAll(/(unknown|duplicate) field "([^"]+)"/g)].map(([text, , field = '']) => ({
    field,
    message: text,
  }));
  const undeclared = [...err.message.matchAll(/\.(\S+): field not declared in schema/g)].map(([, path = '']) => {
    const field = indexPath(object, path);
    return { field, message: `unknown field "${field}"` };
  });
  const causes = (err.details?.causes ?? []).map(({ field = '', message = '' }) => ({ field, message: `${field}: ${message}` }));
  const found = unknown.length > 0 ? unknown : undeclared.length > 0 ? undeclared : causes;
  const base = { file: manifest.file, line: manifest.line, ...(hint === undefined ? {} : { hint }) };
  const who = describeObject(object);
  if (found.length === 0) return [{ ...base, message: `${who}: ${err.message}` }];
  const text = await revision.source.readBlob(manifest.blob, maxFileBytes).then(
    (bytes) => Buffer.from(bytes).toString('utf8'),
    // The place is a help, not the message: without the file the document's own line has to do.
    () => undefined,
  );
  return found.map(({ field, message }) => {
    const place = text === undefined ? undefined : locate(text, field, manifest.line);
    return { ...base, ...place, message: `${who}: ${message}` };
  });
}

/** `spec.containers[name="web"].foo`, as server-side apply names a field, with the item's place instead of its key: `spec.containers[0].foo`. */
function indexPath(object: DynamicObject, path: string): string {
  let value: unknown = object;
  let result = '';
  for (const [, name, key] of path.matchAll(/\.?([^.[\]]+)|\[([^\]]*)\]/g)) {
    if (name !== undefined) {
      value = (value as Readonly<Record<string, unknown>> | undefined)?.[name];
      result += result === '' ? name : `.${name}`;
      continue;
    }
    const wanted = Object.fromEntries((key ?? '').split(',').map((pair) => pair.split('=')));
    const items: readonly unknown[] = Array.isArray(value) ? value : [];
    const index = items.findIndex((item) =>
      Object.entries(wanted).every(([field, text]) => JSON.stringify((item as Readonly<Record<string, unknown>>)[field]) === text),
    );
    value = items[index];
    result += `[${index === -1 ? key : index}]`;
  }
  return result;
}
