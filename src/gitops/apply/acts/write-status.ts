import { holdOf } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { type Clock, timestampOf } from '../../../base/clock.ts';
import type { Redactor } from '../../../base/redactor.ts';
import type { Finding } from '../../../lifecycle/flux-conditions.ts';
import type { KustomizationState } from '../../../lifecycle/kustomization.facts.ts';
import type { Health } from '../../../lifecycle/reasons.ts';
import type { AppRecords } from '../records/app-records.ts';
import { type StatusFacts, statusChange } from '../status/app-status.ts';
import type { AppObject } from './app-object.ts';
import type { HeldRevisions } from './held-revision.ts';
import type { Pass } from './pass.ts';

/** Writes the status of apps, and only what it does not say yet. */
export interface StatusWriter {
  /** Writes the status at the end of a pass, with its last finding. */
  write(pass: Pass, end: { readonly value: KustomizationState; readonly health: Health }): Promise<void>;
  /** Writes the status of an app whose cluster does not answer. */
  writeUnreachable(app: Kustomization, state: AppRecords, finding: Finding): Promise<void>;
}

export interface StatusWriterOptions {
  readonly clock: Pick<Clock, 'now'>;
  readonly redactor: Redactor;
  readonly object: AppObject;
  readonly held: HeldRevisions;
}

export function createStatusWriter({ clock, redactor, object, held }: StatusWriterOptions): StatusWriter {
  return {
    async write({ app, state, revision, newest, hold, finding, signal }, { value, health }) {
      const isSuspended = app.spec.suspend === true;
      const attempted = (isSuspended ? newest : revision)?.commit.revision;
      const isInDoubt = object.isStatusInDoubt(state.key);
      const waiting = isSuspended && newest !== undefined ? await held.waitingAt(app, newest, signal) : undefined;
      await change({ app, state, value, finding, health, attempted, hold, isInDoubt, waiting });
    },
    async writeUnreachable(app, state, finding) {
      const health: Health = { status: 'Unknown', reason: finding.message };
      const isInDoubt = object.isStatusInDoubt(state.key);
      const hold = holdOf(app);
      await change({ app, state, value: 'Failed', finding, health, attempted: undefined, hold, isInDoubt, waiting: undefined });
    },
  };

  async function change(facts: Omit<StatusFacts, 'now' | 'redact'>): Promise<void> {
    const { key } = facts.state;
    const redact = (text: string): string => redactor.text(text, key);
    const status = statusChange({ ...facts, now: timestampOf(clock.now()), redact });
    if (status !== undefined) await object.writeStatus(key, status);
  }
}
