import { type Lease, leases } from '../api/coordination/v1/lease.ts';
import { type Node, nodes } from '../api/core/v1/node.ts';
import { type Clock, microTimestampOf, within } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import { untilAccepted } from '../client/until-accepted.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../machinery/status-error.ts';
import {
  isNewsInStatus,
  type NodeDescription,
  nodeAnnotationsOf,
  nodeLabelsOf,
  nodeObjectOf,
  nodeStatusOf,
  nodeTaintsOf,
} from './node-object.ts';
import { sameJson } from './pod-status.ts';

/** Keeps the Node and its Lease in the API: the sign of life that the node controller watches. */
export interface Heartbeat {
  /** Registers the node, or brings the addresses of the one that is there up to date; it does not beat yet. */
  register(signal: AbortSignal): Promise<Node>;
  /** Registers the node, or takes over the one that is there, and beats from then on. */
  start(signal: AbortSignal): Promise<Node>;
  /** Reports a change at once. It resolves when the API has the status. */
  reportNow(): Promise<void>;
  /**
   * Ends the beats with a last report, for which `describe` says that the node is not ready. Without an answer of the API it gives up after
   * 3 s. Does nothing before the first beat.
   */
  leave(): Promise<void>;
  /** Ends the beats without a report. It waits up to 3 s for the one under way. */
  stop(): Promise<void>;
}

export interface HeartbeatOptions {
  readonly client: Client;
  readonly describe: () => NodeDescription;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
}

const leaseNamespace = 'kube-node-lease';
/** The kubelet's numbers: the Lease is renewed four times before it ends; the status goes out when it changed, and every five minutes. */
const leaseDurationSeconds = 40;
const intervalMs = 10_000;
const reportEveryMs = 5 * 60_000;
const jitter = 0.04;
const maxTries = 5;
/** A node that stops waits so long for the API. Its pods have to end within the time of the stop, too. */
const lastAnswerMs = 3_000;

export const createHeartbeat = (options: HeartbeatOptions): Heartbeat => new NodeHeartbeat(options);

class NodeHeartbeat implements Heartbeat {
  readonly #options: HeartbeatOptions;
  #cancelTimer: (() => void) | undefined;
  /** Absent between two beats. */
  #beating: Promise<void> | undefined;
  #stopped = false;
  #hasBeaten = false;
  #lease: Lease | undefined;
  #reportedAt = Number.NEGATIVE_INFINITY;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  register(signal: AbortSignal): Promise<Node> {
    const { describe, clock } = this.#options;
    return this.#accepted(async () => {
      const node = await this.#register();
      const { addresses } = nodeStatusOf(describe(), node.status, clock.now());
      // A node that comes back keeps its Ready condition until the agent runs.
      if (!sameJson(addresses, node.status?.addresses)) await this.#report(node);
      return node;
    }, signal);
  }

  async start(signal: AbortSignal): Promise<Node> {
    this.#stopped = false;
    const node = await this.#accepted(async () => {
      const registered = await this.#register();
      await this.#beat(registered);
      return registered;
    }, signal);
    signal.throwIfAborted();
    this.#hasBeaten = true;
    this.#schedule();
    return node;
  }

  async reportNow(): Promise<void> {
    const node = await this.#findNode();
    // Without a Node the first report has it.
    if (node !== undefined) await this.#beat(node);
  }

  async leave(): Promise<void> {
    const { clock, log } = this.#options;
    this.#endBeats();
    if (!this.#hasBeaten) return;
    const last = Promise.resolve(this.#beating)
      .then(() => this.reportNow())
      .catch((err: unknown) => log.warn({ err }, 'Could not report that the node stops'));
    // Nobody waits for it a second time.
    this.#beating = undefined;
    if ((await within(clock, lastAnswerMs, last)) === 'late') {
      log.warn({ durationMs: lastAnswerMs }, 'Could not report that the node stops: no answer of the API');
    }
  }

  async stop(): Promise<void> {
    this.#endBeats();
    if (this.#beating !== undefined) await within(this.#options.clock, lastAnswerMs, this.#beating);
  }

  async #register(): Promise<Node> {
    const { client, describe, clock } = this.#options;
    const description = describe();
    try {
      const created = await client.create(nodes, nodeObjectOf(description, clock.now()));
      this.#reportedAt = clock.monotonicMs();
      return created;
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
    }
    const existing = await client.get(nodes, { name: description.name });
    const labels = nodeLabelsOf(description);
    const annotations = nodeAnnotationsOf(description);
    const missing =
      Object.entries(labels).some(([key, value]) => existing.metadata.labels?.[key] !== value) ||
      Object.entries(annotations).some(([key, value]) => existing.metadata.annotations?.[key] !== value);
    // Taints that others set stay; only those the node itself must have are put back.
    const taints = existing.spec?.taints ?? [];
    const lost = nodeTaintsOf(description).filter(
      (taint) => !taints.some(({ key, effect }) => key === taint.key && effect === taint.effect),
    );
    if (!missing && lost.length === 0) return existing;
    const body = {
      metadata: { labels, annotations },
      ...(lost.length === 0 ? {} : { spec: { taints: [...taints, ...lost] } }),
    };
    return client.patch(nodes, { name: description.name }, { type: 'merge', body });
  }

  async #report(node: Node): Promise<void> {
    const { client, describe, clock } = this.#options;
    const reported = nodeStatusOf(describe(), node.status, clock.now());
    // A cloud that knows the machine knows its addresses better.
    const isOfCloud = (node.spec?.providerID ?? '') !== '';
    const status = isOfCloud ? { ...reported, addresses: node.status?.addresses ?? [] } : reported;
    if (!isNewsInStatus(node.status, status, sameJson) && clock.monotonicMs() - this.#reportedAt < reportEveryMs) return;
    await client.update(nodes, { ...node, status }, { subresource: 'status' });
    this.#reportedAt = clock.monotonicMs();
  }

  async #renew(node: Node): Promise<void> {
    const { client, clock } = this.#options;
    const { name } = node.metadata;
    const spec = { holderIdentity: name, leaseDurationSeconds, renewTime: microTimestampOf(clock.now()) };
    for (let tries = 1; ; tries += 1) {
      try {
        const lease = this.#lease ?? (await this.#findLease(name));
        this.#lease = await (lease === undefined ? client.create(leases, newLease(node, spec)) : client.update(leases, { ...lease, spec }));
        return;
      } catch (err) {
        // Someone else wrote, removed or made it: the next try reads it first.
        this.#lease = undefined;
        if (!(isConflict(err) || isNotFound(err) || isAlreadyExists(err)) || tries >= maxTries) throw err;
      }
    }
  }

  async #findLease(name: string): Promise<Lease | undefined> {
    try {
      return await this.#options.client.get(leases, { namespace: leaseNamespace, name });
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  /** The Lease first: it is what keeps the node alive. */
  async #beat(known?: Node): Promise<void> {
    let node = known ?? (await this.#findNode());
    node ??= await this.#register();
    await this.#renew(node);
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#report(node);
        return;
      } catch (err) {
        if (!isConflict(err) || tries >= maxTries) throw err;
        node = (await this.#findNode()) ?? (await this.#register());
      }
    }
  }

  async #findNode(): Promise<Node | undefined> {
    const { client, describe } = this.#options;
    try {
      return await client.get(nodes, { name: describe().name });
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  #endBeats(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
  }

  #schedule(): void {
    const { clock, log, random } = this.#options;
    if (this.#stopped) return;
    // Jitter: nodes that start together must not send heartbeats together forever.
    this.#cancelTimer = clock.after(intervalMs * (1 + jitter * random()), () => {
      this.#beating = this.#beat()
        .catch((err: unknown) => log.warn({ err }, 'Could not report node'))
        .finally(() => {
          this.#beating = undefined;
          this.#schedule();
        });
    });
  }

  #accepted(write: () => Promise<Node>, signal: AbortSignal): Promise<Node> {
    const { clock, log } = this.#options;
    return untilAccepted(write, { clock, signal, onRefusal: (err) => log.warn({ err }, 'Could not register node') });
  }
}

function newLease({ metadata }: Node, spec: NonNullable<Lease['spec']>): Lease {
  const { name, uid = '' } = metadata;
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name, namespace: leaseNamespace, ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name, uid }] },
    spec,
  };
}
