import { readFile } from 'node:fs/promises';
import { type Service, services } from '../api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import type { InformerSet } from '../client/informer.ts';
import { keyOf } from '../machinery/object.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import type { ProxyBackend } from './backend.ts';
import { type Forward, type NodeAddress, serviceTable } from './table.ts';
import { createUserspaceBackend, type UserspaceBackendOptions } from './userspace-backend.ts';

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
  /** Default: connections pass through this process. */
  readonly createBackend?: (options: BackendOptions) => ProxyBackend;
}

export interface BackendOptions extends UserspaceBackendOptions {
  readonly log: Log;
}

/** The proxy; `listening` is for status and tests. */
export interface ServiceProxy extends Component {
  /** Addresses that are listened on now, `ADDRESS:PORT`. */
  readonly listening: readonly string[];
}

const byService = 'service';
/**
 * Makes the addresses of Services work on this host. It follows Services and their endpoints, keeps one table of what
 * each Service wants, and hands each change to the backend.
 *
 * Endpoints that go get no new connections once the change is seen; their open connections stay.
 */
export function createServiceProxy(options: ServiceProxyOptions): ServiceProxy {
  const { informers, nodeAddresses, servedElsewhere = [], clock, log: parent, recorder, metrics } = options;
  const log = parent.child({ component: 'service-proxy' });
  const reported = new Map<string, string>();
  const dirty = new Set<string>();
  const unsubscribe: (() => void)[] = [];
  const serviceInformer = informers.get(services);
  const sliceInformer = informers.get(endpointSlices);
  let scheduled = false;
  let stopped = false;

  const backend = (options.createBackend ?? createUserspaceBackend)({
    clock,
    log,
    metrics,
    report: (forward, err) => void reportUnservable(forward, err),
  });

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
        : serviceTable(service, sliceInformer.byIndex(byService, key), { nodeAddresses, abilities: backend.abilities });
    if (service !== undefined) reportUnsupported(service, table.unsupported);
    else reported.delete(key);
    await backend.set(key, table.forwards);
  }

  async function reportUnservable({ address, port, service: key }: Forward, err: NodeJS.ErrnoException): Promise<void> {
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

  function reportUnsupported(service: Service, unsupported: readonly { readonly reason: string; readonly message: string }[]): void {
    const key = keyOf(service);
    const text = unsupported.map(({ message }) => message).join('\n');
    if ((reported.get(key) ?? '') === text) return;
    reported.set(key, text);
    for (const { reason, message } of unsupported) recorder.record(service, { type: 'Warning', reason, message });
  }

  return {
    name: 'service-proxy',
    get listening() {
      return backend.serving;
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
      await backend.stop();
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
