import { join } from 'node:path';
import type { Pod } from '../api/core/v1/pod.ts';
import { runtimeClasses } from '../api/node/v1/runtime-class.ts';
import type { Mutable } from '../machinery/object.ts';
import type { AgentContext } from './agent-context.ts';
import type { ContainerStatus, PodSandboxConfig, SandboxStatus } from './container-runtime.ts';
import { composePodDns, podDomain } from './pod-dns.ts';
import { recordPodEvent } from './pod-events.ts';
import { podLinuxOf } from './pod-linux.ts';

/** The sandboxes that the runtime holds for one pod: the newest, and those that it replaced. */
export interface PodSandboxes {
  /** As of the last look. */
  readonly newest: SandboxStatus | undefined;
  /** The containers that ran at the last look. */
  running(): readonly ContainerStatus[];
  look(): Promise<void>;
  /**
   * Makes the next sandbox.
   *
   * @returns the number of the attempt
   * @throws Error of the runtime; an Event says so, and the next call tries again
   */
  run(pod: Pod, gracePeriodMs: number): Promise<number>;
  stop(): Promise<void>;
  /** Removes those of the last look. */
  remove(): Promise<void>;
}

export function createPodSandboxes(context: AgentContext, podUid: string): PodSandboxes {
  const { client, runtime, metrics, logDirectory } = context;
  let all: readonly SandboxStatus[] = [];

  /** Parts beyond the limits of resolvers are left out, and an Event says so. */
  async function dnsOf(pod: Pod): Promise<Pick<PodSandboxConfig, 'dns' | 'domain'>> {
    const { dns } = context;
    if (dns === undefined) return {};
    const { config, cuts } = composePodDns(pod, dns, await dns.machine());
    for (const message of cuts) recordPodEvent(context, pod, { type: 'Warning', reason: 'DNSConfigForming', message });
    return { dns: config, domain: podDomain(pod, dns) };
  }

  /** @throws StatusError `NotFound` when the class is not there */
  async function handlerOf({ spec: { runtimeClassName = '' } }: Pod): Promise<string | undefined> {
    if (!runtime.hasContainers || runtimeClassName === '') return undefined;
    return (await client.get(runtimeClasses, { name: runtimeClassName })).handler;
  }

  const sandboxes: Mutable<PodSandboxes> = {
    newest: undefined,

    running: () => all.flatMap(({ containers }) => containers.filter(({ state }) => state === 'running')),

    async look() {
      all = await runtime.list({ podUid });
      sandboxes.newest = all.reduce<SandboxStatus | undefined>(
        (before, sandbox) => (before === undefined || sandbox.attempt > before.attempt ? sandbox : before),
        undefined,
      );
    },

    async run(pod, gracePeriodMs) {
      const { metadata, spec } = pod;
      const attempt = sandboxes.newest === undefined ? 0 : sandboxes.newest.attempt + 1;
      try {
        const dns = await dnsOf(pod);
        const runtimeHandler = await handlerOf(pod);
        await metrics.runtimeOperation('run_podsandbox', () =>
          runtime.runPodSandbox({
            ...dns,
            namespace: metadata.namespace ?? '',
            name: metadata.name,
            uid: podUid,
            attempt,
            hostname: (spec.hostname ?? metadata.name).slice(0, 63),
            hostNetwork: spec.hostNetwork ?? false,
            hostAliases: (spec.hostAliases ?? []).map(({ ip, hostnames }) => ({ ip: ip ?? '', hostnames: hostnames ?? [] })),
            logDirectory: podLogs(logDirectory, pod),
            linux: podLinuxOf(pod),
            runtimeHandler,
            gracePeriodMs,
          }),
        );
      } catch (err) {
        const message = `Failed to create pod sandbox: ${err instanceof Error ? err.message : String(err)}`;
        recordPodEvent(context, pod, { type: 'Warning', reason: 'FailedCreatePodSandBox', message });
        throw err;
      }
      return attempt;
    },

    async stop() {
      for (const { id, ready } of all) {
        if (ready) await metrics.runtimeOperation('stop_podsandbox', () => runtime.stopPodSandbox(id));
      }
    },

    async remove() {
      for (const { id } of all) await metrics.runtimeOperation('remove_podsandbox', () => runtime.removePodSandbox(id));
    },
  };
  return sandboxes;
}

/** The directory of a pod's logs. */
export const podLogs = (directory: string, { metadata: { namespace, name, uid } }: Pod): string =>
  join(directory, `${namespace}_${name}_${uid}`);
