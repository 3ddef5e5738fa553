import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatYaml } from '../../src/machinery/yaml.ts';
import { buildHere, buildWithKustomize, type Files, hasKustomize, writeFiles } from '../support/kustomize.ts';
import { corpusFields, corpusFiles, corpusResources, mergeFields } from '../support/kustomize-corpus.ts';

/** More runs by hand: `MIDSHIP_FUZZ_RUNS=1000`. */
const numRuns = Number(process.env.MIDSHIP_FUZZ_RUNS ?? 25);

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

describe.skipIf(!hasKustomize)('kustomize build, fuzzed (skipped where the program is not installed: apt-get install kustomize)', () => {
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
      { numRuns, endOnFailure: process.env.MIDSHIP_FUZZ_RUNS === undefined },
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
      { numRuns, endOnFailure: process.env.MIDSHIP_FUZZ_RUNS === undefined },
    ),
  );
});
