import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type MemoryBudget, maxObjectBytes, minMemoryBytes, shareMemory } from '../base/memory-budget.ts';
import { type AccessFlags, oidcSettingsOf, withAccessFlags } from './access-flags.ts';
import { addAppCommands } from './app-commands.ts';
import { backup } from './backup.ts';
import { build } from './build.ts';
import { type BuildFlags, toolsOf, withBuildFlags } from './build-flags.ts';
import { checkCertificates, rotateCertificates } from './certs.ts';
import { openEmptyApi, openStoppedBackup, openStoppedStore, salvageStoppedStore } from './compose.ts';
import { type Configuration, type DisablePart, defaultDataDirectory, disableParts } from './configuration.ts';
import { confirmAt } from './confirm.ts';
import { detachedFlag, startDetached } from './detach.ts';
import { down } from './down.ts';
import { Failure } from './failure.ts';
import { gitUrl } from './git-url.ts';
import { runGitOps } from './gitops.ts';
import { tryMemorySize, trySize } from './heap.ts';
import { kubeconfig } from './kubeconfig.ts';
import { type Format, formats } from './output.ts';
import { pageUrl } from './page-url.ts';
import { type PodFlags, podSettingsOf, withPodFlags } from './pod-flags.ts';
import { type RepairContext, repairCheck, repairDelete, repairGet, repairList, repairSalvage } from './repair.ts';
import { repositoryOf } from './repository-flag.ts';
import { restore } from './restore.ts';
import { exampleRepository, runCluster } from './run.ts';
import { status } from './status.ts';
import { validate } from './validate.ts';

export interface ProgramContext {
  readonly environment: NodeJS.ProcessEnv;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly version: string;
}

interface UpFlags extends AccessFlags, BuildFlags, PodFlags {
  readonly dataDir: string;
  readonly bindAddress: string;
  readonly apiPort: number;
  readonly httpBindAddress: string;
  readonly httpPort: number;
  readonly requireLogin: boolean;
  readonly simulateNodes: number;
  readonly runtime: string;
  readonly repo?: string;
  readonly branch?: string;
  readonly path?: string;
  readonly preReceive: 'off' | 'warn' | 'enforce';
  readonly tlsSan: readonly string[];
  readonly writeKubeconfigMode: number;
  readonly disable: readonly DisablePart[];
  readonly memoryBudget?: number;
  readonly storageQuota?: number;
  readonly detach: boolean;
  readonly detached: boolean;
}

interface GitOpsFlags extends BuildFlags {
  readonly dataDir: string;
  readonly kubeconfig: string;
  readonly context?: string;
  readonly httpPort: number;
  readonly leaderElect: 'true' | 'false';
}

/** Every command; each action gives the process's exit code. */
export function createProgram(context: ProgramContext): { run(argv: readonly string[]): Promise<number> } {
  const { environment } = context;
  let exitCode = 0;
  const program = new Command('midship')
    .description('A Kubernetes control plane that runs whatever your Git branch says.')
    .version(context.version)
    .exitOverride()
    .showSuggestionAfterError()
    .configureOutput({ writeErr: () => undefined, writeOut: (text) => context.stdout.write(text) })
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  midship demo                      a cluster with the examples in a built-in Git remote',
        '  midship up --repo . --path apps   run what this repository says',
        '  midship status                    is the cluster what Git says?',
        '  midship why APP                   if not, why not, and what to do',
        '  midship diff                      what would a commit of this work tree change?',
        '  midship revert APP --push         take back what changed the app last',
        '',
        'Exit codes: 0 yes or done, 1 an honest no, 2 an error, 130 interrupted.',
      ].join('\n'),
    );

  const withDataDirectory = (command: Command): Command =>
    command.addOption(
      new Option('--data-dir <dir>', 'where the cluster keeps its data').default(defaultDataDirectory(environment), '.midship'),
    );

  const withUpFlags = (command: Command): Command =>
    withBuildFlags(withPodFlags(withAccessFlags(withDataDirectory(command))))
      .option('-d, --detach', 'run in the background; ends when the addresses exist, and prints them', false)
      .addOption(new Option(detachedFlag).default(false).hideHelp())
      .addOption(
        new Option('--api-port <port>', 'port of the Kubernetes API; 0: any free')
          .argParser(parsePort)
          .default(portFrom(environment.MIDSHIP_API_PORT, 6443)),
      )
      .addOption(
        new Option('--http-port <port>', 'port of page, metrics and Git remote; 0: any free')
          .argParser(parsePort)
          .default(portFrom(environment.MIDSHIP_HTTP_PORT, 7080)),
      )
      .addOption(new Option('--bind-address <address>', 'address the API listens on').default('127.0.0.1'))
      .addOption(
        new Option('--http-bind-address <address>', 'address of page, metrics and Git remote; beyond loopback the page asks for a login')
          .argParser(parseAddress)
          .default('127.0.0.1'),
      )
      .addOption(new Option('--require-login', 'page and metrics ask for a login on loopback, too').default(false))
      .addOption(
        new Option('--tls-san <name>', 'further name or address in the API certificate, and of the page')
          .default([])
          .argParser((value, all: readonly string[]) => [...all, value]),
      )
      .addOption(new Option('--write-kubeconfig-mode <mode>', 'permissions of the kubeconfig').argParser(parseMode).default(0o600, '0600'))
      .addOption(
        new Option(
          '--pre-receive <policy>',
          'try a push to the built-in Git remote first: say what cannot be applied (warn), or refuse it too',
        )
          .choices(['off', 'warn', 'enforce'])
          .default('off'),
      )
      .addOption(
        new Option(
          '--memory-budget <size>',
          'memory of this process, for example 512Mi; default: a third of the memory of the machine or its control group, at most 5.4Gi',
        ).argParser(parseMemory),
      )
      .addOption(
        new Option(
          '--storage-quota <size>',
          'what all stored objects may take; creates and growth beyond it are refused; default: a third of the memory budget',
        ).argParser(parseSize),
      )
      .addOption(new Option('--simulate-nodes <n>', 'simulated nodes beside the real ones').argParser(parseCount).default(0))
      .addOption(
        new Option('--disable <parts>', `parts that are not started, to repair what keeps them from working: ${disableParts.join(', ')}`)
          .argParser(parseParts)
          .default([], 'none'),
      )
      .addOption(
        new Option('--runtime <runtime>', 'what runs the pods').choices(['process', 'simulated', 'containerd']).default('process'),
      );

  let commandLine: readonly string[] = [];
  const run = async (flags: UpFlags, seedDirectory: string | undefined): Promise<void> => {
    const configuration = configurationOf(flags, environment, seedDirectory);
    exitCode =
      flags.detach && !flags.detached
        ? await startDetached(commandLine, configuration, context)
        : await runCluster(configuration, { ...context, isDetached: flags.detached });
  };

  withUpFlags(program.command('demo').description('run a cluster with the examples repository in a built-in Git remote')).action(
    (flags: Omit<UpFlags, 'branch' | 'path'>) => run({ ...flags, branch: 'main', path: './clusters/demo' }, exampleRepository),
  );
  withUpFlags(program.command('up').description('run a cluster that follows a Git repository'))
    .option(
      '--repo <url-or-dir>',
      'https:// address (token in it or in MIDSHIP_GIT_TOKEN) or a directory of this machine; default: the built-in remote',
    )
    .option('--branch <branch>', 'branch to follow; default: as at the start before, or main')
    .option('--path <dir>', 'directory of the repository to apply; default: as at the start before, or its root')
    .action((flags: UpFlags) => run(flags, undefined));
  withBuildFlags(withDataDirectory(program.command('gitops').description('run only the GitOps engine, on the cluster of a kubeconfig')))
    .requiredOption('--kubeconfig <file>', 'of the cluster', environment.KUBECONFIG || undefined)
    .option('--context <name>', 'context of the kubeconfig')
    .addOption(
      new Option('--http-port <port>', 'port of page and metrics; 0: any free')
        .argParser(parsePort)
        .default(portFrom(environment.MIDSHIP_HTTP_PORT, 7080)),
    )
    .addOption(
      new Option('--leader-elect [boolean]', 'several may run on one cluster: one works, the others stand by; false: this is the only one')
        .choices(['true', 'false'])
        .preset('true')
        .default('true'),
    )
    .action(async (flags: GitOpsFlags) => {
      exitCode = await runGitOps({
        kubeconfig: resolve(flags.kubeconfig),
        context: flags.context,
        dataDirectory: resolve(flags.dataDir),
        httpPort: flags.httpPort,
        leaderElect: flags.leaderElect === 'true',
        tools: toolsOf(flags, environment),
        logLevel: environment.MIDSHIP_LOG_LEVEL ?? 'info',
        output: context.stdout,
        version: context.version,
      });
    });
  withDataDirectory(program.command('down').description('stop the cluster and its pods; the data stays'))
    .option('--purge', 'delete the data too', false)
    .option('-y, --yes', 'with --purge: do not ask, even when the built-in remote has commits', false)
    .action(async (flags: { readonly dataDir: string; readonly purge: boolean; readonly yes: boolean }) => {
      exitCode = await down({
        dataDirectory: resolve(flags.dataDir),
        purge: flags.purge,
        isAgreed: flags.yes,
        ask: confirmAt(process.stdin, context.stderr),
        now: Date.now(),
        output: context.stderr,
      });
    });
  withDataDirectory(program.command('status').description('is the cluster what Git says?'))
    .addOption(new Option('-o, --output <format>', 'output format').choices(['text', 'json']).default('text'))
    .option('--exit-code', 'exit with 1 when it is not', false)
    .action(async (flags: { readonly dataDir: string; readonly output: string; readonly exitCode: boolean }) => {
      exitCode = await status({
        dataDirectory: resolve(flags.dataDir),
        format: flags.output === 'json' ? 'json' : 'text',
        failOnDifference: flags.exitCode,
        output: context.stdout,
      });
    });
  withDataDirectory(program.command('kubeconfig').description('print the path of the kubeconfig'))
    .option('--print', 'print its content instead', false)
    .action(async (flags: { readonly dataDir: string; readonly print: boolean }) => {
      exitCode = await kubeconfig({ dataDirectory: resolve(flags.dataDir), print: flags.print, output: context.stdout });
    });
  withDataDirectory(program.command('git-url').description('print the address of the built-in Git remote, token included')).action(
    async (flags: { readonly dataDir: string }) => {
      exitCode = await gitUrl({ dataDirectory: resolve(flags.dataDir), output: context.stdout });
    },
  );

  withDataDirectory(program.command('backup').description('write everything that a cluster is into one file, while it runs or not'))
    .argument('<file>', 'a new file; it holds all keys and Secrets')
    .option('--force', 'replace a file of that name', false)
    .action(async (file: string, flags: { readonly dataDir: string; readonly force: boolean }) => {
      exitCode = await backup({
        dataDirectory: resolve(flags.dataDir),
        file: resolve(file),
        force: flags.force,
        output: context.stdout,
        version: context.version,
        openStopped: openStoppedBackup,
      });
    });
  withDataDirectory(program.command('restore').description('make a data directory of a backup'))
    .argument('<file>', 'what "midship backup" wrote')
    .action(async (file: string, flags: { readonly dataDir: string }) => {
      exitCode = await restore({ file: resolve(file), dataDirectory: resolve(flags.dataDir), output: context.stdout });
    });
  const repair = program
    .command('repair')
    .description('look into a stopped cluster that does not start, and take out what keeps it from it');
  const repairing = (flags: { readonly dataDir: string }): RepairContext => ({
    dataDirectory: resolve(flags.dataDir),
    openStore: openStoppedStore,
    salvageStore: salvageStoppedStore,
    output: context.stdout,
  });
  withDataDirectory(repair.command('check').description('verify the store and the built-in repository; 1 when something is broken')).action(
    async (flags: { readonly dataDir: string }) => {
      exitCode = await repairCheck(repairing(flags));
    },
  );
  withDataDirectory(repair.command('list').description('list the objects of the store'))
    .argument('[kind]', 'only those of this kind')
    .action(async (kind: string | undefined, flags: { readonly dataDir: string }) => {
      exitCode = await repairList({ ...repairing(flags), kind });
    });
  withDataDirectory(repair.command('get').description('print an object as it is stored'))
    .argument('<object>', 'KIND/NAMESPACE/NAME, or KIND/NAME')
    .action(async (object: string, flags: { readonly dataDir: string }) => {
      exitCode = await repairGet({ ...repairing(flags), object });
    });
  withDataDirectory(repair.command('delete').description('take an object out of the store, finalizers or not, and keep its text in a file'))
    .argument('<object>', 'KIND/NAMESPACE/NAME, or KIND/NAME')
    .action(async (object: string, flags: { readonly dataDir: string }) => {
      exitCode = await repairDelete({ ...repairing(flags), object });
    });
  withDataDirectory(
    repair.command('salvage').description('make a store of the intact rows of one that is damaged, and keep the damaged files'),
  ).action(async (flags: { readonly dataDir: string }) => {
    exitCode = await repairSalvage(repairing(flags));
  });
  const certs = program.command('certs').description('the certificates of a cluster');
  withDataDirectory(certs.command('check').description('list them with the days they have left; 1 when one needs attention'))
    .addOption(new Option('-o, --output <format>', 'output format').choices(['text', 'json']).default('text'))
    .action(async (flags: { readonly dataDir: string; readonly output: 'text' | 'json' }) => {
      const dataDirectory = resolve(flags.dataDir);
      exitCode = await checkCertificates({ dataDirectory, format: flags.output, output: context.stdout, now: Date.now() });
    });
  withDataDirectory(certs.command('rotate').description('replace them, of a stopped cluster'))
    .option('--ca', 'replace the authorities too; the former ones stay trusted until they end', false)
    .option('--distrust-former', 'trust only the current authorities: copies of an older kubeconfig stop working', false)
    .option('--service-account-key', 'replace the key that signs service account tokens too', false)
    .action(
      async (flags: {
        readonly dataDir: string;
        readonly ca: boolean;
        readonly distrustFormer: boolean;
        readonly serviceAccountKey: boolean;
      }) => {
        exitCode = await rotateCertificates({
          dataDirectory: resolve(flags.dataDir),
          authorities: flags.ca,
          distrustFormer: flags.distrustFormer,
          serviceAccountKey: flags.serviceAccountKey,
          output: context.stdout,
          now: Date.now(),
        });
      },
    );

  withDataDirectory(
    program.command('page-url').description('print the address of the status page; with a login one that is good for logging in once'),
  ).action(async (flags: { readonly dataDir: string }) => {
    exitCode = await pageUrl({ dataDirectory: resolve(flags.dataDir), output: context.stdout });
  });

  addAppCommands(program, {
    environment,
    output: context.stdout,
    version: context.version,
    withDataDirectory,
    done(code) {
      exitCode = code;
    },
  });

  withBuildFlags(program.command('build').description('print the objects that a kustomization or a directory of manifests stands for'))
    .argument('[path]', 'directory', '.')
    .action(async (path: string, flags: BuildFlags) => {
      exitCode = await build({ path, tools: toolsOf(flags, environment), output: context.stdout });
    });
  withBuildFlags(program.command('validate').description('check manifests without a cluster, for CI and before a push'))
    .argument('[path]', 'directory', '.')
    .addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('text'))
    .option('--root <dir>', 'root of the repository, when it is not that of the clone')
    .option('--strict', 'warnings are errors', false)
    .action(async (path: string, flags: BuildFlags & { readonly output: Format; readonly root?: string; readonly strict: boolean }) => {
      exitCode = await validate({
        path,
        root: flags.root,
        strict: flags.strict,
        tools: toolsOf(flags, environment),
        output: context.stdout,
        format: flags.output,
        openApi: openEmptyApi,
      });
    });

  return {
    async run(argv) {
      commandLine = argv;
      try {
        // Asked nothing, it says what can be asked, as kubectl does.
        await program.parseAsync(argv.length === 0 ? ['--help'] : [...argv], { from: 'user' });
        return exitCode;
      } catch (err) {
        if (!(err instanceof CommanderError)) throw err;
        // Help and version were printed and are no errors.
        if (err.exitCode === 0) return 0;
        throw usage(err);
      }
    },
  };
}

function usage(err: CommanderError): Failure {
  const [what = 'unknown', ...hints] = err.message.replace(/^error: /, '').split('\n');
  // `npm start --data-dir X` gives the flag to npm and the bare value to us.
  const stray = err.code === 'commander.excessArguments' || err.code === 'commander.unknownCommand';
  return new Failure(what, {
    why:
      hints.join(' ') ||
      (stray
        ? 'With npm, flags go behind two dashes: npm start -- --http-port 8080'
        : 'The command line was not understood; nothing was started.'),
    fix: 'See: midship --help',
    cause: err,
  });
}

function configurationOf(flags: UpFlags, environment: NodeJS.ProcessEnv, seedDirectory: string | undefined): Configuration {
  const oidc = oidcSettingsOf(flags);
  const tools = toolsOf(flags, environment);
  if (flags.runtime === 'containerd') {
    throw new Failure('not supported: --runtime containerd', {
      why: 'This version runs pods as processes of this machine or simulates them.',
      fix: 'Leave --runtime out, or use --runtime simulated.',
    });
  }
  return {
    dataDirectory: resolve(flags.dataDir),
    bindAddress: flags.bindAddress,
    apiPort: flags.apiPort,
    httpAddress: flags.httpBindAddress,
    httpPort: flags.httpPort,
    requireLogin: flags.requireLogin,
    simulatedNodes: flags.simulateNodes,
    runtime: flags.runtime === 'simulated' ? 'simulated' : 'process',
    pods: podSettingsOf(flags),
    ...repositoryOf(flags.repo, environment.MIDSHIP_GIT_TOKEN),
    ...(flags.branch === undefined ? {} : { branch: flags.branch }),
    ...(flags.path === undefined ? {} : { path: flags.path }),
    ...(seedDirectory === undefined ? {} : { seedDirectory }),
    preReceive: flags.preReceive,
    tlsNames: flags.tlsSan,
    kubeconfigMode: flags.writeKubeconfigMode,
    ...(flags.enableAdmissionPlugins === undefined ? {} : { admissionPlugins: flags.enableAdmissionPlugins }),
    ...(flags.tokenAuthFile === undefined ? {} : { tokenFile: resolve(flags.tokenAuthFile) }),
    ...(flags.auditPolicyFile === undefined ? {} : { auditPolicyFile: resolve(flags.auditPolicyFile) }),
    ...(flags.encryptionProviderConfig === undefined ? {} : { encryptionFile: resolve(flags.encryptionProviderConfig) }),
    ...(oidc === undefined ? {} : { oidc }),
    tools,
    memory: memoryOf(flags),
    disabled: flags.disable,
    logLevel: environment.MIDSHIP_LOG_LEVEL ?? 'info',
  };
}

function memoryOf({ memoryBudget: totalBytes, storageQuota: objectBytes }: UpFlags): MemoryBudget {
  const memory = shareMemory({ totalBytes, objectBytes });
  const largest = maxObjectBytes(memory);
  if (memory.objectBytes <= largest) return memory;
  throw new Failure(`--storage-quota is more than a memory budget of ${inMiB(memory.totalBytes)} has room for`, {
    why: `All stored objects are kept in memory; of this budget they may take ${inMiB(largest)}.`,
    fix: 'Name a smaller --storage-quota or a larger --memory-budget.',
  });
}

const inMiB = (bytes: number): string => `${Math.floor(bytes / 1024 ** 2)}Mi`;

function parseMemory(value: string): number {
  const bytes = tryMemorySize(value);
  if (bytes === undefined) throw new InvalidArgumentError(`A size from ${inMiB(minMemoryBytes)}, for example 512Mi or 2Gi.`);
  return bytes;
}

function parseSize(value: string): number {
  const bytes = trySize(value);
  if (bytes === undefined) throw new InvalidArgumentError('A size, for example 200Mi or 1Gi.');
  return bytes;
}

function parsePort(value: string): number {
  const port = Number(value);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new InvalidArgumentError('A port is a number from 0 to 65535.');
  return port;
}

function parseAddress(value: string): string {
  if (isIP(value) === 0 && value !== 'localhost')
    throw new InvalidArgumentError('An IP address of this machine; 0.0.0.0 and :: are all of them.');
  return value;
}

const portFrom = (value: string | undefined, fallback: number): number => (value === undefined ? fallback : parsePort(value));

function parseCount(value: string): number {
  const count = Number(value);
  if (!Number.isInteger(count) || count < 0 || count > 5_000) throw new InvalidArgumentError('A number from 0 to 5000.');
  return count;
}

function parseParts(value: string, before: readonly DisablePart[] = []): readonly DisablePart[] {
  const parts = value.split(',').map((part) => part.trim());
  const unknown = parts.find((part) => !disableParts.some((known) => known === part));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`There is no part ${JSON.stringify(unknown)}; known: ${disableParts.join(', ')}.`);
  return [...new Set([...before, ...disableParts.filter((known) => parts.includes(known))])];
}

function parseMode(value: string): number {
  if (!/^0?[0-7]{3}$/.test(value)) throw new InvalidArgumentError('Permissions in octal, for example 0600.');
  return Number.parseInt(value, 8);
}
