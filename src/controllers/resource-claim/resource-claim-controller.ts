import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { type PodResourceClaim, resourceClaimKeysOf, resourceClaimsOf } from '../../api/core/v1/pod-resource-claims.ts';
import { claimFinalizer, type ResourceClaim, resourceClaims, resourceClaimTemplates } from '../../api/resource/v1/resource-claim.ts';
import { controllerOf, keyOf } from '../../machinery/object.ts';
import type { Controller, ReconcileContext } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { controllerKeyOf, controllerReference, indexByOwner, ownedBy } from '../ownership.ts';
import { isPodFinished } from '../pod-conditions.ts';
import { isNamespaceTerminating, messageOf } from '../refusals.ts';

/** Names the entry of the pod that a claim was made for. */
const podClaimAnnotation = 'resource.kubernetes.io/pod-claim-name';

/** Makes the claims of pods from their templates, and notes their names on the pod. Each belongs to its pod and goes with it. */
export function createPodResourceClaimController(dependencies: ControllerDependencies): Controller {
  const { client, informers, recorder } = dependencies;
  const podInformer = informers.get(pods);
  const claims = informers.get(resourceClaims);
  const templates = informers.get(resourceClaimTemplates);
  indexByOwner(claims);
  podInformer.addIndex(byTemplate, templateKeysOf);

  const controller = createInformedController(dependencies, { name: 'resource_claim', reconcile });
  podInformer.addHandler(({ after }) => {
    if (after !== undefined && templateKeysOf(after).length > 0) controller.enqueue(keyOf(after));
  });
  claims.addHandler(({ before, after }) => {
    const claim = after ?? before;
    const key = claim === undefined ? undefined : controllerKeyOf(pods, claim);
    if (key !== undefined) controller.enqueue(key);
  });
  templates.addHandler(({ before, after }) => {
    if (before === undefined && after !== undefined)
      for (const pod of podInformer.byIndex(byTemplate, keyOf(after))) controller.enqueue(keyOf(pod));
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<undefined> {
    const pod = podInformer.getByKey(key);
    if (pod === undefined || pod.metadata.deletionTimestamp !== undefined || isPodFinished(pod)) return;
    const made: { name: string; resourceClaimName: string }[] = [];
    for (const entry of resourceClaimsOf(pod)) {
      if (entry.template !== undefined && entry.claimName === undefined) {
        made.push({ name: entry.name, resourceClaimName: await claimNameFor(pod, entry, signal) });
      }
    }
    if (made.length === 0) return;
    const body = { metadata: { uid: pod.metadata.uid }, status: { resourceClaimStatuses: made } };
    const { namespace, name } = pod.metadata;
    await client.patch(pods, { namespace, name }, { type: 'strategic', body }, { subresource: 'status', signal });
  }

  /** The claim that was made already and not noted, as after a crash, or a new one. */
  async function claimNameFor(pod: Pod, entry: PodResourceClaim, signal: AbortSignal): Promise<string> {
    const isOfEntry = ({ metadata }: ResourceClaim) => metadata.annotations?.[podClaimAnnotation] === entry.name;
    const known = ownedBy(claims, pod).find(isOfEntry);
    if (known !== undefined) return known.metadata.name;
    try {
      // The cache may be behind, and the name is drawn: a second claim would hold a second device.
      const { items } = await client.list(resourceClaims, { namespace: pod.metadata.namespace, resourceVersion: '', signal });
      const stored = items.find((claim) => controllerOf(claim)?.uid === pod.metadata.uid && isOfEntry(claim));
      return (stored ?? (await create(pod, entry, signal))).metadata.name;
    } catch (err) {
      if (!isNamespaceTerminating(err)) {
        const message = `PodResourceClaim ${entry.name}: ${messageOf(err)}`;
        recorder.record(pod, { type: 'Warning', reason: 'FailedResourceClaimCreation', message });
      }
      throw err;
    }
  }

  async function create(pod: Pod, { name, template }: PodResourceClaim, signal: AbortSignal): Promise<ResourceClaim> {
    const { namespace } = pod.metadata;
    const source = templates.get({ namespace, name: template ?? '' });
    if (source === undefined) throw new Error(`resource claim template "${template ?? ''}" not found`);
    const { metadata = {}, spec } = source.spec ?? {};
    return client.create(
      resourceClaims,
      {
        apiVersion: 'resource.k8s.io/v1',
        kind: 'ResourceClaim',
        metadata: {
          generateName: `${pod.metadata.name}-${name}-`,
          ...(namespace === undefined ? {} : { namespace }),
          ...(metadata.labels === undefined ? {} : { labels: metadata.labels }),
          annotations: { ...metadata.annotations, [podClaimAnnotation]: name },
          ownerReferences: [controllerReference(pods, pod)],
        },
        ...(spec === undefined ? {} : { spec }),
      },
      { signal },
    );
  }
}

const byTemplate = 'resource-claim-template';

const templateKeysOf = (pod: Pod): readonly string[] =>
  resourceClaimsOf(pod).flatMap(({ template }) => (template === undefined ? [] : [`${pod.metadata.namespace ?? ''}/${template}`]));

/** Takes pods that are over out of `reservedFor`, frees the devices of a claim that nobody uses, and lets it go then. */
export function createResourceClaimController(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const podInformer = informers.get(pods);
  const claims = informers.get(resourceClaims);
  claims.addIndex(byUser, usersOf);

  const controller = createInformedController(dependencies, { name: 'resource_claim_release', reconcile });
  claims.addHandler(({ after }) => {
    if (after !== undefined && needsALook(after)) controller.enqueue(keyOf(after));
  });
  podInformer.addHandler(({ before, after }) => {
    if (after !== undefined && !isOver(after)) return;
    const pod = after ?? before;
    if (pod === undefined) return;
    for (const claim of claims.byIndex(byUser, pod.metadata.uid ?? '')) controller.enqueue(keyOf(claim));
    for (const key of resourceClaimKeysOf(pod)) if (claims.getByKey(key) !== undefined) controller.enqueue(key);
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<undefined> {
    const claim = claims.getByKey(key);
    if (claim === undefined) return;
    const users = claim.status?.reservedFor ?? [];
    const left = [];
    for (const user of users) if (user.resource !== 'pods' || (await isUsing(claim, user, signal))) left.push(user);
    const isOfFinishedPod = hasFinishedOwner(claim);
    if (left.length === 0 && (users.length > 0 || isToGo(claim) || isOfFinishedPod)) await free(claim, signal);
    else if (left.length < users.length) await writeStatus(claim, { ...claim.status, reservedFor: left }, signal);
    if (left.length === 0 && isOfFinishedPod && claim.metadata.deletionTimestamp === undefined) {
      await client.delete(resourceClaims, refOf(claim), { preconditions: { uid: claim.metadata.uid ?? '' }, signal });
    }
  }

  /** In doubt the server is asked: a device that is given to two is worse than a request. */
  async function isUsing(
    { metadata }: ResourceClaim,
    { name, uid }: { readonly name: string; readonly uid: string },
    signal: AbortSignal,
  ): Promise<boolean> {
    const ref = { namespace: metadata.namespace, name };
    const known = podInformer.get(ref);
    if (known?.metadata.uid === uid) return !isOver(known);
    const { items } = await client.list(pods, { ...ref, fieldSelector: `metadata.name=${name}`, resourceVersion: '', signal });
    return items.some((pod) => pod.metadata.uid === uid && !isOver(pod));
  }

  async function free(claim: ResourceClaim, signal: AbortSignal): Promise<void> {
    const isAllocated = (claim.status?.allocation ?? undefined) !== undefined || (claim.status?.reservedFor ?? []).length > 0;
    const { allocation: _, reservedFor: __, devices: ___, ...rest } = claim.status ?? {};
    const freed = isAllocated ? await writeStatus(claim, rest, signal) : claim;
    const { finalizers = [] } = freed.metadata;
    if (!finalizers.includes(claimFinalizer)) return;
    const left = finalizers.filter((one) => one !== claimFinalizer);
    await client.update(resourceClaims, { ...freed, metadata: { ...freed.metadata, finalizers: left } }, { signal });
  }

  function writeStatus(claim: ResourceClaim, status: NonNullable<ResourceClaim['status']>, signal: AbortSignal): Promise<ResourceClaim> {
    return client.update(resourceClaims, { ...claim, status }, { subresource: 'status', signal });
  }

  function hasFinishedOwner(claim: ResourceClaim): boolean {
    const key = controllerKeyOf(pods, claim);
    const pod = key === undefined ? undefined : podInformer.getByKey(key);
    return pod !== undefined && pod.metadata.uid === controllerOf(claim)?.uid && isPodFinished(pod);
  }
}

const byUser = 'resource-claim-user';

const usersOf = ({ status }: ResourceClaim): readonly string[] => (status?.reservedFor ?? []).map(({ uid }) => uid);
const refOf = ({ metadata: { namespace, name } }: ResourceClaim) => ({ namespace, name });
const isToGo = ({ metadata }: ResourceClaim): boolean => metadata.deletionTimestamp !== undefined;
const needsALook = (claim: ResourceClaim): boolean => isToGo(claim) || usersOf(claim).length > 0;

/** Nothing of it runs, and nothing will. */
const isOver = (pod: Pod): boolean =>
  isPodFinished(pod) || (pod.metadata.deletionTimestamp !== undefined && (pod.spec.nodeName ?? '') === '');
