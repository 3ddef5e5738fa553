import { type Pod, type PodTemplateSpec, pods } from '../api/core/v1/pod.ts';
import type { Client, New } from '../client/client.ts';
import { deepEqual, type KubeObject } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { Result } from '../reconcile/controller.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import type { Expectations } from '../reconcile/expectations.ts';
import type { StatusPace } from '../reconcile/status-pace.ts';
import { controllerReference } from './ownership.ts';
import { isNamespaceTerminating, messageOf } from './refusals.ts';
import { inBatches, slowStart } from './slow-start.ts';

/** Steps that the controllers of workloads share: they make pods of a template, and write a status that changes often. */

/** The bound of a DNS subdomain. */
const maxNameLength = 253;

/** A pod of the template, whose parts it shares. */
export function podFromTemplate(resource: Resource, owner: KubeObject, template: PodTemplateSpec | undefined): New<Pod> {
  const { labels, annotations, finalizers } = template?.metadata ?? {};
  const { name, namespace } = owner.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      // The longest names have no room for a dash.
      generateName: name.length < maxNameLength ? `${name}-` : name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(labels === undefined ? {} : { labels }),
      ...(annotations === undefined ? {} : { annotations }),
      ...(finalizers === undefined ? {} : { finalizers }),
      ownerReferences: [controllerReference(resource, owner)],
    },
    spec: template?.spec ?? { containers: [] },
  };
}

export interface CreatePodsOptions {
  readonly client: Client;
  readonly recorder: EventRecorder;
  readonly expectations: Expectations;
  readonly owner: KubeObject;
  /** One for all, or the pod of each index from 0 on. */
  readonly pod: New<Pod> | ((index: number) => New<Pod>);
  readonly count: number;
  readonly signal: AbortSignal;
}

/** Gives the first failure; a namespace that is being deleted is none, since nothing can be done about it. */
export async function createPods({ client, recorder, expectations, owner, pod, count, signal }: CreatePodsOptions): Promise<unknown> {
  const uid = owner.metadata.uid ?? '';
  expectations.expectCreations(uid, count);
  const { succeeded, failure } = await slowStart(count, async (index) => {
    const created = await client.create(pods, typeof pod === 'function' ? pod(index) : pod, { signal });
    recorder.record(owner, { type: 'Normal', reason: 'SuccessfulCreate', message: `Created pod: ${created.metadata.name}` });
  });
  // No notification will come for those that failed or were not tried.
  expectations.creationsFailed(uid, count - succeeded);
  if (failure === undefined || isNamespaceTerminating(failure)) return undefined;
  recorder.record(owner, { type: 'Warning', reason: 'FailedCreate', message: `Error creating: ${messageOf(failure)}` });
  return failure;
}

export interface DeletePodsOptions extends Omit<CreatePodsOptions, 'pod' | 'count'> {
  readonly victims: readonly Pod[];
}

/** Deletes just these pods, not others that have their names by now. Gives the first failure. */
export async function deletePods({ client, recorder, expectations, owner, victims, signal }: DeletePodsOptions): Promise<unknown> {
  const uid = owner.metadata.uid ?? '';
  expectations.expectDeletions(
    uid,
    victims.map(({ metadata }) => metadata.uid ?? ''),
  );
  let failure: unknown;
  await inBatches(victims, async ({ metadata: { namespace, name, uid: podUid = '' } }) => {
    try {
      await client.delete(pods, { namespace, name }, { preconditions: { uid: podUid }, signal });
      recorder.record(owner, { type: 'Normal', reason: 'SuccessfulDelete', message: `Deleted pod: ${name}` });
    } catch (err) {
      expectations.deletionObserved(uid, podUid);
      if (isNotFound(err)) return;
      failure ??= err;
      recorder.record(owner, { type: 'Warning', reason: 'FailedDelete', message: `Error deleting: ${messageOf(err)}` });
    }
  });
  return failure;
}

/** The next look at an object, after the shortest of the delays in milliseconds that there are. */
export function soonest(...delays: readonly (number | undefined)[]): Result | undefined {
  const known = delays.filter((delay) => delay !== undefined);
  return known.length === 0 ? undefined : { requeueAfterMs: Math.min(...known) };
}

export interface WriteStatusOptions<T extends KubeObject> {
  readonly client: Client;
  readonly pace: StatusPace;
  readonly resource: Resource<T>;
  /** As it was read. */
  readonly before: T & { readonly status?: unknown };
  /** With the status to write. */
  readonly after: T & { readonly status?: unknown };
  /** Writes at once: the status says that something has ended. */
  readonly final: boolean;
  readonly signal: AbortSignal;
}

/** Writes a status that differs. Gives how long to wait, in milliseconds, when it has to wait. */
export async function writePacedStatus<T extends KubeObject>(options: WriteStatusOptions<T>): Promise<number | undefined> {
  const { client, pace, resource, before, after, final, signal } = options;
  if (deepEqual(before.status, after.status)) return undefined;
  const delay = pace.delay(before.metadata.uid ?? '', { final });
  if (delay > 0) return delay;
  try {
    await client.update(resource, after, { subresource: 'status', signal });
  } catch (err) {
    if (!isNotFound(err)) throw err;
  }
  return undefined;
}
