import { deepEqual } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { forbidden, invalidValue, tooLong } from '../../field-errors.ts';
import { check, configKeyErrors } from '../../formats.ts';

type Values = Readonly<Record<string, string>>;

export interface ConfigData {
  readonly data?: Values | undefined;
  /** Values in base64. */
  readonly binaryData?: Values | undefined;
  readonly immutable?: boolean | undefined;
}

/** Most bytes that the values of a ConfigMap or Secret may have together. */
const maxConfigBytes = 1024 * 1024;

/** Keys, size and immutability, which ConfigMaps and Secrets have in common. */
export function validateConfigData(
  object: ConfigData,
  before: ConfigData | undefined,
  sizeOf: (text: string) => number = Buffer.byteLength,
): readonly FieldError[] {
  const errors: FieldError[] = [];
  if (before?.immutable === true) {
    const why = 'field is immutable when `immutable` is set';
    if (object.immutable !== true) errors.push(forbidden('immutable', why));
    if (!deepEqual(object.data ?? {}, before.data ?? {})) errors.push(forbidden('data', why));
    if (!deepEqual(object.binaryData ?? {}, before.binaryData ?? {})) errors.push(forbidden('binaryData', why));
  }
  let bytes = 0;
  if (object.data !== undefined && object.data === before?.data && object.binaryData === before?.binaryData) return errors;
  for (const [key, value] of Object.entries(object.data ?? {})) {
    check(errors, `data[${key}]`, key, configKeyErrors(key));
    if (Object.hasOwn(object.binaryData ?? {}, key))
      errors.push(invalidValue(`data[${key}]`, key, 'duplicate of key present in binaryData'));
    bytes += sizeOf(value);
  }
  for (const [key, value] of Object.entries(object.binaryData ?? {})) {
    check(errors, `binaryData[${key}]`, key, configKeyErrors(key));
    bytes += base64Size(value);
  }
  if (bytes > maxConfigBytes) errors.push(tooLong('[]', maxConfigBytes));
  return errors;
}

/** Decoded length of a base64 text in bytes. */
export const base64Size = (text: string): number => Math.floor((text.replace(/=+$/, '').length * 3) / 4);
