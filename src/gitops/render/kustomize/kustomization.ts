import { isMap, type JsonMap } from './resource.ts';
import type { TargetSelector } from './selector.ts';

/** A kustomization file, read strictly: a field that is unknown or of another type is an error that names it. */
export interface Kustomization {
  readonly isComponent: boolean;
  readonly resources: readonly string[];
  readonly components: readonly string[];
  readonly namespace: string;
  readonly namePrefix: string;
  readonly nameSuffix: string;
  readonly labels: readonly LabelRule[];
  readonly commonLabels: Readonly<Record<string, string>>;
  readonly commonAnnotations: Readonly<Record<string, string>>;
  readonly patchesStrategicMerge: readonly string[];
  readonly patchesJson6902: readonly PatchRule[];
  readonly patches: readonly PatchRule[];
  readonly images: readonly ImageRule[];
  readonly replicas: readonly { readonly name: string; readonly count: number }[];
  readonly replacements: readonly (ReplacementRule | { readonly path: string })[];
  readonly vars: readonly VariableRule[];
  readonly configMapGenerator: readonly GeneratorRule[];
  readonly secretGenerator: readonly GeneratorRule[];
  /** Charts of `helmCharts` and, after them, of the older `helmChartInflationGenerator`. */
  readonly helmCharts: readonly HelmChartRule[];
  /** Directory with a directory for each chart. */
  readonly chartHome: string;
  /** Files that name fields of custom kinds, see `field-config.ts`. */
  readonly configurations: readonly string[];
  readonly crds: readonly string[];
  /** File with schemas for strategic merges that replace the built-in ones; empty when those count. */
  readonly openapi: string;
  readonly buildMetadata: readonly string[];
  /** Texts of generators and transformers, or paths of files and directories with them. */
  readonly generators: readonly string[];
  readonly transformers: readonly string[];
  readonly sortOptions: SortOptions | undefined;
}

export interface LabelRule {
  readonly pairs: Readonly<Record<string, string>>;
  readonly includeSelectors: boolean;
  readonly includeTemplates: boolean;
  readonly fields: readonly CustomField[];
}

export interface CustomField {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly path: string;
  readonly create: boolean;
}

export interface PatchRule {
  readonly patch: string;
  readonly path: string;
  readonly target: TargetSelector | undefined;
  readonly allowNameChange: boolean;
  readonly allowKindChange: boolean;
}

export interface ImageRule {
  readonly name: string;
  readonly newName: string;
  readonly newTag: string;
  readonly digest: string;
  readonly tagSuffix: string;
}

export interface FieldOptions {
  readonly delimiter: string;
  readonly index: number;
  readonly create: boolean;
}

/** An object by exact group, version, kind, name and namespace; what is empty fits all. */
export interface ObjectSelector {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
}

export interface ReplacementRule {
  readonly source: ObjectSelector & { readonly fieldPath: string; readonly options: FieldOptions };
  readonly targets: readonly {
    readonly select: ObjectSelector & TargetSelector;
    readonly reject: readonly (ObjectSelector & TargetSelector)[];
    readonly fieldPaths: readonly string[];
    readonly options: FieldOptions;
  }[];
}

export interface VariableRule {
  readonly name: string;
  readonly objref: ObjectSelector;
  readonly fieldPath: string;
}

export interface GeneratorOptions {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly disableNameSuffixHash: boolean;
  readonly immutable: boolean;
}

export interface GeneratorRule {
  readonly name: string;
  readonly namespace: string;
  readonly behavior: string;
  readonly type: string;
  readonly literals: readonly string[];
  readonly files: readonly string[];
  readonly envs: readonly string[];
  readonly options: GeneratorOptions;
}

export interface HelmChartRule {
  /** Path of the rule: `helmCharts[0]`. */
  readonly field: string;
  readonly name: string;
  readonly version: string;
  readonly repo: string;
  readonly releaseName: string;
  readonly namespace: string;
  readonly nameTemplate: string;
  /** In place of the chart's own `values.yaml`. */
  readonly valuesFile: string;
  readonly additionalValuesFiles: readonly string[];
  readonly valuesInline: JsonMap;
  /**
   * Relation of `valuesInline` to the values file: merge it over the file, merge it under the file, or replace the
   * file.
   */
  readonly valuesMerge: 'override' | 'merge' | 'replace';
  readonly apiVersions: readonly string[];
  readonly kubeVersion: string;
  readonly includeCRDs: boolean;
  readonly skipHooks: boolean;
  readonly skipTests: boolean;
  readonly debug: boolean;
  readonly devel: boolean;
}

export interface SortOptions {
  readonly order: 'legacy' | 'fifo';
  readonly orderFirst: readonly string[] | undefined;
  readonly orderLast: readonly string[] | undefined;
}

/** A field that is wrong, by its path in the file. */
export class FieldProblem extends Error {
  readonly field: string;
  readonly hint: string | undefined;
  constructor(field: string, message: string, hint?: string) {
    super(field === '' ? message : `${field}: ${message}`);
    this.field = field;
    this.hint = hint;
  }
}

/** @throws FieldProblem */
export function parseKustomization(value: unknown): Kustomization {
  const root = new Reader(value, { path: '' });
  const kind = root.text('kind') || 'Kustomization';
  if (kind !== 'Kustomization' && kind !== 'Component') throw new FieldProblem('kind', 'kind should be Kustomization or Component');
  const isComponent = kind === 'Component';
  const wanted = `kustomize.config.k8s.io/${isComponent ? 'v1alpha1' : 'v1beta1'}`;
  const apiVersion = root.text('apiVersion');
  if (apiVersion !== '' && apiVersion !== wanted) throw new FieldProblem('apiVersion', `apiVersion for ${kind} should be ${wanted}`);
  const metadata = root.child('metadata');
  for (const name of ['name', 'namespace']) metadata?.text(name);
  for (const name of ['labels', 'annotations']) metadata?.textMap(name);
  metadata?.end();
  if (Object.keys(root.map).every((key) => key === 'kind' || key === 'apiVersion' || root.map[key] === null)) {
    throw new FieldProblem('', 'kustomization.yaml is empty', 'Name what it builds: resources: [deployment.yaml].');
  }
  if (!root.isEmpty('validators'))
    throw new FieldProblem('validators', 'not supported: validators', 'Validators are not run; validate before you commit.');
  root.ignore('validators');
  const generatorOptions = optionsOf(root.child('generatorOptions'));
  const charts = chartsOf(root);
  const kustomization: Kustomization = {
    isComponent,
    resources: [...root.texts('resources'), ...root.texts('bases')],
    components: root.texts('components'),
    namespace: root.text('namespace'),
    namePrefix: root.text('namePrefix'),
    nameSuffix: root.text('nameSuffix'),
    labels: root.children('labels').map(labelRuleOf),
    commonLabels: root.textMap('commonLabels'),
    commonAnnotations: root.textMap('commonAnnotations'),
    patchesStrategicMerge: root.texts('patchesStrategicMerge'),
    patchesJson6902: root.children('patchesJson6902').map((item) => {
      const rule = patchRuleOf(item);
      if (rule.target !== undefined && !rule.target.name) throw new FieldProblem(`${item.path}.target`, 'must specify the target name');
      return rule;
    }),
    patches: root.children('patches').map(patchRuleOf),
    images: [...root.children('images'), ...root.children('imageTags')].map(imageRuleOf),
    replicas: root.children('replicas').map((item) => {
      const rule = { name: item.text('name'), count: item.integer('count') };
      item.end();
      return rule;
    }),
    replacements: root.children('replacements').map(replacementOrPathOf),
    vars: root.children('vars').map(variableRuleOf),
    configMapGenerator: root.children('configMapGenerator').map((item) => generatorRuleOf(item, generatorOptions, '')),
    secretGenerator: root.children('secretGenerator').map((item) => generatorRuleOf(item, generatorOptions, item.text('type'))),
    ...charts,
    configurations: root.texts('configurations'),
    crds: root.texts('crds'),
    openapi: openapiOf(root),
    buildMetadata: root.texts('buildMetadata'),
    generators: root.texts('generators'),
    transformers: root.texts('transformers'),
    sortOptions: sortOptionsOf(root.child('sortOptions')),
  };
  root.end();
  return kustomization;
}

/** A file of `replacements[].path`: one replacement, or a list of them. Unlike the kustomization it may have fields that mean nothing. */
export function parseReplacements(value: unknown): readonly ReplacementRule[] {
  if (!Array.isArray(value) && !isMap(value))
    throw new FieldProblem('', 'has no replacement', 'Write a source and targets, or a list of them.');
  return (Array.isArray(value) ? value : [value]).map((item, index) =>
    replacementRuleOf(new Reader(item, { path: Array.isArray(value) ? `[${index}]` : '', isLax: true })),
  );
}

export function replacementOrPathOf(item: Reader): ReplacementRule | { readonly path: string } {
  const path = item.text('path');
  if (path === '') return replacementRuleOf(item);
  item.end();
  return { path };
}

function labelRuleOf(item: Reader): LabelRule {
  const rule = {
    pairs: item.textMap('pairs'),
    includeSelectors: item.flag('includeSelectors'),
    includeTemplates: item.flag('includeTemplates'),
    fields: item.children('fields').map(customFieldOf),
  };
  item.end();
  return rule;
}

export function customFieldOf(field: Reader): CustomField {
  const spec = {
    group: field.text('group'),
    version: field.text('version'),
    kind: field.text('kind'),
    path: field.text('path'),
    create: field.flag('create'),
  };
  field.end();
  return spec;
}

export function patchRuleOf(item: Reader): PatchRule {
  const patch = item.text('patch').trim();
  const path = item.text('path');
  if (patch === '' && path === '') throw new FieldProblem(item.path, 'must specify one of patch and path');
  if (patch !== '' && path !== '') throw new FieldProblem(item.path, "patch and path can't be set at the same time");
  const target = item.child('target');
  const options = item.child('options');
  const rule: PatchRule = {
    patch,
    path,
    target: target === undefined ? undefined : targetOf(target),
    allowNameChange: options?.flag('allowNameChange') ?? false,
    allowKindChange: options?.flag('allowKindChange') ?? false,
  };
  // Other options are read and do nothing, as kustomize has it.
  target?.end();
  item.end();
  return rule;
}

export const targetOf = (item: Reader): ObjectSelector & TargetSelector => ({
  ...objectSelectorOf(item),
  labelSelector: item.text('labelSelector'),
  annotationSelector: item.text('annotationSelector'),
});

const objectSelectorOf = (item: Reader): ObjectSelector => ({
  group: item.text('group'),
  version: item.text('version'),
  kind: item.text('kind'),
  name: item.text('name'),
  namespace: item.text('namespace'),
});

export function imageRuleOf(item: Reader): ImageRule {
  const rule = {
    name: item.text('name'),
    newName: item.text('newName'),
    newTag: item.text('newTag'),
    digest: item.text('digest'),
    tagSuffix: item.text('tagSuffix'),
  };
  item.end();
  return rule;
}

function fieldOptionsOf(item: Reader | undefined): FieldOptions {
  const options = { delimiter: item?.text('delimiter') ?? '', index: item?.integer('index') ?? 0, create: item?.flag('create') ?? false };
  item?.ignore('encoding');
  item?.end();
  return options;
}

const defaultFieldPath = 'metadata.name';

function replacementRuleOf(item: Reader): ReplacementRule {
  const source = item.child('source');
  if (source === undefined || item.isEmpty('targets')) {
    throw new FieldProblem(item.path, 'replacements must specify a source and at least one target');
  }
  const rule: ReplacementRule = {
    source: {
      ...objectSelectorOf(source),
      fieldPath: source.text('fieldPath') || defaultFieldPath,
      options: fieldOptionsOf(source.child('options')),
    },
    targets: item.children('targets').map((target) => {
      const select = target.child('select');
      if (select === undefined) throw new FieldProblem(target.path, 'target must specify resources to select');
      const fieldPaths = target.texts('fieldPaths');
      const result = {
        select: targetOf(select),
        reject: target.children('reject').map((reject) => {
          const rejected = targetOf(reject);
          reject.end();
          return rejected;
        }),
        fieldPaths: fieldPaths.length === 0 ? [defaultFieldPath] : fieldPaths,
        options: fieldOptionsOf(target.child('options')),
      };
      select.end();
      target.end();
      return result;
    }),
  };
  source.end();
  item.end();
  return rule;
}

function variableRuleOf(item: Reader): VariableRule {
  const name = item.text('name');
  if (name === '') throw new FieldProblem(item.path, 'a variable must have a name');
  const objref = item.child('objref');
  const fieldref = item.child('fieldref');
  const apiVersion = objref?.text('apiVersion') ?? '';
  const slash = apiVersion.indexOf('/');
  const selector = objref === undefined ? undefined : objectSelectorOf(objref);
  objref?.end();
  if (selector === undefined) throw new FieldProblem(item.path, 'a variable must have an objref');
  const rule: VariableRule = {
    name,
    objref: {
      ...selector,
      group: slash > 0 ? apiVersion.slice(0, slash) : selector.group,
      version: apiVersion === '' ? selector.version : apiVersion.slice(slash + 1),
    },
    fieldPath: fieldref?.text('fieldPath') || defaultFieldPath,
  };
  fieldref?.end();
  item.end();
  return rule;
}

function optionsOf(item: Reader | undefined): GeneratorOptions {
  const options = {
    labels: item?.textMap('labels') ?? {},
    annotations: item?.textMap('annotations') ?? {},
    disableNameSuffixHash: item?.flag('disableNameSuffixHash') ?? false,
    immutable: item?.flag('immutable') ?? false,
  };
  item?.end();
  return options;
}

export const noGeneratorOptions: GeneratorOptions = { labels: {}, annotations: {}, disableNameSuffixHash: false, immutable: false };

/** Only secrets have types. */
export function generatorRuleOf(item: Reader, common: GeneratorOptions, type: string): GeneratorRule {
  const own = optionsOf(item.child('options'));
  const env = item.text('env');
  const rule: GeneratorRule = {
    name: item.text('name'),
    namespace: item.text('namespace'),
    behavior: item.text('behavior'),
    type,
    literals: item.texts('literals'),
    files: item.texts('files'),
    envs: [...item.texts('envs'), ...(env === '' ? [] : [env])],
    options: {
      labels: { ...common.labels, ...own.labels },
      annotations: { ...common.annotations, ...own.annotations },
      disableNameSuffixHash: own.disableNameSuffixHash || common.disableNameSuffixHash,
      immutable: own.immutable || common.immutable,
    },
  };
  if (rule.name === '') throw new FieldProblem(item.path, 'a configmap must have a name');
  item.end();
  return rule;
}

function chartsOf(root: Reader): Pick<Kustomization, 'helmCharts' | 'chartHome'> {
  const globals = root.child('helmGlobals');
  let chartHome = globals?.text('chartHome') ?? '';
  refuseConfigHome(globals, 'configHome');
  globals?.end();
  const helmCharts = root.children('helmCharts').map(chartRuleOf);
  for (const item of root.children('helmChartInflationGenerator')) {
    // It counts for all charts, the newer ones too, unless there are helmGlobals; the last one wins.
    const home = item.text('chartHome');
    if (globals === undefined && home !== '') chartHome = home;
    refuseConfigHome(item, 'helmHome');
    helmCharts.push(inflationRuleOf(item));
  }
  return { helmCharts, chartHome: chartHome || 'charts' };
}

/** It holds credentials and plugins, that is programs, of the machine: none of a tree's business. */
function refuseConfigHome(item: Reader | undefined, name: string): void {
  if (item === undefined || item.text(name) === '') return;
  throw new FieldProblem(`${item.path}.${name}`, `not supported: ${name}`, 'Leave it out: helm gets an empty configuration.');
}

/** A chart as an object of its own, which says itself where its chart is. */
export function inlineChartOf(item: Reader): { readonly rule: HelmChartRule; readonly chartHome: string } {
  refuseConfigHome(item, 'configHome');
  return { rule: chartRuleOf(item), chartHome: item.text('chartHome') || 'charts' };
}

function chartRuleOf(item: Reader): HelmChartRule {
  const rule: HelmChartRule = {
    field: item.path,
    name: chartNameOf(item, 'name'),
    version: item.text('version'),
    repo: item.text('repo'),
    releaseName: item.text('releaseName'),
    namespace: item.text('namespace'),
    nameTemplate: item.text('nameTemplate'),
    valuesFile: item.text('valuesFile'),
    additionalValuesFiles: item.texts('additionalValuesFiles'),
    valuesInline: item.values('valuesInline'),
    valuesMerge: valuesMergeOf(item),
    apiVersions: item.texts('apiVersions'),
    kubeVersion: item.text('kubeVersion'),
    includeCRDs: item.flag('includeCRDs'),
    skipHooks: item.flag('skipHooks'),
    skipTests: item.flag('skipTests'),
    debug: item.flag('debug'),
    devel: item.flag('devel'),
  };
  item.end();
  return rule;
}

/** The older form, of which kustomize reads no more than this. */
function inflationRuleOf(item: Reader): HelmChartRule {
  for (const name of ['chartRepoName', 'helmBin', 'releaseNamespace', 'extraArgs']) item.ignore(name);
  const rule: HelmChartRule = {
    field: item.path,
    name: chartNameOf(item, 'chartName'),
    version: item.text('chartVersion'),
    repo: item.text('chartRepoUrl'),
    releaseName: item.text('releaseName'),
    namespace: '',
    nameTemplate: '',
    valuesFile: item.text('values'),
    additionalValuesFiles: [],
    valuesInline: item.values('valuesLocal'),
    valuesMerge: valuesMergeOf(item),
    apiVersions: [],
    kubeVersion: '',
    includeCRDs: false,
    skipHooks: false,
    skipTests: false,
    debug: false,
    devel: false,
  };
  item.end();
  return rule;
}

function chartNameOf(item: Reader, field: string): string {
  const name = item.text(field);
  if (name === '') throw new FieldProblem(item.path, 'chart name cannot be empty');
  if (!/^[A-Za-z0-9][\w.-]*$/.test(name)) {
    throw new FieldProblem(item.path, `${JSON.stringify(name)} is not the name of a chart`, 'It is the name of a directory in chartHome.');
  }
  return name;
}

function valuesMergeOf(item: Reader): HelmChartRule['valuesMerge'] {
  const text = item.text('valuesMerge') || 'override';
  if (text === 'override' || text === 'merge' || text === 'replace') return text;
  throw new FieldProblem(`${item.path}.valuesMerge`, 'valuesMerge must be one of [merge override replace]');
}

/** The only version of the built-in schemas that kustomize 5.6 has. */
const openapiVersion = 'v1.21.2';

function openapiOf(root: Reader): string {
  const { path = '', version = '' } = root.textMap('openapi');
  if (path !== '' && version !== '')
    throw new FieldProblem('openapi', 'builtin version and custom schema provided, cannot use both', 'Leave out one of them.');
  if (version !== '' && version !== openapiVersion)
    throw new FieldProblem(
      'openapi.version',
      'the specified OpenAPI version is not built in',
      `There is ${openapiVersion}; or name a file under path.`,
    );
  return path;
}

function sortOptionsOf(item: Reader | undefined): SortOptions | undefined {
  if (item === undefined) return undefined;
  const order = item.text('order');
  if (order !== 'legacy' && order !== 'fifo') {
    throw new FieldProblem('sortOptions.order', "the field 'sortOptions.order' must be one of [fifo, legacy]");
  }
  const legacy = item.child('legacySortOptions');
  if (order === 'fifo' && legacy !== undefined) {
    throw new FieldProblem(
      'sortOptions.legacySortOptions',
      "the field 'sortOptions.legacySortOptions' is set but the selected sort order is 'fifo', not 'legacy'",
    );
  }
  const options: SortOptions = { order, orderFirst: legacy?.texts('orderFirst'), orderLast: legacy?.texts('orderLast') };
  legacy?.end();
  item.end();
  return options;
}

/** Reads a map's fields and knows in the end which were not asked for. Upper and lower case are one, as for kustomize. */
export class Reader {
  readonly map: JsonMap;
  readonly path: string;
  readonly #isLax: boolean;
  readonly #read = new Set<string>();

  constructor(value: unknown, { path, isLax = false }: { readonly path: string; readonly isLax?: boolean }) {
    if (!isMap(value)) throw new FieldProblem(path, 'must be a map');
    this.map = value;
    this.path = path;
    this.#isLax = isLax;
  }

  text(name: string): string {
    return this.#value(name, '', (value) => typeof value === 'string', 'a string');
  }

  flag(name: string): boolean {
    return this.#value(name, false, (value) => typeof value === 'boolean', 'true or false');
  }

  integer(name: string): number {
    return this.#value(name, 0, (value) => Number.isInteger(value), 'a whole number');
  }

  texts(name: string): readonly string[] {
    return this.#value<readonly string[]>(
      name,
      [],
      (value) => Array.isArray(value) && value.every((item) => typeof item === 'string'),
      'a list of strings',
    );
  }

  textMap(name: string): Readonly<Record<string, string>> {
    const map = this.#value<Readonly<Record<string, string | null>>>(
      name,
      {},
      (value) => isMap(value) && Object.values(value).every((item) => item === null || typeof item === 'string'),
      'a map of strings',
    );
    return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, value ?? '']));
  }

  child(name: string): Reader | undefined {
    const value = this.#value<JsonMap | undefined>(name, undefined, isMap, 'a map');
    return value === undefined ? undefined : new Reader(value, { path: this.#pathOf(name), isLax: this.#isLax });
  }

  /** A map of anything. */
  values(name: string): JsonMap {
    return this.#value<JsonMap>(name, {}, isMap, 'a map');
  }

  children(name: string): readonly Reader[] {
    const list = this.#value<readonly unknown[]>(name, [], Array.isArray, 'a list');
    return list.map((item, index) => new Reader(item, { path: `${this.#pathOf(name)}[${index}]`, isLax: this.#isLax }));
  }

  isEmpty(name: string): boolean {
    const value = this.#member(name);
    return value === undefined || value === null || (typeof value === 'object' && Object.keys(value).length === 0);
  }

  ignore(name: string): void {
    this.#read.add(name);
  }

  end(): void {
    if (this.#isLax) return;
    for (const name of Object.keys(this.map)) {
      if (!this.#read.has(name)) throw new FieldProblem(this.#pathOf(name), `unknown field "${name}"`, 'Is it spelled right?');
    }
  }

  #value<T>(name: string, absent: T, fits: (value: unknown) => boolean, what: string): T {
    const value = this.#member(name);
    if (value === undefined || value === null) return absent;
    if (!fits(value)) throw new FieldProblem(this.#pathOf(name), `must be ${what}`);
    return value as T;
  }

  #member(name: string): unknown {
    const key = Object.hasOwn(this.map, name) ? name : Object.keys(this.map).find((other) => other.toLowerCase() === name.toLowerCase());
    if (key === undefined) return undefined;
    this.#read.add(key);
    return this.map[key];
  }

  #pathOf(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`;
  }
}
