import { resolve } from 'node:path';
import { Writable } from 'node:stream';
import { Argument, Command, CommanderError, Option } from 'commander';
import { type LoadRestrictor, loadRestrictors } from '../gitops/render/kustomize/load-restrictor.ts';
import { addAppCommands } from './app-commands.ts';
import { type BuildFlags, withBuildFlags } from './build-flags.ts';
import type { CompletedCommand } from './completion.ts';
import { confirmAt } from './confirm.ts';
import { Failure } from './failure.ts';
import { findDataDirectory } from './find-cluster.ts';
import { type Format, formats } from './format.ts';
import { addServiceCommands } from './install-service-command.ts';
import { addMachineCommands } from './machine-commands.ts';
import type { RepairContext } from './repair.ts';
import { addRunCommands } from './run-commands.ts';
import { addSetupCommands } from './setup-commands.ts';

export interface ProgramContext {
  readonly environment: NodeJS.ProcessEnv;
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WriteStream;
  readonly version: string;
}

interface DataDirectoryFlags {
  readonly dataDir?: string;
}

interface StatusFlags {
  readonly namespace?: string;
  readonly watch: boolean;
  readonly output: Format;
  readonly exitCode: boolean;
}

interface ValidateFlags extends BuildFlags {
  readonly output: Format;
  readonly root?: string;
  readonly strict: boolean;
  readonly skipControllerCheck: boolean;
}

export function createProgram(context: ProgramContext): { run(argv: readonly string[]): Promise<number> } {
  return {
    async run(argv) {
      let exitCode = 0;
      const isQuiet = argv.includes('-q') || argv.includes('--quiet');
      const program = createCommands({ ...context, ...(isQuiet ? { stdout: createSilence() } : {}) }, argv, (code) => {
        exitCode = code;
      });
      try {
        // Asked nothing, it says what can be asked, as kubectl does.
        await program.parseAsync(argv.length === 0 ? ['--help'] : [...argv], { from: 'user' });
        return exitCode;
      } catch (err) {
        if (!(err instanceof CommanderError)) throw err;
        // Help and version were printed and are no errors.
        if (err.exitCode === 0) return 0;
        throw usage(err, context.environment);
      }
    },
  };
}

const createSilence = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });

/**
 * Every command; each action gives the process's exit code to `done`. An action imports what it needs itself: most of the program is parts
 * of a cluster, and a question about one should not load them.
 */
export function createCommands(context: ProgramContext, commandLine: readonly string[], done: (exitCode: number) => void): Command {
  const { environment } = context;
  const program = new Command('midship')
    .description('A Kubernetes control plane that runs whatever your Git branch says.')
    .version(context.version)
    .option('-q, --quiet', 'print errors alone; the exit code is the answer')
    .option('-v, --verbose', 'as MIDSHIP_VERBOSE: print an unexpected error with its stack')
    .option('--no-color', 'as NO_COLOR and TERM=dumb: no colours')
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
        '  midship logs APP -f               what its pods write',
        '  midship diff                      what would a commit of this work tree change?',
        '  midship revert APP --push         undo the last change of the app',
        '',
        'Exit codes: 0 yes or done, 1 an honest no, 2 an error, 130 interrupted.',
      ].join('\n'),
    );

  const withDataDirectory = (command: Command): Command =>
    command.option(
      '--data-dir <dir>',
      'where the cluster keeps its data; default: $MIDSHIP_DATA_DIR, .midship here or above, or the cluster of $KUBECONFIG',
    );
  const dataDirectoryOf = async ({ dataDir }: DataDirectoryFlags): Promise<string> =>
    dataDir === undefined ? findDataDirectory({ environment, from: process.cwd() }) : resolve(dataDir);

  addRunCommands(program, { ...context, commandLine, done });
  addMachineCommands(program, { ...context, commandLine, done });
  addServiceCommands(program, { ...context, commandLine, done });
  withDataDirectory(program.command('down').description('stop the cluster and its pods; the data stays'))
    .option('--purge', 'delete the data too', false)
    .option('-y, --yes', 'with --purge: do not ask, even when the built-in remote has commits', false)
    .action(async (flags: DataDirectoryFlags & { readonly purge: boolean; readonly yes: boolean }) => {
      const { down } = await import('./down.ts');
      done(
        await down({
          dataDirectory: await dataDirectoryOf(flags),
          purge: flags.purge,
          isAgreed: flags.yes,
          ask: confirmAt(process.stdin, context.stderr),
          now: Date.now(),
          output: context.stderr,
        }),
      );
    });
  withDataDirectory(program.command('status').description('is the cluster what Git says?'))
    .argument('[app]', 'only APP or NAMESPACE/APP')
    .option('-n, --namespace <namespace>', 'only apps of this namespace')
    .option('-w, --watch', 'continue, and print it again when it changes', false)
    .addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('text'))
    .option('--exit-code', 'exit with 1 when it is not', false)
    .action(async (app: string | undefined, flags: DataDirectoryFlags & StatusFlags) => {
      const { status } = await import('./status.ts');
      const abort = new AbortController();
      const onInterrupt = (): void => abort.abort(new Error('interrupted'));
      if (flags.watch) process.once('SIGINT', onInterrupt);
      try {
        done(
          await status({
            dataDirectory: await dataDirectoryOf(flags),
            app,
            namespace: flags.namespace,
            watch: flags.watch ? abort.signal : undefined,
            format: flags.output,
            failOnDifference: flags.exitCode,
            output: context.stdout,
          }),
        );
      } finally {
        process.off('SIGINT', onInterrupt);
      }
    });
  withDataDirectory(program.command('doctor').description('look for what keeps a cluster from working; 1 when there is a problem'))
    .addOption(
      new Option('--kubeconfig <file>', 'another cluster than the one of --data-dir').default(environment.MIDSHIP_KUBECONFIG, undefined),
    )
    .addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('text'))
    .action(async (flags: DataDirectoryFlags & { readonly kubeconfig?: string; readonly output: Format }) => {
      const { doctor } = await import('./doctor.ts');
      done(
        await doctor({
          dataDirectory: await dataDirectoryOf(flags),
          kubeconfig: flags.kubeconfig,
          environment,
          format: flags.output,
          output: context.stdout,
          version: context.version,
          now: Date.now(),
          openStore: async (directory) => (await import('./compose/stopped-cluster.ts')).openStoppedStore(directory),
          checkMachine: async (searchPath) => (await import('./compose/machine.ts')).checkMachine(searchPath),
        }),
      );
    });
  withDataDirectory(program.command('config').description('the configuration of a cluster: each value, and where it comes from'))
    .addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('text'))
    .action(async (flags: DataDirectoryFlags & { readonly output: Format }) => {
      const [{ showConfig }, { settingsOf }] = await Promise.all([import('./config.ts'), import('./settings.ts')]);
      const up = program.commands.find((command) => command.name() === 'up') ?? program;
      done(
        await showConfig({
          dataDirectory: await dataDirectoryOf(flags),
          defaults: settingsOf(up, environment),
          format: flags.output,
          output: context.stdout,
        }),
      );
    });
  withDataDirectory(program.command('kubeconfig').description('print the path of the kubeconfig, or merge it into that of kubectl'))
    .option('--print', 'print its content instead', false)
    .option('--merge', 'put the cluster into $KUBECONFIG or ~/.kube/config; the former file is kept as FILE.bak', false)
    .option('--name <name>', 'with --merge: of the context', 'midship')
    .action(async (flags: DataDirectoryFlags & { readonly print: boolean; readonly merge: boolean; readonly name: string }) => {
      const options = { dataDirectory: await dataDirectoryOf(flags), output: context.stdout };
      if (flags.merge) {
        const { mergeKubeconfig } = await import('./merge-kubeconfig.ts');
        done(await mergeKubeconfig({ ...options, environment, name: flags.name }));
      } else {
        const { kubeconfig } = await import('./kubeconfig.ts');
        done(await kubeconfig({ ...options, print: flags.print }));
      }
    });
  withDataDirectory(program.command('git-url').description('print the address of the built-in Git remote, token included')).action(
    async (flags: DataDirectoryFlags) => {
      const { gitUrl } = await import('./git-url.ts');
      done(await gitUrl({ dataDirectory: await dataDirectoryOf(flags), output: context.stdout }));
    },
  );

  withDataDirectory(program.command('backup').description('write everything that a cluster is into one file, while it runs or not'))
    .argument('<file>', 'a new file; it holds all keys and Secrets')
    .option('--force', 'replace a file of that name', false)
    .action(async (file: string, flags: DataDirectoryFlags & { readonly force: boolean }) => {
      const { backup } = await import('./backup.ts');
      done(
        await backup({
          dataDirectory: await dataDirectoryOf(flags),
          file: resolve(file),
          force: flags.force,
          output: context.stdout,
          version: context.version,
          openStopped: async (options) => (await import('./compose/stopped-cluster.ts')).openStoppedBackup(options),
        }),
      );
    });
  withDataDirectory(program.command('restore').description('make a data directory of a backup'))
    .argument('<file>', 'what "midship backup" wrote')
    .action(async (file: string, flags: DataDirectoryFlags) => {
      const { restore } = await import('./restore.ts');
      done(await restore({ file: resolve(file), dataDirectory: await dataDirectoryOf(flags), output: context.stdout }));
    });
  const repair = program.command('repair').description('inspect a stopped cluster that does not start, and remove the damage');
  const repairing = async (flags: DataDirectoryFlags): Promise<RepairContext> => ({
    dataDirectory: await dataDirectoryOf(flags),
    openStore: async (directory) => (await import('./compose/stopped-cluster.ts')).openStoppedStore(directory),
    salvageStore: async (directory) => (await import('./compose/stopped-cluster.ts')).salvageStoppedStore(directory),
    output: context.stdout,
  });
  withDataDirectory(repair.command('check').description('verify the store and the built-in repository; 1 when something is broken')).action(
    async (flags: DataDirectoryFlags) => {
      const { repairCheck } = await import('./repair.ts');
      done(await repairCheck(await repairing(flags)));
    },
  );
  withDataDirectory(repair.command('list').description('list the objects of the store'))
    .argument('[kind]', 'only those of this kind')
    .action(async (kind: string | undefined, flags: DataDirectoryFlags) => {
      const { repairList } = await import('./repair.ts');
      done(await repairList({ ...(await repairing(flags)), kind }));
    });
  withDataDirectory(repair.command('get').description('print an object as it is stored'))
    .argument('<object>', 'KIND/NAMESPACE/NAME, or KIND/NAME')
    .action(async (object: string, flags: DataDirectoryFlags) => {
      const { repairGet } = await import('./repair.ts');
      done(await repairGet({ ...(await repairing(flags)), object }));
    });
  withDataDirectory(repair.command('delete').description('take an object out of the store, finalizers or not, and keep its text in a file'))
    .argument('<object>', 'KIND/NAMESPACE/NAME, or KIND/NAME')
    .action(async (object: string, flags: DataDirectoryFlags) => {
      const { repairDelete } = await import('./repair.ts');
      done(await repairDelete({ ...(await repairing(flags)), object }));
    });
  withDataDirectory(
    repair.command('salvage').description('make a store of the intact rows of one that is damaged, and keep the damaged files'),
  ).action(async (flags: DataDirectoryFlags) => {
    const { repairSalvage } = await import('./repair.ts');
    done(await repairSalvage(await repairing(flags)));
  });
  const certs = program.command('certs').description('the certificates of a cluster');
  withDataDirectory(certs.command('check').description('list them with the days they have left; 1 when one needs attention'))
    .addOption(new Option('-o, --output <format>', 'output format').choices(['text', 'json']).default('text'))
    .action(async (flags: DataDirectoryFlags & { readonly output: 'text' | 'json' }) => {
      const dataDirectory = await dataDirectoryOf(flags);
      const { checkCertificates } = await import('./certs.ts');
      done(await checkCertificates({ dataDirectory, format: flags.output, output: context.stdout, now: Date.now() }));
    });
  withDataDirectory(certs.command('rotate').description('replace them, of a stopped cluster'))
    .option('--ca', 'replace the authorities too; the former ones stay trusted until they end', false)
    .option('--distrust-former', 'trust only the current authorities: copies of an older kubeconfig stop working', false)
    .option('--service-account-key', 'replace the key that signs service account tokens too', false)
    .action(
      async (
        flags: DataDirectoryFlags & {
          readonly ca: boolean;
          readonly distrustFormer: boolean;
          readonly serviceAccountKey: boolean;
        },
      ) => {
        const { rotateCertificates } = await import('./certs.ts');
        done(
          await rotateCertificates({
            dataDirectory: await dataDirectoryOf(flags),
            authorities: flags.ca,
            distrustFormer: flags.distrustFormer,
            serviceAccountKey: flags.serviceAccountKey,
            output: context.stdout,
            now: Date.now(),
          }),
        );
      },
    );

  withDataDirectory(
    program.command('page-url').description('print the address of the status page; with a login one that is good for logging in once'),
  )
    .option('--login', 'a link that logs in the owner of the cluster once, who may act', false)
    .action(async ({ login, ...flags }: DataDirectoryFlags & { readonly login: boolean }) => {
      const { pageUrl } = await import('./page-url.ts');
      done(await pageUrl({ dataDirectory: await dataDirectoryOf(flags), login, output: context.stdout }));
    });

  addSetupCommands(program, { output: context.stdout, withDataDirectory, dataDirectoryOf, done });
  addAppCommands(program, {
    environment,
    output: context.stdout,
    notes: context.stderr,
    version: context.version,
    withDataDirectory,
    dataDirectoryOf,
    done,
  });

  withBuildFlags(program.command('build').description('print the objects that a kustomization or a directory of manifests describes'))
    .argument('[path]', 'directory', '.')
    .addOption(
      new Option('--load-restrictor <name>', 'LoadRestrictionsNone: also files outside the directory of a kustomization')
        .choices(loadRestrictors)
        .default('LoadRestrictionsRootOnly'),
    )
    .action(async (path: string, flags: BuildFlags & { readonly loadRestrictor: LoadRestrictor }) => {
      const [{ build }, { toolsOf }] = await Promise.all([import('./build.ts'), import('./build-tools.ts')]);
      done(await build({ path, loadRestrictor: flags.loadRestrictor, tools: toolsOf(flags, environment), output: context.stdout }));
    });
  withBuildFlags(program.command('validate').description('check manifests without a cluster, for CI and before a push'))
    .argument('[path]', 'directory', '.')
    .addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('text'))
    .option('--root <dir>', 'root of the repository, when it is not that of the clone')
    .option('--strict', 'warnings are errors', false)
    .option(
      '--skip-controller-check',
      'no warning of kinds that Midship has no controller for: the manifests are for another cluster',
      false,
    )
    .action(async (path: string, flags: ValidateFlags) => {
      const [{ validate, pullsNothingAt }, { toolsOf }] = await Promise.all([import('./validate.ts'), import('./build-tools.ts')]);
      const dataDirectory = await dataDirectoryOf({});
      done(
        await validate({
          path,
          root: flags.root,
          strict: flags.strict,
          skipControllerCheck: flags.skipControllerCheck,
          tools: toolsOf(flags, environment),
          output: context.stdout,
          format: flags.output,
          pullsNothing: () => pullsNothingAt({ dataDirectory, output: context.stdout, version: context.version }),
          openApi: async () => (await import('./compose/empty-api.ts')).openEmptyApi(),
        }),
      );
    });

  program
    .command('completion')
    .description('print the script by which a shell completes commands, flags and names of apps')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .addHelpText(
      'after',
      '\nExamples:\n  source <(midship completion bash)\n  midship completion fish > ~/.config/fish/completions/midship.fish',
    )
    .action(async (shell: 'bash' | 'zsh' | 'fish') => {
      const { formatCompletion } = await import('./completion.ts');
      context.stdout.write(formatCompletion(shell, program.commands.map(completedOf)));
      done(0);
    });
  withDataDirectory(program.command('version').description('print the version of this program and of the cluster'))
    .option('--client', 'ask no cluster', false)
    .addOption(
      new Option('--kubeconfig <file>', 'another cluster than the one of --data-dir').default(environment.MIDSHIP_KUBECONFIG, undefined),
    )
    .addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('text'))
    .action(async (flags: DataDirectoryFlags & { readonly client: boolean; readonly kubeconfig?: string; readonly output: Format }) => {
      const { showVersion } = await import('./version.ts');
      done(
        await showVersion({
          dataDirectory: await dataDirectoryOf(flags),
          kubeconfig: flags.kubeconfig,
          clientOnly: flags.client,
          version: context.version,
          format: flags.output,
          output: context.stdout,
        }),
      );
    });

  return program;
}

const visibleFlags = (command: Command): readonly Option[] => command.options.filter(({ hidden }) => !hidden);

function completedOf(command: Command): CompletedCommand {
  const [first] = command.registeredArguments;
  return {
    name: command.name(),
    description: command.description(),
    flags: visibleFlags(command).flatMap(({ short, long }) => [short, long].filter((flag) => flag !== undefined)),
    words: [...command.commands.map((each) => each.name()), ...(first?.argChoices ?? [])],
    takesApp: ['app', 'target', 'names'].includes(first?.name() ?? ''),
  };
}

function usage(err: CommanderError, { npm_lifecycle_event: npmScript }: NodeJS.ProcessEnv): Failure {
  const [what = 'unknown', ...hints] = err.message.replace(/^error: /, '').split('\n');
  // `npm start --data-dir X` gives the flag to npm and the bare value to us.
  const isStray = npmScript === 'start' && err.code === 'commander.excessArguments';
  return new Failure(what, {
    why:
      hints.join(' ') ||
      (isStray
        ? '"npm start" takes flags alone, and they go behind two dashes: npm start -- --http-port 8080'
        : 'The command line was not understood; nothing was done.'),
    fix: 'See: midship --help',
    cause: err,
  });
}
