import { type APIService, apiServices, localAvailable } from '../../api/apiregistration/v1/api-service.ts';
import { services } from '../../api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../../api/well-known.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import { readAnswer } from '../../base/http-answer.ts';
import type { Log } from '../../base/log.ts';
import type { Metrics } from '../../base/metrics.ts';
import { networkErrorText } from '../../base/network-error.ts';
import type { KeyPair } from '../../base/pki/key-pair.ts';
import { escapeLabel, familyHead } from '../../base/series.ts';
import type { Client } from '../../client/client.ts';
import type { Informer, InformerSet } from '../../client/informer.ts';
import { conditionOf, isConditionTrue, setCondition } from '../../machinery/conditions.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import type { UserInfo } from '../user.ts';
import { type ProxiedRequest, proxyRequest, sendUnavailable } from './proxy.ts';
import { parseOpenApiIndex, parseResourceList, type RemoteResource } from './remote-discovery.ts';
import { endpointOf } from './remote-endpoint.ts';
import { createRemoteTransport, type RemoteTarget, type RemoteTransport } from './transport.ts';

/**
 * The part of the API that other servers serve: group versions whose APIService names a Service. Says in their status whether they
 * answer, what they serve for discovery, and passes requests on to them.
 */
export interface Aggregator extends Component {
  /** Rises when what `groupVersions` gives has changed. */
  readonly revision: number;
  /** Every group version with an APIService, those of this server included. */
  groupVersions(): readonly AggregatedGroupVersion[];
  isRemote(group: string, version: string): boolean;
  /** Documents of OpenAPI version 3 that other servers have, by path (`apis/G/V`): the address below `/openapi/v3/` with its hash. */
  openApi(): ReadonlyMap<string, string>;
  /** Writes what is known of other servers to the status of APIServices, while it runs; needed with `reportsWhileLed` alone. */
  readonly conditions: Component;
  /** Answers a request for a group version for which `isRemote` holds. */
  proxy(group: string, version: string, request: ProxiedRequest): Promise<void>;
  /**
   * Asks this place for all group versions of the Service `namespace/name`, whatever its endpoints are. Each of several servers has such a
   * part of its own, and the endpoints name that of one.
   */
  serveHere(serviceKey: string, place: { readonly address: string; readonly port: number }): void;
}

export interface AggregatedGroupVersion {
  readonly group: string;
  readonly version: string;
  readonly groupPriority: number;
  readonly versionPriority: number;
  /** Served elsewhere. */
  readonly remote: boolean;
  readonly available: boolean;
  /** Last known resources of the server; undefined before its first answer, and for groups that this process serves. */
  readonly resources: readonly RemoteResource[] | undefined;
}

export interface AggregatorOptions {
  /**
   * Client of the API server itself: it reads APIServices, Services and EndpointSlices, and writes
   * `apiservices/status`.
   */
  readonly client: Client;
  readonly informers: InformerSet;
  /** By it extension servers know that it is this server that says who asks. */
  readonly frontProxy: KeyPair;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
  /** [0, 1) */
  readonly random: () => number;
  /** Several servers have the same APIServices: the one that runs `conditions` writes their status. Absent: this one, always. */
  readonly reportsWhileLed?: boolean;
}

/** Between two looks at a server that answers. */
const checkIntervalMs = 30_000;
const maxRetryMs = 30_000;
const firstRetryMs = 500;
const conflictRetryMs = 50;
/** For one look. */
const checkTimeoutMs = 5_000;
/** Endpoints asked before a server counts as not available. */
const maxAttempts = 3;
const maxDiscoveryBytes = 4 * 1024 * 1024;
const byService = 'aggregator-service';

/** Has all rights with every extension server, as upstream's. */
const aggregatorUser: UserInfo = { name: 'system:kube-aggregator', groups: ['system:masters'] };

export function createAggregator(options: AggregatorOptions): Aggregator {
  return new ApiAggregator(options);
}

/** State of a remote group version besides its APIService. */
interface Known {
  resources: readonly RemoteResource[] | undefined;
  /** Address of its OpenAPI document; undefined when it has none. */
  openApiUrl: string | undefined;
  /** UID of the APIService that `resources` and `openApiUrl` belong to. */
  uid: string | undefined;
  /** Looks that found it unavailable, by reason. */
  readonly failures: Map<string, number>;
  retryMs: number;
  running: boolean;
  /** Something has changed while it was being looked at. */
  again: boolean;
  cancel: () => void;
}

class ApiAggregator implements Aggregator {
  readonly name = 'aggregator';
  readonly #options: AggregatorOptions;
  readonly #transport: RemoteTransport;
  readonly #apiServices: Informer<APIService>;
  readonly #services: ReturnType<typeof serviceInformer>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #known = new Map<string, Known>();
  readonly #here = new Map<string, { readonly address: string; readonly port: number }>();
  readonly #unsubscribe: (() => void)[] = [];
  readonly #stopping = new AbortController();
  #revision = 0;
  #reports: boolean;

  readonly conditions: Component = {
    name: 'conditions of APIServices',
    start: async () => {
      this.#reports = true;
      for (const { metadata } of this.#apiServices.list()) this.#schedule(metadata.name, 0);
    },
    stop: async () => {
      this.#reports = false;
    },
  };

  #list: { readonly revision: number; readonly groupVersions: readonly AggregatedGroupVersion[] } | undefined;

  constructor(options: AggregatorOptions) {
    this.#options = options;
    this.#reports = options.reportsWhileLed !== true;
    const { informers, frontProxy, clock, metrics } = options;
    this.#transport = createRemoteTransport({ frontProxy, clock });
    this.#apiServices = informers.get(apiServices);
    this.#services = serviceInformer(informers);
    this.#slices = informers.get(endpointSlices);
    this.#slices.addIndex(byService, serviceKeysOf);
    metrics.addCollector(() => this.#metricLines());
  }

  get revision(): number {
    return this.#revision;
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    await this.#options.informers.waitForSync({ signal });
    this.#unsubscribe.push(
      this.#apiServices.addHandler(({ before, after }) => {
        const name = (after ?? before)?.metadata.name;
        if (name === undefined) return;
        this.#revision += 1;
        // Written by the look that is being taken, mostly.
        if (before?.spec !== after?.spec || before === undefined || after === undefined) this.#schedule(name, 0);
      }),
      this.#services.addHandler(({ before, after }) => this.#serviceChanged(after ?? before)),
      this.#slices.addHandler(({ before, after }) => {
        for (const slice of [before, after]) if (slice !== undefined) for (const key of serviceKeysOf(slice)) this.#checkThoseOf(key);
      }),
    );
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the server is shutting down'));
    for (const remove of this.#unsubscribe.splice(0)) remove();
    for (const { cancel } of this.#known.values()) cancel();
    this.#known.clear();
    this.#transport.close();
  }

  groupVersions(): readonly AggregatedGroupVersion[] {
    if (this.#list?.revision === this.#revision) return this.#list.groupVersions;
    const groupVersions = [...this.#apiServices.list()].map((apiService) => {
      const { group = '', version = '', groupPriorityMinimum = 0, versionPriority = 0 } = apiService.spec ?? {};
      return {
        group,
        version,
        groupPriority: groupPriorityMinimum,
        versionPriority,
        remote: isRemote(apiService),
        available: isAvailable(apiService),
        resources: this.#known.get(apiService.metadata.name)?.resources,
      };
    });
    this.#list = { revision: this.#revision, groupVersions };
    return groupVersions;
  }

  isRemote(group: string, version: string): boolean {
    const apiService = this.#find(group, version);
    return apiService !== undefined && isRemote(apiService);
  }

  openApi(): ReadonlyMap<string, string> {
    const documents = this.groupVersions().flatMap(({ group, version, remote, available }) => {
      const url = this.#known.get(`${version}.${group}`)?.openApiUrl;
      return remote && available && url !== undefined ? [[`apis/${group}/${version}`, url] as const] : [];
    });
    return new Map(documents);
  }

  async proxy(group: string, version: string, request: ProxiedRequest): Promise<void> {
    const apiService = this.#find(group, version);
    const endpoint = apiService !== undefined && isAvailable(apiService) ? this.#endpointOf(apiService) : undefined;
    if (apiService === undefined || endpoint?.type !== 'endpoint') sendUnavailable(request.response, 'service unavailable');
    else await proxyRequest(request, (sent) => this.#transport.send({ apiService, endpoint }, sent));
  }

  serveHere(serviceKey: string, place: { readonly address: string; readonly port: number }): void {
    this.#here.set(serviceKey, place);
    this.#checkThoseOf(serviceKey);
  }

  *#metricLines(): Iterable<string> {
    yield familyHead('aggregator_unavailable_apiservice', '1 while an APIService is unavailable.', 'gauge');
    for (const apiService of this.#apiServices.list()) {
      const { name } = apiService.metadata;
      yield `aggregator_unavailable_apiservice{name="${escapeLabel(name)}"} ${isAvailable(apiService) ? 0 : 1}\n`;
    }
    yield familyHead('aggregator_unavailable_apiservice_total', 'Looks at an APIService that found it unavailable, by reason.', 'counter');
    for (const [name, { failures }] of this.#known) {
      for (const [reason, count] of failures) {
        yield `aggregator_unavailable_apiservice_total{name="${escapeLabel(name)}",reason="${reason}"} ${count}\n`;
      }
    }
  }

  #find(group: string, version: string): APIService | undefined {
    return this.#apiServices.getByKey(`${version}.${group}`);
  }

  #endpointOf(apiService: APIService): ReturnType<typeof endpointOf> {
    const { namespace = '', name = '' } = apiService.spec?.service ?? {};
    const here = this.#here.get(`${namespace}/${name}`);
    if (here !== undefined) return { type: 'endpoint', ...here, serverName: `${name}.${namespace}.svc` };
    return endpointOf(apiService, {
      service: (key) => this.#services.getByKey(key),
      slices: (key) => this.#slices.byIndex(byService, key),
      random: this.#options.random,
    });
  }

  #serviceChanged(service: { readonly metadata: { readonly namespace?: string; readonly name: string } } | undefined): void {
    if (service !== undefined) this.#checkThoseOf(`${service.metadata.namespace}/${service.metadata.name}`);
  }

  /** Services change all the time, and few of them are of interest here. */
  #checkThoseOf(serviceKey: string): void {
    for (const name of this.#known.keys()) {
      const { namespace, name: service } = this.#apiServices.getByKey(name)?.spec?.service ?? {};
      if (`${namespace}/${service}` === serviceKey) this.#schedule(name, 0);
    }
  }

  #schedule(name: string, delayMs: number): void {
    let known = this.#known.get(name);
    if (known === undefined) {
      known = {
        failures: new Map(),
        resources: undefined,
        openApiUrl: undefined,
        uid: undefined,
        retryMs: firstRetryMs,
        running: false,
        again: false,
        cancel: () => undefined,
      };
      this.#known.set(name, known);
    }
    if (known.running) {
      known.again ||= delayMs === 0;
      return;
    }
    known.cancel();
    known.cancel = this.#options.clock.after(delayMs, () => void this.#look(name, known));
  }

  async #look(name: string, known: Known): Promise<void> {
    if (known.running || this.#stopping.signal.aborted) return;
    known.running = true;
    known.again = false;
    let nextMs: number | undefined;
    try {
      nextMs = await this.#check(name, known);
    } catch (err) {
      nextMs = isConflict(err) ? conflictRetryMs : this.#backOff(known);
      if (!isConflict(err) && !this.#stopping.signal.aborted)
        this.#options.log.warn({ err, apiService: name }, 'Could not write status of APIService');
    } finally {
      known.running = false;
    }
    if (this.#stopping.signal.aborted) return;
    if (known.again) nextMs = 0;
    if (nextMs === undefined) this.#known.delete(name);
    else this.#schedule(name, nextMs);
  }

  /** Looks once; the time to the next look, or undefined when there is nothing to look at any more. */
  async #check(name: string, known: Known): Promise<number | undefined> {
    const apiService = this.#apiServices.getByKey(name);
    if (apiService === undefined) return undefined;
    if (!isRemote(apiService)) {
      await this.#report(apiService, localAvailable);
      return undefined;
    }
    if (known.uid !== apiService.metadata.uid) {
      known.resources = undefined;
      known.openApiUrl = undefined;
    }
    known.uid = apiService.metadata.uid;
    const found = await this.#ask(apiService);
    if ('reason' in found) {
      known.failures.set(found.reason, (known.failures.get(found.reason) ?? 0) + 1);
      await this.#report(apiService, { type: 'Available', status: 'False', ...found });
      return this.#backOff(known);
    }
    known.retryMs = firstRetryMs;
    if (JSON.stringify(found.resources) !== JSON.stringify(known.resources) || found.openApiUrl !== known.openApiUrl) {
      known.resources = found.resources;
      known.openApiUrl = found.openApiUrl;
      this.#revision += 1;
    }
    await this.#report(apiService, { type: 'Available', status: 'True', reason: 'Passed', message: 'all checks passed' });
    return checkIntervalMs;
  }

  #backOff(known: Known): number {
    const delay = known.retryMs;
    known.retryMs = Math.min(delay * 2, maxRetryMs);
    return delay;
  }

  /** Result of a discovery: the resources, or the reason why there are none. */
  async #ask(apiService: APIService): Promise<Found | { readonly reason: string; readonly message: string }> {
    const { group = '', version = '' } = apiService.spec ?? {};
    const path = `/apis/${group}/${version}`;
    let message = '';
    for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
      const endpoint = this.#endpointOf(apiService);
      if (endpoint.type === 'problem') return { reason: endpoint.reason, message: endpoint.message };
      const url = `https://${endpoint.address}:${endpoint.port}${path}`;
      try {
        const { code, text } = await this.#read({ apiService, endpoint }, path);
        if (code >= 200 && code < 300) {
          const groupVersion = apiVersionOf({ group, version });
          const openApiUrl = await this.#openApiUrlOf({ apiService, endpoint }, `apis/${groupVersion}`);
          return { resources: parseResourceList(text, groupVersion), openApiUrl };
        }
        message = `failing or missing response from ${url}: bad status from ${url}: ${code}`;
      } catch (err) {
        this.#stopping.signal.throwIfAborted();
        message = `failing or missing response from ${url}: Get ${JSON.stringify(url)}: ${err instanceof Error ? networkErrorText(err) : String(err)}`;
      }
    }
    return { reason: 'FailedDiscoveryCheck', message };
  }

  /** Many have no document, and are none the worse for it. */
  async #openApiUrlOf(target: RemoteTarget, path: string): Promise<string | undefined> {
    try {
      const { code, text } = await this.#read(target, '/openapi/v3');
      return code === 200 ? parseOpenApiIndex(text, path) : undefined;
    } catch (err) {
      this.#stopping.signal.throwIfAborted();
      this.#options.log.debug({ err, apiService: target.apiService.metadata.name }, 'Could not read OpenAPI index of extension server');
      return undefined;
    }
  }

  async #read(target: RemoteTarget, path: string): Promise<{ readonly code: number; readonly text: string }> {
    const { message: answer, upgraded } = await this.#transport.send(target, {
      method: 'GET',
      path,
      user: aggregatorUser,
      headers: { accept: 'application/json' },
      timeoutMs: checkTimeoutMs,
      signal: this.#stopping.signal,
    });
    upgraded?.socket.destroy();
    const { statusCode: code = 0 } = answer;
    if (code >= 200 && code < 300)
      return {
        code,
        text: await readAnswer(answer, { maxBytes: maxDiscoveryBytes, time: { clock: this.#options.clock, maxMs: checkTimeoutMs } }),
      };
    answer.destroy();
    return { code, text: '' };
  }

  async #report(apiService: APIService, next: AvailableCondition): Promise<void> {
    const { client, clock, log } = this.#options;
    // A group of this server itself is available at once, and its condition must not wait for a leader.
    if (!this.#reports && isRemote(apiService)) return;
    const before = apiService.status?.conditions;
    const conditions = setCondition(before, next, timestampOf(clock.now()));
    if (conditions === before) return;
    const { name, resourceVersion } = apiService.metadata;
    if (conditionOf(before, 'Available')?.status !== next.status) {
      log.info({ apiService: name, status: next.status, reason: next.reason }, 'APIService changed its availability');
    }
    try {
      const body = { metadata: { resourceVersion }, status: { conditions } };
      await client.patch(apiServices, { name }, { type: 'merge', body }, { subresource: 'status', signal: this.#stopping.signal });
    } catch (err) {
      // Gone meanwhile: nothing is left to be said of it.
      if (!isNotFound(err)) throw err;
    }
  }
}

interface Found {
  readonly resources: readonly RemoteResource[] | undefined;
  readonly openApiUrl: string | undefined;
}

type AvailableCondition = Readonly<Record<'type' | 'status' | 'reason' | 'message', string>>;

const serviceInformer = (informers: InformerSet) => informers.get(services);

const isRemote = ({ spec }: APIService): boolean => (spec?.service ?? undefined) !== undefined;
const isAvailable = ({ status }: APIService): boolean => isConditionTrue(status?.conditions, 'Available');

function serviceKeysOf({ metadata }: EndpointSlice): readonly string[] {
  const name = metadata.labels?.[labels.serviceName];
  return name === undefined ? [] : [`${metadata.namespace}/${name}`];
}
