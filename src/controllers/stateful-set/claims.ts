import { type StatefulSet, statefulSets } from '../../api/apps/v1/stateful-set.ts';
import type { PersistentVolumeClaim } from '../../api/core/v1/persistent-volume-claim.ts';
import { pods } from '../../api/core/v1/pod.ts';
import type { New } from '../../client/client.ts';
import type { KubeObject, OwnerReference } from '../../machinery/object.ts';
import { apiVersionOf, type Resource } from '../../machinery/resource.ts';
import { controllerReference } from '../ownership.ts';

type ClaimTemplate = NonNullable<StatefulSet['spec']['volumeClaimTemplates']>[number];

export const claimName = (set: StatefulSet, template: ClaimTemplate, ordinal: number): string =>
  `${template.metadata?.name ?? ''}-${set.metadata.name}-${ordinal}`;

export const claimNames = (set: StatefulSet, ordinal: number): readonly string[] =>
  (set.spec.volumeClaimTemplates ?? []).map((template) => claimName(set, template, ordinal));

/** True when the name of a claim begins as those of the set do. */
export const mayHaveMade = ({ metadata, spec }: StatefulSet, claim: string): boolean =>
  (spec.volumeClaimTemplates ?? []).some((template) => claim.startsWith(`${template.metadata?.name ?? ''}-${metadata.name}-`));

/** The claims of an ordinal, with the labels of the set's selector beside their own. They go with the set when its policy says so. */
export const claimsOf = (set: StatefulSet, ordinal: number): readonly New<PersistentVolumeClaim>[] =>
  (set.spec.volumeClaimTemplates ?? []).map((template) => {
    const { labels, annotations, finalizers } = template.metadata ?? {};
    const { namespace } = set.metadata;
    const goesWithSet = set.spec.persistentVolumeClaimRetentionPolicy?.whenDeleted === 'Delete';
    return {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: {
        name: claimName(set, template, ordinal),
        ...(namespace === undefined ? {} : { namespace }),
        labels: { ...labels, ...set.spec.selector.matchLabels },
        ...(annotations === undefined ? {} : { annotations }),
        ...(finalizers === undefined ? {} : { finalizers }),
        ...(goesWithSet ? { ownerReferences: [controllerReference(statefulSets, set)] } : {}),
      },
      spec: template.spec ?? {},
    };
  });

/** The pod of a claim. */
export interface ClaimUser {
  /** Without a uid while it is not made yet. */
  readonly pod: KubeObject;
  /** Its ordinal is not wanted any more. */
  readonly isCondemned: boolean;
}

/**
 * The owners that a claim has to have by `persistentVolumeClaimRetentionPolicy`; undefined when it has them. The garbage collector then
 * deletes the claim with its pod, when the pod is one too many, or with the set.
 *
 * A claim is left alone when it has an owner of the same name and another uid. That owner is gone, so the claim goes, too. Another
 * controller of the claim is not disturbed either.
 */
export function wantedOwners(
  claim: PersistentVolumeClaim,
  set: StatefulSet,
  { pod, isCondemned }: ClaimUser,
): readonly OwnerReference[] | undefined {
  const present = claim.metadata.ownerReferences ?? [];
  if (isStale(present, statefulSets, set) || isStale(present, pods, pod)) return undefined;
  const others = present.filter((reference) => !refersTo(reference, statefulSets, set) && !refersTo(reference, pods, pod));
  const { whenDeleted = 'Retain', whenScaled = 'Retain' } = set.spec.persistentVolumeClaimRetentionPolicy ?? {};
  const isKept = whenDeleted === 'Retain' && whenScaled === 'Retain';
  const isForeign = !isKept && others.some(({ controller }) => controller === true);
  const byPod = whenScaled === 'Delete' && isCondemned;
  const wanted = [...others];
  if (!isForeign && byPod && pod.metadata.uid !== undefined) wanted.push(controllerReference(pods, pod));
  if (!isForeign && !byPod && whenDeleted === 'Delete') wanted.push(controllerReference(statefulSets, set));
  return isSame(present, wanted) ? undefined : wanted;
}

/** A claim that goes with an earlier pod of this name. A new pod must not use it. */
export const isClaimStale = (claim: PersistentVolumeClaim, set: StatefulSet, { pod }: Pick<ClaimUser, 'pod'>): boolean =>
  set.spec.persistentVolumeClaimRetentionPolicy?.whenScaled === 'Delete' && isStale(claim.metadata.ownerReferences ?? [], pods, pod);

const refersTo = (reference: OwnerReference, resource: Resource, { metadata }: Named): boolean =>
  reference.kind === resource.kind && reference.apiVersion === apiVersionOf(resource) && reference.name === metadata.name;

type Named = { readonly metadata: Pick<KubeObject['metadata'], 'name' | 'uid'> };

const isStale = (references: readonly OwnerReference[], resource: Resource, object: Named): boolean =>
  references.some((reference) => refersTo(reference, resource, object) && reference.uid !== object.metadata.uid);

/** By what counts: who it is, and whether it is the controller. */
function isSame(a: readonly OwnerReference[], b: readonly OwnerReference[]): boolean {
  const keys = (references: readonly OwnerReference[]): string =>
    references
      .map(({ uid, controller }) => `${uid}/${controller === true}`)
      .sort()
      .join(' ');
  return keys(a) === keys(b);
}
