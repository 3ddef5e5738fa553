import { isIPv4, isIPv6 } from 'node:net';
import { labelValueErrors, qualifiedNameErrors } from '../machinery/label-syntax.ts';
import type { LabelSelectorObject } from '../machinery/selector.ts';
import type { FieldError } from '../machinery/status-error.ts';
import { isAbsent } from './copy-on-write.ts';
import { forbidden, invalidValue, notSupported, required } from './field-errors.ts';

/**
 * Rules for texts and numbers that many kinds share. Functions named `…Errors` return the broken rules as sentences, those named
 * `check…` add them to a list under a field.
 */

const regexHint = (message: string, regex: string, ...examples: readonly string[]): string =>
  `${message} (e.g. ${examples.map((example) => `'${example}'`).join(',  or ')}, regex used for validation is '${regex}')`;

const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const labelRegex = new RegExp(`^${label}$`);
const subdomainRegex = new RegExp(`^${label}(\\.${label})*$`);

const maxLength = (max: number): string => `must be no more than ${max} characters`;

/** A name of up to 63 letters, digits and hyphens. */
export function dnsLabelErrors(text: string): readonly string[] {
  if (text.length <= 63 && labelRegex.test(text)) return [];
  const errors: string[] = [];
  if (text.length > 63) errors.push(maxLength(63));
  if (labelRegex.test(text)) return errors;
  if (subdomainRegex.test(text)) errors.push('must not contain dots');
  else {
    errors.push(
      regexHint(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
        label,
        'my-name',
        '123-abc',
      ),
    );
  }
  return errors;
}

/** Labels joined by dots, up to 253 characters. */
export function dnsSubdomainErrors(text: string): readonly string[] {
  if (text.length <= 253 && subdomainRegex.test(text)) return [];
  const errors: string[] = [];
  if (text.length > 253) errors.push(maxLength(253));
  if (!subdomainRegex.test(text)) {
    errors.push(
      regexHint(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        `${label}(\\.${label})*`,
        'example.com',
      ),
    );
  }
  return errors;
}

const dns1035 = '[a-z]([-a-z0-9]*[a-z0-9])?';
const dns1035Regex = new RegExp(`^${dns1035}$`);

/** A label that starts with a letter. */
export function dns1035LabelErrors(text: string): readonly string[] {
  const errors: string[] = [];
  if (text.length > 63) errors.push(maxLength(63));
  if (!dns1035Regex.test(text)) {
    errors.push(
      regexHint(
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
        dns1035,
        'my-name',
        'abc-123',
      ),
    );
  }
  return errors;
}

/** A name that is one part of a URL path. */
export function pathSegmentErrors(text: string): readonly string[] {
  if (text === '.' || text === '..') return [`may not be '${text}'`];
  return ['/', '%'].filter((part) => text.includes(part)).map((part) => `may not contain '${part}'`);
}

export const rangeError = (low: number, high: number): string => `must be between ${low} and ${high}, inclusive`;

export const portNumberErrors = (port: number): readonly string[] =>
  Number.isInteger(port) && port >= 1 && port <= 65535 ? [] : [rangeError(1, 65535)];

/** The name of a port, as a probe or a Service may use it instead of the number. */
export function portNameErrors(name: string): readonly string[] {
  const errors: string[] = [];
  if (name.length > 15) errors.push('must be no more than 15 characters');
  if (!/^[-a-z0-9]+$/.test(name)) errors.push('must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)');
  if (!/[a-z]/.test(name)) errors.push('must contain at least one letter (a-z)');
  if (name.includes('--')) errors.push('must not contain consecutive hyphens');
  if (name.startsWith('-') || name.endsWith('-')) errors.push('must not begin or end with a hyphen');
  return errors;
}

export const environmentNameErrors = (name: string): readonly string[] =>
  /^[ -<>-~]+$/.test(name) ? [] : ["a valid environment variable name must consist only of printable ASCII characters other than '='"];

/** A key of a ConfigMap or Secret: also a file name. */
export function configKeyErrors(key: string): readonly string[] {
  const errors: string[] = [];
  if (key.length > 253) errors.push(maxLength(253));
  if (!/^[-._a-zA-Z0-9]+$/.test(key)) {
    errors.push(
      regexHint(
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
        '[-._a-zA-Z0-9]+',
        'key.name',
        'KEY_NAME',
        'key-name',
      ),
    );
  }
  if (key === '.' || key === '..') errors.push(`must not be '${key}'`);
  else if (key.startsWith('..')) errors.push("must not start with '..'");
  return errors;
}

export const httpHeaderErrors = (name: string): readonly string[] =>
  /^[-A-Za-z0-9]+$/.test(name)
    ? []
    : [regexHint("a valid HTTP header must consist of alphanumeric characters or '-'", '[-A-Za-z0-9]+', 'X-Header-Name')];

const percentErrors = (text: string): readonly string[] =>
  /^[0-9]+%$/.test(text)
    ? []
    : [regexHint("a valid percent string must be a numeric string followed by an ending '%'", '[0-9]+%', '1%', '93%')];

export function ipErrors(text: string): readonly string[] {
  if (isIPv4(text) || isIPv6(text)) return [];
  // Some programs read such a part as octal, so that two of them would not mean the same address.
  if (/^\d+(\.\d+){3}$/.test(text) && isIPv4(text.replace(/(^|\.)0+(?=\d)/g, '$1'))) return ['must not have leading 0s'];
  return ['must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'];
}

/** Errors of an address that others are to reach: one that only its own machine or link knows is refused. */
export function specialAddressErrors(text: string): readonly string[] {
  const isV4 = isIPv4(text);
  const first = isV4 ? Number(text.split('.', 1)[0]) : Number.parseInt(text, 16);
  if (text === '0.0.0.0' || text === '::') return [`may not be unspecified (${text})`];
  if (isV4 ? first === 127 : text === '::1') return ['may not be in the loopback range (127.0.0.0/8, ::1/128)'];
  if (isV4 ? text.startsWith('169.254.') : first >= 0xfe80 && first <= 0xfebf) {
    return ['may not be in the link-local range (169.254.0.0/16, fe80::/10)'];
  }
  if (isV4 ? text.startsWith('224.0.0.') : first === 0xff02) {
    return ['may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'];
  }
  return [];
}

const cidrSyntax = /^([^/]+)\/(0|[1-9]\d{0,2})$/;

/** An address range; the address may have bits beyond the prefix. */
export function cidrErrors(text: string): readonly string[] {
  const [, address = '', bits = ''] = cidrSyntax.exec(text) ?? [];
  const isValid = (isIPv4(address) && Number(bits) <= 32) || (isIPv6(address) && Number(bits) <= 128);
  return isValid ? [] : ['must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'];
}

const wildcardRegex = new RegExp(`^\\*\\.${label}(\\.${label})*$`);

/** A host name, or one that starts with `*.` and matches all of a domain. */
export function hostPatternErrors(text: string): readonly string[] {
  if (!text.includes('*')) return dnsSubdomainErrors(text);
  if (text.length <= 253 && wildcardRegex.test(text)) return [];
  return [
    regexHint(
      "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
      `\\*\\.${label}(\\.${label})*`,
      '*.example.com',
    ),
  ];
}

/** `example.com/name` */
export function domainPathErrors(text: string): readonly string[] {
  const slash = text.indexOf('/');
  const fits = slash > 0 && slash < text.length - 1 && dnsSubdomainErrors(text.slice(0, slash)).length === 0;
  return fits ? [] : ['must be a domain-prefixed path (such as "acme.io/foo")'];
}

export const userIdErrors = (id: number): readonly string[] => (id >= 0 && id <= 2147483647 ? [] : [rangeError(0, 2147483647)]);

/** Adds one error a sentence. */
export function check(errors: FieldError[], field: string, value: unknown, sentences: readonly string[]): void {
  for (const sentence of sentences) errors.push(invalidValue(field, value, sentence));
}

export function checkNonNegative(errors: FieldError[], field: string, value: number | undefined): void {
  if (!isAbsent(value) && value < 0) errors.push(invalidValue(field, value, 'must be greater than or equal to 0'));
}

/** A required value of a fixed set. */
export function checkEnum(errors: FieldError[], field: string, value: string | undefined, supported: readonly string[]): void {
  if (isAbsent(value) || value === '') errors.push(required(field));
  else if (!supported.includes(value)) errors.push(notSupported(field, value, supported));
}

/** A port given by number or by name. */
export function checkPortReference(errors: FieldError[], field: string, port: number | string | undefined): void {
  if (typeof port === 'string') check(errors, field, port, portNameErrors(port));
  else check(errors, field, port ?? 0, portNumberErrors(port ?? 0));
}

/** A count or a percentage that is not negative. */
export function checkIntOrPercent(errors: FieldError[], field: string, value: number | string): void {
  if (typeof value === 'string') check(errors, field, value, percentErrors(value));
  else checkNonNegative(errors, field, value);
}

export function checkNotAbove100Percent(errors: FieldError[], field: string, value: number | string): void {
  if (typeof value === 'string' && /^[0-9]+%$/.test(value) && Number.parseInt(value, 10) > 100) {
    errors.push(invalidValue(field, value, 'must not be greater than 100%'));
  }
}

/** A path below some root: relative, and it does not climb out. */
export function checkPathStaysInside(errors: FieldError[], field: string, path: string): void {
  if (path.startsWith('/')) errors.push(invalidValue(field, path, 'must be a relative path'));
  checkNoBacksteps(errors, field, path);
}

export function checkNoBacksteps(errors: FieldError[], field: string, path: string): void {
  if (path.split('/').includes('..')) errors.push(invalidValue(field, path, "must not contain '..'"));
}

/** Keys and values of a label map; errors name the key or value but not its place, as upstream's do. */
export function checkLabels(errors: FieldError[], field: string, labels: Readonly<Record<string, string>> | undefined): void {
  if (isAbsent(labels)) return;
  for (const [key, value] of Object.entries(labels)) {
    check(errors, field, key, qualifiedNameErrors(key));
    check(errors, field, value, labelValueErrors(value));
  }
}

const maxAnnotationBytes = 256 * 1024;

export function checkAnnotations(errors: FieldError[], field: string, annotations: Readonly<Record<string, string>> | undefined): void {
  if (isAbsent(annotations)) return;
  let bytes = 0;
  for (const [key, value] of Object.entries(annotations)) {
    check(errors, field, key, qualifiedNameErrors(key.toLowerCase()));
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (bytes > maxAnnotationBytes) {
    errors.push({
      type: 'FieldValueTooLong',
      field,
      message: `Too long: may not be more than ${maxAnnotationBytes} bytes`,
    });
  }
}

export function checkLabelSelector(errors: FieldError[], field: string, selector: LabelSelectorObject | undefined): void {
  if (isAbsent(selector)) return;
  checkLabels(errors, `${field}.matchLabels`, selector.matchLabels);
  for (const [index, { key, operator, values = [] }] of (selector.matchExpressions ?? []).entries()) {
    const at = `${field}.matchExpressions[${index}]`;
    if (operator === 'In' || operator === 'NotIn') {
      if (values.length === 0) errors.push(required(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'"));
    } else if (operator === 'Exists' || operator === 'DoesNotExist') {
      if (values.length > 0) errors.push(forbidden(`${at}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
    } else {
      errors.push(invalidValue(`${at}.operator`, operator ?? '', 'not a valid selector operator'));
    }
    check(errors, `${at}.key`, key ?? '', qualifiedNameErrors(key ?? ''));
    for (const [number, value] of values.entries()) check(errors, `${at}.values[${number}]`, value, labelValueErrors(value));
  }
}

/** True when a selector has no requirement, and so selects everything. */
export const isEmptySelector = (selector: LabelSelectorObject): boolean =>
  Object.keys(selector.matchLabels ?? {}).length === 0 && (selector.matchExpressions ?? []).length === 0;
