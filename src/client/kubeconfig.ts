import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { type Clock, systemClock } from '../base/clock.ts';
import { formatYaml, parseYamlDocuments } from '../machinery/yaml.ts';
import type { HttpClientOptions } from './http-client.ts';

/** Cluster and user of one context of a kubeconfig. */
export type KubeconfigConnection = Pick<HttpClientOptions, 'server' | 'caCertificate' | 'serverName' | 'clientCertificate' | 'token'> & {
  /** The context's namespace, for namespaced objects that name none. */
  readonly namespace: string;
};

/** A kubeconfig that cannot be used; `hint` says what would help. */
class KubeconfigError extends Error {
  readonly hint: string;

  constructor(message: string, hint: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'KubeconfigError';
    this.hint = hint;
  }
}

const maxBytes = 1024 * 1024;

interface Named {
  readonly name?: unknown;
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * Reads the context `context` (default: the current one) of the kubeconfig at `path`. Certificates may be in it or in files beside it.
 *
 * Ways of authentication that run programs or need an interactive login are refused by name, and so is `insecure-skip-tls-verify`.
 */
export async function loadKubeconfig(path: string, context?: string, clock: Clock = systemClock): Promise<KubeconfigConnection> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new KubeconfigError(`read kubeconfig ${path}: ${(cause as Error).message}`, 'give the path of a kubeconfig file', cause);
  }
  return connectionOf({ path, directory: dirname(path), text, context, clock });
}

/**
 * Reads a kubeconfig that came from elsewhere, such as a Secret; `name` is what messages call it. It names no file of this machine: what
 * refers to one is refused.
 */
export function parseKubeconfig(text: string, name: string): Promise<KubeconfigConnection> {
  return connectionOf({ path: name, directory: undefined, text, context: undefined, clock: systemClock });
}

interface KubeconfigText {
  readonly path: string;
  /** That files it names are relative to; undefined when it may name none. */
  readonly directory: string | undefined;
  readonly text: string;
  readonly context: string | undefined;
  /** By which a token in a file is read again. */
  readonly clock: Clock;
}

async function connectionOf({ path, directory, text, context, clock }: KubeconfigText): Promise<KubeconfigConnection> {
  const config = readConfig(path, text);
  const contextName = context ?? config['current-context'];
  if (typeof contextName !== 'string' || contextName === '') {
    throw new KubeconfigError(`${path} names no current context`, 'kubectl config use-context NAME sets one');
  }
  const { cluster, user, namespace } = entryOf(path, config, 'contexts', contextName, 'context');
  if (typeof cluster !== 'string') throw new KubeconfigError(`context ${contextName} of ${path} names no cluster`, 'set its cluster');
  return {
    ...(await clusterOf(path, directory, entryOf(path, config, 'clusters', cluster, 'cluster'))),
    ...(typeof user === 'string' && user !== ''
      ? await userOf({ path, directory, clock }, entryOf(path, config, 'users', user, 'user'))
      : {}),
    namespace: typeof namespace === 'string' && namespace !== '' ? namespace : 'default',
  };
}

function readConfig(path: string, text: string): Fields {
  let value: unknown;
  try {
    value = parseYamlDocuments(text, { maxBytes, maxDepth: 20, maxAliases: 20, maxDocuments: 1 })[0]?.value;
  } catch (cause) {
    throw new KubeconfigError(`read kubeconfig ${path}: ${(cause as Error).message}`, 'give the path of a kubeconfig file', cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new KubeconfigError(`${path} is not a kubeconfig`, 'give the path of a kubeconfig file');
  }
  return value as Fields;
}

function entryOf(path: string, config: Fields, list: string, name: string, field: string): Fields {
  const entries = config[list];
  const entry = Array.isArray(entries) ? (entries as readonly Named[]).find((candidate) => candidate?.name === name) : undefined;
  const value = (entry as Fields | undefined)?.[field];
  if (typeof value !== 'object' || value === null) {
    throw new KubeconfigError(`${path} has no ${field} ${JSON.stringify(name)}`, `its ${list} must have an entry of that name`);
  }
  return value as Fields;
}

async function clusterOf(
  path: string,
  directory: string | undefined,
  cluster: Fields,
): Promise<Pick<KubeconfigConnection, 'server' | 'caCertificate' | 'serverName'>> {
  const { server } = cluster;
  if (typeof server !== 'string') throw new KubeconfigError(`a cluster of ${path} has no server`, 'set its server to https://HOST:PORT');
  if (cluster['insecure-skip-tls-verify'] === true) {
    throw new KubeconfigError(`${path} turns off the check of the server's certificate`, 'give certificate-authority-data instead');
  }
  if (typeof cluster['proxy-url'] === 'string')
    throw new KubeconfigError(`proxy-url of ${path} is not supported`, 'reach the server directly');
  const caCertificate = await pemOf(path, directory, cluster, 'certificate-authority');
  const serverName = cluster['tls-server-name'];
  return {
    server,
    ...(caCertificate === undefined ? {} : { caCertificate }),
    ...(typeof serverName === 'string' ? { serverName } : {}),
  };
}

async function userOf(
  { path, directory, clock }: Pick<KubeconfigText, 'path' | 'directory' | 'clock'>,
  user: Fields,
): Promise<Pick<KubeconfigConnection, 'clientCertificate' | 'token'>> {
  for (const field of ['exec', 'auth-provider', 'username', 'as']) {
    if (user[field] !== undefined) {
      throw new KubeconfigError(`${field} of a user of ${path} is not supported`, 'use a client certificate or a token');
    }
  }
  const certificate = await pemOf(path, directory, user, 'client-certificate');
  const key = await pemOf(path, directory, user, 'client-key');
  const { tokenFile } = user;
  const token =
    typeof tokenFile === 'string' ? await followToken({ path, directory, clock }, tokenFile) : (user.token as string | undefined);
  return {
    ...(certificate === undefined || key === undefined ? {} : { clientCertificate: { certificate, key } }),
    ...(typeof token === 'function' || (typeof token === 'string' && token !== '') ? { token } : {}),
  };
}

/** The process that renews the token replaces the file; client-go reads it as often. */
const tokenPeriodMs = 60_000;

/** Gives what the file holds, read again once a minute; what was there before while it cannot be read. */
async function followToken(
  { path, directory, clock }: Pick<KubeconfigText, 'path' | 'directory' | 'clock'>,
  file: string,
): Promise<() => string> {
  let token = (await readNamed(path, directory, file)).trim();
  let readAt = clock.monotonicMs();
  return () => {
    if (clock.monotonicMs() - readAt < tokenPeriodMs) return token;
    readAt = clock.monotonicMs();
    try {
      token = readFileSync(resolve(directory ?? '', file), 'utf8').trim() || token;
    } catch {
      // It is being replaced: the server says when the old one is good no more.
    }
    return token;
  };
}

/** Inline data wins over a file, as in kubectl. */
async function pemOf(path: string, directory: string | undefined, fields: Fields, name: string): Promise<string | undefined> {
  const data = fields[`${name}-data`];
  if (typeof data === 'string' && data !== '') return Buffer.from(data, 'base64').toString('utf8');
  const file = fields[name];
  return typeof file === 'string' && file !== '' ? await readNamed(path, directory, file) : undefined;
}

function readNamed(path: string, directory: string | undefined, file: string): Promise<string> {
  if (directory === undefined) {
    throw new KubeconfigError(`${path} names the file ${file}`, 'put certificates and tokens into the kubeconfig itself');
  }
  return readFile(resolve(directory, file), 'utf8');
}

export interface KubeconfigContent {
  /** Names of cluster, user and context. */
  readonly name: string;
  readonly server: string;
  readonly caCertificate: string;
  readonly clientCertificate: { readonly certificate: string; readonly key: string };
  /** Data for our own programs in the cluster's entry, by name; others leave it alone. */
  readonly extensions?: Readonly<Record<string, object>>;
}

/** A kubeconfig that needs no other file. */
export function formatKubeconfig({ name, server, caCertificate, clientCertificate, extensions = {} }: KubeconfigContent): string {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  return formatYaml({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name,
        cluster: {
          server,
          'certificate-authority-data': base64(caCertificate),
          extensions: Object.entries(extensions).map(([key, extension]) => ({ name: key, extension })),
        },
      },
    ],
    users: [
      {
        name,
        user: {
          'client-certificate-data': base64(clientCertificate.certificate),
          'client-key-data': base64(clientCertificate.key),
        },
      },
    ],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  });
}
