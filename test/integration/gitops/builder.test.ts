import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { BuildResult } from '../../../src/gitops/manifests/manifest.ts';
import { type Builder, createBuilder } from '../../../src/gitops/render/builder.ts';
import { type GitSource, SourceError } from '../../../src/gitops/sources/git-source.ts';
import { openLocalSource } from '../../../src/gitops/sources/local-source.ts';
import { newRepository, type WorkTree } from '../../support/git.ts';

const signal = AbortSignal.timeout(60_000);
const configMap = (name: string, value = '1'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: web\ndata:\n  a: "${value}"\n`;

/** Counts what is really read, to show that a commit costs what it changed. */
async function counted(repository: WorkTree): Promise<{ source: GitSource; reads: string[] }> {
  const source = await openLocalSource({ directory: repository.directory, url: 'test' });
  const reads: string[] = [];
  return {
    reads,
    source: {
      ...source,
      readTree(oid) {
        reads.push('tree');
        return source.readTree(oid);
      },
      readBlob(oid, max) {
        reads.push('blob');
        return source.readBlob(oid, max);
      },
      readDocuments(oid) {
        reads.push('blob');
        return source.readDocuments(oid);
      },
    },
  };
}

async function build(builder: Builder, source: GitSource, path = ''): Promise<BuildResult> {
  return builder.build({ source, commit: await source.resolve({ branch: 'main' }, { signal }), path, signal });
}

describe('builder', () => {
  it('reads documents, lists and nested directories with file and line', async () => {
    const repository = await newRepository('build', {
      'apps/web/a.yaml': `# comment\n---\n${configMap('a')}---\n${configMap('b')}`,
      'apps/web/deep/c.yml': `apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s, namespace: web}}\n`,
      'apps/web/README.md': 'not read',
      'apps/web/.hidden/x.yaml': ': not read',
    });
    const { source } = await counted(repository);
    const { manifests, errors } = await build(createBuilder(), source, './apps/web');
    expect(errors).toEqual([]);
    expect(manifests.map(({ file, line, object }) => `${file}:${line} ${object.kind}/${object.metadata.name}`)).toEqual([
      'apps/web/a.yaml:3 ConfigMap/a',
      'apps/web/a.yaml:11 ConfigMap/b',
      'apps/web/deep/c.yml:1 Secret/s',
    ]);
    expect(Object.isFrozen(manifests[0]?.object.metadata)).toBe(true);
  });

  it('builds an app beside files of other names that cannot be read, and looks at few of many', async () => {
    const json = JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'j' } });
    const many = Object.fromEntries(Array.from({ length: 150 }, (_, n) => [`${n}.json`, json.replace('j', String(n))]));
    const repository = await newRepository('beside', { 'a.yaml': configMap('a'), ...many });
    const { source, reads } = await counted(repository);
    const all = await build(createBuilder(), source);
    expect([all.errors, all.unread?.length, reads.filter((read) => read === 'blob').length]).toEqual([[], 100, 101]);
    const damaged: GitSource = { ...source, readBlob: () => Promise.reject(new SourceError('CorruptObject', 'lost', { hint: '' })) };
    const { manifests, errors, unread } = await build(createBuilder(), damaged);
    expect([manifests.length, errors, unread]).toEqual([1, [], undefined]);
  });

  it('reads only what a commit changed, and gives the same objects for the rest', async () => {
    const files = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`d${i % 5}/f${i}.yaml`, configMap(`c${i}`)]));
    const repository = await newRepository('incremental', files);
    const { source, reads } = await counted(repository);
    const builder = createBuilder();
    const first = await build(builder, source);
    reads.length = 0;
    await repository.commit('one', { 'd2/f2.yaml': configMap('c2', 'changed') });
    const second = await build(builder, source);
    expect(reads.sort()).toEqual(['blob', 'tree', 'tree']);
    expect(second.digest).not.toBe(first.digest);
    expect(second.manifests[0]?.object).toBe(first.manifests[0]?.object);
    await repository.git('revert', '--no-edit', 'HEAD');
    reads.length = 0;
    const third = await build(builder, source);
    expect(third.digest).toBe(first.digest);
    expect(reads).toEqual([]);
  });

  it('forgets a version of a file that many newer ones follow, and nothing of what did not change', async () => {
    const repository = await newRepository('versions', { 'a/a.yaml': configMap('a', '0'), 'b/b.yaml': configMap('b') });
    const { source, reads } = await counted(repository);
    const builder = createBuilder();
    const first = await source.resolve({ branch: 'main' }, { signal });
    await build(builder, source);
    for (let version = 1; version <= 16; version += 1) {
      await repository.commit(`version ${version}`, { 'a/a.yaml': configMap('a', String(version)) });
      reads.length = 0;
      await build(builder, source);
      expect(reads.sort()).toEqual(['blob', 'tree', 'tree']);
    }
    reads.length = 0;
    expect((await builder.build({ source, commit: first, path: '', signal })).errors).toEqual([]);
    expect(reads.sort()).toEqual(['blob', 'tree', 'tree']);
  });

  it('reports every error with its place, and does not stop at the first', async () => {
    const repository = await newRepository('errors', {
      'a.yaml': `${configMap('ok')}---\nkind: ConfigMap\nmetadata: {name: x}\n`,
      'b.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [unclosed\n',
      'c.yaml': configMap('ok'),
      'kustomize/kustomization.yaml': 'resources:\n- gone.yaml\n',
      'd.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n',
      'e.yaml': configMap('no'),
    });
    await symlink('/etc/passwd', join(repository.directory, 'link.yaml'));
    await repository.commit('link', {});
    const { source } = await counted(repository);
    const { errors } = await build(createBuilder(), source);
    const texts = errors.map(({ file, line, message }) => `${file}:${line ?? ''} ${message}`);
    expect(texts).toContainEqual(expect.stringMatching(/^a\.yaml:9 has no apiVersion/));
    expect(texts).toContainEqual(expect.stringMatching(/^b\.yaml:\d+ /));
    expect(texts).toContainEqual(expect.stringMatching(/^c\.yaml:1 defines ConfigMap web\/ok, which a\.yaml:1 defines too/));
    expect(texts).toContainEqual(expect.stringMatching(/^d\.yaml:1 ConfigMap has no metadata\.name/));
    expect(texts).toContainEqual(expect.stringMatching(/^e\.yaml:1 ConfigMap has the metadata\.name false, which is no text/));
    expect(texts).toContainEqual(expect.stringMatching(/^link\.yaml: is a symbolic link/));
    expect(texts).toContainEqual(expect.stringMatching(/^kustomize\/kustomization\.yaml:2 resources\[0\]: 'gone\.yaml' doesn't exist/));
  });

  it('refuses a path that is missing or climbs out', async () => {
    const repository = await newRepository('path', { 'a.yaml': configMap('a') });
    const { source } = await counted(repository);
    for (const path of ['gone', '../etc', 'a.yaml']) {
      const { errors, manifests } = await build(createBuilder(), source, path);
      expect(manifests).toEqual([]);
      expect(errors[0]?.message).toMatch(/is not a directory of the repository/);
    }
  });
});
