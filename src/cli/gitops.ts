import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { createLog } from '../base/log.ts';
import { openLogFile } from '../base/log-file.ts';
import { boundHeapGrowth } from '../base/memory-budget.ts';
import { createRedactor } from '../base/redactor.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import type { BuildTools } from '../gitops/render/tools.ts';
import { isStatusError } from '../machinery/status-error.ts';
import { engineLease, managedSelector, startForeignEngine } from './compose/foreign-engine.ts';
import { filesOf } from './configuration.ts';
import { explainKubeconfig } from './connect.ts';
import { ensureDataDirectory } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';
import { lostLease } from './lost-lease.ts';

export interface GitOpsOptions {
  readonly kubeconfig: string;
  readonly context: string | undefined;
  /** For fetched repositories and the log. */
  readonly dataDirectory: string;
  readonly httpPort: number;
  /** Several engines may run on one cluster: one works, the others wait. */
  readonly leaderElect: boolean;
  readonly tools?: BuildTools | undefined;
  readonly overrideManagers?: readonly string[];
  readonly logLevel: string;
  readonly output: NodeJS.WritableStream;
  readonly version: string;
}

/**
 * Runs the engine against the cluster of a kubeconfig, in the foreground, until it receives a signal to stop.
 *
 * @throws Failure when another engine took over
 */
export async function runGitOps(options: GitOpsOptions): Promise<ExitCode> {
  const { kubeconfig, context, dataDirectory, httpPort, leaderElect, tools, overrideManagers = [], logLevel, output, version } = options;
  boundHeapGrowth();
  const { namespace: _, ...connection } = await loadKubeconfig(kubeconfig, context).catch(explainKubeconfig);
  const files = filesOf(dataDirectory);
  await ensureDataDirectory(dataDirectory);
  const logFile = openLogFile({ path: join(files.logs, 'gitops.log') });
  process.once('exit', logFile.flush);
  const redactor = createRedactor();
  const log = createLog({ level: logLevel, destination: logFile, redact: (line) => redactor.text(line) });
  const abort = new AbortController();
  // Every part that starts waits on it.
  setMaxListeners(100, abort.signal);
  let exitCode: ExitCode = 0;
  const interrupted = (): void => {
    exitCode = 130;
    abort.abort(new Error('stop was requested'));
  };
  const terminated = (): void => abort.abort(new Error('stop was requested'));
  const onStandby = ({ holder, url }: { readonly holder: string; readonly url: string }): void => {
    output.write(`  stands by: ${holder} holds the lease ${engineLease.namespace}/${engineLease.name}; page and metrics ${url}\n`);
  };
  process.on('SIGINT', interrupted);
  process.on('SIGTERM', terminated);
  try {
    const engine = await startForeignEngine({
      connection,
      clusterName: new URL(connection.server).hostname,
      httpPort,
      cacheDirectory: files.gitCache,
      tools,
      overrideManagers,
      log,
      redactor,
      version,
      election: leaderElect ? { identity: `${hostname()}_${randomUUID()}`, clock: systemClock, onStandby } : undefined,
      signal: abort.signal,
    });
    try {
      if (engine.installed.length > 0) output.write(`  installed ${engine.installed.join(', ')}\n`);
      output.write(
        `  follows apps and repositories labelled ${managedSelector} on ${connection.server}\n  page and metrics ${engine.url}\n`,
      );
      const over = AbortSignal.any([abort.signal, engine.lost]);
      await new Promise<void>((resolve) => {
        if (over.aborted) resolve();
        else over.addEventListener('abort', () => resolve(), { once: true });
      });
      if (engine.lost.aborted && !abort.signal.aborted) throw lostLease(engine.lost.reason);
    } finally {
      await engine.stop();
    }
    return exitCode;
  } catch (err) {
    if (abort.signal.aborted) return exitCode;
    if (!isStatusError(err)) throw err;
    throw new Failure(`${connection.server}: ${err.message}`, {
      why: 'The cluster refused what the engine needs, or cannot be reached.',
      fix: 'The user of the kubeconfig needs the rights of cluster-admin; try: kubectl auth can-i "*" "*" --all-namespaces',
      cause: err,
    });
  } finally {
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', terminated);
  }
}
