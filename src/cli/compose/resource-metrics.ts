import { frontProxyName } from '../../apiserver/bootstrap.ts';
import { createKubeletClient } from '../../apiserver/http/kubelet-client.ts';
import { createUsageCollector } from '../../apiserver/resource-metrics/collector.ts';
import { createMetricsApi } from '../../apiserver/resource-metrics/metrics-api.ts';
import { metricsServerName, metricsServiceKey, registerMetricsApi } from '../../apiserver/resource-metrics/registration.ts';
import type { ControlPlane } from './control-plane.ts';
import { type Running, type Surroundings, startPart } from './part.ts';

export interface ResourceMetricsOptions extends Surroundings {
  readonly controlPlane: Pick<ControlPlane, 'aggregator' | 'informers' | 'kubelet' | 'network' | 'pki' | 'frontProxy' | 'ownClient'>;
}

/**
 * Serves `metrics.k8s.io` from what the kubelets say: a server of its own, as elsewhere, to which the API passes requests on. Each of
 * several API servers asks its own.
 */
export function startResourceMetrics(options: ResourceMetricsOptions): Promise<Running> {
  const { clock, log, controlPlane } = options;
  const { aggregator, informers, kubelet, network, pki, frontProxy, ownClient } = controlPlane;
  return startPart(options, async ({ start }) => {
    const collector = createUsageCollector({
      informers,
      kubelet: createKubeletClient(kubelet),
      clock,
      log: log.child({ component: 'resource-metrics' }),
    });
    const address = network.nodeAddress(0);
    const metricsApi = createMetricsApi({
      collector,
      informers,
      address,
      tls: await pki.serverCertificate({ name: 'metrics', commonName: 'metrics', hosts: [metricsServerName] }),
      frontProxyCa: frontProxy.caCertificate,
      frontProxyName,
      clock,
    });
    await start([collector, metricsApi]);
    aggregator.serveHere(metricsServiceKey, { address, port: metricsApi.port });
    await registerMetricsApi({ client: ownClient, address, port: metricsApi.port, caCertificate: pki.caCertificate });
    return {};
  });
}
