import { resolve } from 'node:path';
import { Writable } from 'node:stream';
import { Argument, Command, CommanderError, type Option } from 'commander';
import { addAppActions, addAppQuestions } from './app-commands.ts';
import { addAddressCommands, addClusterCommands, addConfigCommand } from './cluster-commands.ts';
import type { CommandContext } from './command-context.ts';
import type { CompletedCommand } from './completion.ts';
import { addDataCommands } from './data-commands.ts';
import { dataDirectoryOption } from './data-directory-flag.ts';
import { Failure } from './failure.ts';
import { findDataDirectory } from './find-cluster.ts';
import { addServiceCommands } from './install-service-command.ts';
import { addMachineCommands } from './machine-commands.ts';
import { addManifestCommands } from './manifest-commands.ts';
import { addComponentCommands, addRunCommands } from './run-commands.ts';
import { addSetupCommands } from './setup-commands.ts';

export interface ProgramContext {
  readonly environment: NodeJS.ProcessEnv;
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WriteStream;
  readonly version: string;
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
        throw err.code === 'commander.help'
          ? missingCommand(program, argv, err)
          : usage(program, argv, { err, environment: context.environment });
      }
    },
  };
}

const createSilence = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });

/**
 * The commands of a command line: the group of the one that it names, or all. Making all took a tenth of the time of a question. Each
 * action gives the process's exit code to `done`, and imports what it needs itself, since most of the program is parts of a cluster.
 */
export function createCommands(context: ProgramContext, commandLine: readonly string[], done: (exitCode: number) => void): Command {
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

  const asked = wordOf(commandLine);
  const isVersion = asked === undefined && commandLine.some((argument) => argument === '--version' || argument === '-V');
  const groups = groupsOf(context, commandLine, done);
  const meant = groups.filter(({ names }) => asked !== undefined && names.includes(asked));
  // Help, completion and the correction of a misspelt word need all of them.
  for (const { add } of meant.length > 0 || isVersion ? meant : groups) add(program);

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
  return program;
}

/** The command: no flag of the program takes a value. */
const wordOf = (commandLine: readonly string[]): string | undefined => commandLine.find((argument) => !argument.startsWith('-'));

/** Commands that are made together, because one of them uses another or because they are alike. */
interface CommandGroup {
  /** Aliases too. */
  readonly names: readonly string[];
  add(program: Command): void;
}

/** In the order of the help. */
function groupsOf(context: ProgramContext, commandLine: readonly string[], done: (exitCode: number) => void): readonly CommandGroup[] {
  const { environment, version } = context;
  const running = { ...context, commandLine, done };
  const asking: CommandContext = {
    environment,
    output: context.stdout,
    notes: context.stderr,
    version,
    withDataDirectory: (command) =>
      command.addOption(
        dataDirectoryOption(
          'where the cluster keeps its data; default: $MIDSHIP_DATA_DIR, .midship here or above, or the cluster of $KUBECONFIG',
        ),
      ),
    dataDirectoryOf: async ({ dataDir }) =>
      dataDir === undefined ? findDataDirectory({ environment, from: process.cwd() }) : resolve(dataDir),
    done,
  };
  return [
    {
      // A service is made of the flags of server and agent, and config compares with those of up.
      names: ['demo', 'up', 'server', 'gitops', 'agent', 'token', 'install-service', 'uninstall-service', 'config'],
      add: (program) => {
        addRunCommands(program, running);
        addMachineCommands(program, running);
        addServiceCommands(program, running);
        addConfigCommand(program, asking);
      },
    },
    { names: ['controllers', 'scheduler'], add: (program) => addComponentCommands(program, running) },
    { names: ['down', 'status', 'doctor', 'support-bundle'], add: (program) => addClusterCommands(program, asking) },
    {
      names: ['backup', 'restore', 'migrate', 'repair', 'certs', 'certificate', 'secrets-encrypt'],
      add: (program) => addDataCommands(program, asking),
    },
    { names: ['kubeconfig', 'git-url', 'page-url', 'version'], add: (program) => addAddressCommands(program, asking) },
    { names: ['init', 'open', 'dashboards'], add: (program) => addSetupCommands(program, asking) },
    { names: ['get', 'why', 'tree', 'trace', 'events', 'logs', 'history'], add: (program) => addAppQuestions(program, asking) },
    { names: ['diff', 'sync', 'wait', 'revert', 'rollback', 'suspend', 'resume'], add: (program) => addAppActions(program, asking) },
    { names: ['build', 'validate'], add: (program) => addManifestCommands(program, asking) },
  ];
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

/** A group without its sub-command, and help for a command that does not exist: there the library has no message of its own. */
function missingCommand(program: Command, argv: readonly string[], cause: CommanderError): Failure {
  const isHelp = wordOf(argv) === 'help';
  let group = program;
  for (const word of argv.filter((argument) => !argument.startsWith('-')).slice(isHelp ? 1 : 0)) {
    const next = group.commands.find((command) => command.name() === word || command.aliases().includes(word));
    if (next === undefined)
      return new Failure(`unknown command '${word}'`, { why: 'There is no help for it.', fix: 'See: midship --help', cause });
    group = next;
  }
  return new Failure(`missing command after '${group.name()}'`, {
    why: `Known: ${group.commands.map((command) => command.name()).join(', ')}.`,
    fix: `See: midship ${group.name()} --help`,
    cause,
  });
}

/** `midship revert`, or `midship` where the first word is no command. */
function commandNamed(program: Command, argv: readonly string[]): string {
  const path = [program.name()];
  let command: Command | undefined = program;
  for (const word of argv.filter((argument) => !argument.startsWith('-'))) {
    command = command.commands.find((each) => each.name() === word || each.aliases().includes(word));
    if (command === undefined) break;
    path.push(word);
  }
  return path.join(' ');
}

function usage(
  program: Command,
  argv: readonly string[],
  { err, environment }: { readonly err: CommanderError; readonly environment: NodeJS.ProcessEnv },
): Failure {
  const [what = 'unknown', ...hints] = err.message.replace(/^error: /, '').split('\n');
  // `npm start --data-dir X` gives the flag to npm and the bare value to us.
  const isStray = environment.npm_lifecycle_event === 'start' && err.code === 'commander.excessArguments';
  return new Failure(what, {
    why:
      hints.join(' ') ||
      (isStray
        ? '"npm start" takes flags alone, and they go behind two dashes: npm start -- --http-port 8080'
        : 'The command line was not understood; nothing was done.'),
    fix: `See: ${commandNamed(program, argv)} --help`,
    cause: err,
  });
}
