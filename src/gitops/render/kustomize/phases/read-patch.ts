import type { YamlLimits } from '../../../../machinery/yaml.ts';
import { KustomizeError } from '../file-tree.ts';
import type { PatchRule } from '../kustomization.ts';
import type { ParsedPatch } from '../patches.ts';
import { isMap, type JsonMap } from '../resource.ts';
import type { Build } from './build.ts';
import { joinWithin, readFile } from './files.ts';
import { problemAt, type Reference } from './place.ts';
import { decode, expandLists, objectReading, parse, problemOfNamed } from './read-objects.ts';

export async function readPatch(
  build: Build,
  { patch, path, target }: { readonly patch: string; readonly path: string; readonly target?: PatchRule['target'] },
  { from, isCopied }: { readonly from: Reference; readonly isCopied: boolean },
): Promise<ParsedPatch> {
  let text = patch;
  let file = from.loaded.file;
  if (path !== '') {
    const found = await readFile(build, path, from);
    file = found.file;
    text = decode(await found.node.read(), found.file);
  }
  let documents: readonly { readonly value: unknown; readonly line: number }[];
  try {
    documents = parse(text, file, isJsonPatch(text) ? {} : isCopied ? copiedPatchReading : patchReading);
  } catch (err) {
    if (!(err instanceof KustomizeError) || path !== '') throw err;
    throw problemAt(from, { message: `unable to parse SM or JSON patch: ${err.message}` });
  }
  const [first] = documents;
  const { value } = first ?? {};
  const problem = Array.isArray(value)
    ? problemOfOperations(value, text)
    : problemOfPatches(documents, text === '' && target !== undefined);
  if (problem === undefined) {
    if (Array.isArray(value)) return { type: 'json', operations: value };
    const objects = documents.flatMap((document) => expandLists(document.value));
    return { type: 'merge', objects: isCopied ? objects.map(withoutEmptyMetadata) : objects };
  }
  const message = `unable to parse SM or JSON patch: ${problem}`;
  if (path === '') throw problemAt(from, { message });
  throw new KustomizeError({ file, line: first?.line, message });
}

/** An entry of `patchesStrategicMerge` is a patch or the name of a file with one. */
export async function inlineOrFile(
  build: Build,
  text: string,
  from: Reference,
): Promise<{ readonly patch: string; readonly path: string }> {
  const file = text.includes('\n') ? undefined : joinWithin(from.loaded.directory, text);
  const node = file === undefined ? undefined : await build.tree.find(file);
  return node === undefined && (text.includes('\n') || text.includes(':')) ? { patch: text, path: '' } : { patch: '', path: text };
}

/** And patches of them, whose nulls take away. */
const patchReading = { ...objectReading, texts: { ...objectReading.texts, butNull: true } } as const satisfies Partial<YamlLimits>;

/** But kustomize copies labels and annotations of a patch before it applies it to what it has selected: all of them are texts then. */
const copiedPatchReading = {
  ...objectReading,
  texts: {
    maps: [
      ['metadata', 'annotations'],
      ['metadata', 'labels'],
    ],
  },
} as const satisfies Partial<YamlLimits>;

/** True for the text of a list: operations are read as the API server reads YAML, and objects as kustomize does. */
const isJsonPatch = (text: string): boolean => /^(?:\s|#.*\n|---\s)*(?:-\s|\[)/.test(text);

function problemOfOperations(operations: readonly unknown[], text: string): string | undefined {
  if (operations.length === 0) return 'it has no operations';
  if (text.startsWith('[') && !isJson(text)) return 'what begins with [ is read as JSON; put its names and texts in double quotes';
  for (const [index, operation] of operations.entries()) {
    if (!isMap(operation)) return `operation ${index} is not a map`;
    if ((operation.op === 'add' || operation.op === 'replace') && !Object.hasOwn(operation, 'value'))
      return `operation ${index} has no value`;
  }
  return undefined;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** A file without a character patches nothing, if it says what. */
function problemOfPatches(documents: readonly { readonly value: unknown }[], mayBeEmpty: boolean): string | undefined {
  if (documents.length === 0) return mayBeEmpty ? undefined : 'it is empty';
  return documents.map(({ value }) => problemOfNamed(value)).find((problem) => problem !== undefined);
}

function withoutEmptyMetadata(object: JsonMap): JsonMap {
  const metadata = { ...(object.metadata as JsonMap) };
  for (const field of ['labels', 'annotations']) {
    if (!isMap(metadata[field]) || Object.keys(metadata[field]).length === 0) delete metadata[field];
  }
  return { ...object, metadata };
}
