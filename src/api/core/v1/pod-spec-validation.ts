import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { forbidden, invalidValue, notSupported, required } from '../../field-errors.ts';
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
  userIdErrors,
} from '../../formats.ts';
import { checkContainers, checkInitContainers } from './container-validation.ts';
import type { PodSpec, PodTemplateSpec } from './pod.ts';
import { checkAffinity, checkTolerations, checkTopologySpread } from './scheduling-validation.ts';
import { checkVolumes } from './volume-validation.ts';

const maxInt32 = 2147483647;

/** Specs known to be valid, all frozen: a workload's template is checked again only when it changes. */
const validSpecs = new WeakSet<PodSpec>();

/** The pod template of a workload, in the order of upstream's checks. */
export function checkPodTemplate(errors: FieldError[], field: string, template: PodTemplateSpec): void {
  checkLabels(errors, `${field}.labels`, template.metadata?.labels);
  checkAnnotations(errors, `${field}.annotations`, template.metadata?.annotations);
  const { spec = { containers: [] } } = template;
  checkPodAnnotations(errors, `${field}.annotations`, template.metadata?.annotations, spec);
  checkPodSpec(errors, `${field}.spec`, spec);
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
export function checkPodSpec(errors: FieldError[], field: string, spec: PodSpec): void {
  if (validSpecs.has(spec)) return;
  const before = errors.length;
  const hostNetwork = spec.hostNetwork === true;
  const volumes = checkVolumes(errors, `${field}.volumes`, spec.volumes ?? []);
  const containers = spec.containers ?? [];
  checkContainers(errors, `${field}.containers`, containers, { volumes, hostNetwork });
  if (!isAbsent(spec.initContainers)) {
    const regularNames = new Set(containers.map((container) => container.name));
    checkInitContainers(errors, `${field}.initContainers`, spec.initContainers, { volumes, hostNetwork, regularNames });
  }
  checkEnum(errors, `${field}.restartPolicy`, spec.restartPolicy, ['Always', 'OnFailure', 'Never']);
  checkEnum(errors, `${field}.dnsPolicy`, spec.dnsPolicy, ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None']);
  checkLabels(errors, `${field}.nodeSelector`, spec.nodeSelector);
  checkPodSecurityContext(errors, `${field}.securityContext`, spec.securityContext);
  for (const [index, { name }] of (spec.imagePullSecrets ?? []).entries()) {
    if (isAbsent(name) || name === '') errors.push(required(`${field}.imagePullSecrets[${index}].name`));
  }
  if (!isAbsent(spec.affinity)) checkAffinity(errors, `${field}.affinity`, spec.affinity);
  checkDns(errors, field, spec);
  checkTopologySpread(errors, `${field}.topologySpreadConstraints`, spec.topologySpreadConstraints ?? []);
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
  checkOptional(errors, `${field}.runtimeClassName`, spec.runtimeClassName, dnsSubdomainErrors);
  const { preemptionPolicy } = spec;
  if (!isAbsent(preemptionPolicy)) {
    checkEnum(errors, `${field}.preemptionPolicy`, preemptionPolicy, ['PreemptLowerPriority', 'Never']);
  }
  if (errors.length === before && Object.isFrozen(spec)) validSpecs.add(spec);
}

function checkOptional(
  errors: FieldError[],
  field: string,
  value: string | undefined,
  sentencesOf: (text: string) => readonly string[],
): void {
  if (!isAbsent(value) && value !== '') check(errors, field, value, sentencesOf(value));
}

const sysctlRegex = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$/;
const sysctlError =
  'must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$';

function checkPodSecurityContext(errors: FieldError[], field: string, context: PodSpec['securityContext']): void {
  if (isAbsent(context)) return;
  for (const name of ['fsGroup', 'runAsUser', 'runAsGroup'] as const) {
    const id = context[name];
    if (!isAbsent(id)) check(errors, `${field}.${name}`, id, userIdErrors(id));
  }
  for (const [index, group] of (context.supplementalGroups ?? []).entries()) {
    check(errors, `${field}.supplementalGroups[${index}]`, group, userIdErrors(group));
  }
  const names = new Set<string>();
  for (const [index, { name = '' }] of (context.sysctls ?? []).entries()) {
    const at = `${field}.sysctls[${index}].name`;
    if (name === '') errors.push(required(at));
    else if (name.length > 253 || !sysctlRegex.test(name)) errors.push(invalidValue(at, name, sysctlError));
    else if (names.has(name)) errors.push({ type: 'FieldValueDuplicate', field: at, message: `Duplicate value: ${JSON.stringify(name)}` });
    names.add(name);
  }
  const policy = context.fsGroupChangePolicy;
  if (!isAbsent(policy) && policy !== 'Always' && policy !== 'OnRootMismatch') {
    errors.push(notSupported(`${field}.fsGroupChangePolicy`, policy, ['Always', 'OnRootMismatch']));
  }
}

function checkDns(errors: FieldError[], field: string, { dnsPolicy, dnsConfig }: PodSpec): void {
  const at = `${field}.dnsConfig`;
  if (dnsPolicy === 'None') {
    const why = 'must provide `dnsConfig` when `dnsPolicy` is None';
    if (isAbsent(dnsConfig)) errors.push(required(at, why));
    else if ((dnsConfig.nameservers ?? []).length === 0) {
      errors.push(required(`${at}.nameservers`, 'must provide at least one DNS nameserver when `dnsPolicy` is None'));
    }
  }
  const { nameservers = [], searches = [], options = [] } = dnsConfig ?? {};
  if (nameservers.length > 3) errors.push(invalidValue(`${at}.nameservers`, nameservers, 'must not have more than 3 nameservers'));
  for (const [index, address] of nameservers.entries()) check(errors, `${at}.nameservers[${index}]`, address, ipErrors(address));
  if (searches.length > 32) errors.push(invalidValue(`${at}.searches`, searches, 'must not have more than 32 search paths'));
  for (const [index, option] of options.entries()) {
    if (isAbsent(option.name) || option.name === '') errors.push(required(`${at}.options[${index}]`, 'must not be empty'));
  }
}
