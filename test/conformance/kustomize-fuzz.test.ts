import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatYaml } from '../../src/machinery/yaml.ts';
import { buildHere, buildWithKustomize, comparesAll, type Files, hasKustomize, writeFiles } from '../support/kustomize.ts';
import { corpusFields, corpusFiles, corpusResources, mergeFields } from '../support/kustomize-corpus.ts';

const runs = process.env.MIDSHIP_FUZZ_RUNS;
/** `npm test` compares the first of the fixed cases, `npm run fault -- --kustomize all` all of them. */
const fixedRuns = comparesAll ? 25 : 4;
/**
 * More runs by hand, of other cases each time: `MIDSHIP_FUZZ_RUNS=1000`. Without it the cases are fixed, so that only a
 * change makes them fail.
 */
const parameters = runs === undefined ? { numRuns: fixedRuns, seed: 1, endOnFailure: true } : { numRuns: Number(runs) };

/** Any fields of the corpus that go together in one file. */
const someFields = fc.shuffledSubarray(Object.keys(corpusFields), { minLength: 1, maxLength: 6 }).map((names) => {
  let text = '';
  for (const name of names) text = mergeFields(text, corpusFields[name] ?? '') ?? text;
  return text;
});

const below = (directory: string): Files =>
  Object.fromEntries(Object.entries(corpusFiles).map(([file, text]) => [`${directory}/${file}`, text]));

const port = fc.record(
  {
    containerPort: fc.integer({ min: 80, max: 83 }),
    protocol: fc.constantFrom('TCP', 'UDP'),
    name: fc.constantFrom('a', 'b', 'c'),
    hostPort: fc.integer({ min: 1, max: 3 }),
  },
  { requiredKeys: ['containerPort'] },
);
const env = fc.record({ name: fc.constantFrom('A', 'B', 'C', 'D'), value: fc.constantFrom('1', '2', 'x') }, { requiredKeys: ['name'] });
const named = (names: readonly string[], more: Readonly<Record<string, fc.Arbitrary<unknown>>>) =>
  fc.record({ name: fc.constantFrom(...names), ...more }, { requiredKeys: ['name'] });
const container = named(['one', 'two', 'three'], {
  image: fc.constantFrom('a:1', 'b:2'),
  args: fc.array(fc.constantFrom('x', 'y'), { maxLength: 3 }),
  ports: fc.uniqueArray(port, { maxLength: 3, selector: ({ containerPort, protocol = 'TCP' }) => `${containerPort}${protocol}` }),
  env: fc.uniqueArray(env, { maxLength: 4, selector: ({ name }) => name }),
  resources: fc.record({ limits: fc.record({ cpu: fc.constantFrom('1', '2') }) }, { requiredKeys: [] }),
});
const byName = { selector: (item: { readonly name: string }) => item.name } as const;
const podSpec = fc.record(
  {
    containers: fc.uniqueArray(container, { minLength: 1, maxLength: 3, ...byName }),
    volumes: fc.uniqueArray(named(['v', 'w'], { emptyDir: fc.constant({}) }), { maxLength: 2, ...byName }),
    tolerations: fc.array(fc.record({ key: fc.constantFrom('k', 'l'), operator: fc.constant('Exists') }), { maxLength: 2 }),
    nodeSelector: fc.dictionary(fc.constantFrom('disk', 'zone'), fc.constantFrom('1', '2')),
    imagePullSecrets: fc.uniqueArray(named(['p', 'q'], {}), { maxLength: 2, ...byName }),
    hostNetwork: fc.boolean(),
  },
  { requiredKeys: ['containers'] },
);

const deployment = (spec: unknown): Record<string, unknown> => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', finalizers: ['a', 'b'] },
  spec: { selector: { matchLabels: { app: 'web' } }, template: { metadata: { labels: { app: 'web' } }, spec } },
});

/** Those whose text is what their value is written as. */
const sourceScalar = fc.constantFrom(...'a 5 yes off true "7" "x" -1 a:b'.split(' '));
/** Scalars in a file that are easily read otherwise than kustomize reads them. */
const scalar = fc.constantFrom(
  ...`a 5 1.50 0644 yes off True ~ null 2020-01-01 1e3 0x1f 1_000 "7" "" .5 1:30 -1 007 'null' a:b`.split(' '),
);
/** Without those whose text would have to outlive the quotation marks of what they replace. */
const patchScalar = fc.constantFrom(...'a 5 yes off true null "7" "" -1 a:b'.split(' '));
const scalarMap = (keys: readonly string[], value = scalar) =>
  fc.dictionary(fc.constantFrom(...keys), value).map((map) => `{${Object.entries(map).map(([key, value]) => `"${key}": ${value}`)}}`);
/** A JSON patch makes `true` of an annotation `True` that nothing touched before; so none of those. */
const annotations = fc
  .dictionary(fc.constantFrom('p', 'q'), fc.constantFrom('a', '5', 'true', '"yes"', '"1.50"', '"a,b:c"'))
  .map((map) => `{${Object.entries(map).map(([key, value]) => `"${key}": ${value}`)}}`);
const member = fc.constantFrom('a', 'b', 'map', 'list', 'other');
const gadgetOf = (name: string, value = scalar) =>
  fc
    .record({
      labels: scalarMap(['l', 'm'], value),
      annotations,
      a: value,
      map: scalarMap(['x', 'y', 'z'], value),
      list: fc.array(value, { maxLength: 3 }),
    })
    .map(
      ({ labels, annotations, a, map, list }) =>
        `apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: ${name}, labels: ${labels}, annotations: ${annotations}}\nspec: {a: ${a}, map: ${map}, list: [${list}], items: [{name: i, v: ${a}}, {name: j}]}\n`,
    );
const gadgetPatch = fc
  .record({
    metadata: fc.constantFrom('', ', labels: {l: null, n: 5}', ', annotations: {p: null, r: 5}', ', labels: {}', ', annotations: null'),
    key: member,
    value: fc.oneof(
      patchScalar,
      scalarMap(['x', 'w'], patchScalar),
      fc.constantFrom('[]', '[q]', '{$patch: replace, w: 1}', '{$patch: delete}', 'null'),
    ),
    directive: fc.constantFrom('', '', '', '', '$patch: delete\n', '$patch: replace\n'),
  })
  .map(
    ({ metadata, key, value, directive }) =>
      `${directive}apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: one${metadata}}\nspec: {${key}: ${value}}\n`,
  );
const operation = fc
  .record({
    op: fc.constantFrom('add', 'replace', 'remove', 'test'),
    path: fc.constantFrom(
      '/spec/a',
      '/spec/map/x',
      '/spec/list/0',
      '/spec/list/-',
      '/spec/other',
      '/metadata/labels/l',
      '/metadata/labels',
    ),
    value: scalar,
  })
  .map(({ op, path, value }) => `- {op: ${op}, path: ${path}, value: ${value}}\n`);
const fieldPath = fc.constantFrom(
  ...['metadata.name', 'metadata.labels.l', 'metadata.annotations.p', 'metadata.annotations.made', 'spec.a', 'spec.map', 'spec.map.x'],
  ...['spec.list.0', 'spec.list.*', 'spec.items.[name=i].v', 'spec.items.*.name', 'spec.items.[name=k].v', 'spec.made.b'],
);
const replacement = fc
  .record({
    from: fc.constantFrom('one', 'two'),
    source: fieldPath,
    sourceDelimiter: fc.constantFrom('', '', ', options: {delimiter: ":", index: 0}', ', options: {delimiter: ",", index: 1}'),
    select: fc.constantFrom('kind: Gadget', 'name: two', 'labelSelector: l', 'group: example.com, version: v1', 'namespace: default'),
    reject: fc.constantFrom('', ', reject: [{name: one}]', ', reject: [{labelSelector: l}, {name: three}]'),
    target: fieldPath,
    options: fc.constantFrom(
      '',
      ', options: {create: true}',
      ', options: {delimiter: ":", index: 1}',
      ', options: {delimiter: "a", index: -1}',
    ),
  })
  .map(
    ({ from, source, sourceDelimiter, select, reject, target, options }) =>
      `- source: {kind: Gadget, name: ${from}, fieldPath: "${source}"${sourceDelimiter}}\n  targets: [{select: {${select}}${options.includes('delimiter') ? `, reject: [{name: ${from}}]` : reject}, fieldPaths: ["${target}"]${options}}]\n`,
  );
const indented = (text: string): string => text.trimEnd().replace(/^/gm, '    ');

describe.skipIf(!hasKustomize)('kustomize build, fuzzed (needs kustomize)', () => {
  let root: string;
  let count = 0;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'midship-kustomize-fuzz-'));
  });

  afterAll(() => rm(root, { recursive: true, force: true }));

  async function compare(files: Files, path: string): Promise<void> {
    count += 1;
    const directory = join(root, String(count));
    await writeFiles(directory, files);
    const [real, ours] = await Promise.all([buildWithKustomize(join(directory, path)), buildHere(directory, path)]);
    await rm(directory, { recursive: true, force: true });
    if ('error' in real) expect(ours).toHaveProperty('error');
    else expect(ours).toEqual(real);
  }

  const gadgets = fc.tuple(gadgetOf('one'), gadgetOf('two'));

  it('agrees on patches of odd values', { timeout: 1_200_000 }, () =>
    fc.assert(
      fc.asyncProperty(
        gadgets,
        gadgetPatch,
        fc.array(operation, { minLength: 1, maxLength: 2 }),
        fc.constantFrom('merge', 'target', 'strategic', 'json', 'both'),
        fc.constantFrom('', 'namePrefix: p-\n', 'commonLabels: {l: x}\n', 'commonAnnotations: {p: x}\n'),
        (objects, patch, operations, how, more) => {
          const merge = `patches:\n- patch: |-\n${indented(patch)}\n`;
          const json = `- target: {kind: Gadget}\n  patch: |-\n${indented(operations.join(''))}\n`;
          const ways = {
            merge,
            target: `${merge}  target: {kind: Gadget}\n`,
            strategic: `patchesStrategicMerge:\n- |-\n${indented(patch)}\n`,
            json: `patches:\n${json}`,
            both: merge + json,
          };
          const text = `resources: [gadgets.yaml]\n${more}${ways[how as keyof typeof ways]}`;
          return compare({ 'kustomization.yaml': text, 'gadgets.yaml': objects.join('---\n') }, '');
        },
      ),
      parameters,
    ),
  );

  it('agrees on replacements', { timeout: 1_200_000 }, () =>
    fc.assert(
      fc.asyncProperty(fc.tuple(gadgetOf('one', sourceScalar), gadgetOf('two', sourceScalar)), replacement, (objects, rule) =>
        compare(
          {
            'kustomization.yaml': `resources: [gadgets.yaml]\nreplacements:\n${rule}`,
            'gadgets.yaml': objects.join('---\n'),
          },
          '',
        ),
      ),
      parameters,
    ),
  );

  it('agrees on overlays over overlays over a base', { timeout: 1_200_000 }, () =>
    fc.assert(
      fc.asyncProperty(someFields, someFields, someFields, (inner, middle, outer) =>
        compare(
          {
            ...below('base'),
            ...below('middle'),
            ...below('outer'),
            'base/kustomization.yaml': corpusResources + inner,
            'middle/kustomization.yaml': `resources: [../base]\n${middle}`,
            'outer/kustomization.yaml': `resources: [../middle]\n${outer}`,
          },
          'outer',
        ),
      ),
      parameters,
    ),
  );

  it('agrees on strategic merge patches', { timeout: 1_200_000 }, () =>
    fc.assert(
      fc.asyncProperty(podSpec, podSpec, fc.array(fc.constantFrom('b', 'c', 'd'), { maxLength: 2 }), (before, patch, finalizers) => {
        const change = deployment(patch);
        change.metadata = { name: 'web', ...(finalizers.length > 0 ? { finalizers: [...new Set(finalizers)] } : {}) };
        return compare(
          {
            'kustomization.yaml': 'resources: [web.yaml]\npatches: [{path: patch.yaml}]\n',
            'web.yaml': formatYaml(deployment(before)),
            'patch.yaml': formatYaml(change),
          },
          '',
        );
      }),
      parameters,
    ),
  );
});
