import { parseYamlDocuments, YamlError } from '../../../machinery/yaml.ts';
import type { DirectoryNode } from './file-tree.ts';
import type { HelmChartRule } from './kustomization.ts';
import { MergeError, mergeStrategic } from './merge.ts';
import { cloneJson, isMap, type JsonMap } from './resource.ts';

/** A chart that cannot be used as its rule says. */
export class ChartError extends Error {
  readonly hint: string | undefined;
  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

const maxFiles = 5_000;
const maxBytes = 32 * 1024 * 1024;
const maxDepth = 32;

/** Directory in which kustomize looks for a chart: a chart of a repository has one for each version. */
export function chartPathOf({ name, repo, version }: HelmChartRule): string {
  return repo !== '' && version !== '' ? `${name}-${version}/${name}` : name;
}

/**
 * The files of a chart's directory, by path below it.
 *
 * @throws ChartError for a link, or for more than is given to helm
 */
export async function readChart(directory: DirectoryNode): Promise<ReadonlyMap<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  let bytes = 0;
  const walk = async (node: DirectoryNode, path: string, depth: number): Promise<void> => {
    if (depth > maxDepth) throw new ChartError(`directories of the chart are nested more than ${maxDepth} deep`);
    for (const [name, child] of await node.list()) {
      const file = path === '' ? name : `${path}/${name}`;
      if (child.type === 'symlink') {
        throw new ChartError(`${file} of the chart is a symbolic link, which is not followed`, 'Put the file itself there.');
      }
      if (child.type === 'directory') {
        await walk(child, file, depth + 1);
        continue;
      }
      if (files.size >= maxFiles)
        throw new ChartError(`the chart has more than ${maxFiles} files`, 'Keep only what the chart needs there.');
      const content = await child.read();
      bytes += content.length;
      if (bytes > maxBytes) throw new ChartError(`the chart is larger than ${maxBytes} bytes`, 'Keep only what the chart needs there.');
      files.set(file, content);
    }
  };
  await walk(directory, '', 0);
  return files;
}

/** Options of `helm template` that a rule asks for, each with its value in one argument, so that no value is taken for an option. */
export function templateFlagsOf(rule: HelmChartRule): readonly string[] {
  const { namespace, nameTemplate, apiVersions, kubeVersion } = rule;
  return [
    ...(namespace === '' ? [] : [`--namespace=${namespace}`]),
    ...(nameTemplate === '' ? [] : [`--name-template=${nameTemplate}`]),
    ...apiVersions.map((version) => `--api-versions=${version}`),
    ...(kubeVersion === '' ? [] : [`--kube-version=${kubeVersion}`]),
    ...(rule.includeCRDs ? ['--include-crds'] : []),
    ...(rule.skipTests ? ['--skip-tests'] : []),
    ...(rule.skipHooks ? ['--no-hooks'] : []),
    ...(rule.debug ? ['--debug'] : []),
    ...(rule.devel ? ['--devel'] : []),
  ];
}

/** True when a rule lays its `valuesInline` over the values file. */
export const needsValuesFile = ({ valuesInline, valuesMerge }: HelmChartRule): boolean =>
  valuesMerge !== 'replace' || Object.keys(valuesInline).length === 0;

const limits = { maxBytes: 10 * 1024 * 1024, maxDepth: 100, maxAliases: 1_000, maxDocuments: 10_000 };

/**
 * The values that helm is given: the file as it is, or with `valuesInline` laid over or under it. Without inline values nothing is parsed.
 *
 * @param file  content of the values file; undefined when it is not needed
 * @throws ChartError
 */
export function chartValues({ valuesInline, valuesMerge }: HelmChartRule, file: Uint8Array | undefined): Uint8Array {
  if (Object.keys(valuesInline).length === 0) return file ?? new Uint8Array();
  const inline = cloneJson(valuesInline);
  const values = valuesMerge === 'replace' ? inline : mergeValues(valuesMerge, inline, parseValues(file ?? new Uint8Array()));
  // JSON is YAML.
  return Buffer.from(JSON.stringify(values));
}

function parseValues(bytes: Uint8Array): JsonMap {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    const [document] = parseYamlDocuments(text, { ...limits, booleans: 'true-false' });
    if (document === undefined)
      throw new ChartError('could not parse values file into rnode: EOF', 'Write {} into it, or leave valuesInline out.');
    if (!isMap(document.value)) throw new ChartError('could not merge values: the values file is not a map');
    return document.value;
  } catch (err) {
    if (err instanceof YamlError) throw new ChartError(`could not parse values file: ${err.message}`);
    if (err instanceof TypeError) throw new ChartError('could not parse values file: it is not UTF-8 text');
    throw err;
  }
}

/** Values are merged as patches are: a null takes away what it is laid over, and lists are replaced. */
function mergeValues(mode: 'override' | 'merge', inline: JsonMap, file: JsonMap): JsonMap {
  try {
    return (mode === 'override' ? mergeStrategic(cloneJson(file), inline) : mergeStrategic(inline, file)) ?? {};
  } catch (err) {
    if (!(err instanceof MergeError)) throw err;
    const [patch, object] = mode === 'override' ? ['valuesInline', 'the values file'] : ['the values file', 'valuesInline'];
    throw new ChartError(`could not merge values: ${err.message}`, `The patch is ${patch}, and the object ${object}.`);
  }
}
