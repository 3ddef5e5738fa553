import { setMaxListeners } from 'node:events';
import { join } from 'node:path';
import { createLog } from '../base/log.ts';
import { openLogFile } from '../base/log-file.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { isStatusError } from '../machinery/status-error.ts';
import { managedSelector, startForeignEngine } from './compose-gitops.ts';
import { filesOf } from './configuration.ts';
import { ensureDataDirectory } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';

export interface GitOpsOptions {
  readonly kubeconfig: string;
  readonly context: string | undefined;
  /** For fetched repositories and the log. */
  readonly dataDirectory: string;
  readonly httpPort: number;
  readonly logLevel: string;
  readonly output: NodeJS.WritableStream;
  readonly version: string;
}

/** Runs the engine against the cluster of a kubeconfig, in the foreground, until it is told to stop. */
export async function runGitOps(options: GitOpsOptions): Promise<ExitCode> {
  const { kubeconfig, context, dataDirectory, httpPort, logLevel, output, version } = options;
  const { namespace: _, ...connection } = await loadKubeconfig(kubeconfig, context).catch(explainKubeconfig);
  const files = filesOf(dataDirectory);
  await ensureDataDirectory(dataDirectory);
  const logFile = openLogFile({ path: join(files.logs, 'gitops.log') });
  process.once('exit', logFile.flush);
  const log = createLog({ level: logLevel, destination: logFile });
  const abort = new AbortController();
  // Every part that starts waits on it.
  setMaxListeners(100, abort.signal);
  let exitCode: ExitCode = 0;
  const interrupted = (): void => {
    exitCode = 130;
    abort.abort(new Error('stop was requested'));
  };
  const terminated = (): void => abort.abort(new Error('stop was requested'));
  process.on('SIGINT', interrupted);
  process.on('SIGTERM', terminated);
  try {
    const engine = await startForeignEngine({
      connection,
      clusterName: new URL(connection.server).hostname,
      httpPort,
      cacheDirectory: files.gitCache,
      log,
      version,
      signal: abort.signal,
    });
    try {
      if (engine.installed.length > 0) output.write(`  installed ${engine.installed.join(', ')}\n`);
      output.write(
        `  follows apps and repositories labelled ${managedSelector} on ${connection.server}\n  page and metrics ${engine.url}\n`,
      );
      await new Promise<void>((resolve) => {
        if (abort.signal.aborted) resolve();
        else abort.signal.addEventListener('abort', () => resolve(), { once: true });
      });
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

function explainKubeconfig(err: unknown): never {
  if (!(err instanceof Error && 'hint' in err && typeof err.hint === 'string')) throw err;
  throw new Failure(err.message, { why: 'The cluster cannot be reached with it.', fix: err.hint, cause: err });
}
