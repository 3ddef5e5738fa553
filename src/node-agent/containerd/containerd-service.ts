import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, open, readFile, rm, stat, truncate } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { readFileTail } from '../../base/bounded-file.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import { GrpcError, grpcCodes } from '../../base/grpc.ts';
import type { Log } from '../../base/log.ts';
import { isSameProcess, processStat } from '../../base/process-identity.ts';
import { createCriClient } from './cri-client.ts';
import { prepareCrun } from './crun.ts';
import { pauseImage, pauseImageName } from './pause-image.ts';
import { authText, hostsFiles, noRegistries, type Registries } from './registries.ts';
import { removeWithMounts } from './sub-path.ts';

/**
 * A containerd of the agent's own, as in k3s. Its configuration, images, sockets and pod networks are apart from those of
 * other programs on the machine. It outlives the agent, so containers run on while the agent is replaced. The next agent
 * adopts it.
 */
export interface ContainerdService {
  readonly socketPath: string;
  /** Mounts images. Absent: it is not installed. */
  readonly ctr?: Ctr | undefined;
  /** Takes CNI configuration as soon as a file is in it. */
  readonly cniDirectory: string;
  /** Loads an OCI or docker archive, whose images are then kept from the collection. @throws ContainerdError with what containerd says */
  importImage(path: string): Promise<void>;
  /** Ends containerd. Its containers run on, without anything that looks after them: end them first. */
  stop(): Promise<void>;
}

export interface ContainerdServiceOptions {
  /** Holds the configuration, images and log. */
  readonly directory: string;
  /** PATH to find `containerd`, `ctr` and `runc` on. */
  readonly searchPath: string;
  /** Mirrors, passwords and certificates of registries; absent: none. */
  readonly registries?: Registries;
  /** Runs once the programs are found. When it fails, nothing was made. */
  readonly beforeStart?: () => Promise<unknown>;
  readonly clock: Clock;
  readonly log: Log;
}

/** The programs of the machine that containers need. */
export interface ContainerdPrograms {
  readonly containerd: string;
  readonly ctr: string;
  readonly runc: string;
  /** Another runtime, for pods whose RuntimeClass has the handler `crun`; undefined where it is not installed. */
  readonly crun: string | undefined;
  /** Holds the CNI plugins. */
  readonly cniPlugins: string;
}

/** Containers cannot run on this machine; `why` is a sentence, `fix` what to do. */
export class ContainerdError extends Error {
  readonly fix: string;
  constructor(why: string, fix: string, options?: ErrorOptions) {
    super(why, options);
    this.name = 'ContainerdError';
    this.fix = fix;
  }
}

const run = promisify(execFile);

/** A machine under load takes its time; one that ended is noticed at once. */
const startMs = 60_000;
const startPauseMs = 50;
const watchMs = 1_000;
const restartMs = { first: 1_000, most: 30_000 };
const stopMs = 10_000;
const versionMs = 10_000;
const importMs = 5 * 60_000;
const maxLogBytes = 8 * 1024 * 1024;
const cniPlaces = ['/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni'];
const neededPlugins = ['ptp', 'host-local', 'portmap', 'loopback'];
/** CAP_SYS_RESOURCE of `capability.h`: without it no process may become harder to kill than its parent. */
const capSysResource = 24n;

/** @throws ContainerdError naming the first program that is missing */
export async function findContainerdPrograms(searchPath: string): Promise<ContainerdPrograms> {
  if (process.getuid?.() !== 0) throw new ContainerdError('Containers need root.', 'Start as root.');
  const find = async (name: string): Promise<string> => {
    const found = await tryFindProgram(name, searchPath);
    if (found !== undefined) return found;
    throw new ContainerdError(
      `The program ${name} was not found on PATH.`,
      'Install containerd and runc (Debian: apt install containerd runc).',
    );
  };
  const cniPlugins = await findPlugins();
  const containerd = await find('containerd');
  refuseOld(await tryVersionText(containerd), containerd);
  return {
    containerd,
    ctr: await find('ctr'),
    runc: await find('runc'),
    crun: await tryFindProgram('crun', searchPath),
    cniPlugins,
  };
}

/** Pods with users of their own, and the events of containers, came with it. */
const oldestVersion = [1, 7] as const;

/**
 * Refuses a containerd that cannot do what pods need. A text without a version passes: a start shows what such a program can do.
 *
 * @param text  `containerd github.com/containerd/containerd 1.7.24~ds1 …`, or `v1.7.24`
 * @param where  its program or its socket
 * @throws ContainerdError
 */
export function refuseOld(text: string, where: string): void {
  const [version, major, minor] = /(?:^|\s)v?(\d+)\.(\d+)\.\S+/.exec(text) ?? [];
  const difference = Number(major) - oldestVersion[0] || Number(minor) - oldestVersion[1];
  if (version === undefined || difference >= 0) return;
  throw new ContainerdError(
    `containerd ${version.trim().replace(/^v/, '')} (${where}) is older than ${oldestVersion.join('.')}, which pods need.`,
    `Install containerd ${oldestVersion.join('.')} or later (Debian 13: apt install containerd).`,
  );
}

/** Empty for a program that does not say it. */
async function tryVersionText(containerd: string): Promise<string> {
  const answer = await run(containerd, ['--version'], { timeout: versionMs }).catch(() => undefined);
  return answer?.stdout ?? '';
}

/** The path of a program on PATH, or where the machine keeps those for root. */
export async function tryFindProgram(name: string, searchPath: string): Promise<string | undefined> {
  const places = searchPath.split(delimiter).filter((place) => place !== '');
  for (const place of [...places, '/usr/sbin', '/sbin']) if (await isProgram(join(place, name))) return join(place, name);
  return undefined;
}

async function findPlugins(): Promise<string> {
  for (const place of cniPlaces) {
    const found = await Promise.all(neededPlugins.map((name) => isProgram(join(place, name))));
    if (found.every(Boolean)) return place;
  }
  throw new ContainerdError(
    `The CNI plugins ${neededPlugins.join(', ')} were not found in ${cniPlaces.join(', ')}.`,
    'Install the CNI plugins (Debian: apt install containernetworking-plugins).',
  );
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

interface Files {
  readonly config: string;
  readonly log: string;
  readonly root: string;
  readonly cni: string;
  /** A directory for each registry that has a mirror or a certificate. */
  readonly registries: string;
  /** On a file system that is empty after a reboot, as the containers are. */
  readonly run: string;
  readonly socket: string;
  readonly pid: string;
}

/** Sockets have 107 bytes for their path, which a data directory may exceed. */
function filesOf(directory: string): Files {
  const run = join('/run/midship', createHash('sha256').update(directory).digest('hex').slice(0, 12));
  return {
    config: join(directory, 'config.toml'),
    log: join(directory, 'containerd.log'),
    root: join(directory, 'root'),
    cni: join(directory, 'cni'),
    registries: join(directory, 'registries'),
    run,
    socket: join(run, 'containerd.sock'),
    pid: join(run, 'pid'),
  };
}

/** Removes what containerd keeps outside of its directory. Only when it has ended, with all its containers. */
export const removeContainerdState = (directory: string): Promise<void> => removeWithMounts(filesOf(directory).run);

/** The directory in which the host-local plugin keeps the addresses in use. */
export const addressDirectory = (directory: string): string => join(filesOf(directory).run, 'addresses');

/**
 * Adopts the containerd that runs already for this directory, or starts one.
 *
 * @throws ContainerdError when a program is missing or containerd ends at its start
 */
export async function startContainerd(options: ContainerdServiceOptions): Promise<ContainerdService> {
  const { clock, log } = options;
  const programs = await findContainerdPrograms(options.searchPath);
  await options.beforeStart?.();
  const files = filesOf(options.directory);
  await mkdir(files.cni, { recursive: true, mode: 0o700 });
  const isNew = (await mkdir(files.run, { recursive: true, mode: 0o711 })) !== undefined;
  const { registries = noRegistries } = options;
  await writeHostsFiles(files.registries, registries);
  const handlers = await handlersOf(programs, files);
  const changed = await writeConfig({ files, programs, registries, handlers });
  const abort = new AbortController();

  let daemon = await findRunning(files);
  if (daemon !== undefined && changed) {
    await end(daemon, clock);
    daemon = undefined;
  }
  if (daemon === undefined) {
    daemon = await launch(files, programs, clock).catch(async (err: unknown) => {
      // An earlier run may have left containers there; a first one leaves nothing.
      if (isNew) await removeContainerdState(options.directory);
      throw err;
    });
  } else log.info({ pid: daemon.pid }, 'Adopted the running containerd');
  await loadPauseImage(files, programs);

  const watching = watch();
  watching.catch(() => undefined);

  /** Starts containerd again when it ends; containers run on meanwhile. */
  async function watch(): Promise<void> {
    let delayMs = restartMs.first;
    for (;;) {
      await sleep(clock, watchMs, abort.signal);
      if (daemon !== undefined && (await isSameProcess(daemon.pid, daemon.startTime))) {
        delayMs = restartMs.first;
        continue;
      }
      try {
        daemon = await launch(files, programs, clock);
        log.warn({ pid: daemon.pid }, 'Started containerd again, which had ended');
      } catch (err) {
        log.error({ err, retryAfterMs: delayMs }, 'Could not start containerd again');
        await sleep(clock, delayMs, abort.signal);
        delayMs = Math.min(delayMs * 2, restartMs.most);
      }
    }
  }

  return {
    socketPath: files.socket,
    cniDirectory: files.cni,
    ctr: { ctr: programs.ctr, socketPath: files.socket },
    importImage: (path) => importPinned({ ctr: programs.ctr, socketPath: files.socket }, path),
    async stop() {
      abort.abort();
      await watching.catch(() => undefined);
      if (daemon !== undefined) await end(daemon, clock);
      await rm(files.pid, { force: true });
    },
  };
}

interface Daemon {
  readonly pid: number;
  readonly startTime: number;
}

async function findRunning(files: Files): Promise<Daemon | undefined> {
  let text: string;
  try {
    text = await readFile(files.pid, 'utf8');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
  const [pid, startTime] = text.split(' ').map(Number);
  if (pid === undefined || startTime === undefined || !Number.isSafeInteger(pid) || !Number.isSafeInteger(startTime)) return undefined;
  return (await isSameProcess(pid, startTime)) ? { pid, startTime } : undefined;
}

async function launch(files: Files, { containerd }: ContainerdPrograms, clock: Clock): Promise<Daemon> {
  await rm(files.socket, { force: true });
  await cutLog(files.log);
  const output = await open(files.log, 'a', 0o600);
  let child: ChildProcess;
  try {
    // A session of its own: a Ctrl-C for the agent is not for the containers.
    child = spawn(containerd, ['--config', files.config], { detached: true, stdio: ['ignore', output.fd, output.fd], cwd: '/' });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
  } catch (err) {
    throw new ContainerdError(`${containerd} does not start: ${(err as Error).message}.`, 'Reinstall containerd.', { cause: err });
  } finally {
    await output.close();
  }
  child.unref();
  const known = child.pid === undefined ? undefined : await processStat(child.pid);
  if (known !== undefined) await writeDurableFile(files.pid, `${known.pid} ${known.startTime}`, { syncEntry: false });
  const deadline = clock.monotonicMs() + startMs;
  let refusal: Error | undefined;
  while (known !== undefined && (await isSameProcess(known.pid, known.startTime))) {
    refusal = await refusalOf(files.socket, clock);
    if (refusal === undefined) return { pid: known.pid, startTime: known.startTime };
    // It serves once all its parts are there, so one that is missing does not come later.
    if (refusal instanceof GrpcError && refusal.code === grpcCodes.unimplemented) break;
    if (clock.monotonicMs() > deadline) break;
    await new Promise<void>((resolve) => clock.after(startPauseMs, resolve));
  }
  const isThere = known !== undefined && (await isSameProcess(known.pid, known.startTime));
  if (known !== undefined) await end(known, clock);
  throw new ContainerdError(
    `containerd ${isThere ? `does not serve containers (${refusal?.message})` : 'ended'}; its last lines: ${await lastLines(files.log)}.`,
    `Install containerd 1.7 or later with its CRI plugin, and see ${files.log}.`,
  );
}

/** The reason for which the Container Runtime Interface gives no answer; undefined where it does. */
async function refusalOf(socketPath: string, clock: Clock): Promise<Error | undefined> {
  const client = createCriClient({ socketPath, clock });
  try {
    await client.version();
    return undefined;
  } catch (err) {
    return err instanceof Error ? err : new Error(String(err));
  } finally {
    client.close();
  }
}

async function end({ pid, startTime }: Daemon, clock: Clock): Promise<void> {
  const deadline = clock.monotonicMs() + stopMs;
  let signal: NodeJS.Signals = 'SIGTERM';
  while (await isSameProcess(pid, startTime)) {
    if (clock.monotonicMs() > deadline) signal = 'SIGKILL';
    try {
      process.kill(pid, signal);
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code === 'ESRCH') return;
      throw err;
    }
    await new Promise<void>((resolve) => clock.after(startPauseMs, resolve));
  }
}

/** The log says little, and a file that grows for years must not fill the disk. */
async function cutLog(path: string): Promise<void> {
  try {
    if ((await stat(path)).size > maxLogBytes) await truncate(path, 0);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ENOENT') throw err;
  }
}

async function lastLines(path: string): Promise<string> {
  try {
    return (await readFileTail(path, 1_024)).toString('utf8').trim().split('\n').slice(-3).join(' | ');
  } catch {
    return 'none';
  }
}

/** containerd reads these files at each pull. */
async function writeHostsFiles(directory: string, registries: Registries): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const [name, text] of hostsFiles(registries)) {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeDurableFile(join(directory, name), text, { syncEntry: false });
  }
}

/** The runtimes of pods, by handler: the program that makes the containers. The first is that of pods without a RuntimeClass. */
type Handlers = readonly (readonly [name: string, program: string])[];

async function handlersOf({ runc, crun }: ContainerdPrograms, files: Files): Promise<Handlers> {
  return [['runc', runc], ...(crun === undefined ? [] : [['crun', await prepareCrun(crun, files.run)] as const])];
}

interface ConfigOptions {
  readonly handlers: Handlers;
  readonly files: Files;
  readonly programs: ContainerdPrograms;
  readonly registries: Registries;
}

/** Resolves with true when the configuration differs from that of the running daemon. */
async function writeConfig(options: ConfigOptions): Promise<boolean> {
  const { files } = options;
  const text = configText(options, await mayRaiseOomScore());
  const before = await readFile(files.config, 'utf8').catch(() => undefined);
  if (before === text) return false;
  await writeDurableFile(files.config, text);
  return before !== undefined;
}

/** Version 2 of the format, which containerd 1.7 writes and 2.x still reads. */
function configText({ files, programs: { cniPlugins }, registries, handlers }: ConfigOptions, raisesOomScore: boolean): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  const runtimes = handlers.map(
    ([name, program]) => `
    [${cri}.containerd.runtimes.${name}]
      runtime_type = "io.containerd.runc.v2"

      [${cri}.containerd.runtimes.${name}.options]
        BinaryName = ${JSON.stringify(program)}
        Root = ${JSON.stringify(join(files.run, name))}
`,
  );
  return `version = 2
root = ${JSON.stringify(files.root)}
state = ${JSON.stringify(join(files.run, 'state'))}
oom_score = 0

[grpc]
  address = ${JSON.stringify(files.socket)}

[debug]
  level = "warn"

[${cri}]
  sandbox_image = ${JSON.stringify(pauseImageName)}
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  enable_tls_streaming = false
  restrict_oom_score_adj = ${!raisesOomScore}
  netns_mounts_under_state_dir = true
  drain_exec_sync_io_timeout = "2s"

  [${cri}.cni]
    bin_dir = ${JSON.stringify(cniPlugins)}
    conf_dir = ${JSON.stringify(files.cni)}

  [${cri}.registry]
    config_path = ${JSON.stringify(files.registries)}
${authText(registries, cri)}
  [${cri}.containerd]
    default_runtime_name = "runc"
${runtimes.join('')}`;
}

/** Root of a container has no CAP_SYS_RESOURCE; runc then fails to make sandboxes hard to kill, with words that do not say so. */
async function mayRaiseOomScore(): Promise<boolean> {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${effective}`) & (1n << capSysResource)) !== 0n;
}

/** The program that talks to containerd, and where. */
export interface Ctr {
  readonly ctr: string;
  readonly socketPath: string;
}

const runCtr = ({ ctr, socketPath }: Ctr, args: readonly string[]) =>
  run(ctr, ['--address', socketPath, '--namespace', 'k8s.io', 'images', ...args], { timeout: importMs });

/** @returns the names of the images */
async function importArchive(ctr: Ctr, path: string): Promise<readonly string[]> {
  const { stdout } = await runCtr(ctr, ['import', '--all-platforms', path]);
  return [...stdout.matchAll(/^unpacking (\S+) \(/gm)].map(([, name = '']) => name);
}

/**
 * Loads an archive. No registry may have its images, so the runtime must not take them for replaceable.
 *
 * @throws ContainerdError with the words of containerd
 */
export async function importPinned(ctr: Ctr, path: string): Promise<void> {
  try {
    for (const name of await importArchive(ctr, path)) await runCtr(ctr, ['label', name, 'io.cri-containerd.pinned=pinned']);
  } catch (err) {
    const lines = String((err as { readonly stderr?: string }).stderr ?? (err as Error).message)
      .trim()
      .split('\n');
    const why = (lines.at(-1) ?? '').replace(/^ctr: /, '').slice(0, 500);
    throw new ContainerdError(
      `containerd takes no images from ${path}: ${why}.`,
      /no space left on device/.test(why)
        ? 'Make room on the disk of containerd, and start again.'
        : 'Make the archive again: docker save IMAGE -o FILE, or ctr images export FILE IMAGE.',
      { cause: err },
    );
  }
}

async function loadPauseImage(files: Files, programs: ContainerdPrograms): Promise<void> {
  const archive = pauseImage(process.arch);
  if (archive === undefined)
    throw new ContainerdError(
      `No pause image is built for machines of type ${process.arch}.`,
      'Containers run on machines of type x64 and arm64.',
    );
  const path = join(files.run, 'pause.tar');
  await writeDurableFile(path, archive, { syncEntry: false });
  await importArchive({ ctr: programs.ctr, socketPath: files.socket }, path);
  await rm(path, { force: true });
}
