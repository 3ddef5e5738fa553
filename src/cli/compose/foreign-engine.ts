import { deployments } from '../../api/apps/v1/deployment.ts';
import { namespaces } from '../../api/core/v1/namespace.ts';
import { labels } from '../../api/well-known.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import { createActivityFeed } from '../../base/contracts/activity.ts';
import type { Log } from '../../base/log.ts';
import { addProcessMetrics, createMetrics, partsOf } from '../../base/metrics.ts';
import type { Redactor } from '../../base/redactor.ts';
import { startAll } from '../../base/shutdown.ts';
import { createTurnGate } from '../../base/turn-gate.ts';
import type { Client } from '../../client/client.ts';
import { createHttpClient, type HttpClientOptions } from '../../client/http-client.ts';
import { createInformerSet } from '../../client/informer-set.ts';
import { createEngine, type Engine, redactEvent } from '../../gitops/engine.ts';
import { createBuilder } from '../../gitops/render/builder.ts';
import type { BuildTools } from '../../gitops/render/tools.ts';
import { createGitThread } from '../../gitops/sources/git-thread.ts';
import { createSourceOpener } from '../../gitops/sources/open-source.ts';
import { createWebhooks } from '../../gitops/webhooks/webhooks.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/status-error.ts';
import { createControllerMetrics } from '../../reconcile/controller-metrics.ts';
import { createEventQueue, type EventRecorder } from '../../reconcile/event-recorder.ts';
import {
  createLeaderElectionMetrics,
  createLeaderElector,
  guardByLeadership,
  type LeaderElector,
  type Leadership,
  LeadershipLost,
} from '../../reconcile/leader-election.ts';
import { createSkipReporter } from '../../reconcile/skipped-objects.ts';
import { createStepLog } from '../../reconcile/step-log.ts';
import { createWeb } from '../../web/server.ts';
import { noControllerTextAt } from '../connect.ts';
import { Failure } from '../failure.ts';
import { faultOfFluxObject, installFluxDefinitions } from '../flux-definitions.ts';
import { lostLease } from '../lost-lease.ts';

/** The engine on a cluster that someone else runs. */
export interface ForeignEngine {
  /** Address of the page and the metrics. */
  readonly url: string;
  /** Definitions that were installed because the cluster had none. */
  readonly installed: readonly string[];
  /**
   * Aborted when another engine has or may have the lease: this one writes nothing any more, and has to be stopped. Never aborted
   * without election.
   */
  readonly lost: AbortSignal;
  /** Finishes what is under way, and leaves the lease to the next one. */
  stop(): Promise<void>;
}

export interface ForeignEngineOptions {
  readonly connection: Omit<HttpClientOptions, 'userAgent'>;
  /** Name of the cluster on the page. */
  readonly clusterName: string;
  /** 0: any free port. */
  readonly httpPort: number;
  /** Directory of fetched repositories. */
  readonly cacheDirectory: string;
  readonly tools?: BuildTools | undefined;
  /** Field managers, beside the usual ones, whose fields on objects of apps become the apps'. */
  readonly overrideManagers?: readonly string[];
  readonly log: Log;
  /** Shared with who writes the log; is given the values that apps have from Secrets. */
  readonly redactor: Redactor;
  readonly version: string;
  /** Undefined: whoever starts it sees to it that it is the only one. */
  readonly election: ForeignElection | undefined;
  /** Abandons the start. */
  readonly signal: AbortSignal;
}

/** Lets one of several engines on a cluster work. */
export interface ForeignElection {
  /** `HOST_UUID`, another one for each process. */
  readonly identity: string;
  /** By which the lease is renewed and waited for. */
  readonly clock: Clock;
  /** Another engine leads; page and metrics are there meanwhile. */
  onStandby(standby: { readonly holder: string; readonly url: string }): void;
}

/** The lease that engines on one cluster compete for. */
export const engineLease = { namespace: 'flux-system', name: 'midship-gitops' } as const;

/** Apps and repositories that carry this label are the engine's; all others are left to whoever made them. */
export const managedSelector = `${labels.midshipManaged}=true`;

/** Controllers that would apply the same objects. */
const rivals: readonly string[] = ['source-controller', 'kustomize-controller'];

/**
 * Starts the GitOps engine, and nothing else, against any Kubernetes cluster, over its public API. With an election it waits until this
 * engine leads. Page, metrics and webhooks, which only ask for a look at a repository, are served from before that.
 *
 * @throws Failure when Flux's controllers run there
 */
export async function startForeignEngine(options: ForeignEngineOptions): Promise<ForeignEngine> {
  const {
    connection,
    clusterName,
    httpPort,
    cacheDirectory,
    tools,
    overrideManagers = [],
    log,
    redactor,
    version,
    election,
    signal,
  } = options;
  const clock = systemClock;
  const random = Math.random;
  const userAgent = `midship-gitops/${version}`;
  const client = createHttpClient({ ...connection, userAgent, clock, random });
  const abort = new AbortController();
  const started: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const stopThese of started.splice(0).reverse()) await stopThese();
    abort.abort(new Error('the engine stops'));
    client.close();
  };
  try {
    await refuseRivals(client);
    const installed = await installFluxDefinitions({ client, clock, signal });

    const controllerManager = createMetrics();
    const gitopsMetrics = createMetrics();
    const processMetrics = addProcessMetrics();
    let recorder: EventRecorder | undefined;
    let engine: Engine | undefined;
    const informers = createInformerSet({
      client,
      clock,
      log,
      random,
      faultOf: faultOfFluxObject,
      onSkipped: createSkipReporter({
        log,
        metrics: controllerManager,
        // A standby engine writes nothing to the cluster.
        recorder: { record: (about, event) => recorder?.record(about, event) },
      }),
    });
    const steps = createStepLog({ clock, log, metrics: controllerManager });
    const activity = createActivityFeed();
    const thread = createGitThread({ clock, log: log.child({ component: 'git-thread' }) });
    const opener = createSourceOpener({ builtInUrl: () => 'about:blank', builtIn: new Map(), cacheDirectory, thread });
    const observers = createControllerMetrics({ metrics: controllerManager, clock });
    const parts = { informers, clock, log: log.child({ component: 'gitops' }), metrics: observers, steps };
    const webhooks = createWebhooks({ ...parts, client, gitopsMetrics });
    const web = createWeb({
      address: '127.0.0.1',
      port: httpPort,
      informers,
      activity,
      steps,
      mounts: [webhooks.mount],
      inspection: () => engine,
      metrics: {
        '/metrics': () => partsOf(gitopsMetrics, controllerManager, processMetrics),
        '/metrics/gitops': () => partsOf(gitopsMetrics),
        '/metrics/controller-manager': () => partsOf(controllerManager, processMetrics),
      },
      ready: () => true,
      gate: createTurnGate({ clock }),
      redact: (text) => redactor.text(text),
      clock,
      log: log.child({ component: 'web' }),
      clusterName,
      version,
    });
    informers.start({ signal: abort.signal });
    started.push(await startAll([thread, web], { clock, log, signal }));

    const leadership =
      election === undefined
        ? undefined
        : await lead({
            elector: createLeaderElector({
              client,
              lease: engineLease,
              identity: election.identity,
              clock: election.clock,
              metrics: createLeaderElectionMetrics(controllerManager),
              log: log.child({ component: 'leader-election' }),
              random,
              onStandby: (holder) => election.onStandby({ holder, url: web.url }),
            }),
            client,
            signal,
          });
    if (leadership !== undefined) started.push(leadership.release);
    const guard = (each: Client): Client => (leadership === undefined ? each : guardByLeadership(each, leadership));
    const writer = guard(client);
    const events = createEventQueue({ client: writer, clock, log, metrics: controllerManager, redact: redactEvent(redactor) });
    recorder = events.recorder('midship');
    engine = createEngine({
      ...parts,
      client: writer,
      recorder,
      openSource: opener.open,
      feed: activity,
      redactor,
      gitopsMetrics,
      random,
      builder: createBuilder(tools),
      overrideManagers,
      labelSelector: managedSelector,
      userAgent,
      guard,
      noControllerText: await noControllerTextAt(client),
      readLastLine: client.readLastLine,
    });
    const lost = leadership?.signal ?? new AbortController().signal;
    started.push(await startAll([events, engine, webhooks], { clock, log, signal: AbortSignal.any([signal, lost]) }));
    return { url: web.url, installed, lost, stop };
  } catch (err) {
    await stop();
    if (err instanceof LeadershipLost) throw lostLease(err);
    throw err;
  }
}

/** Waits until this engine leads; a cluster that Flux never ran on lacks the namespace of the lease. */
async function lead(options: {
  readonly elector: LeaderElector;
  readonly client: Client;
  readonly signal: AbortSignal;
}): Promise<Leadership> {
  const { elector, client, signal } = options;
  try {
    return await elector.acquire({ signal });
  } catch (err) {
    if (!isNotFound(err)) throw err;
  }
  try {
    await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: engineLease.namespace } });
  } catch (err) {
    if (!isAlreadyExists(err)) throw err;
  }
  return elector.acquire({ signal });
}

/** Two engines that apply one object would take it from each other forever. */
async function refuseRivals(client: Client): Promise<void> {
  for (const name of rivals) {
    const { items } = await client.list(deployments, { fieldSelector: `metadata.name=${name}` });
    const running = items.find(({ spec }) => (spec.replicas ?? 1) > 0);
    if (running === undefined) continue;
    throw new Failure(`Flux's ${name} runs in namespace ${running.metadata.namespace}`, {
      why: 'It would apply the same objects, and each would undo the other.',
      fix: `Stop it first: kubectl -n ${running.metadata.namespace} scale deployment ${name} --replicas=0`,
    });
  }
}
