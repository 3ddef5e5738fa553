import { describe, expect, it } from 'vitest';
import { chartValues, readChart } from '../../../../src/gitops/render/kustomize/charts.ts';
import type { DirectoryNode, TreeNode } from '../../../../src/gitops/render/kustomize/file-tree.ts';
import { parseKustomization } from '../../../../src/gitops/render/kustomize/kustomization.ts';

const file = (content: Buffer): TreeNode => ({ type: 'file', id: '', read: async () => content });
const directory = (entries: Readonly<Record<string, TreeNode>>): DirectoryNode => ({
  type: 'directory',
  id: '',
  list: async () => new Map(Object.entries(entries)),
});
const times = (count: number, node: TreeNode): Readonly<Record<string, TreeNode>> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`f${index}`, node]));

describe('the files of a chart', () => {
  it('are all below its directory, with their paths', async () => {
    const files = await readChart(
      directory({ 'Chart.yaml': file(Buffer.from('a')), templates: directory({ 'b.yaml': file(Buffer.from('b')) }) }),
    );
    expect([...files].map(([path, content]) => `${path} ${Buffer.from(content)}`)).toEqual(['Chart.yaml a', 'templates/b.yaml b']);
  });

  it('are bounded in number, size and depth, and hold no links', async () => {
    const small = file(Buffer.from('a'));
    expect((await readChart(directory(times(5_000, small)))).size).toBe(5_000);
    await expect(readChart(directory(times(5_001, small)))).rejects.toThrow('the chart has more than 5000 files');
    const large = file(Buffer.alloc(8 * 1024 * 1024));
    expect((await readChart(directory(times(4, large)))).size).toBe(4);
    await expect(readChart(directory({ ...times(4, large), last: small }))).rejects.toThrow('the chart is larger than 33554432 bytes');
    let deep: DirectoryNode = directory({ a: small });
    for (let depth = 0; depth < 33; depth += 1) deep = directory({ d: deep });
    await expect(readChart(deep)).rejects.toThrow('directories of the chart are nested more than 32 deep');
    // A directory that holds itself, and many times, ends there too.
    const itself = {
      type: 'directory',
      id: '',
      list: async (): Promise<ReadonlyMap<string, TreeNode>> => new Map([['a', itself]]),
    } as const;
    await expect(readChart(itself)).rejects.toThrow('nested more than 32 deep');
    await expect(readChart(directory({ templates: directory({ a: { type: 'symlink' } }) }))).rejects.toThrow(
      'templates/a of the chart is a symbolic link',
    );
  });
});

describe('the values of a chart', () => {
  const valuesOf = (fields: Readonly<Record<string, unknown>>, text?: string): string => {
    const [rule] = parseKustomization({ helmCharts: [{ name: 'a', ...fields }] }).helmCharts;
    if (rule === undefined) throw new Error('there is a rule');
    return Buffer.from(chartValues(rule, text === undefined ? undefined : Buffer.from(text))).toString();
  };

  it('are the file as it is when none are inline', () => {
    expect(valuesOf({}, '# a comment\na: [\n')).toBe('# a comment\na: [\n');
    expect(valuesOf({ valuesInline: {}, valuesMerge: 'replace' }, 'a: 1\n')).toBe('a: 1\n');
  });

  it('are not changed by names that mean something here', () => {
    const inline = JSON.parse('{"__proto__": {"polluted": true}, "constructor": 1}') as unknown;
    expect(JSON.parse(valuesOf({ valuesInline: inline }, 'a: 1\n'))).toEqual(
      JSON.parse('{"a": 1, "__proto__": {"polluted": true}, "constructor": 1}'),
    );
    expect(({} as { readonly polluted?: unknown }).polluted).toBeUndefined();
  });

  it('leave the rule as it was', () => {
    const [rule] = parseKustomization({ helmCharts: [{ name: 'a', valuesMerge: 'merge', valuesInline: { a: { b: 1 } } }] }).helmCharts;
    if (rule === undefined) throw new Error('there is a rule');
    const merged = chartValues(rule, Buffer.from('a: {b: 2, c: 3}\n'));
    expect(JSON.parse(Buffer.from(merged).toString())).toEqual({ a: { b: 2, c: 3 } });
    expect(rule.valuesInline).toEqual({ a: { b: 1 } });
  });

  it('are refused when they are not what can be merged', () => {
    expect(() => valuesOf({ valuesInline: { a: 1 } }, 'a: [\n')).toThrow('could not parse values file: yaml: line 2');
    expect(() => valuesOf({ valuesInline: { a: 1 } }, '- a\n')).toThrow('the values file is not a map');
    expect(() => valuesOf({ valuesInline: { a: [1] } }, 'a: 1\n')).toThrow('could not merge values');
    expect(() => valuesOf({ valuesInline: [] })).toThrow('must be a map');
  });
});
