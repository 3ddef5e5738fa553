/**
 * The part of kubectl's JSONPath that printer columns use: `.spec.a`, `['a.b']`, `[0]`, `[-1]`, `[1:3]`, `[*]`, `.*`,
 * `[?(@.type=="Ready")]`.
 */
export interface JsonPath {
  /** Values at the path, at most 1,000; empty when there are none. */
  find(value: unknown): readonly unknown[];
}

export class JsonPathError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'JsonPathError';
  }
}

type Step = (value: unknown) => readonly unknown[];

const maxValues = 1_000;
const maxLength = 4_096;

/** @throws JsonPathError for what cannot be read or is not in the part above */
export function parseJsonPath(source: string): JsonPath {
  if (source.length > maxLength) throw new JsonPathError('path is too long');
  const steps = new Reader(source).read();
  return {
    find(value) {
      let values: readonly unknown[] = [value];
      for (const step of steps) {
        const next: unknown[] = [];
        for (const item of values) {
          for (const found of step(item)) {
            if (next.length >= maxValues) break;
            next.push(found);
          }
        }
        if (next.length === 0) return next;
        values = next;
      }
      return values;
    },
  };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const member =
  (name: string): Step =>
  (value) =>
    isObject(value) && Object.hasOwn(value, name) ? [value[name]] : [];

const members: Step = (value) => (Array.isArray(value) ? value : isObject(value) ? Object.values(value) : []);

const slice =
  (from: number | undefined, to: number | undefined): Step =>
  (value) =>
    Array.isArray(value) ? value.slice(from, to) : [];

const item =
  (index: number): Step =>
  (value) => {
    if (!Array.isArray(value)) return [];
    const found: unknown = value.at(index);
    return found === undefined ? [] : [found];
  };

const where =
  (path: JsonPath, operator: string | undefined, wanted: unknown): Step =>
  (value) =>
    (Array.isArray(value) ? value : isObject(value) ? [value] : []).filter((candidate: unknown) => {
      const [found] = path.find(candidate);
      return operator === undefined ? found !== undefined : compares(found, operator, wanted);
    });

function compares(found: unknown, operator: string, wanted: unknown): boolean {
  if (operator === '==') return found === wanted;
  if (operator === '!=') return found !== wanted;
  if (typeof found !== typeof wanted || (typeof found !== 'number' && typeof found !== 'string')) return false;
  const [left, right] = [found as string | number, wanted as string | number];
  switch (operator) {
    case '<':
      return left < right;
    case '<=':
      return left <= right;
    case '>':
      return left > right;
    default:
      return left >= right;
  }
}

const fieldName = /[^.[\]{}'"\s]+/y;
const quotedName = /\[\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*\]/y;
const range = /\[\s*(-?\d+)?\s*(?:(:)\s*(-?\d+)?)?\s*\]/y;
const filter =
  /\[\s*\?\(\s*@((?:\.[^.[\]{}'"\s=!<>()]+)+)\s*(?:(==|!=|<=|>=|<|>)\s*('[^']*'|"[^"]*"|-?\d+(?:\.\d+)?|true|false|null)\s*)?\)\s*\]/y;

class Reader {
  readonly #source: string;
  #at = 0;

  constructor(source: string) {
    this.#source = source.replace(/^\{(.*)\}$/s, '$1').trim();
  }

  read(): readonly Step[] {
    const steps: Step[] = [];
    // The root may be named.
    if (this.#source.startsWith('$')) this.#at = 1;
    while (this.#at < this.#source.length) steps.push(this.#step());
    return steps;
  }

  #step(): Step {
    const char = this.#source[this.#at];
    if (char === '.') {
      if (this.#source[this.#at + 1] === '.') throw new JsonPathError('recursive descent is not supported');
      this.#at += 1;
      if (this.#at === this.#source.length) return (value) => [value];
      if (this.#source[this.#at] === '[') return this.#step();
      const name = this.#match(fieldName)?.[0];
      if (name === undefined) throw new JsonPathError(`unexpected character at ${this.#at}`);
      return name === '*' ? members : member(name.replace(/\\(.)/g, '$1'));
    }
    if (char !== '[') {
      // A path may begin with a name.
      const name = this.#at === 0 ? this.#match(fieldName)?.[0] : undefined;
      if (name === undefined) throw new JsonPathError(`unexpected character at ${this.#at}`);
      return member(name);
    }
    const quoted = this.#match(quotedName);
    if (quoted !== undefined) return member((quoted[1] ?? quoted[2] ?? '').replace(/\\(.)/g, '$1'));
    if (this.#source.startsWith('[*]', this.#at)) {
      this.#at += 3;
      return members;
    }
    const condition = this.#match(filter);
    if (condition !== undefined) return where(parseJsonPath(condition[1] ?? ''), condition[2], literalOf(condition[3]));
    const found = this.#match(range);
    if (found === undefined || (found[1] === undefined && found[2] === undefined)) {
      throw new JsonPathError(`unsupported selector at ${this.#at}`);
    }
    const [, from, colon, to] = found;
    if (colon === undefined) return item(Number(from));
    return slice(from === undefined ? undefined : Number(from), to === undefined ? undefined : Number(to));
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#source);
    if (match === null) return undefined;
    this.#at = pattern.lastIndex;
    return match;
  }
}

function literalOf(text: string | undefined): unknown {
  if (text === undefined || text === 'null') return null;
  if (text === 'true' || text === 'false') return text === 'true';
  return /^['"]/.test(text) ? text.slice(1, -1) : Number(text);
}
