import { spawn } from 'node:child_process';
import { setMaxListeners } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Activity } from '../base/activity.ts';
import { writeDurableFile } from '../base/durable-file.ts';
import { createLog } from '../base/log.ts';
import { openLogFile } from '../base/log-file.ts';
import { plain, plainLines } from '../base/plain-text.ts';
import { createRedactor } from '../base/redactor.ts';
import { shellWord } from '../base/shell-word.ts';
import { timeLimit } from '../base/time-limit.ts';
import { type Cluster, startCluster } from './compose.ts';
import { type Configuration, filesOf } from './configuration.ts';
import { type Endpoints, ensureDataDirectory } from './data-directory.ts';
import type { ProgramContext } from './program.ts';
import { createTerminal, type Terminal } from './terminal.ts';

/** The examples that `demo` puts into an empty built-in remote. */
export const exampleRepository = fileURLToPath(new URL('../../examples-repo', import.meta.url));

/** How long the start waits for the apps before it says that they are still on their way. */
const appsDeadlineMs = 60_000;

/** Runs a cluster in the foreground until it is told to stop; gives the exit code. */
export async function runCluster(configuration: Configuration, { stdout, stderr, version }: ProgramContext): Promise<number> {
  // Every user of the machine can read the arguments of a program; the password of --repo is not for them.
  if (configuration.repositoryCredentials !== undefined) process.title = 'midship';
  const files = filesOf(configuration.dataDirectory);
  await ensureDataDirectory(configuration.dataDirectory);
  const logFile = openLogFile({ path: join(files.logs, 'midship.log') });
  process.once('exit', logFile.flush);
  const redactor = createRedactor();
  const log = createLog({ level: configuration.logLevel, destination: logFile, redact: (line) => redactor.text(line) });
  // A reader that went away (`midship up | head`) must not take the cluster with it.
  stdout.on('error', (err) => log.debug({ err }, 'Lost the terminal'));
  const terminal = createTerminal(stdout);
  const abort = new AbortController();
  // Every part that starts waits on it.
  setMaxListeners(100, abort.signal);
  const stopped = stopRequests(abort);
  terminal.line(`  midship ${version}   one process, no containers needed\n`);
  const startedAt = performance.now();
  let cluster: Cluster | undefined;
  try {
    cluster = await startCluster({
      configuration,
      log,
      redactor,
      version,
      signal: abort.signal,
      onStep: terminal.step,
      onWarning: terminal.warning,
    });
    await writeDurableFile(files.endpoints, `${JSON.stringify(cluster.endpoints, undefined, 2)}\n`);
    if (cluster.awaitsApps) await waitForApps(cluster, terminal, { startedAt, signal: abort.signal });
    cluster.activity.onAdded(terminal.activity);
    printNextSteps({ cluster, configuration, terminal, isTerminal: stdout.isTTY === true });
    listenForKeys(cluster, terminal, stopped.request);
    const exitCode = await stopped.reason;
    terminal.line('\n  stopping the pods; data stays in the data directory');
    return exitCode;
  } catch (err) {
    if (abort.signal.aborted) return stopped.exitCode();
    throw err;
  } finally {
    // What a client does with a half-stopped cluster cannot be right, so the addresses go first; those of another process are not ours.
    if (cluster !== undefined) await rm(files.endpoints, { force: true });
    await cluster?.stop().catch((err: unknown) => {
      log.error({ err }, 'Could not stop cleanly');
      stderr.write(`✗ could not stop cleanly: ${plainLines(err instanceof Error ? err.message : String(err))}\n`);
    });
    stopped.close();
    if (process.stdin.isTTY) process.stdin.setRawMode(false).pause();
  }
}

interface StopRequests {
  /** Resolves with the exit code of the first request. */
  readonly reason: Promise<number>;
  exitCode(): number;
  request(exitCode: number): void;
  close(): void;
}

/** Ctrl-C (130) and SIGTERM, which `midship down` sends (0), stop the pods and end; a second Ctrl-C ends at once and leaves them running. */
function stopRequests(abort: AbortController): StopRequests {
  let resolve: (exitCode: number) => void = () => undefined;
  const reason = new Promise<number>((done) => {
    resolve = done;
  });
  let exitCode = 0;
  const request = (code: number): void => {
    if (abort.signal.aborted) process.exit(130);
    exitCode = code;
    abort.abort(new Error('stop was requested'));
    resolve(code);
  };
  const onInterrupt = (): void => request(130);
  const onTerminate = (): void => {
    if (!abort.signal.aborted) request(0);
  };
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onTerminate);
  process.on('SIGHUP', onTerminate);
  return {
    reason,
    exitCode: () => exitCode,
    request,
    close() {
      process.off('SIGINT', onInterrupt);
      process.off('SIGTERM', onTerminate);
      process.off('SIGHUP', onTerminate);
    },
  };
}

async function waitForApps(
  cluster: Cluster,
  terminal: Terminal,
  { startedAt, signal }: { readonly startedAt: number; readonly signal: AbortSignal },
): Promise<void> {
  const deadline = timeLimit(signal, appsDeadlineMs);
  const trouble = (activity: Activity): void => {
    if (activity.type === 'failed' || activity.type === 'degraded') terminal.activity(activity);
  };
  for (const activity of cluster.activity.recent()) trouble(activity);
  const stopTelling = cluster.activity.onAdded(trouble);
  const seconds = (): string => `${((performance.now() - startedAt) / 1_000).toFixed(1)} s`;
  try {
    const applied = await cluster.waitFor(({ apps }) => apps.length > 0 && apps.every(({ sync }) => sync === 'Synced'), deadline);
    terminal.step('Applied', `${applied.revision.slice(0, 7)} after ${seconds()}`);
    const { apps } = await cluster.waitFor(
      (status) => status.apps.length > 0 && status.apps.every(({ health }) => health === 'Healthy'),
      deadline,
    );
    terminal.step('Apps', `${apps.length} of ${apps.length} healthy after ${seconds()}`);
  } catch (err) {
    if (signal.aborted) throw err;
    const { apps, verdict } = cluster.status();
    terminal.line(`  ▲ ${plain(verdict)}`);
    for (const { name, reason, health } of apps) if (health !== 'Healthy') terminal.line(`    ${plain(name)}: ${plain(reason || health)}`);
  } finally {
    stopTelling();
  }
}

interface NextSteps {
  readonly cluster: Cluster;
  readonly configuration: Configuration;
  readonly terminal: Terminal;
  readonly isTerminal: boolean;
}

/** Secrets go to a terminal only: anything else may be a journal, which keeps them for whoever reads it later. */
function printNextSteps({ cluster, configuration: { seedDirectory }, terminal, isTerminal }: NextSteps): void {
  const { endpoints } = cluster;
  const kubeconfig = `  kubectl        export KUBECONFIG=${shellWord(endpoints.kubeconfig)}\n`;
  terminal.line(`\n  Status page    ${pageAddress(cluster, isTerminal)}\n${kubeconfig}`);
  const git = gitAddress(endpoints);
  if (seedDirectory !== undefined) {
    terminal.line(
      [
        '  Try this in a second terminal:',
        `    git clone ${isTerminal ? git.href : '"$(midship git-url)"'} demo && cd demo`,
        "    sed -i 's/replicas: 3/replicas: 5/' apps/storefront/deployment.yaml",
        '    git commit -am "storefront: 5 replicas" && git push      # watch this terminal',
        '    git revert --no-edit HEAD && git push                    # and back',
        '',
      ].join('\n'),
    );
  } else if (isTerminal) terminal.line(`  Push to        ${git.href}\n`);
  else {
    git.username = '';
    git.password = '';
    terminal.line(`  Push to        ${git.href}   (with its token: midship git-url)\n`);
  }
  if (process.stdin.isTTY) terminal.line('  space opens the status page, q stops\n');
}

function pageAddress(cluster: Cluster, isTerminal: boolean): string {
  const { page, http, pageTokenFile } = cluster.endpoints;
  if (isTerminal) return `${page ?? http}${cluster.newPageLink()}`;
  return `${page ?? http}${pageTokenFile === undefined ? '' : '   (log in by: midship page-url)'}`;
}

/** Gives the address of the built-in remote, by the name that other machines know too. */
function gitAddress({ git, page }: Endpoints): URL {
  const url = new URL(git);
  if (page !== undefined) url.hostname = new URL(page).hostname;
  return url;
}

function listenForKeys(cluster: Cluster, terminal: Terminal, stop: (exitCode: number) => void): void {
  if (!process.stdin.isTTY) return;
  process.stdin.setRawMode(true).resume();
  process.stdin.setEncoding('utf8').on('data', (key: string) => {
    if (key === 'q') stop(0);
    // Raw mode turns Ctrl-C into a character.
    if (key === '\u0003') stop(130);
    if (key === ' ') {
      const { http, page, pageTokenFile } = cluster.endpoints;
      // Arguments of a program are shown to every user of the machine.
      if (pageTokenFile !== undefined) {
        terminal.line(`  Status page    ${pageAddress(cluster, true)}`);
        return;
      }
      const opener = spawn(process.platform === 'darwin' ? 'open' : 'xdg-open', [page ?? http], { stdio: 'ignore', detached: true });
      // Without a desktop there is nothing to open; the address is on the screen.
      opener.on('error', () => undefined);
      opener.unref();
    }
  });
}
