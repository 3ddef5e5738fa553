import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { build } from '../../../src/cli/build.ts';
import { Failure } from '../../../src/cli/failure.ts';
import { createProgram } from '../../../src/cli/program.ts';
import { writeProgram } from '../../support/charts.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { type Files, writeFiles } from '../../support/kustomize.ts';

const configMap = (name: string): string => `kind: ConfigMap\napiVersion: v1\nmetadata: {name: ${name}}\ndata: {b: "1", a: "yes"}\n`;

async function run(files: Files, path = ''): Promise<{ readonly root: string; readonly text: string; readonly code: number }> {
  const root = await temporaryDirectory('build');
  await writeFiles(root, files);
  const chunks: string[] = [];
  const output = new Writable({
    write(chunk, _, done) {
      chunks.push(String(chunk));
      done();
    },
  });
  return { root, code: await build({ path: `${root}/${path}`, output }), text: chunks.join('') };
}

async function failureOf(files: Files, path = ''): Promise<Failure> {
  const failure = await run(files, path).then(
    () => undefined,
    (err: unknown) => err,
  );
  if (!(failure instanceof Failure)) throw failure;
  return failure;
}

describe('midship build', () => {
  it('prints the objects of a kustomization with a base next to it', async () => {
    const { text, code } = await run(
      {
        'base/kustomization.yaml': 'resources: [a.yaml]\n',
        'base/a.yaml': configMap('a'),
        'shop/kustomization.yaml': 'namePrefix: shop-\nresources: [../base]\n',
      },
      'shop',
    );
    expect(code).toBe(0);
    expect(text).toBe('apiVersion: v1\ndata:\n  a: "yes"\n  b: "1"\nkind: ConfigMap\nmetadata:\n  name: shop-a\n');
  });

  it('reads files that lie elsewhere when asked to, and only then', async () => {
    const files = { 'shop/kustomization.yaml': 'resources: [../a.yaml]\n', 'a.yaml': configMap('a') };
    const { root } = await run({ ...files, 'a/b.yaml': configMap('b') }, 'a');
    const texts: string[] = [];
    const stdout = new Writable({ write: (chunk, _, done) => done(void texts.push(String(chunk))) }) as NodeJS.WriteStream;
    const midship = (...args: string[]): Promise<number> =>
      createProgram({ environment: {}, stdout, stderr: stdout, version: '0' }).run(['build', `${root}/shop`, ...args]);
    expect((await failureOf(files, 'shop')).why).toContain("security; file '../a.yaml' is not in or below");
    expect(await midship('--load-restrictor', 'LoadRestrictionsNone')).toBe(0);
    expect(texts.join('')).toContain('name: a');
  });

  it('prints plain directories as an app of them is built', async () => {
    const { text } = await run({
      'a.yaml': configMap('a'),
      'deep/b.yml': configMap('b'),
      'web/kustomization.yaml': 'nameSuffix: -web\nresources: [c.yaml]\n',
      'web/c.yaml': configMap('c'),
      'web/not-listed.yaml': configMap('d'),
      '.hidden/e.yaml': configMap('e'),
      'README.md': 'not read',
    });
    expect([...text.matchAll(/^ {2}name: (.*)$/gm)].map(([, name]) => name)).toEqual(['a', 'b', 'c-web']);
  });

  it('names file, line, field and the next step, and exits with 1', async () => {
    const failure = await failureOf({ 'kustomization.yaml': 'resources:\n- a.yaml\n- gone.yaml\n', 'a.yaml': configMap('a') });
    expect(failure.exitCode).toBe(1);
    expect(failure.message).toMatch(/kustomization\.yaml:3:3$/);
    expect(failure.why).toBe("resources[1]: 'gone.yaml' doesn't exist");
    expect(failure.fix).toBe('Commit the file, or take it out of the list.');
  });

  it('says what is wrong with the path', async () => {
    expect((await failureOf({}, 'absent')).message).toMatch(/absent is not a directory$/);
    expect((await failureOf({ 'a.yaml': configMap('a') }, 'a.yaml')).why).toContain('a file');
    expect((await failureOf({ 'README.md': '' })).message).toMatch(/holds no manifest$/);
  });
});

describe('midship build of charts', () => {
  const files = {
    'kustomization.yaml': 'helmCharts:\n- name: app\n  releaseName: r\n  namespace: shop\n',
    'charts/app/Chart.yaml': 'name: app\nversion: 1.0.0\n',
    'charts/app/values.yaml': 'text: own\n',
  };

  /** The program with a command line, in place of the process. */
  async function midship(root: string, ...argv: readonly string[]): Promise<{ readonly text: string; readonly failure: unknown }> {
    const chunks: string[] = [];
    const stdout = new Writable({
      write(chunk, _, done) {
        chunks.push(String(chunk));
        done();
      },
    }) as NodeJS.WriteStream;
    const program = createProgram({ environment: { PATH: `${root}/bin:${process.env.PATH}` }, stdout, stderr: stdout, version: '1.2.3' });
    const failure = await program.run(argv).then(
      () => undefined,
      (err: unknown) => err,
    );
    return { text: chunks.join(''), failure };
  }

  it('runs helm only with the flag', async () => {
    const root = await temporaryDirectory('build');
    await writeFiles(root, { ...files, 'bin/README': '' });
    const told = await writeProgram(
      `${root}/bin`,
      `printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: a}\\ndata:\\n  args: "%s"\\n' "$2 $5" && sed 's/^/  /' values-0.yaml`,
    );
    const expected = {
      text: 'apiVersion: v1\ndata:\n  args: --namespace=shop r\n  text: own\nkind: ConfigMap\nmetadata:\n  name: a\n',
      failure: undefined,
    };
    expect(await midship(root, 'build', root, '--enable-helm')).toEqual(expected);
    expect(await midship(root, 'build', root, '--enable-helm', '--helm-command', told)).toEqual(expected);
  });

  it('says how to switch it on, and where helm comes from', async () => {
    const root = await temporaryDirectory('build');
    await writeFiles(root, files);
    const off = await midship(root, 'build', root);
    expect(off.text).toBe('');
    expect(off.failure).toMatchObject({
      message: expect.stringMatching(/kustomization\.yaml:2:3$/),
      why: 'helmCharts[0]: must specify --enable-helm',
      fix: expect.stringContaining('commit what helm template prints'),
      exitCode: 1,
    });
    expect((await midship(root, 'build', root, '--enable-helm', '--helm-command', 'no-such-helm')).failure).toMatchObject({
      message: expect.stringMatching(/kustomization\.yaml:2:3$/),
      why: 'helmCharts[0]: no-such-helm is not installed',
      fix: expect.stringContaining('https://helm.sh'),
    });
    expect(
      (await midship(root, 'build', root, '--enable-helm', '--helm-repository', 'https://me:secret@example.com')).failure,
    ).toMatchObject({
      message: expect.stringContaining('An address such as https://HOST/PATH'),
      exitCode: 2,
    });
  });
});
