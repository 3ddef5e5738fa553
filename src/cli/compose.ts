import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { type Service, services } from '../api/core/v1/service.ts';
import { builtInKinds } from '../api/kinds.ts';
import { noControllerText } from '../api/kinds-without-controller.ts';
import { loadSchemas } from '../api/schemas.ts';
import { createAggregator } from '../apiserver/aggregation/aggregator.ts';
import { type AuditPolicy, parseAuditPolicy } from '../apiserver/audit/policy.ts';
import { createAuditLog } from '../apiserver/audit.ts';
import { createOidcTokens } from '../apiserver/authentication/oidc.ts';
import { createStaticTokens } from '../apiserver/authentication/token-authenticator.ts';
import { bootstrap, bootstrapAccess, frontProxyName } from '../apiserver/bootstrap.ts';
import { createKubeApi } from '../apiserver/create-kube-api.ts';
import { ensureEncryptionConfiguration, parseEncryptionConfiguration } from '../apiserver/encryption/configuration.ts';
import type { EncryptedStorageOptions } from '../apiserver/encryption/encrypted-storage.ts';
import { unreadableObjects } from '../apiserver/encryption/unreadable-objects.ts';
import { createAuthenticator } from '../apiserver/http/authentication.ts';
import { createKubeletClient } from '../apiserver/http/kubelet-client.ts';
import { createLastLineReader } from '../apiserver/last-line.ts';
import { createLocalClient } from '../apiserver/local-client.ts';
import { createOpenApi } from '../apiserver/openapi.ts';
import { resourcePrefixOf } from '../apiserver/registry/keys.ts';
import { createUsageCollector } from '../apiserver/resource-metrics/collector.ts';
import { createMetricsApi } from '../apiserver/resource-metrics/metrics-api.ts';
import { metricsServerName, registerMetricsApi } from '../apiserver/resource-metrics/registration.ts';
import { createApiServer } from '../apiserver/server.ts';
import { apiServerUser } from '../apiserver/user.ts';
import { type ActivityFeed, createActivityFeed } from '../base/activity.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import { writeDurableFile } from '../base/durable-file.ts';
import { createLog, type Log } from '../base/log.ts';
import { boundHeapGrowth } from '../base/memory-budget.ts';
import { addProcessMetrics, createMetrics, type Metrics, partsOf } from '../base/metrics.ts';
import type { Overview } from '../base/overview.ts';
import { createCertificateKeeper } from '../base/pki/certificate-keeper.ts';
import { openPki, type Pki } from '../base/pki.ts';
import { thisProcess } from '../base/process-identity.ts';
import { createRedactor, type Redactor } from '../base/redactor.ts';
import { startAll } from '../base/shutdown.ts';
import { createTurnGate } from '../base/turn-gate.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import { createInformerSet } from '../client/informer-set.ts';
import { formatKubeconfig } from '../client/kubeconfig.ts';
import { untilAccepted } from '../client/until-accepted.ts';
import { createBootstrapTokenCleaner } from '../controllers/bootstrap-token-cleaner.ts';
import { createCertificateApprovingController } from '../controllers/certificates/approving-controller.ts';
import { createCertificateCleaningController } from '../controllers/certificates/cleaning-controller.ts';
import { createCertificateSigningController } from '../controllers/certificates/signing-controller.ts';
import { createClusterRoleAggregationController } from '../controllers/cluster-role-aggregation.ts';
import { createDeploymentController } from '../controllers/deployment/deployment-controller.ts';
import { createDisruptionController } from '../controllers/disruption/disruption-controller.ts';
import { createEndpointSliceController } from '../controllers/endpoint-slice/endpoint-slice-controller.ts';
import { createEndpointSliceMirroringController } from '../controllers/endpoint-slice/mirroring-controller.ts';
import { createEndpointsController } from '../controllers/endpoints/endpoints-controller.ts';
import { createFlowSchemaController } from '../controllers/flow-schema.ts';
import { createGarbageCollector } from '../controllers/garbage-collector/garbage-collector.ts';
import { createJobController } from '../controllers/job/job-controller.ts';
import { createNamespaceController } from '../controllers/namespace/namespace-controller.ts';
import { createNoControllerEvents } from '../controllers/no-controller-events.ts';
import { createNodeLifecycleController } from '../controllers/node-lifecycle/node-lifecycle-controller.ts';
import { createPodEvictionController } from '../controllers/node-lifecycle/pod-eviction-controller.ts';
import { createPodGcController } from '../controllers/pod-gc.ts';
import {
  createAttributesClassProtectionController,
  createClaimProtectionController,
  createVolumeProtectionController,
} from '../controllers/protection/protection-controller.ts';
import { createReplicaSetController } from '../controllers/replica-set/replica-set-controller.ts';
import { createResourceQuotaController } from '../controllers/resource-quota/resource-quota-controller.ts';
import { createRootCaController } from '../controllers/root-ca.ts';
import { createServiceAccountController } from '../controllers/service-account.ts';
import { createTokenSecretController } from '../controllers/token-secrets.ts';
import { learnSecrets } from '../gitops/apply/plan/secret-values.ts';
import { createEngine, redactEvent } from '../gitops/engine.ts';
import { createGitUsers, createPushCheck } from '../gitops/push-check.ts';
import { createBuilder } from '../gitops/render/builder.ts';
import { defaultBranch, followRepository } from '../gitops/root-app.ts';
import { ensureBareRepository, isEmptyRepository, seedRepository } from '../gitops/sources/bare-repository.ts';
import { createBuiltInRemote, type ServedRepository } from '../gitops/sources/built-in-remote.ts';
import { createGitThread } from '../gitops/sources/git-thread.ts';
import { findGitDirectory, openLocalSource } from '../gitops/sources/local-source.ts';
import { createSourceOpener } from '../gitops/sources/open-source.ts';
import { writeHooks } from '../gitops/sources/pre-receive.ts';
import { createWebhooks } from '../gitops/webhooks/webhooks.ts';
import { createNodeAgent, type NodeAgent, type NodeAgentOptions } from '../node-agent/agent.ts';
import { createAgentGroup } from '../node-agent/agent-group.ts';
import { createConfigSource } from '../node-agent/config-source.ts';
import type { ListeningAddress, PodIsolation } from '../node-agent/container-runtime.ts';
import { createKubeletApi } from '../node-agent/kubelet-api.ts';
import { createKubeletMetrics } from '../node-agent/kubelet-metrics.ts';
import { readMachineFacts } from '../node-agent/machine-facts.ts';
import { capacityOf } from '../node-agent/node-object.ts';
import { createPodQueue } from '../node-agent/pod-queue.ts';
import { createSharedPodSources } from '../node-agent/pod-source.ts';
import { type LeftoverPods, runtimeDirectory, stopLeftoverPods } from '../node-agent/process/leftover-pods.ts';
import { openProcessHost } from '../node-agent/process/process-host.ts';
import { openProcessRuntime } from '../node-agent/process/process-runtime.ts';
import { endListeners } from '../node-agent/process/stray-processes.ts';
import { createSimulatedHost } from '../node-agent/simulated/simulated-host.ts';
import { createServiceProxy } from '../proxy/service-proxy.ts';
import { createControllerMetrics } from '../reconcile/controller-metrics.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createEventQueue, type EventQueue } from '../reconcile/event-recorder.ts';
import { createSkipReporter } from '../reconcile/skipped-objects.ts';
import { createStepLog, type StepLog } from '../reconcile/step-log.ts';
import { createScheduler } from '../scheduler/scheduler.ts';
import { describeDamage } from '../storage/damage-report.ts';
import { openMemoryStorage } from '../storage/memory/storage.ts';
import { type SalvageReport, salvageStore } from '../storage/sqlite/salvage.ts';
import { openSqliteStorage } from '../storage/sqlite/storage.ts';
import type { Storage } from '../storage/storage.ts';
import { StorageError } from '../storage/storage-error.ts';
import { createOverviewSource } from '../web/overview.ts';
import { createWeb, isLoopback, type WebCertificate } from '../web/server.ts';
import { createStateCollector } from '../web/state-metrics.ts';
import { readAuthorities } from './access-flags.ts';
import type { StoppedBackup } from './backup.ts';
import { openSnapshot } from './backup-snapshot.ts';
import { followCertificate } from './certificate-files.ts';
import { authoritiesOf, type Configuration, filesOf } from './configuration.ts';
import { claimNetwork, claimPort, claimStopped, type Endpoints, ensureToken, isClaimAddress, type Network } from './data-directory.ts';
import { explainStartFailure } from './explain.ts';
import { Failure } from './failure.ts';
import { dataDirectoryExtension } from './find-cluster.ts';
import type { StoppedStore } from './repair.ts';
import { createStorageWatch } from './storage-watch.ts';
import { readTokenFile } from './token-file.ts';

/** A running cluster, everything in this process. */
export interface Cluster {
  readonly endpoints: Endpoints;
  /** Path behind the address of the page; where it asks for a login, one that logs in once. */
  newPageLink(): string;
  /** Next to come: apps of the repository, the first push to the built-in remote, or nothing because GitOps is switched off. */
  readonly awaits: 'apps' | 'push' | 'nothing';
  readonly activity: ActivityFeed;
  status(): Overview;
  /** Resolves with the first status that fits; rejects when `signal` is aborted. */
  waitFor(fits: (status: Overview) => boolean, signal: AbortSignal): Promise<Overview>;
  /** Stops the pods and every part, and closes the store. */
  stop(): Promise<void>;
}

export interface StartClusterOptions {
  readonly configuration: Configuration;
  readonly log: Log;
  /** Shared with who writes the log; is given the values that apps have from Secrets. */
  readonly redactor?: Redactor;
  readonly version: string;
  /** Abandons the start. */
  readonly signal: AbortSignal;
  onStep(name: string, text: string, detail?: string): void;
  /** Something that runs, and that a person has to attend to; also later than the start. */
  onWarning(text: string): void;
}

/** Real nodes of `up` and `demo`. */
const realNodes = ['node-a', 'node-b'] as const;
/** Port of the kubelet API on each node's address, as everywhere. */
const kubeletPort = 10_250;
/** How long pods may take to end when the cluster is stopped. */
const maxStopGraceMs = 20_000;
/** Damaged rows of the store that the terminal names. */
const shownDamage = 10;

/** Starts every part in order. When one cannot start, those before it are stopped again. */
export async function startCluster(options: StartClusterOptions): Promise<Cluster> {
  const { configuration } = options;
  boundHeapGrowth();
  const closers: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (let close = closers.pop(); close !== undefined; close = closers.pop()) await close();
  };
  try {
    return await compose({ ...options, clock: systemClock, onClose: (close) => closers.push(close), stop });
  } catch (err) {
    await stop();
    const { apiPort, httpPort, dataDirectory } = configuration;
    throw await explainStartFailure(err, { apiPort, httpPort, dataDirectory });
  }
}

/** An API of its own in memory with nothing in it, for trying manifests where no cluster is. */
export async function openEmptyApi(): Promise<{ readonly client: Client; stop(): Promise<void> }> {
  const storage = await openMemoryStorage();
  const kubeApi = await createKubeApi({
    storage,
    kinds: builtInKinds,
    schemas: loadSchemas(builtInKinds.map((kind) => kind.schemas)),
    serviceCidr: '10.96.0.0/12',
    log: createLog({ level: 'silent' }),
  });
  return {
    client: createLocalClient({ kubeApi, user: apiServerUser, userAgent: 'midship-validate' }),
    async stop() {
      kubeApi.stop();
      await storage.close();
    },
  };
}

/** A backup of a cluster that does not run, and cannot be started until it is closed. */
export async function openStoppedBackup(options: { readonly dataDirectory: string; readonly version: string }): Promise<StoppedBackup> {
  const { dataDirectory, version } = options;
  const release = await claimStopped(dataDirectory);
  try {
    const storage = await openSqliteStorage({ path: filesOf(dataDirectory).database, clock: systemClock });
    try {
      const [damage] = storage.damage;
      if (damage !== undefined && damage.type !== 'restored') {
        throw new Failure(`the store of ${dataDirectory} is damaged`, {
          why: describeDamage(damage).message,
          fix: 'Start the cluster once, so that Git is applied again, then back it up. "midship restore" puts an earlier backup in place.',
        });
      }
      const signal = new AbortController().signal;
      return { stream: await openSnapshot({ dataDirectory, store: storage, version, now: systemClock.now(), signal }), close: release };
    } finally {
      await storage.close();
    }
  } catch (err) {
    await release();
    throw await explainStartFailure(err, { apiPort: 0, httpPort: 0, dataDirectory });
  }
}

/** The store of a cluster that does not run, and cannot be started until it is closed. */
export async function openStoppedStore(dataDirectory: string): Promise<StoppedStore> {
  const { database: path } = filesOf(dataDirectory);
  if (!existsSync(path)) {
    throw new Failure(`${dataDirectory} is not a data directory of Midship`, { why: `There is no ${path}.`, fix: 'Check --data-dir.' });
  }
  // The store is the lock of the directory: `network.json` may be what is damaged.
  const storage = await openSqliteStorage({ path, clock: systemClock }).catch(async (err: unknown) => {
    throw await explainStartFailure(err, { apiPort: 0, httpPort: 0, dataDirectory });
  });
  return {
    revision: storage.currentRevision,
    damage: storage.damage.map((damage) => describeDamage(damage).message),
    kinds: builtInKinds.map((kind) => ({ prefix: resourcePrefixOf(kind), kind })),
    range: (options) => storage.range(options),
    get: (key) => storage.get(key),
    delete: async (entry) => (await storage.delete(entry.key, entry.revision)).ok,
    close: () => storage.close(),
  };
}

/** Only where a start refuses the store as damaged: a start itself sets aside rows that are. */
export async function salvageStoppedStore(dataDirectory: string): Promise<SalvageReport> {
  const { database: path } = filesOf(dataDirectory);
  try {
    await (await openStoppedStore(dataDirectory)).close();
  } catch (err) {
    if (!(err instanceof Failure && err.cause instanceof StorageError && err.cause.isDamage)) throw err;
    return salvageStore(path).catch(async (reason: unknown) => {
      throw await explainStartFailure(reason, { apiPort: 0, httpPort: 0, dataDirectory });
    });
  }
  throw new Failure(`${path} can be read`, {
    why: 'There is nothing to salvage: single rows that are damaged are set aside by a start.',
    fix: `Start it: midship up --data-dir ${dataDirectory}`,
    exitCode: 1,
  });
}

interface ComposeOptions extends StartClusterOptions {
  readonly clock: Clock;
  /** Closers run in reverse order. */
  onClose(close: () => Promise<void>): void;
  readonly stop: () => Promise<void>;
}

async function compose(options: ComposeOptions): Promise<Cluster> {
  const { configuration, log, version, signal, onStep, onWarning, clock, onClose, stop } = options;
  const files = filesOf(configuration.dataDirectory);
  const random = Math.random;
  const metrics = metricsPaths();
  const start = async (components: readonly Component[]): Promise<void> => onClose(await startAll(components, { clock, log, signal }));

  // 0. What the command line names must be there.
  const repositories = await openRepositories(configuration, log);
  const awaitsPush = configuration.repository === undefined && (await isEmptyRepository(files.repository));
  const tokens = configuration.tokenFile === undefined ? {} : await readTokenFile(configuration.tokenFile);
  const auditPolicy = configuration.auditPolicyFile === undefined ? undefined : await readAuditPolicy(configuration.auditPolicyFile);
  const oidc =
    configuration.oidc === undefined
      ? undefined
      : { ...configuration.oidc, caCertificate: await readAuthorities(configuration.oidc.caFile) };

  // 1. The store, which is also the lock of the data directory; the addresses; the API over both.
  const storage = await openSqliteStorage({ path: files.database, clock, metrics: metrics.apiserver });
  onClose(() => storage.close());
  for (const damage of storage.damage) log.warn({ problem: describeDamage(damage).message }, 'Found damage in the store');
  for (const { address, port } of await endSquatters(configuration))
    log.warn({ address, port }, 'Ended a pod that had taken an address of the control plane');
  const { network, release } = await claimNetwork(configuration.dataDirectory, () => serviceAddressIn(storage));
  onClose(release);
  // A crash may have ended a backup.
  await rm(files.backup, { recursive: true, force: true });
  const authorities = authoritiesOf(configuration.dataDirectory);
  const pki = await openPki({ ...authorities.cluster, clock });
  const encryption = await openEncryption(configuration, storage.currentRevision > 0);
  const kinds = builtInKinds;
  const schemas = loadSchemas(kinds.map((kind) => kind.schemas));
  const { serviceCidr, clusterCidr } = network;
  // All that runs long in this event loop passes it.
  const gate = createTurnGate({ clock });
  const kubeApi = await createKubeApi({
    storage,
    encryption,
    kinds,
    schemas,
    serviceCidr,
    loopbackCidr: clusterCidr,
    signingKey: await pki.signingKey(),
    podSecurityDefault: configuration.pods.securityDefault,
    ...(configuration.admissionPlugins === undefined ? {} : { optionalAdmission: configuration.admissionPlugins }),
    runsComponents: true,
    tokenAuthenticators: [
      createStaticTokens(tokens),
      ...(oidc === undefined ? [] : [createOidcTokens({ ...oidc, clock, log: log.child({ component: 'oidc' }) })]),
    ],
    log,
    clock,
    metrics: metrics.apiserver,
    gate,
    memory: configuration.memory,
    random,
    onFailure(err) {
      // What this process holds in memory is no longer what is on disk: ending is the only honest answer, and loses nothing.
      log.fatal({ err }, 'Stopped because the store failed');
      process.exit(2);
    },
  });
  onClose(async () => kubeApi.stop());
  const clientFor = (name: string, groups: readonly string[] = ['system:authenticated']): Client =>
    createLocalClient({ kubeApi, user: { name, groups }, userAgent: `${name.slice(name.lastIndexOf(':') + 1)}/${version}` });

  // 2. The API on the wire.
  const audit = createAuditLog({
    path: files.auditLog,
    ...(auditPolicy === undefined ? {} : { policy: auditPolicy }),
    clock,
    log: log.child({ component: 'audit' }),
    metrics: metrics.apiserver,
  });
  const ownClient = createLocalClient({ kubeApi, user: apiServerUser, userAgent: `kube-apiserver/${version}` });
  const frontProxy = await openPki({ ...authorities.frontProxy, clock });
  const redactor = options.redactor ?? createRedactor();
  const events = createEventQueue({
    client: clientFor('system:midship:events'),
    clock,
    log,
    metrics: metrics.controllerManager,
    redact: redactEvent(redactor),
  });
  const informers = createInformerSet({
    client: clientFor('system:midship:informers'),
    clock,
    log,
    onSkipped: createSkipReporter({ log, metrics: metrics.controllerManager, recorder: events.recorder('midship') }),
  });
  const aggregator = createAggregator({
    client: ownClient,
    informers,
    frontProxy: await frontProxy.clientCertificate({ name: frontProxyName, commonName: frontProxyName }),
    metrics: metrics.apiserver,
    clock,
    log: log.child({ component: 'aggregator' }),
    random,
  });
  const kubelet = {
    caCertificate: pki.caCertificate,
    clientCertificate: await pki.clientCertificate({
      name: 'apiserver-kubelet-client',
      commonName: 'kube-apiserver-kubelet-client',
      organizations: ['system:masters'],
    }),
  };
  const apiServer = createApiServer({
    kubeApi,
    aggregator,
    tls: {
      caCertificate: pki.caCertificate,
      certificate: await pki.serverCertificate({
        name: 'apiserver',
        commonName: 'kube-apiserver',
        hosts: apiHosts(configuration, network),
      }),
    },
    address: configuration.bindAddress,
    port: configuration.apiPort,
    authenticator: createAuthenticator({ tokens: kubeApi.tokenAuthenticator, clock }),
    flowControl: kubeApi.flowControl,
    memory: configuration.memory,
    serviceAccounts: kubeApi.tokens,
    audit,
    kubelet,
    openApi: createOpenApi(kubeApi.kinds, () => schemas),
    backup: (until) =>
      openSnapshot({ dataDirectory: configuration.dataDirectory, store: storage, version, now: clock.now(), signal: until }),
    healthChecks: [
      { name: 'etcd', liveness: true, check: async () => void (await storage.range({ prefix: 'core/namespaces/', limit: 1 })) },
      {
        name: 'storage-writes',
        liveness: false,
        check() {
          if (storage.failure !== undefined) throw storage.failure;
        },
      },
      { name: 'informer-sync', liveness: false, check: () => informers.waitForSync({ signal: AbortSignal.timeout(1) }) },
    ],
    metrics: metrics.apiserver,
    metricsText: async () => `${await metrics.apiserver.text()}${await metrics.process.text()}`,
    clock,
    random,
    log: log.child({ component: 'apiserver' }),
    version,
  });
  await bootstrapAccess(ownClient);
  await start([audit, apiServer]);
  await bootstrap({
    client: ownClient,
    serviceCidr,
    apiAddress: isIP(configuration.bindAddress) === 4 && configuration.bindAddress !== '0.0.0.0' ? configuration.bindAddress : '127.0.0.1',
    apiPort: Number(new URL(apiServer.url).port),
    authorities: { clientCa: pki.caCertificate, requestHeaderCa: frontProxy.caCertificate },
  });
  onStep('API server', apiServer.url, 'Kubernetes 1.36 API');

  // 3. What the components share: caches, events, counters.
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
  await learnSecrets({ client: ownClient, redactor, log });
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

  // 4. Controllers and the scheduler.
  const { tokens: accountTokens } = kubeApi;
  await start([
    createNamespaceController(dependencies('namespace-controller')),
    createServiceAccountController(dependencies('service-account-controller')),
    createClusterRoleAggregationController(dependencies('clusterrole-aggregation-controller')),
    ...(accountTokens === undefined
      ? []
      : [
          createTokenSecretController({
            ...dependencies('tokens-controller'),
            caCertificate: pki.caCertificate,
            issueToken: (account, secretName) => accountTokens.issueForSecret(account, secretName),
          }),
        ]),
    createRootCaController({ ...dependencies('root-ca-certificate-publisher'), caCertificate: pki.caCertificate }),
    createCertificateApprovingController(dependencies('certificate-approving-controller')),
    createCertificateSigningController({ ...dependencies('certificate-signing-controller'), pki }),
    createCertificateCleaningController(dependencies('certificate-cleaner-controller')),
    createBootstrapTokenCleaner(dependencies('token-cleaner')),
    createFlowSchemaController(dependencies('flow-schema-controller')),
    createGarbageCollector(dependencies('garbage-collector-controller')),
    createNodeLifecycleController(dependencies('node-controller')),
    createPodEvictionController(dependencies('taint-eviction-controller')),
    createPodGcController(dependencies('pod-garbage-collector')),
    createEndpointSliceController(dependencies('endpoint-slice-controller')),
    createEndpointSliceMirroringController(dependencies('endpoint-slice-mirroring-controller')),
    createEndpointsController(dependencies('endpoint-controller')),
    createReplicaSetController(dependencies('replicaset-controller')),
    createDeploymentController(dependencies('deployment-controller')),
    createJobController(dependencies('job-controller')),
    createDisruptionController(dependencies('disruption-controller')),
    createResourceQuotaController(dependencies('resourcequota-controller')),
    createClaimProtectionController(dependencies('pvc-protection-controller')),
    createVolumeProtectionController(dependencies('pv-protection-controller')),
    createAttributesClassProtectionController(dependencies('vac-protection-controller')),
    createNoControllerEvents(dependencies('midship')),
    createScheduler({
      client: clientFor('system:kube-scheduler'),
      informers,
      clock,
      log: log.child({ component: 'scheduler' }),
      recorder: events.recorder('default-scheduler'),
      metrics: metrics.scheduler,
      steps,
      random,
    }),
  ]);

  // 5. Nodes, and the Services between their pods.
  const isolation = await startNodes({ ...options, network, pki, informers, events, steps, metrics: metrics.kubelet, clientFor, start });
  if (configuration.runtime === 'process') {
    const usage = createUsageCollector({
      informers,
      kubelet: createKubeletClient(kubelet),
      clock,
      log: log.child({ component: 'resource-metrics' }),
    });
    const address = network.nodeAddress(0);
    const metricsApi = createMetricsApi({
      collector: usage,
      informers,
      address,
      tls: await pki.serverCertificate({ name: 'metrics', commonName: 'metrics', hosts: [metricsServerName] }),
      frontProxyCa: frontProxy.caCertificate,
      frontProxyName,
      clock,
    });
    await start([usage, metricsApi]);
    await registerMetricsApi({ client: ownClient, address, port: metricsApi.port, caCertificate: pki.caCertificate });
  }
  onStep('Nodes', nodesText(configuration, isolation));
  if (isolation !== undefined && !isolation.isolated) onWarning(isolation.message);

  // 6. The Git remote and the page on one port.
  const activity = createActivityFeed();
  const overview = createOverviewSource(informers);
  const gitOpsClient = clientFor('system:midship:gitops');
  const hasGitOps = configuration.disabled?.includes('gitops') !== true;
  const webhooks = hasGitOps
    ? createWebhooks({ ...dependencies('midship'), client: gitOpsClient, gitopsMetrics: metrics.gitops })
    : undefined;
  const gitThread = createGitThread({ clock, log: log.child({ component: 'git-thread' }) });
  await start([gitThread]);
  const opener = createSourceOpener({
    builtInUrl: () => `${web.url}/git/`,
    builtIn: new Map([...repositories].map(([path, { gitdir }]) => [path, gitdir])),
    cacheDirectory: files.gitCache,
    thread: gitThread,
  });
  const token = await ensureToken(files.token);
  const served = new Map<string, ServedRepository>();
  for (const [path, { gitdir, writable }] of repositories) {
    served.set(path, {
      gitdir,
      writable,
      onReceiving: (push) => opener.expectPush(path, push),
      onPush: () => opener.notifyPush(path),
    });
  }
  const builder = createBuilder(configuration.tools);
  const checkPush = createPushCheck({ client: gitOpsClient, informers, clock, builder, redactor });
  await writeHooks(files.gitHooks);
  const builtInRemote = createBuiltInRemote({
    repositories: served,
    token,
    findUser: createGitUsers(gitOpsClient),
    preReceive: {
      policy: configuration.preReceive,
      hooksDirectory: files.gitHooks,
      check: (push) => checkPush(`${web.url}/git/${[...repositories].find(([, { gitdir }]) => gitdir === push.gitdir)?.[0]}`, push),
    },
    log: log.child({ component: 'git-remote' }),
  });
  const asksForLogin = configuration.requireLogin || !isLoopback(configuration.httpAddress);
  const pageToken = asksForLogin ? await ensureToken(files.pageToken) : undefined;
  const httpTls = await openHttpCertificate(configuration, { pki, clock, log });
  const web = createWeb({
    address: configuration.httpAddress,
    port: configuration.httpPort,
    names: configuration.tlsNames,
    ...(httpTls === undefined ? {} : { tls: httpTls.pair }),
    ...(pageToken === undefined ? {} : { token: pageToken }),
    informers,
    activity,
    steps,
    mounts: [builtInRemote, ...(webhooks === undefined ? [] : [webhooks.mount])],
    metrics: metrics.texts(),
    ready: () => true,
    gate,
    redact: (text) => redactor.text(text),
    clock,
    log: log.child({ component: 'web' }),
    clusterName: basename(resolve(configuration.dataDirectory, '..')),
    version,
  });
  metrics.state.addCollector(createStateCollector(informers));
  await start([...(httpTls?.parts ?? []), web]);

  // 7. GitOps: what Git says is put in force.
  if (webhooks !== undefined) {
    // Before the engine looks: after a restart the addresses of an earlier one may be gone.
    const url = sourceUrl(configuration, web.url);
    const isBuiltIn = url.startsWith(`${web.url}/`);
    const { branch, path, repositoryCredentials: credentials } = configuration;
    const notes = await untilAccepted(() => followRepository(gitOpsClient, { url, isBuiltIn, branch, path, credentials }), {
      clock,
      signal,
      onRefusal(err) {
        log.warn({ err }, 'Could not write what the cluster follows');
        onWarning(`The API refuses what the cluster follows, and is asked again: ${err.message}`);
      },
    });
    for (const note of notes) {
      log.info({ note }, 'Renamed app of midship up');
      onStep('Renamed', note);
    }
    await start([
      createEngine({
        ...dependencies('midship'),
        client: gitOpsClient,
        openSource: opener.open,
        feed: activity,
        redactor,
        gitopsMetrics: metrics.gitops,
        random,
        builder,
        noControllerText,
        readLastLine: createLastLineReader({ informers, kubelet: createKubeletClient(kubelet) }),
        overrideManagers: configuration.overrideManagers ?? [],
      }),
      webhooks,
    ]);
  }
  const seeded = configuration.seedDirectory === undefined ? undefined : 'with the examples';
  onStep('Git', redactedSource(configuration, web.url), hasGitOps ? seeded : 'not applied: --disable gitops');

  // Last, when everything has the certificates that it needs.
  const kubeconfig = await keepKubeconfig({ configuration, pki, server: apiServer.url });
  const apiEvents = events.recorder('kube-apiserver');
  const apiServerService = await ownClient.get(services, { namespace: 'default', name: 'kubernetes' });
  for (const [at, { reason, message }] of storage.damage.map(describeDamage).entries()) {
    if (at < shownDamage) onWarning(message);
    if (at === shownDamage) onWarning(`${storage.damage.length - at} more damaged rows of the store are named in the log.`);
    apiEvents.record(apiServerService, { type: reason === 'StoreRestored' ? 'Normal' : 'Warning', reason, message });
  }
  await start([
    createStorageWatch({
      storage,
      clock,
      onChange(failure) {
        onWarning(failure?.message ?? 'The store takes writes again.');
        if (failure !== undefined) log.warn({ err: failure }, 'Store refuses writes');
      },
    }),
    createCertificateKeeper({
      authorities: { cluster: pki, 'front proxy': frontProxy },
      onTrouble(message) {
        onWarning(message);
        log.warn({ problem: message }, 'Found certificate authority that needs to be replaced');
        apiEvents.record(apiServerService, { type: 'Warning', reason: 'CertificateExpirationWarning', message });
      },
      clock,
      log: log.child({ component: 'certificate-keeper' }),
    }),
  ]);
  const git = new URL(`${web.url}/git/cluster.git`);
  git.username = 'midship';
  git.password = token;
  const { httpAddress, tlsNames } = configuration;
  return {
    endpoints: {
      api: apiServer.url,
      http: web.url,
      ...(isWildcard(httpAddress) ? { page: `${new URL(web.url).protocol}//${outsideHost(tlsNames)}:${new URL(web.url).port}` } : {}),
      ...(httpTls === undefined ? {} : { httpCertificateFile: httpTls.file }),
      ...(httpTls?.caFile === undefined ? {} : { httpCaFile: httpTls.caFile }),
      ...(pageToken === undefined ? {} : { pageTokenFile: files.pageToken }),
      git: git.href,
      kubeconfig,
      ...(await thisProcess()),
    },
    awaits: !hasGitOps ? 'nothing' : awaitsPush ? 'push' : 'apps',
    newPageLink: () => (pageToken === undefined ? '' : web.newLink()),
    activity,
    status: overview.read,
    waitFor: (fits, until) => waitForOverview(overview, fits, { clock, signal: until }),
    stop,
  };
}

/** How the store is encrypted. A key that was made just now says that what is in the store already, is not. */
async function openEncryption(
  { dataDirectory, encryptionFile }: Configuration,
  hasData: boolean,
): Promise<Pick<EncryptedStorageOptions, 'configuration' | 'purge'>> {
  const path = encryptionFile ?? filesOf(dataDirectory).encryption;
  try {
    if (encryptionFile !== undefined) return { configuration: parseEncryptionConfiguration(await readFile(path, 'utf8')) };
    const { configuration, isNew } = await ensureEncryptionConfiguration(path);
    return { configuration, purge: isNew && hasData };
  } catch (cause) {
    throw new Failure(`${path} does not say how to encrypt the store`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Name an EncryptionConfiguration of apiserver.config.k8s.io/v1, or put back the file of a backup. Secrets are lost without their key.',
      cause,
    });
  }
}

interface HttpCertificate {
  readonly pair: WebCertificate;
  /** PEM, the server's certificate first. */
  readonly file: string;
  /** File of the cluster's authority, when that signed the certificate. */
  readonly caFile?: string;
  readonly parts: readonly Component[];
}

/** The certificate of page, metrics and Git remote; undefined when they speak plain HTTP. */
async function openHttpCertificate(
  { httpTls, dataDirectory, httpAddress, tlsNames }: Configuration,
  { pki, clock, log }: { readonly pki: Pki; readonly clock: Clock; readonly log: Log },
): Promise<HttpCertificate | undefined> {
  if (httpTls === undefined) return undefined;
  if (httpTls !== 'own') {
    const pair = await followCertificate(httpTls, { clock, log: log.child({ component: 'http-certificate' }) });
    return { pair, file: httpTls.certificateFile, parts: [pair] };
  }
  const own = Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address));
  const hosts = ['localhost', '127.0.0.1', ...(isWildcard(httpAddress) ? own.filter((each) => !each.includes('%')) : [httpAddress])];
  const pair = await pki.serverCertificate({ name: 'http', commonName: 'midship', hosts: [...hosts, ...tlsNames] });
  const { pki: directory } = filesOf(dataDirectory);
  return { pair, file: join(directory, 'http.crt'), caFile: join(directory, 'ca.crt'), parts: [] };
}

const isWildcard = (address: string): boolean => address === '0.0.0.0' || address === '::';

/** Gives the address or name by which other machines reach this one. */
function outsideHost(names: readonly string[]): string {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const outside = addresses.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
  const [name = outside ?? '127.0.0.1'] = names;
  return name.includes(':') ? `[${name}]` : name;
}

/** Reads the address of the Service `default/kubernetes` from the store. */
async function serviceAddressIn(storage: Storage): Promise<string | undefined> {
  const entry = await storage.get('core/services/default/kubernetes');
  return entry === undefined ? undefined : (JSON.parse(entry.text) as Service).spec.clusterIP;
}

async function readAuditPolicy(path: string): Promise<AuditPolicy> {
  try {
    return parseAuditPolicy(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new Failure(`${path} is no audit policy`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Name a Policy of audit.k8s.io/v1 with --audit-policy-file, or leave the flag out.',
      cause,
    });
  }
}

interface NodesOptions extends Pick<ComposeOptions, 'configuration' | 'log' | 'version' | 'clock'> {
  readonly network: Network;
  readonly pki: Pki;
  readonly informers: InformerSet;
  readonly events: EventQueue;
  readonly steps: StepLog;
  readonly metrics: Metrics;
  clientFor(name: string, groups: readonly string[]): Client;
  start(components: readonly Component[]): Promise<void>;
}

/** Nodes whose pods are processes of this machine, simulated ones, and the proxy that makes Services reachable for both. */
async function startNodes(options: NodesOptions): Promise<PodIsolation | undefined> {
  const { configuration, log, version, clock, network, pki, informers, events, steps, metrics, clientFor, start } = options;
  const files = filesOf(configuration.dataDirectory);
  const machine = await readMachineFacts();
  const kubeletMetrics = createKubeletMetrics(metrics);
  const queue = createPodQueue({ clock, log });
  const podsOf = createSharedPodSources(informers);
  const config = createConfigSource(informers);
  const agentFor = (nodeName: string, own: Pick<NodeAgentOptions, 'runtime' | 'address' | 'simulated' | 'capacity'>): NodeAgent =>
    createNodeAgent({
      ...own,
      nodeName,
      client: clientFor(`system:node:${nodeName}`, ['system:nodes', 'system:authenticated']),
      pods: podsOf(nodeName),
      config,
      queue,
      clock,
      log,
      random: Math.random,
      recorder: events.recorder('kubelet', nodeName),
      steps,
      metrics: kubeletMetrics,
      machine,
      kubeletVersion: `v1.36.0+midship.${version}`,
      directory: join(files.pods, nodeName),
      logDirectory: join(files.logs, 'pods'),
      hostPaths: { allowed: configuration.pods.allowedHostPaths, refused: [configuration.dataDirectory] },
    });

  const parts: Component[] = [queue];
  let isolation: PodIsolation | undefined;
  if (configuration.runtime === 'process') {
    // The real nodes share one machine; each may promise its part only.
    const capacity = capacityOf({
      ...machine,
      cpus: Math.max(1, Math.floor(machine.cpus / realNodes.length)),
      memoryKiB: Math.floor(machine.memoryKiB / realNodes.length),
    });
    const host = await openProcessHost({
      nodePath: process.execPath,
      searchPath: process.env.PATH ?? '',
      insecurePlainPods: configuration.pods.insecurePlainPods,
      hidden: [configuration.dataDirectory],
    });
    for (const [index, nodeName] of realNodes.entries()) {
      const internalIP = network.nodeAddress(index);
      const runtime = await openProcessRuntime({
        host,
        directory: runtimeDirectory(files.pods, nodeName),
        podCidr: network.podCidr(index),
        version,
        clock,
        log,
      });
      isolation = runtime.isolation;
      const agent = agentFor(nodeName, { runtime, address: { internalIP, kubeletPort }, capacity });
      const tls = await pki.serverCertificate({
        name: `kubelet-${nodeName}`,
        commonName: `system:node:${nodeName}`,
        hosts: [internalIP, nodeName],
      });
      parts.push(
        haltingPods(agent),
        createKubeletApi({
          agent,
          runtime,
          address: internalIP,
          port: kubeletPort,
          tls,
          caCertificate: pki.caCertificate,
          metrics: kubeletMetrics,
          metricsText: () => metrics.text(),
          clock,
          log,
        }),
      );
    }
  }
  const simulated = createSimulatedHost({ clock, version });
  const pretended = Array.from({ length: configuration.simulatedNodes }, (_, index) =>
    agentFor(`sim-${index}`, { runtime: simulated.createRuntime(), address: { internalIP: '', kubeletPort: 0 }, simulated: true }),
  );
  if (pretended.length > 0) parts.push(createAgentGroup({ name: 'simulated-nodes', agents: pretended }));
  // Beside the nodes' own addresses, which change from cluster to cluster, node ports are open where everybody looks first.
  const nodeAddresses = [
    ...(configuration.runtime === 'process' ? realNodes.map((nodeName, index) => ({ nodeName, address: network.nodeAddress(index) })) : []),
    { address: '127.0.0.1' },
  ];
  parts.push(createServiceProxy({ informers, nodeAddresses, clock, log, recorder: events.recorder('kube-proxy'), metrics }));
  await start(parts);
  return isolation;
}

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

/** Stopping the cluster ends its pods; they stay in the API and run again at the next start. */
const haltingPods = (agent: NodeAgent): Component => ({
  name: agent.name,
  start: (options) => agent.start(options),
  async stop() {
    await agent.stop();
    await agent.haltPods(maxStopGraceMs);
  },
});

interface MetricsPaths {
  readonly apiserver: Metrics;
  readonly scheduler: Metrics;
  readonly controllerManager: Metrics;
  readonly state: Metrics;
  readonly gitops: Metrics;
  readonly kubelet: Metrics;
  readonly process: Metrics;
  /** Text by path; `/metrics` has every family once. */
  texts(): Readonly<Record<string, () => AsyncIterable<string>>>;
}

function metricsPaths(): MetricsPaths {
  const paths = {
    apiserver: createMetrics(),
    scheduler: createMetrics(),
    controllerManager: createMetrics(),
    state: createMetrics(),
    gitops: createMetrics(),
    kubelet: createMetrics(),
    process: addProcessMetrics(),
  };
  return {
    ...paths,
    texts: () => ({
      '/metrics': () => partsOf(...Object.values(paths)),
      '/metrics/apiserver': () => partsOf(paths.apiserver, paths.process),
      '/metrics/scheduler': () => partsOf(paths.scheduler, paths.process),
      '/metrics/controller-manager': () => partsOf(paths.controllerManager, paths.process),
      '/metrics/state': () => partsOf(paths.state),
      '/metrics/gitops': () => partsOf(paths.gitops),
    }),
  };
}

/** Names and addresses under which clients reach the API. */
function apiHosts({ bindAddress, tlsNames }: Configuration, { serviceCidr }: Network): readonly string[] {
  const serviceAddress = serviceCidr.replace(/0\/\d+$/, '1');
  return [
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.local',
    'localhost',
    '127.0.0.1',
    serviceAddress,
    ...(bindAddress === '0.0.0.0' || bindAddress === '127.0.0.1' ? [] : [bindAddress]),
    ...tlsNames,
  ];
}

interface RepositoryOnDisk {
  readonly gitdir: string;
  readonly writable: boolean;
}

/** Repositories of the built-in remote by their path below `/git/`: the pushable one, and a directory that `--repo` names. */
async function openRepositories(configuration: Configuration, log: Log): Promise<ReadonlyMap<string, RepositoryOnDisk>> {
  const { repository: gitdir } = filesOf(configuration.dataDirectory);
  for (const repaired of await ensureBareRepository(gitdir)) log.warn({ repository: 'cluster.git', repaired }, 'Repaired repository');
  if (configuration.seedDirectory !== undefined && (await isEmptyRepository(gitdir))) {
    await seedRepository({ gitdir, directory: configuration.seedDirectory });
    log.info({ repository: 'cluster.git' }, 'Seeded repository');
  }
  const repositories = new Map<string, RepositoryOnDisk>([['cluster.git', { gitdir, writable: true }]]);
  const local = localRepository(configuration);
  if (local !== undefined) {
    const directory = await findGitDirectory(local.directory);
    // A branch that is missing here and now is a slip of the command line: said at once, not as a condition.
    const source = await openLocalSource({ directory, url: local.directory });
    await source
      .resolve({ branch: configuration.branch ?? defaultBranch }, { signal: AbortSignal.timeout(10_000) })
      .finally(() => source.close());
    repositories.set(local.path, { gitdir: directory, writable: false });
  }
  return repositories;
}

/** What `--repo DIR` names: served as `local/NAME.git`, so that `spec.url` stays an address. */
function localRepository({ repository }: Configuration): { readonly path: string; readonly directory: string } | undefined {
  if (repository === undefined || /^[a-z][a-z0-9+.-]*:\/\//i.test(repository)) return undefined;
  const directory = resolve(repository);
  const name =
    basename(directory)
      .replace(/\.git$/, '')
      .replace(/[^A-Za-z0-9._-]/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '') || 'repository';
  return { path: `local/${name}.git`, directory };
}

function sourceUrl(configuration: Configuration, webUrl: string): string {
  const local = localRepository(configuration);
  if (local !== undefined) return `${webUrl}/git/${local.path}`;
  return configuration.repository ?? `${webUrl}/git/cluster.git`;
}

const redactedSource = (configuration: Configuration, webUrl: string): string =>
  localRepository(configuration)?.directory ?? sourceUrl(configuration, webUrl).replace(/\/\/[^@/]*@/, '//');

function nodesText({ simulatedNodes }: Configuration, isolation: PodIsolation | undefined): string {
  const real = isolation === undefined ? '' : `${realNodes.join(', ')}   (processes on this machine, ${isolation.summary})`;
  const simulated = simulatedNodes === 0 ? '' : `${simulatedNodes} simulated`;
  return [real, simulated].filter((text) => text !== '').join(', ') || 'none';
}

/** Writes the kubeconfig, and again when its certificate was renewed. */
async function keepKubeconfig(options: {
  readonly configuration: Configuration;
  readonly pki: Pki;
  readonly server: string;
}): Promise<string> {
  const { configuration, pki, server } = options;
  const path = filesOf(configuration.dataDirectory).kubeconfig;
  const admin = await pki.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
  const write = (): Promise<void> => {
    const text = formatKubeconfig({
      name: 'midship',
      server,
      caCertificate: pki.caCertificate,
      clientCertificate: admin,
      extensions: { [dataDirectoryExtension]: { path: resolve(configuration.dataDirectory) } },
    });
    return writeDurableFile(path, text, { mode: configuration.kubeconfigMode });
  };
  await write();
  admin.onRenewed(write);
  return path;
}

/** Between two looks at the overview. A look goes over all apps and nodes, so where it takes long it is taken less often. */
const overviewPaceMs = 20;
const overviewLoad = 20;

function waitForOverview(
  overview: { read(): Overview; onChange(listener: () => void): () => void },
  fits: (status: Overview) => boolean,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Overview> {
  return new Promise((resolvePromise, reject) => {
    let cancelCheck: (() => void) | undefined;
    let tookMs = 0;
    const finish = (act: () => void): void => {
      remove();
      cancelCheck?.();
      signal.removeEventListener('abort', onAbort);
      act();
    };
    const onAbort = (): void => finish(() => reject(signal.reason));
    const check = (): void => {
      cancelCheck = undefined;
      const startedAt = clock.monotonicMs();
      const status = overview.read();
      tookMs = clock.monotonicMs() - startedAt;
      if (fits(status)) finish(() => resolvePromise(status));
    };
    // Changes come in bursts, one for each object of a commit.
    const remove = overview.onChange(() => {
      cancelCheck ??= clock.after(Math.max(overviewPaceMs, overviewLoad * tookMs), check);
    });
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}
