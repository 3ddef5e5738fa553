import { setup } from 'xstate';

/**
 * Events of a container.
 *
 * `next` is the result of the pod's restart policy and the back-off after an exit: start it again now, after the
 * back-off, or never.
 */
export type ContainerEvent =
  | { readonly type: 'START_DUE' }
  | { readonly type: 'START_FAILED' }
  | { readonly type: 'EXITED'; readonly next: 'restart' | 'backOff' | 'completed' | 'failed' }
  | { readonly type: 'UNHEALTHY'; readonly probe: 'liveness' | 'startup' }
  | { readonly type: 'SPEC_CHANGED' }
  | { readonly type: 'DELETED' };

export type StopReason = 'LivenessProbeFailed' | 'StartupProbeFailed' | 'SpecChanged' | 'Deleted';

type Next = { readonly next: Extract<ContainerEvent, { type: 'EXITED' }>['next'] };

/**
 * A container of a pod on its node. It waits for its start, runs, or waits for its back-off after an exit or a failed start. It may have
 * ended permanently, or be stopped because the pod goes.
 */
export const containerMachine = setup({
  types: { events: {} as ContainerEvent },
  guards: {
    restarts: (_, { next }: Next) => next === 'restart',
    backsOff: (_, { next }: Next) => next === 'backOff',
    completes: (_, { next }: Next) => next === 'completed',
    live: (_, { probe }: { readonly probe: 'liveness' | 'startup' }) => probe === 'liveness',
  },
  actions: {
    /** Pulls the image when needed, creates and starts the container. */
    startContainer() {},
    /** Asks the container to end, within its grace period. */
    stopContainer(_, _params: { readonly reason: StopReason }) {},
  },
}).createMachine({
  id: 'container',
  initial: 'Waiting',
  on: { DELETED: { target: '.Stopped', actions: { type: 'stopContainer', params: { reason: 'Deleted' } } } },
  states: {
    Waiting: { on: { START_DUE: { target: 'Running', actions: 'startContainer' }, START_FAILED: 'BackOff' } },
    BackOff: { on: { START_DUE: { target: 'Running', actions: 'startContainer' } } },
    Running: {
      on: {
        EXITED: [
          { guard: { type: 'restarts', params: ({ event }) => event }, target: 'Waiting' },
          { guard: { type: 'backsOff', params: ({ event }) => event }, target: 'BackOff' },
          { guard: { type: 'completes', params: ({ event }) => event }, target: 'Completed' },
          { target: 'Failed' },
        ],
        // The state changes with the exit that follows.
        UNHEALTHY: [
          {
            guard: { type: 'live', params: ({ event }) => event },
            actions: { type: 'stopContainer', params: { reason: 'LivenessProbeFailed' } },
          },
          { actions: { type: 'stopContainer', params: { reason: 'StartupProbeFailed' } } },
        ],
        SPEC_CHANGED: { actions: { type: 'stopContainer', params: { reason: 'SpecChanged' } } },
      },
    },
    Completed: {},
    Failed: {},
    Stopped: { on: { DELETED: {} } },
  },
});
