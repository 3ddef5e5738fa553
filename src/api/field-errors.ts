import { escapeHtml, goQuote } from '../machinery/go-text.ts';
import type { FieldError } from '../machinery/status-error.ts';
import { isAbsent } from './copy-on-write.ts';
import { type GoStruct, goStructJson } from './go-structs.ts';

/** Broken rules of fields, one function a type, worded as the real server words them. */

export const required = (field: string, why = ''): FieldError => ({
  type: 'FieldValueRequired',
  field,
  message: why === '' ? 'Required value' : `Required value: ${why}`,
});

export const invalidValue = (field: string, value: unknown, why: string): FieldError => ({
  type: 'FieldValueInvalid',
  field,
  message: `Invalid value: ${shown(value)}: ${why}`,
});

/** As {@link invalidValue}, of a value that the real server shows as the structure it holds it in. */
export const invalidStruct = (field: string, struct: GoStruct, value: object | undefined, why: string): FieldError => ({
  type: 'FieldValueInvalid',
  field,
  message: `Invalid value: ${isAbsent(value) ? shown(value) : goStructJson(struct, value)}: ${why}`,
});

/** Objects keep the order of their fields, which is that of the client. */
function shown(value: unknown): string {
  return typeof value === 'string' ? goQuote(value) : escapeHtml(JSON.stringify(value ?? null));
}

export const notSupported = (field: string, value: unknown, supported: readonly string[]): FieldError => ({
  type: 'FieldValueNotSupported',
  field,
  message: `Unsupported value: ${shown(value)}: supported values: ${supported.map(goQuote).join(', ')}`,
});

export const notSupportedStruct = (field: string, struct: GoStruct, value: object, supported: readonly string[]): FieldError => ({
  type: 'FieldValueNotSupported',
  field,
  message: `Unsupported value: ${goStructJson(struct, value)}: supported values: ${supported.map(goQuote).join(', ')}`,
});

export const forbidden = (field: string, why: string): FieldError => ({ type: 'FieldValueForbidden', field, message: `Forbidden: ${why}` });

export const duplicate = (field: string, value: unknown): FieldError => ({
  type: 'FieldValueDuplicate',
  field,
  message: `Duplicate value: ${shown(value)}`,
});

export const notFoundValue = (field: string, value: unknown): FieldError => ({
  type: 'FieldValueNotFound',
  field,
  message: `Not found: ${shown(value)}`,
});

export const tooLong = (field: string, maxBytes: number): FieldError => ({
  type: 'FieldValueTooLong',
  field,
  message: `Too long: may not be more than ${maxBytes} bytes`,
});

export const tooMany = (field: string, count: number, max: number): FieldError => ({
  type: 'FieldValueTooMany',
  field,
  message: `Too many: ${count}: must have at most ${max} items`,
});

export const immutable = (field: string, value: unknown): FieldError => invalidValue(field, value, 'field is immutable');

export const immutableStruct = (field: string, struct: GoStruct, value: object | undefined): FieldError =>
  invalidStruct(field, struct, value, 'field is immutable');
