import { createHash, timingSafeEqual } from 'node:crypto';

export interface GitUser {
  readonly name: string;
  readonly mayPush: boolean;
}

/**
 * Value of a user in the list: `sha256:` and 64 digits, or the token itself, followed by `read` for a user who may not
 * push.
 */
export type FindGitUser = (name: string) => Promise<string | undefined>;

/** Name of the user with the cluster's own token. */
export const clusterUser = 'midship';

/** Shorter tokens are not taken: they can be guessed. */
const minTokenLength = 16;

export interface IdentifyOptions {
  /** The cluster's own token. It works with any user name, or none, and who has it is `midship`. */
  readonly token: string;
  readonly findUser?: FindGitUser | undefined;
}

/** User of a request, by its basic or bearer authentication; undefined when it is unknown. */
export async function identify(header: string | undefined, { token, findUser }: IdentifyOptions): Promise<GitUser | undefined> {
  const [scheme = '', value = ''] = (header ?? '').split(' ');
  let name = '';
  let given = '';
  if (scheme.toLowerCase() === 'bearer') given = value;
  if (scheme.toLowerCase() === 'basic') {
    const decoded = Buffer.from(value, 'base64').toString('utf8');
    name = decoded.slice(0, Math.max(0, decoded.indexOf(':')));
    given = decoded.slice(decoded.indexOf(':') + 1);
  }
  if (given === '') return undefined;
  const digest = sha256(given);
  if (timingSafeEqual(digest, sha256(token))) return { name: clusterUser, mayPush: true };
  if (name === '' || findUser === undefined) return undefined;
  const entry = parseEntry((await findUser(name)) ?? '');
  return entry !== undefined && timingSafeEqual(digest, entry.digest) ? { name, mayPush: entry.mayPush } : undefined;
}

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

function parseEntry(text: string): { readonly digest: Buffer; readonly mayPush: boolean } | undefined {
  const [secret = '', right = 'write', ...rest] = text.trim().split(/\s+/);
  if (rest.length > 0 || (right !== 'read' && right !== 'write')) return undefined;
  const [, hex] = /^sha256:([0-9a-f]{64})$/.exec(secret) ?? [];
  if (hex === undefined && secret.length < minTokenLength) return undefined;
  return { digest: hex === undefined ? sha256(secret) : Buffer.from(hex, 'hex'), mayPush: right === 'write' };
}
