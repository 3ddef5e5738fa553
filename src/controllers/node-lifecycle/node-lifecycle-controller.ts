import { leases } from '../../api/coordination/v1/lease.ts';
import { type Node, nodes, type Taint } from '../../api/core/v1/node.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { labels } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import { conditionOf, eventsOf, readyStatusOf, stateOf, statusOf, unknownConditions } from '../../lifecycle/node.facts.ts';
import { nodeMachine } from '../../lifecycle/node.machine.ts';
import { nodeNameOf } from '../../lifecycle/pod-scheduling.facts.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { isPodReady } from '../pod-conditions.ts';
import { indexByNode, podsOn } from '../pods-by-node.ts';
import { inBatches } from '../slow-start.ts';
import { createHeartbeats } from './heartbeats.ts';
import { createZones } from './zones.ts';

export interface NodeLifecycleOptions extends ControllerDependencies {
  /** Silence after which a node counts as lost. Several times the ten seconds of a Lease. */
  readonly graceMs?: number;
  /** The same for a node that has never reported. */
  readonly startupGraceMs?: number;
  /** Interval between two searches for silent nodes. */
  readonly scanMs?: number;
  /** Nodes a second from which pods may begin to be moved. */
  readonly evictionsPerSecond?: number;
}

/** A node that is older when it is first seen was registered with an earlier run. */
const newNodeMs = 60_000;
const nodeLeaseNamespace = 'kube-node-lease';
const excludeFromDisruption = 'node.kubernetes.io/exclude-disruption';

/**
 * Detects nodes that fall silent or report trouble, and taints them. New pods stay away at once. Running pods leave by
 * the NoExecute taint, which is set zone by zone at a bounded rate. It is not set at all when every node seems dead.
 *
 * Work is by event: a Lease that is renewed costs a map operation, and silence is found by a scan that sees only silent nodes.
 */
export function createNodeLifecycleController(options: NodeLifecycleOptions): Controller {
  const { client, informers, clock, log, recorder, steps } = options;
  const scanMs = options.scanMs ?? 1_000;
  const nodeInformer = informers.get(nodes);
  const podInformer = informers.get(pods);
  const leaseInformer = informers.get(leases, { namespace: nodeLeaseNamespace });
  indexByNode(podInformer);

  const heartbeats = createHeartbeats({ clock, graceMs: options.graceMs ?? 40_000, startupGraceMs: options.startupGraceMs ?? 60_000 });
  const zones = createZones({
    clock,
    evictionsPerSecond: options.evictionsPerSecond ?? 0.1,
    disruptedEvictionsPerSecond: 0.01,
    largeZoneNodes: 50,
    unhealthyShare: 0.55,
  });
  /** Nodes that wait for their taint; an entry leaves as soon as the taint is set. */
  const due = new Set<string>();
  /** Nodes that nobody hears from: pods that come to them, or become ready on them, are looked at. */
  const unreachable = new Set<string>();
  let wasDisrupted = false;
  /** A cluster whose first node is still starting is not a cluster that died. */
  let sawReady = false;
  let cancelScan: (() => void) | undefined;

  const controller = createInformedController(options, {
    name: 'node-lifecycle',
    workers: 8,
    onStarted() {
      // A node that was silent while this process was down gets the whole grace period from now.
      heartbeats.reset();
      scan();
    },
    onStopping: () => cancelScan?.(),
    reconcile,
  });
  nodeInformer.addHandler(onNodeChange);
  leaseInformer.addHandler(({ after }) => {
    if (after === undefined) return;
    const { name } = after.metadata;
    if (heartbeats.heard(name, 'lease', after.spec?.renewTime ?? '')) controller.enqueue(name);
  });
  podInformer.addHandler(({ after }) => {
    const node = after === undefined ? undefined : nodeNameOf(after);
    if (node !== undefined && unreachable.has(node)) controller.enqueue(node);
  });

  return controller;

  function onNodeChange({ before, after }: { readonly before?: Node; readonly after?: Node }): void {
    if (after === undefined) {
      if (before !== undefined) onNodeGone(before);
      return;
    }
    const { name } = after.metadata;
    if (before === undefined) {
      heartbeats.known(name);
      // At each start the informer delivers all nodes as added; that is no change of theirs.
      if (clock.now() - Date.parse(after.metadata.creationTimestamp ?? '') < newNodeMs) {
        const message = `Node ${name} event: Registered Node ${name} in Controller`;
        recorder.record(after, { type: 'Normal', reason: 'RegisteredNode', message });
      }
    }
    const ready = conditionOf(after, 'Ready');
    if (ready !== undefined) heartbeats.heard(name, 'status', ready.lastHeartbeatTime ?? ready.lastTransitionTime ?? '');
    controller.enqueue(name);
  }

  function onNodeGone(node: Node): void {
    const { name } = node.metadata;
    heartbeats.forget(name);
    zones.delete(name);
    due.delete(name);
    unreachable.delete(name);
    noteDisruption();
    recorder.record(node, { type: 'Normal', reason: 'RemovingNode', message: `Node ${name} event: Removing Node ${name} from Controller` });
  }

  function scan(): void {
    for (const name of heartbeats.takeLost()) {
      log.warn({ node: name }, 'Node fell silent');
      controller.enqueue(name);
    }
    if (!zones.allDisrupted) {
      for (const name of zones.takeDue()) {
        due.add(name);
        controller.enqueue(name);
      }
    }
    cancelScan = clock.after(scanMs, scan);
  }

  /** When the whole cluster seems dead, or comes back from it, all nodes are looked at again. */
  function noteDisruption(): void {
    const disrupted = zones.allDisrupted;
    if (disrupted === wasDisrupted) return;
    wasDisrupted = disrupted;
    if (disrupted) {
      if (sawReady) log.warn({}, 'No node was ready, stopped moving pods');
      due.clear();
    } else {
      if (sawReady) log.info({}, 'Some node was ready again, resumed moving pods');
      heartbeats.reset();
    }
    for (const node of nodeInformer.list()) controller.enqueue(node.metadata.name);
  }

  async function reconcile(name: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    let node = nodeInformer.get({ name });
    if (node === undefined) return undefined;
    const lost = heartbeats.isLost(name);
    const here = podsOn(podInformer, name);

    await advance({
      machine: nodeMachine,
      key: name,
      from: stateOf(node),
      events: eventsOf(node, {
        heartbeatLost: lost,
        podsStillReady: readyStatusOf(node) === 'Unknown' && here.some(isPodReady),
        evictionAllowed: due.has(name),
        evictionCalledOff: wasDisrupted,
      }),
      effects: {
        async markUnknown() {
          if (node !== undefined) node = await writeConditions(node, signal);
        },
        async setTaints() {
          if (node !== undefined) node = await writeTaints(node, statusOf(node, { now: timestampOf(clock.now()) }), signal);
        },
        async setEvictionTaint({ evict }) {
          if (node === undefined) return;
          node = await writeTaints(node, statusOf(node, { evict, now: timestampOf(clock.now()) }), signal);
          due.delete(name);
        },
        reportNotReady() {
          if (node === undefined) return;
          recorder.record(node, { type: 'Normal', reason: 'NodeNotReady', message: `Node ${name} status is now: NodeNotReady` });
        },
        markPodsNotReady: () => markPodsNotReady(here, signal),
      },
      steps,
    });
    if (node !== undefined) countInZone(node);
    return undefined;
  }

  /** Counts the node in its zone, and queues it when its pods have to be moved. */
  function countInZone(node: Node): void {
    const { name } = node.metadata;
    const ready = readyStatusOf(node);
    zones.set(name, zoneNameOf(node), {
      ready: ready === 'True',
      counts: node.metadata.labels?.[excludeFromDisruption] === undefined,
    });
    if (ready === 'Unknown') unreachable.add(name);
    else unreachable.delete(name);
    noteDisruption();
    if (ready === 'True') sawReady = true;
    const { eviction } = stateOf(node) as { readonly eviction: string };
    if ((ready === 'False' || ready === 'Unknown') && eviction === 'Keeping' && !wasDisrupted) {
      if (!due.has(name)) zones.want(name);
    } else {
      zones.cancel(name);
      due.delete(name);
    }
  }

  function writeConditions(node: Node, signal: AbortSignal): Promise<Node> {
    const conditions = unknownConditions(node, timestampOf(clock.now()));
    return client.update(nodes, { ...node, status: { ...node.status, conditions } }, { subresource: 'status', signal });
  }

  async function writeTaints(node: Node, taints: readonly Taint[], signal: AbortSignal): Promise<Node> {
    if (taints === node.spec?.taints || (taints.length === 0 && node.spec?.taints === undefined)) return node;
    return client.update(nodes, { ...node, spec: { ...node.spec, taints } }, { signal });
  }

  async function markPodsNotReady(here: readonly Pod[], signal: AbortSignal): Promise<void> {
    const now = timestampOf(clock.now());
    await inBatches(here.filter(isPodReady), async (pod) => {
      const conditions = (pod.status?.conditions ?? []).map((condition) =>
        condition.type === 'Ready' ? { ...condition, status: 'False', lastTransitionTime: now } : condition,
      );
      try {
        await client.update(pods, { ...pod, status: { ...pod.status, conditions } }, { subresource: 'status', signal });
        recorder.record(pod, { type: 'Warning', reason: 'NodeNotReady', message: 'Node is not ready' });
      } catch (err) {
        // Gone, or written meanwhile: the change brings this node back when the pod still counts as ready.
        if (!isNotFound(err) && !isConflict(err)) throw err;
      }
    });
  }
}

/** Region and zone together, as upstream counts them. */
function zoneNameOf(node: Node): string {
  const region = node.metadata.labels?.[labels.region] ?? '';
  const zone = node.metadata.labels?.[labels.zone] ?? '';
  return region === '' && zone === '' ? '' : `${region}:\u0000:${zone}`;
}
