import type { LimitRange as V1LimitRange, LimitRangeItem as V1LimitRangeItem } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { compareQuantities, parseQuantity, tryQuantity } from '../../../machinery/quantity.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs, createdAtColumn, nameColumn } from '../../columns.ts';
import { isAbsent, mapShared, withField } from '../../copy-on-write.ts';
import { duplicate, forbidden, invalidValue, required } from '../../field-errors.ts';
import { check } from '../../formats.ts';
import { checkContainerResourceName } from './resource-validation.ts';

export const limitRanges: KindDefinition<LimitRange> = {
  group: '',
  version: 'v1',
  resource: 'limitranges',
  kind: 'LimitRange',
  namespaced: true,
  singular: 'limitrange',
  shortNames: ['limits'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.LimitRange',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  createdByUpdate: true,
  subresources: [],
  columns: [nameColumn, createdAtColumn],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (range, before) => {
    const { spec } = range;
    if (isAbsent(spec?.limits) || spec === before?.spec) return range;
    return withField(range, 'spec', withField(spec, 'limits', mapShared(spec.limits, defaultItem)));
  },
  validate: (range, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && range.spec === before.spec) return errors;
    const types = new Set<string>();
    for (const [index, item] of (range.spec?.limits ?? []).entries()) {
      const field = `spec.limits[${index}]`;
      checkType(errors, `${field}.type`, item.type ?? '');
      if (types.has(item.type)) errors.push(duplicate(`${field}.type`, item.type));
      types.add(item.type);
      checkItem(errors, field, item);
    }
    return errors;
  },
};

type Amounts = Readonly<Record<string, string>>;

/** A container's limit defaults to the most it may have, and its request to its limit, or else to the least it must have. */
function defaultItem(item: LimitRangeItem): LimitRangeItem {
  if (item.type !== 'Container') return item;
  const limit = merged(item.default, item.max);
  const request = merged(item.defaultRequest, limit, item.min);
  return withField(withField(item, 'default', limit), 'defaultRequest', request);
}

/** `amounts` with what it lacks taken from `others`, the first first; the same object when it lacks nothing. */
function merged(amounts: Amounts | undefined, ...others: readonly (Amounts | undefined)[]): Amounts | undefined {
  let result = amounts ?? undefined;
  for (const other of others) {
    for (const [name, amount] of Object.entries(other ?? {})) {
      if (result === undefined || !Object.hasOwn(result, name)) result = { ...result, [name]: amount };
    }
  }
  return result;
}

const standardTypes: readonly string[] = ['Pod', 'Container', 'PersistentVolumeClaim'];

function checkType(errors: FieldError[], field: string, type: string): void {
  const malformed = qualifiedNameErrors(type);
  check(errors, field, type, malformed);
  if (malformed.length === 0 && !type.includes('/') && !standardTypes.includes(type)) {
    errors.push(invalidValue(field, type, 'must be a standard limit type or fully qualified'));
  }
}

function checkItem(errors: FieldError[], field: string, item: LimitRangeItem): void {
  const { type, min = {}, max = {}, maxLimitRequestRatio: ratios = {} } = item;
  const isPod = type === 'Pod';
  for (const part of isPod ? podParts : parts) {
    for (const name of Object.keys(item[part] ?? {})) {
      if (isPod || type === 'Container') checkContainerResourceName(errors, `${field}.${part}[${name}]`, name);
      else check(errors, `${field}.${part}[${name}]`, name, qualifiedNameErrors(name));
    }
  }
  for (const name of ['default', 'defaultRequest'] as const) {
    if (isPod && Object.keys(item[name] ?? {}).length > 0) {
      errors.push(forbidden(`${field}.${name}`, "may not be specified when `type` is 'Pod'"));
    }
  }
  if (type === 'PersistentVolumeClaim' && min.storage === undefined && max.storage === undefined) {
    errors.push(required(`${field}.limits`, 'either minimum or maximum storage value is required, but neither was provided'));
  }
  const limits = isPod ? {} : (item.default ?? {});
  const requests = isPod ? {} : (item.defaultRequest ?? {});
  for (const name of new Set([max, min, limits, requests, ratios].flatMap((amounts) => Object.keys(amounts)))) {
    const [least, most, limit, request] = [min, max, limits, requests].map((amounts) => amounts[name]);
    const refuse = (part: string, shown: string | undefined, why: string): void => {
      errors.push(invalidValue(`${field}.${part}[${name}]`, shown, why));
    };
    if (isAbove(least, most)) refuse('min', least, `min value ${least} is greater than max value ${most}`);
    if (isAbove(least, request)) refuse('defaultRequest', request, `min value ${least} is greater than default request value ${request}`);
    if (isAbove(request, most)) refuse('defaultRequest', request, `default request value ${request} is greater than max value ${most}`);
    if (isAbove(request, limit)) {
      refuse('defaultRequest', request, `default request value ${request} is greater than default limit value ${limit}`);
    }
    if (isAbove(least, limit)) refuse('default', least, `min value ${least} is greater than default value ${limit}`);
    if (isAbove(limit, most)) refuse('default', most, `default value ${limit} is greater than max value ${most}`);
    const ratio = ratios[name];
    if (ratio !== undefined && isAbove('1', ratio)) refuse('maxLimitRequestRatio', ratio, `ratio ${ratio} is less than 1`);
  }
}

const podParts = ['max', 'min', 'maxLimitRequestRatio'] as const;
const parts = ['max', 'min', 'default', 'defaultRequest', 'maxLimitRequestRatio'] as const;

const zero = parseQuantity('0');

const isAbove = (a: string | undefined, b: string | undefined): boolean =>
  a !== undefined && b !== undefined && compareQuantities(tryQuantity(a) ?? zero, tryQuantity(b) ?? zero) > 0;

export type LimitRange = Kube<V1LimitRange>;
export type LimitRangeItem = DeepReadonly<V1LimitRangeItem>;
