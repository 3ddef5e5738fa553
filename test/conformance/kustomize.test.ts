import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mapBounded } from '../../src/base/concurrency.ts';
import { loadRestrictors } from '../../src/gitops/render/kustomize/load-restrictor.ts';
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
import { comparedCases } from '../support/kustomize-cases.ts';
import { corpusFields, corpusFiles, corpusResources, createdNumber, mergeFields } from '../support/kustomize-corpus.ts';
import { fieldCases } from '../support/kustomize-field-cases.ts';

/** The sum of two fields puts their pair into one of several shares. `npm test` compares one share. */
const shares = 32;
const isCompared = (sum: number): boolean => comparesAll || sum % shares === 0;

const one = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: "1"}\n';

/** Input that both refuse, with our message: file, line and field of the mistake. */
const mistakes: readonly (readonly [name: string, files: Files, message: string])[] = [
  [
    'subject with a blank namespace',
    {
      'kustomization.yaml': 'resources: [one.yaml]\nnamePrefix: a-\n',
      'one.yaml':
        'apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: r}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}\nsubjects:\n- {kind: ServiceAccount, name: web, namespace: }\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n',
    },
    'one.yaml:1: RoleBinding.v1.rbac.authorization.k8s.io/a-r.[noNs]: namespace is blank in subjects',
  ],
  [
    'no file',
    { 'other.yaml': one },
    ".: unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '.'",
  ],
  [
    'two files',
    { 'kustomization.yml': 'resources: []\n', Kustomization: 'resources: []\n' },
    'Found multiple kustomization files under: .',
  ],
  ['empty', { 'kustomization.yaml': 'kind: Kustomization\n' }, 'kustomization.yaml:1: kustomization.yaml is empty'],
  ['unknown field', { 'kustomization.yaml': 'resource: [a]\n' }, 'kustomization.yaml:1: resource: unknown field "resource"'],
  ['wrong type', { 'kustomization.yaml': '\nresources: one\n' }, 'kustomization.yaml:2: resources: must be a list of strings'],
  [
    'label that is a number',
    { 'kustomization.yaml': 'resources: []\nlabels:\n- pairs: {a: 1}\n' },
    'kustomization.yaml:3: labels[0].pairs: must be a map of strings',
  ],
  ['wrong kind', { 'kustomization.yaml': 'kind: Deployment\nresources: []\n' }, 'kind should be Kustomization or Component'],
  [
    'wrong version',
    { 'kustomization.yaml': 'apiVersion: v1\nresources: []\n' },
    'apiVersion for Kustomization should be kustomize.config.k8s.io/v1beta1',
  ],
  ['no YAML', { 'kustomization.yaml': 'resources: [\n' }, 'kustomization.yaml:2: '],
  [
    'missing resource',
    { 'kustomization.yaml': 'resources:\n- gone.yaml\n' },
    "kustomization.yaml:2: resources[0]: 'gone.yaml' doesn't exist",
  ],
  ['resource that is no YAML', { 'kustomization.yaml': 'resources: [one.yaml]\n', 'one.yaml': 'a: [\n' }, 'one.yaml:2: '],
  [
    'resource without kind',
    { 'kustomization.yaml': 'resources: [one.yaml]\n', 'one.yaml': `${one}---\nmetadata: {name: x}\n` },
    'one.yaml:6: missing kind in object',
  ],
  [
    'resource without name',
    { 'kustomization.yaml': 'resources: [one.yaml]\n', 'one.yaml': 'apiVersion: v1\nkind: ConfigMap\n' },
    'one.yaml:1: missing metadata.name in object ConfigMap',
  ],
  [
    'the same object twice',
    { 'kustomization.yaml': 'resources: [one.yaml, two.yaml]\n', 'one.yaml': one, 'two.yaml': one },
    'may not add resource with an already registered id: ConfigMap.v1.[noGrp]/one.[noNs] (one.yaml:1 and two.yaml:1)',
  ],
  [
    'file above',
    { 'a/kustomization.yaml': 'resources: [../one.yaml]\n', 'one.yaml': one },
    "security; file '../one.yaml' is not in or below 'a'",
  ],
  [
    'circle',
    { 'a/kustomization.yaml': 'resources: [../b]\n', 'b/kustomization.yaml': 'resources: [../a]\n' },
    "b/kustomization.yaml:1: resources[0]: cycle detected: candidate root 'a' contains visited root 'a'",
  ],
  [
    'directory above',
    { 'a/kustomization.yaml': 'resources: [..]\n', 'kustomization.yaml': 'resources: []\n' },
    "cycle detected: candidate root '.' contains visited root 'a'",
  ],
  [
    'base without a kustomization',
    { 'kustomization.yaml': 'resources: [base]\n', 'base/one.yaml': one },
    'kustomization.yaml:1: resources[0]: unable to find one of',
  ],
  [
    'component as resource',
    { 'kustomization.yaml': 'resources: [c]\n', 'c/kustomization.yaml': 'kind: Component\nnamePrefix: a-\n' },
    "expected kind != 'Component' for path 'c'",
  ],
  [
    'kustomization as component',
    { 'kustomization.yaml': 'components: [c]\n', 'c/kustomization.yaml': 'namePrefix: a-\n' },
    "expected kind 'Component' for path 'c' but got 'Kustomization'",
  ],
  [
    'patch without a match',
    {
      'kustomization.yaml': `resources: [one.yaml]\npatches:\n- patch: '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}}'\n`,
      'one.yaml': one,
    },
    'kustomization.yaml:3: patches[0]: no resource matches strategic merge patch "ConfigMap.v1.[noGrp]/two.[noNs]"',
  ],
  [
    'patch and path',
    { 'kustomization.yaml': 'patches:\n- {patch: a, path: b}\n' },
    "patches[0]: patch and path can't be set at the same time",
  ],
  ['neither patch nor path', { 'kustomization.yaml': 'patches:\n- target: {kind: A}\n' }, 'patches[0]: must specify one of patch and path'],
  [
    'patch that is none',
    { 'kustomization.yaml': 'resources: [one.yaml]\npatches:\n- patch: just a text\n', 'one.yaml': one },
    'patches[0]: unable to parse SM or JSON patch: is not an object',
  ],
  [
    'JSON patch without a target',
    { 'kustomization.yaml': `patches:\n- patch: '[{"op": "remove", "path": "/data"}]'\n` },
    'patches[0]: must specify a target for JSON patch',
  ],
  [
    'JSON patch that does not fit',
    {
      'kustomization.yaml': `resources: [one.yaml]\npatches:\n- target: {kind: ConfigMap}\n  patch: '[{"op": "remove", "path": "/spec/x"}]'\n`,
      'one.yaml': one,
    },
    'patches[0]: ConfigMap.v1.[noGrp]/one.[noNs]: operation 0: missing path: /spec/x',
  ],
  ['missing patch file', { 'kustomization.yaml': 'patches:\n- path: gone.yaml\n' }, "patches[0]: 'gone.yaml' doesn't exist"],
  [
    'several patches with a target',
    {
      'kustomization.yaml': `resources: [one.yaml]\npatches:\n- path: p.yaml\n  target: {kind: ConfigMap}\n`,
      'p.yaml': `${one}---\n${one}`,
      'one.yaml': one,
    },
    'Multiple Strategic-Merge Patches in one `patches` entry',
  ],
  [
    'pattern that is none',
    {
      'kustomization.yaml': `resources: [one.yaml]\npatches:\n- target: {name: "("}\n  patch: '[{"op": "remove", "path": "/data"}]'\n`,
      'one.yaml': one,
    },
    'patches[0]: pattern ^(?:()$ is not a regular expression',
  ],
  [
    'pattern with a look ahead',
    {
      'kustomization.yaml': `resources: [one.yaml]\npatches:\n- target: {name: "(?=o)one"}\n  patch: '[{"op": "remove", "path": "/data"}]'\n`,
      'one.yaml': one,
    },
    'patches[0]: pattern ^(?:(?=o)one)$ is not a regular expression: ',
  ],
  [
    'replicas of nobody',
    { 'kustomization.yaml': 'resources: [one.yaml]\nreplicas:\n- {name: web, count: 2}\n', 'one.yaml': one },
    'kustomization.yaml:3: replicas[0]: resource with name web does not match a config with the following GVK',
  ],
  [
    'generator without a name',
    { 'kustomization.yaml': 'configMapGenerator:\n- literals: [a=b]\n' },
    'configMapGenerator[0]: a configmap must have a name',
  ],
  [
    'literal without a value',
    { 'kustomization.yaml': 'configMapGenerator:\n- name: a\n  literals: [a]\n' },
    'configMapGenerator[0]: invalid literal source a, expected key=value',
  ],
  [
    'the same key twice',
    { 'kustomization.yaml': 'configMapGenerator:\n- name: a\n  literals: [a=1, a=2]\n' },
    'configMapGenerator[0]: configmap a illegally repeats the key `a`',
  ],
  [
    'missing generator file',
    { 'kustomization.yaml': 'secretGenerator:\n- name: a\n  files: [gone]\n' },
    "secretGenerator[0]: 'gone' doesn't exist",
  ],
  [
    'file source without a key',
    { 'kustomization.yaml': 'secretGenerator:\n- name: a\n  files: ["=x"]\n' },
    'missing key name for file path "x" in source "=x"',
  ],
  [
    'merge into nothing',
    { 'kustomization.yaml': 'configMapGenerator:\n- name: a\n  behavior: merge\n  literals: [a=1]\n' },
    'does not exist; cannot merge or replace',
  ],
  [
    'generated twice',
    { 'kustomization.yaml': 'resources: [one.yaml]\nconfigMapGenerator:\n- name: one\n  literals: [a=1]\n', 'one.yaml': one },
    'exists; behavior must be merge or replace',
  ],
  [
    'replacement without a source',
    { 'kustomization.yaml': 'replacements:\n- targets: [{select: {kind: A}}]\n' },
    'replacements[0]: replacements must specify a source and at least one target',
  ],
  [
    'replacement from nothing',
    {
      'kustomization.yaml': 'resources: [one.yaml]\nreplacements:\n- source: {kind: Secret}\n  targets: [{select: {kind: ConfigMap}}]\n',
      'one.yaml': one,
    },
    'replacements[0]: nothing selected by Secret',
  ],
  [
    'replacement from a missing field',
    {
      'kustomization.yaml':
        'resources: [one.yaml]\nreplacements:\n- source: {kind: ConfigMap, fieldPath: data.x}\n  targets: [{select: {kind: ConfigMap}}]\n',
      'one.yaml': one,
    },
    'fieldPath `data.x` is missing for replacement source ConfigMap',
  ],
  [
    'replacement of a missing field',
    {
      'kustomization.yaml':
        'resources: [one.yaml]\nreplacements:\n- source: {kind: ConfigMap}\n  targets: [{select: {kind: ConfigMap}, fieldPaths: [data.x]}]\n',
      'one.yaml': one,
    },
    'unable to find field "data.x" in replacement target',
  ],
  [
    'variable of nothing',
    {
      'kustomization.yaml': 'resources: [one.yaml]\nvars:\n- name: A\n  objref: {kind: Secret, name: x, apiVersion: v1}\n',
      'one.yaml': one,
    },
    "vars: var 'A' cannot be mapped to a field in the set of known resources",
  ],
  [
    'order that is none',
    { 'kustomization.yaml': 'resources: []\nsortOptions: {order: random}\n' },
    "the field 'sortOptions.order' must be one of [fifo, legacy]",
  ],
  [
    'namespace that makes two one',
    {
      'kustomization.yaml': 'namespace: shop\nresources: [one.yaml, two.yaml]\n',
      'one.yaml': one,
      'two.yaml': one.replace('name: one', 'name: one, namespace: x'),
    },
    'namespace transformation produces ID conflict',
  ],
  [
    'unknown patch directive',
    {
      'kustomization.yaml': `resources: [one.yaml]\npatches:\n- patch: '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"$patch": "drop"}}'\n`,
      'one.yaml': one,
    },
    "unknown patch strategy 'drop' at data",
  ],
];

/** Features of the real program that are refused here. */
const refusals: readonly (readonly [name: string, files: Files, message: string])[] = [
  ['helm charts', { 'kustomization.yaml': 'helmCharts:\n- name: a\n' }, 'kustomization.yaml:2: helmCharts[0]: must specify --enable-helm'],
  ['validators', { 'kustomization.yaml': 'validators: [a.yaml]\n' }, 'validators: not supported: validators'],
  [
    'remote bases',
    { 'kustomization.yaml': 'resources:\n- https://user:secret@example.com/x.git?ref=a\n' },
    'kustomization.yaml:2: resources[0]: not supported: remote resource https://example.com/x.git?ref=a',
  ],
];

/**
 * The renderer against the real program (5.6, as Debian has it). It compares each field alone, pairs of fields, and pairs of a base
 * and an overlay. Objects must be equal, in the same order.
 */
const outsideFiles: Files = {
  'one.yaml': one,
  'patch.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {b: "2"}\n',
  'operations.yaml': '- {op: replace, path: /data/a, value: "3"}\n',
  'replacement.yaml':
    '- source: {kind: ConfigMap, name: one, fieldPath: data.a}\n  targets: [{select: {kind: ConfigMap, name: one}, fieldPaths: [data.c], options: {create: true}}]\n',
  'prefix.yaml':
    'apiVersion: builtin\nkind: PrefixSuffixTransformer\nmetadata: {name: p}\nprefix: p-\nfieldSpecs: [{path: metadata/name}]\n',
  'settings.env': 'A=1\n',
  'base/kustomization.yaml': 'resources: [one.yaml]\n',
  'base/one.yaml': one,
  'part/kustomization.yaml': 'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -part\n',
  'shop/one.yaml': one,
};
const outside: Readonly<Record<string, string>> = {
  base: 'resources: [../base]\nnamePrefix: x-\n',
  component: 'resources: [one.yaml]\ncomponents: [../part]\n',
  resource: 'resources: [../one.yaml]\n',
  patch: 'resources: [one.yaml]\npatches: [{path: ../patch.yaml}]\n',
  strategic: 'resources: [one.yaml]\npatchesStrategicMerge: [../patch.yaml]\n',
  operations: 'resources: [one.yaml]\npatches: [{path: ../operations.yaml, target: {kind: ConfigMap}}]\n',
  replacement: 'resources: [one.yaml]\nreplacements: [{path: ../replacement.yaml}]\n',
  transformer: 'resources: [one.yaml]\ntransformers: [../prefix.yaml]\n',
  files: 'configMapGenerator: [{name: m, files: [../one.yaml]}]\n',
  envs: 'secretGenerator: [{name: s, envs: [../settings.env]}]\n',
};

describe.skipIf(!hasKustomize)('kustomize build (needs kustomize)', () => {
  let root: string;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'midship-kustomize-'));
  });

  afterAll(() => rm(root, { recursive: true, force: true }));

  async function both(name: string, files: Files, path = ''): Promise<{ readonly real: Outcome; readonly ours: Outcome }> {
    const directory = join(root, name);
    await writeFiles(directory, files);
    const [real, ours] = await Promise.all([buildWithKustomize(join(directory, path)), buildHere(directory, path)]);
    return { real, ours };
  }

  /** Names of cases whose outcome differs, with both; a refusal of both is no difference. */
  async function differences(
    cases: readonly { readonly name: string; readonly files: Files; readonly path?: string }[],
    { leastBuilt = 0.7 }: { readonly leastBuilt?: number } = {},
  ): Promise<unknown[]> {
    const found: unknown[] = [];
    let equal = 0;
    await mapBounded(cases, 3, async ({ name, files, path }) => {
      const { real, ours } = await both(name, files, path);
      // Some pairs contradict each other, such as a deletion of what the other one patches.
      if ('error' in real && 'error' in ours) return;
      try {
        expect(ours).toEqual(real);
        equal += 1;
      } catch (err) {
        found.push({ name, difference: err instanceof Error ? err.message.slice(0, 2_000) : err });
      }
    });
    // Most of what is compared must be built, or the comparison says nothing.
    expect(equal).toBeGreaterThan(cases.length * leastBuilt);
    return found;
  }

  it.each(mistakes)('refuses as the real program does: %s', async (name, files, message) => {
    const path = 'a/kustomization.yaml' in files ? 'a' : '';
    const { real, ours } = await both(`mistake-${name.replaceAll(' ', '-')}`, files, path);
    expect(real).toHaveProperty('error');
    expect(ours).toEqual({ error: expect.stringContaining(message) });
  });

  it.each(Object.entries(outside))(
    'agrees on a file outside of the kustomization, with and without --load-restrictor: %s',
    async (name, text) => {
      const directory = join(root, `outside-${name}`);
      await writeFiles(directory, { ...outsideFiles, 'shop/kustomization.yaml': text });
      for (const loadRestrictor of loadRestrictors) {
        const [real, ours] = await Promise.all([
          buildWithKustomize(join(directory, 'shop'), ['--load-restrictor', loadRestrictor]),
          buildHere(directory, 'shop', { loadRestrictor }),
        ]);
        if ('error' in real) expect(ours, real.error).toHaveProperty('error');
        else expect(ours).toEqual(real);
        // A base is a directory of its own, which no restriction is about.
        expect('error' in real).toBe(loadRestrictor === 'LoadRestrictionsRootOnly' && !['base', 'component'].includes(name));
      }
    },
  );

  const fields = Object.entries(corpusFields);

  it('agrees on each field alone', async () => {
    const cases = [...fields, ['createdNumber', createdNumber] as const].map(([name, field]) => ({
      name: `alone-${name}`,
      files: { ...corpusFiles, 'kustomization.yaml': corpusResources + field },
    }));
    expect(await differences(cases)).toEqual([]);
  });

  it('agrees on odd values and texts', { timeout: 120_000 }, async () => {
    const cases = shareOf(comparedCases, 2).map(([name, files]) => ({ name, files }));
    // A third of these are mistakes.
    expect(await differences(cases, { leastBuilt: 0.6 })).toEqual([]);
  });

  it('agrees on what the files of a kustomization say of custom kinds', { timeout: 120_000 }, async () => {
    const cases = shareOf(fieldCases, 2).map(([name, files]) => ({ name, files }));
    expect(await differences(cases, { leastBuilt: 0.6 })).toEqual([]);
  });

  it('agrees on patterns', async () => {
    const patterns = [
      'o.*',
      '.*',
      '(?i)ONE',
      '(o+|x)+ne',
      '[[:alpha:]]+',
      '\\pL+',
      '\\bone\\b',
      'on|o',
      'one-.*|tw.*',
      '^one$',
      'o(?P<x>n)e',
      'ONE',
      'on',
    ];
    const both = { 'one.yaml': one, 'two.yaml': one.replace('name: one', 'name: one-two') };
    const cases = patterns.map((pattern, index) => ({
      name: `pattern-${index}`,
      files: {
        ...both,
        'kustomization.yaml': `resources: [one.yaml, two.yaml]\npatches:\n- target: {name: '${pattern}'}\n  patch: '[{"op": "add", "path": "/data/patched", "value": "yes"}]'\n`,
      },
    }));
    expect(await differences(cases)).toEqual([]);
  });

  it('agrees on pairs of fields', { timeout: 300_000 }, async () => {
    const cases = fields.flatMap(([a, first], index) =>
      fields.flatMap(([b, second], other) => {
        const merged = other > index && isCompared(index + other) ? mergeFields(first, second) : undefined;
        return merged === undefined
          ? []
          : [{ name: `pair-${a}-${b}`, files: { ...corpusFiles, 'kustomization.yaml': corpusResources + merged } }];
      }),
    );
    expect(await differences(cases)).toEqual([]);
  });

  it('agrees on fields of an overlay over fields of a base', { timeout: 300_000 }, async () => {
    const cases = fields.flatMap(([a, inner], index) =>
      fields
        .filter((_, other) => (index + other) % 3 === 0 && isCompared((index + other) / 3))
        .map(([b, outer]) => ({
          name: `overlay-${a}-${b}`,
          path: 'overlay',
          files: {
            ...Object.fromEntries(
              Object.entries(corpusFiles).flatMap(([file, text]) => [
                [`base/${file}`, text],
                [`overlay/${file}`, text],
              ]),
            ),
            'base/kustomization.yaml': corpusResources + inner,
            'overlay/kustomization.yaml': `resources: [../base]\n${outer}`,
          },
        })),
    );
    expect(await differences(cases)).toEqual([]);
  });
});

describe('a kustomization', () => {
  it.each(refusals)('is refused for %s', async (_, files, message) => {
    const directory = await mkdtemp(join(tmpdir(), 'midship-kustomize-'));
    try {
      await writeFiles(directory, files);
      expect(await buildHere(directory, '')).toEqual({ error: expect.stringContaining(message) });
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});
