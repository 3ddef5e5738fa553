import { readFile } from 'node:fs/promises';
import { secrets } from '../../api/core/v1/secret.ts';
import { bootstrapSecretOf, bootstrapTokenNamespace, formatJoinToken, tokenIdOf, tryParseJoinToken } from '../../api/join-token.ts';
import { authorityHashOf, newBootstrapToken } from '../../api/join-token-secrets.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import type { Client } from '../../client/client.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/status-error.ts';

export interface JoinTokenOptions {
  readonly client: Client;
  /** PEM, as `/cacerts` shows it. */
  readonly caCertificate: string;
  /** Keeps the token, for the person who brings it to another machine. */
  readonly path: string;
  /** `ID.SECRET` that a person chose. Absent: that of the file, or a new one. */
  readonly bootstrapToken: string | undefined;
}

/** Makes the token that admits machines for as long as the cluster lives, and writes it to its file. */
export async function keepJoinToken({ client, caCertificate, path, bootstrapToken }: JoinTokenOptions): Promise<void> {
  const kept = tryParseJoinToken(await readFile(path, 'utf8').catch(() => ''))?.bootstrapToken;
  const wanted = bootstrapToken ?? kept ?? newBootstrapToken();
  // A token that was replaced admits nobody any more.
  if (kept !== undefined && kept !== wanted) await deleteToken(client, tokenIdOf(kept));
  try {
    await client.create(secrets, bootstrapSecretOf(wanted, { description: 'Token of "midship server", without an end.' }));
  } catch (err) {
    if (!isAlreadyExists(err)) throw err;
  }
  await writeDurableFile(path, `${formatJoinToken({ authorityHash: authorityHashOf(caCertificate), bootstrapToken: wanted })}\n`);
}

async function deleteToken(client: Client, id: string): Promise<void> {
  try {
    await client.delete(secrets, { namespace: bootstrapTokenNamespace, name: `bootstrap-token-${id}` });
  } catch (err) {
    if (!isNotFound(err)) throw err;
  }
}
