import { type Namespace, namespaces } from '../../api/core/v1/namespace.ts';
import { pods } from '../../api/core/v1/pod.ts';
import { finalizers } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import { type DiscoveredResource, inPreferredVersion } from '../../client/client.ts';
import { tryGet } from '../../client/try-get.ts';
import { setCondition } from '../../machinery/conditions.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { messageOf } from '../refusals.ts';

/** First and longest wait for content that takes its time to go. */
const minWaitMs = 100;
const maxWaitMs = 5_000;
/** Objects looked at in one list: what remains is only counted. */
const listLimit = 500;

type NamespaceCondition = NonNullable<NonNullable<Namespace['status']>['conditions']>[number];

/** Result of one pass over the content of a namespace. */
interface Outcome {
  /** Objects that are still there, by `pods.` or `deployments.apps`. */
  readonly remaining: ReadonlyMap<string, number>;
  /** Objects that wait for a finalizer, by finalizer. */
  readonly finalizers: ReadonlyMap<string, number>;
  readonly failures: readonly string[];
}

/**
 * Empties a namespace that is being deleted, then removes its finalizer. Pods go first, so that none runs after its
 * policies and Secrets are gone; then every other namespaced resource that discovery knows.
 *
 * Sets the conditions `NamespaceDeletionDiscoveryFailure`, `NamespaceDeletionGroupVersionParsingFailure`,
 * `NamespaceDeletionContentFailure`, `NamespaceContentRemaining` and `NamespaceFinalizersRemaining`.
 */
export function createNamespaceController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, log } = dependencies;
  const namespaceInformer = informers.get(namespaces);
  const podInformer = informers.get(pods);
  /** Namespaces that are being emptied, with the wait before their next pass. */
  const waits = new Map<string, number>();

  const controller = createInformedController(dependencies, {
    name: 'namespace',
    workers: 8,
    reconcile,
  });
  namespaceInformer.addHandler(({ before, after }) => {
    if (after === undefined && before !== undefined) waits.delete(before.metadata.name);
    else if (after?.metadata.deletionTimestamp !== undefined && !waits.has(after.metadata.name)) controller.enqueue(after.metadata.name);
  });
  // Pods take the longest: the last one opens the way for the rest.
  podInformer.addHandler(({ before, after }) => {
    const namespace = before?.metadata.namespace;
    if (after === undefined && namespace !== undefined && waits.has(namespace)) controller.enqueue(namespace);
  });
  return controller;

  async function reconcile(name: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    if (!isToBeEmptied(namespaceInformer.get({ name }))) return undefined;
    // The cache may still show a namespace that is gone, whose name another one has by now. That one keeps its content.
    const namespace = await tryGet(client, namespaces, { name });
    if (!isToBeEmptied(namespace)) return undefined;
    if (!waits.has(name)) waits.set(name, minWaitMs);

    let resources: readonly DiscoveredResource[];
    try {
      resources = inPreferredVersion(await client.discover()).filter(
        ({ namespaced, verbs }) => namespaced && verbs.includes('list') && verbs.includes('delete'),
      );
    } catch (err) {
      await writeStatus(namespace, [discoveryFailed(err)], signal);
      throw err;
    }
    const isPods = (resource: DiscoveredResource): boolean => resource.group === pods.group && resource.resource === pods.resource;
    let outcome = await empty(name, resources.filter(isPods), signal);
    if (outcome.remaining.size === 0 && outcome.failures.length === 0) {
      outcome = await empty(
        name,
        resources.filter((resource) => !isPods(resource)),
        signal,
      );
    }

    const written = await writeStatus(namespace, conditionsOf(outcome), signal);
    if (outcome.remaining.size === 0 && outcome.failures.length === 0) {
      await finalize(written, signal);
      waits.delete(name);
      return undefined;
    }
    const requeueAfterMs = waits.get(name) ?? minWaitMs;
    waits.set(name, Math.min(maxWaitMs, requeueAfterMs * 2));
    return { requeueAfterMs };
  }

  async function empty(namespace: string, resources: readonly DiscoveredResource[], signal: AbortSignal): Promise<Outcome> {
    const remaining = new Map<string, number>();
    const waitsFor = new Map<string, number>();
    const failures: string[] = [];
    await Promise.all(
      resources.map(async (resource) => {
        const label = `${resource.resource}.${resource.group}`;
        try {
          for (const { metadata } of await emptyResource(namespace, resource, signal)) {
            remaining.set(label, (remaining.get(label) ?? 0) + 1);
            for (const finalizer of metadata.finalizers ?? []) waitsFor.set(finalizer, (waitsFor.get(finalizer) ?? 0) + 1);
          }
        } catch (err) {
          if (signal.aborted) throw err;
          // The resource went meanwhile, with all of its objects.
          if (isNotFound(err)) return;
          log.warn({ namespace, resource: label, err }, 'Could not delete content of namespace');
          failures.push(messageOf(err));
        }
      }),
    );
    return { remaining, finalizers: waitsFor, failures };
  }

  /** Deletes all objects of a resource and gives those that are still there. */
  async function emptyResource(namespace: string, resource: DiscoveredResource, signal: AbortSignal) {
    const before = await client.list(resource, { namespace, limit: listLimit, signal });
    if (before.items.length === 0) return before.items;
    // Objects beyond this page may not be deleted yet, though all on it wait for their finalizers.
    const isCut = (before.metadata.continue ?? '') !== '';
    if (isCut || before.items.some(({ metadata }) => metadata.deletionTimestamp === undefined)) {
      if (resource.verbs.includes('deletecollection')) {
        await client.deleteCollection(resource, { namespace, propagationPolicy: 'Background', signal });
      } else {
        for (const { metadata } of before.items) {
          try {
            await client.delete(resource, { namespace, name: metadata.name }, { propagationPolicy: 'Background', signal });
          } catch (err) {
            if (!isNotFound(err)) throw err;
          }
        }
      }
    }
    return (await client.list(resource, { namespace, limit: listLimit, signal })).items;
  }

  async function writeStatus(namespace: Namespace, next: readonly NewCondition[], signal: AbortSignal): Promise<Namespace> {
    const now = timestampOf(clock.now());
    let conditions = namespace.status?.conditions;
    for (const condition of next) conditions = setCondition<NamespaceCondition>(conditions, condition, now);
    if (conditions === namespace.status?.conditions && namespace.status?.phase === 'Terminating') return namespace;
    return client.update(
      namespaces,
      { ...namespace, status: { ...namespace.status, phase: 'Terminating', ...(conditions === undefined ? {} : { conditions }) } },
      { subresource: 'status', signal },
    );
  }

  async function finalize(namespace: Namespace, signal: AbortSignal): Promise<void> {
    const left = (namespace.spec?.finalizers ?? []).filter((finalizer) => finalizer !== finalizers.kubernetes);
    try {
      await client.update(namespaces, { ...namespace, spec: { ...namespace.spec, finalizers: left } }, { subresource: 'finalize', signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

const isToBeEmptied = (namespace: Namespace | undefined): namespace is Namespace =>
  namespace?.metadata.deletionTimestamp !== undefined && namespace.spec?.finalizers?.includes(finalizers.kubernetes) === true;

type NewCondition = Omit<NamespaceCondition, 'lastTransitionTime'>;

/** The conditions of a namespace are False while all is well. */
const fine = (type: string, reason: string, message: string): NewCondition => ({ type, status: 'False', reason, message });
const problem = (type: string, reason: string, message: string): NewCondition => ({ type, status: 'True', reason, message });

const discoveryFailed = (err: unknown): NewCondition =>
  problem('NamespaceDeletionDiscoveryFailure', 'DiscoveryFailed', `Discovery failed for some groups: ${messageOf(err)}`);

/** In the words of the namespace controller of Kubernetes. */
function conditionsOf({ remaining, finalizers: waitsFor, failures }: Outcome): readonly NewCondition[] {
  return [
    fine('NamespaceDeletionDiscoveryFailure', 'ResourcesDiscovered', 'All resources successfully discovered'),
    // The controller of Kubernetes can meet group versions that it cannot read; ours come parsed.
    fine('NamespaceDeletionGroupVersionParsingFailure', 'ParsedGroupVersions', 'All legacy kube types successfully parsed'),
    failures.length === 0
      ? fine('NamespaceDeletionContentFailure', 'ContentDeleted', 'All content successfully deleted, may be waiting on finalization')
      : problem(
          'NamespaceDeletionContentFailure',
          'ContentDeletionFailed',
          `Failed to delete all resource types, ${failures.length} remaining: ${[...failures].sort().join(', ')}`,
        ),
    remaining.size === 0
      ? fine('NamespaceContentRemaining', 'ContentRemoved', 'All content successfully removed')
      : problem('NamespaceContentRemaining', 'SomeResourcesRemain', `Some resources are remaining: ${listed(remaining, 'has ')}`),
    waitsFor.size === 0
      ? fine('NamespaceFinalizersRemaining', 'ContentHasNoFinalizers', 'All content-preserving finalizers finished')
      : problem(
          'NamespaceFinalizersRemaining',
          'SomeFinalizersRemain',
          `Some content in the namespace has finalizers remaining: ${listed(waitsFor, 'in ')}`,
        ),
  ];
}

function listed(counts: ReadonlyMap<string, number>, word: string): string {
  return [...counts]
    .map(([name, count]) => `${name} ${word}${count} resource instances`)
    .sort()
    .join(', ');
}
