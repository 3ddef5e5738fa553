import { deployments } from '../api/apps/v1/deployment.ts';
import { labels } from '../api/well-known.ts';
import { createActivityFeed } from '../base/activity.ts';
import { systemClock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { addProcessMetrics, createMetrics } from '../base/metrics.ts';
import { startAll } from '../base/shutdown.ts';
import type { Client } from '../client/client.ts';
import { createHttpClient, type HttpClientOptions } from '../client/http-client.ts';
import { createInformerSet } from '../client/informer-set.ts';
import { createEngine } from '../gitops/engine.ts';
import { createGitThread } from '../gitops/sources/git-thread.ts';
import { createSourceOpener } from '../gitops/sources/open-source.ts';
import { createWebhooks } from '../gitops/webhooks/webhooks.ts';
import { createControllerMetrics } from '../reconcile/controller-metrics.ts';
import { createEventQueue } from '../reconcile/event-recorder.ts';
import { createStepLog } from '../reconcile/step-log.ts';
import { createWeb } from '../web/server.ts';
import { Failure } from './failure.ts';
import { installFluxDefinitions } from './flux-definitions.ts';

/** The engine on a cluster that someone else runs. */
export interface ForeignEngine {
  /** Of the page and the metrics. */
  readonly url: string;
  /** Definitions that were installed because the cluster had none. */
  readonly installed: readonly string[];
  stop(): Promise<void>;
}

export interface ForeignEngineOptions {
  readonly connection: Omit<HttpClientOptions, 'userAgent'>;
  /** What the page calls the cluster. */
  readonly clusterName: string;
  /** 0: any free port. */
  readonly httpPort: number;
  /** Where fetched repositories are kept. */
  readonly cacheDirectory: string;
  readonly log: Log;
  readonly version: string;
  /** Abandons the start. */
  readonly signal: AbortSignal;
}

/** Apps and repositories that carry this label are the engine's; all others are left to whoever made them. */
export const managedSelector = `${labels.midshipManaged}=true`;

/** Controllers that would apply the same objects. */
const rivals: readonly string[] = ['source-controller', 'kustomize-controller'];

/**
 * Starts the GitOps engine, and nothing else, against any Kubernetes cluster, over its public API.
 *
 * @throws Failure when Flux's controllers run there
 */
export async function startForeignEngine(options: ForeignEngineOptions): Promise<ForeignEngine> {
  const { connection, clusterName, httpPort, cacheDirectory, log, version, signal } = options;
  const clock = systemClock;
  const random = Math.random;
  const userAgent = `midship-gitops/${version}`;
  const client = createHttpClient({ ...connection, userAgent, clock, random });
  let stopParts: () => Promise<void> = async () => undefined;
  const stop = async (): Promise<void> => {
    await stopParts();
    client.close();
  };
  try {
    await refuseRivals(client);
    const installed = await installFluxDefinitions({ client, clock, signal });

    const controllerManager = createMetrics();
    const gitopsMetrics = createMetrics();
    const processMetrics = addProcessMetrics();
    const text = async (...all: readonly { text(): Promise<string> }[]): Promise<string> =>
      (await Promise.all(all.map((each) => each.text()))).join('');
    const informers = createInformerSet({ client, clock, log, random });
    const events = createEventQueue({ client, clock, log, metrics: controllerManager });
    const steps = createStepLog({ clock, log, metrics: controllerManager });
    const activity = createActivityFeed();
    const dependencies = {
      client,
      informers,
      clock,
      log: log.child({ component: 'gitops' }),
      recorder: events.recorder('midship'),
      metrics: createControllerMetrics({ metrics: controllerManager, clock }),
      steps,
    };
    const thread = createGitThread({ clock, log: log.child({ component: 'git-thread' }) });
    const opener = createSourceOpener({ builtInUrl: () => 'about:blank', builtIn: new Map(), cacheDirectory, thread });
    const webhooks = createWebhooks({ ...dependencies, gitopsMetrics });
    const web = createWeb({
      address: '127.0.0.1',
      port: httpPort,
      informers,
      activity,
      steps,
      mounts: [webhooks.mount],
      metrics: {
        '/metrics': () => text(gitopsMetrics, controllerManager, processMetrics),
        '/metrics/gitops': () => text(gitopsMetrics),
        '/metrics/controller-manager': () => text(controllerManager, processMetrics),
      },
      ready: () => true,
      clock,
      log: log.child({ component: 'web' }),
      clusterName,
      version,
    });
    const abort = new AbortController();
    informers.start({ signal: abort.signal });
    const stopAll = await startAll(
      [
        events,
        thread,
        web,
        createEngine({
          ...dependencies,
          openSource: opener.open,
          feed: activity,
          gitopsMetrics,
          random,
          labelSelector: managedSelector,
          userAgent,
        }),
        webhooks,
      ],
      { clock, log, signal },
    );
    stopParts = async () => {
      await stopAll();
      abort.abort(new Error('the engine stops'));
    };
    return { url: web.url, installed, stop };
  } catch (err) {
    await stop();
    throw err;
  }
}

/** Two engines that apply one object would take it from each other for ever. */
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
