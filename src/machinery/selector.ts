import { labelValueErrors, qualifiedNameErrors } from './label-syntax.ts';
import { badRequest } from './status-error.ts';

/**
 * Label and field selectors: the text of query parameters and the object of `spec.selector`, compiled once to a matcher.
 *
 * @see Kubernetes concepts, "Labels and Selectors", "Field Selectors"
 */

export type Labels = Readonly<Record<string, string>>;

export type LabelOperator = '=' | '==' | '!=' | 'in' | 'notin' | 'exists' | '!' | 'gt' | 'lt';

export interface LabelRequirement {
  readonly key: string;
  readonly operator: LabelOperator;
  /** Sorted, without duplicates; one for `=`, `==`, `!=`, `gt` and `lt`, none for `exists` and `!`. */
  readonly values: readonly string[];
}

/** A compiled selector. `requirements` are sorted by key and all have to hold; none means that everything matches. */
export interface LabelSelector {
  readonly requirements: readonly LabelRequirement[];
  /** True for the selector that no object matches, which has no text form. */
  readonly nothing: boolean;
  matches(labels: Labels | undefined): boolean;
  /** The canonical query string: `a=b,c in (x,y),!d`. */
  toString(): string;
}

/** The object form, as in `spec.selector` of a Deployment. */
export interface LabelSelectorObject {
  readonly matchLabels?: Labels | undefined;
  readonly matchExpressions?: readonly LabelSelectorExpression[] | undefined;
}

export interface LabelSelectorExpression {
  readonly key: string;
  /** `In`, `NotIn`, `Exists`, `DoesNotExist` */
  readonly operator: string;
  readonly values?: readonly string[] | undefined;
}

const noLabels: Labels = {};
// The int64 range of `gt` and `lt`; a number outside it never matches.
const maxInt64 = 2n ** 63n - 1n;
const minInt64 = -(2n ** 63n);

/** Matches every object. */
const everything: LabelSelector = selectorOf([]);

/** Matches no object: what an absent selector means where the API says so. */
export const nothing: LabelSelector = Object.freeze({
  requirements: Object.freeze([]),
  nothing: true,
  matches: () => false,
  toString: () => '',
});

/**
 * Reads the query form: `a=b,c!=d,e in (x,y),f,!g,h>1`. An empty text selects everything.
 *
 * @throws StatusError `BadRequest` in the words of the real server
 */
export function parseLabelSelector(text: string): LabelSelector {
  if (text === '') return everything;
  return selectorOf(new Parser(scan(text)).parse());
}

const compiled = new WeakMap<LabelSelectorObject, LabelSelector>();

/**
 * Compiles the object form; remembered by the object, which must not change afterwards. An empty object selects everything, an absent
 * one nothing.
 *
 * @throws StatusError `BadRequest` when an expression is not valid (stored objects are validated, so only on input)
 */
export function compileLabelSelector(object: LabelSelectorObject | undefined): LabelSelector {
  if (object === undefined) return nothing;
  const known = compiled.get(object);
  if (known !== undefined) return known;
  const requirements = Object.entries(object.matchLabels ?? noLabels).map(([key, value]) => requirementOf(key, '=', [value]));
  for (const { key, operator, values = [] } of object.matchExpressions ?? []) {
    requirements.push(requirementOf(key, operatorOfExpression(operator), values));
  }
  const selector = selectorOf(requirements);
  compiled.set(object, selector);
  return selector;
}

/** The selector of a plain map, as in `spec.selector` of a Service; absent or empty selects everything. The map is not validated. */
export function selectorOfLabels(labels: Labels | undefined): LabelSelector {
  return selectorOf(Object.entries(labels ?? noLabels).map(([key, value]) => ({ key, operator: '=' as const, values: [value] })));
}

/** The text that `kubectl` and Table answers show: `<none>` for an empty selector, `<error>` for one that cannot be compiled. */
export function describeLabelSelector(object: LabelSelectorObject | undefined): string {
  let text: string;
  try {
    text = compileLabelSelector(object).toString();
  } catch {
    // A column is no place to refuse an object: the real printer shows this word.
    return '<error>';
  }
  return text === '' ? '<none>' : text;
}

function operatorOfExpression(operator: string): LabelOperator {
  switch (operator) {
    case 'In':
      return 'in';
    case 'NotIn':
      return 'notin';
    case 'Exists':
      return 'exists';
    case 'DoesNotExist':
      return '!';
    default:
      throw badRequest(`"${operator}" is not a valid label selector operator`);
  }
}

function selectorOf(requirements: readonly LabelRequirement[]): LabelSelector {
  const sorted = Object.freeze([...requirements].sort((a, b) => compareText(a.key, b.key)));
  const tests = sorted.map(testOf);
  const [only] = tests;
  const matches =
    tests.length === 1 && only !== undefined
      ? (labels: Labels | undefined) => only(labels ?? noLabels)
      : (labels: Labels | undefined) => {
          const present = labels ?? noLabels;
          for (const test of tests) if (!test(present)) return false;
          return true;
        };
  return Object.freeze({ requirements: sorted, nothing: false, matches, toString: () => sorted.map(textOf).join(',') });
}

/** Values are compared as strings, so names that every object inherits (`constructor`) never count as labels. */
function testOf({ key, operator, values }: LabelRequirement): (labels: Labels) => boolean {
  const [value = ''] = values;
  switch (operator) {
    case '=':
    case '==':
      return (labels) => labels[key] === value;
    case '!=':
      return (labels) => labels[key] !== value;
    case 'in': {
      const set = new Set(values);
      return (labels) => {
        const present = labels[key];
        return typeof present === 'string' && set.has(present);
      };
    }
    case 'notin': {
      const set = new Set(values);
      return (labels) => {
        const present = labels[key];
        return typeof present !== 'string' || !set.has(present);
      };
    }
    case 'exists':
      return (labels) => typeof labels[key] === 'string';
    case '!':
      return (labels) => typeof labels[key] !== 'string';
    case 'gt':
    case 'lt': {
      const bound = tryInt64(value);
      return (labels) => {
        const present = labels[key];
        if (typeof present !== 'string' || bound === undefined) return false;
        const number = tryInt64(present);
        return number !== undefined && (operator === 'gt' ? number > bound : number < bound);
      };
    }
    default:
      return operator satisfies never;
  }
}

function textOf({ key, operator, values }: LabelRequirement): string {
  switch (operator) {
    case '=':
    case '==':
    case '!=':
      return `${key}${operator}${values[0] ?? ''}`;
    case 'in':
    case 'notin':
      return `${key} ${operator} (${values.join(',')})`;
    case 'exists':
      return key;
    case '!':
      return `!${key}`;
    case 'gt':
      return `${key}>${values[0] ?? ''}`;
    case 'lt':
      return `${key}<${values[0] ?? ''}`;
    default:
      return operator satisfies never;
  }
}

function requirementOf(key: string, operator: LabelOperator, given: readonly string[]): LabelRequirement {
  const values = [...new Set(given)].sort(compareText);
  const errors = qualifiedNameErrors(key).length > 0 ? [invalidText('key', key, qualifiedNameErrors(key))] : [];
  switch (operator) {
    case 'in':
    case 'notin':
      if (values.length === 0) errors.push("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
      break;
    case 'exists':
    case '!':
      if (values.length > 0) {
        errors.push(`values: Invalid value: ${JSON.stringify(values)}: values set must be empty for exists and does not exist`);
      }
      break;
    case 'gt':
    case 'lt':
      if (tryInt64(values[0] ?? '') === undefined) {
        errors.push(invalidText('values[0]', values[0] ?? '', ["for 'Gt', 'Lt' operators, the value must be an integer"]));
      }
      break;
    case '=':
    case '==':
    case '!=':
      break;
    default:
      operator satisfies never;
  }
  values.forEach((value, index) => {
    const broken = labelValueErrors(value);
    if (broken.length > 0) errors.push(invalidText(`values[${index}][${key}]`, value, broken));
  });
  const [first = ''] = errors;
  if (errors.length > 0) throw badRequest(errors.length === 1 ? first : `[${errors.join(', ')}]`);
  return { key, operator, values };
}

const invalidText = (field: string, value: string, errors: readonly string[]): string =>
  `${field}: Invalid value: ${JSON.stringify(value)}: ${errors.join('; ')}`;

function tryInt64(text: string): bigint | undefined {
  if (!/^[+-]?[0-9]+$/.test(text)) return undefined;
  const value = BigInt(text.startsWith('+') ? text.slice(1) : text);
  return value > maxInt64 || value < minInt64 ? undefined : value;
}

/** Order by code unit, which for the ASCII of labels is Go's order of bytes. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

interface Token {
  readonly kind: 'end' | 'identifier' | 'in' | 'notin' | '=' | '==' | '!=' | '!' | '(' | ')' | ',' | '>' | '<';
  readonly text: string;
}

const tokenPattern = /[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^ \t\r\n=!(),<>]+))/gy;
const end: Token = { kind: 'end', text: '' };

function scan(text: string): readonly Token[] {
  const tokens: Token[] = [];
  tokenPattern.lastIndex = 0;
  for (let match = tokenPattern.exec(text); match !== null; match = tokenPattern.exec(text)) {
    const [, symbol, word = ''] = match;
    if (symbol !== undefined) tokens.push({ kind: symbol as Token['kind'], text: symbol });
    else tokens.push({ kind: word === 'in' || word === 'notin' ? word : 'identifier', text: word });
  }
  return tokens;
}

/** The grammar of the real server, with its texts. `in` and `notin` are words unless an operator is expected. */
class Parser {
  readonly #tokens: readonly Token[];
  #position = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  parse(): LabelRequirement[] {
    const requirements: LabelRequirement[] = [];
    for (;;) {
      const token = this.#peek();
      if (token.kind === 'end') return requirements;
      if (token.kind !== 'identifier' && token.kind !== '!') {
        throw badRequest(`found '${token.text}', expected: !, identifier, or 'end of string'`);
      }
      requirements.push(this.#requirement());
      const next = this.#take();
      if (next.kind === 'end') return requirements;
      if (next.kind !== ',') throw badRequest(`found '${next.text}', expected: ',' or 'end of string'`);
      const after = this.#peek();
      if (after.kind !== 'identifier' && after.kind !== '!') {
        throw badRequest(`found '${after.text}', expected: identifier after ','`);
      }
    }
  }

  #requirement(): LabelRequirement {
    let token = this.#take();
    const negated = token.kind === '!';
    if (negated) token = this.#take();
    if (token.kind !== 'identifier') throw unparsable(`found '${token.text}', expected: identifier`);
    const key = token.text;
    const broken = qualifiedNameErrors(key);
    if (broken.length > 0) throw unparsable(invalidText('<nil>', key, broken));
    const next = this.#peek().kind;
    if (negated) return { key, operator: '!', values: [] };
    if (next === 'end' || next === ',') return { key, operator: 'exists', values: [] };
    const operator = this.#operator();
    const values = operator === 'in' || operator === 'notin' ? this.#values() : [this.#exactValue()];
    try {
      return requirementOf(key, operator, values);
    } catch (err) {
      throw unparsable(err instanceof Error ? err.message : String(err));
    }
  }

  #operator(): LabelOperator {
    const token = this.#tokens[this.#position++] ?? end;
    switch (token.kind) {
      case 'in':
      case 'notin':
      case '=':
      case '==':
      case '!=':
        return token.kind;
      case '>':
        return 'gt';
      case '<':
        return 'lt';
      default:
        throw unparsable(`found '${token.text}', expected: in, notin, =, ==, !=, gt, lt`);
    }
  }

  #exactValue(): string {
    const next = this.#peek();
    if (next.kind === 'end' || next.kind === ',') return '';
    const token = this.#take();
    if (token.kind !== 'identifier') throw unparsable(`found '${token.text}', expected: identifier`);
    return token.text;
  }

  /** `(a,b)`; an empty place, as in `(a,)`, is the empty value. */
  #values(): readonly string[] {
    const open = this.#take();
    if (open.kind !== '(') throw unparsable(`found '${open.text}' expected: '('`);
    const values: string[] = [];
    let expectValue = true;
    for (;;) {
      const token = this.#take();
      switch (token.kind) {
        case 'identifier':
          if (!expectValue) throw unparsable(`found '${token.text}', expected: ',' or ')'`);
          values.push(token.text);
          expectValue = false;
          break;
        case ',':
          if (expectValue) values.push('');
          expectValue = true;
          break;
        case ')':
          if (expectValue) values.push('');
          return values;
        default:
          throw unparsable(
            expectValue
              ? `found '${token.text}', expected: ',', ${values.length === 0 ? "')' " : ''}or identifier`
              : `found '${token.text}', expected: ',' or ')'`,
          );
      }
    }
  }

  /** The next token at the position of a value, where `in` and `notin` are plain words. */
  #peek(): Token {
    const token = this.#tokens[this.#position] ?? end;
    return token.kind === 'in' || token.kind === 'notin' ? { kind: 'identifier', text: token.text } : token;
  }

  #take(): Token {
    const token = this.#peek();
    this.#position += 1;
    return token;
  }
}

const unparsable = (why: string) => badRequest(`unable to parse requirement: ${why}`);

export interface FieldRequirement {
  readonly field: string;
  readonly operator: '=' | '!=';
  readonly value: string;
}

/** A compiled field selector. All requirements have to hold; whether a kind knows the field is for the caller to check. */
export interface FieldSelector {
  readonly requirements: readonly FieldRequirement[];
  matches(fieldValue: (field: string) => string): boolean;
  /** The value that `field` must have, if the selector asks for one: what watches are indexed by. */
  exactValueOf(field: string): string | undefined;
  toString(): string;
}

/**
 * Reads `metadata.name=a,status.phase!=Running`; `\\`, `\,` and `\=` escape the character in a value. An empty text
 * selects everything.
 *
 * @throws StatusError `BadRequest` in the words of the real server
 */
export function parseFieldSelector(text: string): FieldSelector {
  const requirements: FieldRequirement[] = [];
  for (const term of splitTerms(text).sort(compareText)) {
    if (term === '') continue;
    const match = /^([^=!]*(?:!(?!=)[^=!]*)*)(!=|==|=)(.*)$/s.exec(term);
    if (match === null) throw badRequest(`invalid selector: '${text}'; can't understand '${term}'`);
    const [, field = '', operator, value = ''] = match;
    requirements.push({ field, operator: operator === '!=' ? '!=' : '=', value: unescapeValue(value) });
  }
  return fieldSelectorOf(requirements);
}

function fieldSelectorOf(requirements: readonly FieldRequirement[]): FieldSelector {
  return Object.freeze({
    requirements: Object.freeze(requirements),
    matches(fieldValue: (field: string) => string): boolean {
      for (const { field, operator, value } of requirements) {
        if ((fieldValue(field) === value) !== (operator === '=')) return false;
      }
      return true;
    },
    exactValueOf: (name: string) => requirements.find(({ field, operator }) => field === name && operator === '=')?.value,
    toString: () => requirements.map(({ field, operator, value }) => `${field}${operator}${escapeFieldValue(value)}`).join(','),
  });
}

/** Makes any text safe as the value of a field selector. */
export const escapeFieldValue = (value: string): string => value.replace(/[\\,=]/g, '\\$&');

function splitTerms(text: string): string[] {
  const terms: string[] = [];
  let start = 0;
  for (let index = 0; index < text.length; index += 1) {
    if (text[index] === '\\') index += 1;
    else if (text[index] === ',') {
      terms.push(text.slice(start, index));
      start = index + 1;
    }
  }
  terms.push(text.slice(start));
  return terms;
}

function unescapeValue(text: string): string {
  let value = '';
  const characters = [...text];
  for (let index = 0; index < characters.length; index += 1) {
    const character = characters[index] ?? '';
    if (character === ',' || character === '=') {
      throw badRequest(`invalid field selector: unescaped character in value: ${character.codePointAt(0)}`);
    }
    if (character !== '\\') {
      value += character;
      continue;
    }
    index += 1;
    const escaped = characters[index];
    if (escaped !== '\\' && escaped !== ',' && escaped !== '=') {
      throw badRequest(`invalid field selector: invalid escape sequence: \\${escaped ?? ''}`);
    }
    value += escaped;
  }
  return value;
}
