import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import { duplicate, invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, dnsLabelErrors, dnsSubdomainErrors } from '../../formats.ts';

/** Requests of a claim or of a template for claims. */
export interface ClaimSpec {
  readonly devices?: {
    readonly requests?: readonly DeviceRequest[];
    readonly constraints?: readonly unknown[];
    readonly config?: readonly DeviceConfig[];
  };
}

/** Parameters for drivers, which nothing here looks into. */
export interface DeviceConfig {
  readonly requests?: readonly string[];
  readonly opaque?: { readonly driver: string; readonly parameters: unknown };
}

export interface DeviceSelector {
  readonly cel?: { readonly expression?: string };
}

export interface DeviceRequest {
  readonly name: string;
  readonly exactly?: ExactRequest;
  readonly firstAvailable?: readonly (ExactRequest & { readonly name: string })[];
}

export interface ExactRequest {
  readonly deviceClassName?: string;
  readonly selectors?: readonly DeviceSelector[];
  readonly adminAccess?: boolean;
  readonly tolerations?: readonly unknown[];
  readonly capacity?: unknown;
  readonly allocationMode?: string;
  readonly count?: number;
}

export function defaultClaim<T extends ClaimSpec>(spec: T): T {
  const { devices } = spec;
  if (isAbsent(devices?.requests)) return spec;
  return withField(spec, 'devices', withField(devices, 'requests', mapShared(devices.requests, defaultRequest)));
}

function defaultRequest(request: DeviceRequest): DeviceRequest {
  let result = request;
  if (!isAbsent(result.exactly)) result = withField(result, 'exactly', defaultExact(result.exactly));
  if (!isAbsent(result.firstAvailable)) result = withField(result, 'firstAvailable', mapShared(result.firstAvailable, defaultExact));
  return result;
}

function defaultExact<T extends ExactRequest>(request: T): T {
  const complete = withDefaults<ExactRequest>(request, { allocationMode: 'ExactCount' });
  const isCounted = complete.allocationMode === 'ExactCount' && (isAbsent(complete.count) || complete.count === 0);
  return (isCounted ? withField(complete, 'count', 1) : complete) as T;
}

const modes: readonly string[] = ['All', 'ExactCount'];

export function checkClaim(errors: FieldError[], field: string, spec: ClaimSpec | undefined): void {
  const names = new Set<string>();
  for (const [index, request] of (spec?.devices?.requests ?? []).entries()) {
    const at = `${field}.devices.requests[${index}]`;
    checkName(errors, `${at}.name`, request.name ?? '', names);
    const alternatives = request.firstAvailable ?? [];
    if (isAbsent(request.exactly) && alternatives.length === 0) {
      errors.push(required(at, 'exactly one of `exactly` or `firstAvailable` is required'));
    } else if (!isAbsent(request.exactly) && alternatives.length > 0) {
      errors.push(invalidValue(at, null, 'exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set'));
    }
    if (!isAbsent(request.exactly)) checkExact(errors, `${at}.exactly`, request.exactly);
    const seen = new Set<string>();
    for (const [number, alternative] of alternatives.entries()) {
      checkName(errors, `${at}.firstAvailable[${number}].name`, alternative.name ?? '', seen);
      checkExact(errors, `${at}.firstAvailable[${number}]`, alternative);
    }
  }
}

function checkName(errors: FieldError[], field: string, name: string, names: Set<string>): void {
  if (name === '') errors.push(required(field));
  else check(errors, field, name, dnsLabelErrors(name));
  if (names.has(name)) errors.push(duplicate(field, name));
  names.add(name);
}

function checkExact(errors: FieldError[], field: string, { deviceClassName = '', allocationMode = '', count = 0 }: ExactRequest): void {
  if (deviceClassName === '') errors.push(required(`${field}.deviceClassName`));
  else check(errors, `${field}.deviceClassName`, deviceClassName, dnsSubdomainErrors(deviceClassName));
  if (!modes.includes(allocationMode)) errors.push(notSupported(`${field}.allocationMode`, allocationMode, modes));
  else if (allocationMode === 'ExactCount') {
    if (count <= 0) errors.push(invalidValue(`${field}.count`, count, 'must be greater than zero'));
  } else if (count !== 0) {
    errors.push(invalidValue(`${field}.count`, count, "must not be specified when allocationMode is 'All'"));
  }
}
