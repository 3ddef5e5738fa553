import { nodeNetworkPolicies } from '../api/network/v1/node-network-policy.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import { createNftKeeper } from '../base/nft/keeper.ts';
import { type RunProgram, removeNftTable } from '../base/nft/run-program.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import { isNotFound } from '../machinery/status-error.ts';
import { type PoliciesOnNode, policyFrame, policyRulesOf } from './policy-rules.ts';

export interface PolicyEnforcerOptions {
  readonly nodeName: string;
  /** Name of the table. */
  readonly table: string;
  readonly informers: InformerSet;
  /** The pods that run here already, with their addresses. */
  readonly listPods: () => Promise<readonly PodAddress[]>;
  readonly run?: RunProgram;
  readonly clock: Clock;
  readonly log: Log;
}

export interface PodAddress {
  readonly uid: string;
  readonly ip?: string | undefined;
}

/** Enforces NetworkPolicies on the pods of this machine. */
export interface PolicyEnforcer extends Component {
  /**
   * Resolves when the rules of a new pod are in force, before any of its programs runs.
   *
   * @throws Error when the control plane has not looked at the pod in time, or the kernel refuses the rules
   */
  admit(uid: string, address: string): Promise<void>;
  /** The pod has given its address back. */
  release(uid: string): void;
}

/**
 * Looks if the server says what holds for the pods of a node. One of an earlier version does not: the agent would wait for it without end.
 * Rules that an earlier agent left are removed then, since nobody would change them.
 *
 * @throws StatusError for any other answer
 */
export async function sendsPolicies({
  client,
  nodeName,
  table,
  run,
  log,
  signal,
}: Pick<PolicyEnforcerOptions, 'nodeName' | 'table' | 'run' | 'log'> & {
  readonly client: Client;
  readonly signal: AbortSignal;
}): Promise<boolean> {
  try {
    await client.list(nodeNetworkPolicies, { fieldSelector: `metadata.name=${nodeName}`, signal });
    return true;
  } catch (err) {
    if (!isNotFound(err)) throw err;
    log.warn({ resource: nodeNetworkPolicies.resource }, 'Found no network policies of nodes on the server, so none are enforced');
    await removeNftTable({ name: table }, run);
    return false;
  }
}

/** The control plane looks at a pod within milliseconds; a pod whose start fails is tried again. */
const admissionMs = 10_000;

/**
 * Keeps the table of policies in line with the NodeNetworkPolicy of this node. A table that an earlier agent left stays in force until the
 * object and the pods of this machine are known: it never opens meanwhile.
 */
export function createPolicyEnforcer(options: PolicyEnforcerOptions): PolicyEnforcer {
  const { nodeName, table, informers, run, clock, log: parent } = options;
  const log = parent.child({ component: 'network-policy' });
  const informer = informers.get(nodeNetworkPolicies, { fieldSelector: `metadata.name=${nodeName}` });
  const addresses = new Map<string, string>();
  const waiting = new Set<() => void>();
  let isKnown = false;
  let unsubscribe = (): void => undefined;

  const keeper = createNftKeeper<PoliciesOnNode>({
    frame: policyFrame(table),
    read: () => ({ spec: spec() ?? {}, addresses: new Map(addresses) }),
    rulesOf: policyRulesOf,
    ...(run === undefined ? {} : { run }),
    clock,
    log,
  });

  const spec = () => informer.get({ name: nodeName })?.spec;
  const apply = (): Promise<boolean> => (isKnown && spec() !== undefined ? keeper.apply() : Promise.resolve(false));

  /** Resolves when the control plane has looked at the pod. */
  function waitForPod(uid: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (spec()?.pods?.some((pod) => pod.uid === uid) !== true) return;
        end();
        resolve();
      };
      const cancel = clock.after(admissionMs, () => {
        end();
        reject(new Error(`the control plane did not send the network policies of the pod in ${admissionMs / 1_000} s`));
      });
      const end = (): void => {
        cancel();
        waiting.delete(look);
      };
      waiting.add(look);
      look();
    });
  }

  return {
    name: 'network-policy',

    async start({ signal }) {
      await informers.waitForSync({ signal });
      for (const { uid, ip } of await options.listPods()) if (ip !== undefined && ip !== '') addresses.set(uid, ip);
      isKnown = true;
      unsubscribe = informer.addHandler(() => {
        for (const look of [...waiting]) look();
        void apply();
      });
      // Before the agent starts programs in sandboxes that are there: an earlier agent may have ended before it admitted them.
      await apply();
    },

    async admit(uid, address) {
      addresses.delete(uid);
      addresses.set(uid, address);
      await waitForPod(uid);
      if (!(await apply())) throw new Error('the rules of network policies for the pod could not be set; the log of the agent says why');
    },

    release(uid) {
      if (addresses.delete(uid)) void apply();
    },

    async stop() {
      unsubscribe();
      await keeper.stop();
    },
  };
}
