import { type FieldConfig, mergeSpecs } from './field-config.ts';
import type { FieldSpec } from './field-spec.ts';
import {
  customFieldOf,
  FieldProblem,
  type GeneratorRule,
  generatorRuleOf,
  type HelmChartRule,
  imageRuleOf,
  inlineChartOf,
  type Kustomization,
  type LabelRule,
  noGeneratorOptions,
  type PatchRule,
  patchRuleOf,
  Reader,
  replacementOrPathOf,
  targetOf,
} from './kustomization.ts';
import { currentId, describeId, isMap, type JsonMap, type Resource } from './resource.ts';
import {
  addHashes,
  addPrefix,
  addSuffix,
  isSubjectMode,
  setEntries,
  setImage,
  setNamespace,
  setReplicas,
  type ValueTarget,
} from './transform.ts';

/**
 * A built-in transformer of kustomize. A field of a kustomization makes one or several, and `transformers` names them as objects of
 * their own: both come to the same ones. Those with files are read by who runs them.
 */
export type Transformer =
  | { readonly kind: 'PatchTransformer' | 'PatchJson6902Transformer'; readonly rule: PatchRule }
  | {
      readonly kind: 'PatchStrategicMergeTransformer';
      readonly paths: readonly string[];
      readonly patches: string;
      /** Path of `paths` below the field. */
      readonly below: string;
    }
  | { readonly kind: 'ReplacementTransformer'; readonly replacements: Kustomization['replacements']; readonly below: string }
  | {
      readonly kind: 'ValueAddTransformer';
      /** Empty: the name of the kustomization's directory. */
      readonly value: string;
      readonly targets: readonly ValueTarget[];
      /** File with more targets. */
      readonly targetFilePath: string;
    }
  | { readonly kind: PlainTransformer; transform(resources: readonly Resource[]): void };

type PlainTransformer =
  | 'NamespaceTransformer'
  | 'PrefixTransformer'
  | 'SuffixTransformer'
  | 'PrefixSuffixTransformer'
  | 'LabelTransformer'
  | 'AnnotationsTransformer'
  | 'ReplicaCountTransformer'
  | 'ImageTagTransformer'
  | 'HashTransformer';

/** Makes the transformers of a kustomization's fields, in the order in which kustomize runs them. */
export function* transformersOf(
  spec: Kustomization,
  fields: FieldConfig,
): Iterable<{ readonly field: string; readonly transformer: Transformer }> {
  const plain = (field: string, kind: PlainTransformer, transform: (resources: readonly Resource[]) => void) => ({
    field,
    transformer: { kind, transform } as const,
  });
  const { patchesStrategicMerge: paths, namespace, namePrefix, nameSuffix, commonLabels, commonAnnotations, replacements } = spec;
  if (paths.length > 0)
    yield { field: 'patchesStrategicMerge', transformer: { kind: 'PatchStrategicMergeTransformer', paths, patches: '', below: '' } };
  for (const [index, rule] of spec.patches.entries()) yield { field: `patches[${index}]`, transformer: { kind: 'PatchTransformer', rule } };
  if (namespace !== '')
    yield plain('namespace', 'NamespaceTransformer', (resources) => setNamespace(resources, { namespace }, fields.namespace));
  if (namePrefix !== '') yield plain('namePrefix', 'PrefixTransformer', (resources) => addPrefix(resources, namePrefix, fields.namePrefix));
  if (nameSuffix !== '') yield plain('nameSuffix', 'SuffixTransformer', (resources) => addSuffix(resources, nameSuffix, fields.nameSuffix));
  for (const [index, rule] of spec.labels.entries()) {
    yield plain(`labels[${index}]`, 'LabelTransformer', (resources) => setEntries(resources, rule.pairs, fieldsOfLabels(rule, fields)));
  }
  // As in kustomize, `labels` brings one for `commonLabels` with it, which the annotation about transformers shows.
  if (Object.keys(commonLabels).length + spec.labels.length > 0)
    yield plain('commonLabels', 'LabelTransformer', (resources) => setEntries(resources, commonLabels, fields.commonLabels));
  if (Object.keys(commonAnnotations).length > 0)
    yield plain('commonAnnotations', 'AnnotationsTransformer', (resources) =>
      setEntries(resources, commonAnnotations, fields.commonAnnotations),
    );
  for (const [index, rule] of spec.patchesJson6902.entries())
    yield { field: `patchesJson6902[${index}]`, transformer: { kind: 'PatchJson6902Transformer', rule } };
  for (const [index, rule] of spec.replicas.entries())
    yield plain(`replicas[${index}]`, 'ReplicaCountTransformer', (resources) => setReplicas(resources, rule, fields.replicas));
  for (const [index, rule] of spec.images.entries())
    yield plain(`images[${index}]`, 'ImageTagTransformer', (resources) => setImage(resources, rule, fields.images));
  if (replacements.length > 0) yield { field: 'replacements', transformer: { kind: 'ReplacementTransformer', replacements, below: '' } };
}

function fieldsOfLabels(
  { includeSelectors, includeTemplates, fields }: LabelRule,
  config: Pick<FieldConfig, 'commonLabels' | 'templateLabels' | 'labels'>,
): readonly FieldSpec[] {
  if (includeSelectors) return mergeSpecs(fields, config.commonLabels);
  return mergeSpecs(includeTemplates ? mergeSpecs(fields, config.templateLabels) : fields, config.labels);
}

/** A transformer from its object, whose other fields than the known ones mean nothing. @throws FieldProblem */
export function parseTransformer(config: JsonMap): Transformer {
  const root = new Reader(config, { path: '', isLax: true });
  const fields = (): readonly FieldSpec[] => root.children('fieldSpecs').map(customFieldOf);
  const kind = root.text('kind');
  switch (kind) {
    case 'PatchTransformer':
      return { kind, rule: patchRuleOf(root) };
    case 'PatchJson6902Transformer': {
      const rule = patchRuleOf(new Reader({ ...config, patch: config.jsonOp ?? '' }, { path: '', isLax: true }));
      if (!rule.target?.name) throw new FieldProblem('target', 'must specify the target name');
      return { kind, rule };
    }
    case 'PatchStrategicMergeTransformer': {
      const [paths, patches] = [root.texts('paths'), root.text('patches')];
      if (paths.length === 0 && patches === '') throw new FieldProblem('', 'empty file path and empty patch content');
      return { kind, paths, patches, below: '.paths' };
    }
    case 'ReplacementTransformer':
      return { kind, replacements: root.children('replacements').map(replacementOrPathOf), below: '.replacements' };
    case 'NamespaceTransformer': {
      const namespace = root.child('metadata')?.text('namespace') ?? '';
      const subjects = root.text('setRoleBindingSubjects') || 'defaultOnly';
      if (!isSubjectMode(subjects)) {
        throw new FieldProblem(
          'setRoleBindingSubjects',
          `invalid value ${JSON.stringify(subjects)}: must be one of "defaultOnly", "none" or "allServiceAccounts"`,
        );
      }
      const rule = { namespace, unsetOnly: root.flag('unsetOnly'), subjects };
      const specs = fields();
      return { kind, transform: (resources) => (namespace === '' ? undefined : setNamespace(resources, rule, specs)) };
    }
    case 'PrefixTransformer':
    case 'SuffixTransformer':
    case 'PrefixSuffixTransformer': {
      const specs = fields();
      if (specs.length === 0)
        throw new FieldProblem('fieldSpecs', 'fieldSpecs is not expected to be nil', 'Name the fields: [{path: metadata/name}].');
      const [prefix, suffix] = [
        kind === 'SuffixTransformer' ? '' : root.text('prefix'),
        kind === 'PrefixTransformer' ? '' : root.text('suffix'),
      ];
      return {
        kind,
        transform(resources) {
          if (prefix !== '') addPrefix(resources, prefix, specs);
          if (suffix !== '') addSuffix(resources, suffix, specs);
        },
      };
    }
    case 'LabelTransformer':
    case 'AnnotationsTransformer': {
      const [pairs, specs] = [root.textMap(kind === 'LabelTransformer' ? 'labels' : 'annotations'), fields()];
      return { kind, transform: (resources) => setEntries(resources, pairs, specs) };
    }
    case 'ReplicaCountTransformer': {
      const replica = root.child('replica');
      const [rule, specs] = [{ name: replica?.text('name') ?? '', count: replica?.integer('count') ?? 0 }, fields()];
      return { kind, transform: (resources) => setReplicas(resources, rule, specs) };
    }
    case 'ImageTagTransformer': {
      const [rule, specs] = [imageRuleOf(root.child('imageTag') ?? new Reader({}, { path: 'imageTag' })), fields()];
      return { kind, transform: (resources) => setImage(resources, rule, specs) };
    }
    case 'HashTransformer':
      return { kind, transform: addHashes };
    case 'ValueAddTransformer':
      return {
        kind,
        value: root.text('value').trim(),
        targets: valueTargetsOf(root),
        targetFilePath: root.text('targetFilePath'),
      };
    default:
      throw new FieldProblem('kind', isGenerator(kind) ? `${kind} is a generator` : `unable to load builtin ${kind}`);
  }
}

/** A file of `targetFilePath`. @throws FieldProblem */
export const parseValueTargets = (value: unknown): readonly ValueTarget[] =>
  valueTargetsOf(new Reader(value ?? {}, { path: '', isLax: true }));

function valueTargetsOf(root: Reader): readonly ValueTarget[] {
  return root.children('targets').map((target) => {
    const selector = target.child('selector');
    const result: ValueTarget = {
      selector: selector === undefined ? undefined : targetOf(selector),
      fieldPath: target.text('fieldPath'),
      position: target.integer('filePathPosition'),
    };
    if (result.fieldPath === '') throw new FieldProblem(`${target.path}.fieldPath`, 'fieldPath cannot be empty');
    if (result.position < 0)
      throw new FieldProblem(`${target.path}.filePathPosition`, `value of FilePathPosition (${result.position}) cannot be negative`);
    return result;
  });
}

/** The request of a generator object. */
export type Generator =
  | { readonly kind: 'ConfigMap' | 'Secret'; readonly rule: GeneratorRule }
  | { readonly kind: 'chart'; readonly rule: HelmChartRule; readonly chartHome: string }
  | { readonly kind: 'object'; readonly object: JsonMap };

const generators: readonly string[] = ['ConfigMapGenerator', 'SecretGenerator', 'HelmChartInflationGenerator', 'IAMPolicyGenerator'];

const isGenerator = (kind: string): boolean => generators.includes(kind);

/** @throws FieldProblem */
export function parseGenerator(config: JsonMap): Generator {
  const metadata = isMap(config.metadata) ? config.metadata : {};
  // The older `env` is a field of the kustomization alone.
  const { env: _, ...rest } = config;
  const root = new Reader({ name: metadata.name, namespace: metadata.namespace, ...rest }, { path: '', isLax: true });
  const kind = root.text('kind');
  if (kind === 'ConfigMapGenerator') return { kind: 'ConfigMap', rule: generatorRuleOf(root, noGeneratorOptions, '') };
  if (kind === 'SecretGenerator') return { kind: 'Secret', rule: generatorRuleOf(root, noGeneratorOptions, root.text('type')) };
  if (kind === 'HelmChartInflationGenerator') return { kind: 'chart', ...inlineChartOf(new Reader(config, { path: '', isLax: true })) };
  if (kind === 'IAMPolicyGenerator') return { kind: 'object', object: accountOf(root) };
  throw new FieldProblem('kind', `${kind} is not a generator that is built in`);
}

/** The account of a cluster that has the rights of one of a cloud. */
function accountOf(root: Reader): JsonMap {
  const [own, account] = [root.child('kubernetesService'), root.child('serviceAccount')];
  if (root.text('cloud') !== 'gke') throw new FieldProblem('cloud', `cloud provider ${root.text('cloud')} not supported yet`);
  const namespace = own?.text('namespace') ?? '';
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: {
      annotations: {
        'iam.gke.io/gcp-service-account': `${account?.text('name')}@${account?.text('projectId')}.iam.gserviceaccount.com`,
      },
      name: own?.text('name') ?? '',
      ...(namespace === '' ? {} : { namespace }),
    },
  };
}

/** Refuses what is not built in by its name: programs of a repository are not run. @throws FieldProblem */
export function checkBuiltIn(config: Resource): void {
  const { group, version } = currentId(config);
  if (group === '' && version === 'builtin') return;
  const metadata = isMap(config.object.metadata) ? config.object.metadata : {};
  const notes = isMap(metadata.annotations) ? metadata.annotations : {};
  const isFunction = Object.keys(notes).some((key) => /^(config\.kubernetes\.io|config\.k8s\.io)\/function$/.test(key));
  throw new FieldProblem(
    '',
    `not supported: ${describeId(currentId(config))}, ${isFunction ? 'a function' : 'a plugin'} that is a program of its own`,
    'The built-in ones have apiVersion: builtin. Commit what the program makes of the objects.',
  );
}
