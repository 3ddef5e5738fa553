import { customResourceDefinitions } from '../../../api/apiextensions/v1/custom-resource-definition.ts';
import { builtInGroups } from '../../../api/built-in-groups.ts';
import { namespaces } from '../../../api/core/v1/namespace.ts';
import type { Clock } from '../../../base/clock.ts';
import { mapBounded } from '../../../base/concurrency.ts';
import type { Redactor } from '../../../base/redactor.ts';
import type { DynamicObject, ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { isForbidden, isNotFound, isStatusError, isUnknownResource, type StatusError } from '../../../machinery/status-error.ts';
import type { BuildError } from '../../manifests/manifest.ts';
import { SelectorError } from '../../render/kustomize/selector.ts';
import { type IgnoredFields, isScalable } from '../objects/ignored-fields.ts';
import type { ObjectId } from '../objects/object-id.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import { missingNamespaceError } from '../plan/missing-namespaces.ts';
import { errorsOf } from '../plan/object-errors.ts';
import type { DesiredObject } from '../plan/plan.ts';
import { redactionOf } from '../plan/secret-values.ts';
import { PartsMissing, refusal, Superseded, SyncFailure } from '../plan/sync-failure.ts';
import type { ApplyMode } from '../records/attempt.ts';
import type { ObjectWriter } from './object-writer.ts';
import { addRefusals, concurrency, goesOn, KindsGone, kindOf, nameOf, type Refusals, type Run } from './run.ts';
import type { Trials } from './trial.ts';

export interface DryRunOptions {
  readonly owned: Pick<OwnedObjects, 'own' | 'isSynced' | 'waitForSync'>;
  readonly writer: Pick<ObjectWriter, 'tryOut'>;
  readonly trials: Pick<Trials, 'elsewhere'>;
  readonly ignored: Pick<IgnoredFields, 'waitForSync'>;
  readonly mapper: Pick<ResourceMapper, 'forget'>;
  readonly redactor: Redactor;
  readonly clock: Clock;
  /** Lists Namespaces of the cluster, for messages; only some where there are very many. */
  namespaceNames(signal: AbortSignal): Promise<readonly string[]>;
}

/** The server's answer to a dry run. */
export interface DryRunResult {
  /** The way in which each object is applied. An object without a mode is tried out once more when its Namespace is there. */
  readonly modes: ReadonlyMap<ObjectId, ApplyMode>;
  /** Objects that are left out, for an app that goes on without them. */
  readonly failed: Refusals;
}

/** Tries out objects, so that a revision is refused as a whole. */
export interface DryRun {
  /** From now on the app gets changes of these objects, and the caches are up to date with them. @throws SyncFailure when one cannot be */
  follow(run: Pick<Run, 'state' | 'signal'>, objects: readonly DesiredObject[]): Promise<void>;
  /**
   * Asks the server about each object, and writes nothing.
   *
   * @throws SyncFailure with the errors of all objects, unless the app goes on without those that have one
   * @throws KindsGone when the server does not have a kind that discovery named
   */
  ask(run: Run, objects: readonly DesiredObject[]): Promise<DryRunResult>;
  /**
   * Reads the server's refusal of an object. The app follows a Namespace that is being deleted and the definition of a custom kind, whose
   * changes bring the next try.
   */
  refusalsOf(run: Run, desired: DesiredObject, err: StatusError): Promise<Refusals>;
}

/** The first list of a kind takes longer only when the cluster is in trouble, which is said then. */
const maxCacheWaitMs = 10_000;

export function createDryRun(options: DryRunOptions): DryRun {
  const { owned, writer, trials, ignored, mapper, redactor, clock, namespaceNames } = options;
  return { follow, ask, refusalsOf };

  async function follow({ state, signal }: Pick<Run, 'state' | 'signal'>, objects: readonly DesiredObject[]): Promise<void> {
    for (const { resource, ref, id } of objects) owned.own(state.key, id, { resource, ref });
    const resources = new Map(objects.map(({ resource }) => [`${resource.group}/${resource.resource}`, resource]));
    const limit = new AbortController();
    const cancel = clock.after(maxCacheWaitMs, () => limit.abort());
    try {
      await owned.waitForSync(resources.values(), AbortSignal.any([signal, limit.signal]));
      if (objects.some(({ object }) => isScalable(object))) await ignored.waitForSync(AbortSignal.any([signal, limit.signal]));
    } catch (err) {
      if (signal.aborted) throw new Superseded();
      if (!limit.signal.aborted) throw err;
      const behind = [...resources.values()].filter((resource) => !owned.isSynced(resource)).map(nameOf);
      // A kind that has gone is never listed; the next attempt finds out.
      mapper.forget();
      const what = behind.length === 0 ? 'horizontalpodautoscalers.autoscaling' : behind.join(', ');
      throw new SyncFailure('ReconciliationFailed', [{ file: '', message: `the cluster does not list ${what}; nothing was applied` }]);
    } finally {
      cancel();
    }
  }

  /** The answer for one object; neither a mode nor an error means that it is tried out again later. */
  interface Answer {
    readonly desired: DesiredObject;
    readonly mode?: ApplyMode;
    readonly refusals?: Refusals;
    /** The server does not have its kind. */
    readonly isGone?: true;
    /** Its Namespace, which neither the cluster nor the revision has. */
    readonly missing?: string;
  }

  async function ask(run: Run, objects: readonly DesiredObject[]): Promise<DryRunResult> {
    const { app, signal } = run;
    const coming = new Set([...run.plan.objects.values()].filter(({ object }) => object.kind === 'Namespace').map(({ ref }) => ref.name));
    const answers = await mapBounded(objects, concurrency, (desired) => askOne(run, desired, coming));
    const gone = new Set(answers.flatMap(({ desired, isGone }) => (isGone === true ? [kindOf(desired)] : [])));
    if (gone.size > 0) throw new KindsGone(gone);
    const errors = new Map<ObjectId, readonly BuildError[]>();
    for (const { refusals } of answers) if (refusals !== undefined) addRefusals(errors, refusals);
    const lacksNamespacesOnly = errors.size === 0;
    const homeless = new Map<string, DesiredObject[]>();
    for (const { desired, missing } of answers)
      if (missing !== undefined) homeless.set(missing, [...(homeless.get(missing) ?? []), desired]);
    const names = homeless.size === 0 ? [] : [...coming, ...(await namespaceNames(signal))];
    for (const [name, found] of homeless) {
      const error = await missingNamespaceError({ app, name, objects: found, revision: run.revision, names });
      for (const { id } of found) errors.set(id, [error]);
      errors.set(followed(run, namespaceOf(name)), []);
    }
    if (errors.size > 0 && !goesOn(app)) {
      throw refusal(errors, lacksNamespacesOnly ? PartsMissing : SyncFailure);
    }
    return {
      modes: new Map(answers.flatMap(({ desired, mode }) => (mode === undefined ? [] : [[desired.id, mode] as const]))),
      failed: errors,
    };
  }

  async function askOne(run: Run, desired: DesiredObject, coming: ReadonlySet<string>): Promise<Answer> {
    const { app, state, revision, signal } = run;
    if (signal.aborted) throw new Superseded();
    try {
      return { desired, mode: await writer.tryOut({ app, state, desired, signal }) };
    } catch (err) {
      if (signal.aborted) throw new Superseded();
      if (err instanceof SelectorError)
        throw new SyncFailure(
          'BuildFailed',
          [{ file: '', message: `${app.spec.ignore === undefined ? 'spec.driftIgnoreRules' : 'spec.ignore'}: ${err.message}` }],
          { nextTry: 'commit' },
        );
      if (!isStatusError(err)) throw err;
      if (isUnknownResource(err) && !run.gone.has(kindOf(desired))) return { desired, isGone: true };
      const missing = isNotFound(err) && err.details?.kind === 'namespaces' ? err.details.name : undefined;
      if (missing !== undefined && coming.has(missing)) {
        const found = await trials.elsewhere(app, desired, signal);
        if (found === undefined) return { desired };
        return {
          desired,
          refusals: new Map([[desired.id, await errorsOf(desired, found, { revision, redaction: redactionOf(redactor, app) })]]),
        };
      }
      // The account may come with this revision, or with its Namespace in a moment.
      if (isForbidden(err) && err.message.includes('error looking up service account')) return { desired, mode: 'apply' };
      return missing === undefined ? { desired, refusals: await refusalsOf(run, desired, err) } : { desired, missing };
    }
  }

  async function refusalsOf(run: Run, desired: DesiredObject, err: StatusError): Promise<Refusals> {
    const { app, revision } = run;
    const found = await errorsOf(desired, err, { revision, redaction: redactionOf(redactor, app) });
    const refusals = new Map([[desired.id, isAboutContent(err) ? found : found.map((error) => ({ ...error, temporary: true as const }))]]);
    const { namespace } = desired.ref;
    if (namespace !== undefined && (err.details?.causes ?? []).some(({ reason }) => reason === 'NamespaceTerminating'))
      add(refusals, followed(run, namespaceOf(namespace)));
    const definition = definitionOf(desired.resource);
    if (!builtInGroups.has(desired.resource.group) && !run.plan.objects.has(definition.id)) add(refusals, followed(run, definition));
    return refusals;
  }

  function add(refusals: Map<ObjectId, readonly BuildError[]>, id: ObjectId): void {
    if (!refusals.has(id)) refusals.set(id, []);
  }

  /** A change of it, or its coming or going, brings the next try. */
  function followed({ state }: Run, { id, resource, ref }: Surrounding): ObjectId {
    owned.own(state.key, id, { resource, ref });
    return id;
  }
}

/** An object that another one needs, and that the app may not have. */
interface Surrounding {
  readonly id: ObjectId;
  readonly resource: Resource<DynamicObject>;
  readonly ref: ObjectRef;
}

const namespaceOf = (name: string): Surrounding => surroundingOf(namespaces as unknown as Resource<DynamicObject>, name);

/** The definition of a custom kind. */
const definitionOf = ({ resource, group }: Resource<DynamicObject>): Surrounding =>
  surroundingOf(customResourceDefinitions as unknown as Resource<DynamicObject>, `${resource}.${group}`);

const surroundingOf = (resource: Resource<DynamicObject>, name: string): Surrounding => ({
  id: ['', name, resource.group, resource.kind].join('_'),
  resource,
  ref: { name },
});

/**
 * True when the server would refuse the object again though nothing else in the cluster changes, and says so of its fields. Policies and
 * webhooks answer with the same codes, and addresses and ports are free again when another object goes.
 */
const isAboutContent = ({ code, message }: StatusError): boolean =>
  // Server-side apply answers with 500 when a schema does not have a field.
  message.startsWith('failed to create typed patch object') ||
  ((code === 400 || code === 422) && !/denied|already allocated|already in use/.test(message));
