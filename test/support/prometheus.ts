import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from './git.ts';
import { until } from './until.ts';

const prometheusPath = '/usr/bin/prometheus';
export const hasPrometheus = existsSync(prometheusPath);

/** Characters of the end of its log that are kept. */
const keptLog = 20_000;

const dashboards = fileURLToPath(new URL('../../dashboards/', import.meta.url));

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A real Prometheus with the configuration and the rules we ship, scraping each second. Alerts wait two seconds instead of minutes. */
export interface Prometheus {
  /** Values now. Fails when the query does. */
  query(expr: string): Promise<readonly Sample[]>;
  /** Series of the last minutes and how many points each one has. */
  queryRange(expr: string): Promise<readonly Sample[]>;
  /** Alerting rules and whether their last evaluation went well: `ok`, or `err` with its error. */
  rules(): Promise<readonly { readonly name: string; readonly health: string; readonly lastError?: string }[]>;
  stop(): Promise<void>;
}

export interface PrometheusOptions {
  /** Host and port of the page. */
  readonly target: string;
  readonly config: string;
  /** Needed for a configuration that asks the API, too. */
  readonly cluster?: { readonly dataDirectory: string; readonly api: string };
}

export async function startPrometheus({ target, config, cluster }: PrometheusOptions): Promise<Prometheus> {
  const directory = await temporaryDirectory('prometheus');
  await mkdir(join(directory, 'rules'));
  const rules = await readFile(join(dashboards, 'rules', 'alerts.yml'), 'utf8');
  await writeFile(join(directory, 'rules', 'alerts.yml'), rules.replaceAll(/for: \d+m/g, 'for: 2s'));
  const shipped = (await readFile(join(dashboards, config), 'utf8')).replaceAll('127.0.0.1:7080', target).replaceAll(/: 10s/g, ': 1s');
  const text =
    cluster === undefined
      ? shipped
      : shipped.replaceAll('../.midship', cluster.dataDirectory).replaceAll('127.0.0.1:6443', new URL(cluster.api).host);
  await writeFile(join(directory, 'prometheus.yml'), text);
  const { url, stop } = await startPrometheusProcess(join(directory, 'prometheus.yml'));

  async function ask(path: string, parameters: Record<string, string>): Promise<unknown> {
    const response = await fetch(`${url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const answer = (await response.json()) as { status: string; error?: string; data: { result: unknown } };
    if (answer.status !== 'success') throw new Error(`${answer.error ?? response.status}: ${parameters.query}`);
    return answer.data.result;
  }

  return {
    async query(expr) {
      const result = (await ask('query', { query: expr })) as { metric: Record<string, string>; value: [number, string] }[];
      return result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
    },
    async queryRange(expr) {
      const end = Date.now() / 1_000;
      const parameters = { query: expr, start: String(end - 300), end: String(end), step: '5' };
      const result = (await ask('query_range', parameters)) as { metric: Record<string, string>; values: [number, string][] }[];
      return result.map(({ metric, values }) => ({ metric, value: Number(values.findLast(([, value]) => value !== 'NaN')?.[1] ?? 'NaN') }));
    },
    async rules() {
      const answer = (await (await fetch(`${url}/api/v1/rules`)).json()) as {
        data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] };
      };
      return answer.data.groups.flatMap(({ rules }) => rules);
    },
    stop,
  };
}

export interface PrometheusProcess {
  readonly url: string;
  /** Targets that service discovery found, scraped or not. */
  targets(): Promise<readonly { readonly job: string; readonly discovered: Readonly<Record<string, string>> }[]>;
  stop(): Promise<void>;
}

/** A real Prometheus on a port that it chooses itself, as one that a test chooses may be taken meanwhile; resolves when it is ready. */
export async function startPrometheusProcess(config: string): Promise<PrometheusProcess> {
  const directory = await temporaryDirectory('prometheus-data');
  const child = spawn(
    prometheusPath,
    [`--config.file=${config}`, `--storage.tsdb.path=${join(directory, 'data')}`, '--web.listen-address=127.0.0.1:0'],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (log = `${log}${chunk}`.slice(-keptLog)));
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = await until(
    () => {
      if (child.exitCode !== null) throw new Error(`Prometheus ended: ${log}`);
      const [, address] = /msg="Listening on" address=(127\.0\.0\.1:\d+)\n/.exec(log) ?? [];
      return address === undefined ? undefined : `http://${address}`;
    },
    { what: () => `Prometheus listens: ${log}` },
  );
  const isReady = async (): Promise<boolean> => {
    if (child.exitCode !== null) throw new Error(`Prometheus ended: ${log}`);
    try {
      return (await fetch(`${url}/-/ready`)).ok;
    } catch {
      // Its server does not answer yet.
      return false;
    }
  };
  await until(isReady, { what: () => `Prometheus is ready: ${log}` });
  return {
    url,
    async targets() {
      const { data } = (await (await fetch(`${url}/api/v1/targets`)).json()) as {
        data: Record<'activeTargets', { scrapePool: string; discoveredLabels: Record<string, string> }[]>;
      };
      return data.activeTargets.map(({ scrapePool, discoveredLabels }) => ({ job: scrapePool, discovered: discoveredLabels }));
    },
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}
