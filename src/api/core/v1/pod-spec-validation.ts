import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { duplicate, forbidden, invalidValue, required } from '../../field-errors.ts';
import {
  check,
  checkAnnotations,
  checkEnum,
  checkLabels,
  checkPathStaysInside,
  dnsLabelErrors,
  dnsSubdomainErrors,
  ipErrors,
  rangeError,
} from '../../formats.ts';
import { checkContainers, checkHostNetworkPorts, checkInitContainers } from './container-validation.ts';
import type { PodSpec, PodTemplateSpec } from './pod.ts';
import { podLevelResources } from './pod-resources.ts';
import { checkResources } from './resource-validation.ts';
import { checkAffinity, checkTolerations, checkTopologySpread } from './scheduling-validation.ts';
import { checkHostUsers, checkOperatingSystem, checkPodSecurityContext } from './security-validation.ts';
import { checkVolumes } from './volume-validation.ts';

const maxInt32 = 2147483647;

/** Specs known to be valid, all frozen: a workload's template is checked again only when it changes. */
const validSpecs = new WeakSet<PodSpec>();

/**
 * The pod template of a workload, in the order of upstream's checks.
 *
 * @param claims  names of volumes that the workload adds to each of its pods: the claim templates of a StatefulSet
 */
export function checkPodTemplate(errors: FieldError[], field: string, template: PodTemplateSpec, claims: readonly string[] = []): void {
  checkLabels(errors, `${field}.labels`, template.metadata?.labels);
  checkAnnotations(errors, `${field}.annotations`, template.metadata?.annotations);
  const { spec = { containers: [] } } = template;
  checkPodAnnotations(errors, `${field}.annotations`, template.metadata?.annotations, spec);
  checkPodSpec(errors, `${field}.spec`, spec, claims);
  if ((spec.ephemeralContainers ?? []).length > 0) {
    errors.push(forbidden(`${field}.spec.ephemeralContainers`, 'ephemeral containers not allowed in pod template'));
  }
}

const seccompAnnotation = 'seccomp.security.alpha.kubernetes.io/pod';
const containerSeccompPrefix = 'container.seccomp.security.alpha.kubernetes.io/';

/** Annotations from before their fields; a mirror pod is one that its node has already. */
export function checkPodAnnotations(
  errors: FieldError[],
  field: string,
  annotations: Readonly<Record<string, string>> | undefined,
  { nodeName }: PodSpec,
): void {
  const mirror = annotations?.['kubernetes.io/config.mirror'];
  if (mirror !== undefined && (nodeName ?? '') === '') {
    errors.push(invalidValue(`${field}[kubernetes.io/config.mirror]`, mirror, 'must set spec.nodeName if mirror pod annotation is set'));
  }
  for (const [key, profile] of Object.entries(annotations ?? {})) {
    if (key !== seccompAnnotation && !key.startsWith(containerSeccompPrefix)) continue;
    if (['runtime/default', 'docker/default', 'unconfined'].includes(profile)) continue;
    if (profile.startsWith('localhost/')) checkPathStaysInside(errors, `${field}.${key}`, profile.slice('localhost/'.length));
    else errors.push(invalidValue(`${field}.${key}`, profile, 'must be a valid seccomp profile'));
  }
}

/** All rules of a pod's spec but those that depend on an update. */
export function checkPodSpec(errors: FieldError[], field: string, spec: PodSpec, claims: readonly string[] = []): void {
  if (validSpecs.has(spec)) return;
  const before = errors.length;
  const volumes = new Set([...checkVolumes(errors, `${field}.volumes`, spec.volumes ?? []), ...claims]);
  const containers = spec.containers ?? [];
  const context = {
    volumes,
    hostUsers: spec.hostUsers !== false,
    restartPolicy: spec.restartPolicy,
    graceSeconds: spec.terminationGracePeriodSeconds,
  };
  checkContainers(errors, `${field}.containers`, containers, context);
  if (!isAbsent(spec.initContainers)) {
    const regularNames = new Set(containers.map((container) => container.name));
    checkInitContainers(errors, `${field}.initContainers`, spec.initContainers, { ...context, regularNames });
  }
  if (spec.hostNetwork === true) checkHostNetworkPorts(errors, `${field}.containers`, containers);
  checkEnum(errors, `${field}.restartPolicy`, spec.restartPolicy, ['Always', 'OnFailure', 'Never']);
  checkEnum(errors, `${field}.dnsPolicy`, spec.dnsPolicy, ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None']);
  checkLabels(errors, `${field}.nodeSelector`, spec.nodeSelector);
  checkPodSecurityContext(errors, `${field}.securityContext`, spec);
  if (!isAbsent(spec.affinity)) checkAffinity(errors, `${field}.affinity`, spec.affinity);
  checkDns(errors, field, spec);
  for (const [index, { conditionType = '' }] of (spec.readinessGates ?? []).entries()) {
    check(errors, `${field}.readinessGates[${index}].conditionType`, conditionType, qualifiedNameErrors(conditionType));
  }
  checkSchedulingGates(errors, `${field}.schedulingGates`, spec.schedulingGates ?? []);
  checkTopologySpread(errors, `${field}.topologySpreadConstraints`, spec.topologySpreadConstraints ?? []);
  checkHostUsers(errors, field, spec);
  checkResourceClaims(errors, `${field}.resourceClaims`, spec);
  checkOptional(errors, `${field}.serviceAccountName`, spec.serviceAccountName, dnsSubdomainErrors);
  checkOptional(errors, `${field}.nodeName`, spec.nodeName, dnsSubdomainErrors);
  const deadline = spec.activeDeadlineSeconds;
  if (!isAbsent(deadline) && (deadline < 1 || deadline > maxInt32)) {
    errors.push(invalidValue(`${field}.activeDeadlineSeconds`, deadline, rangeError(1, maxInt32)));
  }
  checkOptional(errors, `${field}.hostname`, spec.hostname, dnsLabelErrors);
  checkOptional(errors, `${field}.subdomain`, spec.subdomain, dnsLabelErrors);
  checkTolerations(errors, `${field}.tolerations`, spec.tolerations ?? []);
  for (const [index, { ip, hostnames = [] }] of (spec.hostAliases ?? []).entries()) {
    const at = `${field}.hostAliases[${index}]`;
    check(errors, `${at}.ip`, ip ?? '', ipErrors(ip ?? ''));
    for (const [number, name] of hostnames.entries()) check(errors, `${at}.hostnames[${number}]`, name, dnsSubdomainErrors(name));
  }
  checkOptional(errors, `${field}.priorityClassName`, spec.priorityClassName, dnsSubdomainErrors);
  if (!isAbsent(spec.runtimeClassName)) {
    check(errors, `${field}.runtimeClassName`, spec.runtimeClassName, dnsSubdomainErrors(spec.runtimeClassName));
  }
  const { preemptionPolicy } = spec;
  if (!isAbsent(preemptionPolicy)) {
    checkEnum(errors, `${field}.preemptionPolicy`, preemptionPolicy, ['PreemptLowerPriority', 'Never']);
  }
  checkResources(errors, `${field}.resources`, podLevelResources(spec));
  if (!isAbsent(spec.overhead)) checkResources(errors, `${field}.overhead`, { limits: spec.overhead });
  checkOperatingSystem(errors, field, spec);
  // Valid with claims is not valid in itself: another workload may hold the same spec without them.
  if (errors.length === before && claims.length === 0 && Object.isFrozen(spec)) validSpecs.add(spec);
}

function checkSchedulingGates(errors: FieldError[], field: string, gates: NonNullable<PodSpec['schedulingGates']>): void {
  const names = new Set<string>();
  for (const [index, { name = '' }] of gates.entries()) {
    check(errors, `${field}[${index}]`, name, qualifiedNameErrors(name));
    if (names.has(name)) errors.push(duplicate(`${field}[${index}]`, name));
    names.add(name);
  }
}

interface PodResourceClaim {
  readonly name?: string;
  readonly resourceClaimName?: string | null;
  readonly resourceClaimTemplateName?: string | null;
}

function checkResourceClaims(errors: FieldError[], field: string, spec: PodSpec): void {
  const { resourceClaims } = spec as { readonly resourceClaims?: readonly PodResourceClaim[] | null };
  const names = new Set<string>();
  for (const [index, claim] of (resourceClaims ?? []).entries()) {
    const at = `${field}[${index}]`;
    const { name = '', resourceClaimName, resourceClaimTemplateName } = claim;
    if (name === '') errors.push(required(`${at}.name`));
    else check(errors, `${at}.name`, name, dnsLabelErrors(name));
    if (names.has(name)) errors.push(duplicate(at, name));
    names.add(name);
    // The real server shows its own struct here, under Go's names.
    const shown = {
      Name: name,
      ResourceClaimName: resourceClaimName ?? null,
      ResourceClaimTemplateName: resourceClaimTemplateName ?? null,
    };
    const given = [resourceClaimName, resourceClaimTemplateName].filter((source) => !isAbsent(source));
    if (given.length === 0) {
      errors.push(invalidValue(at, shown, 'must specify one of: `resourceClaimName`, `resourceClaimTemplateName`'));
    } else if (given.length > 1) {
      errors.push(invalidValue(at, shown, 'at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified'));
    }
    checkOptional(errors, `${at}.resourceClaimName`, resourceClaimName ?? undefined, dnsSubdomainErrors);
    checkOptional(errors, `${at}.resourceClaimTemplateName`, resourceClaimTemplateName ?? undefined, dnsSubdomainErrors);
  }
}

function checkOptional(
  errors: FieldError[],
  field: string,
  value: string | undefined,
  sentencesOf: (text: string) => readonly string[],
): void {
  if (!isAbsent(value) && value !== '') check(errors, field, value, sentencesOf(value));
}

/** As a subdomain, with underscores: a search path may name a service of Windows. */
const searchRegex = /^[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*$/;
const maxSearchLength = 2048;

function checkDns(errors: FieldError[], field: string, { dnsPolicy, dnsConfig }: PodSpec): void {
  const at = `${field}.dnsConfig`;
  if (dnsPolicy === 'None') {
    const why = 'must provide `dnsConfig` when `dnsPolicy` is None';
    if (isAbsent(dnsConfig)) {
      errors.push(required(at, why));
      return;
    }
    if ((dnsConfig.nameservers ?? []).length === 0) {
      errors.push(required(`${at}.nameservers`, 'must provide at least one DNS nameserver when `dnsPolicy` is None'));
      return;
    }
  }
  const { nameservers = [], searches = [], options = [] } = dnsConfig ?? {};
  if (nameservers.length > 3) errors.push(invalidValue(`${at}.nameservers`, nameservers, 'must not have more than 3 nameservers'));
  for (const [index, address] of nameservers.entries()) check(errors, `${at}.nameservers[${index}]`, address, ipErrors(address));
  if (searches.length > 32) errors.push(invalidValue(`${at}.searches`, searches, 'must not have more than 32 search paths'));
  if (searches.join(' ').length > maxSearchLength) {
    const why = `must not have more than ${maxSearchLength} characters (including spaces) in the search list`;
    errors.push(invalidValue(`${at}.searches`, searches, why));
  }
  for (const [index, search] of searches.entries()) {
    const path = search.replace(/\.$/, '');
    if (search === '.' || (path.length <= 253 && searchRegex.test(path))) continue;
    check(errors, `${at}.searches[${index}]`, path, dnsSubdomainErrors(path));
  }
  for (const [index, option] of options.entries()) {
    if (isAbsent(option.name) || option.name === '') errors.push(required(`${at}.options[${index}]`, 'must not be empty'));
  }
}
