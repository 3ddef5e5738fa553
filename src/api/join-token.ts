import type { Secret } from './core/v1/secret.ts';

/** The proof by which a machine joins, and by which it recognises the cluster. */
export interface JoinToken {
  /** SHA-256 of the PEM text of the cluster's authority, in hexadecimal. */
  readonly authorityHash: string;
  /** `ID.SECRET` of a Secret `bootstrap-token-ID`. */
  readonly bootstrapToken: string;
}

/** Secrets `bootstrap-token-ID` of this type and namespace are tokens. */
export const bootstrapTokenType = 'bootstrap.kubernetes.io/token';
export const bootstrapTokenNamespace = 'kube-system';

const whole = /^K10([0-9a-f]{64})::([a-z0-9]{6}\.[a-z0-9]{16})$/;

/** Undefined for a text that is no token of this form. The form is that of k3s: `K10HASH::ID.SECRET`. */
export function tryParseJoinToken(text: string): JoinToken | undefined {
  const [, authorityHash, bootstrapToken] = whole.exec(text.trim()) ?? [];
  return authorityHash === undefined || bootstrapToken === undefined ? undefined : { authorityHash, bootstrapToken };
}

export const formatJoinToken = ({ authorityHash, bootstrapToken }: JoinToken): string => `K10${authorityHash}::${bootstrapToken}`;

/** The part that is no secret. */
export const tokenIdOf = (bootstrapToken: string): string => bootstrapToken.slice(0, 6);

export interface BootstrapSecretOptions {
  readonly description: string;
  /** RFC 3339; absent: it has no end. */
  readonly expiration?: string;
}

/** @see Kubernetes, "Authenticating with Bootstrap Tokens" */
export function bootstrapSecretOf(bootstrapToken: string, { description, expiration }: BootstrapSecretOptions): Secret {
  const id = tokenIdOf(bootstrapToken);
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: `bootstrap-token-${id}`, namespace: bootstrapTokenNamespace },
    type: bootstrapTokenType,
    data: Object.fromEntries(
      Object.entries({
        'token-id': id,
        'token-secret': bootstrapToken.slice(7),
        'usage-bootstrap-authentication': 'true',
        description,
        ...(expiration === undefined ? {} : { expiration }),
      }).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
    ),
  };
}
