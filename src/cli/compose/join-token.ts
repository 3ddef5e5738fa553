import { readFile } from 'node:fs/promises';
import { type Secret, secrets } from '../../api/core/v1/secret.ts';
import {
  bootstrapSecretOf,
  bootstrapTokenNamespace,
  bootstrapTokenType,
  formatJoinToken,
  tokenIdOf,
  tryParseJoinToken,
} from '../../api/join-token.ts';
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
  /** Other servers keep the token, too: that of the store counts, and not the one of the file. */
  readonly isShared: boolean;
}

const description = 'Token of "midship server", without an end.';

/** Makes the token that admits machines for as long as the cluster lives, and writes it to its file. */
export async function keepJoinToken({ client, caCertificate, path, bootstrapToken, isShared }: JoinTokenOptions): Promise<void> {
  const inFile = tryParseJoinToken(await readFile(path, 'utf8').catch(() => ''))?.bootstrapToken;
  const kept = (isShared ? await storedToken(client) : undefined) ?? inFile;
  const wanted = bootstrapToken ?? kept ?? newBootstrapToken();
  // A token that was replaced admits nobody any more.
  if (kept !== undefined && kept !== wanted) await deleteToken(client, tokenIdOf(kept));
  try {
    await client.create(secrets, bootstrapSecretOf(wanted, { description }));
  } catch (err) {
    if (!isAlreadyExists(err)) throw err;
  }
  await writeDurableFile(path, `${formatJoinToken({ authorityHash: authorityHashOf(caCertificate), bootstrapToken: wanted })}\n`);
}

/** The one that some server of the cluster made; the first by name, when two servers made one at the same moment. */
async function storedToken(client: Client): Promise<string | undefined> {
  const { items } = await client.list(secrets, { namespace: bootstrapTokenNamespace, fieldSelector: `type=${bootstrapTokenType}` });
  const fieldOf = ({ data }: Secret, name: string): string => Buffer.from(data?.[name] ?? '', 'base64').toString('utf8');
  const own = items.find((secret) => fieldOf(secret, 'description') === description);
  return own === undefined ? undefined : `${fieldOf(own, 'token-id')}.${fieldOf(own, 'token-secret')}`;
}

async function deleteToken(client: Client, id: string): Promise<void> {
  try {
    await client.delete(secrets, { namespace: bootstrapTokenNamespace, name: `bootstrap-token-${id}` });
  } catch (err) {
    if (!isNotFound(err)) throw err;
  }
}
