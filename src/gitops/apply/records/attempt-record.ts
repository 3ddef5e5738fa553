import { type Attempt, type Phase, type PhaseName, phaseNames } from '../../../api/kustomize/v1/attempt.ts';
import { type Clock, timestampOf } from '../../../base/clock.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';

/** Takes the time of each step of one go at a revision; one step at a time. */
export interface AttemptRecord {
  readonly revision: KnownRevision;
  /** Begins a phase, and ends the one before as done. */
  begin(phase: PhaseName): void;
  /** Ends the phase under way. */
  end(result?: 'done' | 'failed'): void;
  /** Adds the time of a phase that goes on beside the one under way. */
  add(phase: PhaseName, durationMs: number, result: 'done' | 'failed'): void;
  /** The phase under way. */
  readonly current: PhaseName | undefined;
  read(outcome: Pick<Attempt, 'digest' | 'tries' | 'reason' | 'nextRetryAt' | 'failure'>): Attempt;
}

/** @param onPhase  gets each phase that ends, with the time it took */
export function startAttempt(revision: KnownRevision, clock: Clock, onPhase: (name: PhaseName, ms: number) => void): AttemptRecord {
  const startedAt = timestampOf(clock.now());
  const ended = new Map<PhaseName, Phase>();
  if (revision.fetchMs !== undefined) ended.set('fetch', { name: 'fetch', result: 'done', durationMs: revision.fetchMs });
  let running: { readonly name: PhaseName; readonly since: number } | undefined;

  // A prune in several goes took the time of all of them.
  const add = (name: PhaseName, durationMs: number, result: 'done' | 'failed'): void => {
    onPhase(name, durationMs);
    ended.set(name, { name, result, durationMs: (ended.get(name)?.durationMs ?? 0) + durationMs });
  };
  const end = (result: 'done' | 'failed' = 'done'): void => {
    if (running === undefined) return;
    const { name, since } = running;
    running = undefined;
    add(name, clock.monotonicMs() - since, result);
  };

  return {
    revision,
    begin(name) {
      if (running?.name === name) return;
      end();
      running = { name, since: clock.monotonicMs() };
    },
    end,
    add,
    get current() {
      return running?.name;
    },
    read(outcome) {
      const phases = phaseNames.flatMap((name): readonly Phase[] => {
        if (running?.name === name) return [{ name, result: 'running', durationMs: clock.monotonicMs() - running.since }];
        const phase = ended.get(name);
        return phase === undefined ? [] : [phase];
      });
      const { commit, seenAt } = revision;
      return {
        revision: commit.revision,
        author: commit.author,
        subject: commit.subject,
        seenAt: timestampOf(seenAt),
        startedAt,
        phases,
        ...outcome,
      };
    },
  };
}
