import { apiServices } from '../api/apiregistration/v1/api-service.ts';
import { endpoints } from '../api/core/v1/endpoints.ts';
import { namespaces } from '../api/core/v1/namespace.ts';
import { priorityLevelConfigurations } from '../api/flowcontrol/v1/priority-level-configuration.ts';
import { serviceCidrs } from '../api/networking/v1/service-cidr.ts';
import { clusterRoles } from '../api/rbac/v1/cluster-role.ts';
import { priorityClasses } from '../api/scheduling/v1/priority-class.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import type { ObjectRef } from '../machinery/object.ts';
import { isNotFound } from '../machinery/status-error.ts';
import { type HealthCheck, onceDone } from './http/health.ts';
import type { KubeApi } from './kube-api.ts';
import { apiServerUser } from './user.ts';

/** The last object of each kind that the start makes, by the name of upstream's hook for it. */
const made: readonly (readonly [hook: string, kind: KindDefinition, ref: ObjectRef])[] = [
  ['start-system-namespaces-controller', namespaces, { name: 'kube-system' }],
  ['rbac/bootstrap-roles', clusterRoles, { name: 'cluster-admin' }],
  ['scheduling/bootstrap-system-priority-classes', priorityClasses, { name: 'system-node-critical' }],
  ['priority-and-fairness-config-producer', priorityLevelConfigurations, { name: 'catch-all' }],
  ['bootstrap-controller', endpoints, { namespace: 'default', name: 'kubernetes' }],
  ['start-kubernetes-service-cidr-controller', serviceCidrs, { name: 'kubernetes' }],
];

/** Checks that the start of the server is complete; a check that has passed once passes from then on. */
export function startChecks(kubeApi: Pick<KubeApi, 'get'>): readonly HealthCheck[] {
  const isThere = async (kind: KindDefinition, ref: ObjectRef): Promise<boolean> => {
    try {
      await kubeApi.get({ kind, user: apiServerUser, userAgent: 'kube-apiserver' }, ref);
      return true;
    } catch (err) {
      if (isNotFound(err)) return false;
      throw err;
    }
  };
  return [
    ...made.map(([hook, kind, ref]) => onceDone(`poststarthook/${hook}`, () => isThere(kind, ref))),
    onceDone('autoregister-completion', () => isThere(apiServices, { name: 'v1.apps' })),
  ];
}
