import { BlockList } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { buckets, type Metrics } from '../base/metrics.ts';
import { createNftKeeper } from '../base/nft/keeper.ts';
import { type RunProgram, runProgram } from '../base/nft/run-program.ts';
import type { ProxyBackend } from './backend.ts';
import { frameOf, type NftTable, rulesOf } from './nft-rules.ts';
import { anyNodeAddress, type Forward, forwardKey } from './table.ts';

export interface NftBackendOptions {
  readonly table: NftTable;
  readonly nodeName: string;
  readonly run?: RunProgram;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Connections of UDP that are forgotten after one transaction. */
const maxForgotten = 256;

/**
 * Leads connections to Services by rules of the kernel, as kube-proxy does in its nftables mode. They keep their speed, and the address of
 * their client. All rules are in one table, which is changed by one transaction for each batch of changes and is never seen half done.
 *
 * @see KEP-3866
 */
export function createNftBackend({ table, nodeName, run = runProgram, clock, log, metrics }: NftBackendOptions): ProxyBackend {
  const desired = new Map<string, readonly Forward[]>();
  const own = new BlockList();
  for (const range of [table.podCidr, table.clusterCidr, table.serviceCidr, '127.0.0.0/8', '0.0.0.0/8']) {
    const [address = '', bits] = range.split('/');
    own.addSubnet(address, Number(bits));
  }

  const durations = metrics.histogram({
    name: 'kubeproxy_sync_proxy_rules_duration_seconds',
    help: 'Time of a transaction that brings the rules of Services up to date.',
    labelNames: [],
    buckets: buckets.store,
  });
  const failures = metrics.counter({
    name: 'kubeproxy_sync_proxy_rules_nftables_sync_failures_total',
    help: 'Transactions with rules of Services that the kernel refused.',
    labelNames: [],
  });

  const keeper = createNftKeeper<readonly Forward[]>({
    frame: frameOf(table),
    read: () => [...desired.values()].flat(),
    rulesOf: (forwards) => rulesOf(forwards, table),
    onApplied: (before = [], after) => forgetConnections(before, after),
    onTransaction({ seconds, isRefused }) {
      durations.observe({}, seconds);
      if (isRefused) failures.inc({});
    },
    run,
    clock,
    log,
  });

  /** UDP knows no end of a connection: without this, packets of a client follow an endpoint that is gone for as long as it sends. */
  async function forgetConnections(before: readonly Forward[], after: readonly Forward[]): Promise<void> {
    const now = new Map(after.map((forward) => [forwardKey(forward), forward]));
    const stale: (readonly string[])[] = [];
    for (const forward of before) {
      if (forward.protocol !== 'UDP') continue;
      const left = new Set((now.get(forwardKey(forward))?.endpoints ?? []).map(forwardKey));
      for (const endpoint of forward.endpoints)
        if (!left.has(forwardKey(endpoint))) stale.push([...connectionsTo(forward), '--dst-nat', endpoint.address]);
    }
    const had = new Map(before.map((forward) => [forwardKey(forward), forward.endpoints.length]));
    // Packets that came before there was an endpoint made connections to the address itself.
    for (const forward of after)
      if (forward.protocol === 'UDP' && forward.endpoints.length > 0 && (had.get(forwardKey(forward)) ?? 0) === 0)
        stale.push(connectionsTo(forward));
    for (const args of stale.slice(0, maxForgotten)) {
      // It fails when there is none, and where it is not installed connections end by their time.
      await run('conntrack', ['-D', '-p', 'udp', ...args]).catch(() => undefined);
    }
  }

  return {
    abilities: { protocols: ['TCP', 'UDP', 'SCTP'], nodeName, servesAddress: (address) => !own.check(address) },
    set(service, forwards) {
      if (forwards.length === 0 && !desired.has(service)) return Promise.resolve();
      if (forwards.length === 0) desired.delete(service);
      else desired.set(service, forwards);
      return keeper.apply().then(() => undefined);
    },
    get serving() {
      return (keeper.applied ?? []).map(forwardKey);
    },
    stop: () => keeper.stop(),
  };
}

const connectionsTo = ({ address, port }: Forward): readonly string[] => [
  ...(address === anyNodeAddress ? [] : ['--orig-dst', address]),
  '--orig-port-dst',
  String(port),
];
