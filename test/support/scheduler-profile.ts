import { pino } from 'pino';
import type { Clock } from '../../src/base/clock.ts';
import type { Client } from '../../src/client/client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import type { PluginHandle } from '../../src/scheduler/plugin.ts';

/** Makes plugins where there is no API: its informers never start, and nothing is written. */
export function detachedHandle(clock: Clock): PluginHandle {
  const log = pino({ level: 'silent' });
  const client = {} as Client;
  return { client, informers: createInformerSet({ client, clock, log, random: () => 0 }), clock, log };
}
