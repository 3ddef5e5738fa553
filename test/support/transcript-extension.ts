import { apiServices } from '../../src/api/apiregistration/v1/api-service.ts';
import { isConditionTrue } from '../../src/machinery/conditions.ts';
import type { TestApiServer } from './api-server.ts';
import { type ExtensionServer, startExtensionServer } from './extension-server.ts';
import type { Exchange, JsonObject, Transcript } from './transcript.ts';
import type { HiddenAct } from './transcript-hidden.ts';
import { until } from './until.ts';

/**
 * The server of `metrics.k8s.io` that ran in the recorded cluster: a program behind a Service, which says what it was recorded to say.
 * That the API server finds it, trusts it and passes requests on to it is what is replayed.
 */
export interface RecordedExtension {
  /** Before an exchange: the Service, and, once the recorded server was available, where it leads. */
  prepare(exchange: Exchange): Promise<void>;
  stop(): Promise<void>;
}

const groupVersion = '/apis/metrics.k8s.io/v1beta1';
const name = 'v1beta1.metrics.k8s.io';
const address = '127.64.41.1';
const resources: JsonObject = {
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion: 'metrics.k8s.io/v1beta1',
  resources: [
    { name: 'nodes', singularName: '', namespaced: false, kind: 'NodeMetrics', verbs: ['get', 'list'] },
    { name: 'pods', singularName: '', namespaced: true, kind: 'PodMetrics', verbs: ['get', 'list'] },
  ],
};

const service: JsonObject = {
  kind: 'Service',
  apiVersion: 'v1',
  metadata: { name: 'ms', namespace: 'raw2' },
  spec: { type: 'ClusterIP', clusterIP: '10.96.9.9', ports: [{ name: '', port: 443, protocol: 'TCP' }] },
};
const registration: JsonObject = {
  kind: 'APIService',
  apiVersion: 'apiregistration.k8s.io/v1',
  metadata: { name },
  spec: {
    group: 'metrics.k8s.io',
    version: 'v1beta1',
    groupPriorityMinimum: 100,
    versionPriority: 100,
    insecureSkipTLSVerify: true,
    service: { namespace: 'raw2', name: 'ms', port: 443 },
  },
};
const slice = (port: number): JsonObject => ({
  kind: 'EndpointSlice',
  apiVersion: 'discovery.k8s.io/v1',
  metadata: { name: 'ms', namespace: 'raw2', labels: { 'kubernetes.io/service-name': 'ms' } },
  addressType: 'IPv4',
  endpoints: [{ addresses: [address], conditions: { ready: true } }],
  ports: [{ name: '', port, protocol: 'TCP' }],
});

const isServed = ({ path, recorded }: Exchange): boolean => path.startsWith(groupVersion) && recorded.status === 200;
/** It takes an available server to answer so. */
const showsAvailable = (exchange: Exchange): boolean => isServed(exchange) || exchange.path.endsWith(`/apiservices/${name}`);

/** Undefined for conversations in which there was none. */
export async function startRecordedExtension(
  { exchanges }: Transcript,
  cluster: TestApiServer,
  act: (act: HiddenAct) => Promise<void>,
): Promise<RecordedExtension | undefined> {
  if (!exchanges.some(isServed)) return undefined;
  const answers = new Map([
    [groupVersion, resources],
    ...exchanges.filter(isServed).map(({ path, recorded }) => [path, recorded.body] as const),
  ]);
  const server: ExtensionServer = await startExtensionServer({
    address,
    hosts: ['ms.raw2.svc'],
    frontProxyCa: cluster.frontProxyCa,
    answer({ url }, response) {
      const body = answers.get(url);
      if (body === undefined) return false;
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      return true;
    },
  });
  const isRegistered = exchanges.some(({ method, path }) => method === 'POST' && path.endsWith('/apiservices'));
  let isThere = false;
  let leads = false;
  return {
    async prepare(exchange) {
      if (!isThere) {
        await act({ put: service });
        if (!isRegistered) await act({ put: registration });
      }
      isThere = true;
      if (leads || !showsAvailable(exchange)) return;
      leads = true;
      await act({ put: slice(server.port) });
      await until(async () => isConditionTrue((await cluster.client.get(apiServices, { name })).status?.conditions, 'Available'), {
        what: `${name} is available`,
        timeoutMs: 10_000,
      });
    },
    stop: () => server.stop(),
  };
}
