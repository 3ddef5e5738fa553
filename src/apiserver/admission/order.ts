import type { Authorizer } from '../authorizer.ts';
import { escalationCheck } from '../rbac/escalation.ts';
import type { RuleIndex } from '../rbac/rule-index.ts';
import type { Registry } from '../registry/registry.ts';
import { AdmissionChain } from './admission.ts';
import { clusterIp } from './cluster-ip.ts';
import { endpointAddresses } from './endpoint-addresses.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { defaultTolerationSeconds, priority, serviceAccount } from './pod-defaults.ts';
import { serviceAccountToken } from './service-account-token.ts';

export interface AdmissionOptions {
  readonly registry: Registry;
  readonly authorizer: Authorizer;
  readonly ruleIndex: RuleIndex;
  readonly serviceCidr: string;
  /** The cluster's own /16 of 127/8, when its pods live there. */
  readonly loopbackCidr: string | undefined;
  readonly random: () => number;
  /** False: there are no tokens that pods could be given. */
  readonly issuesTokens: boolean;
}

/** Every step a write goes through, in this order. */
export const admissionOrder = ({
  registry,
  authorizer,
  ruleIndex,
  serviceCidr,
  loopbackCidr,
  random,
  issuesTokens,
}: AdmissionOptions): AdmissionChain =>
  new AdmissionChain([
    namespaceLifecycle(registry),
    escalationCheck(authorizer, ruleIndex),
    serviceAccount(registry),
    ...(issuesTokens ? [serviceAccountToken(registry, random)] : []),
    priority(registry),
    defaultTolerationSeconds(),
    clusterIp({ registry, serviceCidr, random }),
    endpointAddresses(loopbackCidr),
  ]);
