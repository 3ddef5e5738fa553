import { mapBounded } from '../../../base/concurrency.ts';
import { isStatusError } from '../../../machinery/status-error.ts';
import { createLocators, parseYamlDocuments, YamlError, type YamlLimits } from '../../../machinery/yaml.ts';
import { conflictLineOf, conflictProblem } from '../../manifests/conflict-markers.ts';
import { type Helm, HelmError } from '../helm.ts';
import { ChartError, chartPathOf, chartValues, needsValuesFile, readChart, templateFlagsOf } from './charts.ts';
import { builtInFields, type FieldConfig, fieldsOfDefinitions, mergeFields, parseConfiguration, TransformError } from './field-config.ts';
import { FieldError } from './field-spec.ts';
import {
  type DirectoryNode,
  type FileNode,
  type FileTree,
  isWithin,
  joinPath,
  KustomizeError,
  type KustomizeProblem,
} from './file-tree.ts';
import { absorb, type GeneratedKind, GeneratorError, generateObject } from './generators.ts';
import {
  FieldProblem,
  type GeneratorRule,
  type HelmChartRule,
  type ImageRule,
  type Kustomization,
  type PatchRule,
  parseKustomization,
  parseReplacements,
} from './kustomization.ts';
import type { LoadRestrictor } from './load-restrictor.ts';
import { type MergeSchemas, mergeSchemasIn } from './merge.ts';
import { applyPatch, type ParsedPatch, PatchError } from './patches.ts';
import { fixReferences } from './references.ts';
import {
  isRemote,
  MountedTree,
  mountOf,
  parseRemoteAddress,
  type RemoteAddress,
  RemoteBaseError,
  type RemoteBases,
} from './remote-bases.ts';
import { applyReplacement, ReplacementError } from './replacements.ts';
import {
  type Configured,
  cloneJson,
  currentId,
  describeId,
  idKey,
  isMap,
  type JsonMap,
  metadataOf,
  newResource,
  type Origin,
  previousIds,
  type Resource,
  setOwn,
} from './resource.ts';
import { SelectorError } from './selector.ts';
import { sortResources } from './sort.ts';
import { addHashes, addValue, setOwnLabel } from './transform.ts';
import { checkBuiltIn, parseGenerator, parseTransformer, parseValueTargets, type Transformer, transformersOf } from './transformers.ts';
import { addVariables, assignVariable, resolveVariables, VariableError } from './variables.ts';
import { type Allowance, allowanceOfBuild, atCostOf, spend, spendText, TooMuchWork } from './work.ts';

export interface RenderOptions {
  readonly tree: FileTree;
  /** Directory with the kustomization file. */
  readonly path: string;
  /** Changes to the top kustomization that are not in its file. */
  readonly overlay?: Overlay | undefined;
  /** In place of a kustomization file: what it would list. */
  readonly resources?: readonly string[] | undefined;
  /** Inflates charts; absent: a kustomization with charts is refused. */
  readonly helm?: Helm | undefined;
  /** Fetches bases of other repositories; absent: a kustomization with one is refused. */
  readonly remoteBases?: RemoteBases | undefined;
  /** Absent: `LoadRestrictionsRootOnly`. */
  readonly loadRestrictor?: LoadRestrictor | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Additions of an app to its kustomization; names and namespace win over those in the file. */
export interface Overlay {
  readonly namespace?: string | undefined;
  readonly namePrefix?: string | undefined;
  readonly nameSuffix?: string | undefined;
  readonly components?: readonly string[] | undefined;
  readonly ignoreMissingComponents?: boolean | undefined;
  readonly patches?: readonly PatchRule[] | undefined;
  readonly images?: readonly ImageRule[] | undefined;
  /** In place of what the file has, unless empty. */
  readonly buildMetadata?: readonly string[] | undefined;
}

export interface RenderedObject {
  readonly object: JsonMap;
  readonly origin: Origin;
}

/**
 * Builds kustomizations as `kustomize build` (5.6) does; parsed files are cached by their ids. Known differences:
 *
 * - An object without an apiVersion, and a whole number that JavaScript cannot hold, are refused with their place,
 * since nothing could apply them unchanged.
 * - Texts that YAML 1.2 allows and kustomize's parser does not (directives, `--- {}`, keys of generated data that look
 * like numbers) are read.
 * - Dates with a time within braces become times like others.
 * - The text of an annotation that looks like a number survives a JSON patch. A number that a replacement created stays
 * one when a patch follows, where kustomize makes it a string.
 * - The `openapi` file of a base counts for it and for its users, not for the bases behind it.
 * - A field spec `metadata/annotations` without `create` does not find kustomize's own notes during a build.
 *
 * For charts see decisions/0011, for other repositories decisions/0013.
 */
export interface Renderer {
  /** Objects in the order in which kustomize writes them; each is a copy of its own. @throws KustomizeError */
  render(options: RenderOptions): Promise<readonly RenderedObject[]>;
}

/** Names of a kustomization file; a directory has one of them. */
export const kustomizationFiles = ['kustomization.yaml', 'kustomization.yml', 'Kustomization'];

const limits = { maxBytes: 10 * 1024 * 1024, maxDepth: 100, maxAliases: 1_000, maxDocuments: 10_000 };
/** Kustomizations within kustomizations. */
const maxDepth = 64;
const maxObjects = 100_000;
/** Reads of one kustomization under way at the same time. */
const concurrency = 16;
/** Size of the cached files' text; the least recently used go first. */
const maxCachedCharacters = 64 * 1024 * 1024;
/** Charts of one build, each of which is a run of helm, and bytes of the additional values files of one chart. */
const maxCharts = 250;
const maxAdditionalBytes = 32 * 1024 * 1024;
/** Kustomizations that one build reads: two that each list two, and so on, would soon be more than there is time for. */
const maxKustomizations = 10_000;
/** Longest stretch of steps in one turn of the event loop, unless one step takes longer. */
const sliceMs = 10;

/** Objects of a file with the lines they start on. Frozen by agreement: each use makes copies. */
type ParsedFile = readonly { readonly value: JsonMap; readonly line: number }[];

/** Parsed files by content id. */
class ParsedFiles {
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

/** @param allowance  units of work that one build may take, see `work.ts` */
export function createRenderer(allowance = allowanceOfBuild): Renderer {
  const parsed = new ParsedFiles();
  return {
    async render(options) {
      const build = new Build(options, parsed, allowance);
      try {
        return await build.run();
      } catch (err) {
        if (err instanceof TooMuchWork) throw new KustomizeError({ file: options.path || '.', ...tooMuchWork(err) });
        throw err;
      }
    },
  };
}

/** Objects and variables of one kustomization and all below it. */
interface Accumulator {
  resources: Resource[];
  /** Undefined until a kustomization has said which there are. */
  fields: FieldConfig | undefined;
  /** Schemas of strategic merges; those of one kustomization count for all. */
  schemas: MergeSchemas | undefined;
  readonly variables: Map<string, Kustomization['vars'][number]>;
}

type PlaceOf = (field: string) => { readonly line?: number; readonly column?: number };

interface LoadedKustomization {
  readonly directory: string;
  readonly file: string;
  readonly blob: string;
  /** Line and column of a field; nothing where the file does not have it. */
  readonly placeOf: PlaceOf;
  readonly spec: Kustomization;
}

class Build {
  readonly #options: RenderOptions;
  readonly #tree: MountedTree;
  readonly #parsed: ParsedFiles;
  #objects = 0;
  #kustomizations = 0;
  #charts = 0;
  /** Objects carry annotations about their origin while they are built, which decides what finds annotations to change. */
  #notesOrigin = false;
  readonly #allowance: Allowance;
  #pausedAt = performance.now();
  readonly #loaded = new Map<string, Promise<LoadedKustomization>>();

  constructor(options: RenderOptions, parsed: ParsedFiles, allowance: number) {
    this.#allowance = { left: allowance };
    this.#options = options;
    this.#tree = new MountedTree(options.tree);
    this.#parsed = parsed;
  }

  async run(): Promise<readonly RenderedObject[]> {
    const top = await this.#loadTop();
    const accumulated = newAccumulator();
    this.#notesOrigin = top.spec.buildMetadata.length > 0;
    await this.#accumulate(top, accumulated, [top.directory]);
    // Last, and for all at once: names are final only now.
    const { fields = builtInFields } = accumulated;
    let { resources } = accumulated;
    addHashes(resources);
    await this.#pause();
    atCostOf(this.#allowance, () =>
      fixReferences(resources, fields.nameReference, (resource, err) => {
        throw new KustomizeError({
          file: resource.origin.file,
          line: resource.origin.line,
          message: `${describeId(currentId(resource))}: ${err.message}`,
        });
      }),
    );
    this.#at(top, 'vars', () => resolveVariables(resources, accumulated.variables, fields.varReference));
    checkIds(resources);
    resources = resources.filter(isNotLocal);
    const sorted = sortResources(resources, top.spec.sortOptions);
    for (const resource of sorted) {
      const notes = this.#notesOf(resource, top.spec.buildMetadata);
      finishAnnotations(resource);
      for (const [key, text] of notes) addNote(resource, key, text);
      if (top.spec.buildMetadata.includes('managedByLabel')) setOwnLabel(resource, 'app.kubernetes.io/managed-by', 'kustomize-v5.6.0');
    }
    return sorted.map(({ object, origin }) => ({ object, origin }));
  }

  async #loadTop(): Promise<LoadedKustomization> {
    const { path, overlay, resources } = this.#options;
    const loaded =
      resources === undefined
        ? await this.#load(path, undefined)
        : {
            directory: path,
            file: path || '.',
            blob: '',
            placeOf: nowhere,
            spec: { ...parseKustomization({ resources: ['.'] }), resources },
          };
    return overlay === undefined ? loaded : { ...loaded, spec: withOverlay(loaded.spec, overlay) };
  }

  /** A base that many list is read once, and counted each time. */
  async #load(directory: string, from: Reference | undefined): Promise<LoadedKustomization> {
    this.#options.signal?.throwIfAborted();
    this.#kustomizations += 1;
    if (this.#kustomizations > maxKustomizations) {
      throw problemAt(from, { message: `the build reads more than ${maxKustomizations} kustomizations`, hint: 'List each base once.' });
    }
    let loading = this.#loaded.get(directory);
    if (loading === undefined) {
      loading = this.#read(directory, from);
      this.#loaded.set(directory, loading);
    }
    return loading;
  }

  async #read(directory: string, from: Reference | undefined): Promise<LoadedKustomization> {
    const found: { readonly file: string; readonly node: FileNode }[] = [];
    for (const name of kustomizationFiles) {
      const file = directory === '' ? name : `${directory}/${name}`;
      const node = await this.#tree.find(file);
      if (node?.type === 'symlink') throw new KustomizeError({ file, ...symlinkProblem });
      if (node?.type === 'file') found.push({ file, node });
    }
    const [only, second] = found;
    if (only === undefined) {
      throw problemAt(from, {
        message: `unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '${directory || '.'}'`,
        hint: 'Add a kustomization.yaml there, or name the files themselves.',
      });
    }
    if (second !== undefined) {
      throw new KustomizeError({ file: second.file, message: `Found multiple kustomization files under: ${directory || '.'}` });
    }
    const text = decode(await only.node.read(), only.file);
    const { file, node } = only;
    // As for kustomize, the last value of a duplicate field counts.
    const [document] = parse(text, file, { onDuplicateKey: () => undefined });
    const placeOf = document === undefined ? nowhere : placesIn(text, document.line);
    try {
      const spec = parseKustomization(document?.value ?? {});
      return { directory, file, blob: node.id, placeOf, spec };
    } catch (err) {
      if (!(err instanceof FieldProblem)) throw err;
      throw new KustomizeError({ file, ...placeOf(err.field), message: err.message, hint: err.hint });
    }
  }

  /** Adds what a kustomization says to `into`; a component works on what its parent has collected so far. */
  async #accumulate(loaded: LoadedKustomization, into: Accumulator, above: readonly string[]): Promise<void> {
    this.#options.signal?.throwIfAborted();
    if (above.length > maxDepth)
      throw new KustomizeError({ file: loaded.file, message: `kustomizations are nested more than ${maxDepth} deep` });
    const { spec } = loaded;
    if (into.schemas === undefined && spec.openapi !== '') {
      const from = { loaded, field: 'openapi.path' };
      const { document } = await this.#readDocument(spec.openapi, from);
      into.schemas = this.#at(loaded, from.field, () => mergeSchemasIn(document));
    }
    await this.#addResources(loaded, into, above);
    await this.#addFields(loaded, into);
    await this.#addGenerated(loaded, into, above);
    for (const [index, path] of spec.components.entries()) {
      const from: Reference = { loaded, field: `components[${index}]` };
      const whole = await this.#locate(path, from);
      const directory = this.#directoryAt(whole, path, { from, above });
      const node = await this.#tree.find(directory);
      if (node?.type !== 'directory') {
        if (this.#options.overlay?.ignoreMissingComponents === true && above.length === 1) continue;
        throw problemAt(from, {
          message: `component '${path}' is not a directory`,
          hint: 'Components are directories with a kustomization file.',
        });
      }
      const component = await this.#load(directory, from);
      if (!component.spec.isComponent) {
        throw problemAt(from, { message: `expected kind 'Component' for path '${path}' but got 'Kustomization'` });
      }
      await this.#accumulate(component, into, [...above, directory]);
    }
    await this.#transform(loaded, into, above);
    this.#at(loaded, 'vars', () => {
      for (const rule of spec.vars) assignVariable(into.resources, rule);
      addVariables(into.variables, spec.vars);
    });
  }

  async #addResources(loaded: LoadedKustomization, into: Accumulator, above: readonly string[]): Promise<void> {
    const parts = await mapBounded([...loaded.spec.resources.entries()], concurrency, ([index, path]) =>
      this.#readResource(path, { loaded, field: `resources[${index}]` }, above, into.schemas),
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
      this.#at(loaded, 'vars', () => addVariables(into.variables, part.variables.values()));
      this.#at(loaded, `resources[${index}]`, () => {
        if (part.fields !== undefined) into.fields = mergeFields(into.fields, part.fields);
      });
      into.schemas ??= part.schemas;
    }
    if (into.resources.length > maxObjects)
      throw new KustomizeError({ file: loaded.file, message: `builds more than ${maxObjects} objects` });
  }

  /** Fields that the kustomization's files name; they count for it and for all that list it. */
  async #addFields(loaded: LoadedKustomization, into: Accumulator): Promise<void> {
    const read = async (
      kind: 'configurations' | 'crds',
      before: FieldConfig | undefined,
      parseFields: (value: unknown) => FieldConfig,
    ): Promise<FieldConfig | undefined> => {
      let fields = before;
      for (const [index, path] of loaded.spec[kind].entries()) {
        const from = { loaded, field: `${kind}[${index}]` };
        const { document, file, placeOf } = await this.#readDocument(path, from);
        this.#at(loaded, from.field, () => {
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
    this.#at(loaded, 'configurations', () => {
      into.fields = mergeFields(into.fields, mergeFields(own, builtInFields));
    });
    into.fields = await read('crds', into.fields, fieldsOfDefinitions);
  }

  /** The first document of a file, YAML or JSON. */
  async #readDocument(
    path: string,
    from: Reference,
  ): Promise<{ readonly document: unknown; readonly file: string; readonly placeOf: PlaceOf }> {
    const { file, node } = await this.#readFile(path, from);
    const text = decode(await node.read(), file);
    const [document] = parse(text, file, {});
    return { document: document?.value, file, placeOf: document === undefined ? nowhere : placesIn(text, document.line) };
  }

  async #readResource(path: string, from: Reference, above: readonly string[], schemas: MergeSchemas | undefined): Promise<Accumulator> {
    const whole = await this.#locate(path, from);
    const node = whole === undefined ? undefined : await this.#tree.find(whole);
    const accumulated = newAccumulator(schemas);
    if (node?.type === 'file' && !isRemote(path)) {
      const file = this.#fileOf(path, from);
      for (const { value, line } of await this.#parseObjects(node, file)) {
        this.#countObject(from);
        accumulated.resources.push(
          this.#newObject(
            this.#at(from.loaded, from.field, () => cloneJson(value)),
            { file, line, blob: node.id },
          ),
        );
      }
      return accumulated;
    }
    const directory = this.#directoryAt(whole, path, { from, above });
    if (node?.type !== 'directory') {
      const [message, hint] =
        node === undefined
          ? ["doesn't exist", 'Commit the file, or take it out of the list.']
          : node.type === 'file'
            ? ['is a file', 'Only directories are taken from other repositories; copy the file into this one.']
            : [symlinkProblem.message, symlinkProblem.hint];
      throw problemAt(from, { message: `'${path}' ${message}`, hint });
    }
    const base = await this.#load(directory, from);
    if (base.spec.isComponent)
      throw problemAt(from, { message: `expected kind != 'Component' for path '${path}'`, hint: 'List it under components.' });
    await this.#accumulate(base, accumulated, [...above, directory]);
    return accumulated;
  }

  /** Path of a resource or component in the tree; undefined when it leads out of it. */
  async #locate(path: string, from: Reference): Promise<string | undefined> {
    return isRemote(path) ? this.#mount(path, from) : joinWithin(from.loaded.directory, path);
  }

  /** Fetches the repository of a base. Returns the path of the base in the tree. */
  async #mount(path: string, from: Reference): Promise<string> {
    const { remoteBases, signal } = this.#options;
    if (remoteBases === undefined) refuseRemote(path, from);
    try {
      const address = parseRemoteAddress(path);
      const base = joinPath('', address.path);
      if (base === undefined) throw new RemoteBaseError(`'${path}' leads out of its repository`, { hint: 'Name a directory in it.' });
      return this.#tree.mount({ ...address, path: base }, await remoteBases.open(address, { signal }));
    } catch (err) {
      if (!(err instanceof RemoteBaseError)) throw err;
      signal?.throwIfAborted();
      throw problemAt(from, { message: err.message, hint: err.hint, temporary: err.temporary });
    }
  }

  /** The directory a reference names; one that holds what refers to it would never end. */
  #directoryAt(
    directory: string | undefined,
    path: string,
    { from, above }: { readonly from: Reference; readonly above: readonly string[] },
  ): string {
    if (directory === undefined || (path.startsWith('/') && !isRemote(path)))
      throw problemAt(from, { message: `'${path}' leads out of the repository`, hint: 'Only files of the repository are read.' });
    const visited = above.find((other) => isWithin(other, directory));
    if (visited !== undefined) {
      throw problemAt(from, { message: `cycle detected: candidate root '${directory || '.'}' contains visited root '${visited || '.'}'` });
    }
    return directory;
  }

  /** A file must lie beside or below the kustomization that names it, or, where that is allowed, anywhere in the repository. */
  #fileOf(path: string, { loaded, field }: Reference): string {
    const file = path.startsWith('/') ? undefined : joinWithin(loaded.directory, path);
    const isRestricted = this.#options.loadRestrictor !== 'LoadRestrictionsNone';
    if (file !== undefined && (!isRestricted || isWithin(file, loaded.directory))) return file;
    throw problemAt(
      { loaded, field },
      isRestricted
        ? {
            message: `security; file '${path}' is not in or below '${loaded.directory || '.'}'`,
            hint: 'Move it there, or make a kustomization of its directory and list that under resources.',
          }
        : { message: `'${path}' leads out of the repository`, hint: 'Only files of the repository are read.' },
    );
  }

  async #readFile(path: string, from: Reference): Promise<{ readonly file: string; readonly node: FileNode }> {
    if (isRemote(path)) refuseRemote(path, from);
    const file = this.#fileOf(path, from);
    const node = await this.#tree.find(file);
    if (node?.type === 'file') return { file, node };
    throw problemAt(from, {
      message: `'${path}' ${node === undefined ? "doesn't exist" : node.type === 'symlink' ? symlinkProblem.message : 'is a directory'}`,
    });
  }

  async #parseObjects(node: FileNode, file: string): Promise<ParsedFile> {
    const known = this.#parsed.get(node.id);
    if (known !== undefined) return known;
    const text = decode(await node.read(), file);
    const objects = objectsIn(text, file);
    this.#parsed.set(node.id, objects, text.length);
    return objects;
  }

  async #addGenerated(loaded: LoadedKustomization, into: Accumulator, above: readonly string[]): Promise<void> {
    const originOf = (field: string, kind: string): Origin => {
      const { line = 1 } = loaded.placeOf(field);
      const { file, blob } = loaded;
      return { file, line, blob, generator: { file, kind, name: '', namespace: '' } };
    };
    const generate = async (kind: GeneratedKind, list: string, rules: readonly GeneratorRule[]): Promise<void> => {
      for (const [index, rule] of rules.entries()) {
        const field = `${list}[${index}]`;
        await this.#generate({ kind, rule, into, from: { loaded, field }, origin: originOf(field, `${kind}Generator`) });
      }
    };
    await generate('ConfigMap', 'configMapGenerator', loaded.spec.configMapGenerator);
    await generate('Secret', 'secretGenerator', loaded.spec.secretGenerator);
    const { chartHome } = loaded.spec;
    for (const rule of loaded.spec.helmCharts) {
      const origin = originOf(rule.field, 'HelmChartInflationGenerator');
      await this.#addChart({ rule, chartHome, into, from: { loaded, field: rule.field }, origin });
    }
    for (const { config, from, by } of await this.#plugins('generators', loaded, above)) {
      const generator = this.#at(from.loaded, from.field, () => parseGenerator(config.object));
      const origin = { ...config.origin, generator: by };
      if (generator.kind === 'chart') await this.#addChart({ ...generator, into, from, origin });
      else if (generator.kind !== 'object') await this.#generate({ ...generator, into, from, origin });
      else this.#at(from.loaded, from.field, () => absorb(into.resources, this.#newObject(generator.object, origin)));
    }
  }

  async #generate({
    kind,
    rule,
    into,
    from,
    origin,
  }: Generation & { readonly kind: GeneratedKind; readonly rule: GeneratorRule }): Promise<void> {
    const load = async (path: string): Promise<Uint8Array> => {
      const bytes = await (await this.#readFile(path, from)).node.read();
      this.#at(from.loaded, from.field, () => spendText(bytes.byteLength));
      return bytes;
    };
    try {
      const object = await generateObject(kind, rule, load);
      await this.#pause();
      const resource = this.#newObject(object, origin);
      resource.needsHash = !rule.options.disableNameSuffixHash;
      resource.behavior = rule.behavior;
      this.#at(from.loaded, from.field, () => absorb(into.resources, resource));
    } catch (err) {
      if (!(err instanceof GeneratorError)) throw err;
      throw problemAt(from, { message: err.message });
    }
  }

  /** Behind the generated objects, which no chart can merge into or replace. */
  async #addChart({
    rule,
    chartHome,
    into,
    from,
    origin,
  }: Generation & { readonly rule: HelmChartRule; readonly chartHome: string }): Promise<void> {
    const seen = new Set(into.resources.flatMap((resource) => [currentId(resource), ...previousIds(resource)]).map(idKey));
    for (const { value } of objectsOfChart(await this.#inflate(rule, chartHome, from), from)) {
      this.#countObject(from);
      const resource = this.#newObject(value, origin);
      const id = currentId(resource);
      if (seen.has(idKey(id))) {
        throw problemAt(from, {
          message: `id ${describeId(id)} exists; behavior must be merge or replace`,
          hint: 'Give each chart a releaseName of its own, or take the other object out.',
        });
      }
      seen.add(idKey(id));
      into.resources.push(resource);
    }
  }

  /** Generators or transformers that are objects of their own: those in the kustomization first, then those of files and directories. */
  async #plugins(kind: 'generators' | 'transformers', loaded: LoadedKustomization, above: readonly string[]): Promise<readonly Plugin[]> {
    const configs: Resource[] = [];
    const paths: { readonly path: string; readonly from: Reference }[] = [];
    for (const [index, text] of loaded.spec[kind].entries()) {
      const from = { loaded, field: `${kind}[${index}]` };
      const objects = inlineObjects(text, from);
      if (objects === undefined) paths.push({ path: text, from });
      const { line = 1 } = loaded.placeOf(from.field);
      for (const { value } of objects ?? []) configs.push(newResource(value, { file: loaded.file, line, blob: loaded.blob }));
    }
    const parts = await mapBounded(paths, concurrency, ({ path, from }) => this.#readResource(path, from, above, undefined));
    configs.push(...parts.flatMap(({ resources }) => resources));
    const seen = new Set<string>();
    return configs.map((config) => {
      const { origin } = config;
      const id = currentId(config);
      const place = { directory: loaded.directory, file: origin.file, placeOf: () => ({ line: origin.line }) };
      const from: Reference = { loaded: place, field: `${id.kind} ${id.name}` };
      if (seen.has(idKey(id))) throw problemAt(from, { message: 'is there twice', hint: 'Give each one a name of its own.' });
      seen.add(idKey(id));
      this.#at(place, from.field, () => checkBuiltIn(config));
      return { config, from, by: { file: origin.file, kind: id.kind, name: id.name, namespace: id.namespace } };
    });
  }

  /** Output of helm for a chart of the tree, or for one that it fetches. */
  async #inflate(rule: HelmChartRule, chartHome: string, from: Reference): Promise<string> {
    const { helm, signal } = this.#options;
    if (helm === undefined) {
      throw problemAt(from, {
        message: 'must specify --enable-helm',
        hint: 'Charts are programs and are run only where that is switched on; or commit what helm template prints.',
      });
    }
    const read = async (path: string): Promise<Uint8Array> => (await this.#readFile(path, from)).node.read();
    this.#charts += 1;
    if (this.#charts > maxCharts) {
      throw problemAt(from, { message: `the build has more than ${maxCharts} charts`, hint: 'Split it into several apps.' });
    }
    const additional: Uint8Array[] = [];
    let additionalBytes = 0;
    for (const path of rule.additionalValuesFiles) {
      const content = await read(path);
      additionalBytes += content.length;
      if (additionalBytes > maxAdditionalBytes) {
        throw problemAt(from, { message: `additionalValuesFiles are larger than ${maxAdditionalBytes} bytes together` });
      }
      additional.push(content);
    }
    const path = `${chartHome}/${chartPathOf(rule)}`;
    const directory = await this.#findChart(path, rule, from);
    const needsFile = needsValuesFile(rule);
    // A chart may lie above the kustomization; its values are a file like others and may not.
    if (needsFile && rule.valuesFile === '' && directory !== undefined) this.#fileOf(`${path}/values.yaml`, from);
    const given = needsFile && rule.valuesFile !== '' ? await read(rule.valuesFile) : undefined;
    try {
      return await helm.template({
        chart:
          directory === undefined
            ? { repository: rule.repo, name: rule.name, version: rule.version }
            : { files: await readChart(directory) },
        values(own) {
          const file = given ?? own;
          if (needsFile && file === undefined) {
            throw new ChartError(`'${path}/values.yaml' doesn't exist`, 'Add it to the chart, if only with {}, or name a valuesFile.');
          }
          return [chartValues(rule, file), ...additional];
        },
        flags: templateFlagsOf(rule),
        releaseName: rule.releaseName,
        signal,
      });
    } catch (err) {
      if (err instanceof HelmError) throw problemAt(from, { message: err.message, hint: err.hint, temporary: err.temporary });
      if (err instanceof ChartError) throw problemAt(from, { message: err.message, hint: err.hint });
      throw err;
    }
  }

  /** The chart's directory; undefined when it is to be fetched. */
  async #findChart(path: string, { repo }: HelmChartRule, from: Reference): Promise<DirectoryNode | undefined> {
    const whole = path.startsWith('/') ? undefined : joinWithin(from.loaded.directory, path);
    if (whole === undefined) {
      throw problemAt(from, { message: `'${path}' leads out of the repository`, hint: 'Only files of the repository are read.' });
    }
    const node = await this.#tree.find(whole);
    if (node?.type === 'directory') return node;
    if (node?.type === 'symlink') throw problemAt(from, { message: `'${path}' ${symlinkProblem.message}`, hint: symlinkProblem.hint });
    if (repo !== '') return undefined;
    throw problemAt(from, {
      message: `no repo specified for pull, no chart found at '${path}'`,
      hint: 'Commit the chart there (helm pull --untar), or name its repo and version.',
    });
  }

  /** Runs a step and says of what goes wrong in which field it was asked for. */
  #at<T>(loaded: Reference['loaded'], field: string, step: () => T): T {
    try {
      return atCostOf(this.#allowance, step);
    } catch (err) {
      if (err instanceof TooMuchWork) throw problemAt({ loaded, field }, tooMuchWork(err));
      if (expected.some((type) => err instanceof type) || isStatusError(err)) {
        throw problemAt({ loaded, field }, { message: err instanceof Error ? err.message : String(err) });
      }
      throw err;
    }
  }

  /** Lets others have their turn after a while, and ends a build that nobody waits for any more. */
  async #pause(): Promise<void> {
    if (performance.now() - this.#pausedAt < sliceMs) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#pausedAt = performance.now();
    this.#options.signal?.throwIfAborted();
  }

  #newObject(object: JsonMap, origin: Origin): Resource {
    const resource = newResource(object, origin);
    if (this.#notesOrigin) addNote(resource, originNote, '');
    return resource;
  }

  #countObject(from: Reference): void {
    this.#objects += 1;
    if (this.#objects > maxObjects * 4) throw problemAt(from, { message: `builds more than ${maxObjects} objects` });
  }

  /** Runs those of the fields, then those that are objects of their own. */
  async #transform(loaded: LoadedKustomization, into: Accumulator, above: readonly string[]): Promise<void> {
    const { file, spec } = loaded;
    for (const { field, transformer } of transformersOf(spec, into.fields ?? builtInFields)) {
      await this.#run(transformer, into, { loaded, field });
      this.#note(into, { file, kind: transformer.kind, name: '', namespace: '' });
    }
    for (const { config, from, by } of await this.#plugins('transformers', loaded, above)) {
      await this.#run(
        this.#at(from.loaded, from.field, () => parseTransformer(config.object)),
        into,
        from,
      );
      this.#note(into, by);
    }
  }

  #note({ resources }: Accumulator, by: Configured): void {
    if (!this.#notesOrigin) return;
    atCostOf(this.#allowance, () => spend(resources.length));
    for (const resource of resources) {
      // A patch may take the notes away with all annotations. kustomize then takes the transformer for what made the object.
      if (!hasNote(resource, originNote)) {
        resource.origin = { ...resource.origin, generator: by };
        addNote(resource, originNote, '');
        continue;
      }
      resource.transformations = hasNote(resource, transformationsNote) ? [...resource.transformations, by] : [by];
      addNote(resource, transformationsNote, '');
    }
  }

  async #run(transformer: Transformer, into: Accumulator, from: Reference): Promise<void> {
    const { resources, schemas } = into;
    const { loaded, field } = from;
    const plain = { target: undefined, allowNameChange: false, allowKindChange: false, remembersNames: true, schemas };
    switch (transformer.kind) {
      case 'PatchStrategicMergeTransformer': {
        const { paths, patches, below } = transformer;
        const entries = paths.map((text, index) => ({ text, field: `${field}${below}[${index}]` }));
        for (const { text, field: own } of patches === '' ? entries : [...entries, { text: `\n${patches}`, field: `${field}.patches` }]) {
          const place = { loaded, field: own };
          const patch = await this.#readPatch(await this.#inlineOrFile(text, place), place, true);
          await this.#pause();
          this.#at(loaded, own, () => applyPatch(resources, patch, plain));
        }
        return;
      }
      case 'PatchTransformer':
      case 'PatchJson6902Transformer': {
        const { kind, rule } = transformer;
        const patch = await this.#readPatch(rule, from, rule.target !== undefined);
        await this.#pause();
        return this.#at(loaded, field, () =>
          applyPatch(resources, patch, { ...rule, remembersNames: kind === 'PatchTransformer', schemas }),
        );
      }
      case 'ReplacementTransformer': {
        for (const [index, rule] of transformer.replacements.entries()) {
          const own = `${field}${transformer.below}[${index}]`;
          const rules = 'path' in rule ? await this.#readReplacements(rule.path, { loaded, field: own }) : [rule];
          for (const replacement of rules) {
            await this.#pause();
            this.#at(loaded, own, () => applyReplacement(resources, replacement));
          }
        }
        return;
      }
      case 'ValueAddTransformer': {
        const { targetFilePath, value, targets } = transformer;
        const more = targetFilePath === '' ? [] : await this.#readValueTargets(targetFilePath, from);
        if (targets.length + more.length === 0) throw problemAt(from, { message: 'must specify at least one target' });
        for (const target of [...targets, ...more]) {
          await this.#pause();
          this.#at(loaded, field, () => addValue(resources, value || (loaded.directory.split('/').at(-1) ?? ''), target));
        }
        return;
      }
      default:
        await this.#pause();
        return this.#at(loaded, field, () => transformer.transform(resources));
    }
  }

  async #readValueTargets(path: string, from: Reference): Promise<ReturnType<typeof parseValueTargets>> {
    const { document, file } = await this.#readDocument(path, from);
    return this.#at({ ...from.loaded, file }, from.field, () => parseValueTargets(document));
  }

  /** An entry of `patchesStrategicMerge` is a patch or the name of a file with one. */
  async #inlineOrFile(text: string, from: Reference): Promise<{ readonly patch: string; readonly path: string }> {
    const file = text.includes('\n') ? undefined : joinWithin(from.loaded.directory, text);
    const node = file === undefined ? undefined : await this.#tree.find(file);
    return node === undefined && (text.includes('\n') || text.includes(':')) ? { patch: text, path: '' } : { patch: '', path: text };
  }

  async #readPatch(
    { patch, path, target }: { readonly patch: string; readonly path: string; readonly target?: PatchRule['target'] },
    from: Reference,
    isCopied: boolean,
  ): Promise<ParsedPatch> {
    let text = patch;
    let file = from.loaded.file;
    if (path !== '') {
      const found = await this.#readFile(path, from);
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

  async #readReplacements(path: string, from: Reference): Promise<ReturnType<typeof parseReplacements>> {
    // More documents than the first are not read.
    const { document, file, placeOf } = await this.#readDocument(path, from);
    try {
      return parseReplacements(document);
    } catch (err) {
      if (!(err instanceof FieldProblem)) throw err;
      throw new KustomizeError({ file, ...placeOf(err.field), message: err.message, hint: err.hint });
    }
  }

  /** Annotations about where an object comes from and what was done to it, as far as the kustomization wants them. */
  #notesOf(resource: Resource, wanted: readonly string[]): readonly (readonly [key: string, text: string])[] {
    if (!this.#notesOrigin) return [];
    const placeOf = (file: string): ConfiguredPlace => {
      const remote = this.#tree.origin(file);
      return { file: remote === undefined ? relativePath(this.#options.path, file) : remote.path, remote };
    };
    const notes: [string, string][] = [];
    if (wanted.includes('originAnnotations') && hasNote(resource, originNote))
      notes.push([originNote, originText(resource.origin, placeOf)]);
    if (wanted.includes('transformerAnnotations') && hasNote(resource, transformationsNote)) {
      const items = resource.transformations.map((by) => configuredText(by, placeOf(by.file)).trimEnd().replaceAll('\n', '\n  '));
      notes.push([transformationsNote, items.map((item) => `- ${item}\n`).join('')]);
    }
    return notes;
  }
}

const newAccumulator = (schemas?: MergeSchemas): Accumulator => ({ resources: [], fields: undefined, schemas, variables: new Map() });

const symlinkProblem = { message: 'is a symbolic link, which is not followed', hint: 'Put the file itself here.' };

/** A field of a kustomization that refers to something. */
interface Reference {
  readonly loaded: Pick<LoadedKustomization, 'directory' | 'file' | 'placeOf'>;
  readonly field: string;
}

function problemAt(
  from: Reference | undefined,
  { message, ...more }: Pick<KustomizeProblem, 'message' | 'hint' | 'temporary'>,
): KustomizeError {
  if (from === undefined) return new KustomizeError({ file: '.', message, ...more });
  const { loaded, field } = from;
  return new KustomizeError({ file: loaded.file, ...loaded.placeOf(field), message: `${field}: ${message}`, ...more });
}

/** The target of a generator, and the place that asks for it. */
interface Generation {
  readonly into: Accumulator;
  readonly from: Reference;
  readonly origin: Origin;
}

/** A generator or transformer that is an object of its own. */
interface Plugin {
  readonly config: Resource;
  readonly from: Reference;
  readonly by: Configured;
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

const nowhere: PlaceOf = () => ({});

/** The file is read for it when the first place is asked for, and once. */
function placesIn(text: string, line: number): PlaceOf {
  let locateField: PlaceOf | undefined;
  return (field) => {
    locateField ??= createLocators(text)(line);
    return locateField(field);
  };
}

const expected = [FieldError, FieldProblem, GeneratorError, PatchError, ReplacementError, SelectorError, TransformError, VariableError];

const tooMuchWork = ({ message }: TooMuchWork) => ({ message, hint: 'Split it into several apps, or into smaller lists and files.' });

function refuseRemote(path: string, from: Reference): never {
  throw problemAt(from, {
    message: `not supported: remote resource ${path.replace(/\/\/[^/@]*@/, '//')}`,
    hint: 'Copy it into the repository, follow that repository with an app of its own, or allow bases of it with --remote-base.',
  });
}

/** A path that begins in one repository and leads into another leads out of the first. */
function joinWithin(directory: string, path: string): string | undefined {
  const whole = joinPath(directory, path);
  return whole === undefined || mountOf(whole) !== mountOf(directory) ? undefined : whole;
}

function withOverlay(spec: Kustomization, overlay: Overlay): Kustomization {
  const images = new Map(spec.images.map((rule) => [rule.name, rule]));
  for (const rule of overlay.images ?? []) images.set(rule.name, rule);
  return {
    ...spec,
    namespace: overlay.namespace || spec.namespace,
    namePrefix: overlay.namePrefix || spec.namePrefix,
    nameSuffix: overlay.nameSuffix || spec.nameSuffix,
    components: [...spec.components, ...(overlay.components ?? [])],
    patches: [...spec.patches, ...(overlay.patches ?? [])],
    images: [...images.values()],
    buildMetadata: overlay.buildMetadata?.length ? overlay.buildMetadata : spec.buildMetadata,
  };
}

function decode(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new KustomizeError({ file, message: 'is not UTF-8 text', hint: 'Save the file as UTF-8.' });
  }
}

/** The types of scalars as kustomize reads them: annotations are always texts, `version: 1.10` is `1.10`. */
const objectReading = {
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

function parse(text: string, file: string, more: Partial<YamlLimits>): readonly { readonly value: unknown; readonly line: number }[] {
  try {
    return parseYamlDocuments(text, { ...limits, ...more });
  } catch (err) {
    if (!(err instanceof YamlError)) throw err;
    const conflict = conflictLineOf(text);
    if (conflict !== undefined) throw new KustomizeError({ file, line: conflict, ...conflictProblem });
    throw new KustomizeError({ file, line: err.line, column: err.column, message: err.reason });
  }
}

function objectsIn(text: string, file: string): ParsedFile {
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

/** Lines of what helm prints are no lines of a file. */
function objectsOfChart(text: string, from: Reference): ParsedFile {
  try {
    return objectsIn(text, from.loaded.file);
  } catch (err) {
    if (!(err instanceof KustomizeError)) throw err;
    throw problemAt(from, { message: `line ${err.line} of what helm prints: ${err.message}`, hint: 'Correct the chart or its values.' });
  }
}

/** Annotations are strings in the end, however they came about, and an empty map of them goes. */
function finishAnnotations({ object }: Resource): void {
  if (!isMap(object.metadata)) return;
  const { annotations } = object.metadata;
  if (isMap(annotations)) {
    for (const key of internalAnnotations) delete annotations[key];
    for (const [key, value] of Object.entries(annotations)) {
      if (typeof value === 'object') setOwn(annotations, key, value === null ? 'null' : '');
      else if (typeof value !== 'string') setOwn(annotations, key, String(value));
    }
  }
  if (annotations === null || (isMap(annotations) && Object.keys(annotations).length === 0)) delete object.metadata.annotations;
}

/** Annotations that kustomize and similar programs set on objects for themselves, and remove in the end. */
const internalAnnotations = [
  'config.k8s.io/id',
  'alpha.config.kubernetes.io/transformations',
  ...['path', 'index', 'origin'].map((name) => `config.kubernetes.io/${name}`),
  ...['path', 'index', 'id', 'seqindent', 'annotations-migration-resource-id'].map((name) => `internal.config.kubernetes.io/${name}`),
  ...['previousKinds', 'previousNames', 'previousNamespaces', 'prefixes', 'suffixes'].map(
    (name) => `internal.config.kubernetes.io/${name}`,
  ),
  ...['refBy', 'generatorBehavior', 'needsHashSuffix', 'allowNameChange', 'allowKindChange'].map(
    (name) => `internal.config.kubernetes.io/${name}`,
  ),
];

/** The items of kinds that are lists, and all else as it is. */
function expandLists(value: unknown): readonly JsonMap[] {
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

/** Patches and replacements may take names away, or make two objects one. */
function checkIds(resources: readonly Resource[]): void {
  const seen = new Map<string, Resource>();
  for (const resource of resources) {
    const { object, origin } = resource;
    const id = currentId(resource);
    const twin = seen.get(idKey(id));
    const problem =
      twin === undefined
        ? problemOfNamed(object)
        : `may not add resource with an already registered id: ${describeId(id)} (${placeText(twin.origin)} and ${placeText(origin)})`;
    if (problem !== undefined) throw new KustomizeError({ file: origin.file, line: origin.line, message: `built from this: ${problem}` });
    seen.set(idKey(id), resource);
  }
}

/** Patches need not name a version. */
function problemOfNamed(value: unknown): string | undefined {
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

/** True when a text is a list: operations are read as the API server reads YAML, and objects as kustomize does. */
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

/** Objects that are only there for other tools. */
function isNotLocal({ object }: Resource): boolean {
  const annotations = isMap(object.metadata) && isMap(object.metadata.annotations) ? object.metadata.annotations : {};
  const local = annotations['config.kubernetes.io/local-config'];
  return local === undefined || local === 'false';
}

interface ConfiguredPlace {
  readonly file: string;
  readonly remote: RemoteAddress | undefined;
}

const originNote = 'config.kubernetes.io/origin';
const transformationsNote = 'alpha.config.kubernetes.io/transformations';

function addNote(resource: Resource, key: string, text: string): void {
  const metadata = metadataOf(resource);
  metadata.annotations = { ...(isMap(metadata.annotations) ? metadata.annotations : {}), [key]: text };
}

function hasNote(resource: Resource, key: string): boolean {
  const { annotations } = metadataOf(resource);
  return isMap(annotations) && Object.hasOwn(annotations, key);
}

const remoteText = (remote: RemoteAddress | undefined): string =>
  remote === undefined ? '' : `repo: ${remote.repository}\nref: ${remote.ref}\n`;

function originText({ file, generator }: Origin, placeOf: (file: string) => ConfiguredPlace): string {
  if (generator !== undefined) return configuredText(generator, placeOf(generator.file));
  const place = placeOf(file);
  return `path: ${place.file}\n${remoteText(place.remote)}`;
}

function configuredText({ kind, name, namespace }: Configured, { file, remote }: ConfiguredPlace): string {
  const more = [
    ['name', name],
    ['namespace', namespace],
  ].flatMap(([key, value]) => (value === '' ? [] : [`  ${key}: ${value}\n`]));
  return `${remoteText(remote)}configuredIn: ${file}\nconfiguredBy:\n  apiVersion: builtin\n  kind: ${kind}\n${more.join('')}`;
}

function relativePath(from: string, to: string): string {
  const left = from === '' ? [] : from.split('/');
  const right = to.split('/');
  let same = 0;
  while (same < left.length && left[same] === right[same]) same += 1;
  return [...left.slice(same).map(() => '..'), ...right.slice(same)].join('/');
}

const placeText = ({ file, line }: Origin): string => `${file}:${line}`;
