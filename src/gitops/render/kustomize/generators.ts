import { createHash } from 'node:crypto';
import type { GeneratorRule } from './kustomization.ts';
import { currentId, describeId, isMap, type JsonMap, metadataOf, type Resource, setOwn, withId } from './resource.ts';

export class GeneratorError extends Error {}

/** Gives the content of a file that the generator names. */
export type LoadFile = (path: string) => Promise<Uint8Array>;

export type GeneratedKind = 'ConfigMap' | 'Secret';

/** The object of one `configMapGenerator` or `secretGenerator` entry. @throws GeneratorError */
export async function generateObject(kind: GeneratedKind, rule: GeneratorRule, load: LoadFile): Promise<JsonMap> {
  const pairs = await pairsOf(kind, rule, load);
  const { labels, annotations, immutable } = rule.options;
  const metadata: JsonMap = { name: rule.name };
  if (rule.namespace !== '') metadata.namespace = rule.namespace;
  if (Object.keys(labels).length > 0) metadata.labels = { ...labels };
  if (Object.keys(annotations).length > 0) metadata.annotations = { ...annotations };
  return {
    apiVersion: 'v1',
    kind,
    metadata,
    ...(kind === 'Secret' ? { type: rule.type || 'Opaque', data: secretData(pairs) } : configMapData(pairs)),
    ...(immutable ? { immutable: true } : {}),
  };
}

async function pairsOf(kind: GeneratedKind, rule: GeneratorRule, load: LoadFile): Promise<ReadonlyMap<string, Uint8Array>> {
  const pairs = new Map<string, Uint8Array>();
  const add = (key: string, value: Uint8Array): void => {
    if (key === '') return;
    if (pairs.has(key)) throw new GeneratorError(`configmap ${rule.name} illegally repeats the key \`${key}\``);
    pairs.set(key, value);
  };
  for (const path of rule.envs) {
    for (const [key, value] of envPairs(await load(path), path)) add(key, Buffer.from(value));
  }
  for (const [index, literal] of rule.literals.entries()) {
    const at = literal.indexOf('=');
    // The whole literal may be a password.
    if (at <= 0)
      throw new GeneratorError(`invalid literal source ${kind === 'Secret' ? `literals[${index}]` : literal}, expected key=value`);
    add(literal.slice(0, at), Buffer.from(unquote(literal.slice(at + 1))));
  }
  for (const source of rule.files) {
    const { key, path } = fileSourceOf(source);
    add(key, await load(path));
  }
  return pairs;
}

function* envPairs(bytes: Uint8Array, path: string): Iterable<readonly [string, string]> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new GeneratorError(`env source file ${path} is not UTF-8 text`);
  }
  for (const raw of text.split('\n')) {
    const line = raw.replace(/\r$/, '').trimStart();
    if (line === '' || line.startsWith('#')) continue;
    const at = line.indexOf('=');
    // A name alone has the empty value: builds do not read the environment of this process.
    yield at === -1 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
  }
}

function fileSourceOf(source: string): { readonly key: string; readonly path: string } {
  const [first = '', second, ...rest] = source.split('=');
  if (second === undefined) return { key: /([^/]*)\/*$/.exec(source)?.[1] ?? '', path: source };
  if (rest.length > 0) throw new GeneratorError(`source "${source}" key name or file path contains '='`);
  if (first === '') throw new GeneratorError(`missing key name for file path "${second}" in source "${source}"`);
  if (second === '') throw new GeneratorError(`missing file path for key name "${first}" in source "${source}"`);
  return { key: first, path: second };
}

/** Without the quotation marks around the whole of a literal. */
function unquote(value: string): string {
  const first = value[0];
  return value.length > 1 && (first === '"' || first === "'") && value.endsWith(first) ? value.slice(1, -1) : value;
}

function configMapData(pairs: ReadonlyMap<string, Uint8Array>): JsonMap {
  const data: JsonMap = {};
  const binaryData: JsonMap = {};
  for (const [key, bytes] of pairs) {
    try {
      setOwn(data, key, new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
    } catch {
      setOwn(binaryData, key, encode(bytes));
    }
  }
  return {
    ...(Object.keys(data).length > 0 ? { data } : {}),
    ...(Object.keys(binaryData).length > 0 ? { binaryData } : {}),
  };
}

function secretData(pairs: ReadonlyMap<string, Uint8Array>): JsonMap {
  const data: JsonMap = {};
  for (const [key, bytes] of pairs) setOwn(data, key, encode(bytes));
  return data;
}

/** Base64 in lines of 70 characters, as kustomize writes it: the hash in the object's name depends on it. */
function encode(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('base64');
  return text.length <= 70 ? text : text.replace(/.{1,70}/g, '$&\n');
}

/** Adds a generated object, or merges it into or puts it in place of the one of the same name, as its `behavior` says. */
export function absorb(resources: Resource[], generated: Resource): void {
  const id = currentId(generated);
  const matches = withId(resources, id);
  const [existing] = matches;
  const { behavior } = generated;
  if (matches.length > 1) throw new GeneratorError(`found multiple objects that could accept merge of ${describeId(id)}`);
  if (existing === undefined) {
    if (behavior === 'merge' || behavior === 'replace') {
      throw new GeneratorError(`id ${describeId(id)} does not exist; cannot merge or replace`);
    }
    resources.push(generated);
    return;
  }
  if (behavior !== 'merge' && behavior !== 'replace') {
    throw new GeneratorError(`id ${describeId(id)} exists; behavior must be merge or replace`);
  }
  takeOver(generated, existing);
  if (behavior === 'merge') {
    generated.origin = existing.origin;
    for (const field of ['data', 'binaryData']) {
      const merged = { ...textsOf(existing.object[field]), ...mapOf(generated.object[field]) };
      if (Object.keys(merged).length > 0) generated.object[field] = merged;
      else delete generated.object[field];
    }
  }
  resources[resources.indexOf(existing)] = generated;
}

/** The new object goes on in the place of the old one: with its name, its past, and its labels and annotations below its own. */
function takeOver(generated: Resource, existing: Resource): void {
  const old = metadataOf(existing);
  const metadata = metadataOf(generated);
  for (const field of ['labels', 'annotations']) {
    const merged = { ...mapOf(old[field]), ...mapOf(metadata[field]) };
    if (Object.keys(merged).length > 0) metadata[field] = merged;
  }
  metadata.name = old.name;
  if (typeof old.namespace === 'string' && old.namespace !== '') metadata.namespace = old.namespace;
  else delete metadata.namespace;
  generated.previous = existing.previous;
  generated.prefixes = existing.prefixes;
  generated.suffixes = existing.suffixes;
  generated.variables = existing.variables;
  generated.transformations = existing.transformations;
  generated.needsHash = existing.needsHash && generated.needsHash;
  generated.behavior = existing.behavior;
}

const mapOf = (value: unknown): JsonMap => (isMap(value) ? value : {});

/** Merging converts all values to texts. */
const textsOf = (value: unknown): JsonMap =>
  Object.fromEntries(
    Object.entries(mapOf(value)).map(([key, entry]) => [key, entry === null ? '' : typeof entry === 'object' ? '' : String(entry)]),
  );

/**
 * Ten characters from the content of a generated object; equal to kustomize's, so that names stay the same after a
 * switch.
 */
export function contentHash({ object }: Resource): string {
  // kustomize leaves the name empty: it looks it up by a path that no object has.
  const content: JsonMap = { kind: object.kind, name: '', data: object.data ?? '' };
  if (object.kind === 'Secret') content.type = object.type ?? '';
  for (const field of object.kind === 'Secret' ? ['stringData'] : ['binaryData']) if (isMap(object[field])) content[field] = object[field];
  const digest = createHash('sha256').update(goJson(content)).digest('hex').slice(0, 10);
  return [...digest].map((char) => readable[char] ?? char).join('');
}

/** Letters and digits in place of those that could spell words. */
const readable: Readonly<Record<string, string>> = { '0': 'g', '1': 'h', '3': 'k', a: 'm', e: 't' };

/** JSON as Go writes it: members in the order of their UTF-8 names, and characters escaped that mean something to HTML. */
function goJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(goJson).join(',')}]`;
  if (isMap(value)) {
    const keys = Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return `{${keys.map((key) => `${goText(key)}:${goJson(value[key])}`).join(',')}}`;
  }
  return typeof value === 'string' ? goText(value) : JSON.stringify(value);
}

const goText = (text: string): string =>
  JSON.stringify(text).replace(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
