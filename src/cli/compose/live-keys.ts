import { newBootstrapToken } from '../../api/join-token-secrets.ts';
import type { RunningKubeApi } from '../../apiserver/create-kube-api.ts';
import { type EncryptionConfiguration, parseEncryptionConfiguration } from '../../apiserver/encryption/configuration.ts';
import type { ServerKeys } from '../../apiserver/identity-lease.ts';
import type { KeyActions } from '../../apiserver/server/keys-path.ts';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { SigningKey } from '../../base/pki/signing-key.ts';
import type { Client } from '../../client/client.ts';
import type { Configuration } from '../configuration.ts';
import { encryptionPath } from '../shared-files.ts';
import type { ClusterKeys } from './cluster-keys.ts';
import { createKeyRotation } from './key-rotation.ts';
import { checkEncryptionKeys } from './server-agreement.ts';

export interface FollowedKeysOptions {
  readonly configuration: Pick<Configuration, 'dataDirectory' | 'encryptionFile'>;
  readonly keys: ClusterKeys;
  readonly signingKey: SigningKey;
  readonly kubeApi: Pick<RunningKubeApi, 'encryption'>;
  /** The one that the store was opened with. */
  readonly encryption: EncryptionConfiguration;
  readonly client: Client;
  /** Writes the file of the token by which machines join, and replaces the token by the one that is given; absent: none join. */
  readonly keepJoinToken: ((bootstrapToken?: string) => Promise<void>) | undefined;
  /** The memory of this process lacks what it could read now. */
  onFailure(err: Error): void;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The keys of a running server: parts of it get new ones as soon as they are there. */
export interface FollowedKeys {
  readonly actions: KeyActions;
  known(): ServerKeys;
  /** Seals values of the store from now on. @throws Failure when another server that runs has other keys of the store */
  agree(serverId: string): Promise<void>;
  /** Calls `tell` after each change, when this server works with it. */
  announce(tell: () => Promise<void>): void;
}

export function followKeys(options: FollowedKeysOptions): FollowedKeys {
  const { configuration, keys, signingKey, kubeApi, client, keepJoinToken, onFailure, clock, log, signal } = options;
  const { dataDirectory, encryptionFile } = configuration;
  let { encryption } = options;
  let encryptionText = keys.files[encryptionPath];
  let tell: () => Promise<void> = async () => undefined;

  function useEncryption(text: string): void {
    encryption = parseEncryptionConfiguration(text);
    encryptionText = text;
    try {
      kubeApi.encryption?.use(encryption);
    } catch (err) {
      onFailure(err as Error);
    }
  }

  keys.onChanged(async () => {
    await signingKey.reload();
    const text = keys.files[encryptionPath];
    if (encryptionFile === undefined && text !== undefined && text !== encryptionText) useEncryption(text);
    log.info({ revision: keys.revision }, 'Took changed keys of the cluster');
    await tell();
    // Another server may have replaced the token that this file is a copy of.
    await keepJoinToken?.();
  });
  return {
    actions: createKeyRotation({
      keys,
      dataDirectory,
      client,
      encryption: kubeApi.encryption,
      encryptionKeys: () => encryption.keys,
      hasEncryptionFile: encryptionFile !== undefined,
      renewJoinToken: keepJoinToken === undefined ? undefined : () => keepJoinToken(newBootstrapToken()),
      clock,
      log,
      signal,
    }),
    known: () => ({ revision: keys.revision, encryption: encryption.keys }),
    async agree(serverId) {
      await checkEncryptionKeys({ client, clock, signal, serverId, own: encryption.keys });
      kubeApi.encryption?.reseal();
    },
    announce(renew) {
      tell = renew;
    },
  };
}
