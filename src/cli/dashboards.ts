import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeDurableDirectory } from '../base/durable-file.ts';
import { type Endpoints, tryEndpoints } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';

export interface DashboardsOptions {
  /** Target of the files; made when it is missing. */
  readonly directory: string;
  readonly dataDirectory: string;
  /** Writes over files of the same names. */
  readonly force: boolean;
  readonly output: NodeJS.WritableStream;
}

const shipped = fileURLToPath(new URL('../../dashboards', import.meta.url));

/** Files for Prometheus, which name the address of the page. */
const configurations: readonly string[] = ['prometheus.yml', 'prometheus-compat.yml'];
const shippedAddress = '127.0.0.1:7080';

/** Writes Grafana dashboards, alerts with their runbook, and a Prometheus configuration with the address of the running cluster. */
export async function writeDashboards({ directory, dataDirectory, force, output }: DashboardsOptions): Promise<ExitCode> {
  const present = await readdir(directory).catch(() => []);
  const names = (await readdir(shipped)).filter((name) => /^midship-.*\.json$|^(grafana|alerts\.md)$/.test(name));
  const written = [...names, ...configurations, 'rules'];
  const taken = present.filter((name) => written.includes(name));
  if (taken.length > 0 && !force) {
    throw new Failure(`${directory} has ${taken[0]} already`, {
      why: 'The file may have been changed there.',
      fix: 'Name another directory, or replace the files with --force.',
    });
  }
  const endpoints = await tryEndpoints(dataDirectory);
  await makeDurableDirectory(join(directory, 'rules'), { mode: 0o777 });
  for (const name of names) await cp(join(shipped, name), join(directory, name), { recursive: true });
  await cp(join(shipped, 'rules', 'alerts.yml'), join(directory, 'rules', 'alerts.yml'));
  for (const name of configurations) {
    const text = await readFile(join(shipped, name), 'utf8');
    await writeFile(join(directory, name), endpoints === undefined ? text : withEndpoints(text, endpoints));
  }
  output.write(
    `wrote ${written.length} files and directories to ${directory}\n  ${
      endpoints === undefined ? `no cluster runs; prometheus.yml asks ${shippedAddress}` : `prometheus.yml asks ${endpoints.http}`
    }\n  start it: prometheus --config.file=${join(directory, 'prometheus.yml')}\n`,
  );
  return 0;
}

/** The configuration for a cluster at another address, behind TLS, or with a login; credentials are named by their file. */
function withEndpoints(text: string, { http, httpCaFile, pageTokenFile }: Endpoints): string {
  const { host, protocol } = new URL(http);
  const access = [
    ...(protocol === 'https:' ? ['scheme: https'] : []),
    ...(httpCaFile === undefined ? [] : [`tls_config: {ca_file: ${JSON.stringify(httpCaFile)}}`]),
    ...(pageTokenFile === undefined ? [] : [`authorization: {credentials_file: ${JSON.stringify(pageTokenFile)}}`]),
  ];
  const lines = text.replaceAll(shippedAddress, host).split('\n');
  return lines.flatMap((line) => (line === '    honor_labels: true' ? [line, ...access.map((each) => `    ${each}`)] : [line])).join('\n');
}
