import { mapBounded } from '../../../base/concurrency.ts';
import type { Redactor } from '../../../base/redactor.ts';
import { isStatusError } from '../../../machinery/status-error.ts';
import type { HookPhase } from '../objects/object-policy.ts';
import { errorsOf } from '../plan/object-errors.ts';
import type { DesiredObject } from '../plan/plan.ts';
import { redactionOf } from '../plan/secret-values.ts';
import { Superseded, SyncFailure } from '../plan/sync-failure.ts';
import type { Hooks } from './hooks.ts';
import type { Inventory } from './inventory.ts';
import { concurrency, type Run } from './run.ts';

export interface WaveHooksOptions {
  readonly hooks: Hooks;
  readonly inventory: Pick<Inventory, 'write'>;
  readonly redactor: Redactor;
}

/** Hooks of a rollout. */
export interface WaveHooks {
  /** Runs hooks of a phase, and gives a reason for each that is not through. @throws SyncFailure when one fails or is refused */
  run(run: Run, due: readonly DesiredObject[], phase: HookPhase): Promise<readonly string[]>;
  /** Notes that all hooks of the revision are through. */
  complete(run: Run): Promise<void>;
  /** Starts hooks that run because the revision could not be put in force; nothing waits for them. */
  startFailureHooks(run: Run): Promise<void>;
}

export function createWaveHooks({ hooks, inventory, redactor }: WaveHooksOptions): WaveHooks {
  return {
    async run(run, due, phase) {
      const { app, state, build, rules, failures, revision, signal } = run;
      const outcomes = await mapBounded(due, concurrency, async (hook) => {
        if (signal.aborted) throw new Superseded();
        try {
          return { hook, outcome: await hooks.run({ state, hook, phase, digest: build.digest, failures, rules }) };
        } catch (err) {
          if (!isStatusError(err)) throw err;
          const errors = await errorsOf(hook, err, { revision, redaction: redactionOf(redactor, app) });
          throw new SyncFailure('ReconciliationFailed', errors);
        }
      });
      const errors = outcomes.flatMap(({ hook: { manifest }, outcome }) =>
        outcome.state === 'failed' ? [{ file: manifest.file, line: manifest.line, message: `${phase} hook: ${outcome.reason}` }] : [],
      );
      if (errors.length > 0) throw new SyncFailure('ReconciliationFailed', errors);
      if (state.ownership.hooks.cleaning.size > 0) await writeAndClean(run);
      return outcomes.flatMap(({ outcome }) => (outcome.state === 'running' ? [outcome.reason] : []));
    },
    async complete(run) {
      run.state.ownership.completeHooks(run.build.digest);
      await writeAndClean(run);
    },
    async startFailureHooks({ state, build, plan, rules, failures }) {
      const due = [...plan.hooks.values()].filter(({ policy }) => policy.hooks.includes('SyncFail'));
      await mapBounded(due, concurrency, async (hook) => {
        await hooks.run({ state, hook, phase: 'SyncFail', digest: build.digest, failures, rules }).catch((err: unknown) => {
          // The failure that led here is the one to report.
          if (!isStatusError(err)) throw err;
        });
      });
    },
  };

  /** A hook is deleted only after the inventory says that it was through: after a crash it would run again. */
  async function writeAndClean({ app, state, plan, revision }: Run): Promise<void> {
    await inventory.write(app, state, { revision: revision.commit.revision, intended: plan.objects });
    await hooks.clean(state.ownership);
  }
}
