import type { FlowSchema } from '../../api/flowcontrol/v1/flow-schema.ts';
import type { PriorityLevelConfiguration } from '../../api/flowcontrol/v1/priority-level-configuration.ts';

/**
 * The levels and schemas that every cluster starts with, as upstream has them. A person who changes one sets its annotation
 * `apf.kubernetes.io/autoupdate-spec` to `false`.
 *
 * @see Kubernetes, "API Priority and Fairness", "Default FlowSchema and PriorityLevelConfiguration objects"
 */

export const autoupdateSpec = 'apf.kubernetes.io/autoupdate-spec';

const apiVersion = 'flowcontrol.apiserver.k8s.io/v1';
const metadataOf = (name: string) => ({ name, annotations: { [autoupdateSpec]: 'true' } });

type Limited = NonNullable<NonNullable<PriorityLevelConfiguration['spec']>['limited']>;
type LimitResponse = NonNullable<Limited['limitResponse']>;

const limited = (
  name: string,
  [shares, lendablePercent]: readonly [shares: number, lendablePercent: number],
  limitResponse: LimitResponse,
): PriorityLevelConfiguration => ({
  apiVersion,
  kind: 'PriorityLevelConfiguration',
  metadata: metadataOf(name),
  spec: { type: 'Limited', limited: { nominalConcurrencyShares: shares, limitResponse, lendablePercent } },
});

const queues = (count: number, handSize: number): LimitResponse => ({
  type: 'Queue',
  queuing: { queues: count, handSize, queueLengthLimit: 50 },
});

const exemptLevel: PriorityLevelConfiguration = {
  apiVersion,
  kind: 'PriorityLevelConfiguration',
  metadata: metadataOf('exempt'),
  spec: { type: 'Exempt', exempt: { nominalConcurrencyShares: 0, lendablePercent: 0 } },
};
const catchAllLevel = limited('catch-all', [5, 0], { type: 'Reject' });

/** These count even where nobody stored them. */
export const mandatoryLevels: readonly PriorityLevelConfiguration[] = [exemptLevel, catchAllLevel];

const suggestedLevels: readonly PriorityLevelConfiguration[] = [
  limited('system', [30, 33], queues(64, 6)),
  limited('node-high', [40, 25], queues(64, 6)),
  limited('leader-election', [10, 0], queues(16, 4)),
  limited('workload-high', [40, 50], queues(128, 6)),
  limited('workload-low', [100, 90], queues(128, 6)),
  limited('global-default', [20, 50], queues(128, 6)),
];

type Rules = NonNullable<NonNullable<FlowSchema['spec']>['rules']>;
type Subjects = Rules[number]['subjects'];
type ResourceRule = NonNullable<Rules[number]['resourceRules']>[number];

const groups = (...names: readonly string[]): Subjects => names.map((name) => ({ kind: 'Group', group: { name } }));
const users = (...names: readonly string[]): Subjects => names.map((name) => ({ kind: 'User', user: { name } }));
const systemAccounts = (...names: readonly string[]): Subjects =>
  names.map((name) => ({ kind: 'ServiceAccount', serviceAccount: { namespace: 'kube-system', name } }));

const everything: Omit<Rules[number], 'subjects'> = {
  resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true }],
  nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
};
const on = (verbs: readonly string[], apiGroup: string, resources: readonly string[]): ResourceRule => ({
  verbs,
  apiGroups: [apiGroup],
  resources,
  namespaces: ['*'],
});
const leases = on(['get', 'create', 'update'], 'coordination.k8s.io', ['leases']);

interface SchemaOptions {
  readonly level: string;
  readonly precedence: number;
  readonly by?: 'ByUser' | 'ByNamespace';
  readonly subjects: Subjects;
  readonly rules?: Omit<Rules[number], 'subjects'>;
}

const schema = (name: string, { level, precedence, by, subjects, rules = everything }: SchemaOptions): FlowSchema => ({
  apiVersion,
  kind: 'FlowSchema',
  metadata: metadataOf(name),
  spec: {
    priorityLevelConfiguration: { name: level },
    matchingPrecedence: precedence,
    ...(by === undefined ? {} : { distinguisherMethod: { type: by } }),
    rules: [{ subjects, ...rules }],
  },
});

const everybody = groups('system:unauthenticated', 'system:authenticated');
const manager = 'system:kube-controller-manager';
const scheduler = 'system:kube-scheduler';

export const mandatorySchemas: readonly FlowSchema[] = [
  schema('exempt', { level: 'exempt', precedence: 1, subjects: groups('system:masters') }),
  schema('catch-all', { level: 'catch-all', precedence: 10_000, by: 'ByUser', subjects: everybody }),
];

const suggestedSchemas: readonly FlowSchema[] = [
  schema('probes', {
    level: 'exempt',
    precedence: 2,
    subjects: everybody,
    rules: { nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['/healthz', '/readyz', '/livez'] }] },
  }),
  schema('system-leader-election', {
    level: 'leader-election',
    precedence: 100,
    by: 'ByUser',
    subjects: [...users(manager, scheduler), ...systemAccounts('*')],
    rules: { resourceRules: [leases] },
  }),
  schema('endpoint-controller', {
    level: 'workload-high',
    precedence: 150,
    by: 'ByUser',
    subjects: [...users(manager), ...systemAccounts('endpoint-controller', 'endpointslicemirroring-controller')],
    rules: { resourceRules: [on(['get', 'create', 'update'], '', ['endpoints'])] },
  }),
  schema('workload-leader-election', {
    level: 'leader-election',
    precedence: 200,
    by: 'ByUser',
    subjects: systemAccounts('*'),
    rules: { resourceRules: [leases] },
  }),
  schema('system-node-high', {
    level: 'node-high',
    precedence: 400,
    by: 'ByUser',
    subjects: groups('system:nodes'),
    rules: {
      resourceRules: [{ ...on(['*'], '', ['nodes', 'nodes/status']), clusterScope: true }, on(['*'], 'coordination.k8s.io', ['leases'])],
    },
  }),
  schema('system-nodes', { level: 'system', precedence: 500, by: 'ByUser', subjects: groups('system:nodes') }),
  schema('kube-controller-manager', { level: 'workload-high', precedence: 800, by: 'ByNamespace', subjects: users(manager) }),
  schema('kube-scheduler', { level: 'workload-high', precedence: 800, by: 'ByNamespace', subjects: users(scheduler) }),
  schema('kube-system-service-accounts', {
    level: 'workload-high',
    precedence: 900,
    by: 'ByNamespace',
    subjects: systemAccounts('*'),
  }),
  schema('service-accounts', { level: 'workload-low', precedence: 9_000, by: 'ByUser', subjects: groups('system:serviceaccounts') }),
  schema('global-default', { level: 'global-default', precedence: 9_900, by: 'ByUser', subjects: everybody }),
];

export const initialLevels: readonly PriorityLevelConfiguration[] = [...mandatoryLevels, ...suggestedLevels];
export const initialSchemas: readonly FlowSchema[] = [...mandatorySchemas, ...suggestedSchemas];
