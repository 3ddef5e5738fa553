import { isIPv4 } from 'node:net';
import { namespaces } from '../api/core/v1/namespace.ts';
import { type Node, nodes } from '../api/core/v1/node.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import { type NodeNetworkPolicySpec, nodeNetworkPolicies } from '../api/network/v1/node-network-policy.ts';
import { networkPolicies } from '../api/networking/v1/network-policy.ts';
import { enforcesPolicies } from '../api/policy-enforcement.ts';
import { type AddressRange, inRange, parseRange, tryAddress } from '../machinery/addresses.ts';
import { deepEqual } from '../machinery/object.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import { type Controller, createController, type ReconcileContext } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { compilePolicies } from './compile.ts';

/** The only key of the queue: a pod that changes may be a peer of pods on every node. */
const everything = 'cluster';
/** A look costs the time that it takes, and at most a fifth of the event loop. */
const minIntervalMs = 50;
const restPerWork = 4;
/** Index of the nodes that enforce policies, and its only value. */
const byEnforcing = 'network-policy/enforcing';
const enforcing = 'true';

/**
 * Writes a NodeNetworkPolicy for each Node that enforces policies: the rules for its pods, with the addresses that they name. An agent so
 * reads neither policies nor pods of other nodes.
 */
export function createNetworkPolicyController({ client, informers, clock, log, metrics }: ControllerDependencies): Controller {
  const nodeInformer = informers.get(nodes);
  const podInformer = informers.get(pods);
  const namespaceInformer = informers.get(namespaces);
  const policyInformer = informers.get(networkPolicies);
  const compiledInformer = informers.get(nodeNetworkPolicies);
  let restUntilMs = Number.NEGATIVE_INFINITY;
  // With 5,000 nodes that enforce nothing, a filter over all at each look took 2 % of a roll-out.
  nodeInformer.addIndex(byEnforcing, enforcingOf);

  const controller = createController({
    name: 'network-policy-controller',
    clock,
    log,
    workers: 1,
    observer: metrics.observerOf('network-policy-controller'),
    waitForSync: (wait) => informers.waitForSync(wait),
    reconcile,
  });
  const wake = (): void => controller.enqueue(everything);
  policyInformer.addHandler(({ before, after }) => {
    if (before?.spec !== after?.spec) wake();
  });
  namespaceInformer.addHandler(({ before, after }) => {
    if (before?.metadata.labels !== after?.metadata.labels || before === undefined || after === undefined) wake();
  });
  podInformer.addHandler(({ before, after }) => {
    if (before === undefined || after === undefined || !isSamePeer(before, after)) wake();
  });
  nodeInformer.addHandler(({ before, after }) => {
    if (before?.spec?.podCIDR !== after?.spec?.podCIDR) wake();
    else if (before?.metadata.labels !== after?.metadata.labels && isEnforcing(before) !== isEnforcing(after)) wake();
  });
  compiledInformer.addHandler(({ before, after }) => {
    if (before?.spec !== after?.spec) wake();
  });
  return controller;

  async function reconcile(_: string, { signal }: ReconcileContext) {
    const restMs = restUntilMs - clock.monotonicMs();
    if (restMs > 0) return { requeueAfterMs: Math.ceil(restMs) };
    const startedMs = clock.monotonicMs();
    const nodesToServe = nodeInformer.byIndex(byEnforcing, enforcing);
    if (nodesToServe.length > 0) await writeAll(nodesToServe, signal);
    const names = new Set(nodesToServe.map(({ metadata }) => metadata.name));
    for (const { metadata } of [...compiledInformer.list()]) {
      if (names.has(metadata.name)) continue;
      await client.delete(nodeNetworkPolicies, { name: metadata.name }, { signal }).catch(ignoreNotFound);
    }
    const endedMs = clock.monotonicMs();
    restUntilMs = endedMs + Math.max(minIntervalMs, restPerWork * (endedMs - startedMs));
    return undefined;
  }

  async function writeAll(nodesToServe: readonly Node[], signal: AbortSignal): Promise<void> {
    const compiled = compilePolicies({
      policies: policyInformer.list(),
      pods: podInformer.list(),
      namespaces: namespaceInformer.list(),
      isCredible: credibilityIn(nodeInformer.list()),
    });
    for (const { metadata } of nodesToServe) {
      const spec = compiled.specOf(metadata.name);
      const stored = compiledInformer.get({ name: metadata.name });
      if (stored === undefined) await create(metadata.name, spec, signal);
      else if (!deepEqual(stored.spec, spec)) await client.update(nodeNetworkPolicies, { ...stored, spec }, { signal }).catch(passConflict);
    }
  }

  async function create(name: string, spec: NodeNetworkPolicySpec, signal: AbortSignal): Promise<void> {
    const object = { apiVersion: 'network.midship.dev/v1', kind: 'NodeNetworkPolicy', metadata: { name }, spec };
    await client.create(nodeNetworkPolicies, object, { signal });
  }

  /** The cache is behind the store: its next event wakes this controller. */
  function passConflict(err: unknown): void {
    if (!isConflict(err) && !isNotFound(err)) throw err;
    wake();
  }
}

function ignoreNotFound(err: unknown): void {
  if (!isNotFound(err)) throw err;
}

const enforcingOf = (node: Node): readonly string[] => (enforcesPolicies(node) ? [enforcing] : []);

const isEnforcing = (node: Node | undefined): boolean => node !== undefined && enforcesPolicies(node);

const isSamePeer = (a: Pod, b: Pod): boolean =>
  a.metadata.uid === b.metadata.uid &&
  a.metadata.labels === b.metadata.labels &&
  a.spec.nodeName === b.spec.nodeName &&
  a.status?.podIP === b.status?.podIP &&
  a.status?.phase === b.status?.phase;

/**
 * A node writes the addresses of its own pods. One whose credentials were stolen could name the address of another node's pod there, to
 * open all that is open to its own. So only addresses of its own range count.
 */
function credibilityIn(all: Iterable<Node>): (pod: Pod, address: string) => boolean {
  const ranges = new Map<string, AddressRange>();
  for (const { metadata, spec } of all) {
    const cidr = spec?.podCIDR ?? '';
    // A Node that somebody made by hand may have a range of IPv6.
    if (isIPv4(cidr.split('/')[0] ?? '')) ranges.set(metadata.name, parseRange(cidr));
  }
  return ({ spec }, address) => {
    const value = tryAddress(address) ?? 0;
    const own = ranges.get(spec.nodeName ?? '');
    // The nodes of one machine have no ranges in the API.
    return own === undefined ? ![...ranges.values()].some((range) => inRange(range, value)) : inRange(own, value);
  };
}
