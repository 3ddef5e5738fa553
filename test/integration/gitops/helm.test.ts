import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { systemClock } from '../../../src/base/clock.ts';
import type { Client } from '../../../src/client/client.ts';
import { createBuilder } from '../../../src/gitops/render/builder.ts';
import { createHelm, HelmError, type HelmOptions, type TemplateRequest } from '../../../src/gitops/render/helm.ts';
import { openLocalSource } from '../../../src/gitops/sources/local-source.ts';
import { writeProgram } from '../../support/charts.ts';
import { startEngineWorld } from '../../support/engine.ts';
import { newRepository, temporaryDirectory } from '../../support/git.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

let directory: string;
let signal: AbortSignal;
const cleanups: (() => Promise<void>)[] = [];
beforeEach(async () => {
  directory = await temporaryDirectory('helm-test');
  signal = AbortSignal.timeout(50_000);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await rm(directory, { recursive: true, force: true });
});

const helmOf = (command: string, more: Partial<HelmOptions> = {}) =>
  createHelm({ command, repositories: [], environment: { PATH: process.env.PATH }, clock: systemClock, ...more });

const chart = { files: new Map([['Chart.yaml', Buffer.from('name: a\n')]]) };
const request = (more: Partial<TemplateRequest> = {}): TemplateRequest => ({
  chart,
  values: () => [],
  flags: [],
  releaseName: 'r',
  signal,
  ...more,
});

async function errorOf(promise: Promise<unknown>): Promise<HelmError> {
  const err = await promise.then(
    (value) => new Error(`no error but ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  if (!(err instanceof HelmError)) throw err;
  return err;
}

/** True while a process runs; a zombie does not count. */
const isRunning = (pid: number): Promise<boolean> =>
  readFile(`/proc/${pid}/stat`, 'utf8').then(
    (text) => !/\) Z /.test(text),
    () => false,
  );

/** A script that starts another program, writes its id and waits for it. */
const waiting = (file: string): string => `sleep 300 & echo $! > '${file}.new'; mv '${file}.new' '${file}'; wait`;

async function untilStarted(file: string): Promise<number> {
  await until(async () => existsSync(file), { timeoutMs: 10_000, what: 'the program to start' });
  return Number(await readFile(file, 'utf8'));
}

const untilEnded = (pid: number) =>
  until(async () => !(await isRunning(pid)), { timeoutMs: 10_000, what: 'what the program started to end' });

describe('the helm program', () => {
  it('gets nothing of this process: environment, configuration, directory', async () => {
    const program = await writeProgram(directory, 'env; stat -c "mode=%a" .; echo "at=$PWD"; ls; cat values-0.yaml chart/sub/a.txt');
    const environment = {
      PATH: process.env.PATH,
      SECRET: 'hidden',
      KUBECONFIG: '/home/me/.kube/config',
      HELM_PLUGINS: '/plugins',
      HTTPS_PROXY: 'http://me:hidden@proxy',
    };
    const text = await helmOf(program, { environment }).template(
      request({
        chart: { files: new Map([['sub/a.txt', Buffer.from('in the chart\n')]]) },
        values: (own) => [Buffer.from(`own: ${own?.length ?? 'none'}\n`)],
      }),
    );
    const [, place = ''] = /^at=(.*)$/m.exec(text) ?? [];
    expect(text).not.toContain('hidden');
    expect(text).not.toContain('/home/me');
    expect(text).toContain('KUBECONFIG=/dev/null\n');
    for (const name of ['HOME', 'TMPDIR']) expect(text).toContain(`${name}=${place}\n`);
    for (const name of ['CONFIG_HOME', 'CACHE_HOME', 'DATA_HOME', 'PLUGINS'])
      expect(text).toMatch(new RegExp(`^HELM_${name}=${place}/helm/`, 'm'));
    expect(text).toContain('mode=700\n');
    expect(text).toContain('own: none\n');
    expect(text).toContain('in the chart\n');
    expect(place).not.toBe('');
    expect(existsSync(place)).toBe(false);
  });

  it('takes no value for an option', async () => {
    const program = await writeProgram(directory, 'for each in "$@"; do echo "[$each]"; done');
    const flags = ['--namespace=--post-renderer=/bin/sh', '--name-template=$(id); `id`\n-x'];
    const text = await helmOf(program).template(
      request({ flags, releaseName: '', values: () => [Buffer.from('a: 1\n'), Buffer.from('b: 1\n')] }),
    );
    expect(text).toMatch(
      /^\[template\]\n\[--namespace=--post-renderer=\/bin\/sh\]\n\[--name-template=\$\(id\); `id`\n-x\]\n\[--values=values-0\.yaml\]\n\[--values=values-1\.yaml\]\n\[--generate-name\]\n\[--\]\n\[\/.*\/chart\]\n$/,
    );
    for (const releaseName of ['--help', '-f', 'a b', 'A', 'a/b', 'a'.repeat(54), 'a\n']) {
      expect((await errorOf(helmOf(program).template(request({ releaseName })))).message).toBe(
        `invalid releaseName ${JSON.stringify(releaseName)}`,
      );
    }
  });

  it('is ended after its time, with all that it started', async () => {
    const file = join(directory, 'pid');
    const program = await writeProgram(directory, waiting(file));
    const clock = createManualClock();
    const outcome = errorOf(helmOf(program, { clock }).template(request()));
    const pid = await untilStarted(file);
    clock.advance(60_000);
    expect(await outcome).toMatchObject({ message: 'helm template took longer than 60 s', temporary: true });
    await untilEnded(pid);
  });

  it('is ended when the build is given up', async () => {
    const file = join(directory, 'pid');
    const program = await writeProgram(directory, waiting(file));
    const abort = new AbortController();
    const outcome = errorOf(helmOf(program).template(request({ signal: abort.signal }))).catch((err: unknown) => err);
    const pid = await untilStarted(file);
    abort.abort(new Error('a newer commit'));
    expect(await outcome).toEqual(new Error('a newer commit'));
    await untilEnded(pid);
  });

  it('is ended when it prints or takes too much', async () => {
    const talker = await writeProgram(directory, 'exec yes');
    expect((await errorOf(helmOf(talker).template(request()))).message).toBe('helm printed more than 10485760 bytes');
    const hoarder = await writeProgram(
      directory,
      `exec '${process.execPath}' -e 'const all = []; for (;;) all.push(Buffer.alloc(1e6, 1))'`,
    );
    const err = await errorOf(helmOf(hoarder, { limits: { memoryBytes: 200 * 1024 * 1024 } }).template(request()));
    expect(err.message).toBe('helm took more than 200 MiB of memory');
    // As long as the chart is the same there is no use in trying again.
    expect(err.temporary).toBe(false);
  });

  it('is quoted without paths that are gone, control characters and endless text', async () => {
    const program = await writeProgram(
      directory,
      `echo 'level=ERROR msg=x' >&2; printf 'Error: %s/chart/templates/a.yaml: \\033[31mred\\n' "$PWD" >&2; exit 1`,
    );
    expect((await errorOf(helmOf(program).template(request()))).message).toBe('helm template: chart/templates/a.yaml:  [31mred');
    const talker = await writeProgram(directory, 'yes >&2 & sleep 1; kill $!; exit 3');
    expect((await errorOf(helmOf(talker).template(request()))).message.length).toBeLessThan(3_000);
  });

  it('must be there, be one, and be new enough', async () => {
    for (const command of ['no-such-helm', join(directory, 'helm'), directory]) {
      const err = await errorOf(helmOf(command).template(request()));
      expect(err).toMatchObject({
        message: `${command} is not installed`,
        temporary: true,
        hint: expect.stringContaining('--helm-command'),
      });
    }
    await writeFile(join(directory, 'plain'), 'not to be run');
    expect((await errorOf(helmOf(join(directory, 'plain')).template(request()))).message).toMatch(/plain is not installed$/);
    for (const version of ['v2.17.0', 'Docker version 27', 'v13.0.0', '']) {
      const program = await writeProgram(directory, 'echo "kind: no"', version);
      expect((await errorOf(helmOf(program).template(request()))).message).toBe(
        `${program} is not helm 3 or 4: it calls itself ${JSON.stringify(version)}`,
      );
    }
    await writeFile(join(directory, 'broken'), '#!/no/such/interpreter\n', { mode: 0o755 });
    expect((await errorOf(helmOf(join(directory, 'broken')).template(request()))).message).toMatch(/broken cannot be started: /);
    // A name is looked up in PATH, of which only absolute directories count.
    const program = await writeProgram(directory, 'echo found');
    expect(await helmOf('helm', { environment: { PATH: `.:${directory}:/usr/bin:/bin` } }).template(request())).toBe('found\n');
    expect(await helmOf('helm', { environment: { PATH: '.' } }).identity()).toBeUndefined();
    const before = await helmOf(program).identity();
    await writeProgram(directory, 'echo "another one"');
    expect(await helmOf(program).identity()).not.toBe(before);
  });
});

describe('charts that are fetched', () => {
  const remote = (repository: string, version = '1.2.3'): TemplateRequest => request({ chart: { repository, name: 'app', version } });
  /** Fetches a chart whose name and values tell how it was fetched. */
  const fetcher = `if [ "$1" = pull ]; then
  mkdir -p pulled/app; for each in "$@"; do echo "[$each]"; done > pulled/app/values.yaml; env >> pulled/app/values.yaml; exit
fi
cat values-0.yaml; env | sed 's/^/template /'`;
  const withOwn = { values: (own: Uint8Array | undefined) => [own ?? Buffer.alloc(0)] };

  it('come from addresses that the operator named, at one version', async () => {
    const program = await writeProgram(directory, 'echo "must not run"');
    const helm = helmOf(program, { repositories: ['https://charts.example.com/stable', 'oci://registry.example.com/charts'] });
    for (const address of [
      'https://charts.example.com',
      'https://charts.example.com/stable-not',
      'https://charts.example.com/stable/../other',
      'https://charts.example.com/stable/%2e%2e/other',
      'https://charts.example.com.evil.example/stable',
      'https://charts.example.com:8443/stable',
      'http://charts.example.com/stable',
      'oci://charts.example.com/stable',
      'oci://registry.example.com/charts/../private',
      'https://169.254.169.254/latest',
    ]) {
      const err = await errorOf(helm.template(remote(address)));
      expect(err.message, address).toMatch(/^charts of \S+ are not fetched$/);
      expect(err.hint).toContain('--helm-repository');
    }
    for (const address of [
      'https://me:secret@charts.example.com/stable',
      'https://charts.example.com/stable?a=b',
      'https://charts.example.com/stable#a',
      'file:///etc',
      'https://charts.example.com/stable/$(id)',
      "https://charts.example.com/stable/';id;'",
      'git+https://example.com/x',
      '--post-renderer=/bin/sh',
      'alias',
      '@alias',
    ]) {
      const err = await errorOf(helm.template(remote(address)));
      expect(err.message, address).toMatch(/is not an address of a chart repository$/);
      expect(err.message).not.toContain('secret');
    }
    for (const version of ['', '1', '^1.2.3', '>=1.0.0', '1.2.x', '*', 'latest', '1.2.3 || 9.9.9', '--devel']) {
      expect((await errorOf(helm.template(remote('https://charts.example.com/stable', version)))).message, version).toMatch(
        /^a chart that is fetched needs a version$|is not exact$/,
      );
    }
  });

  it('are fetched by repository or from a registry, through the proxy of this process, which templates know nothing of', async () => {
    const program = await writeProgram(directory, fetcher);
    const environment = {
      PATH: process.env.PATH,
      HTTPS_PROXY: 'http://me:hidden@proxy',
      SSL_CERT_FILE: '/certificates',
      SECRET: 'hidden too',
    };
    const helm = helmOf(program, { environment, repositories: ['https://charts.example.com', 'oci://registry.example.com'] });
    const text = await helm.template({ ...remote('https://charts.example.com/a/../stable//'), ...withOwn });
    expect(text).toContain(
      '[pull]\n[--untar]\n[--untardir=pulled]\n[--version=1.2.3]\n[--repo=https://charts.example.com/stable]\n[--]\n[app]\n',
    );
    expect(text).toContain('HTTPS_PROXY=http://me:hidden@proxy\n');
    expect(text).toContain('SSL_CERT_FILE=/certificates\n');
    expect(text).not.toContain('hidden too');
    expect(text).not.toMatch(/^template .*(proxy|certificates)/m);
    expect(await helm.template({ ...remote('oci://registry.example.com/charts/'), ...withOwn })).toContain(
      '[--version=1.2.3]\n[--]\n[oci://registry.example.com/charts/app]\n',
    );
  });

  it('may be tried again when they could not be had', async () => {
    const program = await writeProgram(directory, 'echo "Error: no such host" >&2; exit 1');
    const helm = helmOf(program, { repositories: ['https://charts.example.com'] });
    expect(await errorOf(helm.template(remote('https://charts.example.com')))).toMatchObject({
      message: 'helm pull: no such host',
      temporary: true,
    });
    const silent = await writeProgram(directory, 'sleep 300');
    const slow = helmOf(silent, { repositories: ['https://charts.example.com'], limits: { pullMs: 300 } });
    expect(await errorOf(slow.template(remote('https://charts.example.com')))).toMatchObject({
      message: 'helm pull took longer than 0.3 s',
      temporary: true,
    });
  });

  it('do not lead out of their directory by what they hold', async () => {
    const program = await writeProgram(
      directory,
      `if [ "$1" = pull ]; then mkdir -p pulled/app; ln -s /etc/passwd pulled/app/values.yaml; exit; fi\ncat values-0.yaml; echo end`,
    );
    const helm = helmOf(program, { repositories: ['https://charts.example.com'] });
    expect(await helm.template({ ...remote('https://charts.example.com'), ...withOwn })).toBe('end\n');
  });
});

describe('charts of hostile trees', () => {
  /** Errors of a build about files; helm itself must not have run. */
  async function errorsIn(files: Readonly<Record<string, string>>, prepare?: (root: string) => Promise<void>): Promise<readonly string[]> {
    const log = join(directory, 'ran');
    const program = await writeProgram(directory, `echo ran > '${log}'`);
    const repository = await newRepository('charts', {
      'web/charts/app/Chart.yaml': 'name: app\n',
      'web/charts/app/values.yaml': 'a: 1\n',
      ...files,
    });
    if (prepare !== undefined) {
      await prepare(repository.directory);
      await repository.commit('prepared', {});
    }
    const source = await openLocalSource({ directory: repository.directory, url: 'charts' });
    cleanups.push(() => source.close());
    const commit = await source.resolve({ branch: 'main' }, { signal });
    const { errors, manifests } = await createBuilder({ helm: helmOf(program) }).build({ source, commit, path: 'web', signal });
    expect(manifests).toEqual([]);
    expect(existsSync(log)).toBe(false);
    return errors.map(({ file, line, message }) => `${file}:${line} ${message}`);
  }

  const app = (field = '', globals = ''): Readonly<Record<string, string>> => ({
    'web/kustomization.yaml': `${globals}helmCharts:\n- name: app\n  releaseName: r\n${field === '' ? '' : `  ${field}\n`}`,
  });

  it.each([
    ['chartHome: ../../elsewhere', "helmCharts[0]: '../../elsewhere/app' leads out of the repository"],
    ['chartHome: /usr/share', "helmCharts[0]: '/usr/share/app' leads out of the repository"],
    ['configHome: /root/.config/helm', 'helmGlobals.configHome: not supported: configHome'],
  ])('helmGlobals with %s are refused', async (field, message) => {
    expect(await errorsIn(app('', `helmGlobals:\n  ${field}\n`))).toEqual([expect.stringContaining(message)]);
  });

  const refused: readonly (readonly [field: string, message: string])[] = [
    ['valuesFile: ../../../etc/passwd', "'../../../etc/passwd' leads out of the repository"],
    ['valuesFile: /etc/passwd', "'/etc/passwd' leads out of the repository"],
    ['valuesFile: https://example.com/values.yaml', 'not supported: remote resource https://example.com/values.yaml'],
    ['valuesFile: link.yaml', "'link.yaml' is a symbolic link, which is not followed"],
    ['additionalValuesFiles: [link.yaml]', "'link.yaml' is a symbolic link, which is not followed"],
    ['additionalValuesFiles: [../../other.yaml]', "'../../other.yaml' leads out of the repository"],
    ['releaseName: --post-renderer=/bin/sh', 'invalid releaseName "--post-renderer=/bin/sh"'],
    ['repo: https://charts.example.com\n  version: 1.2.3', 'charts of https://charts.example.com are not fetched'],
    ['repo: oci://registry.example.com\n  version: 1.2.3', 'charts of oci://registry.example.com are not fetched'],
    ['repo: https://charts.example.com\n  version: ../../..', 'helmCharts[0]: version "../../.." is not exact'],
    ['valuesInline: {a: {b: 1}}', 'could not merge values'],
    ['namespace: "a\\0b"', 'fields of the chart cannot be given to helm'],
    ['nameTemplate: "{{ env `A\\0` }}"', 'fields of the chart cannot be given to helm'],
    [`apiVersions: [${'example.com/v1, '.repeat(5_000)}]`, 'fields of the chart cannot be given to helm'],
    [`additionalValuesFiles: [${'large.yaml, '.repeat(5)}]`, 'additionalValuesFiles are larger than 33554432 bytes together'],
  ];

  it.each(refused.map(([field, message]) => [field.slice(0, 60), field, message] as const))('%s is refused', async (_, field, message) => {
    const [releaseName] = field.startsWith('releaseName') ? [''] : ['  releaseName: r\n'];
    const files = { 'web/kustomization.yaml': `helmCharts:\n- name: app\n${releaseName}  ${field}\n`, 'other.yaml': 'a: 1\n' };
    const prepare = async (root: string): Promise<void> => {
      await symlink('/etc/passwd', join(root, 'web/link.yaml'));
      if (field.includes('large')) await writeFile(join(root, 'web/large.yaml'), `# ${'a'.repeat(8_000_000)}`);
    };
    const errors = await errorsIn(files, prepare);
    expect(errors).toEqual([expect.stringContaining(message)]);
    expect(errors[0]).toMatch(/^web\/kustomization\.yaml:\d /);
  });

  it.each(['-f', '../charts/app', 'a/b', '..', '.', '/etc'])('a chart named %s is refused', async (name) => {
    expect(await errorsIn({ 'web/kustomization.yaml': `helmCharts:\n- name: ${name}\n` })).toEqual([
      `web/kustomization.yaml:2 helmCharts[0]: ${JSON.stringify(name)} is not the name of a chart`,
    ]);
  });

  it('links in a chart, and charts that are links, are not followed', async () => {
    expect(await errorsIn(app(), (root) => symlink('/etc/passwd', join(root, 'web/charts/app/secret.txt')))).toEqual([
      'web/kustomization.yaml:2 helmCharts[0]: secret.txt of the chart is a symbolic link, which is not followed',
    ]);
    const linked = { 'web/kustomization.yaml': 'helmCharts:\n- name: linked\n' };
    expect(await errorsIn(linked, (root) => symlink('/etc', join(root, 'web/charts/linked')))).toEqual([
      "web/kustomization.yaml:2 helmCharts[0]: 'charts/linked' is a symbolic link, which is not followed",
    ]);
    const home = { 'web/kustomization.yaml': 'helmGlobals: {chartHome: out}\nhelmCharts:\n- name: app\n' };
    expect(await errorsIn(home, (root) => symlink('charts', join(root, 'web/out')))).toEqual([
      "web/kustomization.yaml:3 helmCharts[0]: no repo specified for pull, no chart found at 'out/app'",
    ]);
  });
});

describe('an app with charts', () => {
  /** Tells of the release and its values, and keeps a list of its runs. */
  const telling = (log: string, prefix = ''): string => `echo run >> '${log}'
for each in "$@"; do name=$previous; previous=$each; done
printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: %s-app, namespace: web}\\ndata:\\n  values: |\\n' "$name"
sed 's/^/    ${prefix}/' values-0.yaml
printf '\\n  template: |\\n'; sed 's/^/    /' chart/templates/a.yaml`;

  const files = {
    'app/kustomization.yaml': 'helmCharts:\n- name: app\n  releaseName: r\n',
    'app/charts/app/Chart.yaml': 'name: app\nversion: 1.0.0\n',
    'app/charts/app/values.yaml': 'text: first\n',
    'app/charts/app/templates/a.yaml': 'one\n',
    'elsewhere/a.txt': 'a',
  };

  async function follow(client: Client): Promise<void> {
    await client.create(kustomizations, {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: { name: 'app', namespace: 'flux-system' },
      spec: { interval: '1m', retryInterval: '1s', prune: true, path: './app', sourceRef: { kind: 'GitRepository', name: 'cluster' } },
    });
  }

  const readyOf = async (client: Client) =>
    (await client.get(kustomizations, { namespace: 'flux-system', name: 'app' })).status?.conditions?.find(({ type }) => type === 'Ready');

  const dataOf = (client: Client) =>
    client.get(configMaps, { namespace: 'web', name: 'r-app' }).then(
      ({ data }) => data,
      () => undefined,
    );

  async function untilData(client: Client, wanted: Readonly<Record<string, string>>): Promise<void> {
    let seen: unknown;
    await until(
      async () => {
        seen = await dataOf(client);
        return isDeepStrictEqual({ ...(seen as object) }, wanted);
      },
      { timeoutMs: 20_000, what: () => `${JSON.stringify(wanted)}, but it is ${JSON.stringify(seen)}` },
    );
  }

  async function untilRefused(client: Client, text: string): Promise<void> {
    let said = '';
    await until(
      async () => {
        const condition = await readyOf(client);
        said = `${condition?.reason}: ${condition?.message}`;
        return condition?.status === 'False' && condition.reason === 'BuildFailed' && condition.message?.includes(text) === true;
      },
      { timeoutMs: 20_000, what: () => `${text}, but it is ${said}` },
    );
  }

  it('follows its values and templates, and runs helm for nothing else', { timeout: 90_000 }, async () => {
    const log = join(directory, 'log');
    const program = await writeProgram(directory, telling(log));
    const runs = async (): Promise<number> => (await readFile(log, 'utf8')).split('\n').length - 1;
    const builder = createBuilder({ helm: helmOf(program) });
    const { client, repository, stop } = await startEngineWorld(files, { builder });
    cleanups.push(stop);
    await follow(client);
    await untilData(client, { template: 'one\n', values: 'text: first\n' });
    await repository.commit('values', { 'app/charts/app/values.yaml': 'text: second\n' });
    await untilData(client, { template: 'one\n', values: 'text: second\n' });
    await repository.commit('inline', { 'app/kustomization.yaml': `${files['app/kustomization.yaml']}  valuesInline: {text: third}\n` });
    await untilData(client, { template: 'one\n', values: '{"text":"third"}\n' });
    await repository.commit('template', { 'app/charts/app/templates/a.yaml': 'two\n' });
    await untilData(client, { template: 'two\n', values: '{"text":"third"}\n' });
    const before = await runs();
    const sha = await repository.commit('elsewhere', { 'elsewhere/a.txt': 'b' });
    await until(
      async () =>
        (await client.get(kustomizations, { namespace: 'flux-system', name: 'app' })).status?.lastAppliedRevision?.endsWith(sha) === true,
      { timeoutMs: 20_000, what: 'the commit elsewhere' },
    );
    expect(await runs()).toBe(before);

    // The result of another program no longer counts; a missing program takes back nothing.
    const source = await openLocalSource({ directory: repository.directory, url: 'again' });
    cleanups.push(() => source.close());
    const commit = await source.resolve({ branch: 'main' }, { signal });
    const build = () => builder.build({ source, commit, path: 'app', signal });
    const first = await build();
    expect(await build()).toBe(first);
    await rm(program);
    expect(await build()).toBe(first);
    await writeProgram(directory, telling(log, '# '));
    const again = await build();
    expect(again.errors).toEqual([]);
    expect(again.manifests[0]?.object).toMatchObject({ data: { values: '# {"text":"third"}\n' } });
  });

  it('says that charts are switched off', async () => {
    const { client, stop } = await startEngineWorld(files);
    cleanups.push(stop);
    await follow(client);
    await untilRefused(client, 'app/kustomization.yaml:2:3 helmCharts[0]: must specify --enable-helm');
    expect((await readyOf(client))?.message).toContain('commit what helm template prints');
  });

  it('says that helm is missing and goes on once it is there, without another commit', { timeout: 90_000 }, async () => {
    const place = join(directory, 'bin');
    await mkdir(place);
    const { client, stop } = await startEngineWorld(files, { builder: createBuilder({ helm: helmOf(join(place, 'helm')) }) });
    cleanups.push(stop);
    await follow(client);
    await untilRefused(client, `app/kustomization.yaml:2:3 helmCharts[0]: ${join(place, 'helm')} is not installed. Install helm`);
    await writeProgram(place, telling(join(directory, 'log')));
    await untilData(client, { template: 'one\n', values: 'text: first\n' });
  });

  it('names the place of what helm or the chart gets wrong, and applies nothing', { timeout: 90_000 }, async () => {
    const program = await writeProgram(directory, 'echo "Error: template: app/templates/a.yaml:1:3: bad" >&2; exit 1');
    const { client, repository, stop } = await startEngineWorld(files, { builder: createBuilder({ helm: helmOf(program) }) });
    cleanups.push(stop);
    await follow(client);
    await untilRefused(client, 'app/kustomization.yaml:2:3 helmCharts[0]: helm template: template: app/templates/a.yaml:1:3: bad');
    await writeProgram(directory, 'printf "apiVersion: v1\\nkind: ConfigMap\\n"');
    await repository.commit('again', { 'app/charts/app/values.yaml': 'text: second\n' });
    await untilRefused(client, 'helmCharts[0]: line 1 of what helm prints: missing metadata.name in object ConfigMap');
    expect(await dataOf(client)).toBeUndefined();
  });
});
