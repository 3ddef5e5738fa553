import crypto, { type ScryptOptions } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';

/** `scrypt` takes `128 * N * r` bytes, and time in proportion: 1 MiB and 3 ms where the program takes 64 MiB and 0.2 s. */
const cheapN = 1_024;

type Derive = (
  secret: string,
  salt: Buffer,
  length: number,
  options: ScryptOptions,
  done: (err: Error | null, key: Buffer) => void,
) => void;

/**
 * Makes `scrypt` cheap in this process, for suites that start many servers: each derives the key of its token at its start. The unit test
 * of the sealed bundle keeps the cost of the program.
 *
 * @returns a function that brings the cost back; a suite calls it at its end, because files share a process
 */
export function cheapenScrypt(): () => void {
  const original = crypto.scrypt;
  const derive: Derive = (secret, salt, length, options, done) => original(secret, salt, length, { ...options, N: cheapN }, done);
  replaceScrypt(derive as typeof original);
  return () => replaceScrypt(original);
}

function replaceScrypt(by: typeof crypto.scrypt): void {
  crypto.scrypt = by;
  syncBuiltinESMExports();
}
