import { readFileSync } from 'node:fs';
import { Failure } from './failure.ts';

/** The secret that the servers of a cluster share: it opens the keys in their store. */
export interface ServerToken {
  /** SHA-256 of the cluster's authority; undefined for a secret that a person chose. */
  readonly authorityHash: string | undefined;
  readonly secret: string;
}

const whole = /^K10([0-9a-f]{64})::server:([\x21-\x7e]{16,512})$/;
const chosen = /^[\x21-\x7e]{16,512}$/;
const ofAgents = /^(K10[0-9a-f]{64}::)?[a-z0-9]{6}\.[a-z0-9]{16}$/;

/** Reads `K10HASH::server:SECRET`, or a secret of 16 characters at least; undefined for anything else, and for a token of agents. */
export function tryParseServerToken(text: string): ServerToken | undefined {
  const trimmed = text.trim();
  const [, authorityHash, secret] = whole.exec(trimmed) ?? [];
  if (secret !== undefined) return { authorityHash, secret };
  if (trimmed.startsWith('K10') || ofAgents.test(trimmed) || !chosen.test(trimmed)) return undefined;
  return { authorityHash: undefined, secret: trimmed };
}

export const formatServerToken = (authorityHash: string, secret: string): string => `K10${authorityHash}::server:${secret}`;

/** @throws Failure when the file of `--token-file` cannot be read */
export function readTokenText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new Failure(`${path} cannot be read`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Name a readable file with --token-file.',
      cause,
    });
  }
}

/** The token of servers in a file. @throws Failure for a file without one */
export function readServerToken(path: string): ServerToken {
  const token = tryParseServerToken(readTokenText(path));
  if (token !== undefined) return token;
  throw new Failure(`${path} has no token of servers`, {
    why: 'It is K10, 64 hexadecimal digits, ::server: and a secret, or a secret of 16 characters at least.',
    fix: 'Copy the file server-token of the data directory of a server.',
  });
}
