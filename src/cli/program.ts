import { resolve } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { type LoadRestrictor, loadRestrictors } from '../gitops/build/kustomize/load-restrictor.ts';
import { addAppCommands } from './app-commands.ts';
import { type BuildFlags, withBuildFlags } from './build-flags.ts';
import { confirmAt } from './confirm.ts';
import { Failure } from './failure.ts';
import { findDataDirectory } from './find-cluster.ts';
import { type Format, formats } from './format.ts';
import type { RepairContext } from './repair.ts';
import { addRunCommands } from './run-commands.ts';

export interface ProgramContext {
  readonly environment: NodeJS.ProcessEnv;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly version: string;
}

interface DataDirectoryFlags {
  readonly dataDir?: string;
}

/**
 * Every command; each action gives the process's exit code. An action imports what it needs itself: most of the program is parts of a
 * cluster, and a question about one should not load them.
 */
export function createProgram(context: ProgramContext): { run(argv: readonly string[]): Promise<number> } {
  const { environment } = context;
  let exitCode = 0;
  let commandLine: readonly string[] = [];
  const done = (code: number): void => {
    exitCode = code;
  };
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
    command.option(
      '--data-dir <dir>',
      'where the cluster keeps its data; default: $MIDSHIP_DATA_DIR, .midship here or above, or the cluster of $KUBECONFIG',
    );
  const dataDirectoryOf = async ({ dataDir }: DataDirectoryFlags): Promise<string> =>
    dataDir === undefined ? findDataDirectory({ environment, from: process.cwd() }) : resolve(dataDir);

  addRunCommands(program, { ...context, commandLine: () => commandLine, done });
  withDataDirectory(program.command('down').description('stop the cluster and its pods; the data stays'))
    .option('--purge', 'delete the data too', false)
    .option('-y, --yes', 'with --purge: do not ask, even when the built-in remote has commits', false)
    .action(async (flags: DataDirectoryFlags & { readonly purge: boolean; readonly yes: boolean }) => {
      const { down } = await import('./down.ts');
      exitCode = await down({
        dataDirectory: await dataDirectoryOf(flags),
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
    .action(async (flags: DataDirectoryFlags & { readonly output: string; readonly exitCode: boolean }) => {
      const { status } = await import('./status.ts');
      exitCode = await status({
        dataDirectory: await dataDirectoryOf(flags),
        format: flags.output === 'json' ? 'json' : 'text',
        failOnDifference: flags.exitCode,
        output: context.stdout,
      });
    });
  withDataDirectory(program.command('kubeconfig').description('print the path of the kubeconfig'))
    .option('--print', 'print its content instead', false)
    .action(async (flags: DataDirectoryFlags & { readonly print: boolean }) => {
      const { kubeconfig } = await import('./kubeconfig.ts');
      exitCode = await kubeconfig({ dataDirectory: await dataDirectoryOf(flags), print: flags.print, output: context.stdout });
    });
  withDataDirectory(program.command('git-url').description('print the address of the built-in Git remote, token included')).action(
    async (flags: DataDirectoryFlags) => {
      const { gitUrl } = await import('./git-url.ts');
      exitCode = await gitUrl({ dataDirectory: await dataDirectoryOf(flags), output: context.stdout });
    },
  );

  withDataDirectory(program.command('backup').description('write everything that a cluster is into one file, while it runs or not'))
    .argument('<file>', 'a new file; it holds all keys and Secrets')
    .option('--force', 'replace a file of that name', false)
    .action(async (file: string, flags: DataDirectoryFlags & { readonly force: boolean }) => {
      const { backup } = await import('./backup.ts');
      exitCode = await backup({
        dataDirectory: await dataDirectoryOf(flags),
        file: resolve(file),
        force: flags.force,
        output: context.stdout,
        version: context.version,
        openStopped: async (options) => (await import('./compose.ts')).openStoppedBackup(options),
      });
    });
  withDataDirectory(program.command('restore').description('make a data directory of a backup'))
    .argument('<file>', 'what "midship backup" wrote')
    .action(async (file: string, flags: DataDirectoryFlags) => {
      const { restore } = await import('./restore.ts');
      exitCode = await restore({ file: resolve(file), dataDirectory: await dataDirectoryOf(flags), output: context.stdout });
    });
  const repair = program
    .command('repair')
    .description('look into a stopped cluster that does not start, and take out what keeps it from it');
  const repairing = async (flags: DataDirectoryFlags): Promise<RepairContext> => ({
    dataDirectory: await dataDirectoryOf(flags),
    openStore: async (directory) => (await import('./compose.ts')).openStoppedStore(directory),
    salvageStore: async (directory) => (await import('./compose.ts')).salvageStoppedStore(directory),
    output: context.stdout,
  });
  withDataDirectory(repair.command('check').description('verify the store and the built-in repository; 1 when something is broken')).action(
    async (flags: DataDirectoryFlags) => {
      const { repairCheck } = await import('./repair.ts');
      exitCode = await repairCheck(await repairing(flags));
    },
  );
  withDataDirectory(repair.command('list').description('list the objects of the store'))
    .argument('[kind]', 'only those of this kind')
    .action(async (kind: string | undefined, flags: DataDirectoryFlags) => {
      const { repairList } = await import('./repair.ts');
      exitCode = await repairList({ ...(await repairing(flags)), kind });
    });
  withDataDirectory(repair.command('get').description('print an object as it is stored'))
    .argument('<object>', 'KIND/NAMESPACE/NAME, or KIND/NAME')
    .action(async (object: string, flags: DataDirectoryFlags) => {
      const { repairGet } = await import('./repair.ts');
      exitCode = await repairGet({ ...(await repairing(flags)), object });
    });
  withDataDirectory(repair.command('delete').description('take an object out of the store, finalizers or not, and keep its text in a file'))
    .argument('<object>', 'KIND/NAMESPACE/NAME, or KIND/NAME')
    .action(async (object: string, flags: DataDirectoryFlags) => {
      const { repairDelete } = await import('./repair.ts');
      exitCode = await repairDelete({ ...(await repairing(flags)), object });
    });
  withDataDirectory(
    repair.command('salvage').description('make a store of the intact rows of one that is damaged, and keep the damaged files'),
  ).action(async (flags: DataDirectoryFlags) => {
    const { repairSalvage } = await import('./repair.ts');
    exitCode = await repairSalvage(await repairing(flags));
  });
  const certs = program.command('certs').description('the certificates of a cluster');
  withDataDirectory(certs.command('check').description('list them with the days they have left; 1 when one needs attention'))
    .addOption(new Option('-o, --output <format>', 'output format').choices(['text', 'json']).default('text'))
    .action(async (flags: DataDirectoryFlags & { readonly output: 'text' | 'json' }) => {
      const dataDirectory = await dataDirectoryOf(flags);
      const { checkCertificates } = await import('./certs.ts');
      exitCode = await checkCertificates({ dataDirectory, format: flags.output, output: context.stdout, now: Date.now() });
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
        exitCode = await rotateCertificates({
          dataDirectory: await dataDirectoryOf(flags),
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
  ).action(async (flags: DataDirectoryFlags) => {
    const { pageUrl } = await import('./page-url.ts');
    exitCode = await pageUrl({ dataDirectory: await dataDirectoryOf(flags), output: context.stdout });
  });

  addAppCommands(program, {
    environment,
    output: context.stdout,
    version: context.version,
    withDataDirectory,
    dataDirectoryOf,
    done,
  });

  withBuildFlags(program.command('build').description('print the objects that a kustomization or a directory of manifests stands for'))
    .argument('[path]', 'directory', '.')
    .addOption(
      new Option('--load-restrictor <name>', 'LoadRestrictionsNone: files elsewhere than beside or below a kustomization, too')
        .choices(loadRestrictors)
        .default('LoadRestrictionsRootOnly'),
    )
    .action(async (path: string, flags: BuildFlags & { readonly loadRestrictor: LoadRestrictor }) => {
      const [{ build }, { toolsOf }] = await Promise.all([import('./build.ts'), import('./build-tools.ts')]);
      exitCode = await build({ path, loadRestrictor: flags.loadRestrictor, tools: toolsOf(flags, environment), output: context.stdout });
    });
  withBuildFlags(program.command('validate').description('check manifests without a cluster, for CI and before a push'))
    .argument('[path]', 'directory', '.')
    .addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('text'))
    .option('--root <dir>', 'root of the repository, when it is not that of the clone')
    .option('--strict', 'warnings are errors', false)
    .action(async (path: string, flags: BuildFlags & { readonly output: Format; readonly root?: string; readonly strict: boolean }) => {
      const [{ validate }, { toolsOf }] = await Promise.all([import('./validate.ts'), import('./build-tools.ts')]);
      exitCode = await validate({
        path,
        root: flags.root,
        strict: flags.strict,
        tools: toolsOf(flags, environment),
        output: context.stdout,
        format: flags.output,
        openApi: async () => (await import('./compose.ts')).openEmptyApi(),
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
