import type { Pod } from '../api/core/v1/pod.ts';
import { podLevelResources, podResources } from '../api/core/v1/pod-resources.ts';
import { qosClassOf } from '../api/core/v1/qos.ts';
import { milliValueOf, wholeValueOf } from '../machinery/quantity.ts';
import type { PodLinux, PodResources, PortMapping } from './container-runtime.ts';
import { isPrivileged } from './container-security.ts';
import { allContainers } from './pod-references.ts';

/** The namespaces, ports of the machine, sysctls and share of the machine that a pod has. */
export function podLinuxOf(pod: Pod): PodLinux {
  const { hostPID, hostIPC, hostUsers, shareProcessNamespace, securityContext } = pod.spec;
  return {
    hostPID: hostPID === true,
    hostIPC: hostIPC === true,
    sharesProcesses: shareProcessNamespace === true,
    ownUsers: hostUsers === false,
    privileged: isPrivileged(pod),
    ports: portsOf(pod),
    sysctls: Object.fromEntries((securityContext?.sysctls ?? []).map(({ name, value }) => [name.replaceAll('/', '.'), value])),
    resources: podResourcesOf(pod),
  };
}

/** On the network of the machine a program opens its port itself. */
function portsOf(pod: Pod): readonly PortMapping[] {
  if (pod.spec.hostNetwork === true) return [];
  return allContainers(pod).flatMap(({ ports = [] }) =>
    ports.flatMap(({ hostPort = 0, hostIP = '', containerPort, protocol = 'TCP' }) =>
      hostPort === 0 ? [] : [{ hostPort, hostIP, containerPort, protocol: protocol as PortMapping['protocol'] }],
    ),
  );
}

/**
 * The share of the machine that a pod has as a whole, as the kubelet counts it. A limit counts when the pod or every
 * container has one.
 *
 * @see Kubernetes documentation, "Pod Quality of Service Classes"
 */
export function podResourcesOf({ spec }: Pod): PodResources {
  const requests = podResources(spec, 'requests', { overhead: true });
  const limits = podResources(spec, 'limits', { overhead: true });
  const whole = podLevelResources(spec)?.limits ?? {};
  const isLimited = (name: 'cpu' | 'memory'): boolean =>
    limits.has(name) && (whole[name] !== undefined || spec.containers.every(({ resources }) => resources?.limits?.[name] !== undefined));
  const [cpuRequest, cpuLimit, memoryLimit] = [requests.get('cpu'), limits.get('cpu'), limits.get('memory')];
  return {
    qosClass: qosClassOf(spec),
    cpuRequestMilli: cpuRequest === undefined ? 0 : milliValueOf(cpuRequest),
    ...(isLimited('cpu') && cpuLimit !== undefined ? { cpuLimitMilli: milliValueOf(cpuLimit) } : {}),
    ...(isLimited('memory') && memoryLimit !== undefined ? { memoryLimitBytes: wholeValueOf(memoryLimit) } : {}),
  };
}
