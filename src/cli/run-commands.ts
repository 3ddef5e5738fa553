import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { tryParseJoinToken } from '../api/join-token.ts';
import type { NetworkBackend } from '../api/network/backend.ts';
import { type MemoryBudget, maxObjectBytes, minMemoryBytes, shareMemory } from '../base/memory-budget.ts';
import { formatAddress, parseRange } from '../machinery/addresses.ts';
import { type AccessFlags, oidcSettingsOf, parseCertificateNames, withAccessFlags } from './access-flags.ts';
import { type BuildFlags, withBuildFlags } from './build-flags.ts';
import { type CloudFlags, cloudSettingsOf, withCloudFlags } from './cloud-flags.ts';
import type { ComponentsOptions } from './components.ts';
import { type Configuration, type DisablePart, defaultDataDirectory, disableParts, type MachinesSettings } from './configuration.ts';
import { dataDirectoryOption, parseSomething } from './data-directory-flag.ts';
import { Failure } from './failure.ts';
import { tryMemorySize, trySize } from './heap.ts';
import { type IngressFlags, ingressSettingsOf, parsePort, withIngressFlags } from './ingress-flags.ts';
import { electionOf, type LeaderElectFlags, withLeaderElectFlags } from './leader-elect-flags.ts';
import { defaultMachineDirectory, machineDirectory } from './machine-directory.ts';
import { type NodeFlags, nodeAddressOf, nodeSettingsOf, parseMachineDuration, parseNetworkBackend, withNodeFlags } from './node-flags.ts';
import { type OverrideFlags, overrideManagerOption } from './override-flag.ts';
import { type PodFlags, podSettingsOf, withPodFlags } from './pod-flags.ts';
import type { ProgramContext } from './program.ts';
import { parsePath, repositoryOf } from './repository-flag.ts';
import { readTokenText, tryParseServerToken } from './server-token.ts';
import { type StoreFlags, storeSettingsOf, withStoreFlags } from './store-flags.ts';

/** The examples that `demo` puts into an empty built-in remote. */
const exampleRepository = fileURLToPath(new URL('../../examples-repo', import.meta.url));

/** The flag of the process in the background; nobody has to know it. */
const detachedFlag = '--detached';

interface UpFlags extends AccessFlags, BuildFlags, IngressFlags, OverrideFlags, PodFlags {
  readonly dataDir: string;
  readonly bindAddress: string;
  readonly apiPort: number;
  readonly httpBindAddress: string;
  readonly httpPort: number;
  readonly requireLogin: boolean;
  readonly grafanaUrl?: string;
  readonly httpTls: boolean;
  readonly httpTlsCertFile?: string;
  readonly httpTlsPrivateKeyFile?: string;
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
  readonly schedulerConfig?: string;
  readonly storageQuota?: number;
  readonly detach: boolean;
  readonly detached: boolean;
}

interface ServerFlags extends UpFlags, NodeFlags, CloudFlags, StoreFlags {
  readonly clusterCidr: string;
  readonly networkBackend: NetworkBackend;
  readonly serviceCidr: string;
  readonly nodeMonitorGracePeriod: number;
  readonly token?: ServerTokens;
  readonly tokenFile?: string;
}

interface GitOpsFlags extends BuildFlags, OverrideFlags {
  readonly dataDir: string;
  readonly kubeconfig: string;
  readonly context?: string;
  readonly httpPort: number;
  readonly leaderElect: 'true' | 'false';
}

export interface RunCommandContext extends ProgramContext {
  /** As it was given, for a process in the background. */
  readonly commandLine: readonly string[];
  done(exitCode: number): void;
}

/** The commands that run until they are stopped. */
export function addRunCommands(program: Command, context: RunCommandContext): void {
  const { environment, version, commandLine, done } = context;

  const withStartFlags = (command: Command, machine = false): Command =>
    command
      .optionsGroup('Start:')
      .option('-d, --detach', 'run in the background; ends when the addresses exist, and prints them', false)
      .addOption(new Option(detachedFlag).default(false).hideHelp())
      .addOption(
        machine
          ? dataDirectoryOption('where the server keeps its data').default(
              defaultMachineDirectory(environment),
              `$MIDSHIP_DATA_DIR, or ${machineDirectory}`,
            )
          : dataDirectoryOption('where the cluster keeps its data').default(
              defaultDataDirectory(environment),
              '$MIDSHIP_DATA_DIR, or .midship',
            ),
      )
      .addOption(
        new Option('--api-port <port>', 'port of the Kubernetes API; 0: any free')
          .argParser(parsePort)
          .default(portFrom(environment.MIDSHIP_API_PORT, 6443), '$MIDSHIP_API_PORT, or 6443'),
      )
      .addOption(httpPortOption('port of page, metrics and Git remote; 0: any free'));

  const httpPortOption = (description: string): Option =>
    new Option('--http-port <port>', description)
      .argParser(parsePort)
      .default(portFrom(environment.MIDSHIP_HTTP_PORT, 7080), '$MIDSHIP_HTTP_PORT, or 7080');

  const withPushFlags = (command: Command): Command =>
    command.addOption(
      new Option(
        '--pre-receive <policy>',
        'try a push to the built-in Git remote first: say what cannot be applied (warn), or refuse it too',
      )
        .choices(['off', 'warn', 'enforce'])
        .default('off'),
    );

  const withOtherFlags = (command: Command, machine = false): Command => {
    command
      .optionsGroup('Network:')
      .addOption(new Option('--bind-address <address>', 'address the API listens on').default(machine ? '0.0.0.0' : '127.0.0.1'))
      .addOption(
        new Option('--http-bind-address <address>', 'address of page, metrics and Git remote; beyond loopback the page asks for a login')
          .argParser(parseAddress)
          .default('127.0.0.1'),
      )
      .addOption(new Option('--require-login', 'page and metrics ask for a login on loopback, too').default(false))
      .addOption(new Option('--grafana-url <url>', 'address of Grafana, for links of the page to its dashboards').argParser(parseHttpUrl))
      .addOption(new Option('--http-tls', 'page, metrics and Git remote speak HTTPS, by a certificate of the cluster').default(false))
      .addOption(new Option('--http-tls-cert-file <file>', 'the same by this certificate (PEM, with those that signed it)'))
      .addOption(new Option('--http-tls-private-key-file <file>', 'and its key'))
      .addOption(
        new Option('--tls-san <name>', 'further name or address in the API certificate, and of the page')
          .default([])
          .argParser(parseCertificateNames),
      )
      .addOption(new Option('--write-kubeconfig-mode <mode>', 'permissions of the kubeconfig').argParser(parseMode).default(0o600, '0600'));
    withIngressFlags(command, machine)
      .optionsGroup('Nodes and pods:')
      .addOption(
        machine
          ? new Option('--runtime <runtime>', 'runs the pods; auto: containerd')
              .choices(['auto', 'containerd', 'simulated'])
              .default('auto')
          : new Option('--runtime <runtime>', 'runs the pods').choices(['process', 'simulated', 'containerd']).default('process'),
      )
      .addOption(new Option('--simulate-nodes <n>', 'simulated nodes in addition to the real ones').argParser(parseCount).default(0));
    withPodFlags(command)
      .optionsGroup('Memory:')
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
      );
    withBuildFlags(command.optionsGroup('Build:')).addOption(overrideManagerOption());
    withAccessFlags(command.optionsGroup('Access to the API:'));
    command.optionsGroup('Scheduler:').addOption(schedulerConfigOption());
    return command
      .optionsGroup('Repair:')
      .addOption(
        new Option('--disable <parts>', `parts that are not started, to repair a cluster or to run others: ${disableParts.join(', ')}`)
          .argParser(parseParts)
          .default([], 'none'),
      );
  };

  const run = async (
    flags: UpFlags,
    command: Command,
    given: Pick<Configuration, 'seedDirectory' | 'machines' | 'cloud' | 'store'> = {},
  ): Promise<void> => {
    const [{ toolsOf }, { settingsOf }] = await Promise.all([import('./build-tools.ts'), import('./settings.ts')]);
    const configuration = {
      ...configurationOf(flags, environment),
      ...given,
      tools: toolsOf(flags, environment),
      settings: settingsOf(command, environment),
    };
    if (flags.detach && !flags.detached) {
      const { startDetached } = await import('./detach.ts');
      done(await startDetached([...commandLine, detachedFlag], configuration, context));
    } else {
      const { runCluster } = await import('./run.ts');
      done(await runCluster(configuration, { ...context, isDetached: flags.detached }));
    }
  };

  withOtherFlags(
    withPushFlags(
      withStartFlags(program.command('demo').description('run a cluster with the examples repository in a built-in Git remote')),
    ),
  ).action((flags: Omit<UpFlags, 'branch' | 'path'>, command: Command) =>
    run({ ...flags, branch: 'main', path: flags.runtime === 'containerd' ? './clusters/containers' : './clusters/demo' }, command, {
      seedDirectory: exampleRepository,
    }),
  );

  const up = program.command('up').description('run a cluster that follows a Git repository');
  withRepositoryFlags(up);
  withOtherFlags(withStartFlags(withPushFlags(up)))
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  midship up                                   an empty built-in remote: push to the address it prints',
        '  midship up --repo . --path clusters/home     a directory of this machine: commits are seen at once',
        '  midship up --repo https://git.example.com/me/infra.git --branch main --path clusters/home',
        '  midship up -d                                in the background; midship down ends it',
      ].join('\n'),
    )
    .action((flags: UpFlags, command: Command) => run(flags, command));

  const server = program.command('server').description('run a cluster that other machines join: the control plane, and a node');
  withRepositoryFlags(server);
  withOtherFlags(withStartFlags(withPushFlags(server), true), true);
  server
    .optionsGroup('Machines:')
    .addOption(
      new Option('--cluster-cidr <range>', 'addresses of pods; each Node gets a /24').argParser(parseRangeFlag).default('10.42.0.0/16'),
    )
    .addOption(
      new Option(
        '--network-backend <backend>',
        'way to pods of other machines: vxlan (direct on a shared segment), host-gw, or wireguard (encrypted)',
      )
        .argParser(parseNetworkBackend)
        .default('vxlan'),
    )
    .addOption(new Option('--service-cidr <range>', 'addresses of Services').argParser(parseRangeFlag).default('10.43.0.0/16'))
    .addOption(graceOption('silence after which a Node counts as lost; its agent gives a sign of life every 10 s'))
    .addOption(
      new Option(
        '--token <token>',
        'ID.SECRET: by which machines join. Otherwise the secret that servers on one etcd share, of 16 characters at least. Default: both are made',
      )
        .env('MIDSHIP_TOKEN')
        .argParser(parseToken),
    )
    .option('--token-file <file>', 'file with the same: server-token of the data directory of another server');
  withStoreFlags(withCloudFlags(withNodeFlags(server)))
    .addHelpText(
      'after',
      [
        '',
        'Example:',
        '  midship server                                          on the first machine, as root',
        '  midship agent --server https://FIRST:6443 --token-file T   on each other; T is /var/lib/midship/token of the first',
      ].join('\n'),
    )
    .action((flags: ServerFlags, command: Command) => {
      const machines = machinesOf(flags);
      const cloud = cloudSettingsOf(flags, machines);
      return run(flags, command, {
        machines: { ...machines, awaitsCloud: cloud.remote !== undefined },
        cloud,
        store: storeSettingsOf(flags),
      });
    });

  withBuildFlags(
    program
      .command('gitops')
      .description('run only the GitOps engine, on the cluster of a kubeconfig')
      .addOption(
        dataDirectoryOption('for fetched repositories and the log').default(
          defaultDataDirectory(environment),
          '$MIDSHIP_DATA_DIR, or .midship',
        ),
      ),
  )
    .requiredOption('--kubeconfig <file>', 'of the cluster', environment.KUBECONFIG || undefined)
    .option('--context <name>', 'context of the kubeconfig')
    .addOption(httpPortOption('port of page and metrics; 0: any free'))
    .addOption(overrideManagerOption())
    .addOption(leaderElectOption())
    .action(async (flags: GitOpsFlags) => {
      const [{ runGitOps }, { toolsOf }] = await Promise.all([import('./gitops.ts'), import('./build-tools.ts')]);
      done(
        await runGitOps({
          kubeconfig: resolve(flags.kubeconfig),
          context: flags.context,
          dataDirectory: resolve(flags.dataDir),
          httpPort: flags.httpPort,
          leaderElect: flags.leaderElect === 'true',
          tools: toolsOf(flags, environment),
          overrideManagers: flags.overrideManager,
          logLevel: environment.MIDSHIP_LOG_LEVEL ?? 'info',
          output: context.stdout,
          version,
        }),
      );
    });
}

interface ComponentFlags extends LeaderElectFlags {
  readonly kubeconfig: string;
  readonly context?: string;
  readonly leaderElect: 'true' | 'false';
  readonly bindAddress: string;
  readonly securePort: number;
}

interface ControllersFlags extends ComponentFlags {
  readonly clusterCidr?: string;
  readonly nodeMonitorGracePeriod: number;
}

/** The commands that run one component of a control plane by itself. */
export function addComponentCommands(program: Command, { environment, stdout, version, done }: RunCommandContext): void {
  const component = (name: string, description: string, securePort: number): Command =>
    withLeaderElectFlags(
      program
        .command(name)
        .description(description)
        .requiredOption('--kubeconfig <file>', 'of the cluster', environment.KUBECONFIG || undefined)
        .option('--context <name>', 'context of the kubeconfig')
        .addOption(leaderElectOption()),
    )
      .option('--bind-address <address>', 'address of /healthz, /livez, /readyz and /metrics', '127.0.0.1')
      .addOption(new Option('--secure-port <port>', 'their port, for HTTPS; 0: not served').argParser(parsePort).default(securePort));
  const optionsOf = (flags: ComponentFlags): ComponentsOptions => ({
    kubeconfig: resolve(flags.kubeconfig),
    context: flags.context,
    election: flags.leaderElect === 'true' ? electionOf(flags) : undefined,
    listensOn: flags.securePort === 0 ? undefined : { address: flags.bindAddress, port: flags.securePort },
    logLevel: environment.MIDSHIP_LOG_LEVEL ?? 'info',
    output: stdout,
    version,
  });
  component('controllers', 'run only the controllers, on the cluster of a kubeconfig', 10_257)
    .addOption(
      new Option('--cluster-cidr <range>', 'addresses of pods, of which each Node gets a /24; default: nodes have theirs').argParser(
        parseRangeFlag,
      ),
    )
    .addOption(graceOption('silence after which a Node counts as lost'))
    .addHelpText(
      'after',
      [
        '',
        'Example:',
        '  midship up --disable controllers,scheduler',
        '  midship controllers --kubeconfig .midship/kubeconfig',
        '  midship scheduler --kubeconfig .midship/kubeconfig',
      ].join('\n'),
    )
    .action(async (flags: ControllersFlags) => {
      const { runControllers } = await import('./components.ts');
      done(await runControllers({ ...optionsOf(flags), clusterCidr: flags.clusterCidr, nodeGraceMs: flags.nodeMonitorGracePeriod }));
    });
  component('scheduler', 'run only the scheduler, on the cluster of a kubeconfig', 10_259)
    .addOption(schedulerConfigOption())
    .action(async (flags: ComponentFlags & { readonly schedulerConfig?: string }) => {
      const { runScheduler } = await import('./components.ts');
      const { schedulerConfig: file } = flags;
      done(await runScheduler({ ...optionsOf(flags), configurationFile: file === undefined ? undefined : resolve(file) }));
    });
}

const leaderElectOption = (): Option =>
  new Option('--leader-elect [boolean]', 'several may run on one cluster: one works, the others wait; false: this is the only one')
    .choices(['true', 'false'])
    .preset('true')
    .default('true');

const schedulerConfigOption = (): Option =>
  new Option('--scheduler-config <file>', 'profiles of the scheduler (kubescheduler.config.k8s.io/v1); default: one, as upstream has it');

const graceOption = (description: string): Option =>
  new Option('--node-monitor-grace-period <duration>', description).argParser(parseGracePeriod).default(40_000, '40s');

const withRepositoryFlags = (command: Command): Command =>
  command
    .optionsGroup('Repository:')
    .addOption(
      new Option(
        '--repo <url-or-dir>',
        'https:// address (token in it or in MIDSHIP_GIT_TOKEN) or a directory of this machine; default: the built-in remote',
      ).argParser(parseSomething),
    )
    .addOption(new Option('--branch <branch>', 'branch to follow; default: as at the start before, or main').argParser(parseSomething))
    .addOption(
      new Option('--path <dir>', 'directory of the repository to apply; default: as at the start before, or its root').argParser(parsePath),
    );

function machinesOf(flags: ServerFlags): MachinesSettings {
  const { clusterCidr, networkBackend, serviceCidr, nodeMonitorGracePeriod } = flags;
  return {
    kind: 'machines',
    clusterCidr,
    networkBackend,
    serviceCidr,
    nodeAddress: nodeAddressOf(flags),
    nodeGraceMs: nodeMonitorGracePeriod,
    ...nodeSettingsOf(flags),
    ...serverTokensOf(flags),
  };
}

function parseGracePeriod(value: string): number {
  const ms = parseMachineDuration(value);
  if (ms < 15_000 || ms > 3_600_000) throw new InvalidArgumentError('From 15s, which is one sign of life and a half, to 1h.');
  return ms;
}

function configurationOf(flags: UpFlags, environment: NodeJS.ProcessEnv): Omit<Configuration, 'tools'> {
  const oidc = oidcSettingsOf(flags);
  return {
    dataDirectory: resolve(flags.dataDir),
    bindAddress: flags.bindAddress,
    apiPort: flags.apiPort,
    httpAddress: flags.httpBindAddress,
    httpPort: flags.httpPort,
    requireLogin: flags.requireLogin,
    ...(flags.grafanaUrl === undefined ? {} : { grafanaUrl: flags.grafanaUrl }),
    ...httpTlsOf(flags),
    simulatedNodes: flags.simulateNodes,
    runtime: runtimeOf(flags),
    pods: podSettingsOf(flags),
    ...repositoryOf(flags.repo, environment.MIDSHIP_GIT_TOKEN),
    ...(flags.branch === undefined ? {} : { branch: flags.branch }),
    ...(flags.path === undefined ? {} : { path: flags.path }),
    preReceive: flags.preReceive,
    tlsNames: flags.tlsSan,
    kubeconfigMode: flags.writeKubeconfigMode,
    ...(flags.enableAdmissionPlugins === undefined ? {} : { admissionPlugins: flags.enableAdmissionPlugins }),
    ...(flags.tokenAuthFile === undefined ? {} : { tokenFile: resolve(flags.tokenAuthFile) }),
    ...(flags.auditPolicyFile === undefined ? {} : { auditPolicyFile: resolve(flags.auditPolicyFile) }),
    ...(flags.schedulerConfig === undefined ? {} : { schedulerFile: resolve(flags.schedulerConfig) }),
    ...(flags.encryptionProviderConfig === undefined ? {} : { encryptionFile: resolve(flags.encryptionProviderConfig) }),
    ...(oidc === undefined ? {} : { oidc }),
    overrideManagers: flags.overrideManager,
    memory: memoryOf(flags),
    ingress: ingressSettingsOf(flags, flags.disable),
    disabled: flags.disable,
    logLevel: environment.MIDSHIP_LOG_LEVEL ?? 'info',
  };
}

/** @throws Failure for a socket that no pod would use */
function runtimeOf({ runtime, containerRuntimeEndpoint }: UpFlags): Configuration['runtime'] {
  const chosen = runtime === 'auto' ? 'containerd' : (runtime as Configuration['runtime']);
  if (containerRuntimeEndpoint === undefined || chosen === 'containerd') return chosen;
  throw new Failure(`--container-runtime-endpoint has no use with --runtime ${chosen}`, {
    why: 'Pods are then no containers.',
    fix: 'Add --runtime containerd, or leave the socket out.',
  });
}

function httpTlsOf({ httpTls, httpTlsCertFile, httpTlsPrivateKeyFile }: UpFlags): Pick<Configuration, 'httpTls'> {
  if (httpTlsCertFile === undefined && httpTlsPrivateKeyFile === undefined) return httpTls ? { httpTls: 'own' } : {};
  if (httpTlsCertFile === undefined || httpTlsPrivateKeyFile === undefined) {
    throw new Failure(`missing flag: ${httpTlsCertFile === undefined ? '--http-tls-cert-file' : '--http-tls-private-key-file'}`, {
      why: 'A certificate works only with its key.',
      fix: 'Give both files, or --http-tls for a certificate of the cluster.',
    });
  }
  return { httpTls: { certificateFile: resolve(httpTlsCertFile), keyFile: resolve(httpTlsPrivateKeyFile) } };
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

function parseAddress(value: string): string {
  if (isIP(value) === 0 && value !== 'localhost')
    throw new InvalidArgumentError('An IP address of this machine; 0.0.0.0 and :: are all of them.');
  return value;
}

/** @returns without a slash at its end */
function parseHttpUrl(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  const isPlain = url !== undefined && /^https?:$/.test(url.protocol) && url.username === '' && url.search === '' && url.hash === '';
  if (!isPlain) throw new InvalidArgumentError('An address such as https://grafana.example.com, without user, query and #.');
  return url.href.replace(/\/+$/, '');
}

const portFrom = (value: string | undefined, fallback: number): number => (value ? parsePort(value) : fallback);

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

/** @returns the range with its first address: `10.42.0.0/16` of `10.42.3.0/16` */
function parseRangeFlag(value: string): string {
  try {
    const { first, size } = parseRange(value);
    const length = 32 - Math.log2(size);
    if (length < 8 || length > 24) throw new Error('its length is not from 8 to 24');
    return `${formatAddress(first)}/${length}`;
  } catch (err) {
    throw new InvalidArgumentError(`An IPv4 range such as 10.42.0.0/16: ${err instanceof Error ? err.message : String(err)}.`);
  }
}

type ServerTokens = Pick<MachinesSettings, 'bootstrapToken' | 'serverToken'>;

function parseToken(value: string): ServerTokens {
  const tokens = tryServerTokens(value);
  if (tokens === undefined) {
    throw new InvalidArgumentError(
      'A token is six letters or digits, a dot, and sixteen: [a-z0-9]{6}.[a-z0-9]{16}. That of servers is their file server-token, or a secret of 16 characters at least.',
    );
  }
  return tokens;
}

function tryServerTokens(value: string): ServerTokens | undefined {
  const text = value.trim();
  const bootstrapToken = tryParseJoinToken(text)?.bootstrapToken ?? text;
  if (/^[a-z0-9]{6}\.[a-z0-9]{16}$/.test(bootstrapToken)) return { bootstrapToken };
  const serverToken = tryParseServerToken(text);
  return serverToken === undefined ? undefined : { serverToken };
}

/** @throws Failure for a file that is none of a token, and for a secret of servers that has no use */
function serverTokensOf({ token, tokenFile, store }: Pick<ServerFlags, 'token' | 'tokenFile' | 'store'>): ServerTokens {
  if (token !== undefined && tokenFile !== undefined)
    throw new Failure('--token and --token-file exclude each other', { why: 'Both name the token.', fix: 'Leave one of them out.' });
  const tokens = tokenFile === undefined ? token : tryServerTokens(readTokenText(resolve(tokenFile)));
  if (tokenFile !== undefined && tokens === undefined) {
    throw new Failure(`${tokenFile} has no token`, {
      why: 'A token of servers is K10, 64 hexadecimal digits, ::server: and a secret.',
      fix: 'Copy the file server-token of the data directory of another server.',
    });
  }
  if (tokens?.serverToken !== undefined && store === undefined) {
    throw new Failure('a token of servers without --store', {
      why: 'It opens the keys in an etcd that servers share, and this server keeps its objects in SQLite.',
      fix: 'Name the etcd: --store etcd://HOST:2379. Machines join by a token ID.SECRET.',
    });
  }
  return tokens ?? {};
}

function parseMode(value: string): number {
  if (!/^0?[0-7]{3}$/.test(value)) throw new InvalidArgumentError('Permissions in octal, for example 0600.');
  return Number.parseInt(value, 8);
}
