import type { Container, EnvVar, Pod } from '../api/core/v1/pod.ts';
import type { Service } from '../api/core/v1/service.ts';
import type { ConfigSource } from './config-source.ts';
import { ContainerError } from './container-runtime.ts';
import { type DownwardFacts, fieldText, resourceText } from './downward.ts';

export interface EnvironmentOptions {
  readonly container: Container;
  readonly facts: DownwardFacts;
  readonly config: ConfigSource;
}

export interface ResolvedContainer {
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly command: readonly string[];
  readonly args: readonly string[];
}

/** Address of the API server; every pod has its variables. */
const masterService = { namespace: 'default', name: 'kubernetes' };

/**
 * Environment, command and arguments of a container: `envFrom`, then `env`, where later names win and `$(NAME)` means what came before.
 * Services of the namespace count only where nothing else has the name. POD_IP is always there, because programs of the process runtime
 * must listen on it.
 *
 * @throws ContainerError `CreateContainerConfigError` for a reference to something that is not there, worded as the kubelet words it
 */
export function resolveContainer({ container, facts, config }: EnvironmentOptions): ResolvedContainer {
  const { pod } = facts;
  const fromServices = serviceEnvironment(pod, config);
  const result = new Map<string, string>([['POD_IP', facts.podIP]]);
  for (const source of container.envFrom ?? []) {
    const entries =
      source.configMapRef === undefined
        ? source.secretRef === undefined
          ? []
          : Object.entries(secretData(pod, config, source.secretRef.name ?? '', source.secretRef.optional) ?? {})
        : Object.entries(configMapData(pod, config, source.configMapRef.name ?? '', source.configMapRef.optional) ?? {});
    for (const [key, value] of entries) result.set(`${source.prefix ?? ''}${key}`, value);
  }
  const lookUp = (name: string): string | undefined => result.get(name) ?? fromServices.get(name);
  for (const variable of container.env ?? []) {
    const value =
      variable.valueFrom === undefined ? expand(variable.value ?? '', lookUp) : valueFrom(variable, { container, facts, config });
    if (value !== undefined) result.set(variable.name, value);
  }
  for (const [name, value] of fromServices) if (!result.has(name)) result.set(name, value);
  const all = (name: string): string | undefined => result.get(name);
  return {
    env: [...result].map(([name, value]) => ({ name, value })),
    command: (container.command ?? []).map((word) => expand(word, all)),
    args: (container.args ?? []).map((word) => expand(word, all)),
  };
}

/** Undefined for an optional reference to nothing. */
function valueFrom({ valueFrom: source, name }: EnvVar, { container, facts, config }: EnvironmentOptions): string | undefined {
  const { pod } = facts;
  try {
    if (source?.fieldRef !== undefined) return fieldText(source.fieldRef.fieldPath, facts);
    if (source?.resourceFieldRef !== undefined) {
      const { resource, divisor, containerName } = source.resourceFieldRef;
      const other = containerName === undefined ? container : pod.spec.containers.find((candidate) => candidate.name === containerName);
      return resourceText(resource, divisor === undefined ? undefined : String(divisor), other ?? container, facts);
    }
  } catch (err) {
    throw new ContainerError('CreateContainerConfigError', (err as Error).message, { cause: err });
  }
  if (source?.configMapKeyRef !== undefined) {
    const { key, optional } = source.configMapKeyRef;
    const mapName = source.configMapKeyRef.name ?? '';
    return keyOfData(configMapData(pod, config, mapName, optional), key, optional, `ConfigMap ${pod.metadata.namespace}/${mapName}`);
  }
  if (source?.secretKeyRef !== undefined) {
    const { key, optional } = source.secretKeyRef;
    const secretName = source.secretKeyRef.name ?? '';
    return keyOfData(secretData(pod, config, secretName, optional), key, optional, `Secret ${pod.metadata.namespace}/${secretName}`);
  }
  throw new ContainerError('CreateContainerConfigError', `env ${name}: valueFrom has no source that is supported`);
}

function keyOfData(
  data: Readonly<Record<string, string>> | undefined,
  key: string,
  optional: boolean | undefined,
  where: string,
): string | undefined {
  const value = data !== undefined && Object.hasOwn(data, key) ? data[key] : undefined;
  if (value === undefined && optional !== true) {
    throw new ContainerError('CreateContainerConfigError', `couldn't find key ${key} in ${where}`);
  }
  return value;
}

function configMapData(
  pod: Pod,
  config: ConfigSource,
  name: string,
  optional: boolean | undefined,
): Readonly<Record<string, string>> | undefined {
  const found = config.configMap(pod.metadata.namespace ?? '', name);
  if (found === undefined && optional !== true) throw new ContainerError('CreateContainerConfigError', `configmap "${name}" not found`);
  return found?.data ?? (found === undefined ? undefined : {});
}

function secretData(
  pod: Pod,
  config: ConfigSource,
  name: string,
  optional: boolean | undefined,
): Readonly<Record<string, string>> | undefined {
  const found = config.secret(pod.metadata.namespace ?? '', name);
  if (found === undefined && optional !== true) throw new ContainerError('CreateContainerConfigError', `secret "${name}" not found`);
  if (found === undefined) return undefined;
  return Object.fromEntries(Object.entries(found.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]));
}

/**
 * Replaces `$(NAME)` by the value of `lookUp`; an unknown name stays unchanged, and `$$` becomes one `$`.
 *
 * @see Kubernetes documentation, "Define Dependent Environment Variables"
 */
export function expand(text: string, lookUp: (name: string) => string | undefined): string {
  return text.replace(/\$\$|\$\(([^()$]*)\)/g, (whole, name: string | undefined) => (whole === '$$' ? '$' : (lookUp(name ?? '') ?? whole)));
}

function serviceEnvironment(pod: Pod, config: ConfigSource): Map<string, string> {
  const result = new Map<string, string>();
  const { namespace = '' } = pod.metadata;
  const found: Service[] = [];
  for (const service of config.services(masterService.namespace)) if (service.metadata.name === masterService.name) found.push(service);
  if (pod.spec.enableServiceLinks !== false) {
    for (const service of config.services(namespace)) if (!found.includes(service)) found.push(service);
  }
  for (const service of found) for (const [name, value] of serviceVariables(service)) result.set(name, value);
  return result;
}

/** The variables that Docker links had, for a Service with an address: `WEB_SERVICE_HOST`, `WEB_PORT_80_TCP_ADDR`, … */
export function serviceVariables({ metadata, spec }: Service): readonly (readonly [string, string])[] {
  const host = spec.clusterIP;
  const [first] = spec.ports ?? [];
  if (host === undefined || host === '' || host === 'None' || first === undefined) return [];
  const prefix = variableName(metadata.name);
  const variables: [string, string][] = [
    [`${prefix}_SERVICE_HOST`, host],
    [`${prefix}_SERVICE_PORT`, String(first.port)],
  ];
  for (const { name, port } of spec.ports ?? []) {
    if (name !== undefined && name !== '') variables.push([`${prefix}_SERVICE_PORT_${variableName(name)}`, String(port)]);
  }
  for (const [index, { port, protocol: given }] of (spec.ports ?? []).entries()) {
    const protocol = given ?? 'TCP';
    const url = `${protocol.toLowerCase()}://${host}:${port}`;
    if (index === 0) variables.push([`${prefix}_PORT`, url]);
    const portPrefix = `${prefix}_PORT_${port}_${protocol.toUpperCase()}`;
    variables.push(
      [portPrefix, url],
      [`${portPrefix}_PROTO`, protocol.toLowerCase()],
      [`${portPrefix}_PORT`, String(port)],
      [`${portPrefix}_ADDR`, host],
    );
  }
  return variables;
}

const variableName = (name: string): string => name.replaceAll('-', '_').toUpperCase();
