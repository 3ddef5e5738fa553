import { compilePattern, PatternError } from '../pattern.ts';
import type { CelFunction, Evaluation } from './compiler.ts';
import { CelCostError, CelEvaluationError, noSuchOverload } from './errors.ts';
import { fn, method } from './signature.ts';
import { CelDuration, CelTimestamp, timestampPart, timestampPartNames, tryDuration, tryTimestamp } from './time.ts';
import { typeName } from './types.ts';
import {
  CelList,
  type CelMap,
  CelOptional,
  CelTypeValue,
  CelUint,
  isEqual,
  isMap,
  maxInt64,
  minInt64,
  toText,
  tryCompare,
  typeOfValue,
} from './values.ts';

/** The longest text that a function makes. */
const maxTextLength = 4 * 1024 * 1024;

const text = (value: unknown): string => value as string;
const list = (value: unknown): CelList => value as CelList;
const optional = (value: unknown): CelOptional => value as CelOptional;

/** Indexes count characters, not UTF-16 units. */
const characters = (value: string): readonly string[] => (isAscii(value) ? value.split('') : [...value]);
const isAscii = (value: string): boolean => /^[\0-\x7f]*$/.test(value);
const lengthOf = (value: string): number => (isAscii(value) ? value.length : [...value].length);

function int(value: bigint): bigint {
  if (value > maxInt64 || value < minInt64) throw new CelEvaluationError('integer overflow');
  return value;
}

function bounded(value: string, run: Evaluation): string {
  run.spend(Math.ceil(value.length / 10));
  if (value.length > maxTextLength) throw new CelCostError();
  return value;
}

// --------------------------------------------------------------------------------------------------------------------------- conversions

const conversions: readonly CelFunction[] = [
  fn('dyn', 'A', 'dyn', ([value]) => value),
  fn('type', 'dyn', 'type', ([value]) => new CelTypeValue(typeNameOf(value))),
  fn('int', 'int', 'int', ([value]) => value),
  fn('int', 'uint', 'int', ([value]) => int((value as CelUint).value)),
  fn('int', 'double', 'int', ([value]) => {
    const number = value as number;
    if (!Number.isFinite(number) || Math.abs(number) >= 2 ** 63) throw new CelEvaluationError('integer overflow');
    return BigInt(Math.trunc(number));
  }),
  fn('int', 'string', 'int', ([value]) => {
    if (!/^[+-]?\d{1,19}$/.test(text(value)))
      throw new CelEvaluationError(`strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`);
    return int(BigInt(text(value)));
  }),
  fn('int', 'timestamp', 'int', ([value]) => (value as CelTimestamp).nanos / 1_000_000_000n),
  fn('int', 'duration', 'int', ([value]) => (value as CelDuration).nanos),
  fn('uint', 'uint', 'uint', ([value]) => value),
  fn('uint', 'int', 'uint', ([value]) => new CelUint(value as bigint)),
  fn('uint', 'double', 'uint', ([value]) => {
    if (!Number.isFinite(value)) throw new CelEvaluationError('unsigned integer overflow');
    return new CelUint(BigInt(Math.trunc(value as number)));
  }),
  fn('uint', 'string', 'uint', ([value]) => {
    if (!/^\d{1,20}$/.test(text(value)))
      throw new CelEvaluationError(`strconv.ParseUint: parsing ${JSON.stringify(value)}: invalid syntax`);
    return new CelUint(BigInt(text(value)));
  }),
  fn('double', 'double', 'double', ([value]) => value),
  fn('double', 'int', 'double', ([value]) => Number(value as bigint)),
  fn('double', 'uint', 'double', ([value]) => Number((value as CelUint).value)),
  fn('double', 'string', 'double', ([value]) => {
    const number = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text(value)) ? Number(value) : infinities[text(value).toLowerCase()];
    if (number === undefined) throw new CelEvaluationError(`strconv.ParseFloat: parsing ${JSON.stringify(value)}: invalid syntax`);
    return number;
  }),
  fn('bool', 'bool', 'bool', ([value]) => value),
  fn('bool', 'string', 'bool', ([value]) => {
    if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text(value))) return true;
    if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text(value))) return false;
    throw new CelEvaluationError(`strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`);
  }),
  ...['string', 'int', 'uint', 'double', 'bool', 'bytes', 'timestamp', 'duration', 'ip', 'cidr'].map((kind) =>
    fn('string', kind, 'string', ([value], run) => bounded(toText(value), run)),
  ),
  fn('bytes', 'bytes', 'bytes', ([value]) => value),
  fn('bytes', 'string', 'bytes', ([value]) => new Uint8Array(Buffer.from(text(value)))),
  fn('timestamp', 'timestamp', 'timestamp', ([value]) => value),
  fn('timestamp', 'int', 'timestamp', ([value]) => new CelTimestamp((value as bigint) * 1_000_000_000n)),
  fn('timestamp', 'string', 'timestamp', ([value]) => {
    const timestamp = tryTimestamp(text(value));
    if (timestamp === undefined) throw new CelEvaluationError(`invalid timestamp ${JSON.stringify(value)}`);
    return timestamp;
  }),
  fn('duration', 'duration', 'duration', ([value]) => value),
  fn('duration', 'string', 'duration', ([value]) => {
    const duration = tryDuration(text(value));
    if (duration === undefined) throw new CelEvaluationError(`time: invalid duration ${JSON.stringify(value)}`);
    return duration;
  }),
];

const infinities: Readonly<Record<string, number>> = {
  inf: Number.POSITIVE_INFINITY,
  '+inf': Number.POSITIVE_INFINITY,
  '-inf': Number.NEGATIVE_INFINITY,
  nan: Number.NaN,
};

function typeNameOf(value: unknown): string {
  const type = typeOfValue(value);
  switch (type.kind) {
    case 'null':
      return 'null_type';
    case 'list':
    case 'map':
      return type.kind;
    case 'object':
      return 'map';
    case 'timestamp':
      return 'google.protobuf.Timestamp';
    case 'duration':
      return 'google.protobuf.Duration';
    default:
      return typeName(type);
  }
}

// --------------------------------------------------------------------------------------------------------------------------------- time

const durationParts: readonly (readonly [name: string, nanos: bigint])[] = [
  ['getHours', 3_600_000_000_000n],
  ['getMinutes', 60_000_000_000n],
  ['getSeconds', 1_000_000_000n],
];

const times: readonly CelFunction[] = [
  ...timestampPartNames.flatMap((part) => [
    method(part, 'timestamp', 'int', ([value]) => timestampPart(value as CelTimestamp, part)),
    method(part, 'timestamp, string', 'int', ([value, zone]) => timestampPart(value as CelTimestamp, part, text(zone))),
  ]),
  ...durationParts.map(([name, nanos]) => method(name, 'duration', 'int', ([value]) => (value as CelDuration).nanos / nanos)),
  method('getMilliseconds', 'duration', 'int', ([value]) => ((value as CelDuration).nanos / 1_000_000n) % 1000n),
];

// ------------------------------------------------------------------------------------------------------------------------------- strings

function matcherOf(source: unknown): ReturnType<typeof compilePattern> {
  try {
    return compilePattern(text(source));
  } catch (err) {
    if (err instanceof PatternError) throw new CelEvaluationError(`error parsing regexp: ${err.message}`);
    throw err;
  }
}

const matches: CelFunction['run'] = ([value, pattern], run) => {
  // Upstream charges a tenth of the text times a quarter of the pattern.
  run.spend(Math.ceil(text(value).length / 10 + 1) * Math.ceil(text(pattern).length / 4 + 1));
  return matcherOf(pattern).test(text(value));
};

const size: readonly CelFunction[] = (['string', 'bytes', 'list(A)', 'map(A, B)'] as const).flatMap((kind) => {
  const count: CelFunction['run'] = ([value]) => {
    if (typeof value === 'string') return BigInt(lengthOf(value));
    return BigInt(value instanceof Uint8Array ? value.length : (value as CelList | CelMap).size);
  };
  return [fn('size', kind, 'int', count), method('size', kind, 'int', count)];
});

function indexIn(value: string, wanted: string, { from, last }: { readonly from?: bigint; readonly last?: boolean }): bigint {
  const all = characters(value);
  const seek = characters(wanted);
  const start = from === undefined ? (last === true ? all.length : 0) : Number(from);
  if (start < 0 || start > all.length) throw new CelEvaluationError(`index out of range: ${start}`);
  if (last === true) {
    const limit = all.slice(0, Math.min(start + seek.length, all.length)).join('');
    const found = limit.lastIndexOf(wanted);
    return BigInt(found === -1 ? -1 : lengthOf(limit.slice(0, found)));
  }
  const head = all.slice(0, start).join('').length;
  const found = value.indexOf(wanted, head);
  return BigInt(found === -1 ? -1 : lengthOf(value.slice(0, found)));
}

function part(value: string, from: bigint, to: bigint | undefined): string {
  const all = characters(value);
  const start = Number(from);
  const end = to === undefined ? all.length : Number(to);
  if (start < 0 || start > all.length) throw new CelEvaluationError(`index out of range: ${start}`);
  if (end < 0 || end > all.length) throw new CelEvaluationError(`index out of range: ${end}`);
  if (start > end) throw new CelEvaluationError(`invalid substring range. start: ${start}, end: ${end}`);
  return all.slice(start, end).join('');
}

function split(value: string, separator: string, limit: bigint | undefined, run: Evaluation): CelList {
  run.spend(Math.ceil(value.length / 10));
  if (limit === 0n) return new CelList([]);
  const pieces = separator === '' ? [...characters(value)] : value.split(separator);
  if (limit === undefined || limit < 0n || pieces.length <= limit) return new CelList(pieces);
  const most = Number(limit);
  return new CelList([...pieces.slice(0, most - 1), pieces.slice(most - 1).join(separator)]);
}

function replaced(value: string, [from, to]: readonly [string, string], limit: bigint | undefined, run: Evaluation): string {
  const pieces = from === '' ? ['', ...characters(value), ''] : value.split(from);
  const most = limit === undefined || limit < 0n ? pieces.length : Math.min(Number(limit), pieces.length - 1);
  const growth = Math.max(to.length - from.length, 0) * Math.min(most, pieces.length);
  run.spend(Math.ceil((value.length + growth) / 10));
  if (value.length + growth > maxTextLength) throw new CelCostError();
  const head = pieces.slice(0, most + 1).join(to);
  const tail = pieces.slice(most + 1);
  return tail.length === 0 ? head : [head, ...tail].join(from);
}

/** `%s` and its relatives with the arguments of a list. */
function formatted(template: string, args: CelList, run: Evaluation): string {
  let next = 0;
  const take = (): unknown => {
    if (next >= args.size) throw new CelEvaluationError(`index ${next} out of range`);
    next += 1;
    return args.at(next - 1);
  };
  const made = template.replace(/%(%|(?:\.(\d{1,3}))?([a-zA-Z]))/g, (_, all: string, precision: string | undefined, verb: string) => {
    if (all === '%') return '%';
    const value = take();
    switch (verb) {
      case 's':
        return toText(value);
      case 'd':
        if (typeof value === 'bigint') return String(value);
        if (value instanceof CelUint) return String(value.value);
        break;
      case 'f':
      case 'e': {
        const number = typeof value === 'bigint' ? Number(value) : value;
        if (typeof number !== 'number') break;
        const digits = Math.min(Number(precision ?? 6), 100);
        return verb === 'f' ? number.toFixed(digits) : number.toExponential(digits).replace(/e([+-])(\d)$/, 'e$10$2');
      }
      case 'b':
        if (typeof value === 'boolean') return value ? '1' : '0';
        if (typeof value === 'bigint') return value.toString(2);
        break;
      case 'o':
        if (typeof value === 'bigint') return value.toString(8);
        break;
      case 'x':
      case 'X': {
        const hex =
          typeof value === 'bigint'
            ? value.toString(16)
            : typeof value === 'string' || value instanceof Uint8Array
              ? Buffer.from(value as string).toString('hex')
              : undefined;
        if (hex !== undefined) return verb === 'X' ? hex.toUpperCase() : hex;
        break;
      }
      default:
        throw new CelEvaluationError(`unrecognized formatting clause "${verb}"`);
    }
    throw new CelEvaluationError(`error during formatting: clause %${verb} does not take ${typeName(typeOfValue(value))}`);
  });
  return bounded(made, run);
}

const lower = (value: string): string => value.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
const upper = (value: string): string => value.replace(/[a-z]+/g, (letters) => letters.toUpperCase());

const strings: readonly CelFunction[] = [
  method('startsWith', 'string, string', 'bool', ([value, prefix]) => text(value).startsWith(text(prefix))),
  method('endsWith', 'string, string', 'bool', ([value, suffix]) => text(value).endsWith(text(suffix))),
  method('contains', 'string, string', 'bool', ([value, wanted], run) => {
    run.spend(Math.ceil(text(value).length / 10));
    return text(value).includes(text(wanted));
  }),
  fn('matches', 'string, string', 'bool', matches),
  method('matches', 'string, string', 'bool', matches),
  method('charAt', 'string, int', 'string', ([value, index]) => {
    const all = characters(text(value));
    const at = Number(index as bigint);
    if (at < 0 || at > all.length) throw new CelEvaluationError(`index out of range: ${at}`);
    return all[at] ?? '';
  }),
  method('indexOf', 'string, string', 'int', ([value, wanted]) => indexIn(text(value), text(wanted), {})),
  method('indexOf', 'string, string, int', 'int', ([value, wanted, from]) => indexIn(text(value), text(wanted), { from: from as bigint })),
  method('lastIndexOf', 'string, string', 'int', ([value, wanted]) => indexIn(text(value), text(wanted), { last: true })),
  method('lastIndexOf', 'string, string, int', 'int', ([value, wanted, from]) =>
    indexIn(text(value), text(wanted), { from: from as bigint, last: true }),
  ),
  method('join', 'list(string)', 'string', ([items], run) => joinedText(list(items), '', run)),
  method('join', 'list(string), string', 'string', ([items, separator], run) => joinedText(list(items), text(separator), run)),
  method('lowerAscii', 'string', 'string', ([value], run) => bounded(lower(text(value)), run)),
  method('upperAscii', 'string', 'string', ([value], run) => bounded(upper(text(value)), run)),
  method('trim', 'string', 'string', ([value]) => text(value).trim()),
  method('reverse', 'string', 'string', ([value], run) => bounded([...text(value)].reverse().join(''), run)),
  method('replace', 'string, string, string', 'string', ([value, from, to], run) =>
    replaced(text(value), [text(from), text(to)], undefined, run),
  ),
  method('replace', 'string, string, string, int', 'string', ([value, from, to, limit], run) =>
    replaced(text(value), [text(from), text(to)], limit as bigint, run),
  ),
  method('split', 'string, string', 'list(string)', ([value, separator], run) => split(text(value), text(separator), undefined, run)),
  method('split', 'string, string, int', 'list(string)', ([value, separator, limit], run) =>
    split(text(value), text(separator), limit as bigint, run),
  ),
  method('substring', 'string, int', 'string', ([value, from]) => part(text(value), from as bigint, undefined)),
  method('substring', 'string, int, int', 'string', ([value, from, to]) => part(text(value), from as bigint, to as bigint)),
  method('format', 'string, list(dyn)', 'string', ([template, args], run) => formatted(text(template), list(args), run)),
  fn('strings.quote', 'string', 'string', ([value]) => JSON.stringify(value)),
  method('find', 'string, string', 'string', ([value, pattern], run) => {
    run.spend(Math.ceil(text(value).length / 10 + 1) * Math.ceil(text(pattern).length / 4 + 1));
    return matcherOf(pattern).find(text(value)) ?? '';
  }),
  method('findAll', 'string, string', 'list(string)', ([value, pattern], run) => found(text(value), pattern, -1n, run)),
  method('findAll', 'string, string, int', 'list(string)', ([value, pattern, limit], run) =>
    found(text(value), pattern, limit as bigint, run),
  ),
];

function found(value: string, pattern: unknown, limit: bigint, run: Evaluation): CelList {
  run.spend(Math.ceil(value.length / 10 + 1) * Math.ceil(text(pattern).length / 4 + 1));
  const all = matcherOf(pattern).findAll(value, limit < 0n ? Number.POSITIVE_INFINITY : Number(limit));
  run.spend(all.length);
  return new CelList(all);
}

function joinedText(items: CelList, separator: string, run: Evaluation): string {
  let length = 0;
  const pieces = items.values().map((item) => {
    if (typeof item !== 'string') throw noSuchOverload();
    length += item.length + separator.length;
    if (length > maxTextLength) throw new CelCostError();
    return item;
  });
  return bounded(pieces.join(separator), run);
}

// --------------------------------------------------------------------------------------------------------------------------------- lists

function extreme(items: CelList, wanted: 1 | -1, run: Evaluation): unknown {
  run.spend(items.size);
  if (items.size === 0) throw new CelEvaluationError(`${wanted === 1 ? 'max' : 'min'} called on empty list`);
  return items.values().reduce((best, item) => (order(item, best) * wanted > 0 ? item : best));
}

function order(a: unknown, b: unknown): number {
  const compared = tryCompare(a, b);
  if (compared === undefined) throw noSuchOverload();
  return compared;
}

function sum(items: CelList, run: Evaluation): unknown {
  run.spend(items.size);
  const [first, ...rest] = items.values();
  if (first === undefined) return 0n;
  return rest.reduce((total, item) => {
    if (typeof total === 'bigint' && typeof item === 'bigint') return int(total + item);
    if (typeof total === 'number' && typeof item === 'number') return total + item;
    if (total instanceof CelUint && item instanceof CelUint) return new CelUint(total.value + item.value);
    if (total instanceof CelDuration && item instanceof CelDuration) return new CelDuration(total.nanos + item.nanos);
    throw noSuchOverload();
  }, first);
}

function has(items: CelList, wanted: unknown, run: Evaluation): boolean {
  for (let index = 0; index < items.size; index += 1) {
    run.spend(1);
    if (isEqual(items.at(index), wanted, run.spend)) return true;
  }
  return false;
}

const containsAll = (items: CelList, wanted: CelList, run: Evaluation): boolean => wanted.values().every((item) => has(items, item, run));

function flat(items: CelList, depth: number, run: Evaluation): unknown[] {
  run.spend(items.size);
  return items.values().flatMap((item) => (item instanceof CelList && depth > 0 ? flat(item, depth - 1, run) : [item]));
}

const lists: readonly CelFunction[] = [
  method('isSorted', 'list(A)', 'bool', ([items], run) => {
    run.spend(list(items).size);
    const all = list(items).values();
    return all.every((item, index) => index === 0 || order(all[index - 1], item) <= 0);
  }),
  method('sum', 'list(A)', 'A', ([items], run) => sum(list(items), run)),
  method('min', 'list(A)', 'A', ([items], run) => extreme(list(items), -1, run)),
  method('max', 'list(A)', 'A', ([items], run) => extreme(list(items), 1, run)),
  method('indexOf', 'list(A), A', 'int', ([items, wanted], run) => {
    run.spend(list(items).size);
    return BigInt(
      list(items)
        .values()
        .findIndex((item) => isEqual(item, wanted, run.spend)),
    );
  }),
  method('lastIndexOf', 'list(A), A', 'int', ([items, wanted], run) => {
    run.spend(list(items).size);
    return BigInt(
      list(items)
        .values()
        .findLastIndex((item) => isEqual(item, wanted, run.spend)),
    );
  }),
  method('slice', 'list(A), int, int', 'list(A)', ([items, from, to], run) => {
    const [start, end] = [Number(from as bigint), Number(to as bigint)];
    if (start < 0 || end < 0) throw new CelEvaluationError(`cannot slice(${start}, ${end}), negative indexes not supported`);
    if (start > end) throw new CelEvaluationError(`cannot slice(${start}, ${end}), start index must be less than or equal to end index`);
    if (end > list(items).size) throw new CelEvaluationError(`cannot slice(${start}, ${end}), list is length ${list(items).size}`);
    run.spend(end - start);
    return new CelList(list(items).values().slice(start, end));
  }),
  method('flatten', 'list(A)', 'list(dyn)', ([items], run) => new CelList(flat(list(items), 1, run))),
  method(
    'flatten',
    'list(A), int',
    'list(dyn)',
    ([items, depth], run) => new CelList(flat(list(items), Math.min(Number(depth as bigint), 100), run)),
  ),
  method('reverse', 'list(A)', 'list(A)', ([items], run) => {
    run.spend(list(items).size);
    return new CelList([...list(items).values()].reverse());
  }),
  method('sort', 'list(A)', 'list(A)', ([items], run) => {
    run.spend(list(items).size * 4);
    return new CelList([...list(items).values()].sort(order));
  }),
  method('distinct', 'list(A)', 'list(A)', ([items], run) => {
    const kept: unknown[] = [];
    for (const item of list(items).values()) if (!has(new CelList(kept), item, run)) kept.push(item);
    return new CelList(kept);
  }),
  fn('lists.range', 'int', 'list(int)', ([count], run) => {
    const most = Number(count as bigint);
    run.spend(Math.max(most, 0));
    return new CelList(Array.from({ length: Math.max(most, 0) }, (_, index) => BigInt(index)));
  }),
  fn('sets.contains', 'list(A), list(A)', 'bool', ([items, wanted], run) => containsAll(list(items), list(wanted), run)),
  fn(
    'sets.equivalent',
    'list(A), list(A)',
    'bool',
    ([a, b], run) => containsAll(list(a), list(b), run) && containsAll(list(b), list(a), run),
  ),
  fn('sets.intersects', 'list(A), list(A)', 'bool', ([a, b], run) =>
    list(b)
      .values()
      .some((item) => has(list(a), item, run)),
  ),
];

// ----------------------------------------------------------------------------------------------------------------------------- optionals

function isZero(value: unknown): boolean {
  if (value === null || value === '' || value === 0 || value === 0n || value === false) return true;
  if (value instanceof CelList || isMap(value)) return value.size === 0;
  return (value instanceof CelUint && value.value === 0n) || (value instanceof Uint8Array && value.length === 0);
}

const optionals: readonly CelFunction[] = [
  fn('optional.none', '', 'optional(dyn)', () => CelOptional.none),
  fn('optional.of', 'A', 'optional(A)', ([value]) => new CelOptional(value)),
  fn('optional.ofNonZeroValue', 'A', 'optional(A)', ([value]) => (isZero(value) ? CelOptional.none : new CelOptional(value))),
  method('hasValue', 'optional(A)', 'bool', ([value]) => optional(value).hasValue),
  method('value', 'optional(A)', 'A', ([value]) => {
    if (!optional(value).hasValue) throw new CelEvaluationError('optional.none() dereference');
    return optional(value).value;
  }),
  method('or', 'optional(A), optional(A)', 'optional(A)', ([value, other]) => (optional(value).hasValue ? value : other)),
  method('orValue', 'optional(A), A', 'A', ([value, other]) => (optional(value).hasValue ? optional(value).value : other)),
];

/** The language's own functions and cel-go's extensions that Kubernetes has switched on. */
export const standardFunctions: readonly CelFunction[] = [...conversions, ...times, ...size, ...strings, ...lists, ...optionals];
