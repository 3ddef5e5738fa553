import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Option } from 'commander';
import type { CommandContext, DataDirectoryFlags } from './command-context.ts';
import { confirmAt } from './confirm.ts';
import { type Format, formats } from './format.ts';

interface StatusFlags {
  readonly namespace?: string;
  readonly watch: boolean;
  readonly output: Format;
  readonly exitCode: boolean;
}

/** The commands that ask a cluster as a whole, end it, and say how to reach it. */
export function addClusterCommands(program: Command, context: CommandContext): void {
  const { environment, output, notes, version, withDataDirectory, dataDirectoryOf, done } = context;
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
          ask: confirmAt(process.stdin, notes),
          now: Date.now(),
          output: notes,
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
            output: output,
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
          output: output,
          version: version,
          now: Date.now,
          openStore: async (directory) => (await import('./compose/stopped-cluster.ts')).openStoppedStore(directory),
          checkMachine: async (searchPath) => (await import('./compose/machine.ts')).checkMachine(searchPath),
        }),
      );
    });
  addSupportCommand(program, context);
}

function addSupportCommand(program: Command, context: CommandContext): void {
  const { environment, output, version, withDataDirectory, dataDirectoryOf, done } = context;
  withDataDirectory(
    program
      .command('support-bundle')
      .description('collect versions, findings, logs, metrics and objects for somebody who helps, without secrets'),
  )
    .argument('<file>', 'a new file: .tar.gz')
    .option('--force', 'replace a file of that name', false)
    .addOption(
      new Option('--kubeconfig <file>', 'another cluster than the one of --data-dir').default(environment.MIDSHIP_KUBECONFIG, undefined),
    )
    .action(async (file: string, flags: DataDirectoryFlags & { readonly force: boolean; readonly kubeconfig?: string }) => {
      const { supportBundle } = await import('./support-bundle.ts');
      done(
        await supportBundle({
          file: resolve(file),
          force: flags.force,
          dataDirectory: await dataDirectoryOf(flags),
          kubeconfig: flags.kubeconfig,
          environment,
          output,
          version,
          now: Date.now,
          openStore: async (directory) => (await import('./compose/stopped-cluster.ts')).openStoppedStore(directory),
          checkMachine: async (searchPath) => (await import('./compose/machine.ts')).checkMachine(searchPath),
        }),
      );
    });
}

/** The commands that print addresses and files of a cluster. */
export function addAddressCommands(program: Command, context: CommandContext): void {
  const { environment, output, version, withDataDirectory, dataDirectoryOf, done } = context;
  withDataDirectory(program.command('kubeconfig').description('print the path of the kubeconfig, or merge it into that of kubectl'))
    .option('--print', 'print its content instead', false)
    .option('--merge', 'put the cluster into $KUBECONFIG or ~/.kube/config; the former file is kept as FILE.bak', false)
    .option('--name <name>', 'with --merge: of the context', 'midship')
    .action(async (flags: DataDirectoryFlags & { readonly print: boolean; readonly merge: boolean; readonly name: string }) => {
      const options = { dataDirectory: await dataDirectoryOf(flags), output: output };
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
      done(await gitUrl({ dataDirectory: await dataDirectoryOf(flags), output: output }));
    },
  );

  withDataDirectory(
    program.command('page-url').description('print the address of the status page; with a login one that is good for logging in once'),
  )
    .option('--login', 'a link that logs in the owner of the cluster once, who may act', false)
    .action(async ({ login, ...flags }: DataDirectoryFlags & { readonly login: boolean }) => {
      const { pageUrl } = await import('./page-url.ts');
      done(await pageUrl({ dataDirectory: await dataDirectoryOf(flags), login, output: output }));
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
          version: version,
          format: flags.output,
          output: output,
        }),
      );
    });
}

/** `config` compares with the flags of `up`, which are in the same program. */
export function addConfigCommand(program: Command, context: CommandContext): void {
  const { environment, output, withDataDirectory, dataDirectoryOf, done } = context;
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
          output: output,
        }),
      );
    });
}
