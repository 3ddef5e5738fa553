import { type Secret, secrets } from '../api/core/v1/secret.ts';
import { bootstrapSecretOf, bootstrapTokenNamespace, bootstrapTokenType, formatJoinToken } from '../api/join-token.ts';
import { authorityHashOf, newBootstrapToken } from '../api/join-token-secrets.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { isNotFound } from '../machinery/status-error.ts';
import { type AppCommand, withClient } from './connect.ts';
import { readEndpoints } from './data-directory.ts';
import { Failure } from './failure.ts';
import { table } from './output.ts';

type TokenCommand = Pick<AppCommand, 'dataDirectory' | 'output' | 'version'>;

/** `midship token create`: prints a token by which machines join. */
export async function createToken({
  ttlMs,
  description,
  now,
  ...command
}: TokenCommand & {
  /** 0: the token has no end. */
  readonly ttlMs: number;
  readonly description: string;
  readonly now: number;
}): Promise<0> {
  const { kubeconfig } = await readEndpoints(command.dataDirectory);
  const { caCertificate } = await loadKubeconfig(kubeconfig);
  if (caCertificate === undefined) {
    throw new Failure('the kubeconfig of the cluster names no authority', {
      why: 'A token carries the hash of the authority, so that a machine recognises the server.',
      fix: `Start the server again: it writes ${kubeconfig}.`,
    });
  }
  const bootstrapToken = newBootstrapToken();
  const expiration = ttlMs === 0 ? {} : { expiration: new Date(now + ttlMs).toISOString().replace(/\.\d+Z$/, 'Z') };
  await withClient(command, (client) => client.create(secrets, bootstrapSecretOf(bootstrapToken, { description, ...expiration })));
  command.output.write(`${formatJoinToken({ authorityHash: authorityHashOf(caCertificate), bootstrapToken })}\n`);
  return 0;
}

/** `midship token list`: the columns of kubeadm, without the secrets. */
export async function listTokens(command: TokenCommand): Promise<0> {
  const { items } = await withClient(command, (client) =>
    client.list(secrets, { namespace: bootstrapTokenNamespace, fieldSelector: `type=${bootstrapTokenType}` }),
  );
  const rows = items.map((secret) => {
    const data = dataOf(secret);
    return [data('token-id'), data('expiration') || '<forever>', data('description') || '<none>'];
  });
  command.output.write(table([['ID', 'EXPIRES', 'DESCRIPTION'], ...rows]));
  return 0;
}

const dataOf =
  ({ data }: Secret) =>
  (key: string): string =>
    Buffer.from(data?.[key] ?? '', 'base64').toString();

/** `midship token delete`. @param id  of six letters, or a whole token */
export async function deleteToken({ id: given, ...command }: TokenCommand & { readonly id: string }): Promise<0> {
  const [, id = given] = /^(?:K10[0-9a-f]{64}::)?([a-z0-9]{6})(?:\.[a-z0-9]{16})?$/.exec(given) ?? [];
  try {
    await withClient(command, (client) => client.delete(secrets, { namespace: bootstrapTokenNamespace, name: `bootstrap-token-${id}` }));
  } catch (err) {
    if (!isNotFound(err) && !(err instanceof Failure && isNotFound(err.cause))) throw err;
    throw new Failure(`there is no token ${id}`, { why: 'It was deleted, or it has ended.', fix: 'See them all: midship token list' });
  }
  command.output.write(`deleted the token ${id}\n`);
  return 0;
}
