import { readFile } from 'node:fs/promises';
import { Failure } from './failure.ts';

/** Users of the API by their bearer token. */
export type StaticTokens = Readonly<Record<string, { readonly name: string; readonly uid: string; readonly groups: readonly string[] }>>;

const maxBytes = 1024 * 1024;

/**
 * Reads the file of `--token-auth-file`, in the form kube-apiserver and k3s take: a line `token,user,uid` or `token,user,uid,"group,group"`
 * a user, `#` in front of comments. It is read at start only.
 */
export async function readTokenFile(path: string): Promise<StaticTokens> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new Failure(`${path} cannot be read`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Name a readable file with --token-auth-file, or leave the flag out.',
      cause,
    });
  }
  if (text.length > maxBytes) throw malformed(path, `it is larger than ${maxBytes} bytes`);
  const users = new Map<string, StaticTokens[string]>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, token = '', name = '', uid = '', quoted, plain = ''] = row.exec(line) ?? [];
    // The line is a secret: a message names only its number.
    if (token === '' || name === '') throw malformed(path, `line ${index + 1} is not of the form token,user,uid,"group,group"`);
    if (users.has(token)) throw malformed(path, `line ${index + 1} has a token that another line has, too`);
    const groups = (quoted ?? plain).split(',').map((group) => group.trim());
    users.set(token, { name, uid, groups: groups.filter((group) => group !== '') });
  }
  return Object.fromEntries(users);
}

const row = /^([^\s,"]+),([^,"]+),([^,"]*)(?:,(?:"([^"]*)"|([^,"]*)))?$/;

const malformed = (path: string, why: string): Failure =>
  new Failure(`${path} is not a file of tokens`, { why, fix: 'Write one line a user: token,user,uid,"group,group".' });
