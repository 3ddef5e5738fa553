// Apart from the form of a token, which every command parses: node:crypto would be loaded for each of them.
import { createHash, randomBytes } from 'node:crypto';

/** The hash that a token carries. @param authority  PEM, exactly as `/cacerts` serves it */
export const authorityHashOf = (authority: string): string => createHash('sha256').update(authority).digest('hex');

/** `ID.SECRET`, of 80 random bits and 30 that are no secret. */
export function newBootstrapToken(): string {
  const letters = 'abcdefghijklmnopqrstuvwxyz012345';
  const random = Array.from(randomBytes(22), (byte) => letters.charAt(byte % letters.length)).join('');
  return `${random.slice(0, 6)}.${random.slice(6)}`;
}
