import { mapBounded } from '../../../../base/concurrency.ts';
import { KustomizeError } from '../file-tree.ts';
import { type Configured, currentId, idKey, newResource, type Resource } from '../resource.ts';
import { checkBuiltIn } from '../transformers.ts';
import type { Phase } from './accumulator.ts';
import { type Build, concurrency } from './build.ts';
import { problemAt, type Reference } from './place.ts';
import { objectsIn, type ParsedFile } from './read-objects.ts';

/** A generator or transformer that is an object of its own. */
export interface Plugin {
  readonly config: Resource;
  readonly from: Reference;
  readonly by: Configured;
}

/** Generators or transformers that are objects of their own: those in the kustomization first, then those of files and directories. */
export async function readPlugins(
  build: Build,
  kind: 'generators' | 'transformers',
  { loaded, readObjects }: Phase,
): Promise<readonly Plugin[]> {
  const configs: Resource[] = [];
  const paths: { readonly path: string; readonly from: Reference }[] = [];
  for (const [index, text] of loaded.spec[kind].entries()) {
    const from = { loaded, field: `${kind}[${index}]` };
    const objects = inlineObjects(text, from);
    if (objects === undefined) paths.push({ path: text, from });
    const { line = 1 } = loaded.placeOf(from.field);
    for (const { value } of objects ?? []) configs.push(newResource(value, { file: loaded.file, line, blob: loaded.blob }));
  }
  const parts = await mapBounded(paths, concurrency, ({ path, from }) => readObjects(path, from));
  configs.push(...parts.flat());
  const seen = new Set<string>();
  return configs.map((config) => {
    const { origin } = config;
    const id = currentId(config);
    const place = { directory: loaded.directory, file: origin.file, placeOf: () => ({ line: origin.line }) };
    const from: Reference = { loaded: place, field: `${id.kind} ${id.name}` };
    if (seen.has(idKey(id))) throw problemAt(from, { message: 'is there twice', hint: 'Give each one a name of its own.' });
    seen.add(idKey(id));
    build.at(place, from.field, () => checkBuiltIn(config));
    return { config, from, by: { file: origin.file, kind: id.kind, name: id.name, namespace: id.namespace } };
  });
}

/** The objects of a text in the kustomization itself; undefined for what is a path. */
function inlineObjects(text: string, from: Reference): ParsedFile | undefined {
  try {
    return objectsIn(text, from.loaded.file);
  } catch (err) {
    if (!(err instanceof KustomizeError)) throw err;
    if (!text.includes('\n')) return undefined;
    throw problemAt(from, { message: err.message, hint: err.hint });
  }
}
