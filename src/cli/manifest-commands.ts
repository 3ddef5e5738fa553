import { type Command, Option } from 'commander';
import { type LoadRestrictor, loadRestrictors } from '../gitops/render/kustomize/load-restrictor.ts';
import { type BuildFlags, withBuildFlags } from './build-flags.ts';
import type { CommandContext } from './command-context.ts';
import { type Format, formats } from './format.ts';

interface ValidateFlags extends BuildFlags {
  readonly output: Format;
  readonly root?: string;
  readonly strict: boolean;
}

/** The commands that read manifests without a cluster. */
export function addManifestCommands(program: Command, { environment, output, version, dataDirectoryOf, done }: CommandContext): void {
  withBuildFlags(program.command('build').description('print the objects that a kustomization or a directory of manifests describes'))
    .argument('[path]', 'directory', '.')
    .addOption(
      new Option('--load-restrictor <name>', 'LoadRestrictionsNone: also files outside the directory of a kustomization')
        .choices(loadRestrictors)
        .default('LoadRestrictionsRootOnly'),
    )
    .action(async (path: string, flags: BuildFlags & { readonly loadRestrictor: LoadRestrictor }) => {
      const [{ build }, { toolsOf }] = await Promise.all([import('./build.ts'), import('./build-tools.ts')]);
      done(await build({ path, loadRestrictor: flags.loadRestrictor, tools: toolsOf(flags, environment), output: output }));
    });
  withBuildFlags(program.command('validate').description('check manifests without a cluster, for CI and before a push'))
    .argument('[path]', 'directory', '.')
    .addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('text'))
    .option('--root <dir>', 'root of the repository, when it is not that of the clone')
    .option('--strict', 'warnings are errors', false)
    .action(async (path: string, flags: ValidateFlags) => {
      const [{ validate, pullsNothingAt }, { toolsOf }] = await Promise.all([import('./validate.ts'), import('./build-tools.ts')]);
      const dataDirectory = await dataDirectoryOf({});
      done(
        await validate({
          path,
          root: flags.root,
          strict: flags.strict,
          tools: toolsOf(flags, environment),
          output: output,
          format: flags.output,
          pullsNothing: () => pullsNothingAt({ dataDirectory, output: output, version: version }),
          openApi: async () => (await import('./compose/empty-api.ts')).openEmptyApi(),
        }),
      );
    });
}
