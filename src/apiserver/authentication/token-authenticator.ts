import { createHash, timingSafeEqual } from 'node:crypto';
import type { UserInfo } from '../user.ts';

/** One way to tell who bears a token. */
export interface TokenAuthenticator {
  /**
   * Returns the user of the token and its valid audiences among `audiences` (by default the API's own). Undefined when
   * this authenticator did not issue the token, or when it is invalid. Returns no promise when it need not wait.
   */
  authenticate(token: string, audiences?: readonly string[]): AuthenticatedToken | undefined | Promise<AuthenticatedToken | undefined>;
}

export interface AuthenticatedToken {
  readonly user: UserInfo;
  readonly audiences: readonly string[];
}

/** Audience of tokens that name none: this API. */
export const ownAudiences: readonly string[] = ['https://kubernetes.default.svc.cluster.local'];

/** The first that knows the token answers. */
export const anyOf = (authenticators: readonly TokenAuthenticator[]): TokenAuthenticator => ({
  authenticate(token, audiences) {
    const from = (index: number): ReturnType<TokenAuthenticator['authenticate']> => {
      for (let next = index; next < authenticators.length; next += 1) {
        const found = authenticators[next]?.authenticate(token, audiences);
        if (found instanceof Promise) return found.then((late) => late ?? from(next + 1));
        if (found !== undefined) return found;
      }
      return undefined;
    };
    return from(0);
  },
});

/** For tokens that know no audiences: they are good for this API and for nobody else. */
export function forOwnAudience(user: UserInfo, audiences: readonly string[] = ownAudiences): AuthenticatedToken | undefined {
  const good = ownAudiences.filter((audience) => audiences.includes(audience));
  return good.length === 0 ? undefined : { user, audiences: good };
}

export const withAuthenticated = (groups: readonly string[]): readonly string[] =>
  groups.includes('system:authenticated') ? groups : [...groups, 'system:authenticated'];

export type StaticUsers = Readonly<Record<string, { readonly name: string; readonly uid?: string; readonly groups: readonly string[] }>>;

/** Tokens of `--token-auth-file`; good for as long as the process runs. */
export function createStaticTokens(tokens: StaticUsers): TokenAuthenticator {
  const users = Object.entries(tokens).map(([token, { name, uid, groups }]) => ({
    digest: digestOf(token),
    user: { name, groups: withAuthenticated(groups), ...(uid === undefined ? {} : { uid }) } satisfies UserInfo,
  }));
  return {
    authenticate(token, audiences) {
      if (users.length === 0) return undefined;
      const digest = digestOf(token);
      let found: UserInfo | undefined;
      // All are compared, each in constant time: nothing can be learnt from how long it takes.
      for (const known of users) if (timingSafeEqual(known.digest, digest)) found = known.user;
      return found === undefined ? undefined : forOwnAudience(found, audiences);
    },
  };
}

const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest();
