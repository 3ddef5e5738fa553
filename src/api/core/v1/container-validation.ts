import type { LifecycleHandler as V1LifecycleHandler } from 'kubernetes-types/core/v1.d.ts';
import type { DeepReadonly } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { duplicate, forbidden, invalidStruct, invalidValue, notFoundValue, notSupported, required } from '../../field-errors.ts';
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
  userIdErrors,
} from '../../formats.ts';
import { checkFieldRef, checkResourceFieldRef } from './downward-api.ts';
import type { Container, ContainerPort, EnvVar, Probe } from './pod.ts';
import { checkResources } from './resource-validation.ts';

/** What the rules of a container need to know of its pod. */
export interface ContainerContext {
  readonly volumes: ReadonlySet<string>;
  readonly hostNetwork: boolean;
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
    checkLifecycle(errors, `${at}.lifecycle`, container.lifecycle);
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
    if (sidecar) {
      checkLifecycle(errors, `${at}.lifecycle`, container.lifecycle);
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

function checkContainer(errors: FieldError[], field: string, container: Container, { volumes, hostNetwork }: ContainerContext): void {
  if (isAbsent(container.name) || container.name === '') errors.push(required(`${field}.name`));
  else check(errors, `${field}.name`, container.name, dnsLabelErrors(container.name));
  if (isAbsent(container.image) || container.image === '') errors.push(required(`${field}.image`));
  else if (container.image.trim() !== container.image) {
    errors.push(invalidValue(`${field}.image`, container.image, 'must not have leading or trailing whitespace'));
  }
  checkEnum(errors, `${field}.terminationMessagePolicy`, container.terminationMessagePolicy, ['FallbackToLogsOnError', 'File']);
  if (!isAbsent(container.ports)) checkPorts(errors, `${field}.ports`, container.ports, hostNetwork);
  if (!isAbsent(container.env)) checkEnvironment(errors, `${field}.env`, container.env);
  if (!isAbsent(container.envFrom)) checkEnvironmentSources(errors, `${field}.envFrom`, container.envFrom);
  if (!isAbsent(container.volumeMounts)) checkVolumeMounts(errors, `${field}.volumeMounts`, container.volumeMounts, volumes);
  for (const [index, device] of (container.volumeDevices ?? []).entries()) {
    if (!volumes.has(device.name)) errors.push(notFoundValue(`${field}.volumeDevices[${index}].name`, device.name));
    if (device.devicePath === '') errors.push(required(`${field}.volumeDevices[${index}].devicePath`));
  }
  checkEnum(errors, `${field}.imagePullPolicy`, container.imagePullPolicy, ['Always', 'IfNotPresent', 'Never']);
  checkResources(errors, `${field}.resources`, container.resources);
  checkSecurityContext(errors, `${field}.securityContext`, container.securityContext);
}

function checkPorts(errors: FieldError[], field: string, ports: readonly ContainerPort[], hostNetwork: boolean): void {
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
    if (hostNetwork && hostPort !== 0 && hostPort !== port.containerPort) {
      errors.push(invalidValue(`${at}.containerPort`, port.containerPort, 'must match `hostPort` when `hostNetwork` is true'));
    }
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
  if (!isAbsent(name) && name !== '') check(errors, `${field}.name`, name, dnsSubdomainErrors(name));
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
      errors.push(invalidValue(at, '', 'must specify one of: `configMapRef` or `secretRef`'));
    } else if (!isAbsent(configMapRef) && !isAbsent(secretRef)) {
      errors.push(invalidValue(at, '', 'may not have more than one field specified at a time'));
    }
  }
}

function checkVolumeMounts(
  errors: FieldError[],
  field: string,
  mounts: NonNullable<Container['volumeMounts']>,
  volumes: ReadonlySet<string>,
): void {
  const paths = new Set<string>();
  for (const [index, mount] of mounts.entries()) {
    const at = `${field}[${index}]`;
    if (isAbsent(mount.name) || mount.name === '') errors.push(required(`${at}.name`));
    if (!volumes.has(mount.name)) errors.push(notFoundValue(`${at}.name`, mount.name));
    if (isAbsent(mount.mountPath) || mount.mountPath === '') errors.push(required(`${at}.mountPath`));
    if (paths.has(mount.mountPath)) errors.push(invalidValue(`${at}.mountPath`, mount.mountPath, 'must be unique'));
    paths.add(mount.mountPath);
    if (!isAbsent(mount.subPath) && mount.subPath !== '') checkPathStaysInside(errors, `${at}.subPath`, mount.subPath);
    if (!isAbsent(mount.subPathExpr) && mount.subPathExpr !== '') {
      if (!isAbsent(mount.subPath) && mount.subPath !== '') {
        errors.push(invalidValue(`${at}.subPathExpr`, mount.subPathExpr, 'subPathExpr and subPath are mutually exclusive'));
      }
      checkPathStaysInside(errors, `${at}.subPathExpr`, mount.subPathExpr);
    }
    if (!isAbsent(mount.mountPropagation)) {
      checkEnum(errors, `${at}.mountPropagation`, mount.mountPropagation, ['Bidirectional', 'HostToContainer', 'None']);
    }
  }
}

function checkSecurityContext(errors: FieldError[], field: string, context: Container['securityContext']): void {
  if (isAbsent(context)) return;
  if (!isAbsent(context.runAsUser)) check(errors, `${field}.runAsUser`, context.runAsUser, userIdErrors(context.runAsUser));
  if (!isAbsent(context.runAsGroup)) check(errors, `${field}.runAsGroup`, context.runAsGroup, userIdErrors(context.runAsGroup));
  if (context.allowPrivilegeEscalation === false) {
    if (context.privileged === true) {
      errors.push(
        invalidStruct(field, 'core/v1.SecurityContext', context, 'cannot set `allowPrivilegeEscalation` to false and `privileged` to true'),
      );
    }
    if (context.capabilities?.add?.some((name) => name === 'CAP_SYS_ADMIN') === true) {
      errors.push(
        invalidStruct(
          field,
          'core/v1.SecurityContext',
          context,
          'cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN',
        ),
      );
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

function checkHandler(errors: FieldError[], field: string, handler: Handler): void {
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
    for (const [index, header] of (httpGet.httpHeaders ?? []).entries()) {
      check(errors, `${at}.httpHeaders[${index}].name`, header.name, httpHeaderErrors(header.name ?? ''));
    }
  }
  if (!isAbsent(tcpSocket) && isFirst('tcpSocket')) checkPortReference(errors, `${field}.tcpSocket.port`, tcpSocket.port);
  if (!isAbsent(grpc) && isFirst('grpc')) checkPortReference(errors, `${field}.grpc.port`, grpc.port);
  if (!isAbsent(sleep) && isFirst('sleep') && (sleep.seconds ?? 0) < 0) {
    errors.push(invalidValue(`${field}.sleep`, sleep.seconds, 'must be greater than or equal to 0'));
  }
  if (found === 0) errors.push(required(field, 'must specify a handler type'));
}

function checkLifecycle(errors: FieldError[], field: string, lifecycle: Container['lifecycle']): void {
  if (isAbsent(lifecycle)) return;
  if (!isAbsent(lifecycle.postStart)) checkHandler(errors, `${field}.postStart`, lifecycle.postStart);
  if (!isAbsent(lifecycle.preStop)) checkHandler(errors, `${field}.preStop`, lifecycle.preStop);
}
