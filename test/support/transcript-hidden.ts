import type { JsonObject } from './transcript.ts';

/** One of the two: an object that came or changed, or one that went. */
export interface HiddenAct {
  readonly put?: JsonObject;
  readonly remove?: JsonObject;
}

const configMap = (name: string, fields: JsonObject = {}, namespace = 'raw'): JsonObject => {
  const { labels, ...rest } = fields;
  return { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name, namespace, ...(labels === undefined ? {} : { labels }) }, ...rest };
};

const rbac = 'rbac.authorization.k8s.io';
const alice = [{ kind: 'User', apiGroup: rbac, name: 'alice' }];

/** What `alice` may do in the commands about access. */
const rolesOfAlice: readonly HiddenAct[] = [
  {
    put: {
      kind: 'Role',
      apiVersion: `${rbac}/v1`,
      metadata: { name: 'r1', namespace: 'w132' },
      rules: [{ verbs: ['get', 'list', 'watch'], apiGroups: [''], resources: ['pods', 'pods/log'] }],
    },
  },
  {
    put: {
      kind: 'RoleBinding',
      apiVersion: `${rbac}/v1`,
      metadata: { name: 'rb1', namespace: 'w132' },
      subjects: alice,
      roleRef: { apiGroup: rbac, kind: 'Role', name: 'r1' },
    },
  },
  {
    put: {
      kind: 'ClusterRole',
      apiVersion: `${rbac}/v1`,
      metadata: { name: 'cr1' },
      rules: [{ verbs: ['get'], apiGroups: [''], resources: ['nodes'] }],
    },
  },
  {
    put: {
      kind: 'ClusterRoleBinding',
      apiVersion: `${rbac}/v1`,
      metadata: { name: 'crb1' },
      subjects: alice,
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: 'cr1' },
    },
  },
];

/** What happened right before the line of a file that can be told from titles and answers alone. */
export const hiddenActs: Readonly<Record<string, Readonly<Record<number, readonly HiddenAct[]>>>> = {
  'api/list-paging': {
    1: [
      ...[0, 1, 2, 3, 4, 5, 6].map((number) => ({ put: configMap(`pg${number}`, { labels: { pg: String(number % 2) } }) })),
      { put: configMap('w2') },
      { put: configMap('kube-root-ca.crt') },
      { put: configMap('openshift-service-ca.crt') },
    ],
    3: [{ remove: configMap('pg5') }],
  },
  'api/aggregation-metrics': {
    8: [
      {
        put: {
          kind: 'APIService',
          apiVersion: 'apiregistration.k8s.io/v1',
          metadata: { name: 'v1.nosuch.example' },
          spec: {
            group: 'nosuch.example',
            version: 'v1',
            groupPriorityMinimum: 100,
            versionPriority: 100,
            insecureSkipTLSVerify: true,
            service: { namespace: 'raw2', name: 'nosuch', port: 443 },
          },
        },
      },
    ],
  },
  'kubectl/10-as': { 2: rolesOfAlice },
  'kubectl/10-cani': { 2: rolesOfAlice },
  'kubectl/10-cani-list': { 2: rolesOfAlice },
  'kubectl/10-cani-no': { 2: rolesOfAlice },
  'api/validation': {
    121: [
      {
        put: {
          kind: 'Node',
          apiVersion: 'v1',
          metadata: { name: 'raw2-node' },
          spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24'] },
        },
      },
    ],
    116: [{ put: configMap('imm', { data: { a: '1' }, immutable: true }, 'raw2') }],
  },
};
