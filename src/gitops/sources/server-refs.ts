import git, { Errors } from 'isomorphic-git';
import { createGitHttpClient, ProxyRefusal } from './git-http-client.ts';
import { SourceError } from './git-source.ts';
import type { RemoteAccess } from './remote-access.ts';

const idleTimeoutMs = 30_000;
/** A line of some 80 bytes a ref: hundreds of thousands of them. */
const maxRefBytes = 32 * 1024 * 1024;

/** A ref of a server and the commit it names, annotated tags followed. */
export interface ServerRef {
  readonly name: string;
  readonly oid: string;
}

export interface ListRefsOptions {
  readonly url: string;
  readonly access: RemoteAccess;
  /** Only refs whose full name starts with it. */
  readonly prefix: string;
  readonly signal: AbortSignal;
}

/** The refs of a smart HTTP server: one small answer, so it is asked for from this process at each poll. Throws SourceErrors alone. */
export async function listRefs({ url, access, prefix, signal }: ListRefsOptions): Promise<readonly ServerRef[]> {
  try {
    const http = createGitHttpClient({ signal, idleTimeoutMs, maxBytes: maxRefBytes, access });
    const refs = await git.listServerRefs({ http, url, prefix, peelTags: true, ...authOf(access) });
    return refs.map(({ ref, oid, peeled }) => ({ name: ref, oid: peeled ?? oid }));
  } catch (err) {
    throw explain(err, { url, signal, hasCredentials: hasCredentials(access) });
  }
}

function authOf({ username, password = '', bearerToken }: RemoteAccess) {
  return {
    onAuth: () =>
      bearerToken !== undefined
        ? { headers: { Authorization: `Bearer ${bearerToken}` } }
        : username !== undefined
          ? { username, password }
          : { cancel: true },
    // A second answer to the same question would be asked for ever.
    onAuthFailure: () => ({ cancel: true }),
  };
}

const hasCredentials = ({ username, bearerToken }: RemoteAccess): boolean => username !== undefined || bearerToken !== undefined;

interface Attempt {
  readonly url: string;
  readonly signal: AbortSignal;
  readonly hasCredentials: boolean;
}

const credentialsHint = 'Give spec.secretRef (or MIDSHIP_GIT_TOKEN of "midship up") a token that may read the repository.';

function explain(err: unknown, { url, signal, hasCredentials: sentCredentials }: Attempt): SourceError {
  if (err instanceof SourceError) return err;
  if (signal.aborted) return timedOut(url, err);
  if (err instanceof ProxyRefusal) {
    return err.statusCode === 407
      ? new SourceError('AuthenticationFailed', `${url}: the proxy asks for other credentials (HTTP 407)`, {
          hint: 'Give the Secret of spec.proxySecretRef a username and a password.',
          cause: err,
        })
      : unreachable(url, err);
  }
  if (err instanceof Errors.HttpError) {
    const { statusCode } = err.data;
    if (statusCode === 401 || statusCode === 403) {
      return new SourceError('AuthenticationFailed', `${url} refused the credentials (HTTP ${statusCode})`, {
        hint: credentialsHint,
        cause: err,
      });
    }
    if (statusCode === 404) {
      return new SourceError('NotARepository', `${url} is not a Git repository (HTTP 404)`, {
        hint: 'Check the address; many servers also answer 404 when credentials are missing.',
        cause: err,
      });
    }
  }
  if (err instanceof Errors.UserCanceledError) {
    return new SourceError('AuthenticationFailed', `${url} ${sentCredentials ? 'refused the credentials' : 'asks for credentials'}`, {
      hint: credentialsHint,
      cause: err,
    });
  }
  return unreachable(url, err);
}

export const timedOut = (url: string, cause: unknown): SourceError =>
  new SourceError('Timeout', `${url} did not answer in time`, { hint: 'Check the network, or raise spec.timeout.', cause });

export const unreachable = (url: string, cause: unknown): SourceError =>
  new SourceError('Unreachable', `${url} cannot be reached: ${cause instanceof Error ? cause.message : String(cause)}`, {
    hint: 'Check the address and the network; the last good revision stays in force.',
    cause,
  });
