/**
 * Reads JSON as the API server does. Duplicate keys are reported and merged, and errors are worded as the real server
 * words them. A number that JavaScript cannot hold exactly is refused instead of changed.
 */

/**
 * Deepest nesting that is accepted. The real server's limit is 10,000, but `JSON.stringify` runs out of stack from
 * about 5,000 on, and a document must be writable again. No manifest comes near either.
 */
export const maxJsonDepth = 1_000;

export class JsonError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'JsonError';
  }
}

export interface ParsedJson {
  readonly value: unknown;
  /** Paths of duplicate keys (`data.a`, `spec.containers[0].name`), in the order of the text. */
  readonly duplicateFields: readonly string[];
}

const none: readonly string[] = [];

/**
 * Parses `text`. The last of several equal keys wins; two objects under one key are merged, as the real server's decoder does.
 *
 * Keys such as `__proto__` become ordinary own properties.
 *
 * @throws JsonError for text that is not JSON, is nested deeper than `maxJsonDepth`, or has numbers beyond what is held exactly
 */
export function parseJson(text: string): ParsedJson {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The platform's messages name neither state nor character as clients know them.
    return readJson(text);
  }
  // A text with as many colons outside strings as the value has keys has no duplicates. Two passes over a pod take a few microseconds, a
  // parser of our own ten times that.
  const colons = countColons(text);
  if (colons === countKeys(value)) return { value, duplicateFields: none };
  return readJson(text);
}

const quote = 0x22;
const backslash = 0x5c;

/** Colons outside strings; checks depth and numbers on the way. `text` is valid JSON. */
function countColons(text: string): number {
  let colons = 0;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === quote) {
      at = endOfString(text, at);
    } else if (char === 0x3a) {
      colons++;
    } else if (char === 0x7b || char === 0x5b) {
      if (++depth > maxJsonDepth) throw new JsonError('exceeded max depth');
    } else if (char === 0x7d || char === 0x5d) {
      depth--;
    } else if (char === 0x2d || (char >= 0x30 && char <= 0x39)) {
      const start = at;
      while (isNumberChar(text.charCodeAt(at + 1))) at++;
      // Up to 15 digits are always exact, and too short for an exponent that overflows when there is none.
      if (at - start >= 15 || hasExponent(text, start, at)) checkNumber(text.slice(start, at + 1));
    }
  }
  return colons;
}

/** Index of the closing quote of the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (text.charCodeAt(end - 1) === backslash) {
    let before = end - 1;
    while (text.charCodeAt(before) === backslash) before--;
    // An even number of backslashes are escaped backslashes, and the quote is a quote.
    if ((end - before) % 2 === 1) return end;
    end = text.indexOf('"', end + 1);
  }
  return end;
}

/** `+ - .`, digits, `E e` */
function isNumberChar(char: number): boolean {
  return (char >= 0x30 && char <= 0x39) || char === 0x2e || char === 0x2b || char === 0x2d || char === 0x65 || char === 0x45;
}

function hasExponent(text: string, start: number, end: number): boolean {
  for (let at = start; at <= end; at++) if ((text.charCodeAt(at) | 0x20) === 0x65) return true;
  return false;
}

function checkNumber(literal: string): void {
  const value = Number(literal);
  // The number is not repeated: it may be a value of a Secret.
  const exact = /[.eE]/.test(literal) ? Number.isFinite(value) : Number.isSafeInteger(value);
  if (!exact) throw new JsonError('a number cannot be held exactly: integers are supported from -(2^53-1) to 2^53-1');
}

function countKeys(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let count = 0;
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === 'object') count += countKeys(item);
    return count;
  }
  const object = value as Record<string, unknown>;
  for (const key of Object.keys(object)) {
    count++;
    // Read as an own property: `__proto__` is one here.
    const child = object[key];
    if (typeof child === 'object') count += countKeys(child);
  }
  return count;
}

/** Sets an own property whatever its name; plain assignment to `__proto__` would change the prototype. */
export function setOwn(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  else object[key] = value;
}

/** The slow way: for texts with duplicate keys, and to say what is wrong with one that is not JSON. */
function readJson(text: string): ParsedJson {
  const duplicateFields: string[] = [];
  let at = 0;
  let depth = 0;

  const isSpace = (char: string | undefined): boolean => char === ' ' || char === '\n' || char === '\t' || char === '\r';
  const skipSpace = (): void => {
    while (isSpace(text[at])) at++;
  };
  const unexpected = (where: string): JsonError => {
    const char = text.codePointAt(at);
    if (char === undefined) return new JsonError('unexpected end of JSON input');
    return new JsonError(`invalid character ${quoteChar(char)} ${where}`);
  };
  const enter = (): void => {
    if (++depth > maxJsonDepth) throw new JsonError('exceeded max depth');
  };

  const readValue = (path: string, previous: unknown): unknown => {
    skipSpace();
    const char = text[at];
    if (char === '{') return readObject(path, previous);
    if (char === '[') return readArray(path);
    if (char === '"') return readString();
    if (char === 't') return readLiteral('true', true);
    if (char === 'f') return readLiteral('false', false);
    if (char === 'n') return readLiteral('null', null);
    if (char === '-' || (char !== undefined && char >= '0' && char <= '9')) return readNumber();
    throw unexpected('looking for beginning of value');
  };

  const readObject = (path: string, previous: unknown): unknown => {
    enter();
    at++;
    const merged = typeof previous === 'object' && previous !== null && !Array.isArray(previous);
    const object = merged ? (previous as Record<string, unknown>) : {};
    const seen = new Set<string>();
    skipSpace();
    if (text[at] === '}') return endOf(object);
    for (;;) {
      skipSpace();
      if (text[at] !== '"') throw unexpected('looking for beginning of object key string');
      const key = readString();
      skipSpace();
      if (text[at] !== ':') throw unexpected('after object key');
      at++;
      const child = path === '' ? key : `${path}.${key}`;
      if (seen.has(key)) duplicateFields.push(child);
      seen.add(key);
      setOwn(object, key, readValue(child, Object.hasOwn(object, key) ? object[key] : undefined));
      skipSpace();
      if (text[at] === '}') return endOf(object);
      if (text[at] !== ',') throw unexpected('after object key:value pair');
      at++;
    }
  };

  const readArray = (path: string): unknown => {
    enter();
    at++;
    const array: unknown[] = [];
    skipSpace();
    if (text[at] === ']') return endOf(array);
    for (;;) {
      array.push(readValue(`${path}[${array.length}]`, undefined));
      skipSpace();
      if (text[at] === ']') return endOf(array);
      if (text[at] !== ',') throw unexpected('after array element');
      at++;
    }
  };

  const endOf = <T>(value: T): T => {
    at++;
    depth--;
    return value;
  };

  const readString = (): string => {
    const start = at;
    for (at++; ; at++) {
      const char = text[at];
      if (char === undefined) throw unexpected('');
      if (char === '"') break;
      if (char < ' ') throw unexpected('in string literal');
      if (char !== '\\') continue;
      at++;
      const escaped = text[at];
      if (escaped === 'u') {
        for (let digit = 0; digit < 4; digit++) {
          at++;
          if (!/^[0-9a-fA-F]$/.test(text[at] ?? '')) throw unexpected('in \\u hexadecimal character escape');
        }
      } else if (escaped === undefined || !'"\\/bfnrt'.includes(escaped)) {
        throw unexpected('in string escape code');
      }
    }
    at++;
    return JSON.parse(text.slice(start, at)) as string;
  };

  const readLiteral = (word: string, value: unknown): unknown => {
    for (let index = 0; index < word.length; index++, at++) {
      if (text[at] !== word[index]) throw unexpected(`in literal ${word} (expecting ${quoteChar(word.charCodeAt(index))})`);
    }
    return value;
  };

  const readNumber = (): number => {
    const start = at;
    const digits = (where: string): void => {
      if (!/^[0-9]$/.test(text[at] ?? '')) throw unexpected(where);
      while (/^[0-9]$/.test(text[at] ?? '')) at++;
    };
    if (text[at] === '-') at++;
    if (text[at] === '0') at++;
    else digits('in numeric literal');
    if (text[at] === '.') {
      at++;
      digits('after decimal point in numeric literal');
    }
    if (text[at] === 'e' || text[at] === 'E') {
      at++;
      if (text[at] === '+' || text[at] === '-') at++;
      digits('in exponent of numeric literal');
    }
    const literal = text.slice(start, at);
    checkNumber(literal);
    return Number(literal);
  };

  const value = readValue('', undefined);
  skipSpace();
  if (at < text.length) throw unexpected('after top-level value');
  return { value, duplicateFields };
}

/** A character as Go quotes it. */
function quoteChar(char: number): string {
  if (char === 0x27) return `'\\''`;
  if (char === quote) return `'"'`;
  if (char === backslash) return `'\\\\'`;
  const named = { 7: '\\a', 8: '\\b', 9: '\\t', 10: '\\n', 11: '\\v', 12: '\\f', 13: '\\r' }[char];
  if (named !== undefined) return `'${named}'`;
  if (char < 0x20 || char === 0x7f) return `'\\x${char.toString(16).padStart(2, '0')}'`;
  return `'${String.fromCodePoint(char)}'`;
}

/** JSON with the fields of each object in order of their names, so that equal values give equal texts. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, below: unknown) =>
    typeof below === 'object' && below !== null && !Array.isArray(below)
      ? Object.fromEntries(Object.entries(below).sort(([a], [b]) => (a < b ? -1 : 1)))
      : below,
  );
}
