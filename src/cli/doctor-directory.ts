import { execFile } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { authorityFiles } from '../base/pki/authority.ts';
import { certificateStates, needAttention, renewalAdvice } from './certs.ts';
import { readSettings } from './config.ts';
import { filesOf } from './configuration.ts';
import type { Endpoints } from './data-directory.ts';
import type { DoctorOptions, Finding } from './doctor.ts';
import { checkDisk } from './doctor-disk.ts';
import { holderOf } from './explain.ts';
import { Failure } from './failure.ts';
import { repairCheck } from './repair.ts';

interface DirectoryOptions extends Pick<DoctorOptions, 'dataDirectory' | 'environment' | 'now' | 'openStore'> {
  /** Undefined: no cluster runs. */
  readonly running: Endpoints | undefined;
}

/** Judges the machine's clock, disk, git and ports, and the files of the data directory. */
export async function checkDirectory(options: DirectoryOptions): Promise<readonly Finding[]> {
  const { dataDirectory, running } = options;
  // The server of a cluster in etcd has keys here, and no database.
  const isThere =
    (await tryStat(filesOf(dataDirectory).database)) !== undefined || (await tryStat(authorityOf(dataDirectory))) !== undefined;
  return [
    await checkGit(),
    await checkDisk(dataDirectory),
    ...(running === undefined ? await checkPorts(options) : []),
    ...(isThere
      ? [await checkClock(options), await checkPermissions(dataDirectory), await checkCertificates(options), await checkStore(options)]
      : [
          {
            check: 'data',
            result: 'note' as const,
            what: `${dataDirectory} has no cluster yet`,
            fix: `Start one: midship up --data-dir ${dataDirectory}`,
          },
        ]),
  ];
}

const authorityOf = (dataDirectory: string): string => join(filesOf(dataDirectory).pki, authorityFiles.key);

const tryStat = (path: string) => stat(path).catch(() => undefined);

/** Server side of smart HTTP as the built-in remote uses it. */
const oldestGit = [2, 30] as const;

async function checkGit(): Promise<Finding> {
  const check = 'git';
  const fix = `Install git ${oldestGit.join('.')} or newer (Debian: apt install git).`;
  const text = await promisify(execFile)('git', ['--version'], { timeout: 10_000 }).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  );
  if (text === undefined) return { check, result: 'problem', what: 'git was not found on PATH', why: 'Pushes and fetches need it.', fix };
  const [, major = '0', minor = '0'] = /(\d+)\.(\d+)/.exec(text) ?? [];
  const isOld = Number(major) < oldestGit[0] || (Number(major) === oldestGit[0] && Number(minor) < oldestGit[1]);
  return isOld
    ? { check, result: 'problem', what: `${text} is too old`, why: 'Pushes and fetches need a newer one.', fix }
    : { check, result: 'ok', what: text };
}

/** The ports of the last start, or those that a start would take now. */
async function checkPorts({ dataDirectory, environment }: DirectoryOptions): Promise<readonly Finding[]> {
  const settings = (await readSettings(filesOf(dataDirectory).settings).catch(() => undefined)) ?? [];
  const portOf = (flag: string, fallback: string): number => Number(settings.find(({ name }) => name === flag)?.value ?? fallback);
  const ports = [
    ['--api-port', portOf('--api-port', environment.MIDSHIP_API_PORT ?? '6443')],
    ['--http-port', portOf('--http-port', environment.MIDSHIP_HTTP_PORT ?? '7080')],
  ] as const;
  return Promise.all(
    ports.map(async ([flag, port]): Promise<Finding> => {
      const check = 'port';
      if (port === 0) return { check, result: 'ok', what: `${flag} takes any free port` };
      const code = await tryListen(port);
      if (code === undefined) return { check, result: 'ok', what: `port ${port} (${flag}) is free` };
      if (code === 'EACCES')
        return {
          check,
          result: 'problem',
          what: `port ${port} (${flag}) may not be used`,
          why: 'Ports below 1024 need more rights.',
          fix: `Start with ${flag} 0, which takes any free port.`,
        };
      if (code === 'EADDRNOTAVAIL')
        return {
          check,
          result: 'problem',
          what: '127.0.0.1 is not an address of this machine',
          why: 'Parts of a cluster meet at addresses in 127.0.0.0/8.',
          fix: 'Give them to it: ip link set lo up; ip addr add 127.0.0.1/8 dev lo',
        };
      const holder = await holderOf(port);
      const why = `Another program listens there${holder === undefined ? '' : `: ${holder}`}.`;
      return {
        check,
        result: 'problem',
        what: `port ${port} (${flag}) is taken`,
        why,
        fix: `Stop it, or start with ${flag} 0, which takes any free port.`,
      };
    }),
  );
}

/** Gives the error code of listening on a port of loopback; undefined when it can be had. */
function tryListen(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (err: NodeJS.ErrnoException) => resolve(err.code ?? 'UNKNOWN'));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

/** A file system may count in whole seconds. */
const clockToleranceMs = 2_000;

/** The store is written by this clock, so its files are never of a later time. */
async function checkClock({ dataDirectory, now }: DirectoryOptions): Promise<Finding> {
  const { database, network } = filesOf(dataDirectory);
  const times = await Promise.all(
    [database, `${database}-wal`, network, authorityOf(dataDirectory)].map(async (path) => (await tryStat(path))?.mtimeMs ?? 0),
  );
  const seenAt = now();
  const ahead = Math.max(...times) - seenAt;
  const check = 'clock';
  if (ahead <= clockToleranceMs)
    return { check, result: 'ok', what: `${new Date(seenAt).toISOString().slice(0, 19)}Z, not before the newest write` };
  return {
    check,
    result: 'problem',
    what: `the clock is ${Math.round(ahead / 1_000)} s behind the newest write of the store`,
    why: 'It was set back: certificates may count as not yet valid, and leases as held.',
    fix: 'Set the clock, and keep it by NTP (timedatectl set-ntp true).',
  };
}

/** Keys and tokens that nobody but their owner may read. */
async function checkPermissions(dataDirectory: string): Promise<Finding> {
  const { pki, token, pageToken, database } = filesOf(dataDirectory);
  const keys = (await readdir(pki, { recursive: true }).catch(() => [])).map((name) => join(pki, name));
  const secret = [dataDirectory, database, token, pageToken, ...keys.filter((path) => /\.key$|encryption\.yaml$/.test(path))];
  const own = process.getuid?.();
  const check = 'permissions';
  for (const path of secret) {
    const found = await tryStat(path);
    if (found === undefined) continue;
    // The directory itself keeps others out of everything below it; the files are the second line.
    if ((found.mode & 0o077) !== 0) {
      const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
      return {
        check,
        result: 'problem',
        what: `${path} has mode ${mode}`,
        why: 'Other users of this machine may read secrets of the cluster.',
        fix: `chmod go= ${path}`,
      };
    }
    if (own !== undefined && own !== 0 && found.uid !== own)
      return {
        check,
        result: 'problem',
        what: `${path} belongs to user ${found.uid}`,
        why: `This user, ${own}, cannot start the cluster.`,
        fix: 'Run midship as that user, or give it the directory (chown -R).',
      };
  }
  return { check, result: 'ok', what: `${dataDirectory} is readable by its owner alone` };
}

async function checkCertificates({ dataDirectory, now }: DirectoryOptions): Promise<Finding> {
  const check = 'certificates';
  const states = await certificateStates(dataDirectory, now()).catch((err: unknown) => {
    if (err instanceof Failure) return err;
    throw err;
  });
  if (states instanceof Failure) return { check, result: 'problem', what: states.message, why: states.why, fix: states.fix };
  const bad = needAttention(states);
  if (bad.length === 0) {
    const first = Math.min(...states.filter(({ purpose }) => purpose !== 'former authority').map(({ daysLeft }) => daysLeft));
    return { check, result: 'ok', what: `${states.length} certificates; the first ends in ${first} days` };
  }
  const what = bad.map(({ name, state, daysLeft }) => `${name} ${state} (${daysLeft} days left)`).join(', ');
  return { check, result: 'problem', what, why: 'Clients refuse a certificate that has ended.', fix: renewalAdvice(bad) };
}

/** Reads the whole store of a stopped cluster. A running one has its store in use, and would not have started with a damaged one. */
async function checkStore({ dataDirectory, running, openStore }: DirectoryOptions): Promise<Finding> {
  const check = 'store';
  if ((await tryStat(filesOf(dataDirectory).database)) === undefined) {
    return {
      check,
      result: 'note',
      what: 'it is in etcd, which says how it is',
      fix: 'See: etcdctl endpoint status --cluster, and etcdctl alarm list',
    };
  }
  if (running !== undefined)
    return { check, result: 'ok', what: 'in use by the cluster that runs; "midship repair check" reads all of it once stopped' };
  const lines: string[] = [];
  const output = new Writable({
    write(chunk, _encoding, done) {
      lines.push(...String(chunk).split('\n'));
      done();
    },
  });
  const salvageStore = (): never => {
    throw new Error('a check salvages nothing');
  };
  try {
    const code = await repairCheck({ dataDirectory, openStore, salvageStore, output });
    const found = lines.map((line) => line.replace(/^[✓✗ ]+/, '')).filter((line) => line !== '');
    if (code === 0) return { check, result: 'ok', what: found[0] ?? '' };
    return {
      check,
      result: 'problem',
      what: found.join('; '),
      why: 'The API cannot serve what cannot be read.',
      fix: 'See each line by: midship repair check',
    };
  } catch (err) {
    if (!(err instanceof Failure)) throw err;
    return { check, result: 'problem', what: err.message, why: err.why, fix: err.fix };
  }
}
