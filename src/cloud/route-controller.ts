import { type Node, nodes } from '../api/core/v1/node.ts';
import { timestampOf } from '../base/clock.ts';
import { inRange, parseRange } from '../machinery/addresses.ts';
import { conditionOf, setCondition } from '../machinery/conditions.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { Controller } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';
import type { Route, Routes } from './cloud-provider.ts';

export interface RouteControllerOptions extends ControllerDependencies {
  readonly routes: Routes;
  /** Addresses of all pods. Routes to other ranges are not ours. */
  readonly clusterCidr: string;
}

/** Between two comparisons with the cloud, as upstream. */
const periodMs = 10_000;
/** The one pass compares all routes, since the cloud is asked for its list. */
const everything = 'routes';

/**
 * Keeps a route in the cloud to the pods of each Node, and says in the condition NetworkUnavailable whether it is there.
 *
 * @see Kubernetes, k8s.io/cloud-provider, route controller
 */
export function createRouteController(options: RouteControllerOptions): Controller {
  const { client, informers, clock, recorder, routes, clusterCidr } = options;
  const informer = informers.get(nodes);
  const pods = parseRange(clusterCidr);

  const controller = createInformedController(options, {
    name: 'route',
    workers: 1,
    minBackoffMs: periodMs,
    onStarted: () => controller.enqueue(everything),
    async reconcile(_, { signal }) {
      const known = await routes.list(signal);
      if (known === undefined) return undefined;
      const present = known.filter(({ destination }) => inRange(pods, parseRange(destination).first));
      const wanted = new Map<string, Node>();
      for (const node of informer.list()) {
        const range = node.spec?.podCIDR ?? '';
        if (range !== '' && node.metadata.deletionTimestamp === undefined) wanted.set(range, node);
      }
      const isWanted = ({ destination, nodeName }: Route): boolean => wanted.get(destination)?.metadata.name === nodeName;
      // A route or a Node that makes trouble must not keep the others from theirs; the pass fails at its end.
      let failure: unknown;
      const attempt = async (act: () => Promise<void>): Promise<void> => {
        try {
          await act();
        } catch (err) {
          signal.throwIfAborted();
          failure ??= err;
        }
      };
      for (const route of present) if (!isWanted(route)) await attempt(() => routes.remove(route, signal));
      const kept = new Set(present.filter(isWanted).map(({ destination }) => destination));
      for (const [destination, node] of wanted) {
        const isThere = kept.has(destination) || (await create({ nodeName: node.metadata.name, destination }, node, signal));
        await attempt(() => report(node, isThere, signal));
      }
      if (failure !== undefined) throw failure;
      return { requeueAfterMs: periodMs };
    },
  });
  informer.addHandler(({ before, after }) => {
    if (before?.spec?.podCIDR !== after?.spec?.podCIDR) controller.enqueue(everything);
  });
  return controller;

  async function create(route: Route, node: Node, signal: AbortSignal): Promise<boolean> {
    try {
      await routes.create(route, signal);
      return true;
    } catch (err) {
      signal.throwIfAborted();
      const why = err instanceof Error ? err.message : String(err);
      const message = `Could not create route to ${route.destination} for node ${route.nodeName}: ${why}`;
      recorder.record(node, { type: 'Warning', reason: 'FailedToCreateRoute', message });
      return false;
    }
  }

  async function report(node: Node, isThere: boolean, signal: AbortSignal): Promise<void> {
    const { name } = node.metadata;
    const [status, reason, message] = isThere
      ? (['False', 'RouteCreated', 'RouteController created a route'] as const)
      : (['True', 'NoRouteCreated', 'RouteController failed to create a route'] as const);
    if (conditionOf(node.status?.conditions, 'NetworkUnavailable')?.status === status) return;
    const now = timestampOf(clock.now());
    const condition = { type: 'NetworkUnavailable', status, reason, message, lastHeartbeatTime: now };
    const conditions = setCondition(node.status?.conditions, condition, now);
    const body = { metadata: { resourceVersion: node.metadata.resourceVersion }, status: { conditions } };
    await client.patch(nodes, { name }, { type: 'merge', body }, { subresource: 'status', signal }).catch((err: unknown) => {
      if (!isNotFound(err)) throw err;
    });
  }
}
