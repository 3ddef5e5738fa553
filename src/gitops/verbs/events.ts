import type { Event } from '../../api/core/v1/event.ts';
import { type Kustomization, kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import { BoundedMap } from '../../base/bounded-map.ts';
import { parseApiVersion } from '../../machinery/resource.ts';
import { idOf, tryParseId } from '../apply/objects/object-id.ts';
import type { Lookup } from './lookup.ts';

/** Judges which Events are about an app: about itself, its source, its objects, and what came of them. */
export interface AppEvents {
  isAbout(event: Event): Promise<boolean>;
}

/** Objects whose app was looked up; the oldest are forgotten. */
const maxRemembered = 10_000;

export function createAppEvents(app: Kustomization, lookup: Lookup): AppEvents {
  const owned = (app.status?.inventory?.entries ?? []).flatMap(({ id }) => tryParseId(id) ?? []);
  const ids = new Set((app.status?.inventory?.entries ?? []).map(({ id }) => id));
  const { sourceRef } = app.spec;
  const sourceNamespace = sourceRef.namespace ?? app.metadata.namespace;
  const answers = new BoundedMap<string, Promise<boolean>>(maxRemembered);

  async function look({ involvedObject }: Event): Promise<boolean> {
    const { kind = '', apiVersion = 'v1', namespace = '', name = '' } = involvedObject;
    if (kind === kustomizations.kind && name === app.metadata.name && namespace === app.metadata.namespace) return true;
    if (kind === sourceRef.kind && name === sourceRef.name && namespace === sourceNamespace) return true;
    const { group } = parseApiVersion(apiVersion);
    if (ids.has(idOf({ apiVersion, kind, metadata: { name, namespace } }))) return true;
    const resource = await lookup.kindOf(group, kind);
    const object = resource === undefined ? undefined : await lookup.get(resource, { namespace, name });
    if (object !== undefined) return (await lookup.ownersOf(object)).some((owner) => ids.has(idOf(owner)));
    // It is gone, and with it who owned it: pods and the like are named after their owner.
    return owned.some(({ ref }) => ref.namespace === namespace && name.startsWith(`${ref.name}-`));
  }

  return {
    isAbout(event) {
      const { kind, namespace, name, uid } = event.involvedObject;
      const key = `${kind}/${namespace}/${name}/${uid}`;
      let answer = answers.get(key);
      if (answer === undefined) {
        answer = look(event);
        answers.set(key, answer);
      }
      return answer;
    },
  };
}

/** When it happened last; milliseconds since the epoch. */
export function timeOfEvent({ lastTimestamp, eventTime, series, metadata }: Event): number {
  return Date.parse(series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? metadata.creationTimestamp ?? '') || 0;
}
