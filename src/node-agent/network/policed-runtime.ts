import type { ContainerRuntime } from '../container-runtime.ts';

/** Lets a pod start once the rules for it are in force. */
export interface PolicyGate {
  /** @throws Error when that is not so in time: the pod must not start */
  admit(uid: string, address: string): Promise<void>;
  release(uid: string): void;
}

/**
 * The runtime with NetworkPolicies: a sandbox counts as made when the rules for its address are in force. No program of a pod runs before.
 * Pods in the network of their node have no address of their own, and no rules.
 */
export function enforcePolicies(runtime: ContainerRuntime, gate: PolicyGate): ContainerRuntime {
  const policed: Pick<ContainerRuntime, 'runPodSandbox' | 'stopPodSandbox' | 'removePodSandbox'> = {
    async runPodSandbox(config) {
      const id = await runtime.runPodSandbox(config);
      const sandbox = (await runtime.list({ podUid: config.uid })).find((each) => each.id === id);
      if (sandbox?.ip === undefined || config.hostNetwork) return id;
      try {
        await gate.admit(config.uid, sandbox.ip);
      } catch (err) {
        // The next try makes it again once it is stopped; a ready one would count as made.
        await policed.stopPodSandbox(id);
        throw err;
      }
      return id;
    },
    async stopPodSandbox(id) {
      await releasing(id, () => runtime.stopPodSandbox(id));
    },
    async removePodSandbox(id) {
      await releasing(id, () => runtime.removePodSandbox(id));
    },
  };

  /** A newer sandbox of the pod keeps its rules. */
  async function releasing(id: string, end: () => Promise<void>): Promise<void> {
    const sandbox = (await runtime.list()).find((each) => each.id === id);
    await end();
    if (sandbox === undefined) return;
    const others = await runtime.list({ podUid: sandbox.uid });
    if (!others.some((each) => each.id !== id && each.ready)) gate.release(sandbox.uid);
  }

  // The rest is the runtime's own, also what it computes when it is asked.
  return Object.assign(Object.create(runtime) as ContainerRuntime, policed);
}
