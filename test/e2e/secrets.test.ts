import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { program, type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { cloneRepository, temporaryDirectory, type WorkTree } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { until } from '../support/until.ts';

/** Every way in which a value of a Secret may come into a message. Each value is one that nothing else has. */
const values = {
  number: '9955119901',
  alias: 'canaryalias01',
  base64: '!canary-base64-02',
  list: 'canary-list-03',
  immutableBefore: 'canary-immutable-04a',
  immutableAfter: 'canary-immutable-04b',
  port: '9955117',
  name: 'Canary_Name_06',
  label: 'canary label 07!',
  token: 'canarytoken08-whole-value',
  nextToken: 'canarytoken08-next-value',
  replaced: 'canary replaced 09!',
  image: 'canaryimage10',
  literal: 'canary-literal-without-equals-11',
  quoted: 'canary-quoted-by-a-policy-12',
  generated: 'canary generated 13!',
  onlyOnDisk: 'canary-only-in-a-secret-14',
} as const;

/**
 * Gives the texts that would reveal a value: the value, its base64, a part that a variable takes of it, and forms that
 * messages escape.
 */
const formsOf = (value: string): readonly string[] => [
  value,
  Buffer.from(value).toString('base64').replace(/=+$/, ''),
  encodeURIComponent(value),
];
const forbidden: readonly string[] = [...Object.values(values).flatMap(formsOf), 'canarytok', 'CANARYTOKEN08'];

/** A variable as Flux writes it. */
const v = (expression: string): string => `\${${expression}}`;
const secret = (name: string, body: string): string =>
  `apiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: default}\n${body}\n`;
const configMap = (name: string, more = '', data = '{a: b}'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: default${more}}\ndata: ${data}\n`;
const service = (port: string): string =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: port, namespace: default}\nspec:\n  selector: {app: x}\n  ports:\n  - port: ${port}\n`;
const deployment = (image: string, value: string): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "${image}", env: [{name: TOKEN, value: "${value}"}]}
`;

const apps: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  number: { 'a.yaml': secret('number', `stringData: {password: ${values.number}}`) },
  alias: { 'a.yaml': secret('alias', `stringData: {password: *${values.alias}}`) },
  base64: { 'a.yaml': secret('base64', `data: {password: "${values.base64}"}`) },
  list: { 'a.yaml': secret('list', `stringData: {password: [${values.list}]}`) },
  immutable: { 'a.yaml': secret('immutable', `immutable: true\nstringData: {password: ${values.immutableBefore}}`) },
  port: { 'a.yaml': service(v('PORT:=80')) },
  short: { 'a.yaml': service(v('SHORT')).replace('name: port', 'name: short') },
  name: { 'a.yaml': configMap(`"${v('NAME')}"`) },
  label: { 'a.yaml': configMap('label', `, labels: {a: "${v('LABEL:-none')}"}`) },
  part: { 'a.yaml': configMap(`"Part-${v('TOKEN:0:9')}"`), 'b.yaml': configMap('case', `, labels: {a: "${v('TOKEN^^')}!"}`) },
  replaced: {
    'kustomization.yaml': `resources: [a.yaml, b.yaml]
replacements:
- source: {kind: Secret, name: replaced, fieldPath: stringData.password}
  targets: [{select: {kind: ConfigMap}, fieldPaths: [metadata.labels.a]}]
`,
    'a.yaml': secret('replaced', `stringData: {password: "${values.replaced}"}`),
    'b.yaml': configMap('replaced', ', labels: {a: b}'),
  },
  generated: {
    'kustomization.yaml': `resources: [b.yaml]
secretGenerator: [{name: generated, namespace: default, literals: ["password=${values.generated}"]}]
replacements:
- source: {kind: Secret, name: generated, fieldPath: data.password}
  targets: [{select: {kind: ConfigMap}, fieldPaths: [metadata.labels.a]}]
`,
    'b.yaml': configMap('generated', ', labels: {a: b}'),
  },
  literal: { 'kustomization.yaml': `secretGenerator: [{name: literal, literals: ["${values.literal}"]}]\n` },
  policy: { 'a.yaml': secret('quoted', `stringData: {password: ${values.quoted}}`) },
  // Nothing wrong with it but the image, which no node has: what pods say of it is the app's health.
  image: { 'a.yaml': deployment(`registry.invalid/${v('IMAGE')}:1`, v('TOKEN')) },
  disk: { 'a.yaml': secret('disk', `stringData: {password: ${values.onlyOnDisk}}`) },
};

const app = (name: string): string => `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: ${name}, namespace: flux-system}
spec:
  interval: 10m
  retryInterval: 2s
  path: ./apps/${name}
  prune: true
  sourceRef: {kind: GitRepository, name: flux-system}
  postBuild: {substituteFrom: [{kind: Secret, name: variables}]}
`;

const variables = (token: string) => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'variables', namespace: 'flux-system' },
  stringData: { PORT: values.port, SHORT: '0', NAME: values.name, LABEL: values.label, TOKEN: token, IMAGE: values.image },
});

const policy = {
  apiVersion: 'v1',
  kind: 'List',
  items: [
    {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicy',
      metadata: { name: 'quotes' },
      spec: {
        matchConstraints: {
          resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE', 'UPDATE'], resources: ['secrets'] }],
        },
        matchConditions: [{ name: 'one', expression: 'object.metadata.name == "quoted"' }],
        validations: [{ expression: 'false', messageExpression: '"the password is " + string(object.data.password)' }],
      },
    },
    {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata: { name: 'quotes' },
      spec: { policyName: 'quotes', validationActions: ['Deny', 'Audit'] },
    },
  ],
};

/** Fails with the place and the line in which a value is. */
function expectNone(place: string, text: string): void {
  for (const form of forbidden) {
    const at = text.indexOf(form);
    if (at !== -1) throw new Error(`${place} shows ${form}: …${text.slice(Math.max(0, at - 200), at + 100)}…`);
  }
}

describe.skipIf(!hasKubectl)('values of Secrets (needs kubectl)', () => {
  let cluster: RunningCluster;
  let tree: WorkTree;
  let hook: Server;
  let told = '';
  const pushes: string[] = [];

  const kubectlApply = async (object: unknown): Promise<void> => {
    const file = join(await temporaryDirectory('object'), 'object.json');
    await writeFile(file, JSON.stringify(object));
    const { code, stderr } = await cluster.kubectl('apply', '--server-side', '-f', file);
    expect(code, stderr).toBe(0);
  };
  // Standard error is where the remote's words come.
  const push = async (): Promise<void> => {
    const { stdout, stderr } = await run('git', ['push', 'origin', 'main'], process.env, tree.directory);
    pushes.push(stdout + stderr);
  };
  const readyOf = async (name: string): Promise<{ readonly status: string; readonly reason: string; readonly message: string }> => {
    const { stdout } = await cluster.kubectl('get', 'kustomization', name, '-n', 'flux-system', '-o', 'json');
    const { status } = JSON.parse(stdout || '{}') as {
      readonly status?: { readonly conditions?: readonly { readonly type: string; status: string; reason: string; message: string }[] };
    };
    return status?.conditions?.find(({ type }) => type === 'Ready') ?? { status: '', reason: '', message: '' };
  };
  const untilFailed = (name: string): Promise<unknown> =>
    until(async () => (await readyOf(name)).status === 'False', {
      timeoutMs: 60_000,
      what: async () => `${name} to be refused: ${JSON.stringify(await readyOf(name))}\n${cluster.output()}`,
    });

  beforeAll(async () => {
    hook = createServer((request, response) => {
      request.setEncoding('utf8').on('data', (chunk: string) => (told += chunk));
      request.on('end', () => response.end());
    });
    await new Promise<void>((resolve) => hook.listen(0, '127.0.0.1', resolve));
    const auditPolicy = join(await temporaryDirectory('audit'), 'policy.yaml');
    await writeFile(auditPolicy, 'apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]\n');
    cluster = await startCluster({
      command: 'up',
      args: ['--path', './clusters', '--pre-receive', 'warn', '--audit-policy-file', auditPolicy],
      environment: { MIDSHIP_LOG_LEVEL: 'debug' },
    });
    await kubectlApply(policy);
    await kubectlApply(variables(values.token));
    const provider = { type: 'generic', address: `http://127.0.0.1:${(hook.address() as AddressInfo).port}/` };
    const notification = { apiVersion: 'notification.toolkit.fluxcd.io/v1beta3', metadata: { name: 'hook', namespace: 'flux-system' } };
    await kubectlApply({ ...notification, kind: 'Provider', spec: provider });
    const eventSources = [{ kind: 'Kustomization', name: '*' }];
    await kubectlApply({ ...notification, kind: 'Alert', spec: { providerRef: { name: 'hook' }, eventSeverity: 'info', eventSources } });

    tree = await cloneRepository(cluster.endpoints.git, 'pusher');
    await tree.git('checkout', '--quiet', '-B', 'main');
    const files: Record<string, string> = {};
    for (const [name, manifests] of Object.entries(apps)) {
      files[`clusters/${name}.yaml`] = app(name);
      for (const [file, text] of Object.entries(manifests)) files[`apps/${name}/${file}`] = text;
    }
    await tree.commit('apps', files);
    await push();
    for (const name of Object.keys(apps)) if (!['immutable', 'image', 'disk'].includes(name)) await untilFailed(name);
    await until(async () => (await readyOf('immutable')).status === 'True', { what: () => cluster.output() });

    // A value that may not change, one that does, and one that somebody writes by hand.
    await tree.commit('immutable', {
      'apps/immutable/a.yaml': (apps.immutable?.['a.yaml'] ?? '').replace(values.immutableBefore, values.immutableAfter),
    });
    await push();
    await untilFailed('immutable');
    await kubectlApply(variables(values.nextToken));
    const tokenOf = async (): Promise<string> => (await cluster.kubectl('get', 'deployment', 'web', '-o', 'json')).stdout;
    await until(async () => (await tokenOf()).includes(values.nextToken), { what: () => cluster.output() });
    const set = await cluster.kubectl('set', 'env', 'deployment/web', `TOKEN=by-hand`);
    expect(set.code, set.stderr).toBe(0);
    await until(async () => !(await tokenOf()).includes('by-hand'), { what: () => cluster.output() });
    await until(() => told.includes('immutable'), { what: 'the alert' });
  }, 240_000);

  afterAll(async () => {
    await cluster?.stop();
    hook?.close();
  });

  it('are in no message of an app that cannot be applied; its messages still say where and why', async () => {
    const messages = Object.fromEntries(
      await Promise.all(Object.keys(apps).map(async (name) => [name, (await readyOf(name)).message] as const)),
    );
    expectNone('a condition', JSON.stringify(messages));
    expect(messages.number).toContain('apps/number/a.yaml');
    expect(messages.number).toContain('stringData.password must be a text: put it in quotes');
    expect(messages.port).toContain('spec.ports[0].port: Invalid value: ***: must be between 1 and 65535');
    expect(messages.short).toContain('spec.ports[0].port: Invalid value: ***: must be between');
    expect(messages.label).toContain('metadata.labels: Invalid value: "***"');
    expect(messages.policy).toContain('the password is ***');
    expect(messages.literal).toContain('invalid literal source literals[0], expected key=value');
  });

  it('are on no page and in none of its data', async () => {
    const paths = [
      '/',
      '/status.json',
      '/events',
      '/steps',
      '/objects',
      '/find?q=secret',
      '/nodes/node-a',
      '/nodes/node-b',
      '/metrics',
      '/metrics/gitops',
      '/metrics/state',
    ];
    const pages = Object.keys(apps).map((name) => `/apps/flux-system/${name}`);
    const tabs = ['history', 'logs', 'events', 'conditions'].map((tab) => `${pages[0]}?tab=${tab}`);
    for (const path of [...paths, ...pages, ...tabs]) {
      const response = await fetch(`${cluster.endpoints.http}${path}`);
      expect(response.status, path).toBe(200);
      expectNone(path, await response.text());
    }
  });

  it('are in no Event, status or history', async () => {
    const { stdout: events } = await cluster.kubectl('get', 'events', '-A', '-o', 'json');
    expect(events).toContain('DriftCorrected');
    expectNone('an Event', events);
    const { stdout } = await cluster.kubectl('get', 'kustomizations', '-A', '-o', 'json');
    const { items } = JSON.parse(stdout) as { readonly items: readonly { readonly status?: unknown }[] };
    expect(items).toHaveLength(Object.keys(apps).length + 1);
    expectNone('a status', JSON.stringify(items.map(({ status }) => status)));
    for (const name of ['image', 'immutable', 'port'])
      expectNone(`history ${name}`, (await cluster.midship('history', name, '-o', 'json')).stdout);
    expect((await cluster.midship('history', 'image', '-o', 'json')).stdout).toContain('***');
  });

  it('are in no answer of a command', async () => {
    const commands = [
      ['status', '-o', 'json'],
      ['events'],
      ['get', 'apps', '-o', 'json'],
      ['why', 'image/Deployment/web', '-o', 'json'],
      ['tree', 'image'],
      ...Object.keys(apps).flatMap((name) => [['why', name, '-o', 'json']]),
      ['why', 'port'],
      ['events', 'image'],
    ];
    for (const args of commands) {
      const { stdout, stderr } = await cluster.midship(...args);
      expect(stdout, `${args.join(' ')}: ${stderr}`).not.toBe('');
      // The spec of an app is what was written, and has no value.
      expectNone(`midship ${args.join(' ')}`, stdout + stderr);
    }
  });

  it('are in no diff', async () => {
    await writeFile(join(tree.directory, 'apps/image/a.yaml'), deployment(`registry.invalid/${v('IMAGE')}:2`, `other-${v('TOKEN')}`));
    const here = (...args: readonly string[]) =>
      run(process.execPath, [program, ...args, '--data-dir', cluster.dataDirectory], { ...process.env, NO_COLOR: '1' }, tree.directory);
    const diff = await here('diff', 'image');
    expect(diff.stdout, diff.stderr).toContain('registry.invalid/***:1');
    expect(diff.stdout).toContain('registry.invalid/***:2');
    expectNone('midship diff', diff.stdout + diff.stderr);
    const all = await here('diff');
    expectNone('midship diff', all.stdout + all.stderr);
    const validated = await cluster.midship('validate', tree.directory);
    expectNone('midship validate', validated.stdout + validated.stderr);
    for (const name of ['literal', 'alias', 'generated']) {
      const built = await cluster.midship('build', join(tree.directory, 'apps', name));
      // The output of a build has values; messages about what is wrong with it have none.
      expectNone(`midship build ${name}`, built.stderr);
    }
  });

  it('are in no output of a push, no terminal, and no notification', () => {
    expect(pushes.join('\n')).toContain('apps/number/a.yaml');
    expectNone('the push', pushes.join('\n'));
    expect(cluster.output()).toContain('apps/number/a.yaml');
    expectNone('the terminal', cluster.output());
    expect(told).toContain('apps/number/a.yaml');
    expectNone('a notification', told);
  });

  it('are in no Event that comes after a restart, before any app is built', async () => {
    const pullsOf = async (): Promise<number> => {
      const { stdout } = await cluster.kubectl('get', 'events', '-n', 'default', '-o', 'json');
      expectNone('an Event after a restart', stdout);
      const { items } = JSON.parse(stdout) as { readonly items: readonly { readonly message?: string; readonly count?: number }[] };
      return items.filter(({ message = '' }) => message.includes('registry.invalid')).reduce((sum, { count = 1 }) => sum + count, 0);
    };
    const before = await pullsOf();
    expect(before).toBeGreaterThan(0);
    await cluster.stop();
    cluster = await startCluster({ command: 'up', args: ['--path', './clusters'], dataDirectory: cluster.dataDirectory });
    await until(async () => (await pullsOf()) > before, { timeoutMs: 60_000, what: 'the image to be asked for again' });
  }, 150_000);

  it('are in no file of the data directory that is not Git or the root of a pod', async () => {
    const files: string[] = [];
    const walk = async (directory: string): Promise<void> => {
      for (const entry of await readdir(directory, { withFileTypes: true })) {
        const path = join(directory, entry.name);
        const name = relative(cluster.dataDirectory, path);
        if (name === 'git' || name === 'pods') continue;
        if (entry.isDirectory()) await walk(path);
        else if (entry.isFile()) files.push(path);
      }
    };
    await walk(cluster.dataDirectory);
    expect(files.map((file) => relative(cluster.dataDirectory, file))).toEqual(
      expect.arrayContaining(['state.db', 'state.db-wal', 'logs/midship.log']),
    );
    for (const file of files) {
      const name = relative(cluster.dataDirectory, file);
      const bytes = (await readFile(file)).toString('latin1');
      if (name.endsWith('.log')) {
        // Bodies of Deployments are what their reader asked to have in the audit log.
        if (!name.endsWith('audit.log')) expectNone(name, bytes);
      }
      for (const value of [values.onlyOnDisk, values.immutableBefore])
        for (const form of formsOf(value)) expect(bytes.includes(form), `${form} in ${name}`).toBe(false);
      expect((await stat(file)).mode & 0o077, name).toBe(0);
    }
  });
});
