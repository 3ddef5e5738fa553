import type { PersistentVolume } from '../../api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../../api/core/v1/persistent-volume-claim.ts';
import { volumeAnnotations } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf } from '../../machinery/object.ts';
import { isBound } from './volume-claims.ts';

/** Upstream's `bindTimeoutSeconds`. */
const timeoutMs = 600_000;

interface WaitOptions {
  readonly claims: Informer<PersistentVolumeClaim>;
  readonly volumes: Informer<PersistentVolume>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly keys: readonly string[];
  /** Those of the keys whose volume a provisioner makes. */
  readonly provided: ReadonlySet<string>;
  readonly isReachable: (volume: PersistentVolume) => boolean;
}

/**
 * Resolves when every claim is bound to a volume that the node reaches.
 *
 * @throws Error when one cannot be bound any more: it is gone, its provisioner gave the node back, or its volume is elsewhere. Ten minutes
 * are the limit.
 */
export function waitForClaims({ claims, volumes, clock, signal, keys, provided, isReachable }: WaitOptions): Promise<void> {
  /** Claims whose note for the provisioner the cache has shown: only then does its absence mean something. */
  const noted = new Set<string>();

  function areBound(): boolean {
    let all = true;
    for (const key of keys) {
      const claim = claims.getByKey(key);
      if (claim === undefined) throw new Error(`error getting PVC "${key}": persistentvolumeclaim not found`);
      if (isBound(claim)) {
        const volume = volumes.getByKey(claim.spec.volumeName ?? '');
        if (volume === undefined) all = false;
        else if (!isReachable(volume)) throw new Error(`pv "${volume.metadata.name}" node affinity doesn't match node`);
        continue;
      }
      all = false;
      const isNoted = claim.metadata.annotations?.[volumeAnnotations.selectedNode] !== undefined;
      if (isNoted) noted.add(key);
      else if (provided.has(key) && noted.has(key)) throw new Error(`provisioning failed for PVC "${key}"`);
    }
    return all;
  }

  return new Promise((resolve, reject) => {
    const stops: (() => void)[] = [];
    let isOver = false;
    const end = (settle: () => void): void => {
      if (isOver) return;
      isOver = true;
      for (const stop of stops) stop();
      settle();
    };
    const look = (): void => {
      if (isOver) return;
      try {
        if (areBound()) end(resolve);
      } catch (err) {
        end(() => reject(err));
      }
    };
    const onAbort = (): void => end(() => reject(signal.reason));
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    stops.push(() => signal.removeEventListener('abort', onAbort));
    stops.push(clock.after(timeoutMs, () => end(() => reject(new Error('binding volumes: context deadline exceeded')))));
    const wanted = new Set(keys);
    let isStarted = false;
    stops.push(
      claims.addHandler(({ before, after }) => {
        const claim = after ?? before;
        if (isStarted && claim !== undefined && wanted.has(keyOf(claim))) look();
      }),
      volumes.addHandler(() => {
        if (isStarted) look();
      }),
    );
    isStarted = true;
    look();
  });
}
