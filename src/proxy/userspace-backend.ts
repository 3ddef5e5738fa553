import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Metrics } from '../base/metrics.ts';
import { familyOf } from '../base/series.ts';
import type { ProxyBackend, ReportUnservable } from './backend.ts';
import { type ConnectionPool, type ConnectionResult, type Listener, listen } from './listener.ts';
import { diffForwards, type Forward, forwardKey } from './table.ts';

export interface UserspaceBackendOptions {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly report: ReportUnservable;
}

/** Bound for all Services together. */
const maxConnections = 10_000;
const bindRetryMs = 30_000;

interface Entry {
  forward: Forward;
  /** Absent while it is being bound, and when that failed. */
  listener: Listener | undefined;
  cancelRetry: (() => void) | undefined;
}

/**
 * Listens on the addresses in this process and passes connections on: TCP only. It needs no privileges for addresses of
 * this machine and leaves nothing to clean up after a crash.
 */
export function createUserspaceBackend({ clock, metrics, report }: UserspaceBackendOptions): ProxyBackend {
  const entries = new Map<string, Entry>();
  const forwards = new Map<string, Forward>();
  const open = new Set<Socket>();
  let stopped = false;

  const connectionsTotal = metrics.counter({
    name: 'service_proxy_connections_total',
    help: 'Connections to Service addresses, by what became of them.',
    labelNames: ['result'],
  });
  const results: readonly ConnectionResult[] = ['forwarded', 'no_endpoints', 'unreachable', 'limit', 'forbidden'];
  const counts = Object.fromEntries(results.map((result) => [result, connectionsTotal.labels({ result })]));
  for (const result of results) connectionsTotal.inc({ result }, 0);
  metrics.addCollector(function* () {
    yield familyOf({ name: 'service_proxy_open_connections', help: 'Connections that are passed on now.', type: 'gauge' }, open.size);
  });

  const connections: ConnectionPool = {
    admit(client) {
      if (open.size >= maxConnections) return false;
      open.add(client);
      client.once('close', () => open.delete(client));
      return true;
    },
    count: (result) => counts[result]?.inc(),
  };

  function close(key: string): void {
    const entry = entries.get(key);
    entry?.cancelRetry?.();
    entry?.listener?.close();
    entries.delete(key);
    forwards.delete(key);
  }

  async function bind(forward: Forward): Promise<void> {
    const key = forwardKey(forward);
    const entry: Entry = { forward, listener: undefined, cancelRetry: undefined };
    entries.set(key, entry);
    forwards.set(key, forward);
    await tryBind(key, entry);
  }

  async function tryBind(key: string, entry: Entry): Promise<void> {
    try {
      const listener = await listen({ forward: entry.forward, connections, clock });
      // The Service may have gone, or changed, while the bind was under way.
      if (stopped || entries.get(key) !== entry) listener.close();
      else {
        entry.listener = listener;
        listener.update(entry.forward);
      }
    } catch (err) {
      if (stopped || entries.get(key) !== entry) return;
      report(entry.forward, err as NodeJS.ErrnoException);
      entry.cancelRetry = clock.after(bindRetryMs, () => void tryBind(key, entry));
    }
  }

  return {
    abilities: { protocols: ['TCP'] },
    async set(service, wanted) {
      const { add, update, remove } = diffForwards(forwards, service, wanted);
      for (const removed of remove) close(removed);
      for (const forward of update) {
        const entry = entries.get(forwardKey(forward));
        if (entry === undefined) continue;
        entry.forward = forward;
        forwards.set(forwardKey(forward), forward);
        entry.listener?.update(forward);
      }
      await Promise.all(add.map(bind));
    },
    get serving() {
      return [...entries].filter(([, { listener }]) => listener !== undefined).map(([key]) => key);
    },
    async stop() {
      stopped = true;
      for (const key of [...entries.keys()]) close(key);
      for (const client of open) client.destroy();
    },
  };
}
