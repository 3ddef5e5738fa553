import { KustomizeError } from '../file-tree.ts';
import { absorb, type GeneratedKind, GeneratorError, generateObject } from '../generators.ts';
import type { GeneratorRule, HelmChartRule } from '../kustomization.ts';
import { currentId, describeId, idKey, type Origin, previousIds } from '../resource.ts';
import { parseGenerator } from '../transformers.ts';
import { spendText } from '../work.ts';
import type { Accumulator, Phase } from './accumulator.ts';
import type { Build } from './build.ts';
import { readFile } from './files.ts';
import { inflateChart } from './inflate-chart.ts';
import { problemAt, type Reference } from './place.ts';
import { readPlugins } from './plugins.ts';
import { objectsIn, type ParsedFile } from './read-objects.ts';

/** The target of a generator, and the place that asks for it. */
interface Generation {
  readonly into: Accumulator;
  readonly from: Reference;
  readonly origin: Origin;
}

/** Adds the objects of generators: those of the fields, then charts, then generators that are objects of their own. */
export async function addGenerated(build: Build, phase: Phase): Promise<void> {
  const { loaded, into } = phase;
  const originOf = (field: string, kind: string): Origin => {
    const { line = 1 } = loaded.placeOf(field);
    const { file, blob } = loaded;
    return { file, line, blob, generator: { file, kind, name: '', namespace: '' } };
  };
  const generate = async (kind: GeneratedKind, list: string, rules: readonly GeneratorRule[]): Promise<void> => {
    for (const [index, rule] of rules.entries()) {
      const field = `${list}[${index}]`;
      await addGeneratedObject(build, { kind, rule, into, from: { loaded, field }, origin: originOf(field, `${kind}Generator`) });
    }
  };
  await generate('ConfigMap', 'configMapGenerator', loaded.spec.configMapGenerator);
  await generate('Secret', 'secretGenerator', loaded.spec.secretGenerator);
  const { chartHome } = loaded.spec;
  for (const rule of loaded.spec.helmCharts) {
    const origin = originOf(rule.field, 'HelmChartInflationGenerator');
    await addChart(build, { rule, chartHome, into, from: { loaded, field: rule.field }, origin });
  }
  for (const { config, from, by } of await readPlugins(build, 'generators', phase)) {
    const generator = build.at(from.loaded, from.field, () => parseGenerator(config.object));
    const origin = { ...config.origin, generator: by };
    if (generator.kind === 'chart') await addChart(build, { ...generator, into, from, origin });
    else if (generator.kind !== 'object') await addGeneratedObject(build, { ...generator, into, from, origin });
    else build.at(from.loaded, from.field, () => absorb(into.resources, build.newObject(generator.object, origin)));
  }
}

async function addGeneratedObject(
  build: Build,
  { kind, rule, into, from, origin }: Generation & { readonly kind: GeneratedKind; readonly rule: GeneratorRule },
): Promise<void> {
  const load = async (path: string): Promise<Uint8Array> => {
    const bytes = await (await readFile(build, path, from)).node.read();
    build.at(from.loaded, from.field, () => spendText(bytes.byteLength));
    return bytes;
  };
  try {
    const object = await generateObject(kind, rule, load);
    await build.pause();
    const resource = build.newObject(object, origin);
    resource.needsHash = !rule.options.disableNameSuffixHash;
    resource.behavior = rule.behavior;
    build.at(from.loaded, from.field, () => absorb(into.resources, resource));
  } catch (err) {
    if (!(err instanceof GeneratorError)) throw err;
    throw problemAt(from, { message: err.message });
  }
}

/** Behind the generated objects, which no chart can merge into or replace. */
async function addChart(
  build: Build,
  { rule, chartHome, into, from, origin }: Generation & { readonly rule: HelmChartRule; readonly chartHome: string },
): Promise<void> {
  const seen = new Set(into.resources.flatMap((resource) => [currentId(resource), ...previousIds(resource)]).map(idKey));
  for (const { value } of objectsOfChart(await inflateChart(build, { rule, chartHome, from }), from)) {
    build.countObject(from);
    const resource = build.newObject(value, origin);
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

/** Lines of what helm prints are no lines of a file. */
function objectsOfChart(text: string, from: Reference): ParsedFile {
  try {
    return objectsIn(text, from.loaded.file);
  } catch (err) {
    if (!(err instanceof KustomizeError)) throw err;
    throw problemAt(from, { message: `line ${err.line} of what helm prints: ${err.message}`, hint: 'Correct the chart or its values.' });
  }
}
