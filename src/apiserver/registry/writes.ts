import { randomUUID } from 'node:crypto';
import { validateObjectMeta } from '../../api/object-meta.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { DeleteOptions } from '../../client/client.ts';
import { cannotBeHandled } from '../../machinery/field-validation.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import {
  type DynamicObject,
  deepEqual,
  deepFreeze,
  type KubeObject,
  keyOf,
  type ObjectMeta,
  type ObjectRef,
} from '../../machinery/object.ts';
import {
  alreadyExists,
  badRequest,
  conflict,
  forbidden,
  internalError,
  invalid,
  isStatusError,
  notFound,
  StatusError,
} from '../../machinery/status-error.ts';
import type { Value, WriteResult } from '../../storage/storage.ts';
import type { AdmissionChain, AdmissionPhase, Operation } from '../admission/admission.ts';
import { unreadableError } from '../encryption/encrypted-storage.ts';
import type { DeleteOutcome, WriteRequest } from '../kube-api.ts';
import type { BodyDecoder } from './decoding.ts';
import { checkDeleteOptions, deletionOf, isReleased, warningOfOrphans } from './deletion.ts';
import { atRevision, encode, inFieldOrder, withoutRevision } from './encoding.ts';
import type { FieldOwners } from './field-owners.ts';
import { KeyLock } from './key-lock.ts';
import { storeKeyOf } from './keys.ts';
import { createdMetadata, sameMetadata, uidConflict, updatedMetadata } from './metadata.ts';
import { generateName } from './names.ts';
import type { Registry } from './registry.ts';

/**
 * Everything that changes the store. Each write looks at the stored object, makes the next one from it (copy on write), lets admission
 * and validation see it, and compares-and-sets; a write that changes nothing is not made.
 */
export interface Writer {
  create(request: WriteRequest, kind: KindDefinition, namespace: string | undefined, object: KubeObject): Promise<KubeObject>;
  modify(request: WriteRequest, kind: KindDefinition, ref: ObjectRef, modification: Modification): Promise<KubeObject>;
  /** Server-side apply: makes the object when it is not there, unless it is a subresource that is applied. */
  apply(
    request: WriteRequest & { readonly force?: boolean },
    kind: KindDefinition,
    ref: ObjectRef,
    application: Application,
  ): Promise<{ readonly object: KubeObject; readonly created: boolean }>;
  delete(request: WriteRequest, kind: KindDefinition, ref: ObjectRef, options: DeleteOptions): Promise<DeleteOutcome>;
  /**
   * Lets admission see what stores nothing itself: the body of an action (`pods/eviction`) or the options of a connection (`pods/exec`).
   * Gives the body as admission leaves it.
   */
  admit(
    request: WriteRequest,
    kind: KindDefinition,
    ref: ObjectRef,
    operation: 'create' | 'connect',
    body: KubeObject,
  ): Promise<KubeObject>;
}

export interface Modification {
  /** Which part of the result is taken over: all but status, or that part alone. `whole` is for the server's own changes. */
  readonly part: 'main' | 'status' | 'finalize' | 'whole';
  /** Through which subresource it is written; default: the part's own. */
  readonly subresource?: string;
  /** What admission is shown instead of the object, where the body of the subresource is another kind. */
  readonly view?: AdmissionView;
  /** What the client wants, made from the stored object; may be called again when another process wrote in between. */
  change(stored: KubeObject): KubeObject;
  /** How a result that does not decode is blamed; default: on the object. */
  readonly refuse?: (why: string) => StatusError;
}

/** The object as a subresource shows it, and back. */
export interface AdmissionView {
  show(object: KubeObject): KubeObject;
  /** `object` with what `shown` says. */
  apply(object: KubeObject, shown: KubeObject): KubeObject;
}

export interface Application extends Pick<Modification, 'subresource' | 'view'> {
  readonly part: 'main' | 'status';
  readonly patch: unknown;
}

export interface WriterOptions {
  readonly registry: Registry;
  readonly admission: AdmissionChain;
  readonly decoder: BodyDecoder;
  readonly owners: FieldOwners;
  readonly clock: Clock;
  /** [0, 1), for generated names. */
  readonly random?: () => number;
  readonly newUid?: () => string;
}

/** Draws of a generated name before the client is told that there is none; upstream's number. */
const maxNameDraws = 8;
/** Tries of a write that other processes keep winning. */
const maxAttempts = 5;
const catchUpMs = 3000;

export function createWriter({
  registry,
  admission,
  decoder,
  owners,
  clock,
  random = Math.random,
  newUid = randomUUID,
}: WriterOptions): Writer {
  const lock = new KeyLock();
  const { storage, counters, quota } = registry;

  const now = (): string => timestampOf(clock.now());

  // ------------------------------------------------------------------------------------------------------------------------- create

  async function create(
    request: WriteRequest,
    kind: KindDefinition,
    namespace: string | undefined,
    object: KubeObject,
  ): Promise<KubeObject> {
    const decoded = decodeNew(request, kind, namespace, object);
    const scope = kind.namespaced ? namespace : undefined;
    const given = decoded.metadata.name ?? '';
    const prefix = decoded.metadata.generateName ?? '';
    if (given !== '' || prefix === '') return createNamed(request, kind, scope, { name: given }, decoded);
    for (let draw = 1; ; draw += 1) {
      const name = generateName(prefix, random);
      const key = keyOfName(scope, name);
      const taken = registry.get(kind, key) !== undefined || lock.isHeld(storeKeyOf(kind, key));
      if (taken && draw < maxNameDraws) continue;
      try {
        return await createNamed(request, kind, scope, { name, prefix }, decoded);
      } catch (err) {
        // Another process drew the same name.
        if (!isStatusError(err) || err.reason !== 'AlreadyExists' || draw >= maxNameDraws) throw err;
      }
    }
  }

  function decodeNew(
    request: WriteRequest,
    kind: KindDefinition,
    namespace: string | undefined,
    object: KubeObject,
    refuse?: (why: string) => StatusError,
  ): KubeObject {
    const decoded = decoder.decode(request, kind, object, undefined, refuse);
    const { resourceVersion, namespace: given } = decoded.metadata;
    // The store is what refuses it, and it is not asked by a dry run.
    if (resourceVersion !== undefined && resourceVersion !== '' && request.dryRun !== true) {
      throw new StatusError({ code: 500, reason: '', message: 'resourceVersion should not be set on objects to be created' });
    }
    checkNamespace(kind, namespace, given);
    return decoded;
  }

  const createNamed = (
    request: WriteRequest,
    kind: KindDefinition,
    namespace: string | undefined,
    named: NewName,
    decoded: KubeObject,
  ): Promise<KubeObject> =>
    lock.run(storeKeyOf(kind, keyOfName(namespace, named.name)), () => insert(request, kind, namespace, named, decoded, 'update'));

  /** Stores a new object; the caller holds its key. */
  function insert(
    request: WriteRequest,
    kind: KindDefinition,
    namespace: string | undefined,
    { name, prefix }: NewName,
    decoded: KubeObject,
    operation: 'update' | 'apply',
  ): Promise<KubeObject> {
    const isGenerated = prefix !== undefined;
    const key = keyOfName(namespace, name);
    return settling(async (onSettled) => {
      const time = now();
      const metadata = createdMetadata(decoded.metadata, {
        name,
        namespace,
        uid: newUid(),
        creationTimestamp: time,
        generation: kind.hasGeneration ? 1 : undefined,
      });
      let object: KubeObject = inFieldOrder(decoded, metadata);
      object = kind.defaults?.(object) ?? object;
      // Who creates owns its defaults, too, but not what admission and the server set from here on. An apply owns what it names.
      if (operation === 'update') object = owners.updated(request, kind, { before: undefined, after: object, time });
      const mutated = pass('mutating', request, kind, 'create', {
        namespace,
        name: prefix ?? name,
        isGenerated,
        object,
        before: undefined,
        onSettled,
      });
      object = mutated instanceof Promise ? await mutated : mutated;
      object = kind.prepareForCreate?.(object, { now: time, user: request.user }) ?? object;
      const allocated = pass('allocation', request, kind, 'create', { namespace, name, object, before: undefined, onSettled });
      object = allocated instanceof Promise ? await allocated : allocated;
      validate(request, kind, object, undefined);
      warn(request, kind, object);
      if (registry.get(kind, key) !== undefined) throw alreadyExists(kind, name);
      deepFreeze(object);
      const validated = pass('validating', request, kind, 'create', { namespace, name, isGenerated, object, before: undefined, onSettled });
      if (validated instanceof Promise) await validated;
      if (request.dryRun === true) return object;
      const value = toValue(object);
      const result = await withRoom(request, value, 0, () => storage.create(storeKeyOf(kind, key), value));
      if (!result.ok) throw alreadyExists(kind, name);
      return committed(kind, key, object, result.revision);
    });
  }

  // ------------------------------------------------------------------------------------------------------------------------- modify

  function modify(request: WriteRequest, kind: KindDefinition, ref: ObjectRef, modification: Modification): Promise<KubeObject> {
    const key = keyOfName(kind.namespaced ? ref.namespace : undefined, ref.name);
    return lock.run(storeKeyOf(kind, key), () =>
      persevering(kind, ref.name, async () => {
        const before = registry.get(kind, key);
        if (before === undefined) throw notFound(kind, ref.name);
        const wanted = modification.change(before);
        checkIdentity(kind, ref, before, wanted);
        return settling((onSettled) => replace(request, kind, key, { ...modification, operation: 'update' }, before, wanted, onSettled));
      }),
    );
  }

  function apply(
    request: WriteRequest & { readonly force?: boolean },
    kind: KindDefinition,
    ref: ObjectRef,
    { patch, ...application }: Application,
  ): Promise<{ readonly object: KubeObject; readonly created: boolean }> {
    const scope = kind.namespaced ? ref.namespace : undefined;
    const key = keyOfName(scope, ref.name);
    return lock.run(storeKeyOf(kind, key), async () => {
      let created = false;
      const object = await persevering(kind, ref.name, async () => {
        const live = registry.get(kind, key);
        checkAppliedName(patch, ref.name);
        const { servedAs } = request;
        const shown = live === undefined ? undefined : (servedAs?.show?.(live) ?? live);
        const applied = owners.applied(request, kind, { live: shown, patch, time: now() });
        if (live === undefined) checkNewName(applied, ref.name);
        const refuse = (why: string): StatusError => unconverted(kind, patch as Partial<KubeObject>, why);
        const wanted = live !== undefined && applied === shown ? live : (servedAs?.accept?.(applied, shown) ?? applied);
        if (live === undefined) {
          if (application.part !== 'main' || (application.subresource ?? '') !== '') throw notFound(kind, ref.name);
          checkAppliedUid(kind, ref.name, wanted);
          created = true;
          return {
            ok: true,
            // A version that was named is that of an object that is gone: it is made again.
            object: await insert(
              request,
              kind,
              scope,
              { name: ref.name },
              decodeNew(request, kind, scope, withoutRevision(wanted), refuse),
              'apply',
            ),
          };
        }
        if (wanted === live) {
          counters.noopWrites += 1;
          return { ok: true, object: live };
        }
        checkIdentity(kind, ref, live, wanted);
        return settling((onSettled) =>
          replace(request, kind, key, { ...application, refuse, operation: 'apply' }, live, wanted, onSettled),
        );
      });
      return { object, created };
    });
  }

  /** Tries a write again while other processes come first: who named a version is told by it, for the rest the change is made anew. */
  async function persevering(kind: KindDefinition, name: string, write: () => Promise<Replaced>): Promise<KubeObject> {
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await write();
      if (outcome.ok) return outcome.object;
      if (attempt === maxAttempts) throw conflict(kind, name);
      if (outcome.currentRevision === 0) throw notFound(kind, name);
      await registry.waitFor(outcome.currentRevision, catchUpMs);
    }
  }

  type Replaced = { readonly ok: true; readonly object: KubeObject } | { readonly ok: false; readonly currentRevision: number };

  async function replace(
    request: WriteRequest,
    kind: KindDefinition,
    key: string,
    {
      part,
      subresource = partSubresources[part],
      view,
      refuse,
      operation,
    }: Pick<Modification, 'part' | 'subresource' | 'view' | 'refuse'> & { readonly operation: 'update' | 'apply' },
    before: KubeObject,
    wanted: KubeObject,
    onSettled: (release: () => void) => void,
  ): Promise<Replaced> {
    const { name, namespace } = before.metadata;
    const seen = (object: KubeObject): Admitted => ({ namespace, name, object, before, subresource, view, onSettled });
    let next: KubeObject;
    let mutated: KubeObject | Promise<KubeObject>;
    switch (part) {
      case 'main':
        next = mainUpdate(kind, before, decoder.decode(request, kind, wanted, before, refuse));
        if (operation === 'update') next = ownedBy(request, kind, before, next);
        mutated = pass('mutating', request, kind, 'update', seen(next));
        // What the client may not change, a webhook may not either.
        if (mutated !== next) {
          const hasOwners = next.metadata.managedFields !== undefined;
          next = mainUpdate(kind, before, mutated instanceof Promise ? await mutated : mutated);
          // Owners that were given up stay so: an object without any would get back those of before.
          if (!hasOwners) next = withoutOwners(next);
        }
        mutated = pass('allocation', request, kind, 'update', seen(next));
        next = mutated instanceof Promise ? await mutated : mutated;
        next = withGeneration(kind, before, shared(before, operation === 'apply' ? ownedAs(wanted, next) : next));
        validate(request, kind, next, before, subresource);
        warn(request, kind, next, before);
        break;
      case 'status': {
        next = statusUpdate(kind, before, decoder.decode(request, kind, wanted, before, refuse));
        mutated = pass('mutating', request, kind, 'update', seen(next));
        if (mutated !== next) next = statusUpdate(kind, before, mutated instanceof Promise ? await mutated : mutated);
        next = kind.prepareForStatus?.(next, before, { subresource, now: now(), user: request.user }) ?? next;
        const errors = [...validateObjectMeta(kind, next, before), ...(kind.validateStatus?.(next, before, subresource) ?? [])];
        if (errors.length > 0) throw invalid(kind, name, errors);
        break;
      }
      case 'finalize':
        next = finalizeUpdate(before, decoder.decode(request, kind, wanted, before, refuse));
        mutated = pass('mutating', request, kind, 'update', seen(next));
        if (mutated !== next) next = finalizeUpdate(before, mutated instanceof Promise ? await mutated : mutated);
        break;
      case 'whole':
        next = inFieldOrder(wanted, updatedMetadata(before.metadata, wanted.metadata));
        break;
      default:
        return part satisfies never;
    }
    next = shared(before, next);
    if (operation === 'update' && (part === 'status' || part === 'finalize')) next = ownedBy(request, kind, before, next);
    deepFreeze(next);
    if (part !== 'whole') {
      const validated = pass('validating', request, kind, 'update', seen(next));
      if (validated instanceof Promise) await validated;
    }
    const expected = Number(before.metadata.resourceVersion);
    if (isReleased(kind, next)) {
      const final = atRevision(next, expected);
      if (request.dryRun === true) return { ok: true, object: final };
      const result = await stored(storage.delete(storeKeyOf(kind, key), expected));
      return result.ok ? { ok: true, object: final } : result;
    }
    if (isNoop(before, next)) {
      counters.noopWrites += 1;
      return { ok: true, object: before };
    }
    if (request.dryRun === true) return { ok: true, object: atRevision(next, expected) };
    const value = toValue(next, part);
    const result = await withRoom(request, value, registry.stateOf(kind).bytesOf(key), () =>
      storage.update(storeKeyOf(kind, key), value, expected),
    );
    return result.ok ? { ok: true, object: committed(kind, key, next, result.revision) } : result;
  }

  const ownedBy = (request: WriteRequest, kind: KindDefinition, before: KubeObject, next: KubeObject): KubeObject =>
    isNoop(before, next) ? next : owners.updated(request, kind, { before, after: next, time: now() });

  /** An apply that leaves out all that anyone ever owned: a list of owners that is left out means those of before, so it is told by an empty one. */
  function ownedAs(applied: KubeObject, object: KubeObject): KubeObject {
    return applied.metadata.managedFields?.length === 0 ? withoutOwners(object) : object;
  }

  function withoutOwners(object: KubeObject): KubeObject {
    const { managedFields: _, ...metadata } = object.metadata;
    return { ...object, metadata };
  }

  /** The client's object, with what it may not change put back. */
  function mainUpdate(kind: KindDefinition, before: KubeObject, wanted: KubeObject): KubeObject {
    const metadata = updatedMetadata(before.metadata, wanted.metadata);
    let next: DynamicObject = inFieldOrder(wanted, metadata);
    if (kind.subresources.some(({ name }) => name === 'status')) {
      const { status: _, ...rest } = next;
      const { status } = before as DynamicObject;
      next = status === undefined ? (rest as DynamicObject) : ({ ...rest, status } as DynamicObject);
    }
    let object: KubeObject = shared(before, next);
    object = kind.defaults?.(object, before) ?? object;
    return kind.prepareForUpdate?.(object, before) ?? object;
  }

  /** The stored object with the client's status, and with what a status may change of the metadata of such objects. */
  function statusUpdate(kind: KindDefinition, before: KubeObject, wanted: KubeObject): KubeObject {
    const { status } = wanted as DynamicObject;
    const { status: _, ...rest } = withoutRevision(before) as DynamicObject;
    const metadata = updatedMetadata(before.metadata, metadataForStatus(kind, before.metadata, wanted.metadata));
    return (status === undefined ? { ...rest, metadata } : { ...rest, metadata, status }) as DynamicObject;
  }

  function finalizeUpdate(before: KubeObject, wanted: KubeObject): KubeObject {
    const spec = (before as DynamicObject).spec as Readonly<Record<string, unknown>> | undefined;
    const { finalizers: _, ...rest } = spec ?? {};
    const finalizers = ((wanted as DynamicObject).spec as { readonly finalizers?: readonly string[] } | undefined)?.finalizers ?? [];
    return { ...withoutRevision(before), spec: finalizers.length === 0 ? rest : { ...rest, finalizers } } as DynamicObject;
  }

  // ------------------------------------------------------------------------------------------------------------------------- delete

  function remove(request: WriteRequest, kind: KindDefinition, ref: ObjectRef, options: DeleteOptions): Promise<DeleteOutcome> {
    const { name } = ref;
    const key = keyOfName(kind.namespaced ? ref.namespace : undefined, name);
    const storeKey = storeKeyOf(kind, key);
    return lock.run(storeKey, async () => {
      if (registry.unreadable.has(storeKey)) return removeUnreadable(request, kind, ref, { storeKey, options });
      for (let attempt = 1; ; attempt += 1) {
        const before = registry.get(kind, key);
        if (before === undefined) throw notFound(kind, name);
        checkDeleteOptions(kind, before, options);
        const kept = kind.refuseDeletion?.(before);
        if (kept !== undefined) throw forbidden(kind, name, kept);
        const deleted: Admitted = { namespace: before.metadata.namespace, name, object: before, before, deleteOptions: options };
        for (const phase of ['mutating', 'validating'] as const) {
          const passed = pass(phase, request, kind, 'delete', deleted);
          if (passed instanceof Promise) await passed;
        }
        const preserved = warningOfOrphans(kind, options);
        if (preserved !== undefined) request.onWarning?.(preserved);
        const deletion = deletionOf(kind, before, options, clock.now());
        if (deletion.type === 'unchanged') return { type: 'object', object: before };
        const expected = Number(before.metadata.resourceVersion);
        const object = withoutRevision(deletion.object);
        deepFreeze(object);
        if (request.dryRun === true || options.dryRun === true) return answerOf(kind, deletion.type, atRevision(object, expected));
        const result = await stored(
          deletion.type === 'remove' ? storage.delete(storeKey, expected) : storage.update(storeKey, toValue(object), expected),
        );
        if (result.ok) return answerOf(kind, deletion.type, atRevision(object, result.revision));
        if (attempt === maxAttempts) throw conflict(kind, name);
        if (result.currentRevision === 0) throw notFound(kind, name);
        await registry.waitFor(result.currentRevision, catchUpMs);
      }
    });
  }

  /** Admission has no object to look at, and nothing says which finalizers there are. Conditions on the object cannot be met. */
  async function removeUnreadable(
    request: WriteRequest,
    kind: KindDefinition,
    { namespace, name }: ObjectRef,
    { storeKey, options }: { readonly storeKey: string; readonly options: DeleteOptions },
  ): Promise<DeleteOutcome> {
    const found = registry.unreadable.get(storeKey);
    if (found === undefined) throw notFound(kind, name);
    if (options.preconditions !== undefined) throw unreadableError(storeKey, found);
    if (request.dryRun !== true && options.dryRun !== true) {
      const result = await stored(storage.delete(storeKey, found.revision));
      if (!result.ok) throw conflict(kind, name);
    }
    return { type: 'status', ref: { name, namespace: kind.namespaced ? namespace : undefined }, uid: '' };
  }

  // ------------------------------------------------------------------------------------------------------------------------- parts

  interface Admitted {
    readonly namespace: string | undefined;
    readonly name: string;
    readonly isGenerated?: boolean;
    readonly object: KubeObject;
    readonly before: KubeObject | undefined;
    readonly subresource?: string;
    readonly view?: AdmissionView | undefined;
    readonly deleteOptions?: DeleteOptions;
    readonly onSettled?: (release: () => void) => void;
  }

  /** The object as the steps of a phase leave it; a promise only when one of them had to ask somebody. */
  function pass(
    phase: AdmissionPhase,
    request: WriteRequest,
    kind: KindDefinition,
    operation: Operation,
    { object, before, view, subresource = '', deleteOptions, onSettled = nothingReserved, namespace, name, isGenerated = false }: Admitted,
  ): KubeObject | Promise<KubeObject> {
    if (!admission.concerns(kind, operation, phase, subresource)) return object;
    const shown = view === undefined ? object : view.show(object);
    const passed = admission.admit(
      {
        operation,
        kind,
        servedAs: request.servedAs?.kind,
        subresource,
        namespace,
        name,
        isGenerated,
        object: shown,
        before: view === undefined || before === undefined ? before : view.show(before),
        user: request.user,
        dryRun: request.dryRun === true || deleteOptions?.dryRun === true,
        fieldManager: request.fieldManager,
        deleteOptions,
        signal: request.signal,
        warn: (text) => request.onWarning?.(text),
        annotate: (key, value) => request.onAuditAnnotation?.(key, value),
        onSettled,
      },
      phase,
    );
    if (passed instanceof Promise) return passed.then((result) => taken(object, shown, result, view));
    return taken(object, shown, passed, view);
  }

  async function admitBody(
    request: WriteRequest,
    kind: KindDefinition,
    { namespace, name }: ObjectRef,
    operation: 'create' | 'connect',
    body: KubeObject,
  ): Promise<KubeObject> {
    const admitted: Admitted = { namespace, name, object: body, before: undefined, subresource: request.subresource ?? '' };
    const object = await pass('mutating', request, kind, operation, admitted);
    await pass('validating', request, kind, operation, { ...admitted, object: deepFreeze(object) });
    return object;
  }

  /** Makes a write that may need more memory than the object of before took. A full cluster goes on working and deleting, within a bound. */
  async function withRoom(
    { user }: WriteRequest,
    { text, always = false }: Value,
    before: number,
    write: () => Promise<WriteResult>,
  ): Promise<WriteResult> {
    const held = quota.hold(text, before, always || user.isLocal === true);
    try {
      return await stored(write());
    } finally {
      quota.release(held);
    }
  }

  function toValue(object: KubeObject, part: Modification['part'] = 'main'): Value {
    counters.encodes += 1;
    // An object on its way out makes room, and a status says how things are: both are written while growth is refused.
    const always = part === 'status' || part === 'finalize' || object.metadata.deletionTimestamp !== undefined;
    return { text: encode(object), decoded: object, always };
  }

  /** The object at its revision; it is in the registry by now, unless another process replaced it at once. */
  function committed(kind: KindDefinition, key: string, object: KubeObject, revision: number): KubeObject {
    const seen = registry.get(kind, key);
    return seen?.metadata.resourceVersion === String(revision) ? seen : atRevision(object, revision);
  }

  return { create, modify, apply, delete: remove, admit: admitBody };
}

/** Of a new object; `prefix` where the server made it, which mutating steps come before. */
interface NewName {
  readonly name: string;
  readonly prefix?: string;
}

const keyOfName = (namespace: string | undefined, name: string): string =>
  namespace === undefined ? name : keyOf({ metadata: { namespace, name } });

const partSubresources = { main: '', status: 'status', finalize: 'finalize', whole: '' } as const;

const nothingReserved = (): void => undefined;

/** What a step made of the object, or of its view. */
function taken(object: KubeObject, shown: KubeObject, passed: KubeObject, view: AdmissionView | undefined): KubeObject {
  if (passed === shown) return object;
  return view === undefined ? passed : view.apply(object, passed);
}

/** Runs a write and, when it has settled, what its steps left to be released. */
async function settling<T>(write: (onSettled: (release: () => void) => void) => Promise<T>): Promise<T> {
  let releases: (() => void)[] | undefined;
  try {
    return await write((release) => {
      releases ??= [];
      releases.push(release);
    });
  } finally {
    if (releases !== undefined) for (const release of releases) release();
  }
}

async function stored(write: Promise<WriteResult>): Promise<WriteResult> {
  try {
    return await write;
  } catch (cause) {
    if (cause instanceof StatusError) throw cause;
    throw internalError(cause instanceof Error ? cause.message : 'the store failed', cause);
  }
}

function checkNamespace(kind: KindDefinition, namespace: string | undefined, given: string | undefined): void {
  if (!kind.namespaced || given === undefined || given === '' || given === namespace) return;
  throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
}

/** What a client sends is about the object it names, at the version it knows. */
function checkIdentity(kind: KindDefinition, ref: ObjectRef, before: KubeObject, { metadata }: KubeObject): void {
  const { name, namespace, uid, resourceVersion } = metadata ?? {};
  if ((name ?? '') === '') {
    throw badRequest(`the name of the object (${ref.name} based on URL) was undeterminable: name must be provided`);
  }
  if (name !== ref.name) throw badRequest(`the name of the object (${name}) does not match the name on the URL (${ref.name})`);
  checkNamespace(kind, ref.namespace, namespace);
  const stored = before.metadata;
  if (uid !== undefined && uid !== '' && uid !== stored.uid) throw uidConflict(kind, stored, uid);
  if (resourceVersion !== undefined && resourceVersion !== '' && resourceVersion !== stored.resourceVersion) throw conflict(kind, ref.name);
}

function checkAppliedName(patch: unknown, name: string): void {
  const metadata = (patch as { readonly metadata?: { readonly name?: unknown } } | null | undefined)?.metadata;
  const given = metadata?.name;
  if (typeof given !== 'string' || given === '' || given === name) return;
  throw badRequest(`the name of the object (${given}) does not match the name on the URL (${name})`);
}

/** Checks that an object created under a name of the URL says that name itself. */
export function checkNewName(object: KubeObject, name: string): void {
  checkAppliedName(object, name);
  if ((object.metadata?.name ?? '') !== '') return;
  throw badRequest(`the name of the object (${name} based on URL) was undeterminable: name must be provided`);
}

/** The error for an object that fits the schema of an apply and is still none of the kind, such as data that is not base64. */
function unconverted(definition: KindDefinition, { apiVersion = '', kind = '', metadata }: Partial<KubeObject>, why: string): StatusError {
  if (why.startsWith('strict decoding error')) return cannotBeHandled(definition, why);
  const shown = `${apiVersion.includes('/') ? apiVersion : `/${apiVersion}`}, Kind=${kind}`;
  const what = `failed to convert new object (${metadata?.namespace ?? ''}/${metadata?.name ?? ''}; ${shown}) to proper version`;
  const message = `${what}: unable to convert unstructured object to ${shown}: error decoding from json: ${why}`;
  return new StatusError({ code: 500, reason: '', message });
}

function checkAppliedUid(kind: KindDefinition, name: string, { metadata }: KubeObject): void {
  const { uid } = metadata;
  if (uid === undefined || uid === '') return;
  throw conflict(kind, name, `uid mismatch: the provided object specified uid ${uid}, and no existing object was found`);
}

function validate(
  { servedAs }: WriteRequest,
  kind: KindDefinition,
  object: KubeObject,
  before: KubeObject | undefined,
  subresource = '',
): void {
  const ownRules = servedAs?.kind.storedAs?.hasOwnRules === true;
  const part = before === undefined ? undefined : kind.subresources.find(({ name }) => name === subresource)?.part;
  const ruled = before !== undefined && part !== undefined ? part.validate(object, before) : (kind.validate?.(object, before) ?? []);
  const errors = [...validateObjectMeta(kind, object, before), ...(ownRules ? [] : ruled)];
  if (errors.length > 0) throw invalid(kind, object.metadata.name, errors);
}

function warn(request: WriteRequest, kind: KindDefinition, object: KubeObject, before?: KubeObject): void {
  if (kind.warnings === undefined || request.onWarning === undefined) return;
  for (const text of kind.warnings(object, before)) request.onWarning(text);
}

/** `next`, holding the stored parts wherever they are equal: less memory, and what follows sees at a glance what changed. */
function shared(before: KubeObject, next: KubeObject): DynamicObject {
  const old = before as DynamicObject;
  const fresh = next as DynamicObject;
  let copy: Record<string, unknown> | undefined;
  for (const field in fresh) {
    if (field === 'metadata' || fresh[field] === old[field] || !deepEqual(fresh[field], old[field])) continue;
    copy ??= { ...fresh };
    copy[field] = old[field];
  }
  return (copy ?? fresh) as DynamicObject;
}

function metadataForStatus({ statusKeeps = [] }: KindDefinition, stored: ObjectMeta, given: ObjectMeta): ObjectMeta {
  if (statusKeeps === 'metadata') return given.managedFields === undefined ? stored : { ...stored, managedFields: given.managedFields };
  return statusKeeps.length === 0 ? given : { ...given, ...Object.fromEntries(statusKeeps.map((field) => [field, stored[field]])) };
}

function withGeneration(kind: KindDefinition, before: KubeObject, next: DynamicObject): KubeObject {
  if (!kind.hasGeneration) return next;
  const { annotations } = before.metadata;
  const isCounted = kind.countsAnnotations === true && !deepEqual(next.metadata.annotations, annotations);
  // Without a subresource of its own the status is a field like any other.
  const isPlainStatus = kind.custom !== undefined && !kind.subresources.some(({ name }) => name === 'status');
  const hasNewStatus = isPlainStatus && (before as DynamicObject).status !== next.status;
  if (!isCounted && !hasNewStatus && !wantsOther(before as DynamicObject, next)) return next;
  return { ...next, metadata: { ...next.metadata, generation: (before.metadata.generation ?? 0) + 1 } };
}

/** Whether anything but metadata and status differs. */
function wantsOther(before: DynamicObject, next: DynamicObject): boolean {
  for (const field in next) if (field !== 'metadata' && field !== 'status' && next[field] !== before[field]) return true;
  for (const field in before) if (field !== 'metadata' && field !== 'status' && !Object.hasOwn(next, field)) return true;
  return false;
}

/** `next` holds the stored parts where they are equal, so that references decide. */
function isNoop(before: KubeObject, next: KubeObject): boolean {
  return (
    !wantsOther(before as DynamicObject, next as DynamicObject) &&
    (before as DynamicObject).status === (next as DynamicObject).status &&
    sameMetadata(before.metadata, next.metadata)
  );
}

function answerOf(kind: KindDefinition, type: 'mark' | 'remove', object: KubeObject): DeleteOutcome {
  if (type === 'mark' || kind.deleteAnswer === 'object') return { type: 'object', object };
  const { name, namespace, uid = '' } = object.metadata;
  return { type: 'status', ref: { name, namespace }, uid };
}
