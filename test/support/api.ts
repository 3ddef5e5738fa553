import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { serviceAccounts } from '../../src/api/core/v1/service-account.ts';
import { builtInKinds } from '../../src/api/kinds.ts';
import { loadSchemas } from '../../src/api/schemas.ts';
import { createKubeApi, type KubeApiOptions, type RunningKubeApi } from '../../src/apiserver/create-kube-api.ts';
import { createLocalClient } from '../../src/apiserver/local-client.ts';
import type { UserInfo } from '../../src/apiserver/user.ts';
import { createLog } from '../../src/base/log.ts';
import type { Client } from '../../src/client/client.ts';
import type { KindDefinition } from '../../src/machinery/kind.ts';
import { openMemoryStorage } from '../../src/storage/memory/storage.ts';
import type { Storage } from '../../src/storage/storage.ts';

export interface TestApi {
  readonly kubeApi: RunningKubeApi;
  readonly storage: Storage;
  /** Client of an administrator, unless a user is named. */
  clientFor(user?: UserInfo, userAgent?: string): Client;
  stop(): Promise<void>;
}

export const testServiceCidr = '127.64.0.0/20';
const testLoopbackCidr = '127.64.0.0/16';
export const admin: UserInfo = { name: 'admin', groups: ['system:masters', 'system:authenticated'] };

/** The Kubernetes API over a memory store (or `storage`), with nothing in it. */
export async function startTestApi(options: Partial<KubeApiOptions> = {}): Promise<TestApi> {
  const kinds: readonly KindDefinition[] = options.kinds ?? builtInKinds;
  const storage = options.storage ?? (await openMemoryStorage());
  const kubeApi = await createKubeApi({
    storage,
    kinds,
    schemas: loadSchemas(kinds.map(({ schemas }) => schemas)),
    serviceCidr: testServiceCidr,
    loopbackCidr: testLoopbackCidr,
    log: createLog({ level: 'silent' }),
    ...options,
  });
  return {
    kubeApi,
    storage,
    clientFor: (user = admin, userAgent = 'test') => createLocalClient({ kubeApi, user, userAgent }),
    async stop() {
      kubeApi.stop();
      await storage.close();
    },
  };
}

/**
 * Like `startTestApi`, over a store with these namespaces and their service accounts from an earlier server, without
 * their revisions.
 */
export async function startSeededApi(names: readonly string[], options: Partial<KubeApiOptions> = {}): Promise<TestApi> {
  const storage = options.storage ?? (await openMemoryStorage());
  const earlier = await startTestApi({ ...options, storage });
  const client = earlier.clientFor();
  for (const name of names) {
    await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: name } });
  }
  earlier.kubeApi.stop();
  await storage.compact(storage.currentRevision);
  return startTestApi({ ...options, storage });
}
