import { spawn } from 'node:child_process';
import { lstat, mkdir, mkdtemp, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { createLimit, mapBounded } from '../../base/concurrency.ts';
import { isBelow, tryParseAddress } from './address.ts';

/**
 * The `helm` program (3 or 4), which makes objects of charts. A chart is somebody else's program text. Each run therefore
 * gets a directory of its own that is deleted afterwards, and bounds of time, memory and output. Its environment has
 * nothing of this process. Nothing is taken from a shell, a kubeconfig or a configuration of helm.
 */
export interface Helm {
  /** Changes when the program does; undefined while there is none. */
  identity(): Promise<string | undefined>;
  /** Output of `helm template`. @throws HelmError */
  template(request: TemplateRequest): Promise<string>;
}

export interface TemplateRequest {
  readonly chart: VendoredChart | RemoteChart;
  /** Values files in order, later ones win, for the chart's own `values.yaml`, which may not be there. */
  values(own: Uint8Array | undefined): readonly Uint8Array[];
  /** Options, each with its value: `--kube-version=1.30`. */
  readonly flags: readonly string[];
  /** Empty: as `--generate-name` has it, which for templates is always the same name. */
  readonly releaseName: string;
  readonly signal?: AbortSignal | undefined;
}

/** A chart whose files are at hand. */
export interface VendoredChart {
  /** By path below the chart's directory. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** A chart in a repository (`https:`) or a registry (`oci:`). */
export interface RemoteChart {
  readonly repository: string;
  /** Not a path. */
  readonly name: string;
  /** Exact. */
  readonly version: string;
}

export interface HelmOptions {
  /** Name that is looked up in PATH, or a path. */
  readonly command: string;
  /** Allowed origins of charts: addresses (`https:`, `oci:`) with which those of charts must begin. */
  readonly repositories: readonly string[];
  /** Environment of this process. PATH is taken from it and, for a fetch, the settings of proxies and certificates. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly limits?: Partial<HelmLimits>;
}

export interface HelmLimits {
  readonly templateMs: number;
  readonly pullMs: number;
  /** Resident memory of the program, where /proc tells it. */
  readonly memoryBytes: number;
}

/** `hint` is the next step; `temporary` when another try may go better though nothing was committed. */
export class HelmError extends Error {
  override readonly name = 'HelmError';
  readonly hint: string;
  readonly temporary: boolean;
  constructor(message: string, { hint, temporary = false }: { readonly hint: string; readonly temporary?: boolean }) {
    super(message);
    this.hint = hint;
    this.temporary = temporary;
  }
}

const defaultLimits: HelmLimits = { templateMs: 60_000, pullMs: 120_000, memoryBytes: 1024 * 1024 * 1024 };
const maxOutputBytes = 10 * 1024 * 1024;
const maxErrorBytes = 64 * 1024;
const maxReasonCharacters = 2_000;
const maxValuesBytes = 10 * 1024 * 1024;
/** The system takes some megabytes, and no zero bytes. */
const maxFlagsCharacters = 64 * 1024;
/** One uses a processor and some hundred megabytes; more at a time only take longer. */
const concurrency = 2;
/** Between two looks at the memory in use. */
const memoryCheckMs = 50;

/** Network settings of this machine for a fetch. */
const networkVariables = [
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
];

const exactVersion = /^v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/;
/** As helm has it for names of releases. */
const releaseNamePattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const maxReleaseName = 53;

interface Program {
  readonly path: string;
  readonly identity: string;
}

export function createHelm({ command, repositories, environment, clock, limits: given }: HelmOptions): Helm {
  const limits = { ...defaultLimits, ...given };
  const allowed = repositories.map(parseAddress);
  const searchPath = environment.PATH ?? '/usr/bin:/bin';
  const inTurn = createLimit(concurrency);
  /** The program whose version was asked for and found to do. */
  let accepted: string | undefined;

  return {
    identity: async () => (await find())?.identity,
    async template(request) {
      const { chart, flags, releaseName, signal = new AbortController().signal } = request;
      if (releaseName !== '' && (releaseName.length > maxReleaseName || !releaseNamePattern.test(releaseName))) {
        throw new HelmError(`invalid releaseName ${JSON.stringify(releaseName)}`, {
          hint: `Use lower case letters, digits, dots and dashes, at most ${maxReleaseName} characters.`,
        });
      }
      if (flags.some((flag) => flag.includes('\0')) || flags.join(' ').length > maxFlagsCharacters) {
        throw new HelmError('fields of the chart cannot be given to helm', {
          hint: `They must not hold zero bytes, nor more than ${maxFlagsCharacters} characters together.`,
        });
      }
      const provide = 'files' in chart ? ({ directory }: Workplace) => unpack(chart, directory) : fetching(chart);
      const program = await find();
      if (program === undefined) throw notInstalled(command);
      return inTurn(async () => {
        signal.throwIfAborted();
        return inDirectory(async (directory) => {
          const run: Run = (options) => runHelm({ ...options, program, directory, signal });
          await accept(program, run);
          return template(request, { root: await provide({ directory, run }), directory, run });
        });
      });
    },
  };

  async function accept(program: Program, run: Run): Promise<void> {
    if (accepted === program.identity) return;
    const text = await run({ args: ['version', '--short'], timeoutMs: limits.templateMs });
    const [, major] = /v?(\d+)(?:\.\d+)+/.exec(text) ?? [];
    if (major !== '3' && major !== '4') {
      throw new HelmError(`${program.path} is not helm 3 or 4: it calls itself ${JSON.stringify(text.trim().slice(0, 80))}`, {
        hint: 'Name another program with --helm-command.',
        temporary: true,
      });
    }
    accepted = program.identity;
  }

  interface Workplace {
    readonly directory: string;
    readonly run: Run;
  }

  async function template(
    { values, flags, releaseName }: TemplateRequest,
    { root, directory, run }: Workplace & { readonly root: string },
  ): Promise<string> {
    const args = ['template', ...flags];
    for (const [index, content] of values(await readValues(root)).entries()) {
      // Named from the working directory: a comma in a path would make two of it.
      const file = `values-${index}.yaml`;
      await writeFile(join(directory, file), content);
      args.push(`--values=${file}`);
    }
    // After two dashes nothing is read as an option.
    args.push(...(releaseName === '' ? ['--generate-name', '--', root] : ['--', releaseName, root]));
    return run({ args, timeoutMs: limits.templateMs });
  }

  /** Fetches a chart, and gives its directory. @throws HelmError at once when it may not be fetched */
  function fetching(chart: RemoteChart): (place: Workplace) => Promise<string> {
    const { name, version } = chart;
    const address = addressOf(chart);
    const from = address.startsWith('oci:') ? ['--', `${address}/${name}`] : [`--repo=${address}`, '--', name];
    const args = ['pull', '--untar', '--untardir=pulled', `--version=${version}`, ...from];
    return async ({ directory, run }) => {
      await run({ args, timeoutMs: limits.pullMs, network: true });
      return join(directory, 'pulled', name);
    };
  }

  /** The address as it is parsed here, so that what is compared is what helm is given. @throws HelmError */
  function addressOf({ repository, name, version }: RemoteChart): string {
    const url = tryParseAddress(repository);
    if (url === undefined) {
      throw new HelmError(`repo ${withoutUser(repository)} is not an address of a chart repository`, {
        hint: 'It begins with https:// or oci:// and has neither user nor query.',
      });
    }
    if (!exactVersion.test(version)) {
      throw new HelmError(version === '' ? 'a chart that is fetched needs a version' : `version ${JSON.stringify(version)} is not exact`, {
        hint: 'Give one version, such as version: 1.2.3, so that a commit always means the same objects.',
      });
    }
    if (!allowed.some((prefix) => isBelow(url, prefix))) {
      const source = url.startsWith('oci:') ? `${url}/${name}` : `--repo ${url} ${name}`;
      throw new HelmError(`charts of ${url} are not fetched`, {
        hint: `Commit the chart (helm pull --untar --untardir ${name}-${version} ${source} --version ${version}, in the directory of charts), or start with --helm-repository ${url}.`,
      });
    }
    return url;
  }

  /** As the system looks for programs; a name with a slash is a path. */
  async function find(): Promise<Program | undefined> {
    const directories = command.includes('/') ? [''] : searchPath.split(':').filter((directory) => directory.startsWith('/'));
    for (const directory of directories) {
      const path = await realpath(directory === '' ? resolve(command) : join(directory, command)).catch(absent);
      const info = path === undefined ? undefined : await stat(path).catch(absent);
      if (path === undefined || info?.isFile() !== true || (info.mode & 0o111) === 0) continue;
      return { path, identity: `${path} ${info.ino} ${info.size} ${info.mtimeMs}` };
    }
    return undefined;
  }

  interface RunOptions {
    readonly program: Program;
    readonly args: readonly string[];
    readonly directory: string;
    readonly timeoutMs: number;
    /** It is to fetch something. */
    readonly network?: boolean;
    readonly signal: AbortSignal;
  }

  type Run = (options: Pick<RunOptions, 'args' | 'timeoutMs' | 'network'>) => Promise<string>;

  async function runHelm({ program, args, directory, timeoutMs, network = false, signal }: RunOptions): Promise<string> {
    const child = spawn(program.path, [...args], {
      cwd: directory,
      env: environmentOf(directory, network),
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own: what it starts ends with it.
      detached: true,
    });
    let stopped: HelmError | undefined;
    const kill = (): void => tryKill(child.pid);
    const stop = (problem: HelmError): void => {
      stopped ??= problem;
      kill();
    };
    const output: Buffer[] = [];
    let outputBytes = 0;
    let errors = Buffer.alloc(0);
    child.stdout.on('data', (chunk: Buffer) => {
      outputBytes += chunk.length;
      if (outputBytes <= maxOutputBytes) output.push(chunk);
      else stop(new HelmError(`helm printed more than ${maxOutputBytes} bytes`, { hint: 'Split the chart.' }));
    });
    child.stderr.on('data', (chunk: Buffer) => {
      errors = Buffer.concat([errors, chunk]).subarray(-maxErrorBytes);
    });
    const endTimeout = clock.after(timeoutMs, () =>
      stop(
        new HelmError(`helm ${args[0]} took longer than ${timeoutMs / 1_000} s`, {
          hint: network ? 'Is the repository reachable? Or commit the chart.' : 'Does a template go on without end?',
          temporary: true,
        }),
      ),
    );
    const endWatch = watchMemory(child.pid, () =>
      stop(
        new HelmError(`helm took more than ${Math.round(limits.memoryBytes / 1024 / 1024)} MiB of memory`, {
          hint: 'Does a template make a list without end?',
        }),
      ),
    );
    signal.addEventListener('abort', kill, { once: true });
    if (signal.aborted) kill();
    let code: number | null;
    try {
      code = await new Promise<number | null>((resolveExit, reject) => {
        child.once('error', reject);
        child.once('close', resolveExit);
      });
    } catch (cause) {
      throw new HelmError(`${program.path} cannot be started: ${cause instanceof Error ? cause.message : String(cause)}`, {
        hint: 'Install helm (https://helm.sh/docs/intro/install), or name it with --helm-command.',
        temporary: true,
      });
    } finally {
      endTimeout();
      endWatch();
      signal.removeEventListener('abort', kill);
    }
    signal.throwIfAborted();
    if (stopped !== undefined) throw stopped;
    if (code === 0) return Buffer.concat(output).toString('utf8');
    throw new HelmError(`helm ${args[0]}: ${reasonIn(errors.toString('utf8'), directory) || `ended with ${code ?? 'a signal'}`}`, {
      hint: network ? 'Check repo, name and version; helm pull says more.' : 'Correct the chart or its values; helm template says more.',
      // Killed by someone else, or the network: the files are not to blame.
      temporary: network || code === null,
    });
  }

  function environmentOf(directory: string, network: boolean): Record<string, string> {
    const env: Record<string, string> = {
      PATH: searchPath,
      LC_ALL: 'C',
      HOME: directory,
      TMPDIR: directory,
      HELM_CONFIG_HOME: join(directory, 'helm', 'config'),
      HELM_CACHE_HOME: join(directory, 'helm', 'cache'),
      HELM_DATA_HOME: join(directory, 'helm', 'data'),
      HELM_PLUGINS: join(directory, 'helm', 'plugins'),
      // A connection that fails at once, should anything try one.
      KUBECONFIG: '/dev/null',
    };
    for (const name of network ? networkVariables : []) {
      const value = environment[name];
      if (value !== undefined) env[name] = value;
    }
    return env;
  }

  /** Calls back once when a process holds more than it may; nothing is known of it where there is no /proc. */
  function watchMemory(pid: number | undefined, onExcess: () => void): () => void {
    let cancel: () => void = () => undefined;
    let ended = false;
    const look = async (): Promise<void> => {
      const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(absent);
      if (ended || status === undefined) return;
      const [, kibibytes = '0'] = /^VmRSS:\s+(\d+) kB$/m.exec(status) ?? [];
      if (Number(kibibytes) * 1024 > limits.memoryBytes) onExcess();
      else cancel = clock.after(memoryCheckMs, () => void look());
    };
    if (pid !== undefined) cancel = clock.after(memoryCheckMs, () => void look());
    return () => {
      ended = true;
      cancel();
    };
  }
}

function notInstalled(command: string): HelmError {
  return new HelmError(`${command} is not installed`, {
    hint: 'Install helm (https://helm.sh/docs/intro/install), or name it with --helm-command; or commit what helm template prints.',
    temporary: true,
  });
}

/** A file that is not there, or not for us, is no error here. */
const absent = (): undefined => undefined;

async function inDirectory<T>(action: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'midship-helm-'));
  try {
    return await action(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function unpack({ files }: VendoredChart, directory: string): Promise<string> {
  const root = join(directory, 'chart');
  await mkdir(root);
  for (const directory of new Set([...files.keys()].map(dirname))) await mkdir(join(root, directory), { recursive: true });
  await mapBounded([...files], 16, ([path, content]) => writeFile(join(root, path), content, { flag: 'wx', mode: 0o600 }));
  return root;
}

/** The chart's own values. A chart that was fetched may hold anything under that name. */
async function readValues(root: string): Promise<Uint8Array | undefined> {
  const file = join(root, 'values.yaml');
  const info = await lstat(file).catch(absent);
  if (info?.isFile() !== true) return undefined;
  if (info.size > maxValuesBytes) {
    throw new HelmError(`values.yaml of the chart is larger than ${maxValuesBytes} bytes`, { hint: 'Use another version of the chart.' });
  }
  return readFile(file);
}

/** helm's own words, without the paths of a directory that is no more, and without what it logs before them. */
function reasonIn(stderr: string, directory: string): string {
  const text = stderr.replaceAll(`${directory}/`, '').trim();
  const [, reason = text] = /(?:^|\n)Error: ([\s\S]*)$/.exec(text) ?? [];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a chart says goes to terminals
  return reason.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, ' ').slice(0, maxReasonCharacters);
}

/** @throws Error for what is no address; it comes from whoever starts the program */
function parseAddress(text: string): string {
  const url = tryParseAddress(text);
  if (url === undefined)
    throw new Error(`${withoutUser(text)} is not an address of a chart repository: https://HOST/PATH or oci://HOST/PATH`);
  return url;
}

const withoutUser = (address: string): string => address.replace(/\/\/[^/@]*@/, '//');

function tryKill(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (err) {
    // It ended by itself meanwhile; some systems say EPERM of a group that has only ended processes.
    const { code } = err as NodeJS.ErrnoException;
    if (code !== 'ESRCH' && code !== 'EPERM') throw err;
  }
}
