import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { tryReadText } from '../base/pki/key-pair.ts';
import { filesOf } from './configuration.ts';

/** A shorter line of a file is a heading, or one that says nothing alone. */
const minLength = 8;

/** Fields of YAML files that hold a key: of a kubeconfig, and of the encryption of the store. */
const secretField = /^\s*(client-key-data|token|password|secret):/;

/** Tokens and keys in the files of a data directory, with each of their lines. */
export async function secretFilesOf(dataDirectory: string): Promise<readonly string[]> {
  const { pki, agentPki, token, joinToken, serverToken, pageToken, pageOwnerToken, wireguardKey, kubeconfig } = filesOf(dataDirectory);
  const keys: string[] = [];
  for (const directory of [pki, agentPki]) {
    const names = await readdir(directory, { recursive: true }).catch(() => []);
    keys.push(...names.filter((name) => /\.key$|encryption\.yaml$/.test(name)).map((name) => join(directory, name)));
  }
  const texts = await Promise.all(
    [token, joinToken, serverToken, pageToken, pageOwnerToken, wireguardKey, kubeconfig, ...keys].map(tryReadText),
  );
  return texts.flatMap((text = '') =>
    text
      .split('\n')
      .filter((line) => !line.startsWith('-----') && (!/^\s*(- )?[\w-]+:\s/.test(line) || secretField.test(line)))
      // A token of machines or servers has its secret behind colons, and a message may repeat that part alone.
      .flatMap((line) => [line.trim(), line.split(/[:\s.]+/).at(-1) ?? ''])
      .filter((part) => part.length >= minLength),
  );
}
