import { customResourceDefinitions } from '../../api/apiextensions/v1/custom-resource-definition.ts';
import {
  type CustomResourceDefinition,
  type CustomResourceDefinitionStatus,
  isEstablished,
} from '../../api/apiextensions/v1/definition.ts';
import { approvalOf } from '../../api/apiextensions/v1/definition-validation.ts';
import { type APIService, apiServices } from '../../api/apiregistration/v1/api-service.ts';
import { finalizers } from '../../api/well-known.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { deepEqual, type KubeObject } from '../../machinery/object.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../machinery/status-error.ts';
import type { CustomKindTable } from '../kind-table.ts';
import type { WriteRequest } from '../kube-api.ts';
import { followObjects } from '../registry/follow.ts';
import type { Registry } from '../registry/registry.ts';
import type { Writer } from '../registry/writes.ts';
import { apiServerUser } from '../user.ts';
import { type CustomKinds, customKindsOf } from './custom-kind.ts';
import { decideNames, withConditions } from './names.ts';

export interface CustomResourcesOptions {
  readonly registry: Registry;
  readonly kinds: CustomKindTable;
  readonly writer: Writer;
  readonly clock: Clock;
  readonly log: Log;
}

/** Deletions of instances under way at once; they share commits. */
const chunk = 128;
/** Instances with finalizers go when others let them: that is looked at from time to time. */
const firstCheckMs = 100;
const maxCheckMs = 5_000;
const retryMs = 1_000;

/** Says of an APIService that it comes and goes with what is served. */
const automanaged = 'kube-aggregator.kubernetes.io/automanaged';

const requestOf = (kind: KindDefinition): WriteRequest => ({ kind, user: apiServerUser, userAgent: 'midship-apiserver' });

/**
 * Serves what CustomResourceDefinitions describe, from the moment that their names are accepted until their last instance is gone. Every
 * API server over the store does this for itself, from the same objects; what it writes to them is the same whoever comes first. One of
 * them deletes the instances of definitions that go.
 */
export class CustomResources {
  readonly #options: CustomResourcesOptions;
  /** By the name of the definition. */
  readonly #served = new Map<string, Served>();
  readonly #pending = new Set<string>();
  readonly #timers = new Map<string, { readonly cancel: () => void; readonly delayMs: number }>();
  #running = false;
  #cleansUp = false;
  /** The definitions that are being looked at, and those that came meanwhile. */
  #round: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: CustomResourcesOptions) {
    this.#options = options;
  }

  /** Resolves when everything that is established is served. */
  async start(): Promise<void> {
    const { registry } = this.#options;
    for (const object of this.#definitions()) {
      if (isEstablished(object)) await this.#serve(object, object.status?.acceptedNames ?? object.spec.names);
    }
    followObjects(registry, customResourceDefinitions, (object) => this.#note(object.metadata.name));
  }

  #definitions(): readonly CustomResourceDefinition[] {
    return [...this.#options.registry.stateOf(customResourceDefinitions).all.objects.values()] as CustomResourceDefinition[];
  }

  stop(): void {
    this.#stopped = true;
    for (const { cancel } of this.#timers.values()) cancel();
    this.#timers.clear();
  }

  /** Deletes the instances of definitions that go, from now on until it is stopped. */
  cleanUp(): { stop(): void } {
    this.#cleansUp = true;
    for (const { metadata } of this.#definitions()) if (metadata.deletionTimestamp !== undefined) this.#note(metadata.name);
    return {
      stop: () => {
        this.#cleansUp = false;
      },
    };
  }

  #note(name: string): void {
    this.#pending.add(name);
    if (this.#running || this.#stopped) return;
    this.#running = true;
    this.#round = this.#run();
  }

  /** Resolves when the kinds of all definitions that are known now are served, or cannot be. */
  settled(): Promise<void> {
    return this.#round;
  }

  /** One definition after the other: what one is called decides about the next. */
  async #run(): Promise<void> {
    for (const name of this.#pending) {
      this.#pending.delete(name);
      if (this.#stopped) break;
      try {
        await this.#reconcile(name);
      } catch (err) {
        if (this.#stopped) break;
        this.#options.log.warn({ err, customResourceDefinition: name }, 'Could not serve custom resource');
        this.#later(name, retryMs);
      }
    }
    this.#running = false;
  }

  #later(name: string, delayMs: number): void {
    this.#timers.get(name)?.cancel();
    const cancel = this.#options.clock.after(delayMs, () => {
      this.#timers.delete(name);
      this.#note(name);
    });
    this.#timers.set(name, { cancel, delayMs });
  }

  async #reconcile(name: string): Promise<void> {
    const { registry, kinds } = this.#options;
    const definition = registry.get(customResourceDefinitions, name) as CustomResourceDefinition | undefined;
    if (definition === undefined) {
      await this.#withdraw(name);
      return;
    }
    const { names, condition } = decideNames(
      definition,
      this.#definitions().filter(({ spec }) => spec.group === definition.spec.group),
    );
    const isAccepted = condition.status === 'True' || isEstablished(definition);
    // First served, then said to be: who waits for the condition finds the resource.
    if (isAccepted) await this.#serve(definition, names);
    const established = {
      type: 'Established' as const,
      ...(isAccepted
        ? { status: 'True' as const, reason: 'InitialNamesAccepted', message: 'the initial names have been accepted' }
        : { status: 'False' as const, reason: 'NotAccepted', message: 'not all names are accepted' }),
    };
    const isGoing = definition.metadata.deletionTimestamp !== undefined;
    await this.#writeStatus(name, (status, now) => {
      const going = {
        type: 'Terminating' as const,
        status: 'True' as const,
        reason: 'InstanceDeletionInProgress',
        message: 'CustomResource deletion is in progress',
      };
      const conditions = [condition, established, approvalOf(definition), isGoing ? going : undefined];
      return withConditions(
        { ...status, acceptedNames: names },
        conditions.filter((one) => one !== undefined),
        now,
      );
    });
    if (this.#cleansUp && isGoing && definition.metadata.finalizers?.includes(finalizers.customResourceCleanup) === true) {
      await this.#deleteInstances(definition, kinds.isBuiltIn(definition.spec.group, definition.spec.names.plural));
    }
  }

  async #writeStatus(
    name: string,
    change: (status: CustomResourceDefinitionStatus, now: string) => CustomResourceDefinitionStatus,
  ): Promise<void> {
    const { writer, clock } = this.#options;
    try {
      await writer.modify(
        requestOf(customResourceDefinitions),
        { name },
        {
          part: 'whole',
          change(stored) {
            const { status } = stored as CustomResourceDefinition;
            const before = status ?? { conditions: null, acceptedNames: { plural: '', kind: '' }, storedVersions: [] };
            const next = change(before, timestampOf(clock.now()));
            return deepEqual(next, status) ? stored : ({ ...stored, status: next } as KubeObject);
          },
        },
      );
    } catch (err) {
      // Another server was faster, or it is gone: either way there is an event to come.
      if (!isNotFound(err) && !isConflict(err)) throw err;
    }
  }

  async #serve(definition: CustomResourceDefinition, names: CustomResourceDefinition['spec']['names']): Promise<void> {
    const { registry, kinds } = this.#options;
    const { name } = definition.metadata;
    const { group } = definition.spec;
    const isTerminating = definition.metadata.deletionTimestamp !== undefined;
    const current = this.#served.get(name);
    if (current !== undefined && current.spec === definition.spec && deepEqual(current.names, names)) {
      current.isTerminating = isTerminating;
      return;
    }
    // Kinds that are built in are not described by others.
    if (kinds.isBuiltIn(group, names.plural)) return;
    const served: Served = { spec: definition.spec, names, isTerminating, made: undefined };
    const made = customKindsOf(definition, { names, isTerminating: () => served.isTerminating });
    if (made === undefined) return;
    served.made = made;
    await registry.serve(made.stored);
    this.#served.set(name, served);
    this.#publish();
    await this.#registerVersions();
  }

  async #withdraw(name: string): Promise<void> {
    const served = this.#served.get(name);
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
    if (served === undefined) return;
    this.#served.delete(name);
    this.#publish();
    if (served.made !== undefined) this.#options.registry.withdraw(served.made.stored);
    await this.#registerVersions();
    // A name that was in use may be free now.
    for (const other of this.#definitions()) {
      if (!isEstablished(other)) this.#pending.add(other.metadata.name);
    }
  }

  #publish(): void {
    const all = [...this.#served.values()].flatMap(({ made }) => made?.served ?? []);
    this.#options.kinds.setCustom(all);
  }

  /** Each group version that is served has its APIService, by which discovery ranks it; those of others are left alone. */
  async #registerVersions(): Promise<void> {
    const { registry, kinds, writer } = this.#options;
    if (!kinds.isBuiltIn(apiServices.group, apiServices.resource)) return;
    const wanted = new Map(
      kinds
        .all()
        .filter(({ custom }) => custom !== undefined)
        .map((kind) => [`${kind.version}.${kind.group}`, kind]),
    );
    for (const [name, { group, version }] of wanted) {
      if (registry.get(apiServices, name) !== undefined) continue;
      const object: APIService = {
        apiVersion: 'apiregistration.k8s.io/v1',
        kind: 'APIService',
        metadata: { name, labels: { [automanaged]: 'true' } },
        spec: { group, version, groupPriorityMinimum: 1000, versionPriority: 100 },
      };
      try {
        await writer.create(requestOf(apiServices), undefined, object);
      } catch (err) {
        // Another server registers the same.
        if (!isAlreadyExists(err)) throw err;
      }
    }
    // Another server may serve a resource that is not served here yet.
    const defined = new Set(this.#definitions().flatMap(({ spec }) => spec.versions.map(({ name }) => `${name}.${spec.group}`)));
    for (const { metadata } of [...registry.stateOf(apiServices).all.objects.values()]) {
      if (metadata.labels?.[automanaged] === 'true' && !defined.has(metadata.name)) await this.#delete(apiServices, metadata);
    }
  }

  /** Deletes the instances; the definition goes with the last of them. */
  async #deleteInstances(definition: CustomResourceDefinition, isBuiltIn: boolean): Promise<void> {
    const { registry, writer } = this.#options;
    const { name } = definition.metadata;
    // Another server may have made an instance that this one has not seen.
    await registry.freshness.barrier();
    const stored = this.#served.get(name)?.made?.stored;
    if (stored !== undefined && !isBuiltIn) {
      const left = (): readonly KubeObject[] => [...registry.stateOf(stored).all.objects.values()];
      const marked = left().filter(({ metadata }) => metadata.deletionTimestamp === undefined);
      for (let from = 0; from < marked.length && !this.#stopped; from += chunk) {
        await Promise.all(marked.slice(from, from + chunk).map(({ metadata }) => this.#delete(stored, metadata)));
      }
      if (left().length > 0) {
        const { delayMs = firstCheckMs / 2 } = this.#timers.get(name) ?? {};
        this.#later(name, Math.min(delayMs * 2, maxCheckMs));
        return;
      }
    }
    try {
      await writer.modify(
        requestOf(customResourceDefinitions),
        { name },
        {
          part: 'whole',
          change(object) {
            const remaining = (object.metadata.finalizers ?? []).filter((finalizer) => finalizer !== finalizers.customResourceCleanup);
            return { ...object, metadata: { ...object.metadata, finalizers: remaining } };
          },
        },
      );
    } catch (err) {
      if (!isNotFound(err) && !isConflict(err)) throw err;
    }
  }

  async #delete(kind: KindDefinition, metadata: KubeObject['metadata']): Promise<void> {
    try {
      await this.#options.writer.delete(requestOf(kind), metadata, {});
    } catch (err) {
      if (!isNotFound(err) && !isConflict(err)) throw err;
    }
  }
}

interface Served {
  readonly spec: CustomResourceDefinition['spec'];
  readonly names: CustomResourceDefinition['spec']['names'];
  isTerminating: boolean;
  made: CustomKinds | undefined;
}
