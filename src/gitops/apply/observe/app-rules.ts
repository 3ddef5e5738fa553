import { type Kustomization, kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../../base/clock.ts';
import { healthy } from '../../../lifecycle/reasons.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { Expressions } from './expressions.ts';
import { awaitsStatusIn, type HealthRules, type HealthView, healthOf } from './health.ts';
import type { OwnedObjects } from './owned-objects.ts';
import { healthByRule } from './rule-health.ts';

export interface HealthRulesOptions extends Pick<HealthView, 'noControllerText'> {
  readonly mapper: Pick<ResourceMapper, 'last'>;
  readonly owned: Pick<OwnedObjects, 'podsOf' | 'replicaSetsOf'>;
  readonly expressions: Expressions;
  readonly clock: Clock;
}

/**
 * Makes the function that gives the rules of an app on one cluster: its own expressions come first, then those of kinds. The kinds with a
 * status are read once for each discovery.
 */
export function createHealthRules(options: HealthRulesOptions): (app: Kustomization) => HealthRules {
  const { mapper, owned, expressions, clock, noControllerText } = options;
  let discovered = mapper.last;
  let awaitsStatus = awaitsStatusIn(discovered);
  const view: HealthView = {
    podsOf: owned.podsOf,
    replicaSetsOf: owned.replicaSetsOf,
    now: clock.now,
    noControllerText,
    healthByRule,
    awaitsStatus(object) {
      if (mapper.last !== discovered) {
        discovered = mapper.last;
        awaitsStatus = awaitsStatusIn(discovered);
      }
      return awaitsStatus(object);
    },
  };
  return (app) => ({
    // An app that holds its own Kustomization, as Flux's bootstrap makes them, would wait for itself.
    healthOf: (object) => (isSelf(app, object) ? healthy : (expressions.healthOf(app, object) ?? healthOf(object, view))),
  });
}

const isSelf = ({ metadata, spec }: Kustomization, object: KubeObject): boolean =>
  object.metadata.uid === metadata.uid && object.kind === kustomizations.kind && spec.kubeConfig === undefined;
