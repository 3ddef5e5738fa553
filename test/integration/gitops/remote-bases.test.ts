import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGitBases } from '../../../src/gitops/render/git-bases.ts';
import { directoryTree } from '../../../src/gitops/render/kustomize/directory-tree.ts';
import { KustomizeError } from '../../../src/gitops/render/kustomize/file-tree.ts';
import type { RemoteBases } from '../../../src/gitops/render/kustomize/remote-bases.ts';
import { createRenderer } from '../../../src/gitops/render/kustomize/render.ts';
import { createSourceOpener } from '../../../src/gitops/sources/open-source.ts';
import { newRepository, temporaryDirectory, type WorkTree } from '../../support/git.ts';
import { type ServedRemote, serveRemote } from '../../support/git-remote.ts';
import { type Files, writeFiles } from '../../support/kustomize.ts';

const token = 'correct-horse';
const configMap = (name: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\n`;

let repository: WorkTree;
let remote: ServedRemote;
let cacheDirectory: string;
let sha: string;

beforeAll(async () => {
  cacheDirectory = await temporaryDirectory('bases');
  repository = await newRepository('library', {
    'base/kustomization.yaml': 'resources: [../common, one.yaml]\nnamePrefix: base-\n',
    'base/one.yaml': configMap('one'),
    'common/kustomization.yaml': 'resources: [shared.yaml]\n',
    'common/shared.yaml': configMap('shared'),
    'part/kustomization.yaml': 'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -part\n',
    'outward/kustomization.yaml': 'resources: [../../secret.yaml]\n',
    'further/kustomization.yaml': 'resources: [../../../secrets]\n',
    'patched/kustomization.yaml': 'resources: [../common]\npatches: [{path: ../../patch.yaml, target: {kind: ConfigMap}}]\n',
    'my dir/kustomization.yaml': 'resources: [../common]\n',
  });
  await repository.git('tag', 'v1');
  sha = await repository.git('rev-parse', 'HEAD');
  await writeFiles(repository.directory, { 'common/shared.yaml': configMap('newer') });
  await repository.git('commit', '--all', '--message', 'newer');
  remote = await serveRemote({
    repositories: { library: join(repository.directory, '.git'), other: join(repository.directory, '.git') },
    token,
  });
});
afterAll(() => remote.stop());

const bases = (allowed: readonly string[] = [remote.url('library')]): RemoteBases => {
  const { open } = createSourceOpener({ builtInUrl: () => '\0', builtIn: new Map(), cacheDirectory });
  return createGitBases({
    allowed,
    openSource: (url, options) => open(url, { ...options, access: { username: 'midship', password: token } }),
  });
};

/** Names of what is built; what went wrong. */
async function build(
  kustomization: string,
  { files = {}, remoteBases = bases() }: { files?: Files; remoteBases?: RemoteBases | undefined } = {},
) {
  const directory = await temporaryDirectory('overlay');
  await writeFiles(directory, {
    'secret.yaml': configMap('secret'),
    'secrets/kustomization.yaml': 'resources: []\n',
    ...files,
    'kustomization.yaml': kustomization,
  });
  try {
    const rendered = await createRenderer().render({ tree: directoryTree(directory), path: '', remoteBases });
    return rendered.map(({ object }) => (object.metadata as { readonly name: string }).name).sort();
  } catch (err) {
    if (!(err instanceof KustomizeError)) throw err;
    return `${err.file}: ${err.message}`;
  }
}

describe('a base in another repository', () => {
  it('is built as it was at a tag or commit, with what it refers to there', async () => {
    const url = remote.url('library');
    expect(await build(`resources: ["${url}/base?ref=v1"]\nnamePrefix: my-\n`)).toEqual(['my-base-one', 'my-base-shared']);
    expect(await build(`resources: ["${url}//base?ref=${sha}"]\n`)).toEqual(['base-one', 'base-shared']);
    expect(await build(`resources: ["${url}/my%20dir?ref=v1"]\n`)).toEqual(['shared']);
  });

  it('may be a component, and a base of a base', async () => {
    const url = remote.url('library');
    const files = { 'inner/kustomization.yaml': `resources: ["${url}/common?ref=v1"]\n` };
    expect(await build(`resources: [inner]\ncomponents: ["${url}/part?ref=v1"]\n`, { files })).toEqual(['shared-part']);
  });

  it('says in the origin where it is from', async () => {
    const directory = await temporaryDirectory('overlay');
    await writeFiles(directory, {
      'kustomization.yaml': `resources: ["${remote.url('library')}/common?ref=v1"]\nbuildMetadata: [originAnnotations]\n`,
    });
    const [object] = await createRenderer().render({ tree: directoryTree(directory), path: '', remoteBases: bases() });
    expect(object?.object.metadata).toMatchObject({
      annotations: { 'config.kubernetes.io/origin': `path: common/shared.yaml\nrepo: ${remote.url('library')}\nref: v1\n` },
    });
  });

  it('is fetched once', async () => {
    const remoteBases = bases();
    const kustomization = `resources: ["${remote.url('library')}/common?ref=v1"]\n`;
    await build(kustomization, { remoteBases });
    const before = remote.requests.length;
    expect(await build(kustomization, { remoteBases })).toEqual(['shared']);
    expect(remote.requests.length).toBe(before);
  });

  it.each([
    ['without permission', undefined, (url: string) => `${url}/common?ref=v1`, /not supported: remote resource/],
    ['of a repository that is not allowed', ['https://github.com/example'], (url: string) => `${url}/common?ref=v1`, /are not allowed/],
    ['of a name that only begins alike', ['BASE/git/lib'], (url: string) => `${url}/common?ref=v1`, /are not allowed/],
  ])('is refused %s, and nothing is asked for', async (_what, allowed, address, problem) => {
    const before = remote.requests.length;
    const base = new URL(remote.url('library')).origin;
    const remoteBases = allowed === undefined ? undefined : bases(allowed.map((each) => each.replace('BASE', base)));
    const directory = await temporaryDirectory('overlay');
    await writeFiles(directory, { 'kustomization.yaml': `resources: ["${address(remote.url('library'))}"]\n` });
    await expect(createRenderer().render({ tree: directoryTree(directory), path: '', remoteBases })).rejects.toThrow(problem);
    expect(remote.requests.length).toBe(before);
  });

  it.each([
    [
      'leads to a file of the tree that names it',
      (url: string) => `${url}/outward?ref=v1`,
      /leads out of the repository|is not in or below/,
    ],
    ['leads to a directory of that tree', (url: string) => `${url}/further?ref=v1`, /leads out of the repository/],
    ['patches with a file of that tree', (url: string) => `${url}/patched?ref=v1`, /is not in or below/],
    ['goes up in its address', (url: string) => `${url}//common%2F..%2F..%2F..?ref=v1`, /leads out of its repository/],
    ['follows a branch', (url: string) => `${url}/common?ref=main`, /library\.git.*main|main.*library\.git/],
    ['names no ref', (url: string) => `${url}/common`, /names no ref/],
    ['has credentials', (url: string) => `${url.replace('//', '//me:hunter2@')}/common?ref=v1`, /has credentials/],
    [
      'is no address',
      (url: string) => `ssh://git@${new URL(url).host}/git/library.git/common?ref=v1`,
      /not supported: remote resource ssh/,
    ],
    ['is a command', () => 'ext::sh -c "touch /tmp/x"?ref=v1', /not supported: remote resource ext/],
    ['is not there', (url: string) => `${url}/none?ref=v1`, /doesn't exist/],
    ['is a file', (url: string) => `${url}/common/shared.yaml?ref=v1`, /is a file/],
    ['is in a repository that is not there', (url: string) => `${url.replace('library', 'none')}/common?ref=v1`, /are not allowed/],
  ])('is refused when it %s', async (_what, address, problem) => {
    const outcome = await build(`resources: ['${address(remote.url('library'))}']\n`);
    expect(outcome).toMatch(problem);
    expect(outcome).not.toContain('hunter2');
  });

  it('is not entered by a path of the tree', async () => {
    const mounted = `remote:${remote.url('library').replaceAll('/', '\u2215')}@v1`;
    const outcome = await build(`resources: ["${remote.url('library')}/common?ref=v1", "${mounted}/base"]\n`);
    expect(outcome).toMatch(/leads out of the repository|not supported/);
  });

  it('is no patch and no file of a generator', async () => {
    expect(await build(`resources: [secret.yaml]\npatches: [{path: "${remote.url('library')}/common/shared.yaml?ref=v1"}]\n`)).toMatch(
      /not supported: remote resource/,
    );
  });
});
