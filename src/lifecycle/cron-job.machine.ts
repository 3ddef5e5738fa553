import { setup } from 'xstate';

/** Times of the schedule that are due, and Jobs that ended. */
export type CronJobEvent =
  /** A time of the schedule has come. `concurrencyPolicy` says what happens when a Job still runs. */
  | { readonly type: 'START_DUE'; readonly policy: 'Allow' | 'Forbid' | 'Replace' }
  /** `startingDeadlineSeconds` has passed since that time. */
  | { readonly type: 'START_MISSED' }
  /** No Job of the schedule runs, or none could be made. */
  | { readonly type: 'JOBS_ENDED' }
  | { readonly type: 'DELETED' };

/** A CronJob makes a Job at each time of its schedule. A suspended one has no time that is due. */
export const cronJobMachine = setup({
  types: { events: {} as CronJobEvent },
  guards: {
    forbids: (_, { policy }: { policy: string }) => policy === 'Forbid',
    replaces: (_, { policy }: { policy: string }) => policy === 'Replace',
  },
  actions: {
    startJob() {},
    /** Deletes the Jobs that still run. */
    deleteActiveJobs() {},
    reportStillActive() {},
    reportMissed() {},
  },
}).createMachine({
  id: 'cron-job',
  initial: 'Idle',
  on: { DELETED: '.Deleting' },
  states: {
    Idle: {
      on: {
        START_DUE: { target: 'Running', actions: 'startJob' },
        START_MISSED: { actions: 'reportMissed' },
      },
    },
    Running: {
      on: {
        START_DUE: [
          { guard: { type: 'forbids', params: ({ event }) => ({ policy: event.policy }) }, actions: 'reportStillActive' },
          { guard: { type: 'replaces', params: ({ event }) => ({ policy: event.policy }) }, actions: ['deleteActiveJobs', 'startJob'] },
          { actions: 'startJob' },
        ],
        START_MISSED: { actions: 'reportMissed' },
        JOBS_ENDED: 'Idle',
      },
    },
    Deleting: {},
  },
});
