import { systemClock } from '../base/clock.ts';
import { readAnswer } from '../base/http-answer.ts';
import { isOlder } from '../base/version-order.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { sendAdminRequest } from './admin-request.ts';
import type { Finding } from './doctor.ts';
import { Failure } from './failure.ts';

const check = 'etcd';
/** A kube-apiserver of a large cluster writes some 10 MiB. */
const maxMetricsBytes = 64 * 1024 * 1024;
const maxMs = 10_000;
/** As the alert StoreNearlyFull. */
const maxShare = 0.8;
/** As the alert StoreBehind; after 10 s the server refuses reads. */
const maxLagSeconds = 5;
/** Earlier ones may answer a quorum read with an old value after a halt. (changelogs of etcd 3.5 and 3.6) */
const repairedVersions = ['3.5.28', '3.6.9'] as const;

/** Judges etcd by the metrics of the server that answers; nothing when its store is not in etcd. */
export async function checkEtcd(kubeconfigFile: string): Promise<readonly Finding[]> {
  const connection = await loadKubeconfig(kubeconfigFile);
  try {
    const request = { method: 'GET' as const, path: '/metrics', silenceMs: maxMs, refusal: 'shows no metrics' };
    const answer = await sendAdminRequest(connection, request);
    return judgeEtcd(await readAnswer(answer, { maxBytes: maxMetricsBytes, time: { clock: systemClock, maxMs } }));
  } catch (err) {
    // The checks of the cluster say when it does not answer.
    const why = err instanceof Failure ? err.why : (err as Error).message;
    return [
      {
        check,
        result: 'note',
        what: 'the metrics of the server cannot be read, which say how its store is',
        why,
        fix: 'Use the kubeconfig of an administrator: --kubeconfig FILE.',
      },
    ];
  }
}

/** @param metrics  text format of Prometheus */
function judgeEtcd(metrics: string): readonly Finding[] {
  const endpoints = samplesOf(metrics, 'etcd_endpoint_up');
  if (endpoints.length === 0) return [];
  const findings = [
    ...judgeMembers(endpoints, figureOf(metrics, 'etcd_server_has_leader')),
    ...samplesOf(metrics, 'etcd_alarm').flatMap(({ label, value }) => (value === 1 ? (alarmFindings[label] ?? []) : [])),
    ...judgeSize(metrics),
    ...judgeLag(figureOf(metrics, 'store_lag_seconds')),
    ...samplesOf(metrics, 'etcd_server_version').flatMap(({ label }) => judgeVersion(label)),
  ];
  if (findings.some(({ result }) => result === 'problem')) return findings;
  const count = endpoints.length;
  return [{ check, result: 'ok', what: `${count} ${count === 1 ? 'member answers' : 'members answer'}, with a leader` }, ...findings];
}

interface Sample {
  /** Value of its only label; empty without one. */
  readonly label: string;
  readonly value: number;
}

const samplesOf = (metrics: string, name: string): readonly Sample[] =>
  [...metrics.matchAll(new RegExp(`^${name}(?:\\{\\w+="([^"]*)"\\})? (\\S+)$`, 'gm'))].map(([, label = '', value]) => ({
    label,
    value: Number(value),
  }));

const figureOf = (metrics: string, name: string): number | undefined => samplesOf(metrics, name)[0]?.value;

function judgeMembers(endpoints: readonly Sample[], hasLeader: number | undefined): readonly Finding[] {
  const silent = endpoints.filter(({ value }) => value === 0).map(({ label }) => label);
  const findings = silent.map(
    (endpoint): Finding => ({
      check,
      result: 'problem',
      what: `${endpoint} does not answer the server`,
      why: 'Without it fewer members may fail before writes stop.',
      fix: `Look there: journalctl -u etcd, and etcdctl --endpoints ${endpoint} endpoint health`,
    }),
  );
  if (hasLeader === 1 || (hasLeader === undefined && silent.length < endpoints.length)) return findings;
  const noLeader = {
    check,
    result: 'problem' as const,
    what: hasLeader === undefined ? 'no member answers' : 'it has no leader',
    why: 'Without a quorum of members nothing is written, and reads are refused.',
    fix: 'Start members until more than half run: etcdctl endpoint status --cluster. If they are lost: etcdutl snapshot restore',
  };
  return [noLeader, ...findings];
}

const alarmFindings: Readonly<Record<string, Finding>> = {
  NOSPACE: {
    check,
    result: 'problem',
    what: 'the alarm NOSPACE is raised',
    why: 'The database reached its quota, and etcd refuses writes until a person disarms the alarm.',
    fix: 'Make room, then disarm: etcdctl defrag --cluster, and etcdctl alarm disarm. Or raise --quota-backend-bytes of etcd first.',
  },
  CORRUPT: {
    check,
    result: 'problem',
    what: 'the alarm CORRUPT is raised',
    why: 'Members hold different data, and etcd refuses requests.',
    fix:
      'Find the member that differs: etcdctl endpoint hashkv --cluster. Replace it (etcdctl member remove, then member add), ' +
      'then etcdctl alarm disarm',
  },
};

function judgeSize(metrics: string): readonly Finding[] {
  const quota = figureOf(metrics, 'etcd_server_quota_backend_bytes');
  const size = figureOf(metrics, 'etcd_mvcc_db_total_size_in_bytes');
  if (quota === undefined || size === undefined || size <= quota * maxShare) return [];
  const inUse = figureOf(metrics, 'etcd_mvcc_db_total_size_in_use_in_bytes') ?? size;
  const share = (bytes: number): string => `${Math.round((bytes / quota) * 100)} %`;
  return [
    {
      check,
      result: 'problem',
      what: `the database has ${share(size)} of its quota of ${Math.floor(quota / 1024 ** 2)} MiB; ${share(inUse)} is in use`,
      why: 'At its quota etcd refuses writes.',
      fix:
        inUse <= quota * maxShare
          ? 'Free what is not in use: etcdctl defrag --cluster'
          : 'Restart each member with a larger --quota-backend-bytes, or delete objects and then: etcdctl defrag --cluster',
    },
  ];
}

function judgeLag(seconds: number | undefined): readonly Finding[] {
  if (seconds === undefined || seconds <= maxLagSeconds) return [];
  return [
    {
      check,
      result: 'problem',
      what: `the server has not caught up with the store for ${Math.round(seconds)} s`,
      why: 'After 10 s it answers 503, and clients go to other servers.',
      fix: 'Look at the network between both: etcdctl endpoint status --cluster, and "The watch of etcd broke" in the log of the server.',
    },
  ];
}

function judgeVersion(version: string): readonly Finding[] {
  const [old, recent] = repairedVersions;
  const repaired = isOlder(version, '3.6.0') ? old : recent;
  if (!isOlder(version, repaired)) return [];
  return [
    {
      check,
      result: 'note',
      what: `a member has version ${version}, and ${repaired} repairs faults of it`,
      why: 'After a halt of the machine it may answer reads with old values.',
      fix: `Upgrade etcd to ${repaired} or later, one member after the other.`,
    },
  ];
}
