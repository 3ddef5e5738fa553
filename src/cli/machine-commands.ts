import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type JoinToken, tryParseJoinToken } from '../api/join-token.ts';
import { dataDirectoryOption } from './data-directory-flag.ts';
import { Failure } from './failure.ts';
import { findDataDirectory } from './find-cluster.ts';
import { type IngressFlags, ingressSettingsOf, withIngressFlags } from './ingress-flags.ts';
import { defaultMachineDirectory } from './machine-directory.ts';
import { type NodeFlags, nodeAddressOf, nodeSettingsOf, parseMachineDuration, withNodeFlags } from './node-flags.ts';
import { type ContainerFlags, containerSettingsOf, withContainerFlags } from './pod-flags.ts';
import type { RunCommandContext } from './run-commands.ts';
import { readTokenText } from './server-token.ts';

export interface AgentFlags extends IngressFlags, NodeFlags, ContainerFlags {
  readonly server?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly dataDir: string;
  readonly runtime: 'auto' | 'containerd';
  readonly disable?: 'ingress';
}

interface TokenFlags {
  readonly dataDir?: string;
}

/** The commands for clusters of several machines. */
export function addMachineCommands(program: Command, { environment, stdout, version, done }: RunCommandContext): void {
  const agent = program.command('agent').description('join this machine to a cluster of "midship server" and run pods');
  agent
    .addOption(new Option('--server <url>', 'address of the server: https://HOST:6443').env('MIDSHIP_URL').argParser(parseServer))
    .addOption(
      new Option('--token <token>', 'token of the server; --token-file keeps it out of the list of processes').env('MIDSHIP_TOKEN'),
    )
    .option('--token-file <file>', 'file with the token')
    .addOption(
      dataDirectoryOption('where the machine keeps its pods and certificates').default(
        defaultMachineDirectory(environment),
        '$MIDSHIP_DATA_DIR, or /var/lib/midship',
      ),
    )
    .addOption(new Option('--runtime <runtime>', 'runs the pods; auto: containerd').choices(['auto', 'containerd']).default('auto'));
  withIngressFlags(withContainerFlags(withNodeFlags(agent)), true)
    .addOption(new Option('--disable <part>', 'part that is not started on this machine').choices(['ingress']))
    .addHelpText('after', ['', 'Example:', '  midship agent --server https://192.168.1.10:6443 --token-file token', ''].join('\n'))
    .action(async (flags: AgentFlags, command: Command) => {
      const [{ runAgent }, { settingsOf }] = await Promise.all([import('./agent.ts'), import('./settings.ts')]);
      const configuration = {
        ...nodeSettingsOf(flags),
        nodeAddress: nodeAddressOf(flags),
        server: requireServer(flags),
        token: requireToken(flags),
        dataDirectory: resolve(flags.dataDir),
        runtime: 'containerd',
        pods: containerSettingsOf(flags),
        ingress: ingressSettingsOf(flags, flags.disable === undefined ? [] : [flags.disable]),
        logLevel: environment.MIDSHIP_LOG_LEVEL ?? 'info',
        settings: settingsOf(command, environment),
      } as const;
      done(await runAgent(configuration, { stdout, version }));
    });

  const token = program.command('token').description('make, list, delete and replace the tokens by which machines and servers join');
  const withDataDirectory = (command: Command): Command =>
    command.addOption(
      dataDirectoryOption('of the server; default: $MIDSHIP_DATA_DIR, .midship here or above, or the cluster of $KUBECONFIG'),
    );
  const dataDirectoryOf = async ({ dataDir }: TokenFlags): Promise<string> =>
    dataDir === undefined ? findDataDirectory({ environment, from: process.cwd() }) : resolve(dataDir);

  withDataDirectory(token.command('create').description('print a new token'))
    .addOption(
      new Option('--ttl <duration>', 'time until it ends: 30m, 24h; 0: it has no end')
        .argParser(parseMachineDuration)
        .default(86_400_000, '24h'),
    )
    .option('--description <text>', 'shown by "midship token list"', '')
    .action(async (flags: TokenFlags & { readonly ttl: number; readonly description: string }) => {
      const { createToken } = await import('./token.ts');
      const { ttl: ttlMs, description } = flags;
      done(
        await createToken({ dataDirectory: await dataDirectoryOf(flags), output: stdout, version, ttlMs, description, now: Date.now() }),
      );
    });
  withDataDirectory(token.command('list').description('list tokens, without their secrets')).action(async (flags: TokenFlags) => {
    const { listTokens } = await import('./token.ts');
    done(await listTokens({ dataDirectory: await dataDirectoryOf(flags), output: stdout, version }));
  });
  withDataDirectory(token.command('delete').description('delete a token: it admits no machine any more, and joined machines stay'))
    .argument('<id>', 'its first six letters, or the token')
    .action(async (id: string, flags: TokenFlags) => {
      const { deleteToken } = await import('./token.ts');
      done(await deleteToken({ dataDirectory: await dataDirectoryOf(flags), output: stdout, version, id }));
    });
  withDataDirectory(token.command('rotate').description('replace the token of servers and that of machines, while the servers run'))
    .option('--new-token-file <file>', 'file with the new token of servers, of 16 characters at least; default: one is made')
    .option('--finish', 'only make the former token worthless, after a rotation that a server missed', false)
    .action(async (flags: TokenFlags & { readonly newTokenFile?: string; readonly finish: boolean }) => {
      const { rotateToken } = await import('./rotate.ts');
      const newTokenFile = flags.newTokenFile === undefined ? undefined : resolve(flags.newTokenFile);
      done(await rotateToken({ dataDirectory: await dataDirectoryOf(flags), output: stdout, newTokenFile, finish: flags.finish }));
    });
}

/** @throws Failure without one */
export function requireServer({ server }: AgentFlags): string {
  if (server !== undefined) return server;
  throw new Failure('missing flag: --server', {
    why: 'An agent runs what a server assigns.',
    fix: 'Name it: midship agent --server https://HOST:6443 --token-file FILE',
  });
}

/** @throws Failure without one, and for what is none; the text itself is in no message */
export function requireToken({ token, tokenFile }: AgentFlags): JoinToken {
  if (token !== undefined && tokenFile !== undefined) {
    throw new Failure('--token and --token-file exclude each other', { why: 'Both name the token.', fix: 'Leave one of them out.' });
  }
  const text = tokenFile === undefined ? token : readTokenText(resolve(tokenFile));
  if (text === undefined) {
    throw new Failure('missing flag: --token-file', {
      why: 'The token proves that this machine may join, and names the cluster.',
      fix: 'Print one on the server: midship token create',
    });
  }
  const parsed = tryParseJoinToken(text);
  if (parsed !== undefined) return parsed;
  // The text itself is a secret, whatever is wrong with it.
  throw new Failure('the token is not one of a Midship server', {
    why: 'A token is K10, 64 hexadecimal digits, two colons, and ID.SECRET.',
    fix: 'Copy it whole: midship token create prints it on the server.',
  });
}

function parseServer(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url?.protocol !== 'https:' || url.pathname !== '/' || url.search !== '')
    throw new InvalidArgumentError('The address of a server is https://HOST:PORT.');
  return url.origin;
}
