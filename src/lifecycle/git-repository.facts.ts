import type { Condition } from '../api/flux.ts';
import type { GitRepository } from '../api/source/v1/git-repository.ts';
import { conditionOf } from '../machinery/conditions.ts';
import { type ConditionFacts, conditionSteps } from './flux-conditions.ts';
import type { GitRepositoryEvent, gitRepositoryMachine } from './git-repository.machine.ts';
import type { StateValueOf } from './step.ts';

/** Condition that reports a failure besides Ready: the fetch of the repository itself, or of one that it includes. */
export type FailedCondition = 'FetchFailed' | 'IncludeUnavailable';

export type GitRepositoryState = StateValueOf<typeof gitRepositoryMachine>;

export function stateOf(repository: GitRepository): GitRepositoryState {
  if (repository.metadata.deletionTimestamp !== undefined) return 'Deleting';
  if (repository.spec.suspend === true) return 'Suspended';
  const conditions = repository.status?.conditions ?? [];
  if (conditions.some(({ type, status }) => type === 'Stalled' && status === 'True')) return 'Stalled';
  const ready = conditions.find(({ type }) => type === 'Ready');
  if (ready?.status === 'True') return 'Ready';
  return ready?.status === 'False' ? 'Failed' : 'Unresolved';
}

/** Says in the message of a failure that a repository has no branch at all. */
export const noCommitsText = 'The repository has no commits yet';

/** True for a repository that can be read, and has nothing to read. */
export function hasNoCommits({ status }: GitRepository): boolean {
  return status?.artifact === undefined && conditionOf(status?.conditions, 'Ready')?.message?.includes(noCommitsText) === true;
}

/** Observations of a look at a repository besides the object. */
export interface RepositoryObservation {
  /** A field of the spec that is not carried out; undefined when there is none. */
  readonly unsupported: string | undefined;
}

/** Requests of the object: a followed repository is due on every pass, since its interval starts the pass. */
export function eventsOf({ metadata, spec }: GitRepository, { unsupported }: RepositoryObservation): readonly GitRepositoryEvent[] {
  if (metadata.deletionTimestamp !== undefined) return [{ type: 'DELETED' }];
  if (spec.suspend === true) return [{ type: 'SUSPENDED' }];
  return unsupported === undefined ? [{ type: 'RESUMED' }, { type: 'DUE' }] : [{ type: 'UNSUPPORTED' }];
}

/**
 * The conditions of a state, as Flux's source-controller writes them. `Suspended` and `Deleting` leave them as they are: both are facts
 * of spec and metadata.
 *
 * @see https://fluxcd.io/flux/components/source/gitrepositories/#conditions
 */
export function statusOf({
  state,
  failed = 'FetchFailed',
  ...facts
}: ConditionFacts & { readonly state: GitRepositoryState; readonly failed?: FailedCondition }): readonly Condition[] {
  const { set, without } = conditionSteps(facts);
  switch (state) {
    case 'Ready':
      return set(set(without('Stalled', 'FetchFailed', 'IncludeUnavailable', 'Reconciling'), 'ArtifactInStorage', 'True'), 'Ready', 'True');
    case 'Failed':
      return set(
        set(without('Stalled', 'Reconciling', failed === 'FetchFailed' ? 'IncludeUnavailable' : 'FetchFailed'), failed, 'True'),
        'Ready',
        'False',
      );
    case 'Stalled':
      return set(set(without('Reconciling'), 'Stalled', 'True'), 'Ready', 'False');
    case 'Unresolved':
      return set(set(without('Stalled', 'FetchFailed', 'IncludeUnavailable'), 'Reconciling', 'True'), 'Ready', 'Unknown');
    case 'Suspended':
    case 'Deleting':
      return facts.before;
    default:
      return state satisfies never;
  }
}
