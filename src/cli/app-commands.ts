import { resolve } from 'node:path';
import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import { isDuration, parseDuration } from '../api/flux.ts';
import { type BuildFlags, withBuildFlags } from './build-flags.ts';
import type { CommandContext } from './command-context.ts';
import type { AppCommand } from './connect.ts';
import type { ExitCode } from './failure.ts';
import { type Format, formats, type ListFormat, listFormats } from './format.ts';
import { type OverrideFlags, overrideManagerOption } from './override-flag.ts';

interface ClusterFlags {
  readonly dataDir?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  readonly output: Format;
}

/** The commands that look at apps: in the running cluster, or any that a kubeconfig names. */
export function addAppQuestions(program: Command, context: CommandContext): void {
  const { clusterVerb, verb, untilInterrupt, commandOf } = verbsOf(program, context);
  const { done } = context;

  verb('get', 'list apps or sources', 'only of this namespace')
    .addArgument(new Argument('<what>').choices(['apps', 'sources', 'app', 'source']))
    .argument('[name]', 'one of them')
    .option('-A, --all-namespaces', 'of all namespaces, as without -n', false)
    .action(async (what: string, name: string | undefined, flags: GetFlags) => {
      const namespace = flags.allNamespaces ? undefined : flags.namespace;
      const options = { ...(await commandOf({ ...flags, output: 'text' })), namespace, format: flags.output, name, now: Date.now() };
      const { getApps, getSources } = await import('./apps.ts');
      done(await (what.startsWith('app') ? getApps : getSources)(options));
    });

  verb('why', 'why an app or an object is as it is: every step, the one thing that blocks, what to do', 'of the app or the object')
    .argument('<target>', 'APP, NAMESPACE/APP, KIND/NAME or APP/KIND/NAME')
    .action(async (target: string, flags: ClusterFlags) =>
      done(await (await import('./why.ts')).showWhy({ ...(await commandOf(flags)), target, now: Date.now() })),
    );

  verb('tree', 'activity of an app: what it applied, with which result')
    .argument('<app>')
    .action(async (app: string, flags: ClusterFlags) =>
      done(await (await import('./tree.ts')).showTree({ ...(await commandOf(flags)), app })),
    );

  verb('trace', 'where an object comes from: owners, app, repository, commit', 'of the object')
    .argument('<object>', 'KIND/NAME')
    .action(async (object: string, flags: ClusterFlags) =>
      done(
        await (await import('./trace.ts')).showTrace({
          ...(await commandOf(flags)),
          object,
          namespace: flags.namespace ?? 'default',
          now: Date.now(),
        }),
      ),
    );

  verb('events', 'what happened to an app and its objects', 'of the app; without one, of the events')
    .argument('[app]', 'the whole cluster when left out')
    .option('-w, --watch', 'follow new events', false)
    .action((app: string | undefined, flags: ClusterFlags & { readonly watch: boolean }) =>
      untilInterrupt(async (signal) =>
        (await import('./events.ts')).showEvents({ ...(await commandOf(flags)), app, watch: flags.watch, signal }),
      ),
    );

  clusterVerb('logs', 'what the pods of an app or an object write', 'of the app or the object')
    .argument('<target>', 'APP, NAMESPACE/APP, pod/NAME or KIND/NAME; lines of several pods begin with their pod')
    .option('-f, --follow', 'continue as lines are written', false)
    .option('-c, --container <name>', 'of this container; default: the first, or the one that the pod names')
    .option('-p, --previous', 'of the run before the newest one, for example after a crash', false)
    .addOption(
      new Option('--tail <lines>', 'the newest lines alone')
        .argParser(parseTail)
        .default(undefined, 'all of one pod, 10 of each of several; -1: all'),
    )
    .addOption(new Option('--since <duration>', 'only lines of this time, for example 5m').argParser(parsePeriod))
    .action((target: string, flags: ClusterFlags & LogsFlags) =>
      untilInterrupt(async (signal) =>
        (await import('./logs.ts')).showLogs({
          ...(await commandOf(flags)),
          target,
          container: flags.container,
          follow: flags.follow,
          previous: flags.previous,
          tail: flags.tail,
          sinceSeconds: flags.since === undefined ? undefined : Math.ceil(parseDuration(flags.since) / 1_000),
          notes: context.notes,
          signal,
        }),
      ),
    );

  verb('history', 'revisions of an app: the result of each, and its changes')
    .argument('<app>')
    .option('--changes', 'with the objects', false)
    .action(async (app: string, flags: ClusterFlags & { readonly changes: boolean }) =>
      done(await (await import('./history.ts')).showHistory({ ...(await commandOf(flags)), app, changes: flags.changes, now: Date.now() })),
    );
}

/** The commands that compare and change them. */
export function addAppActions(program: Command, context: CommandContext): void {
  const { verb, commandOf } = verbsOf(program, context);
  const { environment, done } = context;
  const timeoutOption = (): Option => new Option('--timeout <duration>', 'how long to wait').argParser(parseTimeout).default('2m');
  const repoOption = (): Option => new Option('--repo <dir>', 'clone of the repository').default('.', 'the working directory');

  withBuildFlags(verb('diff', 'changes of the work tree to the cluster; exits with 0 for none, 1 for some, 2 for an error'))
    .argument('[names...]', 'APP; or REV1 REV2 to compare what two commits make of the apps; or APP REV1 REV2')
    .option('--revision <rev>', 'a commit of the clone in place of the work tree')
    .option('--path <dir>', 'directory with the manifests, in place of the app’s')
    .addOption(repoOption())
    .addOption(overrideManagerOption())
    .action(async (names: readonly string[], flags: ClusterFlags & DiffFlags & BuildFlags) => {
      if (names.length > 3) throw new InvalidArgumentError('At most APP REV1 REV2.');
      const { revision, path, repo } = flags;
      done(
        await (await import('./diff.ts')).showDiff({
          ...(await commandOf(flags)),
          names,
          revision,
          path,
          directory: resolve(repo),
          tools: (await import('./build-tools.ts')).toolsOf(flags, environment),
          overrideManagers: flags.overrideManager,
        }),
      );
    });

  verb('sync', 'fetch the repository and apply an app now')
    .argument('<app>')
    .option('--wait', 'until it is done', false)
    .addOption(timeoutOption())
    .action(async (app: string, flags: ClusterFlags & { readonly wait: boolean; readonly timeout: string }) =>
      done(
        await (await import('./apps.ts')).syncApp({
          ...(await commandOf(flags)),
          app,
          wait: flags.wait,
          timeout: flags.timeout,
          now: Date.now(),
        }),
      ),
    );

  verb('wait', 'wait until an app is in force and healthy; exits with 1 when it is not by then')
    .argument('<app>')
    .option('--revision <sha>', 'at this commit')
    .addOption(timeoutOption())
    .action(async (app: string, flags: ClusterFlags & { readonly revision?: string; readonly timeout: string }) =>
      done(
        await (await import('./apps.ts')).waitForApp({
          ...(await commandOf(flags)),
          app,
          revision: flags.revision,
          timeout: flags.timeout,
        }),
      ),
    );

  withBuildFlags(verb('revert', 'revert the last change of an app by a commit in a clone, or a pin in the cluster'))
    .alias('rollback')
    .argument('<target>', 'APP, or a commit')
    .option('--to <rev>', 'go back to this revision of the app’s history')
    .option('--push', 'push the commit', false)
    .option('--hold', 'pin the app in the cluster and leave Git alone', false)
    .addOption(repoOption())
    .action(async (target: string, flags: ClusterFlags & RevertFlags & BuildFlags) =>
      done(
        await (await import('./revert.ts')).revert({
          ...(await commandOf(flags)),
          target,
          to: flags.to,
          push: flags.push,
          hold: flags.hold,
          directory: resolve(flags.repo),
          tools: (await import('./build-tools.ts')).toolsOf(flags, environment),
          now: Date.now(),
        }),
      ),
    );

  verb('suspend', 'stop syncing and healing an app')
    .argument('<app>')
    .option('--reason <text>', 'why, for those who find it suspended')
    .addOption(new Option('--for <duration>', 'take it up again by itself after this time').argParser(parsePeriod))
    .action(async (app: string, flags: ClusterFlags & { readonly reason?: string; readonly for?: string }) =>
      done(
        await (await import('./apps.ts')).suspendApp({
          ...(await commandOf(flags)),
          app,
          reason: flags.reason,
          duration: flags.for,
          now: Date.now(),
        }),
      ),
    );

  verb('resume', 'take up a suspended or pinned app again')
    .argument('<app>')
    .action(async (app: string, flags: ClusterFlags) =>
      done(await (await import('./apps.ts')).resumeApp({ ...(await commandOf(flags)), app })),
    );
}

interface Verbs {
  clusterVerb(name: string, description: string, namespaceOf?: string): Command;
  /** With a choice of output formats. */
  verb(name: string, description: string, namespaceOf?: string): Command;
  /** For what runs until Ctrl-C. */
  untilInterrupt(action: (signal: AbortSignal) => Promise<ExitCode>): Promise<void>;
  commandOf(flags: ClusterFlags): Promise<AppCommand>;
}

function verbsOf(program: Command, { environment, output, version, withDataDirectory, dataDirectoryOf, done }: CommandContext): Verbs {
  const clusterVerb = (name: string, description: string, namespaceOf = 'of the app'): Command =>
    withDataDirectory(program.command(name).description(description))
      .addOption(
        new Option('--kubeconfig <file>', 'another cluster than the one of --data-dir').default(environment.MIDSHIP_KUBECONFIG, undefined),
      )
      .option('--context <name>', 'context of the kubeconfig')
      .addOption(new Option('-n, --namespace <namespace>', namespaceOf).argParser(parseNamespace));
  const verb = (name: string, description: string, namespaceOf?: string): Command =>
    clusterVerb(name, description, namespaceOf).addOption(
      new Option('-o, --output <format>', 'output format').choices(name === 'get' ? listFormats : formats).default('text'),
    );
  const untilInterrupt = async (action: (signal: AbortSignal) => Promise<ExitCode>): Promise<void> => {
    const abort = new AbortController();
    const onInterrupt = (): void => abort.abort(new Error('interrupted'));
    process.once('SIGINT', onInterrupt);
    try {
      const exitCode = await action(abort.signal);
      done(abort.signal.aborted ? 130 : exitCode);
    } finally {
      process.off('SIGINT', onInterrupt);
    }
  };
  const commandOf = async (flags: ClusterFlags): Promise<AppCommand> => ({
    dataDirectory: await dataDirectoryOf(flags),
    kubeconfig: flags.kubeconfig === undefined ? undefined : resolve(flags.kubeconfig),
    context: flags.context,
    namespace: flags.namespace,
    output,
    format: flags.output,
    version,
  });
  return { clusterVerb, verb, untilInterrupt, commandOf };
}

interface GetFlags extends Omit<ClusterFlags, 'output'> {
  readonly output: ListFormat;
  readonly allNamespaces: boolean;
}

interface LogsFlags {
  readonly container?: string;
  readonly follow: boolean;
  readonly previous: boolean;
  readonly tail?: number;
  readonly since?: string;
}

interface DiffFlags extends OverrideFlags {
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

/** -1, as kubectl has it, is no limit. */
function parseTail(value: string): number {
  const lines = Number(value);
  if (!/^-?\d+$/.test(value) || lines < -1 || !Number.isSafeInteger(lines)) throw new InvalidArgumentError('A number of lines; -1 is all.');
  return lines;
}

function parseDurationText(value: string): string {
  if (!isDuration(value)) throw new InvalidArgumentError('A duration, for example 30s or 2m.');
  return value;
}

/** Longer ones than a timer of Node can have would be over at once. */
const maxTimeoutMs = 24 * 3_600_000;

function parseTimeout(value: string): string {
  if (parseDuration(parseDurationText(value)) > maxTimeoutMs) throw new InvalidArgumentError('At most 24h.');
  return value;
}

const maxPeriodMs = 10 * 366 * 24 * 3_600_000;

function parsePeriod(value: string): string {
  const ms = parseDuration(parseDurationText(value));
  if (ms < 1_000 || ms > maxPeriodMs) throw new InvalidArgumentError('A duration from 1s to ten years.');
  return value;
}

function parseNamespace(value: string): string {
  if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(value)) throw new InvalidArgumentError('The name of a namespace.');
  return value;
}
