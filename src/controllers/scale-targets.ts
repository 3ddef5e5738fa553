import type { Scale } from '../api/autoscaling/v1/scale.ts';
import type { Clock } from '../base/clock.ts';
import type { Client, DiscoveredResource } from '../client/client.ts';
import type { ObjectRef } from '../machinery/object.ts';
import { groupResourceOf, parseApiVersion, type Resource } from '../machinery/resource.ts';
import { isConflict } from '../machinery/status-error.ts';

/** An object of any kind: one that an autoscaler scales or measures, or an owner of pods. */
export interface TargetReference {
  readonly apiVersion?: string | undefined;
  readonly kind: string;
  readonly name: string;
}

/** Scales of objects of any kind that has them, custom resources included. */
export interface ScaleTargets {
  /** @throws NotScalable, Error when no kind of that name is served, or StatusError */
  read(target: TargetReference, namespace: string, signal: AbortSignal): Promise<ReadScale>;
  /**
   * Sets the replicas. A write that conflicts is repeated up to five times while the scale is as it was read.
   *
   * @throws StatusError `Conflict` when a person or another controller set the replicas meanwhile: the number was computed for the old ones
   */
  write(scale: ReadScale, replicas: number, signal: AbortSignal): Promise<void>;
  /** `ingresses.networking.k8s.io` for a kind; its lower-case name while it is unknown. */
  groupResourceOf(target: Omit<TargetReference, 'name'>): Promise<string>;
}

export interface ReadScale {
  readonly resource: Resource<Scale>;
  readonly ref: ObjectRef;
  readonly scale: Scale;
}

/** The kind has no scale. The message is that of a server which is asked for one. */
export class NotScalable extends Error {
  override readonly name = 'NotScalable';
  constructor() {
    super('the server could not find the requested resource');
  }
}

/** Discovery takes some requests on a server elsewhere, and kinds seldom come. */
const keptMs = 60_000;
/** An unknown kind may be new. */
const retryMs = 5_000;
const maxAttempts = 5;

export function createScaleTargets({ client, clock }: { readonly client: Client; readonly clock: Clock }): ScaleTargets {
  let known: readonly DiscoveredResource[] = [];
  let readAt = Number.NEGATIVE_INFINITY;

  async function find({ apiVersion = '', kind }: Omit<TargetReference, 'name'>): Promise<readonly DiscoveredResource[]> {
    const { group } = parseApiVersion(apiVersion);
    const look = (): readonly DiscoveredResource[] => known.filter((resource) => resource.group === group && resource.kind === kind);
    const age = clock.monotonicMs() - readAt;
    const found = look();
    if (age < (found.length === 0 ? retryMs : keptMs)) return found;
    known = await client.discover();
    readAt = clock.monotonicMs();
    return look();
  }

  return {
    async read(target, namespace, signal) {
      const [resource] = await find(target);
      if (resource === undefined) {
        const { group } = parseApiVersion(target.apiVersion ?? '');
        throw new Error(`no matches for kind "${target.kind}" in group "${group}"`);
      }
      // Every kind has objects, and this one would be read in place of a Scale.
      if (!resource.subresources.includes('scale')) throw new NotScalable();
      const ref = { namespace, name: target.name };
      // The subresource of any kind is a Scale.
      const scaled: Resource<Scale> = resource as Resource as Resource<Scale>;
      return { resource: scaled, ref, scale: await client.get(scaled, ref, { subresource: 'scale', signal }) };
    },
    async write({ resource, ref, scale }, replicas, signal) {
      let newest = scale;
      for (let attempt = 1; ; attempt += 1) {
        try {
          await client.update(resource, { ...newest, spec: { ...newest.spec, replicas } }, { subresource: 'scale', signal });
          return;
        } catch (err) {
          if (!isConflict(err) || attempt === maxAttempts) throw err;
          newest = await client.get(resource, ref, { subresource: 'scale', signal });
          if (newest.metadata.uid !== scale.metadata.uid || newest.spec?.replicas !== scale.spec?.replicas) throw err;
        }
      }
    },
    async groupResourceOf(target) {
      const [resource] = await find(target);
      return resource === undefined ? target.kind.toLowerCase() : groupResourceOf(resource);
    },
  };
}
