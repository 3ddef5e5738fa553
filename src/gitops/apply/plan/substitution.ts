import { Buffer } from 'node:buffer';

/** Gives the value of a variable; undefined when there is none. */
export type Lookup = (name: string) => string | undefined;

export interface SubstitutionOptions {
  /** Variables that must not be shown. */
  isSecret(name: string): boolean;
  /** Refuses a variable that is not set and has no default. */
  readonly isStrict: boolean;
  /** Receives each result of an expression that took a value from one of them: a part of it, or another case. */
  onSecret(result: string): void;
}

/** The text cannot be read as one with variables. */
export class SubstitutionError extends Error {}

/** Flux 2.9 refuses such a variable, too: its feature gate `StrictPostBuildSubstitutions` is on by default. */
export class UnsetVariableError extends SubstitutionError {}

/** `${a:=${b:=…}}` and patterns are read this deep and this long, so that no text keeps the engine busy. */
const maxDepth = 50;
const maxPatternLength = 200;
const maxTrimmedLength = 2_000;
/** Largest expansion of all variables of a text: no object that a server accepts is as large. */
const maxValueLength = 10 * 1024 * 1024;

/**
 * Replaces the variables of a text, as Flux does it after a build.
 *
 * - `${name}`, and its length `${#name}`
 * - defaults: `:-`, `:=`, `=`
 * - substrings: `:position`, `:position:length`
 * - replacing: `/`, `//`, `/#`, `/%`
 * - trimming: `#`, `##`, `%`, `%%`
 * - case: `^`, `^^`, `,`, `,,`
 *
 * `$$` is one dollar sign. A variable that is not set is empty, or refused.
 *
 * @throws SubstitutionError
 * @see https://fluxcd.io/flux/components/kustomize/kustomizations/ "Post build variable substitution"
 */
export function substitute(text: string, lookup: Lookup, options?: SubstitutionOptions): string {
  return text.includes('$') ? new Parser(text, lookup, options).text() : text;
}

class Parser {
  readonly #text: string;
  readonly #lookup: Lookup;
  readonly #options: SubstitutionOptions | undefined;
  #at = 0;
  #depth = 0;
  #length = 0;
  /** True when the expression that is read took a secret value. */
  #tookSecret = false;

  constructor(text: string, lookup: Lookup, options: SubstitutionOptions | undefined) {
    this.#text = text;
    this.#lookup = lookup;
    this.#options = options;
  }

  text(): string {
    let result = '';
    while (this.#at < this.#text.length) {
      const next = this.#text.indexOf('$', this.#at);
      if (next === -1) return result + this.#text.slice(this.#at);
      result += this.#text.slice(this.#at, next);
      this.#at = next;
      if (this.#takes('$$')) result += '$';
      else if (this.#takes('${')) result += this.#expression();
      else {
        result += '$';
        this.#at += 1;
      }
    }
    return result;
  }

  /** After `${`. */
  #expression(): string {
    this.#depth += 1;
    if (this.#depth > maxDepth) throw new SubstitutionError(`variables are nested more than ${maxDepth} deep`);
    const outer = this.#tookSecret;
    this.#tookSecret = false;
    const value = this.#takes('#') ? this.#sizeOf() : this.#operation(this.#name());
    this.#depth -= 1;
    if (this.#tookSecret) this.#options?.onSecret(value);
    this.#tookSecret ||= outer;
    this.#count(value.length);
    return value;
  }

  #count(length: number): void {
    this.#length += length;
    if (this.#length > maxValueLength) throw new SubstitutionError(`variables expand to more than ${maxValueLength} characters`);
  }

  #sizeOf(): string {
    const name = this.#name();
    const value = this.#lookup(name);
    this.#close();
    return String(Buffer.byteLength(value ?? this.#unset(name)));
  }

  #operation(name: string): string {
    const found = this.#lookup(name);
    const value = found ?? '';
    if (value !== '' && this.#options?.isSecret(name) === true) this.#tookSecret = true;
    if (this.#takes('}')) return found ?? this.#unset(name);
    for (const operator of [':=', ':-', ':?', ':+', '=']) if (this.#takes(operator)) return this.#default(value);
    if (found === undefined) this.#unset(name);
    if (this.#takes(':')) return this.#substring(value);
    for (const operator of ['//', '/#', '/%', '/'] as const) if (this.#takes(operator)) return this.#replace(value, operator);
    for (const operator of ['##', '#', '%%', '%'] as const) if (this.#takes(operator)) return this.#trim(value, operator);
    for (const operator of ['^^', '^', ',,', ','] as const) {
      if (!this.#takes(operator)) continue;
      this.#close();
      return inCase(value, operator);
    }
    throw new SubstitutionError(`missing closing brace after \${${name}`);
  }

  /** Gives the value of a variable that is not set. */
  #unset(name: string): string {
    if (this.#options?.isStrict === true) throw new UnsetVariableError(`variable ${JSON.stringify(name)} is not set and has no default`);
    return '';
  }

  #default(value: string): string {
    const fallback = this.#argument('}');
    this.#close();
    return value === '' ? fallback : value;
  }

  #substring(value: string): string {
    const position = integerOf(this.#argument(':}'));
    const length = this.#takes(':') ? integerOf(this.#argument('}')) : undefined;
    this.#close();
    const bytes = Buffer.from(value);
    if (position === null || length === null) return value;
    const start = position < 0 ? Math.max(bytes.length + position, 0) : position;
    const end = length === undefined ? bytes.length : length < 0 ? bytes.length + length : start + length;
    return bytes.subarray(start, Math.max(start, end)).toString('utf8');
  }

  #replace(value: string, operator: '/' | '//' | '/#' | '/%'): string {
    const wanted = this.#argument('/', true);
    if (!this.#takes('/')) throw new SubstitutionError('bad substitution: a replacement is missing');
    const replacement = this.#argument('}', true);
    this.#close();
    if (operator === '//') {
      if (wanted === '') return value;
      const parts = value.split(wanted);
      // Before it is made: a value in place of each of its own characters, some levels deep, is longer than any string can be.
      this.#count((parts.length - 1) * replacement.length);
      return parts.join(replacement);
    }
    if (operator === '/#') return value.startsWith(wanted) ? replacement + value.slice(wanted.length) : value;
    if (operator === '/%') return value.endsWith(wanted) ? value.slice(0, value.length - wanted.length) + replacement : value;
    const at = value.indexOf(wanted);
    return at === -1 ? value : value.slice(0, at) + replacement + value.slice(at + wanted.length);
  }

  #trim(value: string, operator: '#' | '##' | '%' | '%%'): string {
    const pattern = this.#argument('}');
    this.#close();
    return trim(value, pattern, operator);
  }

  /** Text up to one of the `ends`, with variables of its own. */
  #argument(ends: string, escapes = false): string {
    let result = '';
    for (;;) {
      const char = this.#text[this.#at];
      if (char === undefined) throw new SubstitutionError('missing closing brace');
      if (ends.includes(char)) return result;
      if (escapes && (this.#text.startsWith('\\/', this.#at) || this.#text.startsWith('\\\\', this.#at))) {
        result += this.#text[this.#at + 1];
        this.#at += 2;
      } else if (escapes && this.#takes('$$')) result += '$';
      else if (this.#takes('${')) result += this.#expression();
      else {
        result += char;
        this.#at += 1;
      }
    }
  }

  #name(): string {
    const name = /^[\p{L}\p{Nd}_]+/u.exec(this.#text.slice(this.#at, this.#at + 256))?.[0];
    if (name === undefined) throw new SubstitutionError('unable to parse variable name');
    this.#at += name.length;
    return name;
  }

  #close(): void {
    if (!this.#takes('}')) throw new SubstitutionError('bad substitution');
  }

  #takes(token: string): boolean {
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    return true;
  }
}

/** Null for what is no number: the whole value is meant then, as in a shell. */
const integerOf = (text: string): number | null => (/^[+-]?[0-9]{1,9}$/.test(text) ? Number(text) : null);

function inCase(value: string, operator: '^' | '^^' | ',' | ',,'): string {
  if (operator === '^^') return value.toUpperCase();
  if (operator === ',,') return value.toLowerCase();
  const [first = ''] = value;
  return (operator === '^' ? first.toUpperCase() : first.toLowerCase()) + value.slice(first.length);
}

/** Takes away the shortest (`#`, `%`) or longest (`##`, `%%`) beginning or end that the pattern fits. */
function trim(value: string, pattern: string, operator: '#' | '##' | '%' | '%%'): string {
  if (pattern.length > maxPatternLength || value.length > maxTrimmedLength) {
    throw new SubstitutionError(`values over ${maxTrimmedLength} characters are not trimmed`);
  }
  const fromEnd = operator.startsWith('%');
  const lengths = Array.from({ length: value.length }, (_, index) => index + 1);
  if (operator.length === 2) lengths.reverse();
  const found = lengths.find((length) => matchesGlob(fromEnd ? value.slice(-length) : value.slice(0, length), pattern));
  if (found === undefined) return value;
  return fromEnd ? value.slice(0, value.length - found) : value.slice(found);
}

/** `*` and `?`; in steps that are bounded by the product of the lengths. */
function matchesGlob(text: string, pattern: string): boolean {
  let at = 0;
  let star = -1;
  let resume = 0;
  let index = 0;
  while (index < text.length) {
    if (pattern[at] === '*') {
      star = at;
      resume = index;
      at += 1;
    } else if (at < pattern.length && (pattern[at] === '?' || pattern[at] === text[index])) {
      at += 1;
      index += 1;
    } else if (star !== -1) {
      resume += 1;
      index = resume;
      at = star + 1;
    } else return false;
  }
  while (pattern[at] === '*') at += 1;
  return at === pattern.length;
}
