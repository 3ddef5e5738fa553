import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import type { Clock } from '../../base/clock.ts';
import { readAnswer } from '../../base/http-answer.ts';
import type { Log } from '../../base/log.ts';
import type { Metrics } from '../../base/metrics.ts';
import { familyHead, familyOf } from '../../base/series.ts';
import type { EtcdClient, EtcdEndpoint, EtcdTls, MemberState } from './client.ts';
import { type Alarm, alarmTypes, type EtcdStatus } from './messages.ts';

/** Looks at etcd until it is stopped. */
export interface EtcdHealth {
  stop(): void;
}

export interface EtcdHealthOptions {
  readonly client: Pick<EtcdClient, 'status' | 'alarms' | 'members' | 'preferLeader'>;
  readonly endpoints: readonly EtcdEndpoint[];
  readonly tls: EtcdTls | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics | undefined;
  /** Called after each look that etcd answered, with the alarms that are raised. */
  onLook(alarms: readonly Alarm[]): void;
  /** Another member leads than answered before, and calls go to it. */
  onMoved(): void;
}

/** An alarm that a person clears is gone here within this time. */
const lookMs = 2_000;
/** The quota changes with a restart of etcd alone. */
const quotaMs = 5 * 60_000;
const quotaName = 'etcd_server_quota_backend_bytes';
/** etcd 3.5 writes some 100 KiB. */
const maxMetricsBytes = 4 * 1024 * 1024;
const metricsTimeMs = 5_000;

/**
 * Looks at the size, the leader and the alarms of etcd itself from time to time. They become metrics under the names that etcd has for
 * them. An alarm stops all writes of the cluster, so that servers which write nothing should know of it, too.
 */
export function watchHealth({ client, endpoints, tls, clock, log, metrics, onLook, onMoved }: EtcdHealthOptions): EtcdHealth {
  let status: EtcdStatus | undefined;
  let alarms: readonly Alarm[] = [];
  let quota: { readonly bytes: number; readonly atMs: number } | undefined;
  let isStopped = false;
  let isRefused = false;
  let members: readonly MemberState[] = [];
  let cancel = clock.after(0, () => void look());
  let cancelMembers = clock.after(0, () => void askMembers());

  /** Apart from `look`, which waits for seconds while no member has a leader. */
  async function askMembers(): Promise<void> {
    members = await client.members();
    if (!isStopped) cancelMembers = clock.after(lookMs, () => void askMembers());
  }

  async function look(): Promise<void> {
    try {
      status = await client.status();
      alarms = await client.alarms();
      if (status.hasLeader && !status.isLeader && (await client.preferLeader())) onMoved();
      if (metrics !== undefined && clock.monotonicMs() >= (quota?.atMs ?? Number.NEGATIVE_INFINITY) + quotaMs)
        quota = { bytes: status.quotaBytes > 0 ? status.quotaBytes : await readQuota(endpoints, tls, clock), atMs: clock.monotonicMs() };
      isRefused = false;
      if (!isStopped) onLook(alarms);
    } catch (err) {
      // The watch of etcd says when it is away. A user of it may lack the right to see alarms.
      status = undefined;
      if (!isStopped && !isRefused) log.info({ err }, 'Could not see the state of etcd');
      isRefused = true;
    }
    if (!isStopped) cancel = clock.after(lookMs, () => void look());
  }

  metrics?.addCollector(function* () {
    yield* memberLines(members);
    if (status === undefined) return;
    const { sizeBytes, inUseBytes } = status;
    yield gauge('etcd_mvcc_db_total_size_in_bytes', 'Size of the database of the member that answers.', sizeBytes);
    yield gauge('etcd_mvcc_db_total_size_in_use_in_bytes', 'The same without what a defragmentation would free.', inUseBytes);
    if (quota !== undefined && quota.bytes > 0)
      yield gauge(quotaName, 'Size of the database at which etcd refuses writes; absent when unknown.', quota.bytes);
    yield familyHead('etcd_alarm', '1 while an alarm of etcd is raised, by type.', 'gauge');
    for (const type of alarmTypes) yield `etcd_alarm{type="${type}"} ${alarms.includes(type) ? 1 : 0}\n`;
  });

  return {
    stop() {
      isStopped = true;
      cancel();
      cancelMembers();
    },
  };
}

function* memberLines(members: readonly MemberState[]): Iterable<string> {
  if (members.length === 0) return;
  yield familyHead('etcd_endpoint_up', '1 while the endpoint of etcd answers this server.', 'gauge');
  for (const { endpoint, answers } of members) yield `etcd_endpoint_up{endpoint="${endpoint.host}:${endpoint.port}"} ${answers ? 1 : 0}\n`;
  const versions = new Set(members.flatMap(({ version }) => version ?? []));
  if (versions.size > 0) yield familyHead('etcd_server_version', '1 for each version of the members that answer.', 'gauge');
  for (const version of versions) yield `etcd_server_version{server_version="${version}"} 1\n`;
  const known = members.flatMap(({ hasLeader }) => hasLeader ?? []);
  if (known.length > 0)
    yield gauge('etcd_server_has_leader', '1 while a member that answers knows a leader.', known.includes(true) ? 1 : 0);
}

const gauge = (name: string, help: string, value: number): string => familyOf({ name, help, type: 'gauge' }, value);

/** etcd says its quota by gRPC since 3.6, and before that in its metrics alone. 0 when it does not say it. */
async function readQuota([endpoint]: readonly EtcdEndpoint[], tls: EtcdTls | undefined, clock: Clock): Promise<number> {
  if (endpoint === undefined) return 0;
  const { ca, certificate: cert, key } = tls ?? {};
  const options = { ...endpoint, path: '/metrics', timeout: metricsTimeMs, agent: false as const };
  try {
    const text = await new Promise<string>((resolve, reject) => {
      const request = tls === undefined ? requestPlain(options) : requestTls({ ...options, ca, cert, key });
      request.once('error', reject).once('timeout', () => request.destroy(new Error('etcd did not answer')));
      request.once('response', (answer) =>
        readAnswer(answer, { maxBytes: maxMetricsBytes, time: { clock, maxMs: metricsTimeMs } }).then(resolve, reject),
      );
      request.end();
    });
    return Number(new RegExp(`^${quotaName} (\\S+)$`, 'm').exec(text)?.[1] ?? 0);
  } catch {
    // Its metrics may be on another port. Without them the quota stays unknown.
    return 0;
  }
}
