import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { forbidden, invalidStruct, invalidValue, notSupported, required, tooLong } from '../../field-errors.ts';
import { check, checkPathStaysInside, userIdErrors } from '../../formats.ts';
import type { Container, PodSpec } from './pod.ts';

/** Rules of what a pod and its containers may do on their node. */

type PodContext = NonNullable<PodSpec['securityContext']>;
type ContainerSecurity = NonNullable<Container['securityContext']>;
type SeccompProfile = NonNullable<PodContext['seccompProfile']>;
type AppArmorProfile = NonNullable<PodContext['appArmorProfile']>;

/** Fields that are newer than the types. */
type NewerPodContext = PodContext & { readonly supplementalGroupsPolicy?: string; readonly seLinuxChangePolicy?: string };

export function checkPodSecurityContext(errors: FieldError[], field: string, spec: PodSpec): void {
  const context: NewerPodContext | undefined = spec.securityContext;
  const isShared = spec.shareProcessNamespace === true && spec.hostPID === true;
  for (const name of ['fsGroup', 'runAsUser', 'runAsGroup'] as const) {
    const id = context?.[name];
    if (!isAbsent(id)) check(errors, `${field}.${name}`, id, userIdErrors(id));
  }
  for (const [index, group] of (context?.supplementalGroups ?? []).entries()) {
    check(errors, `${field}.supplementalGroups[${index}]`, group, userIdErrors(group));
  }
  if (isShared) {
    errors.push(invalidValue(`${field}.shareProcessNamespace`, true, 'ShareProcessNamespace and HostPID cannot both be enabled'));
  }
  if (isAbsent(context)) return;
  checkSysctls(errors, `${field}.sysctls`, context.sysctls ?? [], spec);
  const policy = context.fsGroupChangePolicy;
  if (!isAbsent(policy)) checkOneOf(errors, `${field}.fsGroupChangePolicy`, policy, ['Always', 'OnRootMismatch']);
  checkSeccompProfile(errors, `${field}.seccompProfile`, context.seccompProfile);
  checkAppArmorProfile(errors, `${field}.appArmorProfile`, context.appArmorProfile);
  const { supplementalGroupsPolicy, seLinuxChangePolicy } = context;
  if (!isAbsent(supplementalGroupsPolicy)) {
    checkOneOf(errors, `${field}.supplementalGroupsPolicy`, supplementalGroupsPolicy, ['Merge', 'Strict']);
  }
  if (!isAbsent(seLinuxChangePolicy)) {
    checkOneOf(errors, `${field}.seLinuxChangePolicy`, seLinuxChangePolicy, ['MountOption', 'Recursive']);
  }
}

export function checkSecurityContext(
  errors: FieldError[],
  field: string,
  context: ContainerSecurity | undefined,
  { hostUsers }: { readonly hostUsers: boolean },
): void {
  if (isAbsent(context)) return;
  if (!isAbsent(context.runAsUser)) check(errors, `${field}.runAsUser`, context.runAsUser, userIdErrors(context.runAsUser));
  if (!isAbsent(context.runAsGroup)) check(errors, `${field}.runAsGroup`, context.runAsGroup, userIdErrors(context.runAsGroup));
  const { procMount } = context;
  if (!isAbsent(procMount)) {
    checkOneOf(errors, `${field}.procMount`, procMount, ['Default', 'Unmasked']);
    if (hostUsers && procMount === 'Unmasked') {
      errors.push(invalidValue(`${field}.procMount`, procMount, '`hostUsers` must be false to use `Unmasked`'));
    }
  }
  checkSeccompProfile(errors, `${field}.seccompProfile`, context.seccompProfile);
  if (context.allowPrivilegeEscalation === false) {
    const both = (what: string): FieldError =>
      invalidStruct(field, 'core/v1.SecurityContext', context, `cannot set \`allowPrivilegeEscalation\` to false and ${what}`);
    if (context.privileged === true) errors.push(both('`privileged` to true'));
    for (const name of context.capabilities?.add ?? []) if (name === 'CAP_SYS_ADMIN') errors.push(both('`capabilities.Add` CAP_SYS_ADMIN'));
  }
  checkAppArmorProfile(errors, `${field}.appArmorProfile`, context.appArmorProfile);
}

const sysctlRegex = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$/;
const sysctlError =
  'must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$';

function checkSysctls(errors: FieldError[], field: string, sysctls: NonNullable<PodContext['sysctls']>, spec: PodSpec): void {
  const names = new Set<string>();
  for (const [index, { name = '' }] of sysctls.entries()) {
    const at = `${field}[${index}].name`;
    if (name === '') errors.push(required(at));
    else if (name.length > 253 || !sysctlRegex.test(name)) errors.push(invalidValue(at, name, sysctlError));
    else if (names.has(name)) errors.push({ type: 'FieldValueDuplicate', field: at, message: `Duplicate value: ${JSON.stringify(name)}` });
    const dotted = name.replaceAll('/', '.');
    if (spec.hostNetwork === true && dotted.startsWith('net.')) {
      errors.push(invalidValue(at, name, "may not be specified when 'hostNetwork' is true"));
    } else if (spec.hostIPC === true && /^(kernel\.(sem$|shm|msg)|fs\.mqueue\.)/.test(dotted)) {
      errors.push(invalidValue(at, name, "may not be specified when 'hostIPC' is true"));
    }
    names.add(name);
  }
}

const profileTypes = ['Localhost', 'RuntimeDefault', 'Unconfined'] as const;

function checkSeccompProfile(errors: FieldError[], field: string, profile: SeccompProfile | undefined): void {
  if (isAbsent(profile)) return;
  const { type = '', localhostProfile } = profile;
  if (type === '') errors.push(required(`${field}.type`, 'type is required when seccompProfile is set'));
  else checkOneOf(errors, `${field}.type`, type, profileTypes);
  const at = `${field}.localhostProfile`;
  if (type !== 'Localhost') {
    if (!isAbsent(localhostProfile)) {
      errors.push(invalidStruct(at, 'core/v1.SeccompProfile', profile, 'can only be set when seccomp type is Localhost'));
    }
  } else if (isAbsent(localhostProfile)) errors.push(required(at, 'must be set when seccomp type is Localhost'));
  else checkPathStaysInside(errors, at, localhostProfile);
}

/** Longest path of a profile: PATH_MAX - 1. */
const maxProfileLength = 4095;

function checkAppArmorProfile(errors: FieldError[], field: string, profile: AppArmorProfile | undefined): void {
  if (isAbsent(profile)) return;
  const { type = '', localhostProfile } = profile;
  const at = `${field}.localhostProfile`;
  switch (type) {
    case 'Localhost':
      if (isAbsent(localhostProfile) || localhostProfile === '') errors.push(required(at, 'must be set when AppArmor type is Localhost'));
      else if (localhostProfile.trim() !== localhostProfile) {
        errors.push(invalidValue(at, localhostProfile, 'must not be padded with whitespace'));
      }
      if (Buffer.byteLength(localhostProfile ?? '') > maxProfileLength) errors.push(tooLong(at, maxProfileLength));
      return;
    case 'RuntimeDefault':
    case 'Unconfined':
      if (!isAbsent(localhostProfile)) errors.push(invalidValue(at, localhostProfile, 'can only be set when AppArmor type is Localhost'));
      return;
    case '':
      errors.push(required(`${field}.type`, 'type is required when appArmorProfile is set'));
      return;
    default:
      errors.push(notSupported(`${field}.type`, type, profileTypes));
  }
}

function checkOneOf(errors: FieldError[], field: string, value: string, supported: readonly string[]): void {
  if (!supported.includes(value)) errors.push(notSupported(field, value, supported));
}

/** A pod whose users are not the node's shares no other namespace with it. */
export function checkHostUsers(errors: FieldError[], field: string, spec: PodSpec): void {
  if (spec.hostUsers !== false) return;
  const why = 'when `hostUsers` is false';
  if (spec.hostNetwork === true) errors.push(forbidden(`${field}.hostNetwork`, why));
  // Upstream spells these two so.
  if (spec.hostPID === true) errors.push(forbidden(`${field}.HostPID`, why));
  if (spec.hostIPC === true) errors.push(forbidden(`${field}.HostIPC`, why));
}

/** Fields that only the other operating system has, so a pod must not set them. */
export function checkOperatingSystem(errors: FieldError[], field: string, spec: PodSpec): void {
  const { os } = spec;
  if (isAbsent(os)) return;
  if ((os.name ?? '') === '') errors.push(required(`${field}.os.name`, 'cannot be empty'));
  else if (os.name === 'linux') checkLinux(errors, field, spec);
  else if (os.name === 'windows') checkWindows(errors, field, spec);
  else errors.push(notSupported(`${field}.os`, os.name, ['linux', 'windows']));
}

const containersOf = (field: string, spec: PodSpec): readonly (readonly [at: string, context: ContainerSecurity | undefined])[] => [
  ...(spec.initContainers ?? []).map(({ securityContext }, index) => [`${field}.initContainers[${index}]`, securityContext] as const),
  ...(spec.containers ?? []).map(({ securityContext }, index) => [`${field}.containers[${index}]`, securityContext] as const),
];

function checkLinux(errors: FieldError[], field: string, spec: PodSpec): void {
  const why = 'windows options cannot be set for a linux pod';
  if (!isAbsent(spec.securityContext?.windowsOptions)) errors.push(forbidden(`${field}.securityContext.windowsOptions`, why));
  for (const [at, context] of containersOf(field, spec)) {
    if (!isAbsent(context?.windowsOptions)) errors.push(forbidden(`${at}.securityContext.windowsOptions`, why));
  }
}

function checkWindows(errors: FieldError[], field: string, spec: PodSpec): void {
  const context: NewerPodContext = spec.securityContext ?? {};
  const refuse = (at: string, value: unknown): void => {
    const isUnset = isAbsent(value) || value === false || (Array.isArray(value) && value.length === 0);
    if (!isUnset) errors.push(forbidden(at, 'cannot be set for a windows pod'));
  };
  const ofPod = (name: keyof NewerPodContext): void => refuse(`${field}.securityContext.${name}`, context[name]);
  ofPod('appArmorProfile');
  ofPod('seLinuxOptions');
  if (!isAbsent(spec.hostUsers)) errors.push(forbidden(`${field}.hostUsers`, 'cannot be set for a windows pod'));
  refuse(`${field}.hostPID`, spec.hostPID);
  refuse(`${field}.hostIPC`, spec.hostIPC);
  for (const name of ['seccompProfile', 'fsGroup', 'fsGroupChangePolicy', 'sysctls'] as const) ofPod(name);
  if (!isAbsent(spec.shareProcessNamespace)) errors.push(forbidden(`${field}.shareProcessNamespace`, 'cannot be set for a windows pod'));
  for (const name of ['runAsUser', 'runAsGroup', 'supplementalGroups', 'supplementalGroupsPolicy', 'seLinuxChangePolicy'] as const) {
    ofPod(name);
  }
  for (const [at, security] of containersOf(field, spec)) {
    for (const name of linuxContainerFields) {
      if (!isAbsent(security?.[name])) errors.push(forbidden(`${at}.securityContext.${name}`, 'cannot be set for a windows pod'));
    }
  }
}

const linuxContainerFields = [
  ...(['appArmorProfile', 'seLinuxOptions', 'seccompProfile', 'capabilities', 'readOnlyRootFilesystem', 'privileged'] as const),
  ...(['allowPrivilegeEscalation', 'procMount', 'runAsUser', 'runAsGroup'] as const),
];
