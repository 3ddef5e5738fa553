import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { CommandContext } from './command-context.ts';

/** The commands that set something up beside a cluster: a repository, its monitoring, a look at its page. */
export function addSetupCommands(program: Command, { output, withDataDirectory, dataDirectoryOf, done }: CommandContext): void {
  program
    .command('init')
    .description('make a repository with one app, which "midship up --repo DIR" runs')
    .argument('<dir>', 'a new directory')
    .action(async (directory: string) => done(await (await import('./init.ts')).initRepository({ directory: resolve(directory), output })));
  withDataDirectory(program.command('open').description('print the address of the status page and open it in the browser')).action(
    async (flags: { readonly dataDir?: string }) =>
      done(await (await import('./open.ts')).openPage({ dataDirectory: await dataDirectoryOf(flags), output })),
  );
  withDataDirectory(
    program.command('dashboards').description('write Grafana dashboards, alerts, and a Prometheus configuration of the cluster'),
  )
    .argument('<dir>', 'where the files go')
    .option('--force', 'replace files of the same names', false)
    .action(async (directory: string, flags: { readonly dataDir?: string; readonly force: boolean }) => {
      const { writeDashboards } = await import('./dashboards.ts');
      const dataDirectory = await dataDirectoryOf(flags);
      done(await writeDashboards({ directory: resolve(directory), dataDirectory, force: flags.force, output }));
    });
}
