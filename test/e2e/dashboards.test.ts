import { readdirSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandResult, type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { cloneRepository, temporaryDirectory, type WorkTree } from '../support/git.ts';
import { hasNamespaces } from '../support/isolation.ts';
import { familiesOf, familiesOfPage, rowsOf, withDeclaredLabels } from '../support/metric-families.ts';
import { hasPrometheus, type Prometheus, startPrometheus } from '../support/prometheus.ts';
import { until } from '../support/until.ts';

const directory = fileURLToPath(new URL('../../dashboards/', import.meta.url));

const metricsPage = fileURLToPath(new URL('../../docs/reference/metrics.md', import.meta.url));
const tableHead = '| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n';

const sourcesBelow = (folder: string): string =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n');

interface Panel {
  readonly title: string;
  readonly targets: readonly { readonly expr: string; readonly instant: boolean }[];
}

interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
  readonly annotations: { readonly list: readonly { readonly name: string; readonly expr: string }[] };
}

const dashboards = readdirSync(directory)
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(readFileSync(join(directory, name), 'utf8')) as Dashboard);

/** Values that Grafana inserts for its variables. */
const fillIn = (expr: string): string =>
  expr
    .replaceAll('$__rate_interval', '15s')
    .replaceAll('$__range_s', '300')
    .replaceAll('$__range', '5m')
    .replaceAll('app="$app"', 'app="storefront"')
    .replaceAll(/\$(app|namespace)\b/g, '.*');

/** Queries that have nothing to show after the incident, and why. */
const mayBeEmpty: Readonly<Record<string, string>> = {
  'midship-app/Memory/1': 'no container of the examples has a memory limit',
  'midship-workloads/Missing replicas/0': 'lists what is missing; by then all is there',
  'midship-workloads/Waiting containers/0': 'lists what waits; by then nothing does',
};

/** A node whose agent is this test: it reports ready once, and never again. */
const lostNode = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'sim-lost', labels: { 'midship.dev/simulated': 'true' } },
  spec: { taints: [{ key: 'midship.dev/simulated', value: 'true', effect: 'NoSchedule' }] },
};

describe.skipIf(!hasNamespaces || !hasPrometheus)('dashboards on a running cluster (needs /usr/bin/prometheus and user namespaces)', () => {
  let cluster: RunningCluster;
  let prometheus: Prometheus;
  let work: WorkTree;
  /** Somebody who looks on: requests and watch events over the wire. */
  let watching: Promise<CommandResult>;

  beforeAll(async () => {
    cluster = await startCluster({ args: ['--simulate-nodes', '2'] });
    prometheus = await startPrometheus({ target: new URL(cluster.endpoints.http).host, config: 'prometheus.yml' });
    work = await cloneRepository(cluster.endpoints.git, 'dashboards');
    watching = cluster.kubectl('get', 'pods', '-A', '-w', '--request-timeout=100s');
  });
  afterAll(async () => {
    await prometheus?.stop();
    await cluster?.stop();
    await watching;
  });

  function panelOf(uid: string, title: string): Panel {
    const panel = dashboards.find((dashboard) => dashboard.uid === uid)?.panels.find((each) => each.title === title);
    if (panel === undefined) throw new Error(`no panel ${title} in ${uid}`);
    return panel;
  }

  /** Result of a panel's first query. */
  async function shown(uid: string, title: string): Promise<number | undefined> {
    const [target] = panelOf(uid, title).targets;
    const [sample] = await prometheus.query(fillIn(target?.expr ?? ''));
    return sample?.value;
  }

  const becomes = (uid: string, title: string, fits: (value: number) => boolean, timeoutMs = 30_000): Promise<number> => {
    let last: number | undefined;
    return until(
      async () => {
        last = await shown(uid, title);
        return last !== undefined && fits(last) ? last : undefined;
      },
      { timeoutMs, intervalMs: 500, what: () => `${uid}, ${title} moves; it shows ${last}` },
    );
  };

  it('move with an incident: a bad image and its revert, drift, a lost node', async () => {
    const files = await temporaryDirectory('node');
    await writeFile(join(files, 'node.json'), JSON.stringify(lostNode));
    const ready = await becomes('midship-overview', 'Nodes ready', (value) => value === 4);
    expect((await cluster.kubectl('create', '-f', join(files, 'node.json'))).stderr).toBe('');
    const now = new Date().toISOString().replace(/\.\d+/, '');
    const status = {
      conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', lastHeartbeatTime: now, lastTransitionTime: now }],
    };
    const patched = await cluster.kubectl(
      'patch',
      'node',
      'sim-lost',
      '--subresource=status',
      '--type=merge',
      '-p',
      JSON.stringify({ status }),
    );
    expect(patched.stderr).toBe('');
    await becomes('midship-overview', 'Nodes ready', (value) => value === ready + 1);

    await becomes('midship-overview', 'Degraded', (value) => value === 0);
    const rollbacks = (await shown('midship-delivery', 'Rollbacks')) ?? 0;
    const badImage = await readFile(join(work.directory, 'broken/bad-image.yaml'), 'utf8');
    await work.commit('storefront: an image that cannot be had', { 'apps/storefront/deployment.yaml': badImage });
    await work.git('push', '--quiet');
    await becomes('midship-overview', 'Degraded', (value) => value === 1);
    await fires('AppDegraded', 'app="storefront"');
    await work.git('revert', '--no-edit', 'HEAD');
    await work.git('push', '--quiet');
    await becomes('midship-overview', 'Degraded', (value) => value === 0);
    await becomes('midship-delivery', 'Rollbacks', (value) => value > rollbacks);

    const before = await counter('gitops_drift_corrections_total{app="storefront"}');
    expect((await cluster.kubectl('-n', 'web', 'scale', 'deployment', 'storefront', '--replicas=6')).stderr).toBe('');
    await until(async () => (await counter('gitops_drift_corrections_total{app="storefront"}')) === before + 1, {
      what: 'one drift was put back',
    });
    await becomes('midship-app', 'Drift, in range', (value) => value > 0);

    // The node controller waits for 40 s before it gives a node up.
    await becomes('midship-overview', 'Nodes ready', (value) => value === ready, 90_000);
    await becomes('midship-nodes', 'Not ready', (value) => value === 1);
    await fires('NodeNotReady', 'node="sim-lost"');
  });

  const fires = (alert: string, labels: string): Promise<true> =>
    until(async () => (await prometheus.query(`ALERTS{alertname="${alert}",alertstate="firing",${labels}}`)).length === 1 || undefined, {
      what: `${alert} fires`,
    });

  const counter = async (selector: string): Promise<number> => (await prometheus.query(`sum(${selector})`))[0]?.value ?? 0;

  it.each(dashboards.flatMap(({ uid, panels }) => panels.map((panel) => [uid, panel.title, panel] as const)))(
    '%s, %s: every query answers',
    async (uid, title, { targets }) => {
      for (const [index, { expr, instant }] of targets.entries()) {
        const samples = await (instant ? prometheus.query(fillIn(expr)) : prometheus.queryRange(fillIn(expr)));
        if (mayBeEmpty[`${uid}/${title}/${index}`] === undefined) expect(samples.length, expr).toBeGreaterThan(0);
      }
    },
  );

  it('scrape what docs/reference/metrics.md says: names, types, labels and meanings', async () => {
    const text = readFileSync(metricsPage, 'utf8');
    const written = familiesOfPage(text);
    const code = sourcesBelow(fileURLToPath(new URL('../../src/', import.meta.url)));
    const scraped = await (await fetch(new URL('/metrics', cluster.endpoints.http))).text();
    const served = withDeclaredLabels(familiesOf(scraped), code);
    expect(served.length).toBeGreaterThan(150);
    const at = text.indexOf(tableHead) + tableHead.length;
    // A label or a family that no sample of this run has may be written, when the code names it.
    const wanted = `${text.slice(0, at)}${rowsOf(served, written)}`;
    if (process.env.UPDATE_GOLDEN === '1') await writeFile(metricsPage, wanted);
    expect(process.env.UPDATE_GOLDEN === '1' ? wanted : text).toBe(wanted);
    const names = new Set(served.map(({ name }) => name));
    expect(written.map(({ name }) => name).filter((name) => !names.has(name) && !code.includes(name))).toEqual([]);
  });

  it('offer values for every variable, and ask for marks that are valid', async () => {
    for (const { templating, annotations } of dashboards) {
      for (const { definition } of templating.list) {
        const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(definition ?? '') ?? [];
        if (definition === undefined) continue;
        const values = await prometheus.query(`count by (${label}) (${metric})`);
        expect(values.length, definition).toBeGreaterThan(0);
      }
      for (const { expr } of annotations.list) await prometheus.queryRange(fillIn(expr));
    }
  });

  it.each(['', '/apiserver', '/scheduler', '/controller-manager', '/state', '/gitops'])(
    'use well-formed metrics: /metrics%s',
    async (path) => {
      const text = await (await fetch(`${cluster.endpoints.http}/metrics${path}`)).text();
      const files = await temporaryDirectory('metrics');
      await writeFile(join(files, 'text'), text);
      const { stdout, stderr } = await run('sh', ['-c', 'promtool check metrics < text'], process.env, files);
      // Names that the metrics library chose for its gauges, and two that Kubernetes has.
      const known = /^nodejs_active_\w+_total non-counter|^authentication_attempts counter|^job_controller_job_finished_indexes_total/;
      const complaints = (stdout + stderr).split('\n').filter((line) => line !== '' && !known.test(line));
      expect(complaints).toEqual([]);
    },
  );

  it('have data for containers and kubelets also under the job names of a Kubernetes cluster', async () => {
    const { dataDirectory, endpoints } = cluster;
    const compat = await startPrometheus({
      target: new URL(endpoints.http).host,
      config: 'prometheus-compat.yml',
      cluster: { dataDirectory, api: endpoints.api },
    });
    try {
      const panels = dashboards.flatMap(({ uid, panels: all }) => all.map((panel) => ({ uid, ...panel })));
      const targets = panels.flatMap(({ uid, title, targets: queries = [] }) =>
        queries.map(({ expr }, index) => ({ id: `${uid}/${title}/${index}`, expr })),
      );
      const ofKubelets = targets.filter(({ id, expr }) => /\b(?:container|kubelet)_/.test(expr) && mayBeEmpty[id] === undefined);
      expect(ofKubelets.length).toBeGreaterThan(5);
      for (const { id, expr } of ofKubelets)
        await until(async () => (await compat.query(fillIn(expr))).length > 0, {
          timeoutMs: 60_000,
          intervalMs: 500,
          what: `${id}: ${expr}`,
        });
      // Each path is scraped at a moment of its own.
      await expect
        .poll(async () =>
          (await compat.query('up{job="kubelet"}')).map(({ metric, value }) => [metric.node, metric.metrics_path, value]).sort(),
        )
        .toEqual(
          ['node-a', 'node-b'].flatMap((node) =>
            ['/metrics', '/metrics/cadvisor', '/metrics/probes', '/metrics/resource'].map((path) => [node, path, 1]),
          ),
        );
    } finally {
      await compat.stop();
    }
  });

  it('have alerts that Prometheus evaluates without an error', async () => {
    const rules = await prometheus.rules();
    expect(rules).toHaveLength(24);
    for (const { name, health, lastError } of rules) expect(health, `${name}: ${lastError}`).toBe('ok');
    for (const args of [
      ['check', 'rules', 'rules/alerts.yml'],
      ['check', 'config', 'prometheus.yml'],
      // The files that it names are those of a cluster.
      ['check', 'config', '--syntax-only', 'prometheus-compat.yml'],
    ]) {
      const { code, stderr } = await run('promtool', args, process.env, directory);
      expect(code, stderr).toBe(0);
    }
    const { code, stderr } = await run('promtool', ['test', 'rules', 'alerts.test.yml'], process.env, join(directory, 'rules'));
    expect(code, stderr).toBe(0);
  });
});
