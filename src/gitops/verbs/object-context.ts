import type { Pod } from '../../api/core/v1/pod.ts';
import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../base/clock.ts';
import { createRedactor, type Redactor } from '../../base/redactor.ts';
import type { Client, DiscoveredResource } from '../../client/client.ts';
import type { CauseOptions } from '../apply/observe/causes.ts';
import { awaitsStatusIn, type HealthView } from '../apply/observe/health.ts';
import { ruleOfKind } from '../apply/observe/health-rules.ts';
import type { PodsView } from '../apply/observe/pod-generations.ts';
import { createVariables } from '../apply/plan/variables.ts';
import type { Cause } from '../apply/records/object-healths.ts';
import { createLookup, type Lookup } from './lookup.ts';

/** Reads and judges objects of a cluster as the engine does. Parts that only some clusters or objects need are loaded on demand. */
export interface ObjectContext {
  readonly client: Client;
  readonly lookup: Lookup;
  /** Takes values of Secrets out of messages; their owner is the app's key. */
  readonly redactor: Redactor;
  /** Gives the redactor what the app has from Secrets. A value that cannot be read cannot be shown either. */
  learn(app: Kustomization): Promise<void>;
  /** For rules of health; the pods of an object are added by whoever has read them. */
  healthView(): Promise<Omit<HealthView, keyof PodsView>>;
  /** Reason why the pods of an unhealthy object are not ready, as far as the cluster shows it. */
  causeOf(pods: readonly Pod[]): Promise<Cause | undefined>;
}

export interface ObjectContextOptions extends Pick<HealthView, 'noControllerText'>, Pick<CauseOptions, 'readLastLine'> {
  readonly client: Client;
  readonly clock: Clock;
}

export function createObjectContext({ client, clock, noControllerText, readLastLine }: ObjectContextOptions): ObjectContext {
  const lookup = createLookup(client);
  const redactor = createRedactor();
  const { variablesOf } = createVariables({ client, redactor });
  return {
    client,
    lookup,
    redactor,
    async learn(app) {
      await variablesOf(app, new AbortController().signal);
    },
    async causeOf(pods) {
      const { findCause } = await import('../apply/observe/causes.ts');
      return findCause(pods, { client, readLastLine, now: clock.now });
    },
    async healthView() {
      const resources = await lookup.all();
      return {
        now: clock.now,
        noControllerText,
        awaitsStatus: awaitsStatusIn(resources),
        healthByRule: await ruleJudgeFor(resources),
      };
    },
  };
}

/** Loads the compiler of rules only for a cluster that serves a kind with a rule. */
async function ruleJudgeFor(resources: readonly DiscoveredResource[]): Promise<HealthView['healthByRule']> {
  if (!resources.some(({ group, kind }) => ruleOfKind(group, kind) !== undefined)) return undefined;
  return (await import('../apply/observe/rule-health.ts')).healthByRule;
}
