import { describe, expect, it } from 'vitest';
import { readDocuments } from '../../../../src/gitops/manifests/documents.ts';
import { isNameOf, nameHooks } from '../../../../src/gitops/manifests/hook-names.ts';
import type { Manifest } from '../../../../src/gitops/manifests/manifest.ts';

const hookText = (metadata: string, annotations = '{argocd.argoproj.io/hook: PreSync}'): string =>
  `apiVersion: batch/v1\nkind: Job\nmetadata: {${metadata}, annotations: ${annotations}}\n`;
const read = (text: string) => readDocuments(Buffer.from(text));
const manifestOf = (text: string): Manifest => {
  const [document] = read(text).documents;
  if (document === undefined) throw new Error('no document');
  return { file: 'web/hook.yaml', blob: 'b', ...document };
};
const nameOf = (text: string, digest: string): string | undefined => nameHooks([manifestOf(text)], digest)[0]?.object.metadata.name;

describe('an object with generateName', () => {
  it('is read when it is a hook, and refused with its line when it is not', () => {
    expect(read(hookText('generateName: migrate-')).errors).toEqual([]);
    expect(read(hookText('generateName: migrate-', '{argocd.argoproj.io/hook: Skip}')).errors).toEqual([]);
    for (const text of [
      hookText('generateName: migrate-', '{}'),
      hookText('generateName: ""'),
      hookText('generateName: 12'),
      hookText('generateName: {a: b}'),
      hookText('labels: {a: b}'),
    ])
      expect(read(`# first\n---\n${text}`).errors, text).toMatchObject([{ line: 3, message: 'Job has no metadata.name' }]);
  });

  it('is named by its revision and its content', () => {
    const text = hookText('generateName: migrate-');
    const name = nameOf(text, 'one');
    expect(name).toMatch(/^migrate-[0-9a-f]{8}$/);
    expect(nameOf(text, 'one')).toBe(name);
    expect(nameOf(text, 'two')).not.toBe(name);
    expect(nameOf(hookText('generateName: migrate-, labels: {a: b}'), 'one')).not.toBe(name);
    expect(nameHooks([manifestOf(text)], 'one')[0]?.object.metadata.generateName).toBe('migrate-');
  });

  it('keeps a name that it has', () => {
    expect(nameOf(hookText('name: fixed, generateName: migrate-'), 'one')).toBe('fixed');
  });

  it('gets a name that a Job may have, however long it is', () => {
    const generateName = `${'x'.repeat(80)}-`;
    const name = nameOf(hookText(`generateName: ${generateName}`), 'one') ?? '';
    expect(name).toHaveLength(63);
    expect(isNameOf(generateName, name)).toBe(true);
  });

  it('is known by its names, and not by others that begin alike', () => {
    expect(isNameOf('migrate-', 'migrate-0123abcd')).toBe(true);
    for (const name of ['migrate-', 'migrate-0123abc', 'migrate-0123abcde', 'migrate-db-0123abcd', 'migrate-0123abcg', 'other-0123abcd'])
      expect(isNameOf('migrate-', name), name).toBe(false);
  });
});
