import type { Pod } from './pod.ts';

/** An entry of `spec.resourceClaims`, and the claim that it means. */
export interface PodResourceClaim {
  readonly name: string;
  /** Absent: the claim is named, and not made. */
  readonly template: string | undefined;
  /** Undefined: the claim was not made yet. Null: none was necessary. */
  readonly claimName: string | null | undefined;
}

/** As the API has it; the published types are older. */
interface Entry {
  readonly name: string;
  readonly resourceClaimName?: string;
  readonly resourceClaimTemplateName?: string;
}

export function resourceClaimsOf({ spec, status }: Pod): readonly PodResourceClaim[] {
  return ((spec.resourceClaims ?? []) as readonly Entry[]).map(({ name, resourceClaimName, resourceClaimTemplateName }) => {
    if ((resourceClaimName ?? '') !== '') return { name, template: undefined, claimName: resourceClaimName };
    const made = status?.resourceClaimStatuses?.find((one) => one.name === name);
    return { name, template: resourceClaimTemplateName, claimName: made === undefined ? undefined : (made.resourceClaimName ?? null) };
  });
}

/** Keys of the claims that the pod uses and that are known by name. */
export function resourceClaimKeysOf(pod: Pod): readonly string[] {
  return resourceClaimsOf(pod).flatMap(({ claimName }) =>
    claimName === undefined || claimName === null ? [] : [`${pod.metadata.namespace ?? ''}/${claimName}`],
  );
}
