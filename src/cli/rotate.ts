import { keysPath } from '../api/well-known.ts';
import { type Clock, sleep } from '../base/clock.ts';
import { askForKeys } from './admin-request.ts';
import { filesOf } from './configuration.ts';
import type { ExitCode } from './failure.ts';
import type { Format } from './format.ts';
import { table, writeResult } from './output.ts';
import { readServerToken } from './server-token.ts';

/** The commands that replace keys of a running cluster. The server does the work; `docs/how-to/rotate-keys.md` has them in order. */
export interface RotateCommand {
  readonly dataDirectory: string;
  readonly output: NodeJS.WritableStream;
}

const ask = <T>({ dataDirectory }: RotateCommand, action: string, body?: object): Promise<T> =>
  askForKeys<T>(dataDirectory, { path: `${keysPath}${action}`, ...(body === undefined ? {} : { body }) });

/** `midship token rotate`: a new token for servers, and a new one for machines. */
export async function rotateToken(
  command: RotateCommand & { readonly newTokenFile: string | undefined; readonly finish: boolean },
): Promise<ExitCode> {
  const { newTokenFile, finish, dataDirectory, output } = command;
  const newToken = newTokenFile === undefined ? {} : { newToken: readServerToken(newTokenFile).secret };
  const action = finish ? 'end-token-overlap' : 'rotate-token';
  const { isShared, waiting } = await ask<{ readonly isShared: boolean; readonly waiting: readonly string[] }>(command, action, newToken);
  const files = filesOf(dataDirectory);
  if (!finish) output.write(`machines join with the token in ${files.joinToken} from now on; those that have joined stay\n`);
  if (!isShared) return 0;
  output.write(`servers start with the token in ${files.serverToken} from now on; those that run have it already\n`);
  if (waiting.length === 0) {
    output.write('the former token opens nothing any more; backups from before open with it alone\n');
    return 0;
  }
  output.write(`the former token stays good, because these servers have not taken the new one: ${waiting.join(', ')}\n`);
  output.write('restart them with the new token, then: midship token rotate --finish\n');
  return 1;
}

/** `midship certs rotate-signing-key`: a new key for tokens of service accounts. */
export async function rotateSigningKey(command: RotateCommand & { readonly overlapMs: number }): Promise<ExitCode> {
  const overlapSeconds = Math.floor(command.overlapMs / 1_000);
  const { id, formerUntil } = await ask<{ readonly id: string; readonly formerUntil: string }>(command, 'rotate-signing-key', {
    overlapSeconds,
  });
  command.output.write(`tokens of service accounts are signed with the key ${id.slice(0, 12)} from now on\n`);
  command.output.write(
    overlapSeconds === 0
      ? 'those of the former key are worthless; agents get others by themselves\n'
      : `those of the former key are good until they end, ${formerUntil} at the latest\n`,
  );
  return 0;
}

/** `midship certs rotate-ca`: new authorities for servers that share a store. */
export async function rotateCa(command: RotateCommand): Promise<ExitCode> {
  const { servers } = await ask<{ readonly servers: readonly string[] }>(command, 'rotate-authorities');
  command.output.write('replaced the authorities in the store; the former ones stay trusted until they end\n');
  command.output.write(`restart the servers one after the other, so that each uses the new ones: ${servers.join(', ')}\n`);
  return 0;
}

// -------------------------------------------------------------------------------------------------------------------------- encryption

type Stage = 'finished' | 'prepare' | 'rotate';

interface KeysStatus {
  readonly servers: readonly {
    readonly hostname: string;
    readonly serverId: string;
    readonly keys: { readonly encryption: { readonly writes: readonly string[]; readonly reads: readonly string[] } };
  }[];
  readonly encryption: {
    readonly isOwn: boolean;
    /** As in `apiserver/encryption/own-keys.ts`. */
    readonly stage?: Stage;
    readonly keys?: readonly string[];
    readonly digests: { readonly writes: readonly string[]; readonly reads: readonly string[] };
    readonly values?: number;
    readonly stale?: number;
  };
}

/** As k3s names them. */
const stageNames: Readonly<Record<Stage, string>> = { finished: 'reencrypt_finished', prepare: 'prepare', rotate: 'rotate' };

/** `midship secrets-encrypt status`: 1 as long as a value lies under a former key. */
export async function encryptionStatus(command: RotateCommand & { readonly format: Format }): Promise<ExitCode> {
  const { encryption, servers } = await ask<KeysStatus>(command, 'status');
  const { writes } = encryption.digests;
  const { stale = 0, values = 0, keys } = encryption;
  const isPlain = writes.every((digest) => digest === 'identity');
  const others = servers.filter(({ keys: { encryption: own } }) => own.writes.join() !== writes.join());
  const lines = [
    ['Encryption Status:', isPlain ? 'Disabled' : 'Enabled'],
    [
      'Current Rotation Stage:',
      encryption.stage === undefined ? 'kept by hand (--encryption-provider-config)' : stageNames[encryption.stage],
    ],
    [
      'Server Encryption Hashes:',
      others.length === 0 ? 'All hashes match' : `differ on ${others.map(({ hostname }) => hostname).join(', ')}`,
    ],
    ['Values under the active key:', `${values - stale} of ${values}`],
  ];
  const rows = (keys ?? encryption.digests.reads).map((name, at) => [at === 0 ? '*' : '', name]);
  await writeResult(command, { encryption, servers }, () => `${table(lines)}\n${table([['ACTIVE', 'KEY'], ...rows])}`);
  return stale === 0 ? 0 : 1;
}

/** A look at a cluster with 10,000 Secrets reads some 30 MB. */
const lookEveryMs = 1_000;

/** `midship secrets-encrypt reencrypt`: seals every value with the key that is active, and waits until that is done. */
export async function reencrypt(command: RotateCommand & { readonly clock: Clock; readonly signal: AbortSignal }): Promise<ExitCode> {
  const { output, clock, signal } = command;
  const { values, stale } = await ask<{ readonly values: number; readonly stale: number }>(command, 'encryption-reencrypt');
  output.write(`${stale} of ${values} values lie under a former key\n`);
  for (let left = stale; left > 0; ) {
    await sleep(clock, lookEveryMs, signal);
    left = (await ask<KeysStatus>(command, 'status')).encryption.stale ?? 0;
  }
  output.write('all values lie under the active key\n');
  return 0;
}

/** `midship secrets-encrypt rotate-keys`: a new key, all values under it, and the former one removed. */
export async function rotateEncryptionKeys(command: Parameters<typeof reencrypt>[0]): Promise<ExitCode> {
  const { output } = command;
  await ask(command, 'encryption-prepare');
  output.write('every server has the new key\n');
  await ask(command, 'encryption-rotate');
  output.write('every server writes with it\n');
  await reencrypt(command);
  await ask(command, 'encryption-finish');
  output.write('removed the former key; backups from before have their own copy of it\n');
  return 0;
}
