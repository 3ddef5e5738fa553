import type { Pod, Volume } from './pod.ts';

/** Name of the claim of a volume: the one that it names, or the one made for it, which is called after pod and volume. */
export function claimNameOf(podName: string, { name, persistentVolumeClaim, ephemeral }: Volume): string | undefined {
  if (persistentVolumeClaim !== undefined && persistentVolumeClaim !== null) return persistentVolumeClaim.claimName;
  return ephemeral === undefined || ephemeral === null ? undefined : `${podName}-${name}`;
}

/** Keys of the claims of a pod's volumes. */
export function claimKeysOf({ metadata, spec }: Pod): readonly string[] {
  const keys: string[] = [];
  for (const volume of spec.volumes ?? []) {
    const name = claimNameOf(metadata.name, volume);
    if (name !== undefined) keys.push(`${metadata.namespace ?? ''}/${name}`);
  }
  return keys;
}
