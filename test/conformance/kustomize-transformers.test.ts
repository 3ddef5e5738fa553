import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mapBounded } from '../../src/base/concurrency.ts';
import {
  buildHere,
  buildWithKustomize,
  comparesAll,
  type Files,
  hasKustomize,
  type Outcome,
  shareOf,
  writeFiles,
} from '../support/kustomize.ts';
import { corpusFields, corpusFiles, corpusResources, mergeFields } from '../support/kustomize-corpus.ts';
import { generatorObjects, inlineItems, objectText, transformerObjects } from '../support/kustomize-transformer-cases.ts';

const runs = process.env.MIDSHIP_FUZZ_RUNS;
/** `npm test` compares the first of the fixed cases, `npm run fault -- --kustomize all` all of them. */
const fixedRuns = comparesAll ? 25 : 6;
/** More runs, of other cases each time, by hand: `MIDSHIP_FUZZ_RUNS=1000`. */
const parameters = runs === undefined ? { numRuns: fixedRuns, seed: 1, endOnFailure: true } : { numRuns: Number(runs) };

const allObjects = (all: Readonly<Record<string, string>>): readonly (readonly [name: string, text: string])[] =>
  Object.entries(all).map(([name, text]) => [name, objectText(name, text)]);
const transformers = allObjects(transformerObjects);
/**
 * kustomize notes former names in annotations, which a field spec without `create` then finds. A later patch makes it write a number
 * that another transformer created as a text.
 */
const mixable = transformers.filter(([name]) => name !== 'annotations-present' && name !== 'value-number');
const generators = allObjects(generatorObjects);
const metadata = 'buildMetadata: [originAnnotations, transformerAnnotations, managedByLabel]\n';

describe.skipIf(!hasKustomize)('transformers and generators (needs kustomize)', () => {
  let root: string;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'midship-kustomize-transformers-'));
  });

  afterAll(() => rm(root, { recursive: true, force: true }));

  let count = 0;
  async function both(files: Files, path = ''): Promise<{ readonly real: Outcome; readonly ours: Outcome }> {
    count += 1;
    const directory = join(root, String(count));
    await writeFiles(directory, files);
    const [real, ours] = await Promise.all([buildWithKustomize(join(directory, path)), buildHere(directory, path)]);
    await rm(directory, { recursive: true, force: true });
    return { real, ours };
  }

  async function differences(cases: readonly (readonly [name: string, files: Files])[]): Promise<readonly unknown[]> {
    const found: unknown[] = [];
    let built = 0;
    await mapBounded(cases, 3, async ([name, files]) => {
      const { real, ours } = await both(files);
      if ('error' in real && 'error' in ours) return;
      if (!('error' in real)) built += 1;
      try {
        expect(ours).toEqual(real);
      } catch (err) {
        found.push({ name, difference: err instanceof Error ? err.message.slice(0, 2_000) : err });
      }
    });
    expect(built).toBeGreaterThan(cases.length * 0.7);
    return found;
  }

  it('agrees on each, in a file and in the kustomization', { timeout: 300_000 }, async () => {
    const cases = [
      ...transformers.map(([name, text]) => [name, 'transformers', text] as const),
      ...generators.map(([name, text]) => [name, 'generators', text] as const),
    ].flatMap(([name, field, text], index): (readonly [string, Files])[] => [
      [`${name} in a file`, { ...corpusFiles, 'own.yaml': text, 'kustomization.yaml': `${corpusResources}${field}: [own.yaml]\n` }],
      [
        `${name} in the kustomization`,
        { ...corpusFiles, 'kustomization.yaml': `${corpusResources}${index % 2 === 0 ? metadata : ''}${field}:\n${inlineItems([text])}` },
      ],
    ]);
    expect(await differences(shareOf(cases, 5))).toEqual([]);
  });

  const some = (all: readonly (readonly [string, string])[], max: number) => fc.shuffledSubarray([...all], { maxLength: max });
  const someFields = fc.shuffledSubarray(Object.keys(corpusFields), { maxLength: 3 }).map((names) => {
    let text = '';
    for (const name of names) text = mergeFields(text, corpusFields[name] ?? '') ?? text;
    return text;
  });
  const layer = fc.record({
    fields: someFields,
    generators: some(generators, 2),
    inFile: some(mixable, 3),
    inline: some(mixable, 2),
    directory: some(mixable, 2),
    metadata: fc.constantFrom('', '', metadata),
  });
  type Layer = typeof layer extends fc.Arbitrary<infer T> ? T : never;

  const filesOf = (
    directory: string,
    { fields, generators: made, inFile, inline, directory: below, metadata: wanted }: Layer,
    first: string,
  ): Files => {
    const own = inline.filter(([name]) => !inFile.some(([other]) => other === name));
    const far = below.filter(([name]) => ![...inFile, ...own].some(([other]) => other === name));
    const lists = [...inFile.map(([name]) => `t-${name}.yaml`), ...(far.length > 0 ? ['more'] : [])];
    const text = [
      first,
      fields.includes('buildMetadata') ? '' : wanted,
      fields,
      lists.length + own.length > 0
        ? `transformers:\n${lists.map((name) => `- ${name}\n`).join('')}${inlineItems(own.map(([, each]) => each))}`
        : '',
      made.length > 0 ? `generators:\n${inlineItems(made.map(([, each]) => each))}` : '',
    ].join('');
    return {
      ...Object.fromEntries(Object.entries(corpusFiles).map(([file, content]) => [`${directory}/${file}`, content])),
      ...Object.fromEntries(inFile.map(([name, content]) => [`${directory}/t-${name}.yaml`, content])),
      [`${directory}/kustomization.yaml`]: text,
      ...(far.length === 0
        ? {}
        : {
            [`${directory}/more/kustomization.yaml`]: 'resources: [all.yaml]\n',
            [`${directory}/more/all.yaml`]: far.map(([, content]) => content).join('---\n'),
          }),
    };
  };

  it('agrees on several of them, in a base and in an overlay', { timeout: 1_200_000 }, () =>
    fc.assert(
      fc.asyncProperty(layer, layer, async (base, overlay) => {
        const files = { ...filesOf('base', base, corpusResources), ...filesOf('overlay', overlay, 'resources: [../base]\n') };
        const { real, ours } = await both(files, 'overlay');
        if ('error' in real) expect(ours).toHaveProperty('error');
        else expect(ours).toEqual(real);
      }),
      parameters,
    ),
  );
});

describe('a transformer', () => {
  const refused: readonly (readonly [name: string, text: string, message: string])[] = [
    [
      'that is a program',
      'apiVersion: example.com/v1\nkind: Sed\nmetadata: {name: a}\n',
      'own.yaml:1: Sed a: not supported: Sed.v1.example.com/a.[noNs], a plugin that is a program of its own',
    ],
    [
      'that is a container',
      'apiVersion: example.com/v1\nkind: Fn\nmetadata: {name: a, annotations: {config.kubernetes.io/function: "container: {image: x}"}}\n',
      'own.yaml:1: Fn a: not supported: Fn.v1.example.com/a.[noNs], a function that is a program of its own',
    ],
    ['that nobody knows', 'apiVersion: builtin\nkind: Foo\nmetadata: {name: a}\n', 'own.yaml:1: Foo a: kind: unable to load builtin Foo'],
    [
      'that is a generator',
      'apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: a}\n',
      'own.yaml:1: ConfigMapGenerator a: kind: ConfigMapGenerator is a generator',
    ],
    [
      'without its fields',
      'apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: a}\nprefix: x\n',
      'own.yaml:1: PrefixTransformer a: fieldSpecs: fieldSpecs is not expected to be nil',
    ],
  ];

  it.each(refused)('is refused by name: one %s', async (_, text, message) => {
    const directory = await mkdtemp(join(tmpdir(), 'midship-kustomize-transformers-'));
    try {
      await writeFiles(directory, { 'kustomization.yaml': 'transformers: [own.yaml]\n', 'own.yaml': text });
      expect(await buildHere(directory, '')).toEqual({ error: message });
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});
