import { unregisterMetricsApi } from '../../apiserver/resource-metrics/registration.ts';
import { systemClock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import { type ActivityFeed, createActivityFeed } from '../../base/contracts/activity.ts';
import type { Overview } from '../../base/contracts/overview.ts';
import type { Log } from '../../base/log.ts';
import { boundHeapGrowth } from '../../base/memory-budget.ts';
import { thisProcess } from '../../base/process-identity.ts';
import { createRedactor, type Redactor } from '../../base/redactor.ts';
import { createTurnGate } from '../../base/turn-gate.ts';
import { createBuilder } from '../../gitops/render/builder.ts';
import { isEmptyRepository } from '../../gitops/sources/bare-repository.ts';
import { createConfigSource } from '../../node-agent/config-source.ts';
import { createSharedPodSources } from '../../node-agent/pod-source.ts';
import { createOverviewSource } from '../../web/overview.ts';
import { type Configuration, filesOf } from '../configuration.ts';
import { directoryIdentity, type Endpoints } from '../data-directory.ts';
import { explainStartFailure } from '../explain.ts';
import { startControlPlane } from './control-plane.ts';
import { readInputs } from './control-plane-inputs.ts';
import { type Elections, type Led, serverLeaseOf } from './elections.ts';
import { createCommitPush, createPeerRemote, createSharedRemote, findGitHome, peerAccess } from './git-home.ts';
import { createGitMirror, guardCopy } from './git-mirror.ts';
import { startGitRemote } from './git-remote.ts';
import { createGitOps } from './gitops.ts';
import { cachedSecrets, startIngress } from './ingress.ts';
import { keepKubeconfig } from './keep-kubeconfig.ts';
import { createMetricsPaths } from './metrics-paths.ts';
import { ownKubeletTls, startNodes } from './nodes.ts';
import { type Page, startPage } from './page.ts';
import { type PartStart, type Running, type Surroundings, startPart } from './part.ts';
import { openRepositories, redactedSource } from './repositories.ts';
import { startResourceMetrics } from './resource-metrics.ts';
import { waitForOverview } from './wait-for-overview.ts';
import { startWarnings } from './warnings.ts';

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
  onWarning(text: string, details?: readonly string[]): void;
}

/** Starts every part in order. When one cannot start, those before it are stopped again. */
export async function startCluster(options: StartClusterOptions): Promise<Cluster> {
  const { configuration, log, version, signal } = options;
  boundHeapGrowth();
  const surroundings: Surroundings = { log, version, signal, clock: systemClock, random: Math.random };
  try {
    return await startPart(surroundings, (part) => compose(options, surroundings, part));
  } catch (err) {
    const { apiPort, httpPort, dataDirectory } = configuration;
    throw await explainStartFailure(err, { apiPort, httpPort, dataDirectory });
  }
}

async function compose(
  options: StartClusterOptions,
  surroundings: Surroundings,
  { onClose, start }: PartStart,
): Promise<Omit<Cluster, 'stop'>> {
  const { log, onStep, onWarning } = options;
  const { clock } = surroundings;
  const configuration = withoutOwnNode(options.configuration);
  const { repository, dataDirectory, tools, disabled, seedDirectory } = configuration;
  const metrics = createMetricsPaths();
  const redactor = options.redactor ?? createRedactor();
  const gate = createTurnGate({ clock });
  const running = async <T extends Running>(starting: Promise<T>): Promise<T> => {
    const part = await starting;
    onClose(part.stop);
    return part;
  };

  // Files and repositories of the command line have to exist before anything starts.
  const repositories = await openRepositories(configuration, log);
  const awaitsPush = repository === undefined && (await isEmptyRepository(filesOf(dataDirectory).repository));
  const inputs = await readInputs(configuration);

  const controlPlane = await running(
    startControlPlane({
      ...surroundings,
      configuration,
      inputs,
      metrics,
      redactor,
      gate,
      onListening: (url) => onStep('API server', url, 'Kubernetes 1.36 API'),
    }),
  );
  const { informers, events, steps, network, pki, ownClient, clientFor } = controlPlane;

  const nodes = await running(
    startNodes({
      ...surroundings,
      configuration,
      network,
      kubeletTls: ownKubeletTls(pki),
      podsOf: createSharedPodSources(informers),
      config: createConfigSource(informers),
      informers,
      events,
      steps,
      metrics: metrics.kubelet,
      ownClient,
      clientFor,
    }),
  );
  const hasKubelets = configuration.runtime !== 'simulated' || options.configuration.machines !== undefined;
  if (configuration.disabled?.includes('metrics-server') === true) await unregisterMetricsApi(ownClient);
  else if (hasKubelets) await running(startResourceMetrics({ ...surroundings, controlPlane }));
  onStep('Nodes', nodes.text);
  await running(
    startIngress({
      ...surroundings,
      settings: configuration.ingress,
      network,
      nodes: nodes.real,
      informers,
      secrets: cachedSecrets(informers),
      events,
      metrics: metrics.kubelet,
      onStep,
      onWarning,
    }),
  );
  if (nodes.isolation !== undefined && !nodes.isolation.isolated) onWarning(nodes.isolation.message);

  // Git remote, webhooks and page share a port, which the page opens.
  const activity = createActivityFeed();
  const client = clientFor('system:midship:gitops');
  const builder = createBuilder(tools);
  const gitOps =
    disabled?.includes('gitops') === true
      ? undefined
      : createGitOps({ ...surroundings, configuration, controlPlane, client, metrics: metrics.gitops, activity, redactor, builder });
  // The built-in remote lives on one of several servers.
  const isShared = controlPlane.shared !== undefined && repository === undefined;
  const home = isShared ? await findGitHome(controlPlane.shared, informers) : undefined;
  if (home !== undefined) onClose(async () => home.stop());
  const remote = await running(
    startGitRemote({
      ...surroundings,
      configuration,
      repositories,
      client,
      informers,
      builder,
      redactor,
      commit: home && createCommitPush(home, filesOf(dataDirectory).repository),
      onPush: () => void controlPlane.announcePush(),
      pageUrl: () => page.url,
    }),
  );
  const access = home && (await peerAccess(pki));
  const gitMount = home === undefined || access === undefined ? remote.mount : createSharedRemote({ home, access, own: remote.mount });
  if (home !== undefined) controlPlane.serveGit(createPeerRemote(home, remote.mount));
  const mounts = [gitMount, ...(gitOps === undefined ? [] : [gitOps.mount])];
  const { elections } = controlPlane;
  const page: Page = await running(
    startPage({
      ...surroundings,
      configuration,
      pki,
      api: controlPlane.url,
      informers,
      activity,
      steps,
      metrics,
      gate,
      redactor,
      mounts,
      gitOpsElection: elections && { lease: serverLeaseOf('midship-gitops'), identity: elections.identity },
      inspection: () => gitOps?.inspection(),
    }),
  );
  await controlPlane.announcePage(page.endpoints.page ?? page.url);
  if (gitOps !== undefined) {
    const startGitOps = (led?: Led): Promise<Running> =>
      gitOps.start({
        led,
        pageUrl: page.url,
        openSource: home === undefined ? remote.opener.open : guardCopy(remote.opener.open, { home, informers, pageUrl: page.url }),
        onRefusal: (err) => onWarning(`The API refuses the source and app of the cluster; the next try follows: ${err.message}`),
        onRenamed: (note) => onStep('Renamed', note),
        onWarning,
      });
    const lead = (all: Elections): Component => all.led('midship-gitops', async (led) => led.part.onClose((await startGitOps(led)).stop));
    if (elections === undefined) await running(startGitOps());
    else if (home === undefined || access === undefined) await start([lead(elections)]);
    else {
      const mirror = createGitMirror({
        home,
        gitdir: filesOf(dataDirectory).repository,
        temporaryDirectory: filesOf(dataDirectory).gitCache,
        token: remote.token,
        access,
        clock,
        log: log.child({ component: 'git-mirror' }),
        onUsable: whileUsable(() => lead(elections), surroundings.signal),
      });
      await start([mirror]);
    }
    await start([gitOps.webhooks]);
  }
  const seeded = seedDirectory === undefined ? undefined : 'with the examples';
  onStep('Git', redactedSource(configuration, page.url), gitOps === undefined ? 'not applied: --disable gitops' : seeded);

  // Last, when everything has the certificates that it needs.
  const kubeconfig = await keepKubeconfig({ configuration, pki, server: controlPlane.url });
  await running(startWarnings({ ...surroundings, controlPlane, onWarning }));
  // The first to close: others take over before pods and pages end here.
  onClose(controlPlane.retire);
  const git = new URL(`${page.url}/git/cluster.git`);
  git.username = 'midship';
  git.password = remote.token;
  const overview = createOverviewSource(informers);
  return {
    endpoints: {
      api: controlPlane.url,
      ...page.endpoints,
      git: git.href,
      kubeconfig,
      directory: await directoryIdentity(configuration.dataDirectory),
      ...(await thisProcess()),
    },
    awaits: gitOps === undefined ? 'nothing' : awaitsPush ? 'push' : 'apps',
    newPageLink: page.newLink,
    activity,
    status: overview.read,
    waitFor: (fits, until) => waitForOverview(overview, fits, { clock, signal: until }),
  };
}

/** Without a node of this machine there are simulated ones at most, and those that join. */
const withoutOwnNode = (configuration: Configuration): Configuration =>
  configuration.disabled?.includes('node') === true ? { ...configuration, runtime: 'simulated' } : configuration;

/** Competes for the work while the copy of this server is usable, and gives the work back when the copy is not. */
function whileUsable(create: () => Component, signal: AbortSignal): (isUsable: boolean) => Promise<void> {
  let competing: Component | undefined;
  return async (isUsable) => {
    if (isUsable === (competing !== undefined)) return;
    const before = competing;
    competing = isUsable ? create() : undefined;
    await (competing === undefined ? before?.stop() : competing.start({ signal }));
  };
}
