import { existsSync } from 'node:fs';
import { systemClock } from '../../base/clock.ts';
import { createLog } from '../../base/log.ts';
import type { ListeningAddress } from '../../node-agent/container-runtime.ts';
import { type LeftoverPods, stopLeftoverPods } from '../../node-agent/process/leftover-pods.ts';
import { openProcessHost } from '../../node-agent/process/process-host.ts';
import { endListeners } from '../../node-agent/process/stray-processes.ts';
import { type Configuration, filesOf } from '../configuration.ts';
import { claimPort, isClaimAddress, type Network } from '../data-directory.ts';
import { kubeletPort, maxStopGraceMs } from './node-settings.ts';

/**
 * Ends pods that outlived a crash and listen where the control plane does. Pods share its network, and one of them would keep it from
 * starting. Only with the lock of the store, or when no cluster runs.
 */
export function endSquatters({
  dataDirectory,
  bindAddress,
  apiPort,
  httpAddress,
  httpPort,
}: Pick<Configuration, 'dataDirectory'> & Partial<Configuration>): Promise<readonly ListeningAddress[]> {
  const isReserved = ({ address, port }: ListeningAddress): boolean => {
    const onAll = address === '0.0.0.0' || address === '::';
    if (port === claimPort) return onAll || isClaimAddress(address);
    if (port === kubeletPort) return onAll || /^127\.\d+\.\d+\.1$/.test(address);
    // Another address with the same port is the pod's own.
    if (port === apiPort) return onAll || bindAddress === '0.0.0.0' || address === bindAddress;
    return port === httpPort && (onAll || httpAddress === '0.0.0.0' || address === httpAddress);
  };
  return endListeners(filesOf(dataDirectory).pods, isReserved, systemClock);
}

/** Ends the pods of a cluster that was killed. Only while the cluster does not run. */
export async function endLeftoverPods(dataDirectory: string, { forget }: { readonly forget: boolean }): Promise<LeftoverPods> {
  const host = await openProcessHost({ nodePath: process.execPath, searchPath: process.env.PATH ?? '' });
  const { pods: directory } = filesOf(dataDirectory);
  return stopLeftoverPods({ directory, host, forget, maxGraceMs: maxStopGraceMs, clock: systemClock, log: createLog({ level: 'silent' }) });
}

/** Ends the containers of a cluster that was killed. Only while the cluster does not run. */
export async function endContainers({
  dataDirectory,
  network,
  forget,
}: {
  readonly dataDirectory: string;
  readonly network: Network;
  readonly forget: boolean;
}): Promise<readonly string[]> {
  const { containerd: directory } = filesOf(dataDirectory);
  if (!existsSync(directory)) return [];
  const { endLeftoverContainers } = await import('./container-node.ts');
  const log = createLog({ level: 'silent' });
  const stopped = await endLeftoverContainers({ dataDirectory, network, forget, graceMs: maxStopGraceMs, clock: systemClock, log });
  if (forget) await (await import('../../node-agent/containerd/containerd-service.ts')).removeContainerdState(directory);
  return stopped;
}
