import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { invalidValue, notSupported, required } from '../../field-errors.ts';
import { check } from '../../formats.ts';

/**
 * Fields of a pod that its containers can read from the environment or from files. @see Kubernetes concepts, "Downward
 * API"
 */

const podFields: readonly string[] = [
  ...['metadata.name', 'metadata.namespace', 'metadata.uid', 'spec.nodeName', 'spec.serviceAccountName', 'status.hostIP'],
  ...['status.hostIPs', 'status.podIP', 'status.podIPs'],
];
const volumeFields: readonly string[] = ['metadata.annotations', 'metadata.labels', 'metadata.name', 'metadata.namespace', 'metadata.uid'];
const resourceFields: readonly string[] = [
  'limits.cpu',
  'limits.ephemeral-storage',
  'limits.memory',
  'requests.cpu',
  'requests.ephemeral-storage',
  'requests.memory',
];

/** The fields of a pod that the downward API can put in the environment (`env`) or in files (`volume`). */
export function checkFieldRef(
  errors: FieldError[],
  field: string,
  { apiVersion, fieldPath }: { readonly apiVersion?: string; readonly fieldPath: string },
  use: 'env' | 'volume',
): void {
  if (isAbsent(apiVersion) || apiVersion === '') {
    errors.push(required(`${field}.apiVersion`));
    return;
  }
  if (isAbsent(fieldPath) || fieldPath === '') {
    errors.push(required(`${field}.fieldPath`));
    return;
  }
  const [, path, subscript] = subscripted.exec(fieldPath) ?? [];
  if (path !== undefined && subscript !== undefined && isSubscriptable(path)) {
    const key = path === 'metadata.annotations' ? subscript.toLowerCase() : subscript;
    check(errors, field, key, qualifiedNameErrors(key));
    return;
  }
  const supported = use === 'env' ? podFields : volumeFields;
  if (supported.includes(fieldPath)) return;
  if (podFields.includes(fieldPath) || volumeFields.includes(fieldPath)) {
    errors.push(notSupported(`${field}.fieldPath`, fieldPath, supported));
  } else {
    errors.push(invalidValue(`${field}.fieldPath`, fieldPath, `error converting fieldPath: field label not supported: ${fieldPath}`));
  }
}

const subscripted = /^(.+)\['(.*)'\]$/;
const isSubscriptable = (path: string): boolean => path === 'metadata.labels' || path === 'metadata.annotations';

/** The resources of a container that the downward API can name. */
export function checkResourceFieldRef(
  errors: FieldError[],
  field: string,
  { containerName, resource, divisor }: { readonly containerName?: string; readonly resource: string; readonly divisor?: string | number },
  use: 'env' | 'volume',
): void {
  if (use === 'volume' && (isAbsent(containerName) || containerName === '')) errors.push(required(`${field}.containerName`));
  else if (isAbsent(resource) || resource === '') errors.push(required(`${field}.resource`));
  else if (!resourceFields.includes(resource) && !/^(limits|requests)\.hugepages-/.test(resource)) {
    errors.push(notSupported(`${field}.resource`, resource, resourceFields));
  }
  checkDivisor(errors, field, resource ?? '', String(divisor ?? '0'));
}

const bytesDivisors = ['1', '1k', '1M', '1G', '1T', '1P', '1E', '1Ki', '1Mi', '1Gi', '1Ti', '1Pi', '1Ei'];

/** Unit of a printed amount; '0' keeps the default of the resource. */
function checkDivisor(errors: FieldError[], field: string, resource: string, divisor: string): void {
  if (divisor === '0') return;
  const [, name] = /^(?:limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-)/.exec(resource) ?? [];
  if (name === 'cpu') {
    if (divisor === '1m' || divisor === '1') return;
    errors.push(invalidValue(`${field}.divisor`, resource, "only divisor's values 1m and 1 are supported with the cpu resource"));
  } else if (name !== undefined && !bytesDivisors.includes(divisor)) {
    const what = name === 'hugepages-' ? 'hugepages' : name === 'memory' ? 'memory' : 'local ephemeral storage';
    const why = `only divisor's values ${bytesDivisors.join(', ')} are supported with the ${what} resource`;
    errors.push(invalidValue(`${field}.divisor`, resource, why));
  }
}
