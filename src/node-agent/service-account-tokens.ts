import type { TokenRequest } from '../api/authentication/v1/token-request.ts';
import type { Pod } from '../api/core/v1/pod.ts';
import { serviceAccounts } from '../api/core/v1/service-account.ts';
import type { Clock } from '../base/clock.ts';
import type { Client, New } from '../client/client.ts';

/** Tokens for the volumes of pods: requested when a pod starts, and again after four fifths of their lifetime. */
export interface TokenSource {
  /** Bound to the pod, so that it ends with it. */
  tokenOf(pod: Pod, wanted: WantedToken): Promise<IssuedToken>;
  /** Pods with a token that should be replaced now. */
  due(): readonly string[];
  forget(podUid: string): void;
}

export interface WantedToken {
  readonly audience?: string | undefined;
  readonly expirationSeconds?: number | undefined;
}

export interface IssuedToken {
  readonly token: string;
  /** RFC 3339. */
  readonly expirationTimestamp: string;
}

interface Held extends IssuedToken {
  readonly renewAt: number;
}

const defaultLifetimeSeconds = 3_600;
/** A token is replaced after a day at the latest. */
const maxAgeMs = 86_400_000;

export interface TokenSourceOptions {
  readonly client: Client;
  readonly clock: Clock;
}

export const createTokenSource = (options: TokenSourceOptions): TokenSource => new RenewedTokens(options);

class RenewedTokens implements TokenSource {
  readonly #options: TokenSourceOptions;
  readonly #byPod = new Map<string, Map<string, Held>>();

  constructor(options: TokenSourceOptions) {
    this.#options = options;
  }

  async tokenOf({ metadata, spec }: Pod, { audience = '', expirationSeconds = defaultLifetimeSeconds }: WantedToken): Promise<IssuedToken> {
    const { client, clock } = this.#options;
    const { uid = '', namespace = '' } = metadata;
    const key = `${audience}\n${expirationSeconds}`;
    const held = this.#byPod.get(uid)?.get(key);
    if (held !== undefined && clock.now() < held.renewAt) return held;
    const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name: metadata.name, uid };
    const request: New<TokenRequest> = {
      kind: 'TokenRequest',
      apiVersion: 'authentication.k8s.io/v1',
      metadata: {},
      spec: { audiences: audience === '' ? [] : [audience], expirationSeconds, boundObjectRef },
    };
    const askedAt = clock.now();
    const account = { namespace, name: spec.serviceAccountName ?? 'default' };
    const answer = (await client.createSubresource(serviceAccounts, account, 'token', request as TokenRequest)) as TokenRequest;
    const { token = '', expirationTimestamp = '' } = answer.status ?? {};
    if (token === '') throw new Error(`no token came for service account ${account.namespace}/${account.name}`);
    const lifetimeMs = Math.min(Date.parse(expirationTimestamp) - askedAt || 0, maxAgeMs / 0.8);
    const tokens = this.#byPod.get(uid) ?? new Map<string, Held>();
    this.#byPod.set(uid, tokens);
    const issued = { token, expirationTimestamp, renewAt: askedAt + lifetimeMs * 0.8 };
    tokens.set(key, issued);
    return issued;
  }

  due(): readonly string[] {
    const now = this.#options.clock.now();
    return [...this.#byPod].flatMap(([uid, tokens]) => ([...tokens.values()].some(({ renewAt }) => now >= renewAt) ? [uid] : []));
  }

  forget(podUid: string): void {
    this.#byPod.delete(podUid);
  }
}
