import { resolve } from 'node:path';
import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import { isDuration } from '../api/flux.ts';
import { getApps, getSources, resumeApp, suspendApp, syncApp, waitForApp } from './apps.ts';
import type { AppCommand } from './connect.ts';
import { showDiff } from './diff.ts';
import { showEvents } from './events.ts';
import type { ExitCode } from './failure.ts';
import { showHistory } from './history.ts';
import { type Format, formats } from './output.ts';
import { revert } from './revert.ts';
import { showTrace } from './trace.ts';
import { showTree } from './tree.ts';
import { showWhy } from './why.ts';

export interface AppCommandContext {
  readonly environment: NodeJS.ProcessEnv;
  readonly output: NodeJS.WritableStream;
  readonly version: string;
  withDataDirectory(command: Command): Command;
  done(exitCode: ExitCode): void;
}

interface ClusterFlags {
  readonly dataDir: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly output: Format;
}

/** The commands that look at apps and change them: against the running cluster, or any that a kubeconfig names. */
export function addAppCommands(program: Command, context: AppCommandContext): void {
  const { environment, output, version, withDataDirectory, done } = context;
  const verb = (name: string, description: string): Command =>
    withDataDirectory(program.command(name).description(description))
      .addOption(
        new Option('--kubeconfig <file>', 'another cluster than the one of --data-dir').default(environment.MIDSHIP_KUBECONFIG, undefined),
      )
      .option('--context <name>', 'context of the kubeconfig')
      .addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('text'));
  const commandOf = (flags: ClusterFlags): AppCommand => ({
    dataDirectory: resolve(flags.dataDir),
    kubeconfig: flags.kubeconfig === undefined ? undefined : resolve(flags.kubeconfig),
    context: flags.context,
    output,
    format: flags.output,
    version,
  });
  const timeoutOption = (): Option => new Option('--timeout <duration>', 'how long to wait').argParser(parseDurationText).default('2m');
  const repoOption = (): Option => new Option('--repo <dir>', 'clone of the repository').default('.', 'the working directory');

  verb('get', 'list apps or sources')
    .addArgument(new Argument('<what>').choices(['apps', 'sources']))
    .action(async (what: string, flags: ClusterFlags) => done(await (what === 'apps' ? getApps : getSources)(commandOf(flags))));

  verb('why', 'why an app or an object is as it is: every step, the one thing that blocks, what to do')
    .argument('<target>', 'APP, NAMESPACE/APP, KIND/NAME or APP/KIND/NAME')
    .option('-n, --namespace <namespace>', 'of the object')
    .action(async (target: string, flags: ClusterFlags & { readonly namespace?: string }) =>
      done(await showWhy({ ...commandOf(flags), target, namespace: flags.namespace, now: Date.now() })),
    );

  verb('tree', 'what an app applied and what came of it')
    .argument('<app>')
    .action(async (app: string, flags: ClusterFlags) => done(await showTree({ ...commandOf(flags), app })));

  verb('trace', 'where an object comes from: owners, app, repository, commit')
    .argument('<object>', 'KIND/NAME')
    .option('-n, --namespace <namespace>', 'of the object', 'default')
    .action(async (object: string, flags: ClusterFlags & { readonly namespace: string }) =>
      done(await showTrace({ ...commandOf(flags), object, namespace: flags.namespace, now: Date.now() })),
    );

  verb('events', 'what happened to an app and its objects')
    .argument('[app]', 'the whole cluster when left out')
    .option('-w, --watch', 'go on with what happens from now on', false)
    .action(async (app: string | undefined, flags: ClusterFlags & { readonly watch: boolean }) => {
      const abort = new AbortController();
      const onInterrupt = (): void => abort.abort(new Error('interrupted'));
      process.once('SIGINT', onInterrupt);
      try {
        done(await showEvents({ ...commandOf(flags), app, watch: flags.watch, signal: abort.signal }));
        if (abort.signal.aborted) done(130);
      } finally {
        process.off('SIGINT', onInterrupt);
      }
    });

  verb('diff', 'what the work tree would change in the cluster; exits with 0 for nothing, 1 for something, 2 for an error')
    .argument('[names...]', 'APP; or REV1 REV2 to compare what two commits make of the apps; or APP REV1 REV2')
    .option('--revision <rev>', 'a commit of the clone in place of the work tree')
    .option('--path <dir>', 'directory with the manifests, in place of the app’s')
    .addOption(repoOption())
    .action(async (names: readonly string[], flags: ClusterFlags & DiffFlags) => {
      if (names.length > 3) throw new InvalidArgumentError('At most APP REV1 REV2.');
      done(await showDiff({ ...commandOf(flags), names, revision: flags.revision, path: flags.path, directory: resolve(flags.repo) }));
    });

  verb('sync', 'look at the repository and put an app in force now')
    .argument('<app>')
    .option('--wait', 'until it is done', false)
    .addOption(timeoutOption())
    .action(async (app: string, flags: ClusterFlags & { readonly wait: boolean; readonly timeout: string }) =>
      done(await syncApp({ ...commandOf(flags), app, wait: flags.wait, timeout: flags.timeout, now: Date.now() })),
    );

  verb('wait', 'wait until an app is in force and healthy; exits with 1 when it is not by then')
    .argument('<app>')
    .option('--revision <sha>', 'at this commit')
    .addOption(timeoutOption())
    .action(async (app: string, flags: ClusterFlags & { readonly revision?: string; readonly timeout: string }) =>
      done(await waitForApp({ ...commandOf(flags), app, revision: flags.revision, timeout: flags.timeout })),
    );

  verb('history', 'revisions of an app: what came of each, and what it changed')
    .argument('<app>')
    .option('--changes', 'with the objects', false)
    .action(async (app: string, flags: ClusterFlags & { readonly changes: boolean }) =>
      done(await showHistory({ ...commandOf(flags), app, changes: flags.changes, now: Date.now() })),
    );

  verb('revert', 'take back the last change of an app: a revert commit in a clone, or a pin in the cluster')
    .alias('rollback')
    .argument('<target>', 'APP, or a commit')
    .option('--to <rev>', 'go back to this revision of the app’s history')
    .option('--push', 'push the commit', false)
    .option('--hold', 'pin the app in the cluster and leave Git alone', false)
    .addOption(repoOption())
    .action(async (target: string, flags: ClusterFlags & RevertFlags) =>
      done(
        await revert({
          ...commandOf(flags),
          target,
          to: flags.to,
          push: flags.push,
          hold: flags.hold,
          directory: resolve(flags.repo),
          now: Date.now(),
        }),
      ),
    );

  verb('suspend', 'stop syncing and healing an app')
    .argument('<app>')
    .option('--reason <text>', 'why, for those who find it suspended')
    .addOption(new Option('--for <duration>', 'take it up again by itself after this time').argParser(parseDurationText))
    .action(async (app: string, flags: ClusterFlags & { readonly reason?: string; readonly for?: string }) =>
      done(await suspendApp({ ...commandOf(flags), app, reason: flags.reason, duration: flags.for, now: Date.now() })),
    );

  verb('resume', 'take up a suspended or pinned app again')
    .argument('<app>')
    .action(async (app: string, flags: ClusterFlags) => done(await resumeApp({ ...commandOf(flags), app })));
}

interface DiffFlags {
  readonly revision?: string;
  readonly path?: string;
  readonly repo: string;
}

interface RevertFlags {
  readonly to?: string;
  readonly push: boolean;
  readonly hold: boolean;
  readonly repo: string;
}

function parseDurationText(value: string): string {
  if (!isDuration(value)) throw new InvalidArgumentError('A duration, for example 30s or 2m.');
  return value;
}
