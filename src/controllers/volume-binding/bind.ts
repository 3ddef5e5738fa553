import { type PersistentVolume, persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import type { Client } from '../../client/client.ts';
import { statusOf } from '../../lifecycle/persistent-volume.facts.ts';
import { boundClaim, boundVolume } from '../../lifecycle/volume-binding.ts';

interface Binding {
  readonly claim: PersistentVolumeClaim;
  readonly volume: PersistentVolume;
}

/**
 * Writes a volume and its claim, so that each names the other. The volume comes first, since two claims may want it: the second to write
 * gets a conflict. Its phase comes before the claim, so that nobody removes the volume of a bound claim. Writes only differences.
 *
 * @throws StatusError `Conflict` when a cache was behind
 */
export async function bindVolume(client: Client, { claim, volume }: Binding, signal: AbortSignal): Promise<Binding> {
  const bound = boundVolume(volume, claim);
  const named = bound === volume ? volume : await client.update(persistentVolumes, bound, { signal });
  const status = statusOf('Bound', named, undefined);
  const marked =
    status === named.status ? named : await client.update(persistentVolumes, { ...named, status }, { subresource: 'status', signal });
  const completed = boundClaim(claim, marked.metadata.name);
  return {
    volume: marked,
    claim: completed === claim ? claim : await client.update(persistentVolumeClaims, completed, { signal }),
  };
}
