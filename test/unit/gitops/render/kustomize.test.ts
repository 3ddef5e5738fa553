import { describe, expect, it } from 'vitest';
import { type FileTree, KustomizeError } from '../../../../src/gitops/render/kustomize/file-tree.ts';
import type { RenderOptions } from '../../../../src/gitops/render/kustomize/phases/render-options.ts';
import { createRenderer } from '../../../../src/gitops/render/kustomize/render.ts';

/** A tree in memory; a null is a symbolic link. */
function treeOf(files: Readonly<Record<string, string | null>>): FileTree {
  return {
    async find(path) {
      const text = files[path];
      if (text === null) return { type: 'symlink' };
      if (text !== undefined) return { type: 'file', id: text, read: async () => Buffer.from(text) };
      return Object.keys(files).some((name) => path === '' || name.startsWith(`${path}/`))
        ? { type: 'directory', id: path, list: async () => new Map() }
        : undefined;
    },
  };
}

const render = (files: Readonly<Record<string, string | null>>, more: Partial<RenderOptions> = {}) =>
  createRenderer().render({ tree: treeOf(files), path: '', ...more });

async function problemOf(files: Readonly<Record<string, string | null>>): Promise<string> {
  const err = await render(files).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(err instanceof KustomizeError)) throw err ?? new Error('it was built');
  return `${err.file}:${err.line ?? ''} ${err.message}`;
}

const configMap = (name: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\n`;

describe('renderer', () => {
  it('tells for each object where it comes from, generated ones included', async () => {
    const rendered = await render({
      'kustomization.yaml': 'resources: [base]\nsecretGenerator:\n- name: made\n  literals: [a=1]\n',
      'base/kustomization.yaml': 'resources: [a.yaml]\n',
      'base/a.yaml': `${configMap('a')}---\n${configMap('b')}`,
    });
    expect(rendered.map(({ object, origin }) => `${object.kind} ${origin.file}:${origin.line}`)).toEqual([
      'ConfigMap base/a.yaml:1',
      'ConfigMap base/a.yaml:5',
      'Secret kustomization.yaml:3',
    ]);
  });

  it('gives objects of its own each time, so that one build does not change another', async () => {
    const renderer = createRenderer();
    const tree = treeOf({ 'kustomization.yaml': 'resources: [a.yaml]\nnamePrefix: x-\n', 'a.yaml': configMap('a') });
    const names = async () => (await renderer.render({ tree, path: '' })).map(({ object }) => (object.metadata as { name: string }).name);
    expect(await names()).toEqual(['x-a']);
    expect(await names()).toEqual(['x-a']);
  });

  it('does not follow links', async () => {
    expect(await problemOf({ 'kustomization.yaml': 'resources: [a.yaml]\n', 'a.yaml': null })).toMatch(
      /resources\[0\]: 'a\.yaml' is a symbolic link/,
    );
    expect(await problemOf({ 'kustomization.yaml': null })).toMatch(/^kustomization\.yaml: is a symbolic link/);
  });

  it('ends a build that doubles at each level', async () => {
    const files: Record<string, string> = {};
    for (let level = 0; level < 40; level += 1) {
      const next = level === 39 ? '[]' : `[../${level + 1}-a, ../${level + 1}-b]`;
      for (const side of ['a', 'b']) files[`${level}-${side}/kustomization.yaml`] = `resources: ${next}\n`;
    }
    const started = render(files, { path: '0-a' });
    await expect(started).rejects.toThrow('the build reads more than 10000 kustomizations');
  });

  it('ends with definitions that are made of themselves', async () => {
    const own = '{$ref: example.com/v1.T, x-kubernetes-annotation: ""}';
    const files = {
      'kustomization.yaml': 'resources: []\ncrds: [crd.yaml]\n',
      'crd.yaml': `example.com/v1.T: {Schema: {properties: {kind: {}, apiVersion: {}, metadata: {}, a: ${own}, b: ${own}}}}\n`,
    };
    expect(await problemOf(files)).toMatch(/^kustomization\.yaml:2 crds\[0\]: this is more work/);
  });

  describe('ends a build that asks for more work or text than it may, and says at which field', () => {
    const variablesOf = (name: string): string => Array.from({ length: 300 }, (_, index) => `{name: ${name}${index}, value: x}`).join(', ');
    const deployment = (name: string): string =>
      `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [{name: c, env: [${variablesOf(name)}]}]}}}\n`;
    const many = (count: number, write: (index: number) => string, separator = ''): string =>
      Array.from({ length: count }, (_, index) => write(index)).join(separator);
    const patch = (index: number): string => `- target: {kind: ConfigMap}\n  patch: '[{"op": "add", "path": "/x${index}", "value": 1}]'\n`;

    it.each([
      [
        // A value with a slash in it, put into its own first part, is twice as long each time.
        'replacements that double a text',
        `replacements:\n${many(45, () => '- source: {kind: ConfigMap, name: a, fieldPath: data.x}\n  targets: [{select: {kind: ConfigMap}, fieldPaths: [data.x], options: {delimiter: /, index: 0}}]\n')}`,
        `${configMap('a')}data: {x: a/a}\n`,
        /replacements\[\d+\]/,
      ],
      [
        'variables with long values',
        'vars: [{name: A, objref: {apiVersion: v1, kind: ConfigMap, name: a}, fieldref: {fieldpath: data.x}}]\n',
        `${configMap('a')}data: {x: "${'v'.repeat(2_000)}"}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, args: ["${'$(A)'.repeat(200)}"]}]}\n`,
        /vars/,
      ],
      [
        'generators that read one file again and again',
        `configMapGenerator: [{name: g, files: [${many(100, (index) => `k${index}=a.yaml`, ', ')}]}]\n`,
        `# ${'c'.repeat(5_000)}\n${configMap('a')}`,
        /configMapGenerator\[0\]/,
      ],
      ['merges of long lists', `patches: [{path: p.yaml}]\n`, deployment('a'), /patches\[0\]/],
      [
        'many patches of many objects',
        `patches:\n${many(100, patch)}`,
        many(100, (index) => configMap(`c${index}`), '---\n'),
        /patches\[\d+\]/,
      ],
    ])('%s', async (_, fields, objects, field) => {
      const files = { 'kustomization.yaml': `resources: [a.yaml]\n${fields}`, 'a.yaml': objects, 'p.yaml': deployment('b') };
      const started = createRenderer(50_000).render({ tree: treeOf(files), path: '' });
      const err = await started.catch((thrown: unknown) => thrown);
      expect(err).toMatchObject({ file: 'kustomization.yaml', line: expect.any(Number), message: expect.stringMatching(field) });
      expect(err).toMatchObject({ message: expect.stringContaining('this is more work than one build may be') });
    });

    it('with the allowance that builds have, before a text is longer than a string can be', async () => {
      const rules = many(
        45,
        () =>
          '- source: {kind: ConfigMap, name: a, fieldPath: data.x}\n  targets: [{select: {kind: ConfigMap}, fieldPaths: [data.x], options: {delimiter: /, index: 0}}]\n',
      );
      const files = { 'kustomization.yaml': `resources: [a.yaml]\nreplacements:\n${rules}`, 'a.yaml': `${configMap('a')}data: {x: a/a}\n` };
      expect(await problemOf(files)).toContain('more work than one build may be');
    }, 30_000);
  });

  it('finds the places of many generators in one look at their file', async () => {
    const rules = Array.from({ length: 2_000 }, (_, index) => `- name: g${index}\n  literals: [a=1]\n`).join('');
    const rendered = await render({ 'kustomization.yaml': `configMapGenerator:\n${rules}` });
    const lines = rendered.map(({ origin }) => origin.line).sort((a, b) => a - b);
    expect(lines).toEqual(Array.from({ length: 2_000 }, (_, index) => 2 + 2 * index));
  }, 20_000);

  it('tries patterns in time that the text bounds', async () => {
    const target = async (name: string, pattern: string): Promise<string> => {
      const patch = `patches:\n- target: {name: "${pattern}"}\n  patch: '[{"op": "add", "path": "/data", "value": {"patched": "yes"}}]'\n`;
      const outcome = render({ 'kustomization.yaml': `resources: [a.yaml]\n${patch}`, 'a.yaml': configMap(name) });
      return outcome.then(
        ([rendered]) => (rendered?.object.data === undefined ? 'left alone' : 'patched'),
        (err: unknown) => String(err),
      );
    };
    // Each would keep an engine that goes back busy for longer than anybody waits.
    for (const pattern of ['(a+)+b', '(a|a)*b', 'a*a*a*a*a*a*a*a*a*a*a*a*b', '(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)b', '(a?){60}a{60}b']) {
      expect(await target('a'.repeat(250), pattern)).toBe('left alone');
      expect(await target(`${'a'.repeat(250)}b`, pattern)).toMatch(/^(patched|left alone)$/);
    }
    expect(await target('aab', '(a+)+b')).toBe('patched');
    expect(await target('a', 'a{1000}{1000}')).toMatch(/is not a regular expression|is too large/);
    expect(await target('a', `(a|b){900}${'[a-z]*'.repeat(20)}`)).toMatch(/is too large/);
    expect(await target('a', 'a|'.repeat(300))).toMatch(/pattern is longer than 500 characters/);
    expect(await target('a'.repeat(20_000), 'a*')).toMatch(/a text of 20000 characters is too long/);
  });

  it('stops when its signal is aborted', async () => {
    const abort = new AbortController();
    abort.abort(new Error('enough'));
    await expect(render({ 'kustomization.yaml': 'resources: []\n' }, { signal: abort.signal })).rejects.toThrow('enough');
  });

  it('keeps names like __proto__ what they are', async () => {
    const [rendered] = await render({
      'kustomization.yaml':
        'resources: [a.yaml]\nlabels: [{pairs: {__proto__: x}}]\npatches:\n- patch: |-\n    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"__proto__": "1"}}\n',
      'a.yaml': `${configMap('a')}data: {constructor: "1"}\n`,
    });
    expect(JSON.parse(JSON.stringify(rendered?.object))).toEqual(
      JSON.parse(
        '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"__proto__":"x"}},"data":{"constructor":"1","__proto__":"1"}}',
      ),
    );
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });
});
