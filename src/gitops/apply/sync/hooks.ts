import { createHash } from 'node:crypto';
import type { Job } from '../../../api/batch/v1/job.ts';
import type { Pod } from '../../../api/core/v1/pod.ts';
import { annotations, labels } from '../../../api/well-known.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Client } from '../../../client/client.ts';
import { jobFailure, podProblem } from '../../../lifecycle/reasons.ts';
import type { DynamicObject } from '../../../machinery/object.ts';
import { isConflict, isNotFound } from '../../../machinery/status-error.ts';
import { isNameOf } from '../../manifests/hook-names.ts';
import { fieldManager } from '../objects/fields.ts';
import { describeObject, tryParseId } from '../objects/object-id.ts';
import { type HookPhase, policyOf } from '../objects/object-policy.ts';
import type { HealthRules } from '../observe/health.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import type { DesiredObject } from '../plan/plan.ts';
import type { ObjectRecords } from '../records/app-records.ts';
import type { Ownership } from '../records/ownership.ts';

/** State of a hook of a wave. */
export type HookOutcome =
  | { readonly state: 'done' }
  | { readonly state: 'running'; readonly reason: string }
  | { readonly state: 'failed'; readonly reason: string };

/** Objects that run once a revision and are waited for: migrations, smoke tests. */
export interface Hooks {
  /** Starts the hook when this run of it has not begun, else looks at its state; never waits. */
  run(options: HookRun): Promise<HookOutcome>;
  /** Deletes what was to be kept only until the hook had succeeded; called once that is written down. */
  clean(ownership: Ownership): Promise<void>;
}

export interface HookRun {
  readonly state: Pick<ObjectRecords, 'key' | 'ownership'>;
  readonly hook: DesiredObject;
  readonly phase: HookPhase;
  readonly digest: string;
  /** Attempts at this revision that failed before: each one runs its hooks. */
  readonly failures: number;
  readonly rules: HealthRules;
}

export interface HooksOptions {
  readonly client: Client;
  readonly owned: OwnedObjects;
  readonly clock: Clock;
}

type Place = Pick<DesiredObject, 'resource' | 'ref'>;

/** A hook that takes longer has failed. */
const hookTimeoutMs = 5 * 60_000;

export function createHooks({ client, owned, clock }: HooksOptions): Hooks {
  return {
    async run({ state, hook, phase, digest, failures, rules }) {
      const { resource, ref, id, policy } = hook;
      const name = `${phase} ${id}`;
      const { ownership } = state;
      ownership.beginHooks(digest);
      if (ownership.hooks.succeeded.has(name)) return { state: 'done' };
      owned.own(state.key, id, { resource, ref });
      const live = await find(hook);
      const run = createHash('sha256').update(`${digest} ${name} ${failures}`).digest('hex').slice(0, 16);
      if (live?.metadata.annotations?.[annotations.hookRun] !== run) {
        // The object of an earlier run makes room. It is looked for again when its finalizers are done.
        if (live !== undefined) {
          await remove(hook, live);
          if ((await find(hook)) !== undefined)
            return { state: 'running', reason: `${describeObject(hook.object)} of an earlier run leaves` };
        }
        const leaving = await removeEarlier(ownership, hook);
        if (leaving !== undefined) return { state: 'running', reason: `${describeObject(leaving)} of an earlier run leaves` };
        await start(hook, run);
        return { state: 'running', reason: `${describeObject(hook.object)} runs` };
      }
      const outcome = judge(hook, live, rules);
      if (outcome.state === 'done') {
        ownership.succeed({ id, name, clean: policy.hookDeletion.includes('HookSucceeded') ? { hook, live } : undefined });
      }
      if (outcome.state === 'failed' && policy.hookDeletion.includes('HookFailed')) await remove(hook, live);
      return outcome;
    },
    async clean(ownership) {
      for (const [id, { hook, live }] of ownership.hooks.cleaning) {
        await remove(hook, live);
        ownership.cleaned(id);
      }
    },
  };

  /**
   * Deletes the objects of a hook with a `generateName` at earlier revisions, as far as the inventory knows them; gives one that is left.
   * Pruning comes last, and not at all for an app that does not prune, but a hook may rely on running alone.
   */
  async function removeEarlier({ doomed }: Ownership, hook: DesiredObject): Promise<DynamicObject | undefined> {
    const { id, resource, object, policy } = hook;
    const { namespace, generateName, labels: ours } = object.metadata;
    if (generateName === undefined || !policy.hookDeletion.includes('BeforeHookCreation')) return undefined;
    let left: DynamicObject | undefined;
    for (const earlier of doomed.keys()) {
      const parsed = tryParseId(earlier);
      if (parsed === undefined || earlier === id || parsed.kind !== object.kind || parsed.group !== resource.group) continue;
      if (parsed.ref.namespace !== namespace || !isNameOf(generateName, parsed.ref.name)) continue;
      const place = { resource, ref: parsed.ref };
      const live = await find(place);
      if (live?.metadata.annotations?.[annotations.hookRun] === undefined || policyOf(live).prune === 'never') continue;
      if ([labels.fluxKustomizeName, labels.fluxKustomizeNamespace].some((key) => live.metadata.labels?.[key] !== ours?.[key])) continue;
      await remove(place, live);
      left = (await find(place)) ?? left;
    }
    return left;
  }

  async function find({ resource, ref }: Place): Promise<DynamicObject | undefined> {
    try {
      return await client.get(resource, ref);
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  async function remove({ resource, ref }: Place, { metadata: { uid } }: DynamicObject): Promise<void> {
    try {
      await client.delete(resource, ref, { propagationPolicy: 'Background', ...(uid === undefined ? {} : { preconditions: { uid } }) });
    } catch (err) {
      // Gone, or replaced by another meanwhile.
      if (!isNotFound(err) && !isConflict(err)) throw err;
    }
  }

  async function start({ resource, ref, object }: DesiredObject, run: string): Promise<void> {
    const body = {
      ...object,
      metadata: { ...object.metadata, annotations: { ...object.metadata.annotations, [annotations.hookRun]: run } },
    };
    await client.patch(resource, ref, { type: 'apply', body }, { fieldManager, force: true, fieldValidation: 'Strict' });
  }

  function judge({ object }: DesiredObject, live: DynamicObject, rules: HealthRules): HookOutcome {
    const failed = (reason: string): HookOutcome => ({ state: 'failed', reason });
    if (live.kind === 'Job' && live.apiVersion === 'batch/v1') {
      const job = live as unknown as Job;
      const failure = jobFailure(job);
      if (failure !== undefined) return failed(failure);
      if (job.status?.conditions?.some(({ type, status }) => type === 'Complete' && status === 'True')) return { state: 'done' };
    } else if (live.kind === 'Pod' && live.apiVersion === 'v1') {
      const pod = live as unknown as Pod;
      if (pod.status?.phase === 'Succeeded') return { state: 'done' };
      if (pod.status?.phase === 'Failed') return failed(podProblem(pod) ?? `Pod ${pod.metadata.name} failed`);
    } else {
      const health = rules.healthOf(live);
      if (health.status === 'Healthy') return { state: 'done' };
      if (health.status === 'Degraded') return failed(health.reason);
    }
    const startedAt = Date.parse(live.metadata.creationTimestamp ?? '');
    if (clock.now() - startedAt > hookTimeoutMs)
      return failed(`${describeObject(object)} did not end within ${hookTimeoutMs / 60_000} minutes`);
    return { state: 'running', reason: `${describeObject(object)} runs` };
  }
}
