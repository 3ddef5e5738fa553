import { createLocators, parseYamlDocuments, YamlError, type YamlLimits } from '../../../../machinery/yaml.ts';
import { conflictLineOf, conflictProblem } from '../../../manifests/conflict-markers.ts';
import { KustomizeError } from '../file-tree.ts';
import { isMap, type JsonMap } from '../resource.ts';
import type { PlaceOf } from './place.ts';

/** Objects of a file with the lines they start on. Frozen by agreement: each use makes copies. */
export type ParsedFile = readonly { readonly value: JsonMap; readonly line: number }[];

const limits = { maxBytes: 10 * 1024 * 1024, maxDepth: 100, maxAliases: 1_000, maxDocuments: 10_000 };

/** Bound on the text of files whose objects are kept; the least recently used go first. */
const maxCachedCharacters = 64 * 1024 * 1024;

/** Parsed files by content id. */
export class ParsedFiles {
  readonly #files = new Map<string, { readonly objects: ParsedFile; readonly characters: number }>();
  #characters = 0;

  get(id: string): ParsedFile | undefined {
    const file = this.#files.get(id);
    if (file === undefined) return undefined;
    this.#files.delete(id);
    this.#files.set(id, file);
    return file.objects;
  }

  set(id: string, objects: ParsedFile, characters: number): void {
    const before = this.#files.get(id);
    if (before !== undefined) this.#characters -= before.characters;
    this.#files.set(id, { objects, characters });
    this.#characters += characters;
    for (const [oldest, file] of this.#files) {
      if (this.#characters <= maxCachedCharacters) break;
      this.#files.delete(oldest);
      this.#characters -= file.characters;
    }
  }
}

export function decode(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new KustomizeError({ file, message: 'is not UTF-8 text', hint: 'Save the file as UTF-8.' });
  }
}

/** Settings to read objects as kustomize does: annotations are always texts, `version: 1.10` is `1.10`. */
export const objectReading = {
  booleans: 'true-false',
  dates: 'times',
  keys: 'strings',
  texts: {
    maps: [
      ['metadata', 'annotations'],
      ['items', undefined, 'metadata', 'annotations'],
    ],
  },
} as const satisfies Partial<YamlLimits>;

export function parse(
  text: string,
  file: string,
  more: Partial<YamlLimits>,
): readonly { readonly value: unknown; readonly line: number }[] {
  try {
    return parseYamlDocuments(text, { ...limits, ...more });
  } catch (err) {
    if (!(err instanceof YamlError)) throw err;
    const conflict = conflictLineOf(text);
    if (conflict !== undefined) throw new KustomizeError({ file, line: conflict, ...conflictProblem });
    throw new KustomizeError({ file, line: err.line, column: err.column, message: err.reason });
  }
}

/** The file is read for it when the first place is asked for, and once. */
export function placesIn(text: string, line: number): PlaceOf {
  let locateField: PlaceOf | undefined;
  return (field) => {
    locateField ??= createLocators(text)(line);
    return locateField(field);
  };
}

export function objectsIn(text: string, file: string): ParsedFile {
  const objects: { value: JsonMap; line: number }[] = [];
  for (const { value, line } of parse(text, file, objectReading)) {
    if (value === null || (isMap(value) && Object.keys(value).length === 0)) continue;
    for (const object of expandLists(value)) {
      const problem = problemOfObject(object);
      if (problem !== undefined) throw new KustomizeError({ file, line, message: problem });
      objects.push({ value: object, line });
    }
  }
  return objects;
}

/** The items of kinds that are lists, and all else as it is. */
export function expandLists(value: unknown): readonly JsonMap[] {
  if (isMap(value) && typeof value.kind === 'string' && value.kind.endsWith('List')) {
    if (value.items === null) return [];
    if (Array.isArray(value.items)) return value.items.flatMap(expandLists);
  }
  return [value as JsonMap];
}

function problemOfObject(value: unknown): string | undefined {
  const problem = problemOfNamed(value);
  if (problem !== undefined || !isMap(value)) return problem;
  const { apiVersion, kind } = value;
  return typeof apiVersion === 'string' && apiVersion !== '' ? undefined : `${String(kind)} has no apiVersion`;
}

/** Patches need not name a version. */
export function problemOfNamed(value: unknown): string | undefined {
  if (!isMap(value)) return 'is not an object';
  const { kind, metadata, items } = value;
  if (typeof kind !== 'string' || kind === '') return 'missing kind in object';
  if (kind.endsWith('List') && Object.hasOwn(value, 'items')) {
    return items === null || Array.isArray(items) ? undefined : `items of ${kind} are not a list`;
  }
  const name = isMap(metadata) ? metadata.name : undefined;
  return name !== null && name !== undefined && name !== '' && typeof name !== 'object'
    ? undefined
    : `missing metadata.name in object ${kind}`;
}
