import type { ProxyBackend } from './backend.ts';
import { createNftBackend, type NftBackendOptions } from './nft-backend.ts';
import type { BackendOptions } from './service-proxy.ts';
import { anyNodeAddress, type Forward } from './table.ts';
import { createUserspaceBackend } from './userspace-backend.ts';

/**
 * The backend of a node with rules of the kernel. Addresses in 127/8 stay with the userspace proxy: the kernel routes no packet of another
 * address there, and the API server is one such endpoint.
 */
export const createNodeBackend =
  (node: Pick<NftBackendOptions, 'table' | 'nodeName'>) =>
  (options: BackendOptions): ProxyBackend => {
    const kernel = createNftBackend({ ...options, ...node });
    const userspace = createUserspaceBackend(options);
    return {
      abilities: kernel.abilities,
      async set(service, forwards) {
        const local = forwards.filter(isOfLoopback);
        await Promise.all([
          userspace.set(service, local),
          kernel.set(
            service,
            forwards.filter((forward) => !isOfLoopback(forward)),
          ),
        ]);
      },
      get serving() {
        return [...kernel.serving, ...userspace.serving];
      },
      async stop() {
        await userspace.stop();
        await kernel.stop();
      },
    };
  };

const isLoopback = (address: string): boolean => address.startsWith('127.');

/** Only TCP to one address can pass through this process. */
const isOfLoopback = ({ address, protocol, endpoints }: Forward): boolean =>
  protocol === 'TCP' && address !== anyNodeAddress && (isLoopback(address) || endpoints.some((endpoint) => isLoopback(endpoint.address)));
