import { builtInFields } from '../field-config.ts';
import { KustomizeError } from '../file-tree.ts';
import { FieldProblem, parseReplacements } from '../kustomization.ts';
import { applyPatch } from '../patches.ts';
import { applyReplacement } from '../replacements.ts';
import { addValue } from '../transform.ts';
import { parseTransformer, parseValueTargets, type Transformer, transformersOf } from '../transformers.ts';
import type { Accumulator, Phase } from './accumulator.ts';
import type { Build } from './build.ts';
import { readDocument } from './files.ts';
import { noteTransformer } from './notes.ts';
import { problemAt, type Reference } from './place.ts';
import { readPlugins } from './plugins.ts';
import { inlineOrFile, readPatch } from './read-patch.ts';

/** Runs those of the fields, then those that are objects of their own. */
export async function transformObjects(build: Build, phase: Phase): Promise<void> {
  const { loaded, into } = phase;
  const { file, spec } = loaded;
  for (const { field, transformer } of transformersOf(spec, into.fields ?? builtInFields)) {
    await runTransformer(build, transformer, { into, from: { loaded, field } });
    noteTransformer(build, into, { file, kind: transformer.kind, name: '', namespace: '' });
  }
  for (const { config, from, by } of await readPlugins(build, 'transformers', phase)) {
    const transformer = build.at(from.loaded, from.field, () => parseTransformer(config.object));
    await runTransformer(build, transformer, { into, from });
    noteTransformer(build, into, by);
  }
}

/** The objects that a transformer changes, and the place that asks for it. */
interface Run {
  readonly into: Accumulator;
  readonly from: Reference;
}

async function runTransformer(build: Build, transformer: Transformer, { into, from }: Run): Promise<void> {
  switch (transformer.kind) {
    case 'PatchStrategicMergeTransformer':
      return mergePatches(build, transformer, { into, from });
    case 'PatchTransformer':
    case 'PatchJson6902Transformer':
      return patchTargets(build, transformer, { into, from });
    case 'ReplacementTransformer':
      return replaceFields(build, transformer, { into, from });
    case 'ValueAddTransformer':
      return addValues(build, transformer, { into, from });
    default:
      await build.pause();
      return build.at(from.loaded, from.field, () => transformer.transform(into.resources));
  }
}

type OfKind<Kind extends Transformer['kind']> = Extract<Transformer, { readonly kind: Kind }>;

async function mergePatches(
  build: Build,
  { paths, patches, below }: OfKind<'PatchStrategicMergeTransformer'>,
  { into: { resources, schemas }, from: { loaded, field } }: Run,
): Promise<void> {
  const plain = { target: undefined, allowNameChange: false, allowKindChange: false, remembersNames: true, schemas };
  const entries = paths.map((text, index) => ({ text, field: `${field}${below}[${index}]` }));
  for (const { text, field: own } of patches === '' ? entries : [...entries, { text: `\n${patches}`, field: `${field}.patches` }]) {
    const from = { loaded, field: own };
    const patch = await readPatch(build, await inlineOrFile(build, text, from), { from, isCopied: true });
    await build.pause();
    build.at(loaded, own, () => applyPatch(resources, patch, plain));
  }
}

async function patchTargets(
  build: Build,
  { kind, rule }: OfKind<'PatchTransformer' | 'PatchJson6902Transformer'>,
  { into: { resources, schemas }, from }: Run,
): Promise<void> {
  const patch = await readPatch(build, rule, { from, isCopied: rule.target !== undefined });
  await build.pause();
  build.at(from.loaded, from.field, () => applyPatch(resources, patch, { ...rule, remembersNames: kind === 'PatchTransformer', schemas }));
}

async function replaceFields(
  build: Build,
  { replacements, below }: OfKind<'ReplacementTransformer'>,
  { into, from: { loaded, field } }: Run,
): Promise<void> {
  for (const [index, rule] of replacements.entries()) {
    const own = `${field}${below}[${index}]`;
    const rules = 'path' in rule ? await readReplacements(build, rule.path, { loaded, field: own }) : [rule];
    for (const replacement of rules) {
      await build.pause();
      build.at(loaded, own, () => applyReplacement(into.resources, replacement));
    }
  }
}

async function addValues(
  build: Build,
  { targetFilePath, value, targets }: OfKind<'ValueAddTransformer'>,
  { into, from }: Run,
): Promise<void> {
  const more = targetFilePath === '' ? [] : await readValueTargets(build, targetFilePath, from);
  if (targets.length + more.length === 0) throw problemAt(from, { message: 'must specify at least one target' });
  const added = value || (from.loaded.directory.split('/').at(-1) ?? '');
  for (const target of [...targets, ...more]) {
    await build.pause();
    build.at(from.loaded, from.field, () => addValue(into.resources, added, target));
  }
}

async function readValueTargets(build: Build, path: string, from: Reference): Promise<ReturnType<typeof parseValueTargets>> {
  const { document, file } = await readDocument(build, path, from);
  return build.at({ ...from.loaded, file }, from.field, () => parseValueTargets(document));
}

async function readReplacements(build: Build, path: string, from: Reference): Promise<ReturnType<typeof parseReplacements>> {
  // More documents than the first are not read.
  const { document, file, placeOf } = await readDocument(build, path, from);
  try {
    return parseReplacements(document);
  } catch (err) {
    if (!(err instanceof FieldProblem)) throw err;
    throw new KustomizeError({ file, ...placeOf(err.field), message: err.message, hint: err.hint });
  }
}
