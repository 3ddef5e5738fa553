import type { Clock } from '../../base/clock.ts';

/** The runtime's sign of life. */
export interface RuntimeHealth {
  /** The runtime has given an answer now. */
  answered(): void;
  /** In the words of the kubelet; undefined while the runtime answers. */
  readonly trouble: string | undefined;
}

/** Longer than a restart of the runtime takes. The node is not ready at its next heartbeat, which makes some 30 s. */
const patienceMs = 20_000;

export function createRuntimeHealth(clock: Pick<Clock, 'monotonicMs'>): RuntimeHealth {
  let answeredAt = clock.monotonicMs();
  return {
    answered() {
      answeredAt = clock.monotonicMs();
    },
    get trouble() {
      return clock.monotonicMs() - answeredAt > patienceMs ? 'container runtime is down' : undefined;
    },
  };
}
