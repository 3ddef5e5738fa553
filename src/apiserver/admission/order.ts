import type { Clock } from '../../base/clock.ts';
import type { Authorizer } from '../authorizer.ts';
import { escalationCheck } from '../rbac/escalation.ts';
import type { RuleIndex } from '../rbac/rule-index.ts';
import type { Registry } from '../registry/registry.ts';
import type { KindTable } from '../service.ts';
import { AdmissionChain } from './admission.ts';
import { clusterIp } from './cluster-ip.ts';
import { defaultIngressClass } from './default-ingress-class.ts';
import { endpointAddresses } from './endpoint-addresses.ts';
import { limitRangeCheck, limitRangeDefaults } from './limit-ranger.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { nodePorts } from './node-port.ts';
import { ownerReferencesPermission } from './owner-references.ts';
import { defaultTolerationSeconds, priority, serviceAccount } from './pod-defaults.ts';
import { podSecurity } from './pod-security/step.ts';
import { type ResourceQuotaOptions, resourceQuota } from './resource-quota.ts';
import { runtimeClass, runtimeClassOverhead } from './runtime-class.ts';
import { serviceAccountToken } from './service-account-token.ts';
import { defaultStorageClass, persistentVolumeClaimResize, storageObjectInUseProtection } from './storage.ts';

export interface AdmissionOptions {
  readonly registry: Registry;
  readonly authorizer: Authorizer;
  readonly ruleIndex: RuleIndex;
  readonly kinds: Pick<KindTable, 'all' | 'findByKind'>;
  readonly clock: Clock;
  readonly writeQuotaStatus: ResourceQuotaOptions['writeStatus'];
  readonly serviceCidr: string;
  /** The cluster's own /16 of 127/8, when its pods live there. */
  readonly loopbackCidr: string | undefined;
  readonly random: () => number;
  /** False: there are no tokens that pods could be given. */
  readonly issuesTokens: boolean;
}

/** Every step a write goes through, phase by phase in this order, which is upstream's. */
export const admissionOrder = ({
  registry,
  authorizer,
  ruleIndex,
  kinds,
  clock,
  writeQuotaStatus,
  serviceCidr,
  loopbackCidr,
  random,
  issuesTokens,
}: AdmissionOptions): AdmissionChain =>
  new AdmissionChain([
    // mutating
    namespaceLifecycle(registry),
    escalationCheck(authorizer, ruleIndex),
    limitRangeDefaults(registry),
    serviceAccount(registry),
    ...(issuesTokens ? [serviceAccountToken(registry, random)] : []),
    priority(registry),
    defaultTolerationSeconds(),
    defaultStorageClass(registry),
    storageObjectInUseProtection(),
    runtimeClass(registry),
    defaultIngressClass(registry),
    endpointAddresses(loopbackCidr),
    // allocation
    clusterIp({ registry, serviceCidr, random }),
    nodePorts({ registry, random }),
    // validating
    limitRangeCheck(registry),
    podSecurity(registry),
    ownerReferencesPermission({ authorizer, kinds }),
    persistentVolumeClaimResize(registry),
    runtimeClassOverhead(registry),
    // Last: what is charged is as good as stored.
    resourceQuota({ registry, kinds: kinds.all, writeStatus: writeQuotaStatus, clock }),
  ]);
