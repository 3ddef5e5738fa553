import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { writeDurableFile } from '../base/durable-file.ts';
import type { ExitCode } from './failure.ts';
import { Failure } from './failure.ts';
import { environmentText, type ServiceRole, type ServiceUnit, serviceNameOf, unitText } from './install-service-unit.ts';

/** The machine on which a service is installed. */
export interface ServiceMachine {
  /** `/` */
  readonly root: string;
  /** With the PATH on which `systemctl` is. */
  readonly environment: NodeJS.ProcessEnv;
  readonly output: NodeJS.WritableStream;
}

export interface InstallServiceOptions extends ServiceMachine, Omit<ServiceUnit, 'environmentFile'> {
  /** Variables for the program, which only root may read. */
  readonly variables: Readonly<Record<string, string>>;
  /** Print the unit and do nothing. */
  readonly print: boolean;
}

const unitDirectory = '/etc/systemd/system';
const roles = ['server', 'agent'] as const;
const run = promisify(execFile);
const systemctlMs = 180_000;

const unitPathOf = (role: ServiceRole): string => join(unitDirectory, serviceNameOf(role));
const environmentPathOf = (role: ServiceRole): string => `${unitPathOf(role)}.env`;

/**
 * Writes the unit of `server` or `agent`, and starts it now and with the machine. One that is there already gets the new flags.
 *
 * @throws Failure when systemd refuses; the files are then as they were
 */
export async function installService({ variables, print, ...options }: InstallServiceOptions): Promise<ExitCode> {
  const { role, root, output } = options;
  const hasVariables = Object.keys(variables).length > 0;
  const text = unitText({ ...options, ...(hasVariables ? { environmentFile: environmentPathOf(role) } : {}) });
  if (print) {
    output.write(text);
    return 0;
  }
  refuseWithoutSystemd(options);
  const [other] = roles.filter((each) => each !== role && existsSync(join(root, unitPathOf(each))));
  if (other !== undefined) {
    throw new Failure(`this machine has the service ${serviceNameOf(other)} already`, {
      why: 'One machine is one Node: a server runs pods, too.',
      fix: 'Remove it first: midship uninstall-service',
    });
  }
  const name = serviceNameOf(role);
  const [unit, environment] = [join(root, unitPathOf(role)), join(root, environmentPathOf(role))];
  const [unitBefore, environmentBefore] = [await tryRead(unit), await tryRead(environment)];
  try {
    // The unit names the other file.
    await put(environment, hasVariables ? environmentText(variables) : undefined, 0o600);
    await put(unit, text, 0o644);
    await systemctl(options, 'daemon-reload');
    if (unitBefore === undefined) await systemctl(options, 'enable', '--now', name);
    else {
      await systemctl(options, 'enable', name);
      await systemctl(options, 'restart', name);
    }
  } catch (err) {
    await restore(options, { unit, environment, unitBefore, environmentBefore, name });
    throw err instanceof Failure ? err : refused(err);
  }
  output.write(
    `installed and started ${name}\n  systemctl status ${name}   says how it is\n  journalctl -u ${name} -f   follows what it prints\n`,
  );
  return 0;
}

/** Stops the service of this machine and removes its files. The data stays. */
export async function uninstallService(machine: ServiceMachine): Promise<ExitCode> {
  const { root, output } = machine;
  const installed = roles.filter((role) => existsSync(join(root, unitPathOf(role))));
  if (installed.length === 0) {
    output.write('this machine has no service of Midship\n');
    return 1;
  }
  refuseWithoutSystemd(machine);
  for (const role of installed) {
    const name = serviceNameOf(role);
    await systemctl(machine, 'disable', '--now', name);
    try {
      for (const path of [unitPathOf(role), environmentPathOf(role)]) await rm(join(root, path), { force: true });
    } catch (err) {
      throw refused(err);
    }
    output.write(`stopped and removed ${name}\n`);
  }
  await systemctl(machine, 'daemon-reload');
  output.write('  Its data stays: midship down --purge --data-dir DIR deletes it\n');
  return 0;
}

function refuseWithoutSystemd({ root }: ServiceMachine): void {
  if (existsSync(join(root, 'run/systemd/system'))) return;
  throw new Failure('this machine has no systemd', {
    why: 'There is no /run/systemd/system, so another program starts its services.',
    fix: 'Start "midship server" or "midship agent" by that program; install-service --print shows the command.',
  });
}

async function systemctl({ environment }: ServiceMachine, ...args: readonly string[]): Promise<void> {
  try {
    await run('systemctl', args, { env: environment, timeout: systemctlMs });
  } catch (cause) {
    const { stderr = '', message } = cause as Error & { readonly stderr?: string };
    throw new Failure(`"systemctl ${args.join(' ')}" did not work`, {
      why: stderr.trim() || message,
      fix: 'Repair that, and run this again. Without root, begin with sudo.',
      cause,
    });
  }
}

const tryRead = (path: string): Promise<string | undefined> =>
  readFile(path, 'utf8').catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return undefined;
    throw refused(err);
  });

async function put(path: string, text: string | undefined, mode: number): Promise<void> {
  if (text === undefined) return rm(path, { force: true });
  await mkdir(dirname(path), { recursive: true });
  return writeDurableFile(path, text, { mode });
}

interface FilesBefore {
  readonly unit: string;
  readonly environment: string;
  readonly unitBefore: string | undefined;
  readonly environmentBefore: string | undefined;
  readonly name: string;
}

/** Best effort: the caller has an error to report already. */
async function restore(machine: ServiceMachine, { unit, environment, unitBefore, environmentBefore, name }: FilesBefore): Promise<void> {
  const tries = [
    ...(unitBefore === undefined ? [() => systemctl(machine, 'disable', '--now', name)] : []),
    () => put(unit, unitBefore, 0o644),
    () => put(environment, environmentBefore, 0o600),
    () => systemctl(machine, 'daemon-reload'),
    ...(unitBefore === undefined ? [] : [() => systemctl(machine, 'restart', name)]),
  ];
  for (const each of tries) await each().catch(() => undefined);
}

const refused = (cause: unknown): Failure =>
  new Failure(`the service cannot be written to ${unitDirectory}`, {
    why: cause instanceof Error ? cause.message : String(cause),
    fix: 'Services are installed by root: sudo midship install-service …',
    cause,
  });
