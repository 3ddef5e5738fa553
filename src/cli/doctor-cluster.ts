import {
  mutatingWebhookConfigurations,
  validatingWebhookConfigurations,
  type WebhookConfiguration,
} from '../api/admissionregistration/v1/webhook-configuration.ts';
import { type Lease, leases } from '../api/coordination/v1/lease.ts';
import { nodes } from '../api/core/v1/node.ts';
import { endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import type { Condition } from '../api/flux.ts';
import { receivers } from '../api/notification/v1/receiver.ts';
import { gitRepositories } from '../api/source/v1/git-repository.ts';
import { annotations } from '../api/well-known.ts';
import type { HttpClient } from '../client/http-client.ts';
import { conditionOf } from '../machinery/conditions.ts';
import { type KubeObject, keyOf } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { isForbidden, isNotFound } from '../machinery/status-error.ts';
import type { Finding, Problem } from './doctor.ts';

/** So many problems of one check are shown. */
const maxShown = 10;

/**
 * Judges servers, nodes, sources, receivers and admission webhooks of a cluster that answers.
 *
 * @param now  gives milliseconds since the epoch
 */
export async function checkCluster(client: HttpClient, now: () => number): Promise<readonly Finding[]> {
  return [
    ...(await checkServers(client, now)),
    ...(await checkEach(client, nodes, { check: 'nodes', judge: judgeNode })),
    ...(await checkLimits(client)),
    ...(await checkEach(client, gitRepositories, { check: 'sources', judge: judgeSource })),
    ...(await checkEach(client, receivers, { check: 'receivers', judge: judgeReceiver })),
    ...(await checkAdmission(client)),
  ];
}

/** A Lease that was not renewed for so long has a holder that is gone. Servers renew theirs every 5 s, and leaders every 1.5 s. */
const lateMs = 20_000;
/** Certificates and tokens bear no more. Leases do not suffer: each server counts from the change that it sees. */
const clockToleranceMs = 2_000;

/** Judges the servers of a cluster that has several, and the Leases by which one of them does each work. */
async function checkServers(client: HttpClient, now: () => number): Promise<readonly Finding[]> {
  const check = 'servers';
  const found = await listAll(client, leases);
  if (found === undefined) return [mayNotList(check, 'leases')];
  const servers = found.filter(({ metadata }) => metadata.annotations?.[annotations.serverId] !== undefined);
  if (servers.length === 0) return [];
  const elected = found.filter(({ metadata }) => serverLeases.has(keyOf({ metadata })));
  const seenAt = now();
  const problems = [
    ...servers.flatMap((lease) => judgeServer(lease, seenAt) ?? []),
    ...elected.flatMap((lease) => judgeLeader(lease, seenAt) ?? []),
  ];
  if (problems.length > 0) return shown(check, problems);
  const versions = new Set(servers.map(({ metadata }) => metadata.annotations?.[annotations.serverVersion] ?? ''));
  return versions.size > 1
    ? [
        {
          check,
          result: 'note',
          what: `they are of versions ${[...versions].sort().join(' and ')}`,
          fix: 'Upgrade the rest, one after the other.',
        },
      ]
    : [{ check, result: 'ok', what: `${servers.length} ${servers.length === 1 ? 'is' : 'are'} there, and each work has a leader` }];
}

const serverLeases: ReadonlySet<string> = new Set([
  'kube-system/kube-controller-manager',
  'kube-system/kube-scheduler',
  'kube-system/midship-housekeeping',
  'flux-system/midship-gitops',
]);

const ageOf = ({ spec }: Lease, now: number): number => now - Date.parse(spec?.renewTime ?? '');

function judgeServer(lease: Lease, now: number): Problem | undefined {
  const { name, labels } = lease.metadata;
  const server = `server ${labels?.['kubernetes.io/hostname'] ?? name}`;
  const ageMs = ageOf(lease, now);
  if (ageMs > lateMs) {
    return {
      what: `${server} has not renewed its Lease for ${Math.round(ageMs / 1_000)} s`,
      why: 'It was stopped hard, is halted, or has lost the store.',
      fix: `Look there: journalctl -u midship. A machine that is gone: kubectl -n kube-system delete lease ${name}`,
    };
  }
  if (ageMs >= -clockToleranceMs) return undefined;
  return {
    what: `the clock of ${server} is ${Math.round(-ageMs / 1_000)} s ahead of this one`,
    why: 'Certificates and tokens that it issues are not valid yet elsewhere.',
    fix: 'Keep both clocks by NTP (timedatectl set-ntp true).',
  };
}

function judgeLeader(lease: Lease, now: number): Problem | undefined {
  const { namespace, name } = lease.metadata;
  const ageMs = ageOf(lease, now);
  const holder = lease.spec?.holderIdentity ?? '';
  if (holder !== '' && ageMs <= lateMs) return undefined;
  return {
    what: holder === '' ? `nobody holds the Lease ${namespace}/${name}` : `${holder} has not renewed ${namespace}/${name} in time`,
    why: 'Until a server holds it, that work is not done.',
    fix: 'Look for "leader-election" in the logs of the servers, and whether one runs without --disable for that part.',
  };
}

interface Check<T> {
  readonly check: string;
  judge(object: T): Problem | undefined;
}

async function checkEach<T extends KubeObject>(
  client: HttpClient,
  resource: Resource<T>,
  { check, judge }: Check<T>,
): Promise<readonly Finding[]> {
  const items = await listAll(client, resource);
  if (items === undefined) return [mayNotList(check, resource.resource)];
  const problems = items.flatMap((object) => judge(object) ?? []);
  if (problems.length === 0)
    return items.length === 0 ? [] : [{ check, result: 'ok', what: `${items.length} ${items.length === 1 ? 'is' : 'are'} ready` }];
  return shown(check, problems);
}

function shown(check: string, problems: readonly Problem[]): readonly Finding[] {
  const rest = problems.length - maxShown;
  const more: readonly Finding[] =
    rest > 0
      ? [
          {
            check,
            result: 'problem',
            what: `and ${rest} more`,
            why: `The first ${maxShown} of a check are shown.`,
            fix: 'Repair those, then run midship doctor again.',
          },
        ]
      : [];
  return [...problems.slice(0, maxShown).map((problem): Finding => ({ check, result: 'problem', ...problem })), ...more];
}

const mayNotList = (check: string, resources: string): Finding => ({
  check,
  result: 'note',
  what: `this user may not list ${resources}`,
  fix: 'Use the kubeconfig of an administrator: --kubeconfig FILE.',
});

/** Undefined when this user may not; empty on a cluster that has no such kind. */
async function listAll<T extends KubeObject>(client: HttpClient, resource: Resource<T>): Promise<readonly T[] | undefined> {
  try {
    return (await client.list(resource)).items;
  } catch (err) {
    if (isForbidden(err)) return undefined;
    if (isNotFound(err)) return [];
    throw err;
  }
}

interface Conditioned {
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
    }[];
  };
}

const pressures: readonly string[] = ['MemoryPressure', 'DiskPressure', 'PIDPressure'];

function judgeNode(node: KubeObject & Conditioned): Problem | undefined {
  const { name } = node.metadata;
  const conditions = node.status?.conditions ?? [];
  const ready = conditions.find(({ type }) => type === 'Ready');
  const fix = `See: kubectl describe node ${name}`;
  if (ready?.status !== 'True') return { what: `node ${name} is not ready`, why: ready?.message ?? 'It has never reported.', fix };
  const pressed = conditions.find(({ type, status }) => pressures.includes(type) && status === 'True');
  return pressed === undefined
    ? undefined
    : { what: `node ${name} reports ${pressed.type}`, why: pressed.message ?? 'It takes no new pods until that has passed.', fix };
}

/** The user of the cluster may have fewer rights than the one that runs doctor, so its nodes are asked. */
async function checkLimits(client: HttpClient): Promise<readonly Finding[]> {
  const found = ((await listAll(client, nodes)) ?? []).flatMap(({ metadata: { name }, status }) => {
    const condition = status?.conditions?.find(({ type }) => type === 'midship.dev/PodLimits');
    return condition?.status === 'False' ? [{ name, why: condition.message ?? '' }] : [];
  });
  const [first, ...others] = found;
  if (first === undefined) return [];
  return [
    {
      check: 'limits',
      result: 'note',
      what:
        others.length === 0
          ? `node ${first.name} has no control groups for the limits of pods`
          : `node ${first.name} and ${others.length} more have no control groups for the limits of pods`,
      why: first.why,
      fix: 'Run the cluster as root, or as a service of systemd, which gives the right (Delegate=yes).',
    },
  ];
}

const readyOf = ({ status }: { readonly status?: { readonly conditions?: readonly Condition[] } }): Condition | undefined =>
  conditionOf(status?.conditions, 'Ready');

function judgeSource(
  source: KubeObject & { readonly spec: { readonly suspend?: boolean }; readonly status?: { readonly conditions?: readonly Condition[] } },
): Problem | undefined {
  const ready = readyOf(source);
  if (source.spec.suspend === true || ready?.status !== 'False') return undefined;
  return { what: `source ${keyOf(source)} cannot be read`, why: ready.message, fix: `See: midship get sources ${keyOf(source)}` };
}

function judgeReceiver(receiver: KubeObject & { readonly status?: { readonly conditions?: readonly Condition[] } }): Problem | undefined {
  const ready = readyOf(receiver);
  if (ready?.status !== 'False') return undefined;
  return {
    what: `webhook ${keyOf(receiver)} takes no calls`,
    why: ready.message,
    fix: `See: kubectl describe receiver -n ${receiver.metadata.namespace} ${receiver.metadata.name}`,
  };
}

/** A webhook that must answer, and whose Service has no ready pod, blocks every write that it is asked about. */
async function checkAdmission(client: HttpClient): Promise<readonly Finding[]> {
  const check = 'admission';
  const lists = await Promise.all(
    [validatingWebhookConfigurations, mutatingWebhookConfigurations].map((resource) => listAll(client, resource)),
  );
  if (lists.includes(undefined)) return [mayNotList(check, 'webhook configurations')];
  const configurations = lists.flatMap((list) => list ?? []);
  if (configurations.length === 0) return [];
  const problems: Problem[] = [];
  for (const configuration of configurations) {
    for (const { name, failurePolicy, clientConfig } of configuration.webhooks ?? []) {
      const { service } = clientConfig;
      if (failurePolicy === 'Ignore' || service === undefined || (await hasReadyEndpoint(client, service))) continue;
      problems.push(brokenWebhook(configuration, name, `${service.namespace}/${service.name}`));
    }
  }
  return problems.length === 0
    ? [{ check, result: 'ok', what: `${configurations.length} configurations, each with a Service that has ready pods` }]
    : shown(check, problems);
}

const brokenWebhook = ({ kind, metadata }: WebhookConfiguration, webhook: string, service: string): Problem => ({
  what: `webhook ${webhook} of ${kind} ${metadata.name} cannot be reached`,
  why: `Service ${service} has no ready pod, and writes that it must approve are refused.`,
  fix: `Start its pods, or: kubectl delete ${kind.toLowerCase()} ${metadata.name}`,
});

async function hasReadyEndpoint(
  client: HttpClient,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): Promise<boolean> {
  const { items } = await client.list(endpointSlices, { namespace, labelSelector: `kubernetes.io/service-name=${name}` });
  return items.some(({ endpoints }) => (endpoints ?? []).some(({ conditions }) => conditions?.ready !== false));
}
