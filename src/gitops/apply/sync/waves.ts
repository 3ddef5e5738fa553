import { mapBounded } from '../../../base/concurrency.ts';
import { isStatusError } from '../../../machinery/status-error.ts';
import type { BuildError } from '../../manifests/manifest.ts';
import { describeObject, type ObjectId } from '../objects/object-id.ts';
import { stagesOf, type Wave, wavesOf } from '../objects/order.ts';
import type { DesiredObject } from '../plan/plan.ts';
import { refusal, Superseded } from '../plan/sync-failure.ts';
import { type ArrivalsOptions, createArrivals, through, type Wait } from './arrivals.ts';
import type { DryRun } from './dry-run.ts';
import type { ObjectWriter } from './object-writer.ts';
import { addRefusals, concurrency, findChanges, goesOn, opensWay, type Progress, type Run } from './run.ts';
import { createWaveHooks, type WaveHooksOptions } from './wave-hooks.ts';

export interface WavesOptions extends WaveHooksOptions, ArrivalsOptions {
  readonly dryRun: DryRun;
  readonly writer: Pick<ObjectWriter, 'apply'>;
}

/** Applies a plan in waves. A wave ends when its objects are healthy and its hooks are through; nothing is held between two. */
export interface Waves {
  /** Applies as many waves as can go on now, and notes in `progress` how far they came. @throws SyncFailure */
  apply(run: Run, progress: Progress): Promise<Wait>;
  /** Starts hooks that run because the revision could not be put in force; nothing waits for them. */
  startFailureHooks(run: Run): Promise<void>;
}

export function createWaves(options: WavesOptions): Waves {
  const { dryRun, owned, writer } = options;
  const arrivals = createArrivals(options);
  const waveHooks = createWaveHooks(options);
  return { apply, startFailureHooks: waveHooks.startFailureHooks };

  async function apply(run: Run, progress: Progress): Promise<Wait> {
    const { plan } = run;
    const waves = wavesOf([...plan.objects.values(), ...plan.hooks.values()]);
    for (const wave of waves) {
      const wait = await applyWave(run, progress, wave);
      if (wait.waitsFor.length > 0) return wait;
      const running = await waveHooks.run(run, wave.hooks, wave.phase);
      const applied = wave.objects.filter(({ id }) => !progress.failed.has(id));
      const unsettled = wave === waves.at(-1) ? [] : unsettledIn(run, applied, owned);
      if (running.length + unsettled.length > 0) return { waitsFor: [...running, ...unsettled] };
    }
    const unserved = await arrivals.findUnserved(run, progress);
    if (unserved !== undefined) return unserved;
    if (plan.hooks.size > 0) await waveHooks.complete(run);
    return through;
  }

  async function applyWave(run: Run, progress: Progress, { objects }: Wave<DesiredObject>): Promise<Wait> {
    const { app, plan, signal } = run;
    const { failed, modes, changes, made } = progress;
    const changed = new Set(findChanges(plan, run));
    const due = objects.filter((desired) => changed.has(desired) && !failed.has(desired.id));
    for (const stage of stagesOf(due, placeOf, 1)) {
      const wait = await arrivals.tryOut(run, progress, stage);
      if (wait.waitsFor.length > 0) return wait;
      const errors = new Map<ObjectId, readonly BuildError[]>();
      await mapBounded(stage, concurrency, async (desired) => {
        if (signal.aborted) throw new Superseded();
        if (failed.has(desired.id)) return;
        try {
          const change = await writer.apply({ app, state: run.state, desired, mode: modes.get(desired.id) ?? 'apply', signal });
          if (change !== undefined) changes.push(change);
          if (change?.action === 'created' && opensWay(desired)) made.add(desired.id);
        } catch (err) {
          if (!isStatusError(err)) throw err;
          addRefusals(errors, await dryRun.refusalsOf(run, desired, err));
        }
      });
      if (errors.size > 0 && !goesOn(app)) throw refusal(errors);
      for (const [id, found] of errors) failed.set(id, found);
    }
    return through;
  }
}

/** Names the objects that are not healthy yet. */
function unsettledIn({ state, rules }: Run, objects: readonly DesiredObject[], owned: WavesOptions['owned']): readonly string[] {
  return objects.flatMap(({ id, resource, ref, object }) => {
    const skipped = state.ownership.applied.get(id)?.skipped;
    if (skipped === 'suspended' || skipped === 'expired') return [];
    const live = owned.live(resource, ref);
    if (live === undefined) return [describeObject(object)];
    const { status, reason } = rules.healthOf(live);
    // Nothing will ever act on an object without a controller, so no wave waits for it.
    return status === 'Healthy' || status === 'Suspended' || status === 'NoController' ? [] : [reason];
  });
}

const placeOf = ({ object, policy }: DesiredObject) => ({ kind: object.kind, wave: policy.wave });
