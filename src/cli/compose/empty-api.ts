import { builtInKinds } from '../../api/kinds.ts';
import { loadSchemas } from '../../api/schemas.ts';
import { createKubeApi } from '../../apiserver/create-kube-api.ts';
import { createLocalClient } from '../../apiserver/local-client.ts';
import { apiServerUser } from '../../apiserver/user.ts';
import { createLog } from '../../base/log.ts';
import type { Client } from '../../client/client.ts';
import { openMemoryStorage } from '../../storage/memory/storage.ts';

/** An API of its own in memory with nothing in it, for trying manifests where no cluster is. */
export async function openEmptyApi(): Promise<{ readonly client: Client; stop(): Promise<void> }> {
  const storage = await openMemoryStorage();
  const kubeApi = await createKubeApi({
    storage,
    kinds: builtInKinds,
    schemas: loadSchemas(builtInKinds.map((kind) => kind.schemas)),
    serviceCidr: '10.96.0.0/12',
    log: createLog({ level: 'silent' }),
  });
  return {
    client: createLocalClient({ kubeApi, user: apiServerUser, userAgent: 'midship-validate' }),
    async stop() {
      kubeApi.stop();
      await storage.close();
    },
  };
}
