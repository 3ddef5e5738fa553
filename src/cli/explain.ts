import { readdir, readFile, readlink } from 'node:fs/promises';
import { SourceError } from '../gitops/sources/git-source.ts';
import { kubeletPort } from './compose/node-settings.ts';
import { Failure } from './failure.ts';

export interface StartContext {
  /** Undefined on a machine that joins. */
  readonly apiPort: number | undefined;
  readonly httpPort: number | undefined;
  readonly dataDirectory: string;
}

interface ListenError {
  readonly code?: unknown;
  readonly port?: unknown;
  readonly address?: unknown;
  readonly hostname?: unknown;
  readonly syscall?: unknown;
}

/** Turns what a part threw while starting into what, why and fix; other errors stay as they are. */
export async function explainStartFailure(err: unknown, { apiPort, httpPort, dataDirectory }: StartContext): Promise<unknown> {
  if (err instanceof Failure) return err;
  const { code, port, address, hostname, syscall } = (err ?? {}) as ListenError;
  if (code === 'EADDRNOTAVAIL' || (code === 'ENOTFOUND' && syscall === 'getaddrinfo')) {
    return new Failure(`${address ?? hostname} is not an address of this machine`, {
      why: 'Only its own addresses can be listened on.',
      fix: `Correct ${apiPort === undefined ? '--node-ip' : '--bind-address or --http-bind-address'}; "ip address" lists those of this machine.`,
      cause: err,
    });
  }
  if (code === 'EADDRINUSE' || code === 'EACCES') {
    const number = Number(port);
    const flag = number === apiPort ? '--api-port' : number === httpPort ? '--http-port' : undefined;
    const holder = code === 'EADDRINUSE' ? await holderOf(number) : undefined;
    return new Failure(`port ${number} ${code === 'EACCES' ? 'may not be used' : 'is taken'}`, {
      why:
        code === 'EACCES'
          ? 'Ports below 1024 need more rights.'
          : apiPort === httpPort && number === apiPort
            ? '--api-port and --http-port name the same one.'
            : `Another program listens there${holder === undefined ? '' : `: ${holder}`}.`,
      fix:
        number === kubeletPort
          ? 'Stop it: a machine is one Node, and that port is for the API of its kubelet. "midship down" ends another Midship.'
          : flag === undefined
            ? 'Stop that program, or start this one with another --data-dir.'
            : `Stop it, or choose another port: ${flag} 0 takes any free one.`,
      cause: err,
    });
  }
  if (err instanceof SourceError) return new Failure(err.message, { why: 'The repository cannot be followed.', fix: err.hint, cause: err });
  return explainStoreFailure(err, dataDirectory);
}

/** Turns what a store threw before anything was written into what, why and fix; other errors stay as they are. */
export function explainStoreFailure(err: unknown, dataDirectory: string): unknown {
  if (!(err instanceof Error && 'hint' in err && typeof err.hint === 'string')) return err;
  const why = 'why' in err && typeof err.why === 'string' ? err.why : undefined;
  return new Failure(err.message, {
    why:
      why === undefined
        ? `The data directory is ${dataDirectory}; nothing in it was changed.`
        : `${why} Nothing in ${dataDirectory} was changed.`,
    fix: err.hint,
    cause: err,
  });
}

/** `name (PID)` of the process that listens on a TCP port, where /proc shows it. */
export async function holderOf(port: number): Promise<string | undefined> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const table = await readFile('/proc/net/tcp', 'utf8').catch(() => '');
  // `0: 0100007F:192B 00000000:0000 0A … inode`; 0A is LISTEN.
  const inode = table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .find((fields) => fields[1]?.endsWith(`:${hex}`) === true && fields[3] === '0A')?.[9];
  if (inode === undefined) return undefined;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const descriptor of descriptors) {
      const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '');
      if (target !== `socket:[${inode}]`) continue;
      const name = (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '?')).trim();
      return `${name} (${pid})`;
    }
  }
  return undefined;
}
