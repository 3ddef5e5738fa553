import {
  DEFAULT_SCALAR_STYLE_RULES,
  DUMP_SCHEMA,
  defineScalarTag,
  dump,
  EVENT_ID,
  type Event,
  getScalarValue,
  NOT_RESOLVED,
  parseEvents,
  SCALAR_STYLE,
  type ScalarStyleRule,
  YAMLException,
} from 'js-yaml';

/**
 * YAML as kubectl reads and writes it. This is the only door to js-yaml, which finds the structure. This file decides
 * the meaning of scalars, since kubectl follows neither YAML 1.1 nor 1.2. Here `yes` is true, `0644` is 420, `1:30` and
 * dates are strings.
 */

export interface YamlLimits {
  /** UTF-8 size of the whole text. */
  readonly maxBytes: number;
  /** Levels of nesting, aliases included. */
  readonly maxDepth: number;
  /** Aliases in one document. */
  readonly maxAliases: number;
  readonly maxDocuments: number;
  /** Name of the text in error messages. */
  readonly filename?: string;
  /**
   * Receives each duplicate key of a map, with the line of the second one, which then wins. Absent: a duplicate is an
   * error.
   */
  readonly onDuplicateKey?: (key: string, line: number) => void;
  /** `true-false`: `yes`, `on` and their like are strings, as kustomize reads them. */
  readonly booleans?: 'true-false';
  /** `times`: dates become the times (RFC 3339) that kustomize makes of them. Absent: they are strings as they are written. */
  readonly dates?: 'times';
  /** `strings`: numbers and booleans cannot be keys. Absent: they are strings. */
  readonly keys?: 'strings';
  /** Maps whose scalars are the text that is written, whatever it looks like. */
  readonly texts?: {
    /** Types of the maps; undefined is an item of a list. */
    readonly maps: readonly (readonly (string | undefined)[])[];
    /** A null stays null in such a map. */
    readonly butNull?: boolean;
  };
}

export interface YamlDocument {
  /** JSON values only. Parts that the text repeats by alias are one object. */
  readonly value: unknown;
  /** Line where the content begins, counted from 1. */
  readonly line: number;
}

/**
 * The text is not YAML, or more of it than is read. Line and column are counted from 1.
 *
 * The reason may name a key and never repeats a value. The text may be that of a Secret, and a password such as `*word` is easily written
 * without quotation marks.
 */
export class YamlError extends Error {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** The error without its position. */
  readonly reason: string;

  constructor({ file, line, column, reason }: { file: string; line: number; column: number; reason: string }) {
    super(file === '' ? `yaml: line ${line}: ${reason}` : `${file}:${line}:${column}: ${reason}`);
    this.name = 'YamlError';
    this.file = file;
    this.line = line;
    this.column = column;
    this.reason = reason;
  }
}

/** Nodes that all aliases of a text may add: few lines can expand to billions of nodes. */
const maxAliasedNodes = 100_000;

/**
 * Reads all documents of a text; empty ones and such with only comments are left out.
 *
 * @throws YamlError for a syntax error, a duplicate key or a value that JSON does not have. That is `.inf`, or an integer that a number
 * does not hold. Also at each limit
 */
export function parseYamlDocuments(text: string, limits: YamlLimits): readonly YamlDocument[] {
  const file = limits.filename ?? '';
  // Three bytes a character is the most that UTF-8 takes, so that short texts need not be counted.
  if (text.length * 3 > limits.maxBytes && Buffer.byteLength(text) > limits.maxBytes) {
    throw new YamlError({ file, line: 1, column: 1, reason: `is larger than ${limits.maxBytes} bytes` });
  }
  return new Composer(text, eventsOf(text, limits.maxDepth, file), limits).documents();
}

function eventsOf(text: string, maxDepth: number, file: string): readonly Event[] {
  try {
    return parseEvents(text, { maxDepth });
  } catch (err) {
    if (!(err instanceof YAMLException)) throw err;
    const { mark } = err;
    throw new YamlError({ file, line: (mark?.line ?? 0) + 1, column: (mark?.column ?? 0) + 1, reason: withoutQuoted(err.reason) });
  }
}

/** Without the text that the parser repeats behind a colon or in quotation marks. */
const withoutQuoted = (reason: string): string =>
  reason.replace(/(such characters): .*$/s, '$1').replace(/^((?:undeclared tag handle|unidentified alias)) ".*"/s, '$1');

interface Anchor {
  readonly value: unknown;
  /** Nodes and levels of the value, with its aliases resolved. */
  readonly nodes: number;
  readonly height: number;
}

interface Frame {
  readonly container: Record<string, unknown> | unknown[];
  readonly anchor: string | undefined;
  nodes: number;
  height: number;
  /** The key whose value is awaited. */
  key: string | undefined;
  keyOffset: number;
  isMerge: boolean;
  /** Keys that came from `<<` and give way to written ones. */
  merged: Set<string> | undefined;
}

/** Builds values from the parser's events. */
class Composer {
  readonly #text: string;
  readonly #events: readonly Event[];
  readonly #limits: YamlLimits;
  readonly #documents: YamlDocument[] = [];
  readonly #frames: Frame[] = [];
  #anchors = new Map<string, Anchor | 'open'>();
  #aliases = 0;
  #aliasedNodes = 0;
  #root: unknown;
  #rootOffset = -1;

  constructor(text: string, events: readonly Event[], limits: YamlLimits) {
    this.#text = text;
    this.#events = events;
    this.#limits = limits;
  }

  documents(): readonly YamlDocument[] {
    const lines = new LineCounter(this.#text);
    let inDocument = false;
    for (const event of this.#events) {
      switch (event.type) {
        case EVENT_ID.DOCUMENT:
          inDocument = true;
          this.#anchors = new Map();
          this.#aliases = 0;
          this.#root = undefined;
          this.#rootOffset = -1;
          break;
        case EVENT_ID.SCALAR:
          this.#scalar(event);
          break;
        case EVENT_ID.ALIAS:
          this.#alias(event);
          break;
        case EVENT_ID.SEQUENCE:
          this.#open([], event);
          break;
        case EVENT_ID.MAPPING:
          this.#open({}, event);
          break;
        case EVENT_ID.POP:
          if (this.#frames.length > 0) this.#close();
          else if (inDocument) {
            inDocument = false;
            if (this.#rootOffset === -1) break;
            if (this.#documents.length === this.#limits.maxDocuments) {
              this.#fail(this.#rootOffset, `has more than ${this.#limits.maxDocuments} documents`);
            }
            this.#documents.push({ value: this.#root, line: lines.lineOf(this.#rootOffset) });
          }
          break;
        default:
          event satisfies never;
      }
    }
    return this.#documents;
  }

  #scalar(event: Event & { type: typeof EVENT_ID.SCALAR }): void {
    const offset = event.tagStart !== -1 ? event.tagStart : event.anchorStart !== -1 ? event.anchorStart : startOf(event);
    const isEmptyRoot = this.#frames.length === 0 && event.valueStart === event.valueEnd && event.style === SCALAR_STYLE.PLAIN;
    if (isEmptyRoot && event.tagStart === -1) return;
    const source = getScalarValue(this.#text, event);
    const tag = event.tagStart === -1 ? '' : tagNameOf(this.#text.slice(event.tagStart, event.tagEnd));
    const frame = this.#frames[this.#frames.length - 1];
    const isKey = frame !== undefined && !Array.isArray(frame.container) && frame.key === undefined && !frame.isMerge;
    if (isKey && source === '<<' && (tag === 'merge' || (tag === '' && event.style === SCALAR_STYLE.PLAIN))) {
      frame.isMerge = true;
      frame.keyOffset = event.valueStart;
      return;
    }
    const value = this.#valueOf({ source, tag, plain: event.style === SCALAR_STYLE.PLAIN, offset });
    this.#name(event, { value, nodes: 1, height: 0 });
    this.#add({ value, nodes: 1, height: 0 }, offset);
  }

  #valueOf({ source, tag, plain, offset }: { source: string; tag: string; plain: boolean; offset: number }): unknown {
    if ((plain || tag !== '') && this.#isText(source)) return source;
    switch (tag) {
      case '':
        return plain ? this.#plainValueOf(source, offset) : source;
      case 'binary':
        if (!/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(source)) this.#fail(offset, '!!binary value contains invalid base64 data');
        return Buffer.from(source, 'base64').toString('utf8');
      case 'null':
      case 'bool':
      case 'int':
      case 'float': {
        const value = this.#plainValueOf(source, offset);
        const type = value === null ? 'null' : typeof value === 'boolean' ? 'bool' : typeof value === 'number' ? 'number' : 'str';
        const fits = tag === 'float' ? type === 'number' : tag === 'int' ? Number.isInteger(value) : type === tag;
        if (!fits) this.#fail(offset, `cannot decode !!${type} as a !!${tag}`);
        return value;
      }
      case 'timestamp':
        return this.#limits.dates === 'times' ? (timeOf(source) ?? source) : source;
      default:
        return source;
    }
  }

  /** True when the next scalar is a value in a map of texts. */
  #isText(source: string): boolean {
    const frames = this.#frames;
    const { texts } = this.#limits;
    if (texts === undefined || frames[frames.length - 1]?.key === undefined) return false;
    if (texts.butNull === true && words.get(source) === null) return false;
    return texts.maps.some((path) => path.length === frames.length - 1 && path.every((key, depth) => frames[depth]?.key === key));
  }

  #plainValueOf(source: string, offset: number): unknown {
    const value = resolvePlain(source);
    if (typeof value === 'boolean' && this.#limits.booleans === 'true-false' && !/^(true|false)$/i.test(source)) return source;
    if (typeof value === 'string' && this.#limits.dates === 'times') return timeOf(source) ?? value;
    if (typeof value === 'number' && !Number.isFinite(value))
      this.#fail(offset, 'unsupported value: infinity and not-a-number have no JSON');
    if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value) && !/[.eE]/.test(source)) {
      this.#fail(offset, 'a number cannot be held exactly: integers are supported from -(2^53-1) to 2^53-1');
    }
    return value;
  }

  #alias(event: Event & { type: typeof EVENT_ID.ALIAS }): void {
    const name = this.#text.slice(event.anchorStart, event.anchorEnd);
    const anchor = this.#anchors.get(name);
    if (anchor === undefined) this.#fail(event.anchorStart, 'unknown anchor referenced: a text that begins with * needs quotation marks');
    if (anchor === 'open') this.#fail(event.anchorStart, 'anchor value contains itself');
    this.#aliases += 1;
    this.#aliasedNodes += anchor.nodes;
    if (this.#aliases > this.#limits.maxAliases) this.#fail(event.anchorStart, `has more than ${this.#limits.maxAliases} aliases`);
    if (this.#aliasedNodes > maxAliasedNodes) this.#fail(event.anchorStart, 'document contains excessive aliasing');
    if (this.#frames.length + anchor.height > this.#limits.maxDepth) {
      this.#fail(event.anchorStart, `is nested deeper than ${this.#limits.maxDepth} levels`);
    }
    this.#add(anchor, event.anchorStart);
  }

  #open(container: Record<string, unknown> | unknown[], event: Event & { anchorStart: number; anchorEnd: number; start: number }): void {
    if (this.#frames.length === 0) this.#rootOffset = event.start;
    const anchor = event.anchorStart === -1 ? undefined : this.#text.slice(event.anchorStart, event.anchorEnd);
    if (anchor !== undefined) this.#anchors.set(anchor, 'open');
    const parent = this.#frames[this.#frames.length - 1];
    if (parent !== undefined && !Array.isArray(parent.container) && parent.key === undefined && !parent.isMerge) {
      this.#fail(event.start, 'unsupported map key: only scalars can be keys');
    }
    this.#frames.push({
      container,
      anchor,
      nodes: 1,
      height: 1,
      key: undefined,
      keyOffset: event.start,
      isMerge: false,
      merged: undefined,
    });
  }

  #close(): void {
    const frame = this.#frames.pop();
    if (frame === undefined) return;
    const done: Anchor = { value: frame.container, nodes: frame.nodes, height: frame.height };
    if (frame.anchor !== undefined) this.#anchors.set(frame.anchor, done);
    this.#add(done, frame.keyOffset);
  }

  #name(event: { readonly anchorStart: number; readonly anchorEnd: number }, anchor: Anchor): void {
    if (event.anchorStart !== -1) this.#anchors.set(this.#text.slice(event.anchorStart, event.anchorEnd), anchor);
  }

  /** Puts a finished node where it belongs: the root, an item, a key or a value. */
  #add({ value, nodes, height }: Anchor, offset: number): void {
    const frame = this.#frames[this.#frames.length - 1];
    if (frame === undefined) {
      this.#root = value;
      if (this.#rootOffset === -1) this.#rootOffset = offset;
      return;
    }
    frame.nodes += nodes;
    frame.height = Math.max(frame.height, height + 1);
    if (Array.isArray(frame.container)) {
      frame.container.push(value);
    } else if (frame.isMerge) {
      this.#merge(frame, frame.container, value);
      frame.isMerge = false;
    } else if (frame.key === undefined) {
      frame.key = this.#keyOf(value, offset);
      frame.keyOffset = offset;
      if (Object.hasOwn(frame.container, frame.key) && frame.merged?.has(frame.key) !== true) {
        const { onDuplicateKey } = this.#limits;
        if (onDuplicateKey === undefined) this.#fail(offset, `key ${JSON.stringify(frame.key)} already set in map`);
        onDuplicateKey(frame.key, new LineCounter(this.#text).lineOf(offset));
      }
    } else {
      setOwn(frame.container, frame.key, value);
      frame.merged?.delete(frame.key);
      frame.key = undefined;
    }
  }

  #keyOf(value: unknown, offset: number): string {
    if (typeof value === 'string') return value;
    if (this.#limits.keys === 'strings') this.#fail(offset, `unsupported map key: ${String(value)} is not a string; put it in quotes`);
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    return this.#fail(offset, 'unsupported map key: only strings, numbers and booleans can be keys');
  }

  /** `<<`: members of the other maps, the first of which wins, where this map has none. */
  #merge(frame: Frame, target: Record<string, unknown>, source: unknown): void {
    for (const map of Array.isArray(source) ? source : [source]) {
      if (typeof map !== 'object' || map === null || Array.isArray(map)) {
        this.#fail(frame.keyOffset, 'map merge requires map or sequence of maps as the value');
      }
      for (const [key, value] of Object.entries(map)) {
        if (Object.hasOwn(target, key)) continue;
        this.#aliasedNodes += 1;
        if (this.#aliasedNodes > maxAliasedNodes) this.#fail(frame.keyOffset, 'document contains excessive aliasing');
        setOwn(target, key, value);
        frame.merged ??= new Set();
        frame.merged.add(key);
      }
    }
  }

  #fail(offset: number, reason: string): never {
    const { line, column } = placeOf(this.#text, Math.max(offset, 0));
    throw new YamlError({ file: this.#limits.filename ?? '', line, column, reason });
  }
}

/** With the quotation mark, which the parser's range leaves out. */
function startOf({ style, valueStart }: Event & { type: typeof EVENT_ID.SCALAR }): number {
  return style === SCALAR_STYLE.SINGLE_QUOTED || style === SCALAR_STYLE.DOUBLE_QUOTED ? valueStart - 1 : valueStart;
}

/** Plain assignment of `__proto__` would change the prototype instead. */
function setOwn(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  else target[key] = value;
}

/** `str` for `!!str`; other tags than YAML's own come back whole and make a scalar a string, as in kubectl. */
function tagNameOf(raw: string): string {
  const verbatim = /^!<tag:yaml\.org,2002:(.*)>$/.exec(raw);
  return verbatim?.[1] ?? (raw.startsWith('!!') ? raw.slice(2) : raw);
}

const words = new Map<string, unknown>([
  ...['y', 'Y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON'].map((word) => [word, true] as const),
  ...['n', 'N', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF'].map((word) => [word, false] as const),
  ...['', '~', 'null', 'Null', 'NULL'].map((word) => [word, null] as const),
  ...['.nan', '.NaN', '.NAN'].map((word) => [word, Number.NaN] as const),
  ...['.inf', '.Inf', '.INF', '+.inf', '+.Inf', '+.INF'].map((word) => [word, Number.POSITIVE_INFINITY] as const),
  ...['-.inf', '-.Inf', '-.INF'].map((word) => [word, Number.NEGATIVE_INFINITY] as const),
]);
const first = /^[-+.0-9yYnNtTfFoO~]/;
const integer = /^([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))$/;
const float = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/;

/** The value of an unquoted scalar, by the rules of go-yaml 2. */
function resolvePlain(source: string): unknown {
  if (source === '') return null;
  if (!first.test(source)) return source;
  const word = words.get(source);
  if (word !== undefined) return word;
  const digits = source.startsWith('.') ? source : source.replaceAll('_', '');
  const whole = integer.exec(digits);
  if (whole !== null) {
    const [, sign, hexadecimal, binary, octal, decimal = ''] = whole;
    const magnitude =
      hexadecimal !== undefined
        ? Number(`0x${hexadecimal}`)
        : binary !== undefined
          ? Number(`0b${binary}`)
          : octal !== undefined
            ? Number(`0o${octal}`)
            : Number(decimal);
    // Not -magnitude, which would make a negative zero.
    return sign === '-' ? 0 - magnitude : magnitude;
  }
  if (!float.test(digits)) return source;
  const value = Number(digits);
  return Number.isFinite(value) ? value : source;
}

const time =
  /^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:(?:[Tt]| (?!.*[Z+-]))([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.([0-9]+))?(Z|[+-][0-9]{2}:[0-9]{2})?)?$/;

/** The time that an unquoted scalar means, as Go writes it in JSON; undefined when it means none. */
function timeOf(source: string): string | undefined {
  const match = time.exec(source);
  if (match === null) return undefined;
  const [, year = '', month = '', day = '', hour = '0', minute = '0', second = '0', fraction = '', zone = 'Z'] = match;
  // With `T` the zone is a must, without a time there is none.
  if (/[Tt]/.test(source) && match[8] === undefined) return undefined;
  const daysOfMonth = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  const isDate = Number(month) >= 1 && Number(month) <= 12 && Number(day) >= 1 && Number(day) <= daysOfMonth;
  if (!isDate || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  const [m, d, h, min, s] = [month, day, hour, minute, second].map((part) => part.padStart(2, '0'));
  const rest = fraction.slice(0, 9).replace(/0+$/, '');
  return `${year}-${m}-${d}T${h}:${min}:${s}${rest === '' ? '' : `.${rest}`}${zone === '+00:00' ? 'Z' : zone}`;
}

/** Lines of growing offsets, without counting twice. */
class LineCounter {
  readonly #text: string;
  #offset = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  lineOf(offset: number): number {
    for (let next = this.#text.indexOf('\n', this.#offset); next !== -1 && next < offset; next = this.#text.indexOf('\n', this.#offset)) {
      this.#offset = next + 1;
      this.#line += 1;
    }
    return this.#line;
  }
}

function placeOf(text: string, offset: number): { readonly line: number; readonly column: number } {
  return { line: new LineCounter(text).lineOf(offset), column: offset - (text.lastIndexOf('\n', offset - 1) + 1) + 1 };
}

interface Place {
  readonly line: number;
  readonly column: number;
}

/**
 * Finds a field in a document, for error messages: the position of its key, or of the nearest existing part of the
 * path.
 *
 * @param path  as in field errors: `spec.containers[0].image`, `metadata.labels[a/b]`; empty for the document itself
 * @param documentLine  the document's `line`
 */
export function locate(text: string, path: string, documentLine: number): Place {
  return createLocators(text)(documentLine)(path);
}

/** Locates many fields: each document is read once, when it is asked for, and nothing of the text around it. */
export function createLocators(text: string): (documentLine: number) => (path: string) => Place {
  const lines = [0];
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) lines.push(at + 1);
  return (documentLine) => {
    const start = lines[documentLine - 1] ?? text.length;
    const document = text.slice(start, endOfDocument(text, start));
    const [root] = nodesOf(document, eventsOf(document, Number.MAX_SAFE_INTEGER, ''));
    return (path) => {
      if (root === undefined) return { line: documentLine, column: 1 };
      let node: Node | undefined = root;
      let { offset } = root;
      let rest = path;
      while (rest !== '' && node !== undefined) {
        const step = stepInto(node, rest);
        if (step === undefined) break;
        offset = step.offset;
        node = step.node;
        rest = step.rest;
      }
      const index = lastAtMost(lines, start + offset);
      return { line: index + 1, column: start + offset - (lines[index] ?? 0) + 1 };
    };
  };
}

/** Position of the next document: a line that starts with three dashes ends one, in any context. */
function endOfDocument(text: string, start: number): number {
  const marker = /\n---(?=\s|$)/g;
  marker.lastIndex = start;
  return (marker.exec(text)?.index ?? text.length - 1) + 1;
}

/** The index of the last of some rising numbers that is no larger than `limit`. */
function lastAtMost(numbers: readonly number[], limit: number): number {
  let low = 0;
  let high = numbers.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((numbers[middle] ?? 0) <= limit) low = middle;
    else high = middle - 1;
  }
  return low;
}

interface Node {
  readonly offset: number;
  readonly items: Node[];
  readonly members: { readonly key: string; readonly offset: number; node: Node | undefined }[];
  readonly kind: 'mapping' | 'sequence' | 'leaf';
}

/** One step of `path` down from `node`: an index, or the longest member name that the path begins with. */
function stepInto(
  node: Node,
  path: string,
): { readonly node: Node | undefined; readonly offset: number; readonly rest: string } | undefined {
  const bracket = /^\[([^\]]*)\]/.exec(path);
  const rest = (from: number): string => path.slice(from).replace(/^\./, '');
  if (bracket !== null) {
    const [whole, inner = ''] = bracket;
    const item = node.kind === 'sequence' ? node.items[Number(inner)] : undefined;
    if (item !== undefined) return { node: item, offset: item.offset, rest: rest(whole.length) };
    const member = node.members.find(({ key }) => key === inner);
    return member === undefined ? undefined : { node: member.node, offset: member.offset, rest: rest(whole.length) };
  }
  const [member] = node.members
    .filter(({ key }) => path === key || path.startsWith(`${key}.`) || path.startsWith(`${key}[`))
    .sort((a, b) => b.key.length - a.key.length);
  return member === undefined ? undefined : { node: member.node, offset: member.offset, rest: rest(member.key.length) };
}

/** The roots of all documents. */
function nodesOf(text: string, events: readonly Event[]): readonly Node[] {
  const roots: Node[] = [];
  const open: Node[] = [];
  let awaiting: { node: Node | undefined } | undefined;
  const add = (node: Node, key: string): void => {
    const parent = open[open.length - 1];
    if (parent === undefined) roots.push(node);
    else if (parent.kind === 'sequence') parent.items.push(node);
    else if (awaiting === undefined) {
      const member = { key, offset: node.offset, node: undefined };
      parent.members.push(member);
      awaiting = member;
    } else {
      awaiting.node = node;
      awaiting = undefined;
    }
  };
  for (const event of events) {
    switch (event.type) {
      case EVENT_ID.SCALAR:
        add({ offset: startOf(event), items: [], members: [], kind: 'leaf' }, getScalarValue(text, event));
        break;
      case EVENT_ID.ALIAS:
        add({ offset: event.anchorStart, items: [], members: [], kind: 'leaf' }, '');
        break;
      case EVENT_ID.SEQUENCE:
      case EVENT_ID.MAPPING: {
        const node: Node = { offset: event.start, items: [], members: [], kind: event.type === EVENT_ID.MAPPING ? 'mapping' : 'sequence' };
        add(node, '');
        open.push(node);
        break;
      }
      case EVENT_ID.POP:
        open.pop();
        break;
      case EVENT_ID.DOCUMENT:
        break;
      default:
        event satisfies never;
    }
  }
  return roots;
}

/** Never written: it tells the writer which strings kubectl would read as something else, so that they are quoted. */
const notString = defineScalarTag('!not-string', {
  implicit: true,
  resolve: (source) => (typeof resolvePlain(source) === 'string' ? NOT_RESOLVED : source),
  identify: () => false,
});
const writing = DUMP_SCHEMA.withTags(notString);

/** kubectl and kustomize put a string that reads as another type into double quotes, and other quoted ones into single quotes. */
const quoteAmbiguous: ScalarStyleRule = (layout) => {
  if (layout.style !== SCALAR_STYLE.PLAIN || (layout.allowedStylesMask & (1 << SCALAR_STYLE.PLAIN)) !== 0) return;
  if (plainCharacters.test(layout.node.value)) layout.style = SCALAR_STYLE.DOUBLE_QUOTED;
};
/** A text of these needs its quotes for its meaning: a number, a date, `yes`, `~`. Others need them for their characters. */
const plainCharacters = /^(?!-$|---|\.\.\.)[\w.+~:-]*(?<!:)$|^\d[\d T:.+-]*Z?$/;
const scalarStyleRules = [quoteAmbiguous, ...Object.values(DEFAULT_SCALAR_STYLE_RULES)];

/**
 * Writes a JSON value as one YAML document. Strings that any YAML reader could take for something else are quoted; undefined members
 * are left out, as in JSON.
 */
export function formatYaml(value: unknown): string {
  return dump(value, { schema: writing, noRefs: true, seqNoIndent: true, lineWidth: -1, skipInvalid: true, scalarStyleRules });
}
