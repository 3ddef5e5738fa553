import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import { compareQuantities, formatQuantity, parseQuantity, type Quantity, tryQuantity } from '../../../machinery/quantity.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { forbidden, invalidValue, required } from '../../field-errors.ts';
import { check } from '../../formats.ts';
import type { ResourceRequirements } from './pod.ts';

const containerResources: ReadonlySet<string> = new Set(['cpu', 'memory', 'ephemeral-storage']);
const quotaResources: ReadonlySet<string> = new Set([
  ...['storage', 'pods', 'services', 'replicationcontrollers', 'resourcequotas', 'secrets', 'configmaps', 'persistentvolumeclaims'],
  ...['requests.cpu', 'requests.memory', 'requests.storage', 'requests.ephemeral-storage', 'limits.cpu', 'limits.memory'],
  ...['limits.ephemeral-storage', 'services.nodeports', 'services.loadbalancers', 'count'],
]);
/** True for a name without a domain that Kubernetes itself defines. */
export const isStandardResource = (name: string): boolean =>
  containerResources.has(name) || quotaResources.has(name) || isHugePages(name.replace(/^requests\./, ''));

const isHugePages = (name: string): boolean => name.startsWith('hugepages-');

/** True for a name of the cluster itself, false for one of a device plugin (`example.com/gpu`). */
const isNativeResource = (name: string): boolean => !name.includes('/') || name.split('/')[0]?.endsWith('kubernetes.io') === true;

/** Requests and limits of a container: names, amounts, and no request above its limit. */
export function checkResources(errors: FieldError[], field: string, resources: ResourceRequirements | undefined): void {
  if (resources === undefined) return;
  const { limits = {}, requests = {} } = resources;
  for (const [name, amount] of Object.entries(limits)) checkAmount(errors, `${field}.limits[${name}]`, name, amount);
  for (const [name, amount] of Object.entries(requests)) {
    const request = checkAmount(errors, `${field}.requests[${name}]`, name, amount);
    const limit = Object.hasOwn(limits, name) ? tryQuantity(limits[name]) : undefined;
    if (limit === undefined) {
      if (isHugePages(name) || !isNativeResource(name)) {
        errors.push(required(`${field}.limits`, 'Limit must be set for non overcommitable resources'));
      }
    } else if (request !== undefined && compareQuantities(request, limit) !== 0 && (isHugePages(name) || !isNativeResource(name))) {
      const why = `must be equal to ${name} limit of ${formatQuantity(limit)}`;
      errors.push(invalidValue(`${field}.requests`, formatQuantity(request), why));
    } else if (request !== undefined && compareQuantities(request, limit) > 0) {
      const why = `must be less than or equal to ${name} limit of ${formatQuantity(limit)}`;
      errors.push(invalidValue(`${field}.requests`, formatQuantity(request), why));
    }
  }
  const names = [...Object.keys(limits), ...Object.keys(requests)];
  if (names.some(isHugePages) && !names.includes('cpu') && !names.includes('memory')) {
    errors.push(forbidden(field, 'HugePages require cpu or memory'));
  }
}

function checkAmount(errors: FieldError[], field: string, name: string, amount: string | number): Quantity | undefined {
  checkContainerResourceName(errors, field, name);
  const quantity = tryQuantity(amount);
  if (quantity === undefined) {
    // Unparsable amounts are refused when the body is decoded; what is left is a value that came another way.
    errors.push(invalidValue(field, amount, messageOfQuantity(amount)));
    return undefined;
  }
  if (quantity.nanos < 0n) errors.push(invalidValue(field, formatQuantity(quantity), 'must be greater than or equal to 0'));
  if (!isNativeResource(name) && quantity.nanos % 1_000_000_000n !== 0n) errors.push(invalidValue(field, amount, 'must be an integer'));
  return quantity;
}

function messageOfQuantity(amount: string | number): string {
  try {
    parseQuantity(amount);
    return '';
  } catch (err) {
    return err instanceof Error ? err.message : String(err);
  }
}

/** A resource that a container can ask for. */
export function checkContainerResourceName(errors: FieldError[], field: string, name: string): void {
  if (containerResources.has(name)) return;
  check(errors, field, name, qualifiedNameErrors(name));
  if (isHugePages(name)) return;
  if (!name.includes('/')) {
    if (!quotaResources.has(name)) errors.push(invalidValue(field, name, 'must be a standard resource type or fully qualified'));
    errors.push(invalidValue(field, name, 'must be a standard resource for containers'));
  } else if (!isNativeResource(name) && name.startsWith('requests.')) {
    errors.push(invalidValue(field, name, "doesn't follow extended resource name standard"));
  }
}
