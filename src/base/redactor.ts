/**
 * Takes values that must not be shown out of texts that are recorded or shown to others.
 *
 * `owner` is whoever brought a value; its own texts lose more than those of others, since a short value may be anywhere by chance.
 */
export interface Redactor {
  /** Values that are in no text: of the owner from 4 characters, of anybody else from 8. */
  add(owner: string, values: Iterable<string>): void;
  /** Values that only texts of the owner lose, and only those that repeat fields. Shorter ones than 4 characters are left. */
  addQuoted(owner: string, values: Iterable<string>): void;
  /** A text of `owner`, or of somebody who brought no value. */
  text(text: string, owner?: string): string;
  /** The value of a field of an object of `owner`: also without its short values, where nothing is beside them. */
  field(text: string, owner: string): string;
  /** A text of `owner` that repeats values of fields: without short values and without those of `addQuoted`. */
  quoted(text: string, owner: string): string;
}

const startLength = 4;
/** From here on a value is taken out of everybody's texts. */
const lengthForAll = 8;
/** A value of this length is long. Texts that repeat it may have been cut, so a part of its beginning counts as the value. */
const longLength = 64;
const partLength = 32;
/** The redactor keeps this much of a longer value; a text that has it loses all that follows. */
const maxLength = 4_096;
/** Long values with the same beginning that are kept apart; where there are more, a text loses all that follows. */
const maxAlike = 32;
const maxValues = 20_000;
const maxShort = 500;
const mask = '***';

interface Known {
  readonly value: string;
  readonly owners: Set<string>;
  readonly quotedBy: Set<string>;
}

/** Values with the same first four characters. */
interface Bucket {
  /** Lengths of the values that are not long, the longest first: at most 60. */
  lengths: readonly number[];
  readonly byLength: Map<number, Map<string, Known>>;
  readonly longByPart: Map<string, Known[]>;
}

export function createRedactor(): Redactor {
  /** Oldest first: the bound drops those that were brought longest ago. */
  const known = new Map<string, Known>();
  const buckets = new Map<string, Bucket>();
  /** Marks each pair of characters that a value may begin with, by a hash of both: a page has a million places to look at. */
  const beginnings = new Uint8Array(65_536);
  const short = new Map<string, Set<string>>();

  function remember(given: string): Known | undefined {
    const value = given.slice(0, maxLength);
    if (value.length < startLength) return undefined;
    let entry = known.get(value);
    if (entry === undefined) {
      entry = { value, owners: new Set(), quotedBy: new Set() };
      known.set(value, entry);
      insert(entry);
      if (known.size > maxValues) forgetOldest();
    }
    return entry;
  }

  function insert(entry: Known): void {
    const { value } = entry;
    const start = value.slice(0, startLength);
    const bucket: Bucket = buckets.get(start) ?? { lengths: [], byLength: new Map(), longByPart: new Map() };
    buckets.set(start, bucket);
    beginnings[(start.charCodeAt(0) * 257 + start.charCodeAt(1)) & 0xffff] = 1;
    if (value.length >= longLength) {
      const part = value.slice(0, partLength);
      const alike = bucket.longByPart.get(part);
      if (alike === undefined) bucket.longByPart.set(part, [entry]);
      else alike.push(entry);
      return;
    }
    const same = bucket.byLength.get(value.length);
    if (same !== undefined) same.set(value, entry);
    else {
      bucket.byLength.set(value.length, new Map([[value, entry]]));
      bucket.lengths = [...bucket.lengths, value.length].sort((a, b) => b - a);
    }
  }

  function forgetOldest(): void {
    const [oldest] = known.values();
    if (oldest === undefined) return;
    const { value } = oldest;
    known.delete(value);
    const bucket = buckets.get(value.slice(0, startLength));
    if (value.length >= longLength) {
      const part = value.slice(0, partLength);
      const alike = bucket?.longByPart.get(part) ?? [];
      alike.splice(alike.indexOf(oldest), 1);
      if (alike.length === 0) bucket?.longByPart.delete(part);
      return;
    }
    const same = bucket?.byLength.get(value.length);
    same?.delete(value);
    if (same?.size !== 0 || bucket === undefined) return;
    bucket.byLength.delete(value.length);
    bucket.lengths = bucket.lengths.filter((length) => length !== value.length);
  }

  /** Length of the value that begins at `at` in the text; 0 when none does. */
  function matchLength(text: string, at: number, concerns: (entry: Known) => boolean): number {
    const bucket = buckets.get(text.slice(at, at + startLength));
    if (bucket === undefined) return 0;
    const alike = bucket.longByPart.size === 0 ? undefined : bucket.longByPart.get(text.slice(at, at + partLength));
    if (alike !== undefined && alike.length > maxAlike) return text.length - at;
    let longest = 0;
    for (const entry of alike ?? []) if (concerns(entry)) longest = Math.max(longest, equalLength(text, at, entry.value));
    if (longest > 0) return longest;
    for (const length of bucket.lengths) {
      const entry = bucket.byLength.get(length)?.get(text.slice(at, at + length));
      if (entry !== undefined && concerns(entry)) return length;
    }
    return 0;
  }

  function redact(text: string, concerns: (entry: Known) => boolean): string {
    let result = '';
    let from = 0;
    const end = text.length - startLength;
    let code = text.charCodeAt(0);
    for (let at = 0; at <= end; at += 1) {
      const next = text.charCodeAt(at + 1);
      const mayBegin = beginnings[(code * 257 + next) & 0xffff] !== 0;
      code = next;
      if (!mayBegin) continue;
      const length = matchLength(text, at, concerns);
      if (length === 0) continue;
      result += text.slice(from, at) + mask;
      from = at + length;
      at = from - 1;
      code = text.charCodeAt(from);
    }
    return from === 0 ? text : result + text.slice(from);
  }

  const isForAll = ({ owners, value }: Known): boolean => owners.size > 0 && value.length >= lengthForAll;

  return {
    add(owner, values) {
      for (const value of values) {
        remember(value)?.owners.add(owner);
        if (value.length === 0 || value.length >= startLength) continue;
        const own = short.get(owner) ?? new Set();
        short.set(owner, own);
        if (own.size < maxShort) own.add(value);
      }
    },
    addQuoted(owner, values) {
      for (const value of values) remember(value)?.quotedBy.add(owner);
    },
    text: (text, owner) =>
      known.size === 0 ? text : redact(text, (entry) => isForAll(entry) || (owner !== undefined && entry.owners.has(owner))),
    field(text, owner) {
      if (known.size === 0 && short.size === 0) return text;
      return withoutWords(
        redact(text, (entry) => isForAll(entry) || entry.owners.has(owner)),
        short.get(owner),
      );
    },
    quoted(text, owner) {
      if (known.size === 0 && short.size === 0) return text;
      const without = redact(text, (entry) => isForAll(entry) || entry.owners.has(owner) || entry.quotedBy.has(owner));
      return withoutWords(without, short.get(owner));
    },
  };
}

/** Counts the equal part and what follows as far as it is equal; all that follows when more of the value was not kept. */
function equalLength(text: string, at: number, value: string): number {
  let length = partLength;
  while (length < value.length && text[at + length] === value[length]) length += 1;
  return length === maxLength ? text.length - at : length;
}

/** A value of one to three characters is one where neither a letter nor a digit is beside it. */
function withoutWords(text: string, words: ReadonlySet<string> | undefined): string {
  let result = text;
  for (const word of words ?? []) {
    if (!result.includes(word)) continue;
    const escaped = word.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
    result = result.replace(new RegExp(`(?<![\\p{L}\\p{Nd}])${escaped}(?![\\p{L}\\p{Nd}])`, 'gu'), mask);
  }
  return result;
}
