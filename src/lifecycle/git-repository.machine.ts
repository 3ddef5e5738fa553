import { setup } from 'xstate';

/** Events of a GitRepository. */
export type GitRepositoryEvent =
  | { readonly type: 'DUE' }
  | { readonly type: 'RESOLVED' }
  | { readonly type: 'RESOLVE_FAILED' }
  | { readonly type: 'UNSUPPORTED' }
  | { readonly type: 'SUSPENDED' }
  | { readonly type: 'RESUMED' }
  | { readonly type: 'DELETED' };

/**
 * A repository that is followed. Its ref is resolved when it is due (interval, announcement, request). The last commit that could be
 * read stays in force while it cannot be reached.
 */
export const gitRepositoryMachine = setup({
  types: { events: {} as GitRepositoryEvent },
  actions: {
    /** Ask the repository for the commit, and fetch it. */
    resolveCommit() {},
    /** Let go of the repository. */
    closeSource() {},
  },
}).createMachine({
  id: 'git-repository',
  initial: 'Unresolved',
  on: {
    DELETED: { target: '.Deleting', actions: 'closeSource' },
    SUSPENDED: { target: '.Suspended' },
    UNSUPPORTED: { target: '.Stalled', actions: 'closeSource' },
  },
  states: {
    Unresolved: { on: { DUE: { actions: 'resolveCommit' }, RESOLVED: 'Ready', RESOLVE_FAILED: 'Failed' } },
    Ready: { on: { DUE: { actions: 'resolveCommit' }, RESOLVE_FAILED: 'Failed' } },
    Failed: { on: { DUE: { actions: 'resolveCommit' }, RESOLVED: 'Ready' } },
    Stalled: { on: { DUE: { target: 'Unresolved', actions: 'resolveCommit' } } },
    Suspended: { on: { RESUMED: 'Unresolved' } },
    Deleting: { on: { SUSPENDED: undefined, UNSUPPORTED: undefined, DELETED: { actions: 'closeSource' } } },
  },
});
