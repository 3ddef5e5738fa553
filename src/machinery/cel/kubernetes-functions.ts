import { isIPv4, isIPv6 } from 'node:net';
import { qualifiedNameErrors } from '../label-syntax.ts';
import {
  addQuantities,
  compareQuantities,
  parseQuantity,
  type Quantity,
  QuantityError,
  subtractQuantities,
  tryQuantity,
} from '../quantity.ts';
import type { CelFunction } from './compiler.ts';
import { CelEvaluationError } from './errors.ts';
import { fn, method } from './signature.ts';
import { tryDuration, tryTimestamp } from './time.ts';
import {
  CelCidr,
  CelFormat,
  CelIp,
  CelList,
  CelOptional,
  CelQuantity,
  CelSemver,
  CelUrl,
  LiteralMap,
  maxInt64,
  minInt64,
} from './values.ts';

/** Kubernetes' own libraries. @see k8s.io/apiserver/pkg/cel/library, for the names and what they take */

const text = (value: unknown): string => value as string;

// ------------------------------------------------------------------------------------------------------------------------------ quantity

const quantity = (value: unknown): Quantity => (value as CelQuantity).quantity;
const units = 1_000_000_000n;
const ofInteger = (value: unknown): Quantity => ({ nanos: (value as bigint) * units, format: 'DecimalSI' });

function wholeOf({ nanos }: Quantity): bigint | undefined {
  if (nanos % units !== 0n) return undefined;
  const whole = nanos / units;
  return whole > maxInt64 || whole < minInt64 ? undefined : whole;
}

const quantities: readonly CelFunction[] = [
  fn('quantity', 'string', 'quantity', ([value]) => {
    try {
      return new CelQuantity(parseQuantity(text(value)));
    } catch (err) {
      if (err instanceof QuantityError) throw new CelEvaluationError(err.message);
      throw err;
    }
  }),
  fn('isQuantity', 'string', 'bool', ([value]) => tryQuantity(value) !== undefined),
  method('sign', 'quantity', 'int', ([value]) => (quantity(value).nanos > 0n ? 1n : quantity(value).nanos < 0n ? -1n : 0n)),
  method('isInteger', 'quantity', 'bool', ([value]) => wholeOf(quantity(value)) !== undefined),
  method('asInteger', 'quantity', 'int', ([value]) => {
    const whole = wholeOf(quantity(value));
    if (whole === undefined) throw new CelEvaluationError('cannot convert value to integer');
    return whole;
  }),
  method('asApproximateFloat', 'quantity', 'double', ([value]) => Number(quantity(value).nanos) / 1e9),
  method('add', 'quantity, quantity', 'quantity', ([a, b]) => new CelQuantity(addQuantities(quantity(a), quantity(b)))),
  method('add', 'quantity, int', 'quantity', ([a, b]) => new CelQuantity(addQuantities(quantity(a), ofInteger(b)))),
  method('sub', 'quantity, quantity', 'quantity', ([a, b]) => new CelQuantity(subtractQuantities(quantity(a), quantity(b)))),
  method('sub', 'quantity, int', 'quantity', ([a, b]) => new CelQuantity(subtractQuantities(quantity(a), ofInteger(b)))),
  method('isGreaterThan', 'quantity, quantity', 'bool', ([a, b]) => compareQuantities(quantity(a), quantity(b)) > 0),
  method('isLessThan', 'quantity, quantity', 'bool', ([a, b]) => compareQuantities(quantity(a), quantity(b)) < 0),
  method('compareTo', 'quantity, quantity', 'int', ([a, b]) => BigInt(compareQuantities(quantity(a), quantity(b)))),
];

// ---------------------------------------------------------------------------------------------------------------------------------- URLs

/** Absolute URIs and absolute paths, as Go's ParseRequestURI takes them. */
function tryUrl(value: string): CelUrl | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what no URL may have
  if (/[\x00-\x20\x7f]/.test(value)) return undefined;
  if (value.startsWith('/')) return URL.canParse(value, 'http://x') ? new CelUrl(value, undefined) : undefined;
  return /^[A-Za-z][A-Za-z0-9+.-]*:/.test(value) && URL.canParse(value) ? new CelUrl(value, new URL(value)) : undefined;
}

const url = (value: unknown): CelUrl => value as CelUrl;
/** Host and port as written: the parser drops ports that are a scheme's own. */
const authorityOf = ({ text: whole }: CelUrl): string => /^[A-Za-z][A-Za-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#]*)/.exec(whole)?.[1] ?? '';
const pathOf = ({ text: whole }: CelUrl): string => /^(?:[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/?#]*)?([^?#]*)/.exec(whole)?.[1] ?? '';

const urls: readonly CelFunction[] = [
  fn('url', 'string', 'url', ([value]) => {
    const parsed = tryUrl(text(value));
    if (parsed === undefined)
      throw new CelEvaluationError(
        `URL parse error during conversion from string: parse ${JSON.stringify(value)}: invalid URI for request`,
      );
    return parsed;
  }),
  fn('isURL', 'string', 'bool', ([value]) => tryUrl(text(value)) !== undefined),
  method('getScheme', 'url', 'string', ([value]) => (url(value).url?.protocol ?? '').replace(/:$/, '')),
  method('getHost', 'url', 'string', ([value]) => authorityOf(url(value))),
  method('getHostname', 'url', 'string', ([value]) =>
    authorityOf(url(value))
      .replace(/:\d*$/, '')
      .replace(/^\[(.*)\]$/, '$1'),
  ),
  method('getPort', 'url', 'string', ([value]) => /:(\d+)$/.exec(authorityOf(url(value)))?.[1] ?? ''),
  method('getEscapedPath', 'url', 'string', ([value]) => pathOf(url(value))),
  method('getQuery', 'url', 'map(string, list(string))', ([value]) => {
    const query = new URLSearchParams(/\?([^#]*)/.exec(url(value).text)?.[1] ?? '');
    const map = new LiteralMap();
    for (const key of new Set(query.keys())) map.insert(key, new CelList(query.getAll(key)));
    return map;
  }),
];

// ----------------------------------------------------------------------------------------------------------------------------- addresses

function tryIp(value: string): CelIp | undefined {
  // Addresses with a zone and IPv4 in IPv6 are refused, as upstream does.
  if (isIPv4(value)) return new CelIp(4, bitsOfIpv4(value), value);
  if (!isIPv6(value) || value.includes('%') || value.includes('.')) return undefined;
  const [head = '', tail] = value.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : 8 - before.length - after.length;
  const groups = [...before, ...new Array<string>(missing).fill('0'), ...after];
  return new CelIp(
    6,
    groups.reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n),
    value,
  );
}

const bitsOfIpv4 = (value: string): bigint => value.split('.').reduce((bits, byte) => (bits << 8n) | BigInt(byte), 0n);

/** The shortest way to write the address (RFC 5952). */
function canonicalIp({ family, bits }: Pick<CelIp, 'family' | 'bits'>): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (bits >> shift) & 255n).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => ((bits >> BigInt((7 - index) * 16)) & 0xffffn).toString(16));
  let start = -1;
  let length = 1;
  for (let from = 0; from < 8; from += 1) {
    let to = from;
    while (to < 8 && groups[to] === '0') to += 1;
    if (to - from > length) [start, length] = [from, to - from];
  }
  return start === -1 ? groups.join(':') : `${groups.slice(0, start).join(':')}::${groups.slice(start + length).join(':')}`;
}

function tryCidr(value: string): CelCidr | undefined {
  const [, address = '', digits = ''] = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(value) ?? [];
  const ip = tryIp(address);
  return ip === undefined || Number(digits) > widthOf(ip) ? undefined : new CelCidr(ip, Number(digits));
}

const widthOf = ({ family }: CelIp): number => (family === 4 ? 32 : 128);
const ipOf = (value: unknown): CelIp => value as CelIp;
const cidrOf = (value: unknown): CelCidr => value as CelCidr;

function parsedIp(value: string): CelIp {
  const ip = tryIp(value);
  if (ip === undefined) throw new CelEvaluationError(`IP Address ${JSON.stringify(value)} parse error during conversion from string`);
  return ip;
}

function parsedCidr(value: string): CelCidr {
  const cidr = tryCidr(value);
  if (cidr === undefined)
    throw new CelEvaluationError(`network address parse error during conversion from string: ${JSON.stringify(value)}`);
  return cidr;
}

function contains({ ip, prefixLength }: CelCidr, other: CelIp): boolean {
  if (ip.family !== other.family) return false;
  const shift = BigInt(widthOf(ip) - prefixLength);
  return ip.bits >> shift === other.bits >> shift;
}

const isIn = (ip: CelIp, ...ranges: readonly string[]): boolean => ranges.some((range) => contains(parsedCidr(range), ip));
const isUnspecified = (ip: CelIp): boolean => ip.bits === 0n;
const isLoopback = (ip: CelIp): boolean => isIn(ip, '127.0.0.0/8', '::1/128');
const isMulticast = (ip: CelIp): boolean => isIn(ip, '224.0.0.0/4', 'ff00::/8');
const isLinkLocal = (ip: CelIp): boolean => isIn(ip, '169.254.0.0/16', 'fe80::/10');

const addresses: readonly CelFunction[] = [
  fn('ip', 'string', 'ip', ([value]) => parsedIp(text(value))),
  fn('isIP', 'string', 'bool', ([value]) => tryIp(text(value)) !== undefined),
  fn('ip.isCanonical', 'string', 'bool', ([value]) => canonicalIp(parsedIp(text(value))) === value),
  method('family', 'ip', 'int', ([value]) => BigInt(ipOf(value).family)),
  method('isUnspecified', 'ip', 'bool', ([value]) => isUnspecified(ipOf(value))),
  method('isLoopback', 'ip', 'bool', ([value]) => isLoopback(ipOf(value))),
  method(
    'isLinkLocalMulticast',
    'ip',
    'bool',
    ([value]) => isIn(ipOf(value), '224.0.0.0/24') || ((ipOf(value).bits >> 112n) & 0xff0fn) === 0xff02n,
  ),
  method('isLinkLocalUnicast', 'ip', 'bool', ([value]) => isLinkLocal(ipOf(value))),
  method('isGlobalUnicast', 'ip', 'bool', ([value]) => {
    const ip = ipOf(value);
    const isBroadcast = ip.family === 4 && ip.bits === 0xffffffffn;
    return !isBroadcast && !isUnspecified(ip) && !isLoopback(ip) && !isMulticast(ip) && !isLinkLocal(ip);
  }),
  fn('cidr', 'string', 'cidr', ([value]) => parsedCidr(text(value))),
  fn('isCIDR', 'string', 'bool', ([value]) => tryCidr(text(value)) !== undefined),
  method('containsIP', 'cidr, ip', 'bool', ([value, ip]) => contains(cidrOf(value), ipOf(ip))),
  method('containsIP', 'cidr, string', 'bool', ([value, ip]) => contains(cidrOf(value), parsedIp(text(ip)))),
  method('containsCIDR', 'cidr, cidr', 'bool', ([value, other]) => containsRange(cidrOf(value), cidrOf(other))),
  method('containsCIDR', 'cidr, string', 'bool', ([value, other]) => containsRange(cidrOf(value), parsedCidr(text(other)))),
  method('ip', 'cidr', 'ip', ([value]) => cidrOf(value).ip),
  method('masked', 'cidr', 'cidr', ([value]) => {
    const { ip, prefixLength } = cidrOf(value);
    const shift = BigInt(widthOf(ip) - prefixLength);
    const masked = { family: ip.family, bits: (ip.bits >> shift) << shift };
    return new CelCidr(new CelIp(masked.family, masked.bits, canonicalIp(masked)), prefixLength);
  }),
  method('prefixLength', 'cidr', 'int', ([value]) => BigInt(cidrOf(value).prefixLength)),
];

const containsRange = (outer: CelCidr, inner: CelCidr): boolean => inner.prefixLength >= outer.prefixLength && contains(outer, inner.ip);

// -------------------------------------------------------------------------------------------------------------------------------- formats

const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const dns1035 = '[a-z]([-a-z0-9]*[a-z0-9])?';
const rule =
  (pattern: string, max: number, sentence: string): ((value: string) => readonly string[]) =>
  (value) => {
    const errors: string[] = [];
    if (value.length > max) errors.push(`must be no more than ${max} characters`);
    if (!new RegExp(`^${pattern}$`).test(value)) errors.push(`${sentence}, regex used for validation is '${pattern}'`);
    return errors;
  };
const dns1123Label = rule(
  label,
  63,
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
);
const dns1123Subdomain = rule(
  `${label}(\\.${label})*`,
  253,
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
);
const dns1035Label = rule(
  dns1035,
  63,
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
);
const labelValue = rule(
  '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?',
  63,
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
);
const one = (holds: boolean, complaint: string): readonly string[] => (holds ? [] : [complaint]);
/** A name that more is appended to may end in a hyphen. */
const asPrefix =
  (check: (value: string) => readonly string[]): ((value: string) => readonly string[]) =>
  (value) =>
    check(value.length > 1 && value.endsWith('-') ? `${value.slice(0, -2)}a` : value);

const formatChecks: Readonly<Record<string, (value: string) => readonly string[]>> = {
  dns1123Label,
  dns1123Subdomain,
  dns1035Label,
  qualifiedName: qualifiedNameErrors,
  dns1123LabelPrefix: asPrefix(dns1123Label),
  dns1123SubdomainPrefix: asPrefix(dns1123Subdomain),
  dns1035LabelPrefix: asPrefix(dns1035Label),
  labelValue,
  uri: (value) => one(tryUrl(value) !== undefined, 'invalid URI'),
  uuid: (value) => one(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(value), 'does not match the UUID format'),
  byte: (value) => one(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value), 'invalid base64'),
  date: (value) => one(/^\d{4}-\d\d-\d\d$/.test(value) && tryTimestamp(`${value}T00:00:00Z`) !== undefined, 'invalid date'),
  datetime: (value) => one(tryTimestamp(value) !== undefined, 'invalid datetime'),
  duration: (value) => one(tryDuration(value) !== undefined, 'invalid duration'),
};

const knownFormats = new Map(Object.entries(formatChecks).map(([name, check]) => [name, new CelFormat(name, check)]));

const formats: readonly CelFunction[] = [
  ...[...knownFormats].map(([name, format]) => fn(`format.${name}`, '', 'format', () => format)),
  fn('format.named', 'string', 'optional(format)', ([name]) => {
    const format = knownFormats.get(text(name));
    return format === undefined ? CelOptional.none : new CelOptional(format);
  }),
  method('validate', 'format, string', 'optional(list(string))', ([format, value]) => {
    const errors = (format as CelFormat).check(text(value));
    return errors.length === 0 ? CelOptional.none : new CelOptional(new CelList(errors));
  }),
];

// -------------------------------------------------------------------------------------------------------------------------------- versions

const semverPattern =
  /^(0|[1-9]\d{0,17})\.(0|[1-9]\d{0,17})\.(0|[1-9]\d{0,17})(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$/;

function trySemver(value: string, normalize = false): CelSemver | undefined {
  if (value.length > 256) return undefined;
  const [, major, minor = '', patch = '', prerelease, build = ''] = semverPattern.exec(normalize ? normalized(value) : value) ?? [];
  if (major === undefined) return undefined;
  return new CelSemver({
    major: BigInt(major),
    minor: BigInt(minor),
    patch: BigInt(patch),
    prerelease: prerelease?.split('.') ?? [],
    build,
  });
}

/** `v1.2` to `1.2.0`: a leading v goes, missing parts are 0, leading zeros go. */
function normalized(value: string): string {
  const [, core = '', rest = ''] = /^v?([0-9.]*)(.*)$/s.exec(value) ?? [];
  const parts = core.split('.').map((digits) => digits.replace(/^0+(?=\d)/, ''));
  while (parts.length < 3) parts.push('0');
  return `${parts.join('.')}${rest}`;
}

function compareSemver(a: CelSemver, b: CelSemver): number {
  for (const field of ['major', 'minor', 'patch'] as const) if (a[field] !== b[field]) return a[field] < b[field] ? -1 : 1;
  if (a.prerelease.length === 0 || b.prerelease.length === 0)
    return b.prerelease.length - a.prerelease.length > 0 ? 1 : a.prerelease.length === b.prerelease.length ? 0 : -1;
  for (let index = 0; index < Math.min(a.prerelease.length, b.prerelease.length); index += 1) {
    const [left = '', right = ''] = [a.prerelease[index], b.prerelease[index]];
    if (left === right) continue;
    const [leftNumber, rightNumber] = [/^\d+$/.test(left), /^\d+$/.test(right)];
    if (leftNumber && rightNumber) return BigInt(left) < BigInt(right) ? -1 : 1;
    if (leftNumber !== rightNumber) return leftNumber ? -1 : 1;
    return left < right ? -1 : 1;
  }
  return Math.sign(a.prerelease.length - b.prerelease.length);
}

function parsedSemver(value: string, normalize: boolean): CelSemver {
  const version = trySemver(value, normalize);
  if (version === undefined) throw new CelEvaluationError(`semver parse error during conversion from string: ${JSON.stringify(value)}`);
  return version;
}

const semver = (value: unknown): CelSemver => value as CelSemver;

const versions: readonly CelFunction[] = [
  fn('semver', 'string', 'semver', ([value]) => parsedSemver(text(value), false)),
  fn('semver', 'string, bool', 'semver', ([value, normalize]) => parsedSemver(text(value), normalize === true)),
  fn('isSemver', 'string', 'bool', ([value]) => trySemver(text(value)) !== undefined),
  fn('isSemver', 'string, bool', 'bool', ([value, normalize]) => trySemver(text(value), normalize === true) !== undefined),
  method('major', 'semver', 'int', ([value]) => semver(value).major),
  method('minor', 'semver', 'int', ([value]) => semver(value).minor),
  method('patch', 'semver', 'int', ([value]) => semver(value).patch),
  method('compareTo', 'semver, semver', 'int', ([a, b]) => BigInt(compareSemver(semver(a), semver(b)))),
  method('isGreaterThan', 'semver, semver', 'bool', ([a, b]) => compareSemver(semver(a), semver(b)) > 0),
  method('isLessThan', 'semver, semver', 'bool', ([a, b]) => compareSemver(semver(a), semver(b)) < 0),
];

export const kubernetesFunctions: readonly CelFunction[] = [...quantities, ...urls, ...addresses, ...formats, ...versions];
