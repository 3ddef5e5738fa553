import type { Node } from '../../api/core/v1/node.ts';
import type { Service } from '../../api/core/v1/service.ts';
import { parseRange } from '../../machinery/addresses.ts';
import {
  type CloudProvider,
  type Instance,
  type LoadBalancerAddress,
  LoadBalancerRefused,
  type NodeAddress,
  type Route,
} from '../cloud-provider.ts';
import { CloudAnswerError, type CloudRequests, createCloudRequests, type RemoteCloud } from './cloud-requests.ts';

/** Entries of one list of an answer; more is an error of the provider. */
const maxEntries = 5_000;
const maxLoadBalancerAddresses = 64;

/**
 * A provider in a process of its own, which answers by the contract of docs/reference/cloud-provider.md. Every answer is checked: the
 * process may be anybody's.
 */
export function createRemoteProvider(cloud: RemoteCloud, requests: CloudRequests = createCloudRequests(cloud)): CloudProvider {
  return {
    name: 'remote',
    instances: {
      async find(node, signal) {
        try {
          const answer = await requests.post('instances/find', { node: nodeText(node) }, signal);
          // A provider without machines takes every Node as it is.
          return answer === undefined ? { providerID: `none://${node.metadata.name}`, isShutDown: false } : instanceIn(answer);
        } catch (err) {
          if (err instanceof CloudAnswerError && err.code === 404) return undefined;
          throw err;
        }
      },
    },
    loadBalancers: {
      async ensure(service, nodes, signal) {
        const body = { service: serviceText(service), nodes: nodes.map(nodeText) };
        const answer = await requests.post('load-balancers/ensure', body, signal).catch(passRefusal);
        if (answer === undefined) throw new LoadBalancerRefused('the cloud provider makes no load balancers');
        return addressesIn(answer);
      },
      async remove(service, signal) {
        await requests.post('load-balancers/remove', { service: serviceText(service) }, signal).catch(ignoreAbsent);
      },
    },
    routes: {
      async list(signal) {
        const answer = await requests.post('routes/list', {}, signal);
        return answer === undefined ? undefined : listIn(answer, 'routes', maxEntries).map(routeIn);
      },
      create: async (route, signal) => void (await requests.post('routes/create', { route }, signal)),
      remove: async (route, signal) => void (await requests.post('routes/remove', { route }, signal).catch(ignoreAbsent)),
    },
  };
}

const nodeText = ({ metadata, spec, status }: Node): object => ({
  name: metadata.name,
  providerID: spec?.providerID ?? '',
  labels: metadata.labels ?? {},
  addresses: status?.addresses ?? [],
});

const serviceText = ({ metadata, spec, status }: Service): object => ({
  namespace: metadata.namespace,
  name: metadata.name,
  uid: metadata.uid,
  annotations: metadata.annotations ?? {},
  spec,
  status: { loadBalancer: status?.loadBalancer ?? {} },
});

/** 409 and 422: as things are, another try would get the same answer. */
function passRefusal(err: unknown): never {
  throw err instanceof CloudAnswerError && (err.code === 409 || err.code === 422) ? new LoadBalancerRefused(err.message) : err;
}

function ignoreAbsent(err: unknown): undefined {
  if (err instanceof CloudAnswerError && err.code === 404) return undefined;
  throw err;
}

type Answer = Readonly<Record<string, unknown>>;

function instanceIn(answer: Answer): Instance {
  const providerID = textIn(answer, 'providerID');
  if (providerID === undefined || !/^[a-z0-9][a-z0-9.-]*:\/\/[^\s]+$/i.test(providerID)) throw wrong('providerID is not NAME://ID');
  const { isShutDown = false, addresses, labels } = answer;
  if (typeof isShutDown !== 'boolean') throw wrong('isShutDown is not true or false');
  const [instanceType, zone, region] = [textIn(answer, 'instanceType'), textIn(answer, 'zone'), textIn(answer, 'region')];
  return {
    providerID,
    isShutDown,
    ...(addresses === undefined ? {} : { addresses: listIn(answer, 'addresses', maxLoadBalancerAddresses).map(nodeAddressIn) }),
    ...(instanceType === undefined ? {} : { instanceType }),
    ...(zone === undefined ? {} : { zone }),
    ...(region === undefined ? {} : { region }),
    ...(labels === undefined ? {} : { labels: labelsIn(labels) }),
  };
}

const addressTypes: ReadonlySet<string> = new Set(['InternalIP', 'ExternalIP', 'Hostname', 'InternalDNS', 'ExternalDNS']);

function nodeAddressIn(entry: Answer): NodeAddress {
  const [type = '', address = ''] = [textIn(entry, 'type'), textIn(entry, 'address')];
  if (!addressTypes.has(type) || address === '') throw wrong('an entry of addresses is not {type, address}');
  return { type, address };
}

function labelsIn(labels: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(typeof labels === 'object' && labels !== null ? labels : { labels });
  if (entries.length > maxLoadBalancerAddresses || entries.some(([, value]) => typeof value !== 'string'))
    throw wrong('labels is not a map of texts');
  return Object.fromEntries(entries) as Readonly<Record<string, string>>;
}

function addressesIn(answer: Answer): readonly LoadBalancerAddress[] {
  return listIn(answer, 'ingress', maxLoadBalancerAddresses).map((entry) => {
    const [ip, hostname, ipMode] = [textIn(entry, 'ip'), textIn(entry, 'hostname'), textIn(entry, 'ipMode') ?? 'VIP'];
    if (ip === undefined && hostname === undefined) throw wrong('an entry of ingress has neither ip nor hostname');
    if (ipMode !== 'VIP' && ipMode !== 'Proxy') throw wrong('ipMode is not VIP or Proxy');
    return { ...(ip === undefined ? {} : { ip, ipMode }), ...(hostname === undefined ? {} : { hostname }) };
  });
}

function routeIn(entry: Answer): Route {
  const [nodeName = '', destination = ''] = [textIn(entry, 'nodeName'), textIn(entry, 'destination')];
  try {
    parseRange(destination);
  } catch (cause) {
    throw new Error('the answer of the cloud provider: destination of a route is no range', { cause });
  }
  return { nodeName, destination };
}

function listIn(answer: Answer, name: string, max: number): readonly Answer[] {
  const list = answer[name];
  if (!Array.isArray(list) || list.some((entry) => typeof entry !== 'object' || entry === null))
    throw wrong(`${name} is not a list of objects`);
  if (list.length > max) throw wrong(`${name} has more than ${max} entries`);
  return list as readonly Answer[];
}

function textIn(answer: Answer, name: string): string | undefined {
  const value = answer[name];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') throw wrong(`${name} is not a text`);
  return value;
}

const wrong = (what: string): Error => new Error(`the answer of the cloud provider: ${what}`);
