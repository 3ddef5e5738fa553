import type { LifecycleHandler as V1LifecycleHandler } from 'kubernetes-types/core/v1.d.ts';
import type { DeepReadonly } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { duplicate, forbidden, invalidValue, notFoundValue, notSupported, required } from '../../field-errors.ts';
import {
  check,
  checkEnum,
  checkNonNegative,
  checkPathStaysInside,
  checkPortReference,
  configKeyErrors,
  dnsLabelErrors,
  dnsSubdomainErrors,
  environmentNameErrors,
  httpHeaderErrors,
  portNameErrors,
  portNumberErrors,
} from '../../formats.ts';
import { checkFieldRef, checkResourceFieldRef } from './downward-api.ts';
import type { Container, ContainerPort, EnvVar, Probe } from './pod.ts';
import { checkResources } from './resource-validation.ts';
import { checkSecurityContext } from './security-validation.ts';

/** Fields of the pod that the rules of a container depend on. */
export interface ContainerContext {
  readonly volumes: ReadonlySet<string>;
  readonly hostUsers: boolean;
  readonly restartPolicy: string | undefined;
  readonly graceSeconds: number | undefined;
}

/** The containers of a pod: at least one, names unique, host ports not taken twice. */
export function checkContainers(errors: FieldError[], field: string, containers: readonly Container[], context: ContainerContext): void {
  if (containers.length === 0) errors.push(required(field));
  const names = new Set<string>();
  for (const [index, container] of containers.entries()) {
    const at = `${field}[${index}]`;
    checkContainer(errors, at, container, context);
    if (names.has(container.name)) errors.push(duplicate(`${at}.name`, container.name));
    names.add(container.name);
    checkLifecycle(errors, `${at}.lifecycle`, container.lifecycle, context);
    checkProbes(errors, at, container);
    if (!isAbsent(container.restartPolicy)) {
      checkEnum(errors, `${at}.restartPolicy`, container.restartPolicy, ['Always', 'Never', 'OnFailure']);
    }
  }
  checkHostPorts(errors, field, containers);
}

/** Init containers: those with `restartPolicy: Always` (sidecars) may have probes and hooks, the others may not. */
export function checkInitContainers(
  errors: FieldError[],
  field: string,
  containers: readonly Container[],
  context: ContainerContext & { readonly regularNames: ReadonlySet<string> },
): void {
  const names = new Set<string>();
  for (const [index, container] of containers.entries()) {
    const at = `${field}[${index}]`;
    checkContainer(errors, at, container, context);
    const sidecar = container.restartPolicy === 'Always';
    if (!isAbsent(container.restartPolicy)) {
      checkEnum(errors, `${at}.restartPolicy`, container.restartPolicy, ['Always', 'Never', 'OnFailure']);
    }
    if (names.has(container.name) || context.regularNames.has(container.name)) errors.push(duplicate(`${at}.name`, container.name));
    names.add(container.name);
    // They run one after the other, so only ports of one of them can clash.
    checkHostPorts(errors, field, [container]);
    if (sidecar) {
      checkLifecycle(errors, `${at}.lifecycle`, container.lifecycle, context);
      checkProbes(errors, at, container);
      continue;
    }
    for (const name of ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
      if (!isAbsent(container[name])) {
        errors.push(forbidden(`${at}.${name}`, 'may not be set for init containers without restartPolicy=Always'));
      }
    }
  }
}

function checkContainer(errors: FieldError[], field: string, container: Container, context: ContainerContext): void {
  if (isAbsent(container.name) || container.name === '') errors.push(required(`${field}.name`));
  else check(errors, `${field}.name`, container.name, dnsLabelErrors(container.name));
  if (isAbsent(container.image) || container.image === '') errors.push(required(`${field}.image`));
  checkEnum(errors, `${field}.terminationMessagePolicy`, container.terminationMessagePolicy, ['File', 'FallbackToLogsOnError']);
  if (!isAbsent(container.ports)) checkPorts(errors, `${field}.ports`, container.ports);
  if (!isAbsent(container.env)) checkEnvironment(errors, `${field}.env`, container.env);
  if (!isAbsent(container.envFrom)) checkEnvironmentSources(errors, `${field}.envFrom`, container.envFrom);
  if (!isAbsent(container.volumeMounts)) checkVolumeMounts(errors, `${field}.volumeMounts`, container, context.volumes);
  if (!isAbsent(container.volumeDevices)) checkVolumeDevices(errors, `${field}.volumeDevices`, container, context.volumes);
  checkEnum(errors, `${field}.imagePullPolicy`, container.imagePullPolicy, ['Always', 'IfNotPresent', 'Never']);
  checkResources(errors, `${field}.resources`, container.resources);
  checkResizePolicy(errors, `${field}.resizePolicy`, container, context.restartPolicy);
  checkSecurityContext(errors, `${field}.securityContext`, container.securityContext, context);
}

function checkPorts(errors: FieldError[], field: string, ports: readonly ContainerPort[]): void {
  const names = new Set<string>();
  for (const [index, port] of ports.entries()) {
    const at = `${field}[${index}]`;
    if (!isAbsent(port.name) && port.name !== '') {
      const sentences = portNameErrors(port.name);
      check(errors, `${at}.name`, port.name, sentences);
      if (sentences.length === 0 && names.has(port.name)) errors.push(duplicate(`${at}.name`, port.name));
      names.add(port.name);
    }
    if ((port.containerPort ?? 0) === 0) errors.push(required(`${at}.containerPort`));
    else check(errors, `${at}.containerPort`, port.containerPort, portNumberErrors(port.containerPort));
    const hostPort = port.hostPort ?? 0;
    if (hostPort !== 0) check(errors, `${at}.hostPort`, hostPort, portNumberErrors(hostPort));
    checkEnum(errors, `${at}.protocol`, port.protocol, ['SCTP', 'TCP', 'UDP']);
  }
}

/** On the node's own network a port is the node's: a pod names both, and a template may leave the host's to be filled in. */
export function checkHostNetworkPorts(errors: FieldError[], field: string, containers: readonly Container[]): void {
  for (const [index, { ports }] of containers.entries()) {
    for (const [number, { hostPort = 0, containerPort }] of (ports ?? []).entries()) {
      if (hostPort === 0 || hostPort === containerPort) continue;
      const why = 'must match `containerPort` when `hostNetwork` is true';
      errors.push(invalidValue(`${field}[${index}].ports[${number}].hostPort`, hostPort, why));
    }
  }
}

/** Templates may have images with spaces around them, pods may not. */
export function checkImages(errors: FieldError[], field: string, containers: readonly Container[]): void {
  for (const [index, { image = '' }] of containers.entries()) {
    if (image.trim() !== image)
      errors.push(invalidValue(`${field}[${index}].image`, image, 'must not have leading or trailing whitespace'));
  }
}

function checkHostPorts(errors: FieldError[], field: string, containers: readonly Container[]): void {
  const taken = new Set<string>();
  for (const [index, container] of containers.entries()) {
    for (const [number, port] of (container.ports ?? []).entries()) {
      if ((port.hostPort ?? 0) === 0) continue;
      const key = `${port.protocol ?? ''}/${port.hostIP ?? ''}/${port.hostPort}`;
      if (taken.has(key)) errors.push(duplicate(`${field}[${index}].ports[${number}].hostPort`, key));
      taken.add(key);
    }
  }
}

function checkEnvironment(errors: FieldError[], field: string, variables: readonly EnvVar[]): void {
  for (const [index, { name, value, valueFrom }] of variables.entries()) {
    const at = `${field}[${index}]`;
    if (isAbsent(name) || name === '') errors.push(required(`${at}.name`));
    else check(errors, `${at}.name`, name, environmentNameErrors(name));
    if (isAbsent(valueFrom)) continue;
    const from = `${at}.valueFrom`;
    const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef } = valueFrom;
    const sources = [fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef].filter((source) => !isAbsent(source)).length;
    if (!isAbsent(fieldRef)) checkFieldRef(errors, `${from}.fieldRef`, fieldRef, 'env');
    if (!isAbsent(resourceFieldRef)) checkResourceFieldRef(errors, `${from}.resourceFieldRef`, resourceFieldRef, 'env');
    if (!isAbsent(configMapKeyRef)) checkKeyRef(errors, `${from}.configMapKeyRef`, configMapKeyRef);
    if (!isAbsent(secretKeyRef)) checkKeyRef(errors, `${from}.secretKeyRef`, secretKeyRef);
    const choices = '`fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`';
    if (sources === 0) errors.push(invalidValue(from, '', `must specify one of: ${choices}`));
    else if (!isAbsent(value) && value !== '') errors.push(invalidValue(from, '', 'may not be specified when `value` is not empty'));
    else if (sources > 1) errors.push(invalidValue(from, '', 'may not have more than one field specified at a time'));
  }
}

function checkKeyRef(errors: FieldError[], field: string, { name, key }: { readonly name?: string; readonly key: string }): void {
  check(errors, `${field}.name`, name ?? '', dnsSubdomainErrors(name ?? ''));
  if (isAbsent(key) || key === '') errors.push(required(`${field}.key`));
  else check(errors, `${field}.key`, key, configKeyErrors(key));
}

function checkEnvironmentSources(errors: FieldError[], field: string, sources: NonNullable<Container['envFrom']>): void {
  for (const [index, { prefix, configMapRef, secretRef }] of sources.entries()) {
    const at = `${field}[${index}]`;
    if (!isAbsent(prefix) && prefix !== '') check(errors, `${at}.prefix`, prefix, environmentNameErrors(prefix));
    for (const [kind, ref] of [
      ['configMapRef', configMapRef],
      ['secretRef', secretRef],
    ] as const) {
      if (isAbsent(ref)) continue;
      if (isAbsent(ref.name) || ref.name === '') errors.push(required(`${at}.${kind}.name`));
      else check(errors, `${at}.${kind}.name`, ref.name, dnsSubdomainErrors(ref.name));
    }
    if (isAbsent(configMapRef) && isAbsent(secretRef)) {
      errors.push(invalidValue(field, '', 'must specify one of: `configMapRef` or `secretRef`'));
    } else if (!isAbsent(configMapRef) && !isAbsent(secretRef)) {
      errors.push(invalidValue(field, '', 'may not have more than one field specified at a time'));
    }
  }
}

/** Errors about parts of a mount name no index, as upstream's do not. */
function checkVolumeMounts(errors: FieldError[], field: string, container: Container, volumes: ReadonlySet<string>): void {
  const paths = new Set<string>();
  const { volumeMounts = [], volumeDevices = [] } = container;
  for (const [index, mount] of volumeMounts.entries()) {
    const at = `${field}[${index}]`;
    const { name, mountPath, subPath = '', subPathExpr = '', mountPropagation } = mount;
    if (isAbsent(name) || name === '') errors.push(required(`${at}.name`));
    if (!volumes.has(name)) errors.push(notFoundValue(`${at}.name`, name ?? ''));
    if (isAbsent(mountPath) || mountPath === '') errors.push(required(`${at}.mountPath`));
    if (paths.has(mountPath)) errors.push(invalidValue(`${at}.mountPath`, mountPath, 'must be unique'));
    paths.add(mountPath);
    if (volumeDevices.some((device) => device.name === name)) {
      errors.push(invalidValue(`${at}.name`, name, 'must not already exist in volumeDevices'));
    }
    if (volumeDevices.some((device) => device.devicePath === mountPath)) {
      errors.push(invalidValue(`${at}.mountPath`, mountPath, 'must not already exist as a path in volumeDevices'));
    }
    if (subPath !== '') checkPathStaysInside(errors, `${field}.subPath`, subPath);
    if (subPathExpr !== '') {
      if (subPath !== '') errors.push(invalidValue(`${at}.subPathExpr`, subPathExpr, 'subPathExpr and subPath are mutually exclusive'));
      checkPathStaysInside(errors, `${field}.subPathExpr`, subPathExpr);
    }
    if (!isAbsent(mountPropagation)) {
      if (!propagations.includes(mountPropagation)) {
        errors.push(notSupported(`${field}.mountPropagation`, mountPropagation, propagations));
      } else if (mountPropagation === 'Bidirectional' && container.securityContext?.privileged !== true) {
        const why = 'Bidirectional mount propagation is available only to privileged containers';
        errors.push(forbidden(`${field}.mountPropagation`, why));
      }
    }
    checkRecursiveReadOnly(errors, `${field}.recursiveReadOnly`, mount);
  }
}

const propagations: readonly string[] = ['Bidirectional', 'HostToContainer', 'None'];

type VolumeMount = NonNullable<Container['volumeMounts']>[number] & { readonly recursiveReadOnly?: string };

function checkRecursiveReadOnly(errors: FieldError[], field: string, mount: VolumeMount): void {
  const { recursiveReadOnly, readOnly, mountPropagation } = mount;
  if (isAbsent(recursiveReadOnly) || recursiveReadOnly === 'Disabled') return;
  if (recursiveReadOnly !== 'IfPossible' && recursiveReadOnly !== 'Enabled') {
    errors.push(notSupported(field, recursiveReadOnly, ['Disabled', 'Enabled', 'IfPossible']));
    return;
  }
  if (readOnly !== true) errors.push(forbidden(field, 'may only be specified when readOnly is true'));
  if (!isAbsent(mountPropagation) && mountPropagation !== 'None') {
    errors.push(forbidden(field, 'may only be specified when mountPropagation is None or not specified'));
  }
}

function checkVolumeDevices(errors: FieldError[], field: string, container: Container, volumes: ReadonlySet<string>): void {
  const names = new Set<string>();
  const paths = new Set<string>();
  const { volumeMounts = [], volumeDevices = [] } = container;
  for (const [index, { name, devicePath }] of volumeDevices.entries()) {
    const at = `${field}[${index}]`;
    if (isAbsent(name) || name === '') errors.push(required(`${at}.name`));
    if (names.has(name)) errors.push(invalidValue(`${at}.name`, name, 'must be unique'));
    if (!volumes.has(name)) errors.push(notFoundValue(`${at}.name`, name ?? ''));
    if (isAbsent(devicePath) || devicePath === '') errors.push(required(`${at}.devicePath`));
    if (paths.has(devicePath)) errors.push(invalidValue(`${at}.devicePath`, devicePath, 'must be unique'));
    if (devicePath?.split('/').includes('..') === true) {
      errors.push(invalidValue(`${at}.devicePath`, devicePath, "can not contain backsteps ('..')"));
    } else {
      paths.add(devicePath);
    }
    if (volumeMounts.some((mount) => mount.name === name)) {
      errors.push(invalidValue(`${at}.name`, name, 'must not already exist in volumeMounts'));
    }
    if (volumeMounts.some((mount) => mount.mountPath === devicePath)) {
      errors.push(invalidValue(`${at}.devicePath`, devicePath, 'must not already exist as a path in volumeMounts'));
    }
    if (!isAbsent(name) && name !== '') names.add(name);
  }
}

type Resizable = Container & {
  readonly resizePolicy?: readonly { readonly resourceName?: string; readonly restartPolicy?: string }[];
};

function checkResizePolicy(errors: FieldError[], field: string, { resizePolicy }: Resizable, podRestartPolicy: string | undefined): void {
  const resources = new Set<string>();
  for (const [index, { resourceName = '', restartPolicy = '' }] of (resizePolicy ?? []).entries()) {
    if (resources.has(resourceName)) errors.push(duplicate(`${field}[${index}]`, resourceName));
    resources.add(resourceName);
    checkEnum(errors, field, resourceName, ['cpu', 'memory']);
    checkEnum(errors, field, restartPolicy, ['NotRequired', 'RestartContainer']);
    if (podRestartPolicy === 'Never' && restartPolicy !== 'NotRequired') {
      errors.push(invalidValue(field, restartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"));
    }
  }
}

function checkProbes(errors: FieldError[], field: string, container: Container): void {
  checkProbe(errors, `${field}.livenessProbe`, container.livenessProbe, { once: true });
  checkProbe(errors, `${field}.readinessProbe`, container.readinessProbe, { once: false });
  if (!isAbsent(container.readinessProbe?.terminationGracePeriodSeconds)) {
    const value = container.readinessProbe.terminationGracePeriodSeconds;
    errors.push(invalidValue(`${field}.readinessProbe.terminationGracePeriodSeconds`, value, 'must not be set for readinessProbes'));
  }
  checkProbe(errors, `${field}.startupProbe`, container.startupProbe, { once: true });
}

/** `once`: one success is enough, and no other threshold makes sense. */
function checkProbe(errors: FieldError[], field: string, probe: Probe | undefined, { once }: { readonly once: boolean }): void {
  if (isAbsent(probe)) return;
  checkHandler(errors, field, probe);
  for (const name of ['initialDelaySeconds', 'timeoutSeconds', 'periodSeconds', 'successThreshold', 'failureThreshold'] as const) {
    checkNonNegative(errors, `${field}.${name}`, probe[name]);
  }
  if (!isAbsent(probe.terminationGracePeriodSeconds) && probe.terminationGracePeriodSeconds <= 0) {
    const value = probe.terminationGracePeriodSeconds;
    errors.push(invalidValue(`${field}.terminationGracePeriodSeconds`, value, 'must be greater than 0'));
  }
  if (once && probe.successThreshold !== 1) {
    errors.push(invalidValue(`${field}.successThreshold`, probe.successThreshold ?? 0, 'must be 1'));
  }
}

type Handler = Pick<Probe, 'exec' | 'httpGet' | 'tcpSocket' | 'grpc'> & Pick<DeepReadonly<V1LifecycleHandler>, 'sleep'>;

function checkHandler(errors: FieldError[], field: string, handler: Handler, graceSeconds?: number): void {
  let found = 0;
  const isFirst = (name: string): boolean => {
    found += 1;
    if (found > 1) errors.push(forbidden(`${field}.${name}`, 'may not specify more than 1 handler type'));
    return found === 1;
  };
  const { exec, httpGet, tcpSocket, grpc, sleep } = handler;
  if (!isAbsent(exec) && isFirst('exec') && (exec.command ?? []).length === 0) errors.push(required(`${field}.exec.command`));
  if (!isAbsent(httpGet) && isFirst('httpGet')) {
    const at = `${field}.httpGet`;
    if (isAbsent(httpGet.path) || httpGet.path === '') errors.push(required(`${at}.path`));
    checkPortReference(errors, `${at}.port`, httpGet.port);
    if (httpGet.scheme !== 'HTTP' && httpGet.scheme !== 'HTTPS') {
      errors.push(notSupported(`${at}.scheme`, httpGet.scheme ?? '', ['HTTP', 'HTTPS']));
    }
    for (const header of httpGet.httpHeaders ?? []) {
      check(errors, `${at}.httpHeaders`, header.name, httpHeaderErrors(header.name ?? ''));
    }
  }
  if (!isAbsent(tcpSocket) && isFirst('tcpSocket')) checkPortReference(errors, `${field}.tcpSocket.port`, tcpSocket.port);
  if (!isAbsent(grpc) && isFirst('grpc')) checkPortReference(errors, `${field}.grpc.port`, grpc.port);
  if (!isAbsent(sleep) && isFirst('sleep') && !isAbsent(graceSeconds)) {
    const { seconds = 0 } = sleep;
    if (seconds < 0 || seconds > graceSeconds) {
      const why = `must be non-negative and less than terminationGracePeriodSeconds (${graceSeconds})`;
      errors.push(invalidValue(`${field}.sleep`, seconds, why));
    }
  }
  if (found === 0) errors.push(required(field, 'must specify a handler type'));
}

function checkLifecycle(errors: FieldError[], field: string, lifecycle: Container['lifecycle'], context: ContainerContext): void {
  if (isAbsent(lifecycle)) return;
  if (!isAbsent(lifecycle.postStart)) checkHandler(errors, `${field}.postStart`, lifecycle.postStart, context.graceSeconds);
  if (!isAbsent(lifecycle.preStop)) checkHandler(errors, `${field}.preStop`, lifecycle.preStop, context.graceSeconds);
}
