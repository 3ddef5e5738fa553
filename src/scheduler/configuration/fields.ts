import { locate } from '../../machinery/yaml.ts';

/** A field of a configuration file is wrong: the place, why, and what to write instead. */
export class SchedulerConfigurationError extends Error {
  readonly fix: string;

  constructor(what: string, fix: string) {
    super(what);
    this.name = 'SchedulerConfigurationError';
    this.fix = fix;
  }
}

/** Text of the file that a field is in, for the line of an error. */
interface Source {
  readonly file: string;
  readonly text: string;
  /** The first line of the document, counted from 1. */
  readonly line: number;
}

/** A value of a configuration file with its place in it. Each question checks what it reads; no wrong value passes as a default. */
export class Field {
  readonly value: unknown;
  readonly path: string;
  readonly #source: Source;

  constructor(value: unknown, path: string, source: Source) {
    this.value = value;
    this.path = path;
    this.#source = source;
  }

  get isAbsent(): boolean {
    return this.value === undefined || this.value === null;
  }

  /** @throws SchedulerConfigurationError always */
  fail(reason: string, fix: string): never {
    const { file, text, line } = this.#source;
    const where = `${file}:${locate(text, this.path, line).line}`;
    throw new SchedulerConfigurationError(`${where}: ${this.path === '' ? '' : `${this.path}: `}${reason}`, fix);
  }

  /** Fields of an object; an absent one has none. @throws SchedulerConfigurationError for a name that is not in `known` */
  object<Name extends string>(known: readonly Name[]): Readonly<Record<Name, Field>> {
    const value = this.value ?? {};
    if (typeof value !== 'object' || Array.isArray(value)) this.fail('is no object', `Give it fields: ${known.join(', ')}.`);
    for (const name of Object.keys(value)) {
      if (!(known as readonly string[]).includes(name)) this.#child(name).fail('is not known', `There are: ${known.join(', ')}.`);
    }
    return Object.fromEntries(known.map((name) => [name, this.#child(name)])) as Record<Name, Field>;
  }

  list(): readonly Field[] {
    if (this.isAbsent) return [];
    if (!Array.isArray(this.value)) this.fail('is no list', 'Write one item a line, each behind a hyphen.');
    return this.value.map((item, index) => new Field(item, `${this.path}[${index}]`, this.#source));
  }

  text(): string {
    if (typeof this.value !== 'string' || this.value === '') this.fail('is no text', 'Give a text that is not empty.');
    return this.value;
  }

  integer({ least, most, otherwise }: { readonly least: number; readonly most: number; readonly otherwise?: number }): number {
    if (this.isAbsent && otherwise !== undefined) return otherwise;
    const { value } = this;
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
      this.fail('is out of range', `Give a whole number from ${least} to ${most}.`);
    }
    return value as number;
  }

  flag(otherwise: boolean): boolean {
    if (this.isAbsent) return otherwise;
    if (typeof this.value !== 'boolean') this.fail('is neither true nor false', 'Write true or false.');
    return this.value;
  }

  oneOf<Choice extends string>(choices: readonly Choice[], otherwise?: Choice): Choice {
    if (this.isAbsent && otherwise !== undefined) return otherwise;
    const found = choices.find((choice) => choice === this.value);
    return found ?? this.fail(`${JSON.stringify(this.value)} is not known`, `There are: ${choices.join(', ')}.`);
  }

  #child(name: string): Field {
    const path = this.path === '' ? name : `${this.path}.${name}`;
    return new Field((this.value as Record<string, unknown> | undefined)?.[name], path, this.#source);
  }
}
