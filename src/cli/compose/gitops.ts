import { nodes } from '../../api/core/v1/node.ts';
import { noControllerText } from '../../api/kinds-without-controller.ts';
import { ingressClasses } from '../../api/networking/v1/ingress-class.ts';
import { enforcesPoliciesEverywhere } from '../../api/policy-enforcement.ts';
import { createKubeletClient } from '../../apiserver/http/kubelet-client.ts';
import { createLastLineReader } from '../../apiserver/last-line.ts';
import type { Component } from '../../base/component.ts';
import type { ActivityFeed } from '../../base/contracts/activity.ts';
import type { AppInspection } from '../../base/contracts/app-inspection.ts';
import type { HttpMount } from '../../base/contracts/http-mount.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { Redactor } from '../../base/redactor.ts';
import type { Client } from '../../client/client.ts';
import { untilAccepted } from '../../client/until-accepted.ts';
import { createEngine, type Engine } from '../../gitops/engine.ts';
import { createPathHint } from '../../gitops/path-hint.ts';
import type { Builder } from '../../gitops/render/builder.ts';
import { followRepository } from '../../gitops/root-app.ts';
import type { OpenSource } from '../../gitops/sources/open-source.ts';
import { createWebhooks } from '../../gitops/webhooks/webhooks.ts';
import type { Configuration } from '../configuration.ts';
import type { ControlPlane } from './control-plane.ts';
import type { Led } from './elections.ts';
import { type Running, type Surroundings, startPart } from './part.ts';
import { sourceUrl } from './repositories.ts';

export interface GitOpsOptions extends Surroundings {
  readonly configuration: Configuration;
  readonly controlPlane: Pick<ControlPlane, 'dependencies' | 'informers' | 'kubelet'>;
  /** With the rights of the engine. */
  readonly client: Client;
  readonly metrics: Metrics;
  readonly activity: ActivityFeed;
  readonly redactor: Redactor;
  readonly builder: Builder;
}

/** Sources and listeners of an engine that starts. */
export interface GitOpsStart {
  /** Undefined: no other server could do this work. */
  readonly led: Led | undefined;
  /** Address of the page; the built-in remote is below it. */
  readonly pageUrl: string;
  readonly openSource: OpenSource;
  /** The API refuses what the cluster follows; the write is tried again. */
  onRefusal(err: Error): void;
  /** An app of an earlier version got another name. */
  onRenamed(note: string): void;
  /** The flags of this start may not say what is meant. */
  onWarning(text: string): void;
}

/** The engine, which puts in force what Git says, and the webhooks, which the page has to serve before the engine starts. */
export interface GitOps {
  readonly mount: HttpMount;
  /** Takes the calls of Git hosts; on each of several servers. */
  readonly webhooks: Component;
  /** The engine's knowledge of apps; undefined while it does not run here. */
  inspection(): AppInspection | undefined;
  /** Writes what the cluster follows, and starts the engine. */
  start(options: GitOpsStart): Promise<Running>;
}

export function createGitOps(options: GitOpsOptions): GitOps {
  const { configuration, controlPlane, client, metrics, activity, redactor, builder, clock, log, signal, random } = options;
  const { dependencies, informers, kubelet } = controlPlane;
  const webhooks = createWebhooks({ ...dependencies('midship'), client, gitopsMetrics: metrics });
  let running: Engine | undefined;
  return {
    mount: webhooks.mount,
    webhooks,
    inspection: () => running,
    start: ({ led, pageUrl, openSource, onRefusal, onRenamed, onWarning }) =>
      startPart({ ...options, signal: led?.signal ?? signal }, async ({ start, onClose }) => {
        const ofEngine = metrics.branch();
        onClose(async () => ofEngine.end());
        const writer = led === undefined ? client : led.guard(client);
        // Before the engine looks: after a restart the addresses of an earlier one may be gone.
        const url = sourceUrl(configuration, pageUrl);
        const isBuiltIn = url.startsWith(`${pageUrl}/`);
        const { branch, path, repositoryCredentials: credentials } = configuration;
        const followed = await untilAccepted(() => followRepository(writer, { url, isBuiltIn, branch, path, credentials }), {
          clock,
          signal: led?.signal ?? signal,
          onRefusal(err) {
            log.warn({ err }, 'Could not write what the cluster follows');
            onRefusal(err);
          },
        });
        if (configuration.repository === undefined && followed.left !== undefined) onWarning(leftText(followed.left));
        for (const note of followed.notes) {
          log.info({ note }, 'Renamed app of midship up');
          onRenamed(note);
        }
        const nodeInformer = informers.get(nodes);
        const classInformer = informers.get(ingressClasses);
        const engine = createEngine({
          ...dependencies('midship'),
          informers: led?.informers ?? informers,
          client: writer,
          openSource,
          feed: activity,
          redactor,
          gitopsMetrics: ofEngine.metrics,
          random,
          builder,
          noControllerText: (object) =>
            noControllerText(object, {
              arePoliciesEnforced: () => enforcesPoliciesEverywhere(nodeInformer.list()),
              ingressClasses: () => classInformer.list(),
            }),
          readLastLine: createLastLineReader({ informers, kubelet: createKubeletClient(kubelet) }),
          overrideManagers: configuration.overrideManagers ?? [],
          onRead: path === undefined ? createPathHint(followed, onWarning) : () => undefined,
        });
        onClose(async () => {
          running = undefined;
        });
        await start([engine]);
        running = engine;
        return {};
      }),
  };
}

/** A directory is named as it is served: its place on the machine is not kept. */
const leftText = (address: string): string =>
  `This start follows the built-in remote, and the one before ${address.replace(/^.*\/git\/local\//, '')}. Give --repo again to stay with it.`;
