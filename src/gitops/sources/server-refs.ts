import git, { Errors } from 'isomorphic-git';
import { createGitHttpClient, ProxyRefusal, Redirected } from './git-http-client.ts';
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
  /** Hears where the repository is now, when the server says that it moved. */
  onMoved?(url: string): void;
}

/** A repository that was renamed more often than that is not looked for. */
const maxMoves = 5;

/** The refs of a smart HTTP server: one small answer, so it is asked for from this process at each poll. Throws SourceErrors alone. */
export async function listRefs({ url, access, prefix, signal, onMoved }: ListRefsOptions): Promise<readonly ServerRef[]> {
  const http = createGitHttpClient({ signal, idleTimeoutMs, maxBytes: maxRefBytes, access });
  let at = url;
  for (let moves = 0; ; moves += 1) {
    try {
      const refs = await git.listServerRefs({ http, url: at, prefix, peelTags: true, ...authOf(access) });
      if (at !== url) onMoved?.(at);
      return refs.map(({ ref, oid, peeled }) => ({ name: ref, oid: peeled ?? oid }));
    } catch (err) {
      const moved = err instanceof Redirected && moves < maxMoves ? movedTo(at, err.location) : undefined;
      if (moved === undefined) throw explain(err, { url, signal, hasCredentials: hasCredentials(access) });
      at = moved;
    }
  }
}

/**
 * Present address of a renamed repository, as its server answers. Undefined when that is on another host, which must
 * not get our credentials, or is no repository.
 */
function movedTo(url: string, location: URL | undefined): string | undefined {
  const before = new URL(url);
  if (location === undefined || !location.pathname.endsWith('/info/refs')) return undefined;
  const isUpgrade = before.protocol === 'http:' && location.protocol === 'https:' && before.hostname === location.hostname;
  if (location.origin !== before.origin && !isUpgrade) return undefined;
  return location.origin + location.pathname.slice(0, -'/info/refs'.length);
}

function authOf({ username, password = '', bearerToken }: RemoteAccess) {
  return {
    onAuth: () =>
      bearerToken !== undefined
        ? { headers: { Authorization: `Bearer ${bearerToken}` } }
        : username !== undefined
          ? { username, password }
          : { cancel: true },
    // A second answer to the same question would be asked forever.
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
  if (err instanceof Redirected) {
    const { location } = err;
    const to = location === undefined ? '' : ` to ${location.origin}${location.pathname.replace(/\/info\/refs$/, '')}`;
    return new SourceError('NotARepository', `${url} redirects${to}, which is not followed`, {
      hint: 'Set spec.url to the address of the repository itself; some servers also send those without credentials elsewhere.',
      cause: err,
    });
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
    hint: 'Check the address and the network; a revision that was read before stays in force.',
    cause,
  });
