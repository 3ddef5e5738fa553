import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { type Service, services } from '../api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import { familyOf } from '../base/series.ts';
import type { InformerSet } from '../client/informer.ts';
import { keyOf } from '../machinery/object.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import { type ConnectionPool, type ConnectionResult, type Listener, listen } from './listener.ts';
import { diffForwards, type Forward, forwardKey, type NodeAddress, serviceTable } from './table.ts';

export interface ServiceProxyOptions {
  /** Addresses on which node ports are opened: those of the nodes of this host. */
  readonly nodeAddresses: readonly NodeAddress[];
  /** Keys of Services whose addresses another part of this process serves. */
  readonly servedElsewhere?: readonly string[];
  readonly informers: InformerSet;
  readonly clock: Clock;
  readonly log: Log;
  /** Component `kube-proxy`. */
  readonly recorder: EventRecorder;
  readonly metrics: Metrics;
}

/** The proxy; `listening` is for status and tests. */
export interface ServiceProxy extends Component {
  /** Addresses that are listened on now, `ADDRESS:PORT`. */
  readonly listening: readonly string[];
}

const byService = 'service';
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
 * Makes the addresses of Services work on this host. It listens on each ClusterIP and port (127/8, where every address
 * may be bound) and on the node ports of the addresses of nodes. It passes connections on to a ready endpoint. TCP
 * only, in this process: it needs no privileges and leaves nothing to clean up after a crash.
 *
 * Endpoints that go get no new connections once the change is seen; their open connections stay.
 */
export function createServiceProxy(options: ServiceProxyOptions): ServiceProxy {
  const { informers, nodeAddresses, servedElsewhere = [], clock, log: parent, recorder, metrics } = options;
  const log = parent.child({ component: 'service-proxy' });
  const entries = new Map<string, Entry>();
  const forwards = new Map<string, Forward>();
  const told = new Map<string, string>();
  const open = new Set<Socket>();
  const dirty = new Set<string>();
  const unsubscribe: (() => void)[] = [];
  const serviceInformer = informers.get(services);
  const sliceInformer = informers.get(endpointSlices);
  let scheduled = false;
  let stopped = false;

  const connectionsTotal = metrics.counter({
    name: 'service_proxy_connections_total',
    help: 'Connections to Service addresses, by what became of them.',
    labelNames: ['result'],
  });
  const results: readonly ConnectionResult[] = ['forwarded', 'no_endpoints', 'unreachable', 'limit'];
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

  const note = (key: string): void => {
    dirty.add(key);
    if (scheduled) return;
    scheduled = true;
    // A change of many slices is worked on once.
    setImmediate(() => {
      scheduled = false;
      void syncDirty();
    });
  };

  async function syncDirty(): Promise<void> {
    if (stopped) return;
    const keys = [...dirty];
    dirty.clear();
    await Promise.all(keys.map(sync));
  }

  async function sync(key: string): Promise<void> {
    const service = serviceInformer.getByKey(key);
    const table =
      service === undefined || servedElsewhere.includes(key)
        ? { forwards: [], unsupported: [] }
        : serviceTable(service, sliceInformer.byIndex(byService, key), nodeAddresses);
    const { add, update, remove } = diffForwards(forwards, key, table.forwards);
    for (const removed of remove) close(removed);
    for (const forward of update) {
      const entry = entries.get(forwardKey(forward));
      if (entry === undefined) continue;
      entry.forward = forward;
      forwards.set(forwardKey(forward), forward);
      entry.listener?.update(forward);
    }
    if (service !== undefined) tellUnsupported(service, table.unsupported);
    else told.delete(key);
    await Promise.all(add.map(bind));
  }

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
      await tellUnbindable(entry.forward, err as NodeJS.ErrnoException);
      entry.cancelRetry = clock.after(bindRetryMs, () => void tryBind(key, entry));
    }
  }

  async function tellUnbindable({ address, port, service: key }: Forward, err: NodeJS.ErrnoException): Promise<void> {
    const service = serviceInformer.getByKey(key);
    if (service === undefined) return;
    const why =
      err.code === 'EACCES'
        ? `ports below net.ipv4.ip_unprivileged_port_start (${await unprivilegedPortStart()}) need privileges; lower it with sysctl, or use a higher port`
        : err.code === 'EADDRINUSE'
          ? 'another program of this host listens there'
          : err.message;
    log.warn({ service: key, address, port, err }, 'Could not listen on service address');
    recorder.record(service, { type: 'Warning', reason: 'PortNotBindable', message: `Port ${port} of ${address} cannot be bound: ${why}` });
  }

  function tellUnsupported(service: Service, unsupported: readonly { readonly reason: string; readonly message: string }[]): void {
    const key = keyOf(service);
    const text = unsupported.map(({ message }) => message).join('\n');
    if ((told.get(key) ?? '') === text) return;
    told.set(key, text);
    for (const { reason, message } of unsupported) recorder.record(service, { type: 'Warning', reason, message });
  }

  return {
    name: 'service-proxy',
    get listening() {
      return [...entries].filter(([, { listener }]) => listener !== undefined).map(([key]) => key);
    },

    async start({ signal }) {
      sliceInformer.addIndex(byService, serviceKeysOf);
      await informers.waitForSync({ signal });
      unsubscribe.push(
        serviceInformer.addHandler(({ before, after }) => {
          const service = after ?? before;
          if (service !== undefined) note(keyOf(service));
        }),
        sliceInformer.addHandler(({ before, after }) => {
          for (const slice of [before, after]) if (slice !== undefined) for (const key of serviceKeysOf(slice)) note(key);
        }),
      );
      await syncDirty();
    },

    async stop() {
      stopped = true;
      for (const remove of unsubscribe) remove();
      for (const key of [...entries.keys()]) close(key);
      for (const client of open) client.destroy();
    },
  };
}

function serviceKeysOf({ metadata }: EndpointSlice): readonly string[] {
  const name = metadata.labels?.[labels.serviceName];
  return name === undefined ? [] : [`${metadata.namespace}/${name}`];
}

async function unprivilegedPortStart(): Promise<string> {
  try {
    return (await readFile('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8')).trim();
  } catch {
    // For a message only: 1024 is the default that few machines change.
    return '1024';
  }
}
