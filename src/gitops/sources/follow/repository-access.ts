import { type Secret, secrets } from '../../../api/core/v1/secret.ts';
import type { GitRepository } from '../../../api/source/v1/git-repository.ts';
import type { Client } from '../../../client/client.ts';
import { isNotFound } from '../../../machinery/status-error.ts';
import { SourceError } from '../git-source.ts';
import type { ProxyAccess, RemoteAccess } from '../remote-access.ts';

/** Content of a GitRepository's Secrets, read again at every look, so that a rotated token counts at once. */
export interface AccessSecrets {
  readonly access: RemoteAccess;
  /** Changes with the Secrets. */
  readonly identity: string;
}

/** @throws SourceError `AuthenticationFailed` when a Secret is not there or lacks what is needed */
export async function readAccess(client: Client, repository: GitRepository): Promise<AccessSecrets> {
  const { url, secretRef, proxySecretRef } = repository.spec;
  const keys = url.startsWith('ssh:') ? 'identity and known_hosts' : 'username and password, or bearerToken';
  const secret = await secretOf(client, repository, secretRef?.name, `Create it with the keys ${keys}.`);
  const proxySecret = await secretOf(client, repository, proxySecretRef?.name, 'Create it with the key address.');
  const access = secret === undefined ? {} : url.startsWith('ssh:') ? sshAccessOf(secret) : httpAccessOf(secret);
  return {
    access: proxySecret === undefined ? access : { ...access, proxy: proxyOf(proxySecret) },
    identity: [secret, proxySecret].map((each) => `${each?.metadata.uid ?? ''}/${each?.metadata.resourceVersion ?? ''}`).join(' '),
  };
}

async function secretOf(client: Client, { metadata }: GitRepository, name: string | undefined, hint: string): Promise<Secret | undefined> {
  if (name === undefined) return undefined;
  const ref = { namespace: metadata.namespace, name };
  try {
    return await client.get(secrets, ref);
  } catch (err) {
    if (!isNotFound(err)) throw err;
    throw new SourceError('AuthenticationFailed', `secret ${ref.namespace}/${ref.name} does not exist`, { hint, cause: err });
  }
}

/** The value of the first key that is there. */
function textOf({ data = {} }: Secret, ...names: readonly string[]): string | undefined {
  const name = names.find((each) => data[each] !== undefined);
  return name === undefined ? undefined : Buffer.from(data[name] ?? '', 'base64').toString('utf8');
}

/** For values of one line: the final newline of `echo` and editors is dropped. */
const lineOf = (secret: Secret, name: string): string | undefined => textOf(secret, name)?.replace(/[\r\n]+$/, '');

/** Flux takes the names of both a Secret of type kubernetes.io/tls and of its own older ones. */
function httpAccessOf(secret: Secret): RemoteAccess {
  const username = lineOf(secret, 'username');
  const password = lineOf(secret, 'password');
  const bearerToken = lineOf(secret, 'bearerToken');
  const ca = textOf(secret, 'ca.crt', 'caFile');
  const certificate = textOf(secret, 'tls.crt', 'certFile');
  const key = textOf(secret, 'tls.key', 'keyFile');
  if ((certificate === undefined) !== (key === undefined)) {
    throw incomplete(secret, 'has one of tls.crt and tls.key without the other', 'Give both, or neither.');
  }
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(bearerToken === undefined ? {} : { bearerToken }),
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined || key === undefined ? {} : { clientCertificate: { certificate, key } }),
  };
}

function sshAccessOf(secret: Secret): RemoteAccess {
  const identity = textOf(secret, 'identity');
  const knownHosts = textOf(secret, 'known_hosts');
  if (identity === undefined || knownHosts === undefined) {
    const missing = identity === undefined ? 'identity' : 'known_hosts';
    throw incomplete(
      secret,
      `has no key ${missing}`,
      'Give it a private key as identity, and known_hosts as "ssh-keyscan HOST" prints them.',
    );
  }
  // A host that resets the connection lets ssh-keyscan write an empty file.
  if (!/^[^\S\n]*[^\s#]/m.test(knownHosts)) {
    throw incomplete(secret, 'has no host in its key known_hosts', 'Run "ssh-keyscan HOST" again, and look at what it prints first.');
  }
  if (textOf(secret, 'password') !== undefined) {
    throw new SourceError('NotSupported', 'not supported: a passphrase (key password) of the ssh identity', {
      hint: 'Use a key without a passphrase, for reading this repository alone.',
    });
  }
  return { ssh: { identity, knownHosts } };
}

function proxyOf(secret: Secret): ProxyAccess {
  const address = lineOf(secret, 'address');
  const username = lineOf(secret, 'username');
  const password = lineOf(secret, 'password');
  const isAddress = address !== undefined && URL.canParse(address) && /^https?:$/.test(new URL(address).protocol);
  if (!isAddress) {
    throw incomplete(secret, 'has no http or https address of a proxy in its key address', 'Write it as http://proxy.example.com:3128.');
  }
  return { address, ...(username === undefined ? {} : { username }), ...(password === undefined ? {} : { password }) };
}

const incomplete = ({ metadata }: Secret, what: string, hint: string): SourceError =>
  new SourceError('AuthenticationFailed', `secret ${metadata.namespace}/${metadata.name} ${what}`, { hint });
