import { BoundedMap } from '../base/bounded-map.ts';

/**
 * Fixed-point amounts with a unit, as in resource requests: `500m`, `1.5Gi`, `2e3`. Exact down to one billionth; anything smaller is
 * rounded away from zero, so that who asks for something gets something.
 *
 * @see Kubernetes reference, "Quantity"
 */
export interface Quantity {
  /** The amount in billionths. */
  readonly nanos: bigint;
  /** The family of suffixes that the canonical form uses. */
  readonly format: 'DecimalSI' | 'BinarySI' | 'DecimalExponent';
  /** The text it was read from, kept when that counts as canonical, so that reading and writing changes nothing. */
  readonly text?: string;
}

/** The text is not a quantity; the message is the one of the real server. */
export class QuantityError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'QuantityError';
  }
}

const pattern = /^([+-]?)([0-9]*)(\.[0-9]*)?([eEinumkKMGTP]*[-+]?[0-9]*)$/;
const formatError = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const suffixError = "unable to parse quantity's suffix";

const decimalSuffixes = new Map([
  ['n', -9],
  ['u', -6],
  ['m', -3],
  ['', 0],
  ['k', 3],
  ['M', 6],
  ['G', 9],
  ['T', 12],
  ['P', 15],
  ['E', 18],
]);
const binarySuffixes = new Map([
  ['Ki', 10],
  ['Mi', 20],
  ['Gi', 30],
  ['Ti', 40],
  ['Pi', 50],
  ['Ei', 60],
]);
const suffixOfDecimal = new Map([...decimalSuffixes].map(([suffix, exponent]) => [exponent, suffix]));
const suffixOfBinary = new Map([...binarySuffixes].map(([suffix, exponent]) => [exponent, suffix]));

const unit = 10n ** 9n;
const maxInt64 = 2n ** 63n - 1n;
// Not in the original, which has room for exponents that would take gigabytes to write out.
const maxLength = 256;
const maxExponent = 256;

const zero: Quantity = { nanos: 0n, format: 'DecimalSI', text: '0' };

/** Pods ask for the same few amounts, and each is read dozens of times on the way of a pod. */
const maxRead = 512;
/** Longer texts are no amounts that many objects share. */
const maxReadLength = 24;
const read = new BoundedMap<string, Quantity>(maxRead);

/**
 * Reads a quantity; numbers count as their decimal text, as in JSON.
 *
 * @throws QuantityError also for texts longer than 256 characters and exponents above 256
 */
export function parseQuantity(input: string | number): Quantity {
  const text = typeof input === 'number' ? String(input) : input.trim();
  if (text === '0') return zero;
  const known = read.get(text);
  if (known !== undefined) return known;
  const quantity = Object.freeze(readQuantity(text));
  // By the length that was given: a part of a long text would keep all of it.
  if (String(input).length <= maxReadLength) read.set(text, quantity);
  return quantity;
}

function readQuantity(text: string): Quantity {
  const match = text.length > maxLength ? null : pattern.exec(text);
  if (match === null || text === '') throw new QuantityError(formatError);
  const [, sign = '', whole = '', fraction = '', suffix = ''] = match;
  if (whole === '' && fraction === '') throw new QuantityError('unable to parse numeric part of quantity');
  const { base, exponent, format } = suffixOf(suffix);
  const digits = whole.replace(/^0+/, '') || '0';
  const denominator = fraction.slice(1);
  const magnitude = BigInt(digits + denominator);
  const exact = base === 2 ? magnitude * 2n ** BigInt(exponent) : magnitude;
  const nanos = scaleUp(exact, (base === 10 ? exponent : 0) - denominator.length + 9);
  return finished({ sign, digits, denominator, exponent, nanos, format, text });
}

/** The quantity, or undefined when the text is none. */
export function tryQuantity(input: unknown): Quantity | undefined {
  if (typeof input !== 'string' && typeof input !== 'number') return undefined;
  try {
    return parseQuantity(input);
  } catch (err) {
    if (err instanceof QuantityError) return undefined;
    throw err;
  }
}

function suffixOf(suffix: string): { readonly base: 2 | 10; readonly exponent: number; readonly format: Quantity['format'] } {
  const decimal = decimalSuffixes.get(suffix);
  if (decimal !== undefined) return { base: 10, exponent: decimal, format: 'DecimalSI' };
  const binary = binarySuffixes.get(suffix);
  if (binary !== undefined) return { base: 2, exponent: binary, format: 'BinarySI' };
  if (!/^[eE][-+]?[0-9]+$/.test(suffix)) throw new QuantityError(suffixError);
  const exponent = Number(suffix.slice(1));
  if (Math.abs(exponent) > maxExponent) throw new QuantityError(suffixError);
  return { base: 10, exponent, format: 'DecimalExponent' };
}

interface Parsed {
  readonly sign: string;
  /** Before the point, without leading zeros, and after it. */
  readonly digits: string;
  readonly denominator: string;
  readonly exponent: number;
  readonly nanos: bigint;
  readonly format: Quantity['format'];
  readonly text: string;
}

/** Upstream keeps the original text exactly when its fast path can parse it; the server's answers show these rules. */
function finished({ sign, digits, denominator, exponent, nanos: size, format, text }: Parsed): Quantity {
  const length = digits.length + denominator.length;
  const signed = (nanos: bigint): bigint => (sign === '-' ? -nanos : nanos);
  if (format === 'BinarySI') {
    const fits = denominator === '' && 15 - length - Math.trunc((exponent * 3) / 10) - 1 >= 0;
    if (fits) {
      const keep = (Number(digits) & 7) !== 0;
      return { nanos: signed(size), format, ...(keep ? { text } : {}) };
    }
    const capped = size > maxInt64 * unit ? maxInt64 * unit : size;
    return { nanos: signed(capped), format: capped > 0n && capped < unit ? 'DecimalSI' : format };
  }
  const scale = exponent - denominator.length;
  const shifted = digits + denominator;
  const keep = length <= 18 && scale >= -9 && scale % 3 === 0 && !shifted.endsWith('000') && !shifted.startsWith('0');
  return { nanos: signed(size), format, ...(keep ? { text } : {}) };
}

/** `value` times ten to the `power`, a remainder rounded up. */
function scaleUp(value: bigint, power: number): bigint {
  return power >= 0 ? value * 10n ** BigInt(power) : divideUp(value, 10n ** BigInt(-power));
}

/** Rounds away from zero. */
function divideUp(value: bigint, divisor: bigint): bigint {
  const quotient = value / divisor;
  if (value % divisor === 0n) return quotient;
  return value < 0n ? quotient - 1n : quotient + 1n;
}

/** The canonical form: no fraction, the largest suffix that is exact. */
export function formatQuantity(quantity: Quantity): string {
  if (quantity.text !== undefined) return quantity.text;
  const { nanos, format } = quantity;
  if (nanos === 0n) return '0';
  if (format === 'BinarySI' && nanos % unit === 0n && (nanos >= 1024n * unit || nanos <= -1024n * unit)) {
    let number = nanos / unit;
    let exponent = 0;
    while (number % 1024n === 0n && exponent < 60) {
      number /= 1024n;
      exponent += 10;
    }
    return `${number}${suffixOfBinary.get(exponent) ?? ''}`;
  }
  let number = nanos;
  let exponent = -9;
  // Exa is the last suffix; a power of ten as suffix has no end.
  while (number % 1000n === 0n && (format === 'DecimalExponent' || exponent < 18)) {
    number /= 1000n;
    exponent += 3;
  }
  if (format === 'DecimalExponent') return exponent === 0 ? `${number}` : `${number}e${exponent}`;
  return `${number}${suffixOfDecimal.get(exponent) ?? ''}`;
}

/** An amount of a resource is counted in thousandths at the finest; anything smaller is rounded up to one. Takes a canonical form. */
export function roundToMilli(text: string): string {
  if (!/[nu]$|[eE]-/.test(text)) return text;
  const quantity = parseQuantity(text);
  const milli = unit / 1000n;
  return quantity.nanos % milli === 0n ? text : formatQuantity({ nanos: divideUp(quantity.nanos, milli) * milli, format: quantity.format });
}

/** Negative when `a` is smaller, 0 when both are the same amount, whatever their formats. */
export function compareQuantities(a: Quantity, b: Quantity): number {
  return a.nanos < b.nanos ? -1 : a.nanos > b.nanos ? 1 : 0;
}

/** The sum, in the format of `a` unless that is zero. */
export function addQuantities(a: Quantity, b: Quantity): Quantity {
  return { nanos: a.nanos + b.nanos, format: a.nanos === 0n ? b.format : a.format };
}

/** The difference, in the format of `a` unless that is zero. */
export function subtractQuantities(a: Quantity, b: Quantity): Quantity {
  return { nanos: a.nanos - b.nanos, format: a.nanos === 0n ? b.format : a.format };
}

/** The amount in whole units, for example bytes, rounded away from zero. Exact up to 2^53. */
export function wholeValueOf(quantity: Quantity | string): number {
  const { nanos } = typeof quantity === 'string' ? parseQuantity(quantity) : quantity;
  return Number(divideUp(nanos, unit));
}

/** The amount in thousandths, for example of a CPU, rounded away from zero. Exact up to 2^53. */
export function milliValueOf(quantity: Quantity | string): number {
  const { nanos } = typeof quantity === 'string' ? parseQuantity(quantity) : quantity;
  return Number(divideUp(nanos, 10n ** 6n));
}
