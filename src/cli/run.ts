import { setMaxListeners } from 'node:events';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { rootAppName } from '../api/kustomize/v1/app-name.ts';
import type { Activity } from '../base/contracts/activity.ts';
import { writeDurableFile } from '../base/durable-file.ts';
import { createLog } from '../base/log.ts';
import { openLogFile } from '../base/log-file.ts';
import { plain, plainLines } from '../base/plain-text.ts';
import { createRedactor } from '../base/redactor.ts';
import { timeLimit } from '../base/time-limit.ts';
import { formatAddresses, formatTour, pageAddress } from './addresses.ts';
import { type Cluster, startCluster } from './compose/cluster.ts';
import { type Configuration, filesOf } from './configuration.ts';
import { ensureDataDirectory, refuseRunning } from './data-directory.ts';
import { listenForKeys } from './keys.ts';
import { openBrowser } from './open-browser.ts';
import type { ProgramContext } from './program.ts';
import { createStopRequests } from './stop-requests.ts';
import { createTerminal, type Terminal } from './terminal.ts';

/** Time that the start waits for the apps before it says that they are still on their way. */
const appsDeadlineMs = 60_000;

export interface RunOptions extends Pick<ProgramContext, 'stdout' | 'stderr' | 'version'> {
  /** Another process started it and prints its addresses; its own lines go to a file of the data directory. */
  readonly isDetached: boolean;
}

/** Runs a cluster until it is asked to stop; gives the exit code. */
export async function runCluster(configuration: Configuration, options: RunOptions): Promise<number> {
  const { stdout, stderr, version, isDetached } = options;
  // Every user of the machine can read the arguments of a program; the password of --repo is not for them.
  if (configuration.repositoryCredentials !== undefined) process.title = 'midship';
  const files = filesOf(configuration.dataDirectory);
  await refuseRunning(configuration.dataDirectory);
  await ensureDataDirectory(configuration.dataDirectory);
  const logFile = openLogFile({ path: join(files.logs, 'midship.log') });
  process.once('exit', logFile.flush);
  const redactor = createRedactor();
  const log = createLog({ level: configuration.logLevel, destination: logFile, redact: (line) => redactor.text(line) });
  // A reader that went away (`midship up | head`) must not take the cluster with it.
  stdout.removeAllListeners('error').on('error', (err) => log.debug({ err }, 'Lost the terminal'));
  const output = isDetached ? terminalLogOf(files.terminalLog) : stdout;
  const isTerminal = output === stdout && stdout.isTTY === true;
  const terminal = createTerminal(output);
  const abort = new AbortController();
  // Every part that starts waits on it.
  setMaxListeners(100, abort.signal);
  const stopped = createStopRequests(abort);
  terminal.line(`  midship ${version}   ${configuration.machines === undefined ? 'one process, no containers needed' : 'server'}\n`);
  const startedAt = performance.now();
  // Its commands change the first commit, so they fit no later start.
  const isNewTour = configuration.seedDirectory !== undefined && !existsSync(files.repository);
  let cluster: Cluster | undefined;
  let releaseKeys: (() => Promise<void>) | undefined;
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
    const { endpoints } = cluster;
    await writeDurableFile(files.settings, `${JSON.stringify(configuration.settings ?? [], undefined, 2)}\n`);
    await writeDurableFile(files.endpoints, `${JSON.stringify(endpoints, undefined, 2)}\n`);
    // Before anything is waited for: a repository may have to be corrected, and a push needs its address.
    terminal.line(formatAddresses({ endpoints, configuration, pagePath: cluster.newPageLink(), isTerminal }));
    releaseKeys = await listenForKeys(keyHandler(cluster, terminal, stopped.request));
    terminal.line(releaseKeys === undefined ? '  midship down stops it\n' : '  space opens the status page, q stops\n');
    await showApps(cluster, terminal, { startedAt, signal: abort.signal });
    if (isNewTour) terminal.line(`\n${formatTour(endpoints, isTerminal)}`);
    await stopped.reason;
    return stopped.exitCode();
  } catch (err) {
    if (abort.signal.aborted) return stopped.exitCode();
    throw err;
  } finally {
    if (cluster !== undefined) {
      terminal.line(`\n  stopping the pods; the data stays in ${configuration.dataDirectory}`);
      // A client cannot do right by a half-stopped cluster, so the file says so first. "midship down" waits for the process in it.
      await writeDurableFile(files.endpoints, `${JSON.stringify({ ...cluster.endpoints, isStopping: true }, undefined, 2)}\n`).catch(
        (err: unknown) => log.warn({ err }, 'Could not note that the cluster stops'),
      );
      const problem = await cluster.stop().then(
        () => undefined,
        (err: unknown) => err ?? new Error('unknown'),
      );
      await rm(files.endpoints, { force: true });
      if (problem === undefined) terminal.line('  stopped');
      else {
        log.error({ err: problem }, 'Could not stop cleanly');
        stderr.write(`✗ could not stop cleanly: ${plainLines(problem instanceof Error ? problem.message : String(problem))}\n`);
      }
    }
    stopped.close();
    await releaseKeys?.();
  }
}

function terminalLogOf(path: string): Writable {
  const file = openLogFile({ path });
  process.once('exit', file.flush);
  return new Writable({
    write(chunk, _encoding, done) {
      file.write(String(chunk));
      done();
    },
  });
}

interface Waiting {
  readonly startedAt: number;
  readonly signal: AbortSignal;
}

/** Tells how the apps come up, then everything that happens. */
async function showApps(cluster: Cluster, terminal: Terminal, waiting: Waiting): Promise<void> {
  if (cluster.awaits === 'push') terminal.line('  waiting for the first push to branch main');
  const show = (activity: Activity): void => {
    // The line above says it.
    if (activity.type === 'failed' && activity.app === rootAppName && cluster.awaits === 'push' && !isPushed(cluster)) return;
    terminal.activity(activity);
    if (activity.type === 'failed' && activity.app === rootAppName && activity.errors.some((error) => missingPath.test(error)))
      terminal.line('            the flag --path names the directory: stop, and start with another one');
  };
  if (cluster.awaits === 'apps') await waitForApps(cluster, terminal, { ...waiting, show });
  cluster.activity.onAdded(show);
}

const missingPath = /is not a directory of the repository at/;
const isPushed = ({ activity }: Cluster): boolean => activity.recent().some(({ type }) => type === 'commit');

async function waitForApps(
  cluster: Cluster,
  terminal: Terminal,
  { startedAt, signal, show }: Waiting & { show(activity: Activity): void },
): Promise<void> {
  const deadline = timeLimit(signal, appsDeadlineMs);
  const trouble = (activity: Activity): void => {
    if (activity.type === 'failed' || activity.type === 'degraded') show(activity);
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

function keyHandler(cluster: Cluster, terminal: Terminal, stop: (exitCode: number) => void): (key: string) => void {
  return (key) => {
    if (key === 'q') stop(0);
    // Raw mode turns Ctrl-C into a character.
    if (key === '\u0003') stop(130);
    if (key === ' ') openPage(cluster, terminal);
  };
}

function openPage(cluster: Cluster, terminal: Terminal): void {
  const { http, page, pageTokenFile } = cluster.endpoints;
  const say = (): void => terminal.line(`  Status page    ${pageAddress(cluster.endpoints, cluster.newPageLink())}`);
  // Arguments of a program are shown to every user of the machine.
  if (pageTokenFile !== undefined) {
    say();
    return;
  }
  openBrowser(page ?? http, say);
}
