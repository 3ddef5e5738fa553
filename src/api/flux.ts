import type { Condition as V1Condition } from 'kubernetes-types/meta/v1.d.ts';
import { conditionOf } from '../machinery/conditions.ts';
import type { Column } from '../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../machinery/object.ts';
import type { Schema } from '../machinery/schema.ts';
import type { FieldError } from '../machinery/status-error.ts';
import { ageOf } from './columns.ts';
import { isAbsent } from './copy-on-write.ts';
import { notSupported, required } from './field-errors.ts';

/**
 * Parts that the kinds of the GitOps toolkit share. They are custom resources where Flux runs, so their errors are
 * worded as those of custom resources, and their columns are those of Flux's definitions.
 */

export type Condition = DeepReadonly<V1Condition>;

export interface LocalObjectReference {
  readonly name: string;
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** True when `parseDuration` can read the text. */
export const isDuration = (text: string): boolean => /^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/.test(text);

/** Milliseconds of a Go duration with units ms, s, m and h: `1h30m`, `0.5s`. */
export function parseDuration(text: string): number {
  if (!isDuration(text)) throw new Error(`not a duration: "${text}"`);
  let total = 0;
  for (const [, count = '', unit = ''] of text.matchAll(/([0-9.]+)(ms|s|m|h)/g)) total += Number(count) * (unitMs[unit] ?? 0);
  return total;
}

/** An object that reports conditions as Flux's kinds do. */
export interface Conditioned extends KubeObject {
  readonly status?: { readonly conditions?: readonly Condition[] };
}

/** As in Flux's definitions, which describe no column. */
export const fluxAgeColumn: Column<KubeObject> = {
  name: 'Age',
  type: 'date',
  description: '',
  cell: (object, { now }) => ageOf(object.metadata.creationTimestamp, now),
};

export const statusColumns: readonly Column<Conditioned>[] = [
  fluxAgeColumn,
  { name: 'Ready', type: 'string', description: '', cell: (object) => conditionOf(object.status?.conditions, 'Ready')?.status ?? '' },
  { name: 'Status', type: 'string', description: '', cell: (object) => conditionOf(object.status?.conditions, 'Ready')?.message ?? '' },
];

/** Says that nothing was reconciled yet, which zero would not. */
export const initialStatus = { observedGeneration: -1 } as const;

export const durationPattern = String.raw`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`;

/** A text that has to match a pattern; absent is allowed unless `isRequired`. */
export function checkPattern(
  errors: FieldError[],
  field: string,
  text: string | undefined,
  { pattern, isRequired = false }: { readonly pattern: string; readonly isRequired?: boolean },
): void {
  if (isAbsent(text)) {
    if (isRequired) errors.push(required(field));
    return;
  }
  if (new RegExp(pattern).test(text)) return;
  const message = `Invalid value: ${JSON.stringify(text)}: ${field} in body should match '${pattern}'`;
  errors.push({ type: 'FieldValueInvalid', field, message });
}

/** A length in characters between two bounds; absent is allowed. */
export function checkLength(errors: FieldError[], field: string, text: string | undefined, [min, max]: readonly [number, number]): void {
  if (isAbsent(text)) return;
  const shown = `Invalid value: ${JSON.stringify(text)}: ${field} in body should be`;
  if (text.length < min) errors.push({ type: 'FieldValueInvalid', field, message: `${shown} at least ${min} chars long` });
  if (text.length > max) errors.push({ type: 'FieldValueTooLong', field, message: `Too long: may not be more than ${max} bytes` });
}

/** A value of a fixed set; absent is allowed unless `isRequired`. */
export function checkChoice(
  errors: FieldError[],
  field: string,
  value: string | undefined,
  { choices, isRequired = false }: { readonly choices: readonly string[]; readonly isRequired?: boolean },
): void {
  if (isAbsent(value)) {
    if (isRequired) errors.push(required(field));
  } else if (!choices.includes(value)) errors.push(notSupported(field, value, choices));
}

/** A reference whose name has to be there when the reference is. */
export function checkReference(errors: FieldError[], field: string, reference: { readonly name?: string } | undefined): void {
  if (!isAbsent(reference) && isAbsent(reference.name)) errors.push(required(`${field}.name`));
}

/** Pattern of a duration that is shorter than an hour by its unit. */
export const timeoutPattern = String.raw`^([0-9]+(\.[0-9]+)?(ms|s|m))+$`;

const text = (description?: string): Schema => (description === undefined ? { type: 'string' } : { type: 'string', description });

/** Short forms for schemas that are written by hand. */
export const schemaOf = {
  text,
  /** A text that has to match a pattern in RE2. */
  matching: (pattern: string, description: string): Schema => ({ type: 'string', description, pattern }),
  /** A text of a number of characters between two bounds. */
  sized: ([minLength, maxLength]: readonly [number, number], description?: string): Schema => ({
    ...text(description),
    ...(minLength === 0 ? {} : { minLength }),
    maxLength,
  }),
  flag: (description?: string): Schema => ({ type: 'boolean', ...(description === undefined ? {} : { description }) }),
  integer: (description?: string): Schema => ({ type: 'integer', format: 'int64', ...(description === undefined ? {} : { description }) }),
  choice: (choices: readonly string[], description: string): Schema => ({ type: 'string', enum: choices, description }),
  list: (items: Schema, description?: string): Schema => ({
    type: 'array',
    items,
    ...(description === undefined ? {} : { description }),
  }),
  textMap: (description?: string): Schema => ({
    type: 'object',
    additionalProperties: { type: 'string' },
    ...(description === undefined ? {} : { description }),
  }),
  /** `required` names the properties that must be there. */
  object: (
    properties: Readonly<Record<string, Schema>>,
    options: { readonly required?: readonly string[]; readonly description?: string } = {},
  ): Schema => ({
    type: 'object',
    properties,
    ...options,
  }),
  reference: (description: string): Schema => ({
    type: 'object',
    description,
    properties: { name: { type: 'string', description: 'Name of the referent.' } },
    required: ['name'],
  }),
  /** A whole kind; some have no status. */
  kind: (
    description: string,
    { spec, status, isSpecOptional = false }: { readonly spec: Schema; readonly status?: Schema; readonly isSpecOptional?: boolean },
  ): Schema => ({
    type: 'object',
    description,
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { $ref: '#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta' },
      spec,
      ...(status === undefined ? {} : { status }),
    },
    ...(isSpecOptional ? {} : { required: ['spec'] }),
  }),
  conditions: {
    type: 'array',
    description: 'Last observed state.',
    items: { $ref: '#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.Condition' },
  },
} as const satisfies Readonly<Record<string, Schema | ((...args: never[]) => Schema)>>;
