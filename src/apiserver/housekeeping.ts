import type { Component } from '../base/component.ts';
import type { CustomResources } from './apiextensions/custom-resources.ts';
import { type EventExpiryOptions, startEventExpiry } from './registry/event-expiry.ts';

export interface HousekeepingOptions extends EventExpiryOptions {
  /** Absent without definitions. */
  readonly customResources: Pick<CustomResources, 'cleanUp'> | undefined;
  /** Writes what type checks of policies find, until it is stopped; absent without policies. */
  readonly startPolicyStatus: (() => { stop(): void }) | undefined;
}

/**
 * Does the work on stored objects that one server is enough for. It deletes Events that have expired and instances of definitions that
 * go, and writes the type errors of policies. It may be started again after a stop.
 *
 * Several servers that did it at once would do no harm, since each write is compared with what is stored. It would be as many times the
 * work, and a Conflict for each that came second.
 */
export function createHousekeeping(options: HousekeepingOptions): Component {
  const { customResources, startPolicyStatus } = options;
  let stops: (() => void)[] = [];
  return {
    name: 'housekeeping',
    async start() {
      const parts = [startEventExpiry(options), startPolicyStatus?.(), customResources?.cleanUp()];
      stops = parts.map((part) => () => part?.stop());
    },
    async stop() {
      for (const stop of stops.splice(0)) stop();
    },
  };
}
