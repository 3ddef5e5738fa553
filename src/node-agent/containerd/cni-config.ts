import { join } from 'node:path';
import { writeDurableFile } from '../../base/durable-file.ts';

export interface PodNetwork {
  /** Addresses of this node's pods alone, such as `10.42.3.0/24`. */
  readonly podCidr: string;
  /** Names the network towards the plugins, which keep state by name: unlike any other on the machine. */
  readonly name: string;
  /** Packets that leave for another machine get this machine's address; false where rules of the kernel see to that. */
  readonly masquerade: boolean;
  /** The largest packet that pods send, in bytes; absent: that of the kernel. */
  readonly mtu?: number;
  /** Holds the addresses that are in use; empty after a reboot. */
  readonly addressDirectory: string;
}

/** Its name in the directory of the runtime, which takes the first one by name. */
export const podNetworkFile = '10-midship.conflist';

/**
 * Writes the configuration of the pods' network: a point-to-point link for each pod, so that no bridge filters its packets. Adds ports of
 * the node for `hostPort`. The runtime notices the file by itself.
 *
 * @see https://www.cni.dev/docs/spec/
 */
export async function writePodNetwork(
  cniDirectory: string,
  { podCidr, name, masquerade, mtu, addressDirectory }: PodNetwork,
): Promise<void> {
  const configuration = {
    cniVersion: '1.0.0',
    name,
    plugins: [
      {
        type: 'ptp',
        ipMasq: masquerade,
        ...(mtu === undefined ? {} : { mtu }),
        ipam: { type: 'host-local', dataDir: addressDirectory, ranges: [[{ subnet: podCidr }]], routes: [{ dst: '0.0.0.0/0' }] },
      },
      { type: 'portmap', capabilities: { portMappings: true }, snat: true },
    ],
  };
  await writeDurableFile(join(cniDirectory, podNetworkFile), JSON.stringify(configuration, undefined, 2));
}
