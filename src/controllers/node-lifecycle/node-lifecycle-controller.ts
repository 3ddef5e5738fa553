import { leases } from '../../api/coordination/v1/lease.ts';
import { type Node, nodes } from '../../api/core/v1/node.ts';
import { pods } from '../../api/core/v1/pod.ts';
import { timestampOf } from '../../base/clock.ts';
import { conditionOf, eventsOf, readyStatusOf, stateOf, statusOf } from '../../lifecycle/node.facts.ts';
import { nodeMachine } from '../../lifecycle/node.machine.ts';
import { nodeNameOf } from '../../lifecycle/pod-scheduling.facts.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { indexByNode, podsOn } from '../../reconcile/pods-by-node.ts';
import { isPodReady } from '../pod-conditions.ts';
import { createEvictions } from './evictions.ts';
import { createHeartbeats } from './heartbeats.ts';
import { createNodeWrites } from './node-writes.ts';

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
  const evictions = createEvictions({
    clock,
    log,
    evictionsPerSecond: options.evictionsPerSecond ?? 0.1,
    onTurn({ isCalledOff }) {
      if (!isCalledOff) heartbeats.reset();
      for (const node of nodeInformer.list()) controller.enqueue(node.metadata.name);
    },
  });
  const writes = createNodeWrites({ client, clock, recorder });
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
  leaseInformer.addHandler(({ before, after }) => {
    if (after === undefined) {
      // A Lease may outlive its Node and be renewed: then only its end can end what is remembered of it.
      const name = before?.metadata.name ?? '';
      if (nodeInformer.get({ name }) === undefined) heartbeats.forget(name);
      return;
    }
    const { name } = after.metadata;
    if (heartbeats.heard(name, 'lease', after.spec?.renewTime ?? '')) controller.enqueue(name);
  });
  podInformer.addHandler(({ after }) => {
    const node = after === undefined ? undefined : nodeNameOf(after);
    if (node !== undefined && evictions.isUnreachable(node)) controller.enqueue(node);
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
    evictions.forget(name);
    recorder.record(node, { type: 'Normal', reason: 'RemovingNode', message: `Node ${name} event: Removing Node ${name} from Controller` });
  }

  function scan(): void {
    for (const name of heartbeats.takeLost()) {
      log.warn({ node: name }, 'Node fell silent');
      controller.enqueue(name);
    }
    for (const name of evictions.takeDue()) controller.enqueue(name);
    cancelScan = clock.after(scanMs, scan);
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
        evictionAllowed: evictions.isDue(name),
        evictionCalledOff: evictions.isCalledOff,
      }),
      effects: {
        async markUnknown() {
          if (node !== undefined) node = await writes.writeUnknown(node, signal);
        },
        async setTaints() {
          if (node !== undefined) node = await writes.writeTaints(node, statusOf(node, { now: timestampOf(clock.now()) }), signal);
        },
        async setEvictionTaint({ evict }) {
          if (node === undefined) return;
          node = await writes.writeTaints(node, statusOf(node, { evict, now: timestampOf(clock.now()) }), signal);
          evictions.noteTainted(name);
        },
        reportNotReady() {
          if (node === undefined) return;
          recorder.record(node, { type: 'Normal', reason: 'NodeNotReady', message: `Node ${name} status is now: NodeNotReady` });
        },
        markPodsNotReady: () => writes.markNotReady(here, signal),
      },
      steps,
    });
    if (node !== undefined) evictions.judge(node);
    return undefined;
  }
}
