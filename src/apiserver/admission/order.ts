import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { SchemaSet } from '../../machinery/schema.ts';
import type { Authorizer } from '../authorizer.ts';
import type { KindTable } from '../kube-api.ts';
import { escalationCheck } from '../rbac/escalation.ts';
import type { RuleIndex } from '../rbac/rule-index.ts';
import type { BodyDecoder } from '../registry/decoding.ts';
import type { Registry } from '../registry/registry.ts';
import { AdmissionChain } from './admission.ts';
import type { AdmissionMetrics } from './admission-metrics.ts';
import { clusterIp } from './cluster-ip.ts';
import { defaultIngressClass } from './default-ingress-class.ts';
import { endpointAddresses } from './endpoint-addresses.ts';
import { expressionSyntax } from './expression-syntax.ts';
import { limitRangeCheck, limitRangeDefaults } from './limit-ranger.ts';
import { Matcher } from './match.ts';
import { createMatchConditions } from './match-conditions.ts';
import { mutatingPolicies } from './mutating-policy.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { nodePorts } from './node-port.ts';
import { nodeRestriction } from './node-restriction.ts';
import { ownerReferencesPermission } from './owner-references.ts';
import { defaultTolerationSeconds, priority, priorityClassRules, serviceAccount } from './pod-defaults.ts';
import type { Level } from './pod-security/policy.ts';
import { podSecurity } from './pod-security/step.ts';
import type { PolicyOptions } from './policy-parts.ts';
import { type ResourceQuotaOptions, resourceQuota } from './resource-quota.ts';
import { runtimeClass, runtimeClassOverhead } from './runtime-class.ts';
import { serviceAccountToken } from './service-account-token.ts';
import { createServiceClaims, releaseServiceClaims } from './service-claims.ts';
import { defaultStorageClass, persistentVolumeClaimResize, storageObjectInUseProtection } from './storage.ts';
import { validatingPolicies } from './validating-policy.ts';
import type { WebhookClient } from './webhook-client.ts';
import { mutatingWebhooks, validatingWebhooks, type WebhookOptions } from './webhooks.ts';

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
  /** Types of the built-in kinds. */
  readonly schemas: SchemaSet;
  /** Reads what webhooks and policies make of an object. */
  readonly decoder: BodyDecoder;
  readonly webhookClient: WebhookClient;
  readonly newUid: () => string;
  readonly log: Log;
  /** Enforced in namespaces whose labels do not say. */
  readonly podSecurityDefault: Level;
  /** False: there are no tokens that pods could be given. */
  readonly issuesTokens: boolean;
  /** Absent: nothing is timed. */
  readonly metrics: AdmissionMetrics | undefined;
  /** Steps that upstream has, and leaves off. */
  readonly enabled: readonly OptionalAdmission[];
}

export type OptionalAdmission = 'OwnerReferencesPermissionEnforcement';

/** Every step a write goes through, phase by phase in this order, which is upstream's. */
export function admissionOrder(options: AdmissionOptions): AdmissionChain {
  const { registry, authorizer, ruleIndex, kinds, clock, writeQuotaStatus, serviceCidr, loopbackCidr, random, issuesTokens } = options;
  const matcher = new Matcher({ registry, kinds });
  const { decoder, newUid, log, webhookClient: client, metrics } = options;
  const conditions = createMatchConditions(authorizer);
  const webhooks: WebhookOptions = { registry, matcher, conditions, client, decoder, newUid, metrics, log };
  const policies: PolicyOptions = { registry, kinds, authorizer, matcher, log };
  const serviceClaims = createServiceClaims(registry, clock);
  const steps = [
    // mutating
    namespaceLifecycle(registry),
    escalationCheck(authorizer, ruleIndex),
    limitRangeDefaults(registry),
    serviceAccount(registry),
    ...(issuesTokens ? [serviceAccountToken(registry, random)] : []),
    nodeRestriction(),
    priority(registry),
    defaultTolerationSeconds(),
    defaultStorageClass(registry),
    storageObjectInUseProtection(),
    runtimeClass(registry),
    defaultIngressClass(registry),
    endpointAddresses(loopbackCidr),
    mutatingPolicies({ ...policies, decoder, schemas: options.schemas }),
    mutatingWebhooks(webhooks),
    // allocation
    clusterIp({ registry, claims: serviceClaims.addresses, serviceCidr, random }),
    nodePorts({ registry, claims: serviceClaims.ports, random }),
    // validating
    limitRangeCheck(registry),
    podSecurity(registry, options.podSecurityDefault),
    priorityClassRules(registry),
    ...(options.enabled.includes('OwnerReferencesPermissionEnforcement') ? [ownerReferencesPermission({ authorizer, kinds })] : []),
    persistentVolumeClaimResize(registry),
    runtimeClassOverhead(registry),
    expressionSyntax(),
    validatingPolicies(policies),
    validatingWebhooks(webhooks),
    releaseServiceClaims(serviceClaims),
    // Last, since a write that was charged is nearly always stored.
    resourceQuota({ registry, kinds: kinds.all, writeStatus: writeQuotaStatus, clock }),
  ];
  return new AdmissionChain(steps, metrics);
}
