import type { IncomingMessage } from 'node:http';
import { type DetailedPeerCertificate, TLSSocket } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { unauthorized } from '../../machinery/status-error.ts';
import { type AuthenticatedToken, type TokenAuthenticator, withAuthenticated } from '../authentication/token-authenticator.ts';
import type { UserInfo } from '../user.ts';

/** Finds out who makes a request. */
export interface Authenticator {
  /**
   * The client certificate counts first, then the bearer token; with neither the user is `system:anonymous`.
   *
   * At once where nothing has to be waited for.
   *
   * @throws StatusError `Unauthorized` (401) when credentials were given and none of them is good
   */
  authenticate(request: IncomingMessage): UserInfo | Promise<UserInfo>;
}

export interface AuthenticatorOptions {
  /** All that bearer tokens can be. */
  readonly tokens: TokenAuthenticator;
  readonly clock: Clock;
}

const anonymous: UserInfo = { name: 'system:anonymous', groups: ['system:unauthenticated'] };

export const isAnonymous = (user: UserInfo): boolean => user === anonymous;

export function createAuthenticator({ tokens, clock }: AuthenticatorOptions): Authenticator {
  // One connection has one certificate and many requests.
  const certificates = new WeakMap<TLSSocket, CertificateUser | 'none' | 'bad'>();

  const certificateUserOf = (socket: TLSSocket): CertificateUser | 'none' | 'bad' => {
    let known = certificates.get(socket);
    if (known === undefined) {
      known = readCertificate(socket);
      certificates.set(socket, known);
    }
    return typeof known === 'object' && clock.now() > known.expiresAt ? 'bad' : known;
  };

  const userOf = (found: AuthenticatedToken | undefined): UserInfo => {
    if (found === undefined) throw unauthorized();
    return found.user;
  };

  return {
    authenticate(request) {
      const certificate = request.socket instanceof TLSSocket ? certificateUserOf(request.socket) : 'none';
      if (typeof certificate === 'object') return certificate.user;
      const { authorization } = request.headers;
      // Up to the next space, as upstream: the rest is ignored, and two spaces begin no token.
      const token = authorization === undefined ? undefined : /^bearer ([^ ]+)/i.exec(authorization)?.[1];
      if (token !== undefined) {
        const found = tokens.authenticate(token);
        return found instanceof Promise ? found.then(userOf) : userOf(found);
      }
      if (certificate === 'bad') throw unauthorized();
      return anonymous;
    },
  };
}

/** The same; `note` gets the result of each authentication. */
export function countAttempts(authenticator: Authenticator, note: (isKnown: boolean) => void): Authenticator {
  const known = (user: UserInfo): UserInfo => {
    note(true);
    return user;
  };
  const refused = (err: unknown): never => {
    note(false);
    throw err;
  };
  return {
    authenticate(request) {
      let user: UserInfo | Promise<UserInfo>;
      try {
        user = authenticator.authenticate(request);
      } catch (err) {
        return refused(err);
      }
      return user instanceof Promise ? user.then(known, refused) : known(user);
    },
  };
}

interface CertificateUser {
  readonly user: UserInfo;
  readonly expiresAt: number;
}

function readCertificate(socket: TLSSocket): CertificateUser | 'none' | 'bad' {
  const certificate = socket.getPeerCertificate() as Partial<DetailedPeerCertificate>;
  if (certificate.subject === undefined) return 'none';
  // OpenSSL has checked the chain, the dates and the purpose (client authentication) against our authority.
  if (!socket.authorized) return 'bad';
  const { CN: commonName, O: organizations } = certificate.subject as { readonly CN?: string | string[]; readonly O?: string | string[] };
  if (typeof commonName !== 'string' || commonName === '' || certificate.valid_to === undefined) return 'bad';
  const groups = organizations === undefined ? [] : [organizations].flat();
  return { user: { name: commonName, groups: withAuthenticated(groups) }, expiresAt: Date.parse(certificate.valid_to) };
}
