import { buckets, type Metrics } from '../base/metrics.ts';
import type { AgedReply } from './upstream.ts';

export interface Answered {
  readonly type: string;
  /** `cluster.local.`, `.` for other names, `dropped` for messages that ask nothing. */
  readonly zone: string;
  readonly rcode: number;
  readonly protocol: 'udp' | 'tcp';
  readonly startedMs: number;
  readonly endedMs: number;
}

export interface DnsMetrics {
  answered(answered: Answered): void;
  /** Counts a question to other servers, or to the memory of their answers. */
  asked(reply: AgedReply | undefined): void;
  rejected(): void;
}

/** Types that are counted by name, as CoreDNS does. */
const knownTypes: ReadonlySet<string> = new Set([
  'A',
  'AAAA',
  'CNAME',
  'DNSKEY',
  'DS',
  'MX',
  'NS',
  'NSEC',
  'NSEC3',
  'PTR',
  'RRSIG',
  'SOA',
  'SRV',
  'TXT',
]);
const rcodeNames: Readonly<Record<number, string>> = {
  0: 'NOERROR',
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
  16: 'BADVERS',
};

/** Counters under CoreDNS's names, so that its dashboards work. */
export function createDnsMetrics(metrics: Metrics, cached: () => { readonly success: number; readonly denial: number }): DnsMetrics {
  const requests = metrics.counter({
    name: 'coredns_dns_requests_total',
    help: 'DNS questions to the cluster, by protocol, zone and type.',
    labelNames: ['proto', 'zone', 'type'],
  });
  const responses = metrics.counter({
    name: 'coredns_dns_responses_total',
    help: 'DNS answers, by zone and response code.',
    labelNames: ['zone', 'rcode'],
  });
  const durations = metrics.histogram({
    name: 'coredns_dns_request_duration_seconds',
    help: 'Time to answer a DNS question, by zone.',
    labelNames: ['zone'],
    buckets: buckets.store,
  });
  const hits = metrics.counter({
    name: 'coredns_cache_hits_total',
    help: 'DNS questions about other zones that memory answered.',
    labelNames: ['type'],
  });
  const misses = metrics.counter({
    name: 'coredns_cache_misses_total',
    help: 'DNS questions about other zones that servers were asked.',
    labelNames: [],
  });
  const rejects = metrics.counter({
    name: 'coredns_forward_max_concurrent_rejects_total',
    help: 'DNS questions that failed because too many were under way.',
    labelNames: [],
  });
  const entries = metrics.gauge({
    name: 'coredns_cache_entries',
    help: 'DNS answers of other servers in memory.',
    labelNames: ['type'],
    collect,
  });
  function collect(): void {
    const { success, denial } = cached();
    entries.set({ type: 'success' }, success);
    entries.set({ type: 'denial' }, denial);
  }
  return {
    answered({ type, zone, rcode, protocol, startedMs, endedMs }) {
      requests.inc({ proto: protocol, zone, type: knownTypes.has(type) ? type : 'other' });
      responses.inc({ zone, rcode: rcodeNames[rcode] ?? 'other' });
      durations.observe({ zone }, (endedMs - startedMs) / 1_000);
    },
    asked(reply) {
      if (reply?.isFromCache === true) hits.inc({ type: reply.reply.records.some(({ section }) => section === 0) ? 'success' : 'denial' });
      else misses.inc({});
    },
    rejected: () => rejects.inc({}),
  };
}
