import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JoinToken } from '../../api/join-token.ts';
import { authorityHashOf } from '../../api/join-token-secrets.ts';
import { networkBackends } from '../../api/network/backend.ts';
import { serviceCidrs } from '../../api/networking/v1/service-cidr.ts';
import { annotations } from '../../api/well-known.ts';
import { sleep } from '../../base/clock.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import { createCertificateKeeper } from '../../base/pki/certificate-keeper.ts';
import { createHttpClient, type HttpClient } from '../../client/http-client.ts';
import { createInformerSet } from '../../client/informer-set.ts';
import { isStatusError, isUnauthorized } from '../../machinery/status-error.ts';
import { fetchClusterAuthority, OtherAuthority, ServerUnreachable } from '../../node-agent/join/cluster-authority.ts';
import { JoinError } from '../../node-agent/join/join-error.ts';
import { type NodeCertificates, openNodeCertificates } from '../../node-agent/join/node-certificates.ts';
import { createPodSource } from '../../node-agent/pod-source.ts';
import { createWatchedConfigSource } from '../../node-agent/watched-config-source.ts';
import { createEventQueue } from '../../reconcile/event-recorder.ts';
import { createStepLog } from '../../reconcile/step-log.ts';
import { type Configuration, filesOf, type IngressSettings, type NodeSettings } from '../configuration.ts';
import { claimNetwork } from '../data-directory.ts';
import { explainStartFailure } from '../explain.ts';
import { Failure } from '../failure.ts';
import { checkPort } from './check-port.ts';
import { startIngress, watchedSecrets } from './ingress.ts';
import { createMetricsPaths } from './metrics-paths.ts';
import { kubeletPort } from './node-settings.ts';
import { type KubeletTls, type NodesOptions, startNodes } from './nodes.ts';
import { type PartStart, type Running, type Surroundings, startPart } from './part.ts';
import { openServerList, type ServerList } from './server-list.ts';

/** A machine that joins a cluster. */
export interface AgentConfiguration extends NodeSettings, Pick<Configuration, 'dataDirectory' | 'runtime' | 'pods' | 'settings'> {
  /** `https://HOST:PORT` */
  readonly server: string;
  readonly token: JoinToken;
  /** The address of this machine. */
  readonly nodeAddress: string;
  readonly ingress: IngressSettings | undefined;
  readonly logLevel: string;
}

export interface StartAgentOptions extends Surroundings {
  readonly configuration: AgentConfiguration;
  onStep(name: string, text: string): void;
  /** Called once for a server that does not answer; the agent waits for it. */
  onWaiting(why: string): void;
  /** Something that runs, and that a person has to attend to. */
  onWarning(text: string, details?: readonly string[]): void;
}

const retryMs = 2_000;

/**
 * Joins this machine to a cluster and runs the pods that it assigns.
 *
 * @throws Failure when the cluster refuses the machine, or the machine lacks something
 */
export async function startAgent(options: StartAgentOptions): Promise<Running> {
  try {
    return await startPart(options, (part) => compose(options, part));
  } catch (err) {
    if (err instanceof JoinError) throw new Failure(err.message, { why: err.why, fix: err.fix, cause: err });
    const { server, nodeName, dataDirectory } = options.configuration;
    if (!isStatusError(err)) throw await explainStartFailure(err, { apiPort: undefined, httpPort: undefined, dataDirectory });
    throw new Failure(`${server} does not let this machine run as ${nodeName}`, {
      why: err.message,
      fix: 'See the log of the server, and start the agent again.',
      cause: err,
    });
  }
}

async function compose(options: StartAgentOptions, { start, onClose }: PartStart): Promise<object> {
  const { configuration, clock, log, random, version, signal, onStep } = options;
  const { server, nodeName, nodeAddress, dataDirectory } = configuration;

  // 1. The cluster, and this machine's place in it. A machine that cannot be a node does not become one.
  await checkPort(nodeAddress, kubeletPort);
  const servers = await openServerList({ server, nodeName, path: filesOf(dataDirectory).servers, log });
  const caCertificate = await obtainAuthority(options, servers);
  const clientWith = (credentials: Pick<Parameters<typeof createHttpClient>[0], 'token' | 'clientCertificate'>): HttpClient => {
    const client = createHttpClient({
      server,
      servers: servers.urls,
      caCertificate,
      ...credentials,
      userAgent: `midship-agent/${version}`,
      clock,
    });
    onClose(async () => client.close());
    return client;
  };
  const certificates = await openNodeCertificates({
    directory: filesOf(dataDirectory).agentPki,
    nodeName,
    joiningClient: async () => clientWith({ token: configuration.token.bootstrapToken }),
    clock,
    signal,
  }).catch((err: unknown) => {
    throw isUnauthorized(err) ? refusedToken(server, err) : err;
  });
  const client = clientWith({ clientCertificate: certificates.client });
  const network = await joinNetwork(options, client, onClose);
  onStep('Joined', `${server} as ${nodeName}`);

  // 2. Caches and events; the server lets a machine see its own pods and what they use.
  const metrics = createMetricsPaths();
  const informers = createInformerSet({ client, clock, log });
  const caches = new AbortController();
  informers.start({ signal: caches.signal });
  onClose(async () => caches.abort(new Error('the agent stops')));
  servers.follow(informers);
  const config = createWatchedConfigSource({ client, informers, clock, log, random });
  onClose(async () => config.stop());
  const events = createEventQueue({ client, clock, log, metrics: metrics.controllerManager });
  await start([events]);

  // 3. The node.
  const nodes = await startNodes({
    ...options,
    configuration: nodeConfigurationOf(configuration, network.machines),
    network: network.network,
    kubeletTls: joinedKubeletTls(caCertificate, certificates, client),
    podsOf: (name) => createPodSource(informers, name),
    config,
    informers,
    events,
    steps: createStepLog({ clock, log, metrics: metrics.controllerManager }),
    metrics: metrics.kubelet,
    clientFor: () => client,
  });
  onClose(nodes.stop);
  // Its own watches, since pods and Ingresses stop using a Secret at different times.
  const certificateSecrets = createWatchedConfigSource({ client, informers, clock, log, random });
  onClose(async () => certificateSecrets.stop());
  const ingress = await startIngress({
    ...options,
    settings: configuration.ingress,
    network: network.network,
    nodes: nodes.real,
    informers,
    secrets: watchedSecrets(certificateSecrets, caches.signal, log),
    events,
    metrics: metrics.kubelet,
  });
  onClose(ingress.stop);
  await start([
    createCertificateKeeper({
      authorities: { cluster: { caCertificate, renew: certificates.renew } },
      onTrouble: (message) => log.warn({ problem: message }, 'Found trouble with the certificate authority'),
      clock,
      log,
    }),
  ]);
  onStep('Node', `${nodes.text} at ${nodeAddress}`);
  return {};
}

/** The part that the node needs; server and token are for joining alone. */
function nodeConfigurationOf(
  { dataDirectory, runtime, pods, nodeName, externalAddress, manifestDirectory, labels, taints, eviction, shutdown }: AgentConfiguration,
  network: Awaited<ReturnType<typeof joinNetwork>>['machines'],
): NodesOptions['configuration'] {
  return {
    dataDirectory,
    runtime,
    pods,
    simulatedNodes: 0,
    machines: {
      ...network,
      nodeName,
      labels,
      taints,
      shutdown,
      ...(eviction === undefined ? {} : { eviction }),
      ...(externalAddress === undefined ? {} : { externalAddress }),
      ...(manifestDirectory === undefined ? {} : { manifestDirectory }),
    },
  };
}

/** The authority of the cluster; waits for a server that does not answer yet. */
async function obtainAuthority({ configuration, clock, signal, onWaiting }: StartAgentOptions, servers: ServerList): Promise<string> {
  const { token, dataDirectory } = configuration;
  const directory = filesOf(dataDirectory).agentPki;
  const path = join(directory, 'server-ca.crt');
  const kept = await readFile(path, 'utf8').catch(() => '');
  // A token that has ended goes on naming its cluster, and an authority that was replaced may still be trusted.
  const isKnown = authorityHashOf(kept) === token.authorityHash;
  for (let said = '', tries = 0; ; tries += 1) {
    const all = servers.urls();
    const server = all[tries % all.length] ?? configuration.server;
    try {
      const fetched = await fetchClusterAuthority({ server, authorityHash: token.authorityHash, now: clock.now, signal });
      if (isKnown) return kept;
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeDurableFile(path, fetched);
      return fetched;
    } catch (err) {
      if (err instanceof OtherAuthority && isKnown) return kept;
      if (!(err instanceof ServerUnreachable)) throw err;
      if (said !== err.message) onWaiting(err.message);
      said = err.message;
    }
    // The others are asked at once.
    if ((tries + 1) % all.length === 0) await sleep(clock, retryMs, signal);
  }
}

/** The network of the cluster, claimed for this data directory; it names the range of Services. */
async function joinNetwork({ configuration }: StartAgentOptions, client: HttpClient, onClose: PartStart['onClose']) {
  const { items } = await client.list(serviceCidrs);
  const range = items.find(({ metadata }) => metadata.name === 'kubernetes');
  const serviceCidr = range?.spec?.cidrs?.[0] ?? '';
  // Each Node learns its own part of the pods' addresses alone.
  const machines = { kind: 'machines', clusterCidr: '', serviceCidr, nodeAddress: configuration.nodeAddress } as const;
  const { network, release } = await claimNetwork(configuration.dataDirectory, undefined, machines);
  onClose(release);
  // Not a part of the claim: an agent never chooses it.
  const clusterCidr = range?.metadata.annotations?.[annotations.clusterCidr] ?? '';
  const backend = range?.metadata.annotations?.[annotations.networkBackend];
  const networkBackend = networkBackends.find((known) => known === backend) ?? 'vxlan';
  const awaitsCloud = (range?.metadata.annotations?.[annotations.cloudProvider] ?? '') !== '';
  return { network: { ...network, clusterCidr }, machines: { ...machines, networkBackend, awaitsCloud } };
}

const joinedKubeletTls = (caCertificate: string, certificates: NodeCertificates, client: HttpClient): KubeletTls => ({
  caCertificate,
  certificateFor: ({ nodeName, address }) => certificates.server([nodeName, address], client),
});

const refusedToken = (server: string, cause: unknown): JoinError =>
  new JoinError(`${server} refuses the token`, {
    why: 'It has ended, was deleted, or is mistyped.',
    fix: 'Make another one on the server: midship token create',
    cause,
  });
