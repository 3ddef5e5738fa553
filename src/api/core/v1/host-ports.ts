import type { Container, PodSpec } from './pod.ts';

export interface HostPort {
  readonly protocol: string;
  /** `0.0.0.0` for all addresses. */
  readonly ip: string;
  readonly port: number;
}

/** A host port on this address is taken on all of them. */
export const anyAddress = '0.0.0.0';

const noPorts: readonly HostPort[] = [];

/** Host ports of containers and sidecars, which a pod keeps as long as it runs. */
export function hostPortsOf(spec: PodSpec): readonly HostPort[] {
  let ports: HostPort[] | undefined;
  const read = (container: Container): void => {
    for (const { hostPort, protocol, hostIP } of container.ports ?? []) {
      if (hostPort === undefined || hostPort <= 0) continue;
      ports ??= [];
      ports.push({ protocol: protocol ?? 'TCP', ip: hostIP === undefined || hostIP === '' ? anyAddress : hostIP, port: hostPort });
    }
  };
  spec.containers.forEach(read);
  for (const container of spec.initContainers ?? []) {
    if ((container as { readonly restartPolicy?: string }).restartPolicy === 'Always') read(container);
  }
  return ports ?? noPorts;
}

/** Two pods with these ports cannot be on one node. */
export function sharesPort(some: readonly HostPort[], others: readonly HostPort[]): boolean {
  return some.some((one) => others.some((other) => isSamePort(one, other)));
}

/** Both cannot be had on one node. */
export function isSamePort(one: HostPort, other: HostPort): boolean {
  if (one.port !== other.port || one.protocol !== other.protocol) return false;
  return one.ip === other.ip || one.ip === anyAddress || other.ip === anyAddress;
}
