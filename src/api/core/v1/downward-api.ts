import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { invalidValue, notSupported, required } from '../../field-errors.ts';

/** What of a pod its containers may be told, in the environment or in files. @see Kubernetes concepts, "Downward API" */

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
  if (isAbsent(apiVersion) || apiVersion === '') errors.push(required(`${field}.apiVersion`));
  if (isAbsent(fieldPath) || fieldPath === '') {
    errors.push(required(`${field}.fieldPath`));
    return;
  }
  if (/^metadata\.(labels|annotations)\['.+'\]$/.test(fieldPath)) return;
  const supported = use === 'env' ? podFields : volumeFields;
  if (supported.includes(fieldPath)) return;
  if (podFields.includes(fieldPath) || volumeFields.includes(fieldPath)) {
    errors.push(notSupported(`${field}.fieldPath`, fieldPath, supported));
  } else {
    errors.push(invalidValue(`${field}.fieldPath`, fieldPath, `error converting fieldPath: field label not supported: ${fieldPath}`));
  }
}

/** The resources of a container that the downward API can name. */
export function checkResourceFieldRef(
  errors: FieldError[],
  field: string,
  { containerName, resource }: { readonly containerName?: string; readonly resource: string },
  use: 'env' | 'volume',
): void {
  if (use === 'volume' && (isAbsent(containerName) || containerName === '')) errors.push(required(`${field}.containerName`));
  if (isAbsent(resource) || resource === '') errors.push(required(`${field}.resource`));
  else if (!resourceFields.includes(resource) && !/^(limits|requests)\.hugepages-/.test(resource)) {
    errors.push(notSupported(`${field}.resource`, resource, resourceFields));
  }
}
