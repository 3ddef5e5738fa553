import { createHash, timingSafeEqual } from 'node:crypto';
import { type Secret, secrets } from '../../api/core/v1/secret.ts';
import { bootstrapTokenType } from '../../api/join-token.ts';
import type { Clock } from '../../base/clock.ts';
import type { Registry } from '../registry/registry.ts';
import type { UserInfo } from '../user.ts';
import { forOwnAudience, type TokenAuthenticator } from './token-authenticator.ts';

/**
 * Tokens by which machines join: Secrets `bootstrap-token-ID` of type `bootstrap.kubernetes.io/token` in `kube-system`. Their bearers are
 * `system:bootstrap:ID` in the group `system:bootstrappers`, until the Secret expires or goes.
 *
 * @see Kubernetes, "Authenticating with Bootstrap Tokens"
 */
export function createBootstrapTokens({ registry, clock }: BootstrapTokensOptions): TokenAuthenticator {
  // One object a Secret, so that what is decided for the user is remembered.
  const users = new WeakMap<Secret, UserInfo>();

  return {
    authenticate(token, audiences) {
      const [, id = '', given = ''] = /^([a-z0-9]{6})\.([a-z0-9]{16})$/.exec(token) ?? [];
      if (id === '') return undefined;
      const secret = registry.get(secrets, `kube-system/bootstrap-token-${id}`) as Secret | undefined;
      if (secret === undefined || secret.metadata.deletionTimestamp !== undefined || secret.type !== bootstrapTokenType) return undefined;
      const dataOf = (key: string): string => Buffer.from(secret.data?.[key] ?? '', 'base64').toString();
      if (!sameText(dataOf('token-secret'), given) || dataOf('token-id') !== id) return undefined;
      if (dataOf('usage-bootstrap-authentication') !== 'true' || hasExpired(dataOf('expiration'), clock.now())) return undefined;
      const user = users.get(secret) ?? userOf(id, dataOf('auth-extra-groups'));
      if (user === undefined) return undefined;
      users.set(secret, user);
      return forOwnAudience(user, audiences);
    },
  };
}

export interface BootstrapTokensOptions {
  readonly registry: Pick<Registry, 'get'>;
  readonly clock: Clock;
}

const extraGroup = /^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/;

/** Undefined when the Secret asks for a group that it must not give. */
function userOf(id: string, extraGroups: string): UserInfo | undefined {
  const extra = extraGroups === '' ? [] : extraGroups.split(',');
  if (!extra.every((group) => extraGroup.test(group))) return undefined;
  const groups = [...new Set(['system:bootstrappers', ...extra])].sort();
  return { name: `system:bootstrap:${id}`, groups: [...groups, 'system:authenticated'] };
}

/** A time that cannot be read is over. */
const hasExpired = (expiration: string, nowMs: number): boolean => expiration !== '' && !(Date.parse(expiration) > nowMs);

function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
