import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createHttpClient, type HttpClient } from '../../src/client/http-client.ts';
import { loadKubeconfig } from '../../src/client/kubeconfig.ts';
import { temporaryDirectory } from './git.ts';
import { keepNetwork } from './network.ts';
import { until } from './until.ts';

export const program = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

export interface Endpoints {
  readonly api: string;
  readonly http: string;
  readonly pageTokenFile?: string;
  readonly pageOwnerTokenFile?: string;
  readonly git: string;
  readonly kubeconfig: string;
  readonly pid: number;
}

/** The built program, running with a data directory of its own on free ports. */
export interface RunningCluster {
  readonly dataDirectory: string;
  readonly endpoints: Endpoints;
  /** Its output so far, without colours. */
  output(): string;
  kubectl(...args: string[]): Promise<CommandResult>;
  midship(...args: string[]): Promise<CommandResult>;
  /** Ctrl-C, and wait for the end; gives the exit code. */
  stop(): Promise<number | null>;
  /** kill -9, and wait for the end. Pods keep running. */
  kill(): Promise<void>;
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface StartOptions {
  readonly command?: 'demo' | 'up';
  readonly args?: readonly string[];
  /** A directory of an earlier start; a new one when absent. */
  readonly dataDirectory?: string;
  readonly timeoutMs?: number;
  /** For the program and for `midship`, beside that of the tests; kubectl does not get it. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** A client with the administrator's kubeconfig of a cluster; its user closes it. */
export async function clientOf({ kubeconfig }: Pick<Endpoints, 'kubeconfig'>): Promise<HttpClient> {
  return createHttpClient({ ...(await loadKubeconfig(kubeconfig)), userAgent: 'test/0' });
}

export async function startCluster({
  command = 'demo',
  args = [],
  dataDirectory,
  timeoutMs = 60_000,
  environment: more = {},
}: StartOptions = {}): Promise<RunningCluster> {
  const data = dataDirectory ?? (await temporaryDirectory('data'));
  const child = spawn(process.execPath, [program, command, '--data-dir', data, '--api-port', '0', '--http-port', '0', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...more, NO_COLOR: '1' },
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const endpointsFile = join(data, 'endpoints.json');
  const endpoints = await until(
    () => {
      if (child.exitCode !== null) throw new Error(`the program ended with ${child.exitCode}:\n${text}`);
      const found = readEndpoints(endpointsFile);
      return found !== undefined && isOf(found.pid, child.pid) ? found : undefined;
    },
    { timeoutMs, what: () => `the cluster is up; it printed:\n${text}` },
  ).catch((err: unknown) => {
    // A cluster that nobody waits for any more would keep the addresses of its data directory.
    end(child, 'SIGINT');
    throw err;
  });
  await keepNetwork(JSON.parse(readFileSync(join(data, 'network.json'), 'utf8')).network);
  const environment = { ...process.env, KUBECONFIG: endpoints.kubeconfig, NO_COLOR: '1' };
  return {
    dataDirectory: data,
    endpoints,
    output: () => text,
    kubectl: (...commandArgs) => run('kubectl', commandArgs, environment),
    midship: (...commandArgs) => run(process.execPath, [program, ...commandArgs, '--data-dir', data], { ...environment, ...more }),
    async stop() {
      end(child, 'SIGINT');
      return exited;
    },
    async kill() {
      end(child, 'SIGKILL');
      await exited;
    },
  };
}

/** True for the process that was started, and for the one that it started with another heap. */
function isOf(pid: number, started: number | undefined): boolean {
  if (pid === started) return true;
  const file = `/proc/${pid}/stat`;
  return (
    existsSync(file) &&
    readFileSync(file, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[1] === String(started)
  );
}

/** The file of an earlier start may be damaged; this one writes it whole. */
function readEndpoints(path: string): Endpoints | undefined {
  try {
    return (JSON.parse(readFileSync(path, 'utf8')) as Endpoints | null) ?? undefined;
  } catch {
    return undefined;
  }
}

function end(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.exitCode === null && child.signalCode === null) child.kill(signal);
}

const commandTimeoutMs = 120_000;

/** Runs a command without a shell; a failure is a result, not an error. */
export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env, cwd?: string): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: commandTimeoutMs,
      ...(cwd === undefined ? {} : { cwd }),
    });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (chunk: string) => (output[name] += chunk));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? -1, ...output }));
  });
}
