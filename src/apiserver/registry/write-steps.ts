import { validateObjectMeta } from '../../api/object-meta.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import { deepFreeze, type KubeObject } from '../../machinery/object.ts';
import { alreadyExists, forbidden, internalError, invalid, StatusError } from '../../machinery/status-error.ts';
import type { Value, WriteResult } from '../../storage/storage.ts';
import type { AdmissionChain, AdmissionPhase } from '../admission/admission.ts';
import type { BodyDecoder } from './decoding.ts';
import { checkDeleteOptions, deletionOf, isReleased, warningOfOrphans } from './deletion.ts';
import { atRevision, encode, inFieldOrder, withoutRevision } from './encoding.ts';
import type { FieldOwners } from './field-owners.ts';
import { checkNamespace } from './identity.ts';
import { createdMetadata } from './metadata.ts';
import { isNoop, shareParts, withGeneration, withoutOwners, withPart } from './object-parts.ts';
import type { Registry } from './registry.ts';
import type { AdmissionView, Write } from './write.ts';

/**
 * Steps of a write, in order. A step that throws ends the write. Between the first step and the last the key of the object is locked, and
 * nothing but the last step changes the store.
 *
 * `receive` comes before a new object has its name, so that the body is read once however many names are drawn.
 */
export const writeSteps = {
  // read            complete   ownership  mutate   allocate            validate                            store
  receive: [decode, checkNew],
  create: [identify, complete, own, mutate, prepareNew, allocate, validate, warn, checkFree, freeze, admit, insert],
  main: [decode, take, own, mutate, allocate, count, validate, warn, freeze, admit, replace],
  status: [decode, take, mutate, prepareStatus, validateStatus, share, own, freeze, admit, replace],
  finalize: [decode, take, mutate, share, own, freeze, admit, replace],
  whole: [take, share, freeze, replace],
  delete: [checkDeletion, admitDeletion, warnOfOrphans, decideDeletion, remove],
  /**
   * Bodies that are not stored themselves: those of an action (`pods/eviction`), and options of a connection
   * (`pods/exec`).
   */
  action: [mutate, freeze, admit],
} satisfies Record<string, readonly Step[]>;

/** Gives a promise only where it has to wait, so that a write in memory runs its steps in one turn. */
type Step = (write: Write, tools: WriteTools) => Promise<void> | void;

export interface WriteTools {
  readonly registry: Registry;
  readonly admission: AdmissionChain;
  readonly decoder: BodyDecoder;
  readonly owners: FieldOwners;
  readonly clock: Clock;
  readonly newUid: () => string;
}

/** Runs `steps`, and at the end releases what they reserved, also when one threw. */
export async function runSteps(write: Write, steps: readonly Step[], tools: WriteTools): Promise<Write> {
  try {
    for (const step of steps) {
      const waiting = step(write, tools);
      if (waiting !== undefined) await waiting;
    }
    return write;
  } finally {
    for (const release of write.releases ?? []) {
      const waiting = release();
      if (waiting !== undefined) await waiting;
    }
  }
}

// --------------------------------------------------------------------------------------------------------------------------------- read

function decode(write: Write, { decoder }: WriteTools): void {
  write.object = decoder.decode(write);
}

function checkNew({ request, kind, namespace, object }: Write): void {
  const { resourceVersion, namespace: given } = object.metadata;
  // The store refuses a version, and a dry run does not ask the store.
  if (resourceVersion !== undefined && resourceVersion !== '' && request.dryRun !== true) {
    throw new StatusError({ code: 500, reason: '', message: 'resourceVersion should not be set on objects to be created' });
  }
  checkNamespace(kind, namespace, given);
}

/** Gives a new object its name, UID and time. */
function identify(write: Write, { newUid, clock }: WriteTools): void {
  const { kind, namespace, name, object } = write;
  const metadata = createdMetadata(object.metadata, {
    name,
    namespace,
    uid: newUid(),
    creationTimestamp: timeOf(write, clock),
    generation: kind.hasGeneration ? 1 : undefined,
  });
  write.object = inFieldOrder(object, metadata);
}

function complete(write: Write): void {
  write.object = write.kind.defaults?.(write.object) ?? write.object;
}

/** Takes the client's part of an update into the stored object. */
function take(write: Write): void {
  const { part, kind, object: wanted } = write;
  write.object = withPart(part, kind, { before: storedOf(write), wanted });
}

// ---------------------------------------------------------------------------------------------------------------------------- ownership

/**
 * Writes down who owns the changed fields. The creator of an object owns its defaults, too, but not what admission and the server set
 * afterwards.
 */
function own(write: Write, { owners, clock }: WriteTools): void {
  const { request, before, object: after, isApply } = write;
  if (isApply || (before !== undefined && isNoop(before, after))) return;
  write.object = owners.updated(request, { before, after, time: timeOf(write, clock) });
}

// --------------------------------------------------------------------------------------------------------------------- mutate, allocate

function mutate(write: Write, tools: WriteTools): Promise<void> | void {
  const mutated = pass('mutating', write, tools);
  if (mutated instanceof Promise) return mutated.then((object) => acceptMutation(write, object));
  acceptMutation(write, mutated);
}

/** A webhook may change no more than the client may. */
function acceptMutation(write: Write, mutated: KubeObject): void {
  const { before, object, part } = write;
  if (mutated === object) return;
  write.object = mutated;
  if (before === undefined) return;
  take(write);
  // An object without owners would get back those of the stored one, and an apply gave them up.
  if (part === 'main' && object.metadata.managedFields === undefined) write.object = withoutOwners(write.object);
}

function prepareNew(write: Write, { clock }: WriteTools): void {
  const { kind, object, request } = write;
  write.object = kind.prepareForCreate?.(object, { now: timeOf(write, clock), user: request.user }) ?? object;
}

function prepareStatus(write: Write, { clock }: WriteTools): void {
  const { kind, object, subresource, request } = write;
  if (kind.prepareForStatus === undefined) return;
  const now = timeOf(write, clock);
  write.object = kind.prepareForStatus(object, storedOf(write), { subresource, now, user: request.user }) ?? object;
}

function allocate(write: Write, tools: WriteTools): Promise<void> | void {
  const allocated = pass('allocation', write, tools);
  if (!(allocated instanceof Promise)) {
    write.object = allocated;
    return;
  }
  return allocated.then((object) => {
    write.object = object;
  });
}

// ----------------------------------------------------------------------------------------------------------------------------- validate

/** Counts the generation up where anything that is wanted changed. */
function count(write: Write): void {
  const before = storedOf(write);
  const object = write.abandonsOwners ? withoutOwners(write.object) : write.object;
  write.object = withGeneration(write.kind, before, shareParts(before, object));
}

function share(write: Write): void {
  write.object = shareParts(storedOf(write), write.object);
}

function validate({ request, kind, object, before, subresource }: Write): void {
  const ownRules = request.servedAs?.kind.storedAs?.hasOwnRules === true;
  const part = before === undefined ? undefined : kind.subresources.find(({ name }) => name === subresource)?.part;
  const ruled = before !== undefined && part !== undefined ? part.validate(object, before) : (kind.validate?.(object, before) ?? []);
  const errors = [...validateObjectMeta(kind, object, before), ...(ownRules ? [] : ruled)];
  if (errors.length > 0) throw invalid(kind, object.metadata.name, errors);
}

function validateStatus(write: Write): void {
  const { kind, name, object, subresource } = write;
  const before = storedOf(write);
  const errors = [...validateObjectMeta(kind, object, before), ...(kind.validateStatus?.(object, before, subresource) ?? [])];
  if (errors.length > 0) throw invalid(kind, name, errors);
}

function warn({ request, kind, object, before }: Write): void {
  if (kind.warnings === undefined || request.onWarning === undefined) return;
  for (const text of kind.warnings(object, before)) request.onWarning(text);
}

function checkFree({ kind, key, name }: Write, { registry }: WriteTools): void {
  if (registry.get(kind, key) !== undefined) throw alreadyExists(kind, name);
}

function freeze({ object }: Write): void {
  deepFreeze(object);
}

/** Lets the validating steps see the object as it would be stored. */
function admit(write: Write, tools: WriteTools): Promise<void> | void {
  const validated = pass('validating', write, tools);
  if (validated instanceof Promise) return validated.then(ignoreResult);
}

const ignoreResult = (): void => undefined;

// -------------------------------------------------------------------------------------------------------------------------------- store

/** Stores a new object. */
async function insert(write: Write, tools: WriteTools): Promise<void> {
  if (write.request.dryRun === true) return;
  const result = await put(write, tools);
  if (!result.ok) throw alreadyExists(write.kind, write.name);
  write.object = committed(write, tools, result.revision);
}

/** Stores the next state of an object, or deletes it when its last finalizer is gone. A write that changes nothing is not made. */
async function replace(write: Write, tools: WriteTools): Promise<void> {
  const { request, kind, storeKey, object } = write;
  const { counters, storage } = tools.registry;
  const before = storedOf(write);
  const expected = Number(before.metadata.resourceVersion);
  if (isReleased(kind, object)) {
    write.object = atRevision(object, expected);
    if (request.dryRun === true) return;
    const result = await settle(storage.delete(storeKey, expected));
    if (!result.ok) write.lostTo = result.currentRevision;
    return;
  }
  if (isNoop(before, object)) {
    counters.noopWrites += 1;
    write.object = before;
    write.isUnchanged = true;
    return;
  }
  if (request.dryRun === true) {
    write.object = atRevision(object, expected);
    return;
  }
  const result = await put(write, tools);
  if (result.ok) write.object = committed(write, tools, result.revision);
  else write.lostTo = result.currentRevision;
}

/**
 * Reserves the room that the object needs beyond its predecessor while it is stored. A full cluster still works and
 * deletes, within a bound.
 */
async function put({ request, kind, key, storeKey, before, object, part }: Write, { registry }: WriteTools): Promise<WriteResult> {
  const { storage, quota, counters } = registry;
  // An object on its way out makes room, and a status says how things are: both are written while growth is refused.
  const always = part === 'status' || part === 'finalize' || object.metadata.deletionTimestamp !== undefined;
  counters.encodes += 1;
  const value: Value = { text: encode(object), decoded: object, always };
  const replaced = before === undefined ? 0 : registry.stateOf(kind).bytesOf(key);
  const held = quota.hold(value.text, replaced, always || request.user.isLocal === true);
  try {
    return await settle(
      before === undefined ? storage.create(storeKey, value) : storage.update(storeKey, value, Number(before.metadata.resourceVersion)),
    );
  } finally {
    quota.release(held);
  }
}

/** The object at its revision; it is in the registry by now, unless another process replaced it at once. */
function committed({ kind, key, object }: Write, { registry }: WriteTools, revision: number): KubeObject {
  const seen = registry.get(kind, key);
  return seen?.metadata.resourceVersion === String(revision) ? seen : atRevision(object, revision);
}

/** The result of the store; its own failures are those of this server. */
export async function settle(write: Promise<WriteResult>): Promise<WriteResult> {
  try {
    return await write;
  } catch (cause) {
    if (cause instanceof StatusError) throw cause;
    throw internalError(cause instanceof Error ? cause.message : 'the store failed', cause);
  }
}

// ------------------------------------------------------------------------------------------------------------------------------- delete

function checkDeletion(write: Write): void {
  const { kind, name, deleteOptions = {} } = write;
  const before = storedOf(write);
  checkDeleteOptions(kind, before, deleteOptions);
  const kept = kind.refuseDeletion?.(before);
  if (kept !== undefined) throw forbidden(kind, name, kept);
}

/** Both phases see the stored object, and change nothing of it. */
function admitDeletion(write: Write, tools: WriteTools): Promise<void> | void {
  const mutated = pass('mutating', write, tools);
  if (mutated instanceof Promise) return mutated.then(() => admit(write, tools));
  return admit(write, tools);
}

function warnOfOrphans({ request, kind, deleteOptions = {} }: Write): void {
  const preserved = warningOfOrphans(kind, deleteOptions);
  if (preserved !== undefined) request.onWarning?.(preserved);
}

function decideDeletion(write: Write, { clock }: WriteTools): void {
  write.deletion = deletionOf({ kind: write.kind, stored: storedOf(write), options: write.deleteOptions ?? {}, nowMs: clock.now() });
}

/** Marks the object, or takes it out of the store. */
async function remove(write: Write, { registry }: WriteTools): Promise<void> {
  const { deletion, storeKey, request, deleteOptions } = write;
  if (deletion === undefined || deletion.type === 'unchanged') {
    write.isUnchanged = true;
    return;
  }
  const { storage, counters } = registry;
  const expected = Number(storedOf(write).metadata.resourceVersion);
  const object = withoutRevision(deletion.object);
  deepFreeze(object);
  if (request.dryRun === true || deleteOptions?.dryRun === true) {
    write.object = atRevision(object, expected);
    return;
  }
  let result: WriteResult;
  if (deletion.type === 'remove') {
    result = await settle(storage.delete(storeKey, expected));
  } else {
    counters.encodes += 1;
    const always = object.metadata.deletionTimestamp !== undefined;
    result = await settle(storage.update(storeKey, { text: encode(object), decoded: object, always }, expected));
  }
  if (result.ok) write.object = atRevision(object, result.revision);
  else write.lostTo = result.currentRevision;
}

// -------------------------------------------------------------------------------------------------------------------------------- parts

/** The object as the steps of a phase leave it; a promise only when one of them had to ask somebody. */
function pass(phase: AdmissionPhase, write: Write, { admission }: WriteTools): KubeObject | Promise<KubeObject> {
  const { request, kind, operation, subresource, namespace, name, prefix, object, before, view, deleteOptions } = write;
  if (!admission.concerns(write, phase)) return object;
  const shown = view === undefined ? object : view.show(object);
  const passed = admission.admit(
    {
      operation,
      kind,
      servedAs: request.servedAs?.kind,
      subresource,
      namespace,
      name: phase === 'mutating' ? (prefix ?? name) : name,
      isGenerated: prefix !== undefined,
      object: shown,
      before: view === undefined || before === undefined ? before : view.show(before),
      user: request.user,
      dryRun: request.dryRun === true || deleteOptions?.dryRun === true,
      fieldManager: request.fieldManager,
      deleteOptions,
      signal: request.signal,
      warn: (text) => request.onWarning?.(text),
      annotate: (key, value) => request.onAuditAnnotation?.(key, value),
      onSettled: (release) => {
        write.releases ??= [];
        write.releases.push(release);
      },
    },
    phase,
  );
  if (passed instanceof Promise) return passed.then((result) => unshown(object, { shown, result, view }));
  return unshown(object, { shown, result: passed, view });
}

/** Result of a step for the object, or for its view. */
function unshown(object: KubeObject, { shown, result, view }: Shown): KubeObject {
  if (result === shown) return object;
  return view === undefined ? result : view.apply(object, result);
}

interface Shown {
  readonly shown: KubeObject;
  readonly result: KubeObject;
  readonly view: AdmissionView | undefined;
}

function timeOf(write: Write, clock: Clock): string {
  write.time ??= timestampOf(clock.now());
  return write.time;
}

function storedOf({ before, storeKey }: Write): KubeObject {
  if (before === undefined) throw new Error(`a step of an update ran for ${storeKey}, which is not stored`);
  return before;
}
