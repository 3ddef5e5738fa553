import { readFile } from 'node:fs/promises';
import { type Node, nodes } from '../api/core/v1/node.ts';
import { type Service, services } from '../api/core/v1/service.ts';
import { endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import { readyEndpointsOn } from '../api/discovery/v1/serving-endpoints.ts';
import { slicesByService } from '../api/discovery/v1/slices-by-service.ts';
import { labels } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import type { InformerSet } from '../client/informer.ts';
import { keyOf } from '../machinery/object.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import type { ProxyBackend } from './backend.ts';
import { createHealthChecks } from './health-checks.ts';
import { anyNodeAddress, type Forward, healthCheckOf, type NodeAddress, serviceTable } from './table.ts';
import { createUserspaceBackend, type UserspaceBackendOptions } from './userspace-backend.ts';

export interface ServiceProxyOptions {
  /** Addresses on which node ports are opened: those of the nodes of this host. */
  readonly nodeAddresses: readonly NodeAddress[];
  /** Addresses of the Nodes of this host; load balancers with one of them lead here. */
  readonly ownAddresses?: readonly string[];
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

/**
 * Makes the addresses of Services work on this host. It follows Services and their endpoints, keeps one table of what
 * each Service wants, and hands each change to the backend.
 *
 * Endpoints that go get no new connections once the change is seen; their open connections stay.
 */
export function createServiceProxy(options: ServiceProxyOptions): ServiceProxy {
  const { informers, nodeAddresses, ownAddresses = [], servedElsewhere = [], clock, log: parent, recorder, metrics } = options;
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

  const nodeInformer = backend.abilities.nodeName === undefined ? undefined : informers.get(nodes);
  const healthChecks = createHealthChecks({
    addresses: nodeAddresses.flatMap(({ address, nodeName }) =>
      nodeName === undefined ? [] : [{ host: address === anyNodeAddress ? '0.0.0.0' : address, nodeName }],
    ),
    countEndpoints: (key, nodeName) => readyEndpointsOn(sliceInformer.byIndex(slicesByService.name, key), nodeName),
    report: (check, err) => void reportUnservable({ ...check, address: 'each node' }, err),
    clock,
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

  function onNode({ before, after }: { readonly before?: Node; readonly after?: Node }): void {
    if (
      after?.metadata.name !== backend.abilities.nodeName ||
      before?.metadata.labels?.[labels.zone] === after?.metadata.labels?.[labels.zone]
    )
      return;
    for (const service of serviceInformer.list()) note(keyOf(service));
  }

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
        : serviceTable(service, sliceInformer.byIndex(slicesByService.name, key), {
            nodeAddresses,
            ownAddresses,
            abilities: backend.abilities,
            zone: zoneNow(),
          });
    if (service !== undefined) reportUnsupported(service, table.unsupported);
    else reported.delete(key);
    await Promise.all([backend.set(key, table.forwards), healthChecks.set(key, service && healthCheckOf(service))]);
  }

  /** Only the proxy of one node has a zone, and looks at hints. */
  const zoneNow = (): string | undefined =>
    nodeInformer === undefined ? undefined : nodeInformer.get({ name: backend.abilities.nodeName ?? '' })?.metadata.labels?.[labels.zone];

  async function reportUnservable(
    { address, port, service: key }: Pick<Forward, 'address' | 'port' | 'service'>,
    err: NodeJS.ErrnoException,
  ): Promise<void> {
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
      sliceInformer.addIndex(slicesByService.name, slicesByService.keysOf);
      await informers.waitForSync({ signal });
      unsubscribe.push(
        serviceInformer.addHandler(({ before, after }) => {
          const service = after ?? before;
          if (service !== undefined) note(keyOf(service));
        }),
        sliceInformer.addHandler(({ before, after }) => {
          for (const slice of [before, after]) if (slice !== undefined) for (const key of slicesByService.keysOf(slice)) note(key);
        }),
        ...(nodeInformer === undefined ? [] : [nodeInformer.addHandler(onNode)]),
      );
      await syncDirty();
    },

    async stop() {
      stopped = true;
      for (const remove of unsubscribe) remove();
      await healthChecks.stop();
      await backend.stop();
    },
  };
}

async function unprivilegedPortStart(): Promise<string> {
  try {
    return (await readFile('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8')).trim();
  } catch {
    // For a message only: 1024 is the default that few machines change.
    return '1024';
  }
}
