import { randomUUID } from 'node:crypto';
import { timestampOf } from '../../base/clock.ts';
import type { DeleteOptions } from '../../client/client.ts';
import { cannotBeHandled } from '../../machinery/field-validation.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject, ObjectRef } from '../../machinery/object.ts';
import { conflict, isStatusError, notFound, StatusError } from '../../machinery/status-error.ts';
import { unreadableError } from '../encryption/value-seals.ts';
import type { DeleteOutcome, WriteRequest } from '../kube-api.ts';
import { withoutRevision } from './encoding.ts';
import { checkAppliedName, checkAppliedUid, checkIdentity, checkNewName } from './identity.ts';
import { KeyLock } from './key-lock.ts';
import { storeKeyOf } from './keys.ts';
import { generateName } from './names.ts';
import { type AdmissionView, keyOfName, startWrite, type Write, type WritePart } from './write.ts';
import { runSteps, settle, type WriteTools, writeSteps } from './write-steps.ts';

/**
 * Everything that changes the store. Each write looks at the stored object, makes the next one from it (copy on write) by the steps of
 * `write-steps.ts`, and compares-and-sets. A write that changes nothing is not made.
 */
export interface Writer {
  create(request: WriteRequest, namespace: string | undefined, object: KubeObject): Promise<KubeObject>;
  modify(request: WriteRequest, ref: ObjectRef, modification: Modification): Promise<KubeObject>;
  /** Server-side apply: makes the object when it is not there, unless a subresource is applied. */
  apply(request: ApplyRequest, ref: ObjectRef, application: Application): Promise<Applied>;
  delete(request: WriteRequest, ref: ObjectRef, options: DeleteOptions): Promise<DeleteOutcome>;
  /**
   * Lets admission see what stores nothing itself: the body of an action (`pods/eviction`) or the options of a connection (`pods/exec`).
   * Gives the body as admission leaves it.
   */
  admit(request: WriteRequest, ref: ObjectRef, action: Action): Promise<KubeObject>;
}

export interface Modification {
  readonly part: WritePart;
  /** Through which subresource it is written; default: the part's own. */
  readonly subresource?: string;
  /** The object that admission sees, where the body of the subresource is another kind. */
  readonly view?: AdmissionView;
  /** The client's change, applied to the stored object; called again when another process wrote in between. */
  change(stored: KubeObject): KubeObject;
  /** Makes the error for a result that does not decode; default: the object is blamed. */
  readonly refuse?: (why: string) => StatusError;
}

export interface Application extends Pick<Modification, 'subresource' | 'view'> {
  readonly part: 'main' | 'status';
  readonly patch: unknown;
}

export type ApplyRequest = WriteRequest & { readonly force?: boolean };

export interface Applied {
  readonly object: KubeObject;
  readonly created: boolean;
}

export interface Action {
  readonly operation: 'create' | 'connect';
  readonly body: KubeObject;
}

export interface WriterOptions extends Omit<WriteTools, 'newUid'> {
  /** [0, 1), for generated names. */
  readonly random?: () => number;
  readonly newUid?: () => string;
}

/** Tries of a generated name before the client gets an error; upstream's number. */
const maxNameDraws = 8;
/** Tries of a write that others keep winning. With several servers they go on for as long as a client waits for an answer. */
const maxAttempts = 5;
const perseverMs = 30_000;
/** Longest pause between two tries, so that servers which want one object do not meet again. */
const maxPauseMs = 200;
const catchUpMs = 3000;

export function createWriter(options: WriterOptions): Writer {
  return new StepWriter(options);
}

class StepWriter implements Writer {
  readonly #tools: WriteTools;
  readonly #random: () => number;
  readonly #lock = new KeyLock();

  constructor({ random = Math.random, newUid = randomUUID, ...tools }: WriterOptions) {
    this.#tools = { ...tools, newUid };
    this.#random = random;
  }

  async create(request: WriteRequest, namespace: string | undefined, object: KubeObject): Promise<KubeObject> {
    const { kind } = request;
    const scope = kind.namespaced ? namespace : undefined;
    const start = { request, operation: 'create', namespace: scope } as const;
    const { object: received } = await runSteps(startWrite({ ...start, name: '', object }), writeSteps.receive, this.#tools);
    const given = received.metadata.name ?? '';
    const prefix = received.metadata.generateName ?? '';
    if (given !== '' || prefix === '') return this.#createNamed(startWrite({ ...start, name: given, object: received }));
    for (let draw = 1; ; draw += 1) {
      const name = generateName(prefix, this.#random);
      const write = startWrite({ ...start, name, prefix, object: received });
      const taken = this.#tools.registry.get(kind, write.key) !== undefined || this.#lock.isHeld(write.storeKey);
      if (taken && draw < maxNameDraws) continue;
      try {
        return await this.#createNamed(write);
      } catch (err) {
        // Another process drew the same name.
        if (!isStatusError(err) || err.reason !== 'AlreadyExists' || draw >= maxNameDraws) throw err;
      }
    }
  }

  async #createNamed(write: Write): Promise<KubeObject> {
    await this.#lock.run(write.storeKey, () => runSteps(write, writeSteps.create, this.#tools));
    return write.object;
  }

  modify(request: WriteRequest, ref: ObjectRef, modification: Modification): Promise<KubeObject> {
    const { kind } = request;
    const { name } = ref;
    const namespace = kind.namespaced ? ref.namespace : undefined;
    const key = keyOfName(namespace, name);
    const { part, subresource, view, refuse } = modification;
    return this.#lock.run(storeKeyOf(kind, key), async () => {
      const { object } = await this.#persevere(kind, name, () => {
        const before = this.#tools.registry.get(kind, key);
        if (before === undefined) throw notFound(kind, name);
        const object = modification.change(before);
        checkIdentity(kind, ref, { before, wanted: object, isPatch: refuse !== undefined });
        const write = startWrite({ request, operation: 'update', namespace, name, object, before, part, subresource, view, refuse });
        return runSteps(write, writeSteps[part], this.#tools);
      });
      return object;
    });
  }

  apply(request: ApplyRequest, ref: ObjectRef, application: Application): Promise<Applied> {
    const { kind } = request;
    const key = keyOfName(kind.namespaced ? ref.namespace : undefined, ref.name);
    return this.#lock.run(storeKeyOf(kind, key), async () => {
      const write = await this.#persevere(kind, ref.name, () => this.#applyOnce(request, ref, application));
      return { object: write.object, created: write.operation === 'create' };
    });
  }

  async #applyOnce(request: ApplyRequest, ref: ObjectRef, { patch, part, subresource, view }: Application): Promise<Write> {
    const { kind, servedAs } = request;
    const { registry, owners, clock } = this.#tools;
    const { name } = ref;
    const namespace = kind.namespaced ? ref.namespace : undefined;
    const before = registry.get(kind, keyOfName(namespace, name));
    checkAppliedName(patch, name);
    const shown = before === undefined ? undefined : (servedAs?.show?.(before) ?? before);
    const applied = owners.applied(request, { live: shown, patch, time: timestampOf(clock.now()) });
    if (before === undefined) checkNewName(applied, name);
    const object = before !== undefined && applied === shown ? before : (servedAs?.accept?.(applied, shown) ?? applied);
    const refuse = (why: string): StatusError => unconverted(kind, patch as Partial<KubeObject>, why);
    const start = { request, namespace, name, isApply: true, refuse } as const;
    if (before === undefined) {
      if (part !== 'main' || (subresource ?? '') !== '') throw notFound(kind, name);
      checkAppliedUid(kind, name, object);
      // A version that was named is that of an object that is gone.
      const write = startWrite({ ...start, operation: 'create', object: withoutRevision(object) });
      await runSteps(write, writeSteps.receive, this.#tools);
      return runSteps(write, writeSteps.create, this.#tools);
    }
    const write = startWrite({ ...start, operation: 'update', object, before, part, subresource, view });
    if (object === before) {
      registry.counters.noopWrites += 1;
      write.isUnchanged = true;
      return write;
    }
    checkIdentity(kind, ref, { before, wanted: object });
    return runSteps(write, writeSteps[part], this.#tools);
  }

  delete(request: WriteRequest, ref: ObjectRef, options: DeleteOptions): Promise<DeleteOutcome> {
    const { kind } = request;
    const { name } = ref;
    const namespace = kind.namespaced ? ref.namespace : undefined;
    const key = keyOfName(namespace, name);
    const storeKey = storeKeyOf(kind, key);
    return this.#lock.run(storeKey, async () => {
      const { registry } = this.#tools;
      if (registry.unreadable.has(storeKey)) return this.#deleteUnreadable(request, ref, options);
      const write = await this.#persevere(kind, name, () => {
        const before = registry.get(kind, key);
        if (before === undefined) throw notFound(kind, name);
        const start = { request, operation: 'delete', namespace, name, object: before, before, deleteOptions: options } as const;
        return runSteps(startWrite(start), writeSteps.delete, this.#tools);
      });
      return outcomeOf(write);
    });
  }

  /** Admission has no object to look at, and nothing says which finalizers there are. Conditions on the object cannot be met. */
  async #deleteUnreadable(request: WriteRequest, { namespace, name }: ObjectRef, options: DeleteOptions): Promise<DeleteOutcome> {
    const { kind } = request;
    const { unreadable, storage } = this.#tools.registry;
    const scope = kind.namespaced ? namespace : undefined;
    const storeKey = storeKeyOf(kind, keyOfName(scope, name));
    const found = unreadable.get(storeKey);
    if (found === undefined) throw notFound(kind, name);
    if (options.preconditions !== undefined) throw unreadableError(storeKey, found);
    if (request.dryRun !== true && options.dryRun !== true) {
      const result = await settle(storage.delete(storeKey, found.revision));
      if (!result.ok) throw conflict(kind, name);
    }
    return { type: 'status', ref: { name, namespace: scope }, uid: '' };
  }

  async admit(request: WriteRequest, { namespace, name }: ObjectRef, { operation, body }: Action): Promise<KubeObject> {
    const { subresource = '' } = request;
    const write = startWrite({ request, operation, namespace, name, object: body, subresource });
    return (await runSteps(write, writeSteps.action, this.#tools)).object;
  }

  /** Makes a write again while other processes come first. A client that named a version gets a conflict from the new comparison. */
  async #persevere(kind: KindDefinition, name: string, attempt: () => Promise<Write>): Promise<Write> {
    const { registry, clock } = this.#tools;
    const begunAt = clock.monotonicMs();
    for (let made = 1; ; made += 1) {
      const write = await attempt();
      if (write.lostTo === undefined) {
        if (!write.isUnchanged || (await this.#isNewest(write))) return write;
        continue;
      }
      const mayGoOn = made < maxAttempts || (registry.storage.isShared && clock.monotonicMs() - begunAt < perseverMs);
      if (!mayGoOn) throw conflict(kind, name);
      if (write.lostTo === 0) throw notFound(kind, name);
      await registry.waitFor(write.lostTo, catchUpMs);
      if (made >= maxAttempts) await this.#pause(made);
    }
  }

  /** True when the object that a write started from is the newest that anybody has seen. */
  async #isNewest({ kind, key, before }: Write): Promise<boolean> {
    const { registry } = this.#tools;
    const waiting = registry.freshness.barrier();
    if (waiting === undefined) return true;
    await waiting;
    return registry.get(kind, key) === before;
  }

  #pause(made: number): Promise<void> {
    const pauseMs = this.#random() * Math.min(2 ** (made - 1), maxPauseMs);
    return new Promise((resolve) => void this.#tools.clock.after(pauseMs, resolve));
  }
}

/** The error for an object that fits the schema of an apply and is none of the kind. Data that is not base64 is one. */
function unconverted(definition: KindDefinition, { apiVersion = '', kind = '', metadata }: Partial<KubeObject>, why: string): StatusError {
  if (why.startsWith('strict decoding error')) return cannotBeHandled(definition, why);
  const shown = `${apiVersion.includes('/') ? apiVersion : `/${apiVersion}`}, Kind=${kind}`;
  const what = `failed to convert new object (${metadata?.namespace ?? ''}/${metadata?.name ?? ''}; ${shown}) to proper version`;
  const message = `${what}: unable to convert unstructured object to ${shown}: error decoding from json: ${why}`;
  return new StatusError({ code: 500, reason: '', message });
}

/** Answer for the client: the object while it exists, and otherwise the answer of its kind. */
function outcomeOf({ kind, deletion, object }: Write): DeleteOutcome {
  if (deletion?.type !== 'remove' || kind.deleteAnswer === 'object') return { type: 'object', object };
  const { name, namespace, uid = '' } = object.metadata;
  return { type: 'status', ref: { name, namespace }, uid };
}
