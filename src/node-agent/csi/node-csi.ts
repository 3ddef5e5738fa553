import { join } from 'node:path';
import type { Component } from '../../base/component.ts';
import { createCsiDrivers } from './csi-drivers.ts';
import { createCsiNodeObjects } from './csi-node.ts';
import { type CsiVolumes, type CsiVolumesOptions, createCsiVolumes } from './csi-volumes.ts';

/** The node part of the Container Storage Interface: the drivers of this machine, and the volumes that they mount for its pods. */
export interface NodeCsi extends Component {
  readonly volumes: CsiVolumes;
  /** The Node is in the API. */
  registered(): Promise<void>;
}

export interface NodeCsiOptions extends Omit<CsiVolumesOptions, 'drivers'> {
  /** Pods that waited for a driver may have their volumes now. */
  readonly onRegistered: () => void;
}

export function createNodeCsi({ onRegistered, ...options }: NodeCsiOptions): NodeCsi {
  const { client, nodeName, directory, clock, log } = options;
  const objects = createCsiNodeObjects({ client, nodeName });
  const drivers = createCsiDrivers({ directory: join(directory, 'plugins_registry'), objects, onRegistered, clock, log });
  const volumes = createCsiVolumes({ ...options, drivers });
  return {
    name: 'csi',
    volumes,
    async start(startOptions) {
      await volumes.load();
      await drivers.start(startOptions);
    },
    stop: () => drivers.stop(),
    async registered() {
      await objects.create();
      await volumes.unstageUnused();
    },
  };
}
