import { annotations } from '../../api/well-known.ts';
import type { CloudSettings } from '../../cloud/cloud-controllers.ts';
import type { Configuration } from '../configuration.ts';
import { kubeletPort } from './node-settings.ts';

/** UDP port of the packets between machines. */
const vxlanPort = 8_472;

/** @param apiPort  the one that the API has */
export function cloudSettingsIn({ cloud = {}, disabled = [], ingress, httpPort }: Configuration, apiPort: number): CloudSettings {
  const ports: readonly (readonly [number | undefined, string])[] = [
    [vxlanPort, 'the network of the pods'],
    [httpPort, 'the page'],
    [ingress?.httpPort, 'Ingresses (--ingress-http-port; --disable ingress frees it)'],
    [ingress?.httpsPort, 'Ingresses (--ingress-https-port; --disable ingress frees it)'],
    [kubeletPort, 'the kubelet API'],
    [apiPort, 'the Kubernetes API'],
  ];
  return {
    ...cloud,
    hasLoadBalancers: !disabled.includes('servicelb'),
    reservedPorts: new Map(ports.flatMap(([port, part]) => (port === undefined || port === 0 ? [] : [[port, part] as const]))),
  };
}

/** The part that machines that join have to know. */
export const cloudAnnotations = ({ cloud = {}, disabled = [] }: Configuration): Readonly<Record<string, string>> => ({
  [annotations.loadBalancerPool]: disabled.includes('servicelb') ? '' : (cloud.pool?.text ?? ''),
  [annotations.cloudProvider]: cloud.remote === undefined ? '' : 'external',
});
