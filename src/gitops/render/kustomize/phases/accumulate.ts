import { mapBounded } from '../../../../base/concurrency.ts';
import { builtInFields, type FieldConfig, fieldsOfDefinitions, mergeFields, parseConfiguration } from '../field-config.ts';
import { type DirectoryNode, KustomizeError } from '../file-tree.ts';
import { FieldProblem } from '../kustomization.ts';
import { type MergeSchemas, mergeSchemasIn } from '../merge.ts';
import { isRemote } from '../remote-bases.ts';
import { cloneJson, currentId, describeId, idKey, type Resource } from '../resource.ts';
import { addVariables, assignVariable } from '../variables.ts';
import { type Accumulator, newAccumulator, type Phase } from './accumulator.ts';
import { type Build, concurrency, maxObjects } from './build.ts';
import { directoryAt, fileOf, locate, parseObjects, readDocument } from './files.ts';
import { addGenerated } from './generate.ts';
import { loadKustomization } from './load.ts';
import { type LoadedKustomization, placeText, problemAt, type Reference, symlinkProblem } from './place.ts';
import { transformObjects } from './run-transformers.ts';

/** Kustomizations within kustomizations. */
const maxDepth = 64;

interface Place {
  readonly into: Accumulator;
  /** Directories of the kustomizations that lead here, its own last. */
  readonly above: readonly string[];
}

/** Adds what a kustomization says to `into`; a component works on what its parent has collected so far. */
export async function accumulate(build: Build, loaded: LoadedKustomization, { into, above }: Place): Promise<void> {
  build.options.signal?.throwIfAborted();
  if (above.length > maxDepth)
    throw new KustomizeError({ file: loaded.file, message: `kustomizations are nested more than ${maxDepth} deep` });
  const { spec } = loaded;
  if (into.schemas === undefined && spec.openapi !== '') {
    const from = { loaded, field: 'openapi.path' };
    const { document } = await readDocument(build, spec.openapi, from);
    into.schemas = build.at(loaded, from.field, () => mergeSchemasIn(document));
  }
  await addResources(build, loaded, { into, above });
  await addFields(build, loaded, into);
  const readObjects = async (path: string, from: Reference): Promise<readonly Resource[]> =>
    (await readResource(build, path, { from, above, schemas: undefined })).resources;
  const phase: Phase = { loaded, into, readObjects };
  await addGenerated(build, phase);
  await addComponents(build, loaded, { into, above });
  await transformObjects(build, phase);
  build.at(loaded, 'vars', () => {
    for (const rule of spec.vars) assignVariable(into.resources, rule);
    addVariables(into.variables, spec.vars);
  });
}

/** Components change what was collected so far, one after the other. */
async function addComponents(build: Build, loaded: LoadedKustomization, { into, above }: Place): Promise<void> {
  const { spec } = loaded;
  for (const [index, path] of spec.components.entries()) {
    const from: Reference = { loaded, field: `components[${index}]` };
    const whole = await locate(build, path, from);
    const directory = directoryAt(whole, path, { from, above });
    const node = await build.tree.find(directory);
    if (node?.type !== 'directory') {
      if (build.options.overlay?.ignoreMissingComponents === true && above.length === 1) continue;
      throw problemAt(from, {
        message: `component '${path}' is not a directory`,
        hint: 'Components are directories with a kustomization file.',
      });
    }
    const component = await loadKustomization(build, directory, from);
    if (!component.spec.isComponent) {
      throw problemAt(from, { message: `expected kind 'Component' for path '${path}' but got 'Kustomization'` });
    }
    await accumulate(build, component, { into, above: [...above, directory] });
  }
}

async function addResources(build: Build, loaded: LoadedKustomization, { into, above }: Place): Promise<void> {
  const parts = await mapBounded([...loaded.spec.resources.entries()], concurrency, ([index, path]) =>
    readResource(build, path, { from: { loaded, field: `resources[${index}]` }, above, schemas: into.schemas }),
  );
  const seen = new Map<string, Resource>(into.resources.map((resource) => [idKey(currentId(resource)), resource]));
  for (const [index, part] of parts.entries()) {
    for (const resource of part.resources) {
      const id = currentId(resource);
      const twin = seen.get(idKey(id));
      if (twin !== undefined) {
        throw problemAt(
          { loaded, field: `resources[${index}]` },
          {
            message: `may not add resource with an already registered id: ${describeId(id)} (${placeText(twin.origin)} and ${placeText(resource.origin)})`,
            hint: 'Keep one of the two, or change one with a patch instead.',
          },
        );
      }
      seen.set(idKey(id), resource);
      into.resources.push(resource);
    }
    build.at(loaded, 'vars', () => addVariables(into.variables, part.variables.values()));
    build.at(loaded, `resources[${index}]`, () => {
      if (part.fields !== undefined) into.fields = mergeFields(into.fields, part.fields);
    });
    into.schemas ??= part.schemas;
  }
  if (into.resources.length > maxObjects)
    throw new KustomizeError({ file: loaded.file, message: `builds more than ${maxObjects} objects` });
}

/** Fields that the kustomization's files name; they count for it and for all that list it. */
async function addFields(build: Build, loaded: LoadedKustomization, into: Accumulator): Promise<void> {
  const read = async (
    kind: 'configurations' | 'crds',
    before: FieldConfig | undefined,
    parseFields: (value: unknown) => FieldConfig,
  ): Promise<FieldConfig | undefined> => {
    let fields = before;
    for (const [index, path] of loaded.spec[kind].entries()) {
      const from = { loaded, field: `${kind}[${index}]` };
      const { document, file, placeOf } = await readDocument(build, path, from);
      build.at(loaded, from.field, () => {
        try {
          fields = mergeFields(fields, parseFields(document));
        } catch (err) {
          if (!(err instanceof FieldProblem)) throw err;
          throw new KustomizeError({ file, ...placeOf(err.field), message: err.message, hint: err.hint });
        }
      });
    }
    return fields;
  };
  const own = await read('configurations', undefined, parseConfiguration);
  build.at(loaded, 'configurations', () => {
    into.fields = mergeFields(into.fields, mergeFields(own, builtInFields));
  });
  into.fields = await read('crds', into.fields, fieldsOfDefinitions);
}

interface Naming {
  readonly from: Reference;
  readonly above: readonly string[];
  readonly schemas: MergeSchemas | undefined;
}

/** Collects what an entry of `resources` names: the objects of a file, or all of another kustomization. */
async function readResource(build: Build, path: string, { from, above, schemas }: Naming): Promise<Accumulator> {
  const whole = await locate(build, path, from);
  const node = whole === undefined ? undefined : await build.tree.find(whole);
  const accumulated = newAccumulator(schemas);
  if (node?.type === 'file' && !isRemote(path)) {
    const file = fileOf(build, path, from);
    for (const { value, line } of await parseObjects(build, node, file)) {
      build.countObject(from);
      const object = build.at(from.loaded, from.field, () => cloneJson(value));
      accumulated.resources.push(build.newObject(object, { file, line, blob: node.id }));
    }
    return accumulated;
  }
  const directory = directoryAt(whole, path, { from, above });
  if (node?.type !== 'directory') throw noResource(node, path, from);
  const base = await loadKustomization(build, directory, from);
  if (base.spec.isComponent)
    throw problemAt(from, { message: `expected kind != 'Component' for path '${path}'`, hint: 'List it under components.' });
  await accumulate(build, base, { into: accumulated, above: [...above, directory] });
  return accumulated;
}

function noResource(
  node: Exclude<Awaited<ReturnType<Build['tree']['find']>>, DirectoryNode>,
  path: string,
  from: Reference,
): KustomizeError {
  const [message, hint] =
    node === undefined
      ? ["doesn't exist", 'Commit the file, or take it out of the list.']
      : node.type === 'file'
        ? ['is a file', 'Only directories are taken from other repositories; copy the file into this one.']
        : [symlinkProblem.message, symlinkProblem.hint];
  return problemAt(from, { message: `'${path}' ${message}`, hint });
}
