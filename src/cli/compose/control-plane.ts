import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import type { Service } from '../../api/core/v1/service.ts';
import { builtInKinds } from '../../api/kinds.ts';
import { loadSchemas } from '../../api/schemas.ts';
import { annotations, gitPath } from '../../api/well-known.ts';
import { type Aggregator, createAggregator } from '../../apiserver/aggregation/aggregator.ts';
import { createAuditLog } from '../../apiserver/audit.ts';
import { createOidcTokens } from '../../apiserver/authentication/oidc.ts';
import { createStaticTokens } from '../../apiserver/authentication/token-authenticator.ts';
import { bootstrap, bootstrapAccess, frontProxyName, type ServiceRange } from '../../apiserver/bootstrap.ts';
import { createKubeApi } from '../../apiserver/create-kube-api.ts';
import { unreadableObjects } from '../../apiserver/encryption/unreadable-objects.ts';
import { createAuthenticator } from '../../apiserver/http/authentication.ts';
import type { createKubeletClient } from '../../apiserver/http/kubelet-client.ts';
import { createIdentityLease } from '../../apiserver/identity-lease.ts';
import { createLocalClient } from '../../apiserver/local-client.ts';
import { createOpenApi } from '../../apiserver/openapi.ts';
import { createApiServer } from '../../apiserver/server.ts';
import { apiServerUser } from '../../apiserver/user.ts';
import type { Component } from '../../base/component.ts';
import type { HttpMount } from '../../base/contracts/http-mount.ts';
import { openPki, type Pki } from '../../base/pki.ts';
import type { Redactor } from '../../base/redactor.ts';
import type { TurnGate } from '../../base/turn-gate.ts';
import type { Client } from '../../client/client.ts';
import type { InformerSet } from '../../client/informer.ts';
import { createInformerSet } from '../../client/informer-set.ts';
import { waitingClient } from '../../client/waiting-client.ts';
import { learnSecrets } from '../../gitops/apply/plan/secret-values.ts';
import { redactEvent } from '../../gitops/engine.ts';
import { formatAddress, parseRange } from '../../machinery/addresses.ts';
import { createControllerMetrics } from '../../reconcile/controller-metrics.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createEventQueue, type EventQueue } from '../../reconcile/event-recorder.ts';
import { createSkipReporter } from '../../reconcile/skipped-objects.ts';
import { createStepLog, type StepLog } from '../../reconcile/step-log.ts';
import { describeDamage } from '../../storage/damage-report.ts';
import type { Storage } from '../../storage/storage.ts';
import { statusOfFailure } from '../admin-request.ts';
import { openSnapshot } from '../backup-snapshot.ts';
import { authoritiesOf, type Configuration, filesOf } from '../configuration.ts';
import { claimNetwork, type Network } from '../data-directory.ts';
import { Failure } from '../failure.ts';
import { checkPort } from './check-port.ts';
import { cloudAnnotations } from './cloud.ts';
import { openDirectoryKeys } from './cluster-keys.ts';
import { type ControlPlaneInputs, openEncryption } from './control-plane-inputs.ts';
import { createElections, type Elections } from './elections.ts';
import { keepIngressClass, servesIngresses } from './ingress.ts';
import { keepJoinToken } from './join-token.ts';
import { endSquatters } from './leftovers.ts';
import { followKeys } from './live-keys.ts';
import type { MetricsPaths } from './metrics-paths.ts';
import { type PartStart, type Running, type Surroundings, startPart } from './part.ts';
import { shareKeys } from './shared-keys.ts';
import { openStore, type SharedStore } from './store.ts';
import { startWorks } from './works.ts';

export interface ControlPlaneOptions extends Surroundings {
  readonly configuration: Configuration;
  readonly inputs: ControlPlaneInputs;
  readonly metrics: MetricsPaths;
  /** Is given the values that apps have from Secrets. */
  readonly redactor: Redactor;
  /** All that runs long in this event loop passes it. */
  readonly gate: TurnGate;
  /** The API answers at `url`; controllers start after that. */
  onListening(url: string): void;
}

/** A running control plane, as the parts that work on the cluster see it. */
export interface ControlPlane extends Running {
  /** Address of the API. */
  readonly url: string;
  readonly storage: Storage;
  readonly network: Network;
  readonly pki: Pki;
  /** Authority of the certificate with which the API server calls extension servers. */
  readonly frontProxy: Pki;
  /** Credentials of the API server at kubelets. */
  readonly kubelet: KubeletCredentials;
  readonly aggregator: Aggregator;
  readonly informers: InformerSet;
  readonly events: EventQueue;
  readonly steps: StepLog;
  /** With the rights of the API server itself. */
  readonly ownClient: Client;
  clientFor(name: string, groups?: readonly string[]): Client;
  /** The parts of a controller, for the component of that name. */
  dependencies(component: string): ControllerDependencies;
  /** Undefined: this is the only server, and does all the work. */
  readonly elections: Elections | undefined;
  /** Undefined like `elections`. */
  readonly shared: SharedStore | undefined;
  /** Gives the work of this server to others, and is no endpoint of the API any more. The API goes on answering until `stop`. */
  retire(): Promise<void>;
  /** Tells other servers the address of the page. */
  announcePage(url: string): Promise<void>;
  /** Lets the other servers know that the built-in Git remote took a push. */
  announcePush(): Promise<void>;
  /** Serves the built-in Git remote to the other servers, at the port of the API. */
  serveGit(mount: HttpMount): void;
}

export type KubeletCredentials = Parameters<typeof createKubeletClient>[0];

/** Longer than etcd needs for a new leader, and than a call takes to leave a member that hangs. */
const storeWaitMs = 30_000;
const storeIsAway = (err: Error): Failure =>
  new Failure('the store does not answer in time', {
    why: `It was asked for ${storeWaitMs / 1_000} s: ${err.message}.`,
    fix: 'Check that more than half of the members of etcd run: etcdctl endpoint status --cluster. Then try again.',
    cause: err,
  });

/** Starts the store, which is also the lock of the data directory, the API over it, the caches, the controllers and the scheduler. */
export function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  return startPart(options, (part) => compose(options, part));
}

async function compose(options: ControlPlaneOptions, part: PartStart): Promise<Omit<ControlPlane, keyof Running>> {
  const { onClose, start } = part;
  const { configuration, inputs, metrics, redactor, gate, clock, log, random, version, onListening } = options;
  const files = filesOf(configuration.dataDirectory);
  const { machines } = configuration;

  // 1. The store and the addresses, then the API over both.
  const storage = await openStore({ configuration, clock, log, metrics: metrics.apiserver });
  onClose(() => storage.close());
  for (const damage of storage.damage) log.warn({ problem: describeDamage(damage).message }, 'Found damage in the store');
  const sharedKeys =
    storage.shared !== undefined && machines !== undefined && configuration.store !== undefined
      ? await shareKeys({
          dataDirectory: configuration.dataDirectory,
          storage,
          records: storage.shared.records,
          prefix: configuration.store.address.prefix,
          machines,
          token: machines.serverToken,
          clock,
          log: log.child({ component: 'keys' }),
        })
      : undefined;
  for (const { address, port } of await endSquatters(configuration))
    log.warn({ address, port }, 'Ended a pod that had taken an address of the control plane');
  // The page opens its port last; a port that is taken is better known before the API has answered and pods run.
  await checkPort(configuration.httpAddress, configuration.httpPort);
  const { network, release } = await claimNetwork(
    configuration.dataDirectory,
    () => serviceAddressIn(storage),
    configuration.machines ?? { kind: configuration.runtime === 'containerd' ? 'routed' : 'loopback' },
  );
  onClose(release);
  // A crash may have ended a backup.
  await rm(files.backup, { recursive: true, force: true });
  const pki = await openPki({ ...authoritiesOf(configuration.dataDirectory).cluster, clock });
  const encryption = await openEncryption(configuration, storage.currentRevision > 0);
  const signingKey = await pki.signingKey();
  // Last, when every file is there.
  const keys = sharedKeys ?? (await openDirectoryKeys(configuration.dataDirectory));
  onClose(() => keys.stop());
  const kinds = builtInKinds;
  const schemas = loadSchemas(kinds.map((kind) => kind.schemas));
  const { serviceCidr, clusterCidr } = network;
  const { oidc } = inputs;
  const onFailure = (err: Error): void => {
    // The memory of this process differs from the disk: ending is the only honest answer, and loses nothing.
    log.fatal({ err }, 'Stopped because the store failed');
    process.exit(2);
  };
  // Beside the reading of the store: etcd takes up to 0.1 s until it sends the first change of the past.
  const issuing = ownCertificates(pki, { configuration, network, clock });
  issuing.catch(() => undefined);
  const kubeApi = await createKubeApi({
    storage,
    encryption: { ...encryption, sealsLater: storage.shared !== undefined },
    kinds,
    schemas,
    serviceCidr,
    loopbackCidr: clusterCidr,
    signingKey,
    podSecurityDefault: configuration.pods.securityDefault,
    ...(configuration.admissionPlugins === undefined ? {} : { optionalAdmission: configuration.admissionPlugins }),
    runsComponents: true,
    tokenAuthenticators: [
      createStaticTokens(inputs.tokens),
      ...(oidc === undefined ? [] : [createOidcTokens({ ...oidc, clock, log: log.child({ component: 'oidc' }) })]),
    ],
    log,
    clock,
    metrics: metrics.apiserver,
    gate,
    memory: configuration.memory,
    random,
    onFailure,
  });
  onClose(async () => kubeApi.stop());
  const { frontProxy, ...certificates } = await issuing;
  const clientFor = (name: string, groups: readonly string[] = ['system:authenticated']): Client =>
    createLocalClient({ kubeApi, user: { name, groups }, userAgent: `${name.slice(name.lastIndexOf(':') + 1)}/${version}` });

  // 2. The API on the wire.
  const audit = createAuditLog({
    path: files.auditLog,
    ...(inputs.auditPolicy === undefined ? {} : { policy: inputs.auditPolicy }),
    clock,
    log: log.child({ component: 'audit' }),
    metrics: metrics.apiserver,
  });
  const ownClient = createLocalClient({ kubeApi, user: apiServerUser, userAgent: `kube-apiserver/${version}` });
  // A member of etcd that hangs is left after seconds, and the start goes on then.
  const patientClient = waitingClient(ownClient, {
    clock,
    forMs: storeWaitMs,
    signal: options.signal,
    onRefusal: (err) => log.warn({ err }, 'The store did not answer'),
    giveUp: storeIsAway,
  });
  const events = createEventQueue({
    client: clientFor('system:midship:events'),
    clock,
    log,
    metrics: metrics.controllerManager,
    redact: redactEvent(redactor),
  });
  const onSkipped = createSkipReporter({ log, metrics: metrics.controllerManager, recorder: events.recorder('midship') });
  const newInformers = (): InformerSet => createInformerSet({ client: clientFor('system:midship:informers'), clock, log, onSkipped });
  const informers = newInformers();
  const aggregator = createAggregator({
    client: ownClient,
    informers,
    frontProxy: certificates.atExtensions,
    metrics: metrics.apiserver,
    clock,
    log: log.child({ component: 'aggregator' }),
    random,
    reportsWhileLed: storage.shared !== undefined,
  });
  let isRetiring = false;
  const kubelet: KubeletCredentials = { caCertificate: pki.caCertificate, clientCertificate: certificates.atKubelets };
  const keepJoinTokenFile = (bootstrapToken?: string): Promise<void> =>
    keepJoinToken({
      client: patientClient,
      caCertificate: pki.caCertificate,
      path: files.joinToken,
      bootstrapToken,
      isShared: storage.shared !== undefined,
    });
  const liveKeys = followKeys({
    configuration,
    keys,
    signingKey,
    kubeApi,
    encryption: encryption.configuration,
    client: patientClient,
    keepJoinToken: machines === undefined ? undefined : keepJoinTokenFile,
    onFailure,
    clock,
    log: log.child({ component: 'keys' }),
    signal: options.signal,
  });
  let served: HttpMount | undefined;
  const apiServer = createApiServer({
    kubeApi,
    keys: liveKeys.actions,
    aggregator,
    tls: { caCertificate: pki.caCertificate, certificate: certificates.served },
    address: configuration.bindAddress,
    port: configuration.apiPort,
    authenticator: createAuthenticator({ tokens: kubeApi.tokenAuthenticator, clock }),
    flowControl: kubeApi.flowControl,
    memory: configuration.memory,
    serviceAccounts: kubeApi.tokens,
    audit,
    kubelet,
    openApi: createOpenApi(kubeApi.kinds, () => schemas),
    admitsMachines: machines !== undefined,
    ...(storage.shared === undefined ? {} : { mount: lateMount(gitPath, () => served) }),
    backup: (until) =>
      openSnapshot({ dataDirectory: configuration.dataDirectory, store: storage, version, now: clock.now(), signal: until }).catch(
        (err: unknown) => {
          throw err instanceof Failure ? statusOfFailure(err, { code: 507, reason: 'InsufficientStorage' }) : err;
        },
      ),
    healthChecks: [
      { name: 'etcd-readiness', liveness: false, check: () => kubeApi.checkFreshness() },
      { name: 'etcd', liveness: true, check: async () => void (await storage.range({ prefix: 'core/namespaces/', limit: 1 })) },
      {
        name: 'storage-writes',
        liveness: false,
        check() {
          if (storage.failure !== undefined) throw storage.failure;
        },
      },
      ...(storage.shared === undefined
        ? []
        : [
            {
              name: 'retiring',
              liveness: false,
              check() {
                if (isRetiring) throw new Error('the server stops');
              },
            },
          ]),
      { name: 'informer-sync', liveness: false, check: () => informers.waitForSync({ signal: AbortSignal.timeout(1) }) },
    ],
    metrics: metrics.apiserver,
    metricsText: async () => `${await metrics.apiserver.text()}${await metrics.process.text()}`,
    clock,
    random,
    log: log.child({ component: 'apiserver' }),
    version,
  });
  await bootstrapAccess(patientClient, { admitsMachines: machines !== undefined });
  await start([audit, apiServer]);
  const serviceRange: ServiceRange = {
    serviceCidr,
    ...(machines === undefined
      ? {}
      : {
          networkAnnotations: {
            [annotations.clusterCidr]: clusterCidr,
            [annotations.networkBackend]: machines.networkBackend,
            ...cloudAnnotations(configuration),
          },
        }),
  };
  await bootstrap({
    ...serviceRange,
    client: patientClient,
    apiAddress: machines?.nodeAddress ?? ownAddress(configuration),
    apiPort: Number(new URL(apiServer.url).port),
    isShared: storage.shared !== undefined,
    authorities: { clientCa: pki.caCertificate, requestHeaderCa: frontProxy.caCertificate },
  });
  await keepIngressClass(patientClient, servesIngresses(configuration));
  if (machines !== undefined) {
    await keepJoinTokenFile(machines.bootstrapToken);
  }
  if (storage.shared !== undefined) await liveKeys.agree(storage.shared.serverId);
  onListening(apiServer.url);

  // 3. Caches, events and counters, which the components share.
  const steps = createStepLog({ clock, log, metrics: metrics.controllerManager });
  const controllerMetrics = createControllerMetrics({ metrics: metrics.controllerManager, clock });
  const caches: Component = {
    name: 'caches',
    async start() {
      const abort = new AbortController();
      informers.start({ signal: abort.signal });
      this.stop = async () => abort.abort(new Error('caches stop'));
    },
    stop: async () => undefined,
  };
  await learnSecrets({ client: patientClient, redactor, log });
  let pageUrl: string | undefined;
  let pushes = 0;
  const uid = randomUUID();
  const identity = createIdentityLease({
    client: ownClient,
    hostname: hostname(),
    uid,
    ...(storage.shared === undefined
      ? {}
      : {
          shared: {
            serverId: storage.shared.serverId,
            address: machines?.nodeAddress ?? ownAddress(configuration),
            port: Number(new URL(apiServer.url).port),
            version,
            pageUrl: () => pageUrl,
            pushes: () => pushes,
            keys: liveKeys.known,
          },
        }),
    clock,
    log,
  });
  await start([caches, events, aggregator]);
  const ownEvents = events.recorder('kube-apiserver');
  for (const { object, message } of unreadableObjects(kubeApi))
    ownEvents.record(object, { type: 'Warning', reason: 'Unreadable', message });
  const dependencies = (component: string): ControllerDependencies => ({
    client: clientFor('system:kube-controller-manager'),
    informers,
    clock,
    log: log.child({ component }),
    recorder: events.recorder(component),
    metrics: controllerMetrics,
    steps,
  });
  await start([identity]);
  liveKeys.announce(() => identity.renew());
  const elections =
    storage.shared === undefined
      ? undefined
      : createElections({ ...options, uid, client: ownClient, informers, newInformers, metrics: metrics.controllerManager });

  // 4. Controllers and the scheduler.
  await startWorks(
    {
      ...options,
      apiUrl: apiServer.url,
      pki,
      accountTokens: kubeApi.tokens,
      serviceRange,
      clusterCidr: machines === undefined ? undefined : network.clusterCidr,
      ownClient,
      clientFor,
      informers,
      events,
      dependencies,
      elections,
      housekeeping: [kubeApi.housekeeping, aggregator.conditions],
    },
    part,
  );
  return {
    url: apiServer.url,
    storage,
    network,
    pki,
    frontProxy,
    kubelet,
    aggregator,
    informers,
    events,
    steps,
    ownClient,
    clientFor,
    dependencies,
    elections,
    shared: storage.shared,
    async retire() {
      if (elections === undefined) return;
      isRetiring = true;
      await elections.retire();
      await identity.stop();
    },
    async announcePage(url) {
      pageUrl = url;
      if (storage.shared !== undefined) await identity.renew();
    },
    async announcePush() {
      pushes += 1;
      if (storage.shared !== undefined) await identity.renew();
    },
    serveGit(mount) {
      served = mount;
    },
  };
}

/** A mount of a port that opens before the part that it belongs to has started. */
const lateMount = (prefix: string, find: () => HttpMount | undefined): HttpMount => ({
  prefix,
  handle(request, response) {
    const mount = find();
    if (mount !== undefined) return mount.handle(request, response);
    response.writeHead(503, { 'retry-after': '2' }).end();
    return undefined;
  },
});

/** The address that pods on this machine have for the API. */
const ownAddress = ({ bindAddress }: Configuration): string =>
  isIP(bindAddress) === 4 && bindAddress !== '0.0.0.0' ? bindAddress : '127.0.0.1';

/** Reads the address of the Service `default/kubernetes` from the store. */
async function serviceAddressIn(storage: Storage): Promise<string | undefined> {
  const entry = await storage.get('core/services/default/kubernetes');
  return entry === undefined ? undefined : (JSON.parse(entry.text) as Service).spec.clusterIP;
}

/** The certificates of the API server: the one that clients see, and those with which it calls extension servers and kubelets. */
async function ownCertificates(
  pki: Pki,
  { configuration, network, clock }: Pick<ControlPlaneOptions, 'configuration' | 'clock'> & { readonly network: Network },
) {
  const frontProxy = await openPki({ ...authoritiesOf(configuration.dataDirectory).frontProxy, clock });
  const [atExtensions, atKubelets, served] = await Promise.all([
    frontProxy.clientCertificate({ name: frontProxyName, commonName: frontProxyName }),
    pki.clientCertificate({
      name: 'apiserver-kubelet-client',
      commonName: 'kube-apiserver-kubelet-client',
      organizations: ['system:masters'],
    }),
    pki.serverCertificate({ name: 'apiserver', commonName: 'kube-apiserver', hosts: apiHosts(configuration, network) }),
  ]);
  return { frontProxy, atExtensions, atKubelets, served };
}

/** Names and addresses under which clients reach the API. */
function apiHosts({ bindAddress, tlsNames, machines }: Configuration, { serviceCidr }: Network): readonly string[] {
  const serviceAddress = formatAddress(parseRange(serviceCidr).first + 1);
  return [
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.local',
    'localhost',
    '127.0.0.1',
    serviceAddress,
    ...(bindAddress === '0.0.0.0' || bindAddress === '127.0.0.1' ? [] : [bindAddress]),
    ...(machines === undefined ? [] : [machines.nodeName, machines.nodeAddress]),
    ...(machines?.externalAddress === undefined ? [] : [machines.externalAddress]),
    ...tlsNames,
  ];
}
