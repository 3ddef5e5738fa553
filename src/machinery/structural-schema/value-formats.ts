import { isIPv4, isIPv6 } from 'node:net';
import { tryDuration, tryTimestamp } from '../cel/time.ts';

/** True when a text has a format that schemas can require; unknown formats are not checked. */
export function isOfFormat(format: string, text: string): boolean {
  return checks.get(format)?.(text) ?? true;
}

/** Formats of upstream's schemas; hyphens do not count, and of the last ones no value is checked. */
export const isKnownFormat = (format: string): boolean => known.has(format.replaceAll('-', ''));

const cidr = (text: string): boolean => {
  const [, address = '', bits = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  return (isIPv4(address) && Number(bits) <= 32) || (isIPv6(address) && Number(bits) <= 128);
};
const uuid = (version: string): RegExp => new RegExp(`^[0-9a-f]{8}-?[0-9a-f]{4}-?${version}[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$`, 'i');
const matching =
  (pattern: RegExp): ((text: string) => boolean) =>
  (text) =>
    pattern.test(text);

const checks: ReadonlyMap<string, (text: string) => boolean> = new Map([
  ['date-time', (text) => tryTimestamp(text) !== undefined],
  ['datetime', (text) => tryTimestamp(text) !== undefined],
  ['date', (text) => /^\d{4}-\d\d-\d\d$/.test(text) && tryTimestamp(`${text}T00:00:00Z`) !== undefined],
  ['duration', (text) => tryDuration(text.replaceAll(' ', '')) !== undefined],
  ['email', matching(/^[^@\s<>]+@[^@\s<>]+$/)],
  ['hostname', matching(/^(?=.{1,255}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\.?$/)],
  ['ipv4', (text) => isIPv4(text)],
  ['ipv6', (text) => isIPv6(text)],
  ['cidr', cidr],
  ['mac', matching(/^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$|^([0-9a-f]{4}\.){2}[0-9a-f]{4}$/i)],
  ['uri', (text) => /^[A-Za-z][A-Za-z0-9+.-]*:|^\//.test(text) && URL.canParse(text, 'http://x')],
  ['uuid', matching(uuid('[0-9a-f]'))],
  ['uuid3', matching(uuid('3'))],
  ['uuid4', matching(uuid('4'))],
  ['uuid5', matching(uuid('5'))],
  ['byte', matching(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/)],
  ['bsonobjectid', matching(/^[0-9a-f]{24}$/i)],
  ['hexcolor', matching(/^#?([0-9a-f]{3}|[0-9a-f]{6})$/i)],
  ['rgbcolor', matching(/^rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)$/)],
  ['isbn10', matching(/^(\d[- ]?){9}[\dXx]$/)],
  ['isbn13', matching(/^(\d[- ]?){12}\d$/)],
  ['ssn', matching(/^\d{3}[- ]?\d{2}[- ]?\d{4}$/)],
]);

const known: ReadonlySet<string> = new Set([
  ...[...checks.keys()].map((format) => format.replaceAll('-', '')),
  ...['isbn', 'creditcard', 'password', 'k8sshortname', 'k8slongname'],
]);
