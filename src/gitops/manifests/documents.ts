import { createHash } from 'node:crypto';
import { type DynamicObject, deepFreeze, type KubeObject } from '../../machinery/object.ts';
import { parseYamlDocuments, YamlError } from '../../machinery/yaml.ts';
import { conflictLineOf, conflictProblem } from './conflict-markers.ts';
import { isNamedByRevision } from './hook-names.ts';
import type { BuildError } from './manifest.ts';

/** Documents of one file, at any path; cached by blob id. Hooks without a fixed name have no name yet. */
export interface FileContent {
  readonly documents: readonly { readonly line: number; readonly object: KubeObject }[];
  readonly errors: readonly Omit<BuildError, 'file'>[];
  /** Digest of the text, so that equal files in different trees have equal digests. */
  readonly digest: string;
}

/** Bounds of one file, against YAML bombs and accidents. */
const limits = { maxBytes: 10 * 1024 * 1024, maxDepth: 100, maxAliases: 1_000, maxDocuments: 10_000 };

export const maxFileBytes = limits.maxBytes;

/** Reads the objects of one file: multi-document YAML or JSON, `List` kinds expanded. */
export function readDocuments(bytes: Uint8Array): FileContent {
  const digest = createHash('sha256').update(bytes).digest('hex');
  const failed = (error: Omit<BuildError, 'file'>): FileContent => ({ documents: [], errors: [error], digest });
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return failed({ message: 'is not UTF-8 text', hint: 'Save the file as UTF-8.' });
  }
  try {
    const documents: { line: number; object: KubeObject }[] = [];
    const errors: Omit<BuildError, 'file'>[] = [];
    for (const { value, line } of parseYamlDocuments(text, { ...limits, filename: '' })) {
      for (const item of objectsIn(value)) {
        const problem = problemOf(item);
        if (problem === undefined) documents.push({ line, object: deepFreeze(item as KubeObject) });
        else errors.push({ line, ...problem });
      }
    }
    return { documents, errors, digest };
  } catch (err) {
    if (!(err instanceof YamlError)) throw err;
    const conflict = conflictLineOf(text);
    if (conflict !== undefined) return failed({ line: conflict, ...conflictProblem });
    return failed({ line: err.line, column: err.column, message: err.reason });
  }
}

/** Skips what kustomize skips, and Flux with it: a document that is empty, null or `{}`. */
function objectsIn(document: unknown): readonly unknown[] {
  if (document === null) return [];
  const isEmptyMap = typeof document === 'object' && !Array.isArray(document) && Object.keys(document).length === 0;
  return isEmptyMap ? [] : expandLists(document);
}

function expandLists(value: unknown): readonly unknown[] {
  if (typeof value !== 'object' || value === null) return [value];
  const { kind, items } = value as { readonly kind?: unknown; readonly items?: unknown };
  if (typeof kind !== 'string' || !kind.endsWith('List')) return [value];
  if (items === null) return [];
  return Array.isArray(items) ? items.flatMap(expandLists) : [value];
}

function problemOf(value: unknown): { readonly message: string; readonly hint: string } | undefined {
  const hint = 'Every document here must be a Kubernetes object; move other YAML out of the path that is applied.';
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { message: 'is not an object', hint };
  const { apiVersion, kind, metadata } = value as DynamicObject;
  if (typeof apiVersion !== 'string' || apiVersion === '') return { message: 'has no apiVersion', hint };
  if (typeof kind !== 'string' || kind === '') return { message: 'has no kind', hint };
  if (typeof metadata !== 'object' || metadata === null) return { message: `${kind} has no metadata`, hint: 'Give it metadata.name.' };
  const name: unknown = metadata.name;
  if (name !== undefined && name !== null && typeof name !== 'string') {
    return {
      message: `${kind} has the metadata.name ${JSON.stringify(name)}, which is no text`,
      hint: 'Put it in quotes: YAML reads words such as n, yes and off as booleans, and digits as numbers.',
    };
  }
  if (typeof name === 'string' && name !== '') return undefined;
  if (isNamedByRevision(value as KubeObject)) return undefined;
  return {
    message: `${kind} has no metadata.name`,
    hint: 'Objects from Git need a fixed name; generateName would make a new one at each apply, and is for hooks alone.',
  };
}
