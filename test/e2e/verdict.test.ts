import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appStates, isMatch, type VerdictState, verdictOver } from '../../src/base/contracts/app-states.ts';
import type { AppOverview, Overview } from '../../src/base/contracts/overview.ts';
import { type RunningCluster, startCluster } from '../support/cluster.ts';
import { cloneRepository, type WorkTree } from '../support/git.ts';
import { hasNamespaces } from '../support/isolation.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { until } from '../support/until.ts';

const appOf = (name: string, more = ''): string =>
  `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: { name: ${name}, namespace: flux-system }
spec: { interval: 10m, path: ./${name}, prune: true, ${more}sourceRef: { kind: GitRepository, name: flux-system } }
`;
const configMap = (name: string, value = '1', namespace = 'shop'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: ${name}, namespace: ${namespace} }\ndata: { a: "${value}" }\n`;

interface Web {
  readonly replicas?: number;
  readonly image?: string;
  readonly command?: string;
  readonly more?: string;
}

const web = ({ replicas = 2, image = 'host/sleep', command = 'sleep, "100000"', more = '' }: Web = {}): string =>
  `apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  replicas: ${replicas}
  progressDeadlineSeconds: 5
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - { name: web, image: ${image}, command: [${command}]${more} }
`;

const autoscaler = (metric: string): string =>
  `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: web, namespace: shop }
spec:
  minReplicas: 2
  maxReplicas: 6
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: web }
  metrics: [${metric}]
`;
const queueMetric = '{ type: External, external: { metric: { name: queue }, target: { type: Value, value: "1" } } }';
/** Any program uses more, so the load is there without work. */
const memoryMetric = '{ type: Resource, resource: { name: memory, target: { type: AverageValue, averageValue: 16Ki } } }';

const nightly = `apiVersion: batch/v1
kind: CronJob
metadata: { name: nightly, namespace: shop }
spec:
  schedule: "@every 1s"
  concurrencyPolicy: Forbid
  successfulJobsHistoryLimit: 1
  jobTemplate:
    metadata: { labels: { cron: nightly } }
    spec: { template: { spec: { restartPolicy: Never, containers: [{ name: a, image: host/true, command: ["true"] }] } } }
`;

const first = {
  'clusters/test/apps.yaml': `${appOf('shop')}---\n${appOf('tools')}`,
  'shop/namespace.yaml': 'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n',
  'shop/web.yaml': web(),
  'shop/settings.yaml': configMap('settings'),
  'tools/tools.yaml': configMap('tools', '1', 'default'),
};

/** One manipulation, what is said of the app afterwards, and what runs then. */
interface Case {
  readonly what: string;
  act(): Promise<unknown>;
  readonly app?: string;
  readonly state: VerdictState;
  /** Pattern for `reason` in `status.json`. */
  readonly reason?: RegExp;
  /** Pattern for the one line of `notes` in `status.json`, which the page of the app and `why` repeat. */
  readonly notes?: RegExp;
  /** A commit is blamed and its revert offered. */
  readonly blames?: 'HEAD';
  /** Arguments of `kubectl get -o jsonpath=…`, and what it prints. */
  readonly runs?: readonly [of: string, path: string, is: string];
  /** The terminal of `up` prints it from then on. */
  readonly prints?: RegExp;
}

describe.skipIf(!hasNamespaces || !hasKubectl)('the verdict (needs user namespaces and kubectl)', () => {
  let cluster: RunningCluster;
  let work: WorkTree;

  beforeAll(async () => {
    cluster = await startCluster({ command: 'up', args: ['--path', 'clusters/test'] });
    work = await cloneRepository(cluster.endpoints.git, 'verdict');
    await work.git('checkout', '--quiet', '-B', 'main');
    await push('first', first);
  });
  afterAll(() => cluster?.stop());

  async function push(subject: string, files: Readonly<Record<string, string | null>>): Promise<void> {
    await work.commit(subject, files);
    await work.git('push', '--quiet', 'origin', 'HEAD:main');
  }
  async function revert(): Promise<void> {
    await work.git('revert', '--no-edit', 'HEAD');
    await work.git('push', '--quiet', 'origin', 'HEAD:main');
  }
  async function kubectl(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await cluster.kubectl(...args);
    expect(code, `kubectl ${args.join(' ')}: ${stderr}`).toBe(0);
    return stdout;
  }
  async function midship(...args: string[]): Promise<void> {
    const { code, stderr, stdout } = await cluster.midship(...args);
    expect(code, `midship ${args.join(' ')}: ${stdout}${stderr}`).toBe(0);
  }
  const nodeName = () => kubectl('get', 'nodes', '-o', 'jsonpath={.items[0].metadata.name}');
  const scale = (replicas: number) => kubectl('-n', 'shop', 'scale', 'deployment/web', `--replicas=${replicas}`);
  const patchWeb = (spec: unknown) => kubectl('-n', 'shop', 'patch', 'deployment/web', '-p', JSON.stringify({ spec }));
  const replicas = (is: number) => ['-n shop deployment/web', '{.spec.replicas}', String(is)] as const;
  const get = async (path: string): Promise<string> => (await fetch(`${cluster.endpoints.http}${path}`)).text();

  const cases: readonly Case[] = [
    { what: 'the first push', act: async () => undefined, state: 'Matches', runs: replicas(2) },
    {
      what: 'kubectl scale',
      act: () => scale(5),
      state: 'Matches',
      runs: replicas(2),
      prints: /◆ drift +Deployment shop\/web +spec\.replicas 2 → 5 by kubectl\n.*✓ healed/,
    },
    {
      what: 'kubectl set env',
      act: () => kubectl('-n', 'shop', 'set', 'env', 'deployment/web', 'EXTRA=1'),
      state: 'Matches',
      runs: ['-n shop deployment/web', '{.spec.template.spec.containers[0].env}', ''],
    },
    {
      what: 'a sidecar',
      act: () => patchWeb({ template: { spec: { containers: [{ name: 'extra', image: 'host/sleep', command: ['sleep', '9'] }] } } }),
      state: 'Matches',
      runs: ['-n shop deployment/web', '{.spec.template.spec.containers[*].name}', 'web'],
    },
    {
      what: 'kubectl label',
      act: () => kubectl('-n', 'shop', 'label', 'deployment/web', 'mine=yes'),
      state: 'Matches',
      runs: ['-n shop deployment/web', '{.metadata.labels.mine}', ''],
    },
    {
      what: 'kubectl rollout pause',
      act: () => kubectl('-n', 'shop', 'rollout', 'pause', 'deployment/web'),
      state: 'Matches',
      runs: ['-n shop deployment/web', '{.spec.paused}', ''],
    },
    {
      what: 'a value that is edited',
      act: () => kubectl('-n', 'shop', 'patch', 'configmap/settings', '-p', '{"data":{"a":"mine"}}'),
      state: 'Matches',
      runs: ['-n shop configmap/settings', '{.data.a}', '1'],
    },
    {
      what: 'a value that is added',
      act: () => kubectl('-n', 'shop', 'patch', 'configmap/settings', '-p', '{"data":{"b":"mine"}}'),
      state: 'Matches',
      runs: ['-n shop configmap/settings', '{.data.b}', ''],
    },
    {
      what: 'a deleted object',
      act: () => kubectl('-n', 'shop', 'delete', 'configmap/settings'),
      state: 'Matches',
      runs: ['-n shop configmap/settings', '{.data.a}', '1'],
    },
    {
      what: 'a correction that is held after a fight',
      act: async () => {
        for (const count of [4, 5, 6, 7, 8]) {
          await scale(count);
          await until(
            async () =>
              (await kubectl('-n', 'shop', 'get', 'deployment/web', '-o', 'jsonpath={.spec.replicas}')) === '2' ||
              (await overview()).apps.some(({ state }) => state === 'Differs'),
            { what: 'it is put back or held' },
          );
        }
      },
      state: 'Differs',
      reason: /^Deployment shop\/web: spec\.replicas 2 → 8 by kubectl, held until \d\d:\d\d:\d\d UTC after 3 corrections$/,
      runs: replicas(8),
      prints: /◆ left +Deployment shop\/web +held until/,
    },
    { what: 'midship sync', act: () => midship('sync', 'shop', '--wait'), state: 'Matches', runs: replicas(2) },
    {
      what: 'a change where drift is only detected',
      act: async () => {
        await kubectl('-n', 'flux-system', 'annotate', 'kustomization/shop', 'midship.dev/drift=detect');
        await kubectl('-n', 'shop', 'patch', 'configmap/settings', '-p', '{"data":{"a":"theirs"}}');
      },
      state: 'Differs',
      reason: /^ConfigMap shop\/settings: data\.a 1 → theirs by kubectl/,
      runs: ['-n shop configmap/settings', '{.data.a}', 'theirs'],
      prints: /◆ left +ConfigMap shop\/settings +midship\.dev\/drift is detect/,
    },
    {
      what: 'the end of detection',
      act: () => kubectl('-n', 'flux-system', 'annotate', 'kustomization/shop', 'midship.dev/drift-'),
      state: 'Matches',
      runs: ['-n shop configmap/settings', '{.data.a}', '1'],
    },
    {
      what: 'midship suspend',
      act: () => midship('suspend', 'shop', '--for', '2h', '--reason', 'audit'),
      state: 'Held',
      reason: /^Suspended by .* until .*: audit$/,
    },
    {
      what: 'a commit to another app',
      act: () => push('tools', { 'tools/tools.yaml': configMap('tools', '2', 'default') }),
      state: 'Held',
    },
    {
      what: 'the other app takes it',
      act: async () => undefined,
      app: 'tools',
      state: 'Matches',
      runs: ['-n default configmap/tools', '{.data.a}', '2'],
    },
    {
      what: 'a commit to the suspended app',
      act: () => push('settings', { 'shop/settings.yaml': configMap('settings', '2') }),
      state: 'Differs',
      reason: /^Suspended by .*; [0-9a-f]{7} changes the app and waits$/,
      runs: ['-n shop configmap/settings', '{.data.a}', '1'],
    },
    {
      what: 'its revert, and kubectl scale',
      act: async () => {
        await revert();
        await scale(5);
      },
      state: 'Differs',
      reason: /^Deployment shop\/web: spec\.replicas 2 → 5 by kubectl; suspended by .* until/,
      runs: replicas(5),
    },
    { what: 'midship resume', act: () => midship('resume', 'shop'), state: 'Matches', runs: replicas(2) },
    {
      what: 'a pin',
      act: async () => {
        await push('three', { 'shop/web.yaml': web({ replicas: 3 }) });
        await said({ app: 'shop', state: 'Matches' });
        await midship('revert', 'shop', '--hold');
      },
      state: 'Differs',
      reason: /^Pinned.* by .* is held back$/,
      runs: replicas(2),
    },
    { what: 'the end of the pin', act: () => midship('resume', 'shop'), state: 'Matches', runs: replicas(3) },
    {
      what: 'a commit that is refused',
      act: () => push('typo', { 'shop/settings.yaml': configMap('settings').replace('\ndata:', '\ndate:') }),
      state: 'NotApplied',
      reason: /^shop\/settings\.yaml:4:1 .*unknown field "date"/,
      blames: 'HEAD',
      runs: ['-n shop configmap/settings', '{.data.a}', '1'],
      prints: /✗ shop +shop\/settings\.yaml:4:1/,
    },
    { what: 'its revert', act: revert, state: 'Matches', prints: /Revert "typo"\n.*✓ shop is what Git says again/ },
    {
      what: 'an image that nobody has',
      act: () => push('nginx', { 'shop/web.yaml': web({ replicas: 3, image: 'nginx:1.27' }) }),
      state: 'Broken',
      reason: /nginx:1\.27.*; 3 old pods go on serving$/,
      blames: 'HEAD',
      prints: /▲ shop .*nginx:1\.27.*; 3 old pods go on serving/,
    },
    { what: 'its revert', act: revert, state: 'Matches', runs: replicas(3) },
    {
      what: 'a crash loop',
      act: () => push('crash', { 'shop/web.yaml': web({ replicas: 3, command: 'sh, -c, "exit 3"' }) }),
      state: 'Broken',
      reason: /exited 3/,
      blames: 'HEAD',
    },
    { what: 'its revert', act: revert, state: 'Matches', runs: replicas(3) },
    {
      what: 'a readiness probe that fails',
      act: () =>
        push('probe', {
          'shop/web.yaml': web({ replicas: 3, more: ', readinessProbe: { exec: { command: ["false"] }, periodSeconds: 1 }' }),
        }),
      state: 'Broken',
      blames: 'HEAD',
    },
    { what: 'its revert', act: revert, state: 'Matches', runs: replicas(3) },
    {
      what: 'an Ingress whose class has no controller',
      act: () =>
        push('an Ingress of another class', {
          'shop/ingress.yaml':
            'apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: shop }\nspec: { ingressClassName: nginx, defaultBackend: { service: { name: shop, port: { number: 80 } } } }\n',
        }),
      state: 'NoController',
      reason: /IngressClass nginx/,
    },
    { what: 'its revert', act: revert, state: 'Matches' },
    {
      what: 'a namespace that is deleted',
      act: () => kubectl('delete', 'namespace/shop'),
      state: 'Matches',
      runs: ['-n shop configmap/settings', '{.data.a}', '1'],
    },
    {
      what: 'a namespace that something keeps from going',
      act: async () => {
        await kubectl('-n', 'shop', 'create', 'configmap', 'kept');
        await kubectl('-n', 'shop', 'patch', 'configmap/kept', '-p', '{"metadata":{"finalizers":["example.com/kept"]}}');
        await kubectl('delete', 'namespace/shop', '--wait=false');
      },
      state: 'Differs',
      reason: /not healed: namespace shop is being deleted; tried again when it is gone/,
      runs: ['namespace/shop', '{.status.phase}', 'Terminating'],
    },
    {
      what: 'the end of that namespace',
      act: () => kubectl('-n', 'shop', 'patch', 'configmap/kept', '-p', '{"metadata":{"finalizers":null}}'),
      state: 'Matches',
      runs: ['namespace/shop', '{.status.phase}', 'Active'],
    },
    {
      what: 'nodes that take no pods',
      act: async () => {
        await kubectl('cordon', '-l', 'kubernetes.io/os=linux');
        await kubectl('-n', 'shop', 'delete', 'pod', '-l', 'app=web');
      },
      state: 'Broken',
      reason: /fits on no node/,
      runs: replicas(3),
    },
    {
      what: 'the nodes again',
      act: () => kubectl('uncordon', '-l', 'kubernetes.io/os=linux'),
      state: 'Matches',
      runs: ['-n shop deployment/web', '{.status.availableReplicas}', '3'],
    },
    {
      what: 'a node that is deleted and comes back',
      act: async () => {
        const name = await nodeName();
        const uid = await kubectl('get', 'node', name, '-o', 'jsonpath={.metadata.uid}');
        await kubectl('delete', 'node', name);
        await until(
          async () => {
            const { stdout } = await cluster.kubectl('get', 'node', name, '-o', 'jsonpath={.metadata.uid}');
            return stdout !== '' && stdout !== uid;
          },
          { what: 'the node registers again' },
        );
      },
      state: 'Matches',
      runs: ['-n shop deployment/web', '{.status.availableReplicas}', '3'],
    },
    {
      what: 'a quota that lets no more pods in',
      act: () =>
        push('five', {
          'shop/web.yaml': web({ replicas: 5 }),
          'shop/quota.yaml':
            'apiVersion: v1\nkind: ResourceQuota\nmetadata: { name: few, namespace: shop }\nspec: { hard: { pods: "3" } }\n',
        }),
      state: 'Broken',
      reason: /cannot make its pods: exceeded quota: few/,
      blames: 'HEAD',
      runs: replicas(5),
    },
    { what: 'its revert', act: revert, state: 'Matches', runs: replicas(3) },
    {
      what: 'an autoscaler that has no metric, and kubectl scale',
      act: async () => {
        await push('autoscaler', { 'shop/autoscaler.yaml': autoscaler(queueMetric) });
        await kubectl('-n', 'shop', 'wait', 'hpa/web', '--for=condition=ScalingActive=False', '--timeout=30s');
        await scale(5);
      },
      state: 'Matches',
      runs: replicas(3),
    },
    {
      what: 'an autoscaler that sets another number',
      act: async () => {
        await push('memory', { 'shop/autoscaler.yaml': autoscaler(memoryMetric) });
        const isNoted = ({ name, notes = [] }: AppOverview): boolean => name === 'shop' && notes.length > 0;
        await until(async () => (await overview()).apps.some(isNoted), { what: 'the number of the autoscaler', timeoutMs: 60_000 });
      },
      state: 'Matches',
      notes: /^Deployment shop\/web: replicas: 6 by HorizontalPodAutoscaler web \(Git says 3\)$/,
      runs: replicas(6),
    },
    {
      what: 'its revert, and that of the autoscaler',
      act: async () => {
        await work.git('revert', '--no-edit', 'HEAD', 'HEAD~1');
        await work.git('push', '--quiet', 'origin', 'HEAD:main');
      },
      state: 'Matches',
      runs: replicas(3),
    },
    {
      what: 'a CronJob',
      act: async () => {
        await push('nightly', { 'shop/nightly.yaml': nightly });
        const succeeded = () => kubectl('-n', 'shop', 'get', 'jobs', '-l', 'cron=nightly', '-o', 'jsonpath={.items[*].status.succeeded}');
        await until(async () => (await succeeded()) === '1', {
          what: async () => `a Job of the CronJob to succeed: ${await kubectl('-n', 'shop', 'get', 'cronjobs,jobs,pods,events')}`,
        });
      },
      state: 'Matches',
      runs: ['-n shop -l cron=nightly jobs', '{.items[*].status.succeeded}', '1'],
    },
    {
      what: 'its revert',
      act: revert,
      state: 'Matches',
      runs: ['-n shop -l cron=nightly jobs', '{.items[*].metadata.name}', ''],
    },
    {
      what: 'an app that waits for one that is not there',
      act: () => push('later', { 'clusters/test/later.yaml': appOf('later', 'dependsOn: [{ name: none }], ') }),
      app: 'later',
      state: 'Waiting',
      reason: /dependency 'flux-system\/none' does not exist/,
    },
    {
      what: 'an app whose path is wrong',
      act: () => push('later', { 'clusters/test/later.yaml': appOf('later') }),
      app: 'later',
      state: 'NotApplied',
    },
    {
      what: 'many objects',
      act: () =>
        push('many', {
          'clusters/test/later.yaml': null,
          'tools/many.yaml': Array.from({ length: 25 }, (_, index) => configMap(`many-${index}`, '1', 'default')).join('---\n'),
        }),
      app: 'tools',
      state: 'Matches',
    },
    {
      what: 'a prune of most of them',
      act: () => push('few', { 'tools/many.yaml': null, 'tools/tools.yaml': configMap('tools', '3', 'default') }),
      app: 'tools',
      state: 'Differs',
      reason: /^The prune is held: 25 of 26 objects would be deleted/,
      runs: ['-n default configmap/many-7', '{.data.a}', '1'],
    },
    { what: 'its revert', act: revert, app: 'tools', state: 'Matches' },
    {
      what: 'a branch that is not there',
      act: () =>
        kubectl('-n', 'flux-system', 'patch', 'gitrepository/flux-system', '--type=merge', '-p', '{"spec":{"ref":{"branch":"none"}}}'),
      state: 'Unknown',
      reason: /^Git cannot be read: /,
    },
    {
      what: 'the branch again',
      act: () =>
        kubectl('-n', 'flux-system', 'patch', 'gitrepository/flux-system', '--type=merge', '-p', '{"spec":{"ref":{"branch":"main"}}}'),
      state: 'Matches',
    },
  ];

  // The commands are programs, which take more processor time than all else here. They are asked about each reason, and once about
  // each step from state to state.
  const askedSteps = new Set<string>();
  let last: VerdictState | undefined;

  it.each(cases)(
    'after $what is $state, everywhere',
    { timeout: 120_000 },
    async ({ act, app = 'shop', state, reason = /^/, notes, blames, runs, prints }) => {
      const printed = cluster.output().length;
      await act();
      const step = `${last} > ${state}`;
      const asksCommands = reason.source !== '^' || notes !== undefined || !askedSteps.has(step);
      askedSteps.add(step);
      last = state;
      const found = await said({ app, state, asksCommands });
      expect(found.reason).toMatch(reason);
      if (notes !== undefined) {
        expect(found.notes).toEqual([expect.stringMatching(notes)]);
        expect((await cluster.midship('why', app)).stdout).toContain(found.notes?.[0]);
      }
      expect(found.cause?.sha).toBe(blames === undefined ? undefined : await work.git('rev-parse', blames));
      if (runs !== undefined) {
        const [of, path, is] = runs;
        expect(await kubectl(...of.split(' ').slice(0, -1), 'get', of.split(' ').at(-1) ?? '', '-o', `jsonpath=${path}`)).toBe(is);
      }
      if (prints !== undefined)
        await until(() => prints.test(cluster.output().slice(printed)), {
          what: () => `the terminal prints ${prints}: ${cluster.output().slice(printed)}`,
        });
    },
  );

  // Values of fields that differ are for the owner alone.
  const overview = async (): Promise<Overview> => {
    const Authorization = `Bearer ${(await readFile(cluster.endpoints.pageOwnerTokenFile ?? '', 'utf8')).trim()}`;
    return (await (await fetch(`${cluster.endpoints.http}/status.json`, { headers: { Authorization } })).json()) as Overview;
  };

  /** Waits until an app is in a state, and every place says so. Places may change while one after the other is read, so it reads again. */
  async function said({ app, state, asksCommands = false }: Said): Promise<AppOverview> {
    let contradictions: readonly string[] = ['nothing was read'];
    return until(
      async () => {
        const before = await overview();
        const found = before.apps.find(({ name }) => name === app);
        if (found?.state !== state) {
          contradictions = [
            `status.json: ${JSON.stringify(before.apps.map(({ name, state: each, reason }) => ({ name, state: each, reason })))}`,
          ];
          return undefined;
        }
        contradictions = await contradictionsOf(before, found);
        if (contradictions.length === 0 && asksCommands) contradictions = await contradictionsOfCommands(before, found);
        return contradictions.length === 0 ? found : undefined;
      },
      { timeoutMs: 45_000, intervalMs: 100, what: () => `${app} is ${state} everywhere: ${contradictions.join('\n')}` },
    );
  }

  /** Lists what the commands say otherwise than `status.json`. */
  async function contradictionsOfCommands({ verdict, matches }: Overview, app: AppOverview): Promise<readonly string[]> {
    const { word, one } = appStates[app.state];
    const [status, why] = await Promise.all([cluster.midship('status', '--exit-code'), cluster.midship('why', app.name)]);
    const isBlamed = app.cause !== undefined;
    return brokenOf({
      [`status: ${status.stdout}`]:
        status.stdout.startsWith(verdict) && new RegExp(`${app.name} +\\S+(?: \\+\\d+)? +${word} `).test(`${status.stdout} `),
      [`status --exit-code: ${status.code}`]: status.code === (matches ? 0 : 1),
      [`status: an undo only for a commit: ${status.stdout}`]: !isBlamed || /undo: +midship revert/.test(status.stdout),
      [`why: ${why.stdout}`]: why.stdout.startsWith(`${app.name} ${one}.\n`),
      [`why: exit code ${why.code}`]: why.code === (isMatch(app.state) ? 0 : 1),
      'why: an undo only for a commit': why.stdout.includes('midship revert') === isBlamed,
    });
  }

  /** Lists what page, badge and metrics say otherwise than `status.json`. */
  async function contradictionsOf({ verdict, matches, apps }: Overview, app: AppOverview): Promise<readonly string[]> {
    const { word } = appStates[app.state];
    const [home, page, badge, metrics] = await Promise.all([
      get('/'),
      get(`/apps/flux-system/${app.name}`),
      get(`/badge/flux-system/${app.name}.svg`),
      get('/metrics'),
    ]);
    const states = apps.map(({ state }) => state);
    const row = new RegExp(`<li id="app-flux-system-${app.name}".*?</li>`, 's').exec(home)?.[0] ?? '';
    const isBlamed = app.cause !== undefined;
    const labels = `namespace="flux-system",app="${app.name}"`;
    return brokenOf({
      'status.json: the sentence': states.includes('Unknown') || verdict === verdictOver(states),
      'status.json: matches': matches === states.every(isMatch),
      'page: the sentence': home.includes(`<h1>${verdict}</h1>`),
      [`page: the row ${row}`]: row.includes(`>${word}<`) && row.includes('git revert') === isBlamed,
      'page of the app': page.includes(`<title>${app.name}: ${word} `),
      [`badge: ${badge}`]: badge.includes(`aria-label="${app.name}: ${word}"`),
      'metrics: the state': metrics.includes(`gitops_app_state{${labels},state="${app.state}"} 1\n`),
      'metrics: sync': metrics.includes(`gitops_app_sync_status{${labels},status="${app.sync}"} 1\n`),
      'metrics: health': metrics.includes(`gitops_app_health_status{${labels},status="${app.health}"} 1\n`),
    });
  }
});

interface Said {
  readonly app: string;
  readonly state: VerdictState;
  readonly asksCommands?: boolean;
}

const brokenOf = (claims: Readonly<Record<string, boolean>>): readonly string[] =>
  Object.entries(claims).flatMap(([claim, holds]) => (holds ? [] : [claim]));
