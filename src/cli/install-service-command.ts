import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { Argument, type Command, Option } from 'commander';
import { formatJoinToken } from '../api/join-token.ts';
import { Failure } from './failure.ts';
import { tryHeapArgument } from './heap.ts';
import type { ServiceRole } from './install-service-unit.ts';
import { type AgentFlags, requireServer, requireToken } from './machine-commands.ts';
import { repositoryOf } from './repository-flag.ts';
import type { RunCommandContext } from './run-commands.ts';

interface ServerFlags {
  readonly repo?: string;
  readonly token?: string;
  readonly detach: boolean;
}

/** Variables that change how a server or an agent runs. A service does not have those of the shell. */
const keptVariables = ['MIDSHIP_URL', 'MIDSHIP_GIT_TOKEN', 'MIDSHIP_API_PORT', 'MIDSHIP_HTTP_PORT', 'MIDSHIP_LOG_LEVEL'];

/** The commands that make a service of this machine's systemd, and remove it. */
export function addServiceCommands(program: Command, { environment, stdout, done }: RunCommandContext): void {
  const machine = { root: '/', environment, output: stdout };
  program
    .command('install-service')
    .description('run "midship server" or "midship agent" by systemd, now and with every start of the machine')
    .addArgument(new Argument('<role>', 'server or agent').choices(['server', 'agent']))
    .argument('[flags...]', 'flags of that command; a token goes to a file that only root reads')
    .addOption(new Option('--print', 'print the unit and do nothing').default(false))
    .allowUnknownOption()
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  midship install-service server --node-taint dedicated=control:NoSchedule',
        '  midship install-service agent --server https://192.168.1.10:6443 --token-file token',
        '',
      ].join('\n'),
    )
    .action(async (role: ServiceRole, given: readonly string[], { print }: { readonly print: boolean }) => {
      const command = program.commands.find((each) => each.name() === role);
      // The command itself judges its flags; nothing runs.
      await command?.action(() => undefined).parseAsync([...given], { from: 'user' });
      if (command === undefined) return;
      const [{ installService }, { serviceArguments }] = await Promise.all([
        import('./install-service.ts'),
        import('./install-service-unit.ts'),
      ]);
      const variables = {
        ...Object.fromEntries(keptVariables.flatMap((name) => (environment[name] === undefined ? [] : [[name, environment[name]]]))),
        ...(environment.MIDSHIP_DATA_DIR ? { MIDSHIP_DATA_DIR: resolve(environment.MIDSHIP_DATA_DIR) } : {}),
        ...tokenVariableOf(role, command),
      };
      const heap = tryHeapArgument(given);
      const files = [process.execPath, ...(heap === undefined ? [] : [heap]), realpathSync(process.argv[1] ?? '')];
      const args = serviceArguments(command, given, process.cwd());
      done(await installService({ ...machine, role, program: files, args, variables, print }));
    });
  program
    .command('uninstall-service')
    .description('stop the service of "midship install-service" and remove it; the data stays')
    .action(async () => done(await (await import('./install-service.ts')).uninstallService(machine)));
}

/** @throws Failure for flags with which no service starts */
function tokenVariableOf(role: ServiceRole, command: Command): Readonly<Record<string, string>> {
  if (role === 'agent') {
    const flags = command.opts<AgentFlags>();
    requireServer(flags);
    return { MIDSHIP_TOKEN: formatJoinToken(requireToken(flags)) };
  }
  const { repo, token, detach } = command.opts<ServerFlags>();
  if (detach) {
    throw new Failure('--detach has no place in a service', {
      why: 'systemd keeps the program in the background, and restarts it.',
      fix: 'Leave it out.',
    });
  }
  if (repositoryOf(repo, undefined).repositoryCredentials !== undefined) {
    throw new Failure('--repo has a password, which every user of the machine could read in the unit', {
      why: 'A unit is no place for secrets.',
      fix: 'Leave the password out of the address, and set MIDSHIP_GIT_TOKEN for this command: the service keeps it.',
    });
  }
  return token === undefined ? {} : { MIDSHIP_TOKEN: token };
}
